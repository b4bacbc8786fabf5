//! The conditions of a rule, compiled.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;

use crate::model::{Conditions, NamedValues, PathPattern};

use super::{
    HostDefect, PathDefect, RoutedRequest, glob::Glob, host::HostPattern, path::normal_literal,
    request::parameters,
};

/// The conditions of a rule, compiled.
#[derive(Debug)]
pub(super) struct Matcher {
    pub(super) hosts: Box<[HostPattern]>,
    paths: Box<[CompiledPath]>,
    methods: Box<[Box<[u8]>]>,
    headers: Box<[CompiledNamed]>,
    query: Box<[CompiledNamed]>,
    sources: Box<[IpNet]>,
}

#[derive(Debug)]
enum CompiledPath {
    Exact(Box<[u8]>),
    Prefix(Box<[u8]>),
    Glob(Glob),
}

#[derive(Debug)]
struct CompiledNamed {
    name: Box<str>,
    values: Box<[Glob]>,
}

/// How the conditions of a rule hold for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// All of them; the path begins with a prefix of this length in normal form.
    All { prefix: usize },
    /// Not this one.
    Not(Difference),
}

/// Which condition of a rule does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// The host.
    Host,
    /// The path.
    Path,
    /// The method.
    Method,
    /// The header field with this number in the rule.
    Header(usize),
    /// The query parameter with this number in the rule.
    Query(usize),
    /// The network of the client.
    Source,
}

/// Why it is not certain whether a condition holds. The request is refused: a server may read it in the way that the
/// condition was written against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Uncertain {
    /// The host has no normal form.
    #[error("rules of the listener look at the host of the request, which is not certain")]
    Host(#[source] HostDefect),
    /// The path has no normal form.
    #[error("rules of the listener look at the path of the request, which is not certain")]
    Path(#[source] PathDefect),
    /// A condition holds for one reading of the path and not for another.
    #[error(
        "rules of the listener look at the path of the request, and it depends on the server which path it is: it has `//`, \
         `;`, or an encoded delimiter"
    )]
    Readings,
}

impl From<&Conditions> for Matcher {
    fn from(conditions: &Conditions) -> Self {
        Self {
            hosts: all(&conditions.hosts, |host| HostPattern::from(host.as_str())),
            paths: all(&conditions.paths, |path| CompiledPath::from(path.as_str())),
            methods: all(&conditions.methods, |method| method.as_bytes().into()),
            headers: all(&conditions.headers, |named| CompiledNamed::from(named)),
            query: all(&conditions.query, |named| CompiledNamed::from(named)),
            sources: all(&conditions.sources, |source| *source),
        }
    }
}

fn all<T, C>(values: &[T], compile: impl Fn(&T) -> C) -> Box<[C]> {
    values.iter().map(compile).collect()
}

impl From<&str> for CompiledPath {
    fn from(text: &str) -> Self {
        let literal = |text: &str| normal_literal(text.as_bytes()).into_boxed_slice();
        match PathPattern::from(text) {
            PathPattern::Exact(path) => Self::Exact(literal(path)),
            PathPattern::Prefix(prefix) => Self::Prefix(literal(prefix)),
            PathPattern::Glob(glob) => Self::Glob(Glob::new(glob, normal_literal)),
        }
    }
}

impl CompiledPath {
    /// The length of the prefix that matched, or of the whole path.
    fn matches(&self, path: &[u8]) -> Option<usize> {
        match self {
            Self::Exact(exact) => (**exact == *path).then_some(path.len()),
            Self::Prefix(prefix) => path.starts_with(prefix).then_some(prefix.len()),
            Self::Glob(glob) => glob.matches(path).then_some(path.len()),
        }
    }
}

impl From<&NamedValues> for CompiledNamed {
    fn from(named: &NamedValues) -> Self {
        Self {
            name: named.name.as_str().into(),
            values: all(&named.values, |value| Glob::new(value, <[u8]>::to_vec)),
        }
    }
}

impl CompiledNamed {
    fn accepts(&self, value: &[u8]) -> bool {
        self.values.is_empty() || self.values.iter().any(|glob| glob.matches(value))
    }
}

impl Matcher {
    /// Whether all conditions hold, the hosts included.
    pub(super) fn holds(&self, request: &RoutedRequest<'_>) -> Result<Holds, Uncertain> {
        if !self.hosts.is_empty() {
            let host = request
                .host
                .as_ref()
                .map_err(|&defect| Uncertain::Host(defect))?;
            if !self.hosts.iter().any(|pattern| pattern.matches(host)) {
                return Ok(Holds::Not(Difference::Host));
            }
        }
        self.holds_behind_host(request)
    }

    /// Whether all conditions but the hosts hold. The path is looked at last: an uncertain one does no harm to a rule that
    /// does not match anyway.
    pub(super) fn holds_behind_host(
        &self,
        request: &RoutedRequest<'_>,
    ) -> Result<Holds, Uncertain> {
        let other = self.other_difference(request);
        match self.path_prefix(request) {
            Ok(Some(prefix)) => Ok(other.map_or(Holds::All { prefix }, Holds::Not)),
            Ok(None) => Ok(Holds::Not(Difference::Path)),
            Err(uncertain) => other.map_or(Err(uncertain), |other| Ok(Holds::Not(other))),
        }
    }

    /// The length of the prefix that matched; `None` when the path does not match.
    fn path_prefix(&self, request: &RoutedRequest<'_>) -> Result<Option<usize>, Uncertain> {
        if self.paths.is_empty() {
            return Ok(Some(0));
        }
        let readings = request
            .path
            .as_ref()
            .map_err(|&defect| Uncertain::Path(defect))?;
        let found = |path: &[u8]| self.paths.iter().find_map(|pattern| pattern.matches(path));
        let prefix = found(readings.normal());
        match readings.lenient() {
            Some(lenient) if found(lenient).is_some() != prefix.is_some() => {
                Err(Uncertain::Readings)
            }
            _ => Ok(prefix),
        }
    }

    fn other_difference(&self, request: &RoutedRequest<'_>) -> Option<Difference> {
        if !self.methods.is_empty()
            && !self
                .methods
                .iter()
                .any(|method| **method == *request.method)
        {
            return Some(Difference::Method);
        }
        let header = |named: &CompiledNamed| {
            let mut accepts = |value: &[u8]| named.accepts(value);
            request.fields.any(&named.name, &mut accepts)
        };
        if let Some(at) = self.headers.iter().position(|named| !header(named)) {
            return Some(Difference::Header(at));
        }
        let parameter = |named: &CompiledNamed| {
            parameters(request.query)
                .any(|(name, value)| *name == *named.name.as_bytes() && named.accepts(&value))
        };
        if let Some(at) = self.query.iter().position(|named| !parameter(named)) {
            return Some(Difference::Query(at));
        }
        let is_within =
            |source: IpAddr| self.sources.iter().any(|network| network.contains(&source));
        let is_outside = !self.sources.is_empty() && !is_within(request.source.to_canonical());
        is_outside.then_some(Difference::Source)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::Path => f.write_str("path"),
            Self::Method => f.write_str("method"),
            Self::Header(_) => f.write_str("header"),
            Self::Query(_) => f.write_str("query parameter"),
            Self::Source => f.write_str("source"),
        }
    }
}
