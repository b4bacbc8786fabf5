//! Finds the first rule of a listener that matches a request.
//!
//! Most rules have a host. So the rules are looked up by the host of the request: those with that very host, those with a
//! name above it, and those for all hosts. These few lists, each in the order of the rules, are tried as if they were one.
//!
//! Versions share what they have in common: a change of one rule among ten thousand costs a path in each of the maps, and
//! so does giving the version before up.

use std::{collections::BTreeMap, hash::BuildHasherDefault, sync::Arc};

use archery::ArcTK;
use rpds::{HashTrieMap, RedBlackTreeMapSync};
use rustc_hash::FxHasher;

use crate::model::{Listener, Priority, Route, Rule, RuleId};

use super::{
    super::LiveRule,
    HttpChallenges, RoutedRequest, Uncertain,
    host::{HostPattern, names_above},
    matcher::Holds,
    route::{CompiledRoute, CompiledRule},
};

/// The rules of a listener, compiled, and what becomes of requests that none matches.
#[derive(Debug, Clone)]
pub struct Router {
    default: Arc<CompiledRoute>,
    rules: RedBlackTreeMapSync<Priority, Arc<CompiledRule>>,
    exact: ByHost,
    below: ByHost,
    any: RuleList,
    /// For each number of labels, how many names of `below` have it.
    depths: BTreeMap<usize, usize>,
    /// How many rules have a condition on the host.
    with_host: usize,
    challenges: Option<Arc<HttpChallenges>>,
    /// Whether there is neither a rule nor a challenge: known beforehand, because each request asks.
    is_plain: bool,
}

/// The keys are written by operators, not by clients, so nobody chooses them to collide.
type ByHost = HashTrieMap<Box<[u8]>, RuleList, ArcTK, BuildHasherDefault<FxHasher>>;

/// Rules in the order in which they are tried.
type RuleList = Arc<Vec<(Priority, Arc<CompiledRule>)>>;

/// What becomes of a request.
#[derive(Debug, Clone, Copy)]
pub struct Matched<'r> {
    /// The rule that matched; `None`: none, and the route is the default one.
    pub rule: Option<&'r Arc<CompiledRule>>,
    /// The route.
    pub route: &'r CompiledRoute,
    /// The length of the prefix of the path in normal form that matched; 0 when no prefix did.
    pub prefix: usize,
}

impl Router {
    /// The router of `listener`, whose rules count on shards for `workers` workers.
    pub fn new(listener: &Listener, workers: usize) -> Self {
        let empty = || ByHost::new_with_hasher_and_ptr_kind(BuildHasherDefault::default());
        let mut router = Self {
            default: Arc::new(CompiledRoute::from(&listener.spec.default_route)),
            rules: RedBlackTreeMapSync::new_sync(),
            exact: empty(),
            below: empty(),
            any: RuleList::default(),
            depths: BTreeMap::new(),
            with_host: 0,
            challenges: None,
            is_plain: true,
        };
        router.follow(listener, workers);
        router
    }

    /// Sets the route of requests that no rule matches.
    pub fn set_default(&mut self, route: &Route) {
        self.default = Arc::new(CompiledRoute::from(route));
    }

    /// Sets the challenges of ACME that are answered before any rule is looked at.
    pub fn set_challenges(&mut self, challenges: Option<Arc<HttpChallenges>>) {
        self.challenges = challenges;
        self.set_plain();
    }

    fn set_plain(&mut self) {
        self.is_plain = self.rules.is_empty() && self.challenges.is_none();
    }

    /// Makes the rules those of `listener`. A rule that stays keeps what it accumulated, also at another place.
    pub fn follow(&mut self, listener: &Listener, workers: usize) {
        let (gone, new) = self.differences(listener);
        let mut live: BTreeMap<RuleId, Arc<LiveRule>> = BTreeMap::new();
        for rule in gone {
            live.insert(rule.desired.id, Arc::clone(&rule.live));
            self.remove(&rule);
        }
        for rule in new {
            let known = live.get(&rule.id).cloned();
            let live = known.unwrap_or_else(|| LiveRule::new(rule.id, workers));
            self.insert(CompiledRule::new(Arc::clone(rule), live));
        }
        self.set_plain();
    }

