//! Whether an earlier rule leaves nothing for a later one. Pure.
//!
//! A rule that certainly never decides is a mistake of its writer, and is shown to operators. Whatever is not certain counts as
//! not covered: a rule that several others cover together, for example.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, Ipv6Addr},
};

use super::{Conditions, NamedValues, PathPattern, Priority};

/// Whether every request that `later` matches is certainly matched by `earlier`.
pub fn covers(earlier: &Conditions, later: &Conditions) -> bool {
    each_is_covered(&earlier.hosts, &later.hosts, |earlier, later| {
        host_covers(earlier, later)
    }) && each_is_covered(&earlier.paths, &later.paths, |earlier, later| {
        path_covers(earlier, later)
    }) && each_is_covered(&earlier.methods, &later.methods, |earlier, later| {
        earlier == later
    }) && named_cover(&earlier.headers, &later.headers, |earlier, later| {
        earlier.eq_ignore_ascii_case(later)
    }) && named_cover(&earlier.query, &later.query, |earlier, later| {
        earlier == later
    }) && each_is_covered(&earlier.sources, &later.sources, |earlier, later| {
        earlier.contains(later)
    })
}

/// Whether one of the values of `earlier` covers each value of `later`. A condition without values holds always.
fn each_is_covered<T>(earlier: &[T], later: &[T], covers: impl Fn(&T, &T) -> bool) -> bool {
    let is_covered = |later: &T| earlier.iter().any(|earlier| covers(earlier, later));
    earlier.is_empty() || (!later.is_empty() && later.iter().all(is_covered))
}

fn host_covers(earlier: &str, later: &str) -> bool {
    if earlier.eq_ignore_ascii_case(later) {
        return true;
    }
    let Some(suffix) = earlier.strip_prefix('*') else {
        return false;
    };
    let name = later.strip_prefix('*').unwrap_or(later);
    !is_ip(later) && ends_with(name, suffix) && (name.len() > suffix.len())
}

fn is_ip(host: &str) -> bool {
    host.parse::<Ipv4Addr>().is_ok() || host.starts_with('[') || host.parse::<Ipv6Addr>().is_ok()
}

fn ends_with(text: &str, suffix: &str) -> bool {
    let at = text.len().checked_sub(suffix.len());
    at.and_then(|at| text.get(at..))
        .is_some_and(|end| end.eq_ignore_ascii_case(suffix))
}

fn path_covers(earlier: &str, later: &str) -> bool {
    if earlier == later {
        return true;
    }
    match PathPattern::from(earlier) {
        PathPattern::Prefix(prefix) => literal_beginning(later.into()).starts_with(prefix),
        // A wildcard may stand for a part of what is encoded in the text of the other pattern.
        PathPattern::Glob(glob) => !later.contains('%') && glob_covers(glob, later),
        PathPattern::Exact(_) => false,
    }
}

/// What every path that a pattern matches begins with.
fn literal_beginning(pattern: PathPattern<'_>) -> &str {
    match pattern {
        PathPattern::Exact(text) | PathPattern::Prefix(text) => text,
        PathPattern::Glob(text) => text.split(['*', '?']).next().unwrap_or_default(),
    }
}

/// Whether a glob certainly matches each text that another one matches: `*` stands for any number of characters, `?` for
/// one. The other one is read as a text in which a `*` of the first takes anything, and a `?` of it anything but `*`. Takes
/// time in proportion to the product of their lengths at most.
fn glob_covers(glob: &str, other: &str) -> bool {
    let (glob, text) = (glob.as_bytes(), other.as_bytes());
    let (mut at_glob, mut at_text) = (0, 0);
    // Where to go on when a later part does not match: after the last `*`, which then takes one more character.
    let mut retry = None;
    while at_text < text.len() {
        match glob.get(at_glob) {
            Some(b'*') => {
                retry = Some((at_glob + 1, at_text));
                at_glob += 1;
            }
            Some(c) if *c == text[at_text] || (*c == b'?' && text[at_text] != b'*') => {
                at_glob += 1;
                at_text += 1;
            }
            _ => {
                let Some((after_star, taken)) = retry else {
                    return false;
                };
                retry = Some((after_star, taken + 1));
                (at_glob, at_text) = (after_star, taken + 1);
            }
        }
    }
    glob[at_glob..].iter().all(|c| *c == b'*')
}

/// Whether each condition of `earlier` follows from one of `later`.
fn named_cover(
    earlier: &[NamedValues],
    later: &[NamedValues],
    same_name: impl Fn(&str, &str) -> bool,
) -> bool {
    let follows = |earlier: &NamedValues| {
        let mut of_name = later
            .iter()
            .filter(|later| same_name(&earlier.name, &later.name));
        let covers = |later: &NamedValues| {
            each_is_covered(&earlier.values, &later.values, |earlier, later| {
                glob_covers(earlier, later)
            })
        };
        of_name.any(covers)
    };
    earlier.iter().all(follows)
}

/// Finds for each of many rules an earlier one that covers it, without comparing all with all.
#[derive(Debug, Default)]
pub struct Coverage<'a> {
    by_host: HashMap<String, ByPath<'a>>,
}

/// Rules by the paths that they have: a rule that covers another has one that covers the first path of that.
#[derive(Debug, Default)]
struct ByPath<'a> {
    exact: HashMap<&'a str, Vec<Entry<'a>>>,
    prefix: HashMap<&'a str, Vec<Entry<'a>>>,
    others: Vec<Entry<'a>>,
}

type Entry<'a> = (Priority, &'a Conditions);

impl<'a> Coverage<'a> {
    /// Adds a rule, and returns the first rule added before that covers it.
    pub fn add(&mut self, priority: Priority, conditions: &'a Conditions) -> Option<Priority> {
        let covering = self.covering(conditions);
        // A rule that is covered covers nothing that the other does not cover.
        if covering.is_none() {
            self.insert(priority, conditions);
        }
        covering
    }

    fn insert(&mut self, priority: Priority, conditions: &'a Conditions) {
        let hosts = conditions
            .hosts
            .iter()
            .map(|host| host.to_ascii_lowercase());
        let mut hosts: Vec<String> = hosts.collect();
        if hosts.is_empty() {
            hosts.push(String::new());
        }
        for host in hosts {
            let by_path = self.by_host.entry(host).or_default();
            by_path.insert((priority, conditions));
        }
    }

    fn covering(&self, conditions: &Conditions) -> Option<Priority> {
        let mut found: Option<Priority> = None;
        for host in hosts_that_cover(conditions.hosts.first()) {
            if let Some(by_path) = self.by_host.get(&host) {
                let covering = by_path.covering(conditions);
                found = found.into_iter().chain(covering).min();
            }
        }
        found
    }
}

/// The hosts of rules that may cover a rule whose first host this is; the empty one is that of rules for all hosts.
fn hosts_that_cover(host: Option<&String>) -> Vec<String> {
    let mut hosts = vec![String::new()];
    let Some(host) = host else { return hosts };
    let host = host.to_ascii_lowercase();
    let dots = host.match_indices('.').map(|(at, _)| at);
    hosts.extend(dots.map(|at| format!("*{}", &host[at..])));
    hosts.push(host);
    hosts
}

impl<'a> ByPath<'a> {
    fn insert(&mut self, entry: Entry<'a>) {
        if entry.1.paths.is_empty() {
            self.others.push(entry);
        }
        for path in &entry.1.paths {
            match path.as_str().into() {
                PathPattern::Exact(path) => self.exact.entry(path).or_default().push(entry),
                PathPattern::Prefix(path) => self.prefix.entry(path).or_default().push(entry),
                PathPattern::Glob(_) => self.others.push(entry),
            }
        }
    }

    fn covering(&self, conditions: &Conditions) -> Option<Priority> {
        let covering = |entries: &Vec<Entry<'a>>| {
            let mut covering = entries
                .iter()
                .filter(|(_, earlier)| covers(earlier, conditions));
            covering.next().map(|(priority, _)| *priority)
        };
        let mut found = covering(&self.others);
        let mut also = |entries: Option<&Vec<Entry<'a>>>| {
            let covering = entries.and_then(covering);
            found = found.into_iter().chain(covering).min();
        };
        if let Some(path) = conditions.paths.first() {
            also(self.exact.get(path.as_str()));
            let beginning = literal_beginning(path.as_str().into());
            let ends = beginning.char_indices().map(|(at, _)| at);
            for end in ends.chain([beginning.len()]) {
                also(self.prefix.get(&beginning[..end]));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests;