    /// The rules that `listener` no longer has, and those that are new in it. Both maps are ordered by priority.
    fn differences<'l>(
        &self,
        listener: &'l Listener,
    ) -> (Vec<Arc<CompiledRule>>, Vec<&'l Arc<Rule>>) {
        let (mut gone, mut new) = (Vec::new(), Vec::new());
        let mut before = self.rules.values().peekable();
        let mut after = listener.rules.values().peekable();
        loop {
            match (before.peek(), after.peek()) {
                (None, None) => return (gone, new),
                (Some(old), Some(rule)) if Arc::ptr_eq(&old.desired, rule) => {
                    before.next();
                    after.next();
                }
                (Some(old), Some(rule)) if old.priority() > rule.priority => {
                    new.extend(after.next());
                }
                (None, Some(_)) => new.extend(after.next()),
                (Some(_), _) => gone.extend(before.next().cloned()),
            }
        }
    }

    fn insert(&mut self, rule: Arc<CompiledRule>) {
        let priority = rule.priority();
        let place = |list: &mut RuleList| {
            let list = Arc::make_mut(list);
            let at = list.partition_point(|(before, _)| *before < priority);
            list.insert(at, (priority, Arc::clone(&rule)));
        };
        if rule.matcher.hosts.is_empty() {
            place(&mut self.any);
        } else {
            self.with_host += 1;
        }
        for (map, name) in names(&rule) {
            let hosts = match map {
                Map::Exact => &mut self.exact,
                Map::Below => {
                    *self.depths.entry(depth(name)).or_default() += 1;
                    &mut self.below
                }
            };
            if let Some(list) = hosts.get_mut(name) {
                place(list);
            } else {
                hosts.insert_mut(name.into(), Arc::new(vec![(priority, Arc::clone(&rule))]));
            }
        }
        self.rules.insert_mut(priority, rule);
    }

    fn remove(&mut self, rule: &Arc<CompiledRule>) {
        let vacate = |list: &mut RuleList| {
            let list = Arc::make_mut(list);
            list.retain(|(_, present)| !Arc::ptr_eq(present, rule));
            list.is_empty()
        };
        if rule.matcher.hosts.is_empty() {
            vacate(&mut self.any);
        } else {
            self.with_host -= 1;
        }
        for (map, name) in names(rule) {
            let hosts = match map {
                Map::Exact => &mut self.exact,
                Map::Below => {
                    if let Some(count) = self.depths.get_mut(&depth(name)) {
                        *count -= 1;
                    }
                    self.depths.retain(|_, count| *count > 0);
                    &mut self.below
                }
            };
            if hosts.get_mut(name).is_some_and(vacate) {
                hosts.remove_mut(name);
            }
        }
        self.rules.remove_mut(&rule.priority());
    }

    /// Whether there is neither a rule nor a challenge, so that nothing of a request has to be looked at.
    pub fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// What becomes of requests that no rule matches.
    pub fn default_route(&self) -> &CompiledRoute {
        &self.default
    }

    /// The rules in the order in which they are tried.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<CompiledRule>> {
        self.rules.values()
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.rules.size()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What becomes of a request that no rule matches.
    pub fn unmatched(&self) -> Matched<'_> {
        Matched {
            rule: None,
            route: &self.default,
            prefix: 0,
        }
    }

    /// What becomes of `request`: as the first rule says that matches it, or else the default route.
    ///
    /// # Errors
    /// When that depends on what a server reads in the request.
    pub fn route(&self, request: &RoutedRequest<'_>) -> Result<Matched<'_>, Uncertain> {
        let challenges = self.challenges.as_ref();
        if let Some(route) = challenges.and_then(|challenges| challenges.find(request)) {
            return Ok(Matched {
                rule: None,
                route,
                prefix: 0,
            });
        }
        let mut lists = self.lists(request)?;
        while let Some(rule) = lists.next() {
            if let Holds::All { prefix } = rule.matcher.holds_behind_host(request)? {
                return Ok(Matched {
                    rule: Some(rule),
                    route: &rule.route,
                    prefix,
                });
            }
        }
        Ok(self.unmatched())
    }

    /// That the host of `request` is uncertain, if rules look at hosts.
    pub(super) fn uncertain_host(&self, request: &RoutedRequest<'_>) -> Option<Uncertain> {
        let uncertain = request.host.as_ref().err().copied().map(Uncertain::Host);
        uncertain.filter(|_| self.with_host > 0)
    }

    /// The rules whose condition on the host holds.
    fn lists(&self, request: &RoutedRequest<'_>) -> Result<Lists<'_>, Uncertain> {
        let mut lists = Lists::default();
        lists.add(&self.any);
        if self.with_host == 0 {
            return Ok(lists);
        }
        let host = request
            .host
            .as_ref()
            .map_err(|&defect| Uncertain::Host(defect))?;
        if let Some(list) = self.exact.get(&**host) {
            lists.add(list);
        }
        if let Some((&most, _)) = self.depths.last_key_value() {
            for name in names_above(host, most) {
                if let Some(list) = self.below.get(name) {
                    lists.add(list);
                }
            }
        }
        Ok(lists)
    }
}

/// In which of the maps a name is.
enum Map {
    Exact,
    Below,
}

/// The names by which a rule is found. One that it has twice is one.
fn names(rule: &CompiledRule) -> impl Iterator<Item = (Map, &[u8])> {
    let hosts = &rule.matcher.hosts;
    let is_first = |at: usize| !hosts[..at].contains(&hosts[at]);
    (0..hosts.len())
        .filter(move |&at| is_first(at))
        .map(move |at| match &hosts[at] {
            HostPattern::Exact(name) => (Map::Exact, &**name),
            HostPattern::Below(name) => (Map::Below, &**name),
        })
}

/// How many labels a name has.
fn depth(name: &[u8]) -> usize {
    name.split(|&byte| byte == b'.').count()
}

/// Lists of rules, as if they were one in the order of the rules.
#[derive(Default)]
struct Lists<'r> {
    few: [&'r [(Priority, Arc<CompiledRule>)]; 4],
    count: usize,
    more: Vec<&'r [(Priority, Arc<CompiledRule>)]>,
}

impl<'r> Lists<'r> {
    fn add(&mut self, list: &'r RuleList) {
        if list.is_empty() {
            return;
        }
        match self.few.get_mut(self.count) {
            Some(place) => {
                *place = list;
                self.count += 1;
            }
            None => self.more.push(list),
        }
    }

    /// The next rule of all of them. One that is in several lists is given once.
    fn next(&mut self) -> Option<&'r Arc<CompiledRule>> {
        let lists = self.few[..self.count].iter_mut().chain(&mut self.more);
        let priority = lists
            .filter_map(|list| list.first())
            .map(|(priority, _)| *priority)
            .min()?;
        let mut next = None;
        for list in self.few[..self.count].iter_mut().chain(&mut self.more) {
            if let [(first, rule), rest @ ..] = *list
                && *first == priority
            {
                next = Some(rule);
                *list = rest;
            }
        }
        next
    }
}

#[cfg(test)]
mod tests;
