//! A route, compiled.

use std::sync::Arc;

use crate::model::{
    Action, FixedResponse, MessageChanges, PoolName, Priority, Redirect, Route, Rule, WeightedPool,
};

use super::{super::LiveRule, Location, matcher::Matcher};

/// A rule, compiled.
#[derive(Debug)]
pub struct CompiledRule {
    /// What operators want.
    pub desired: Arc<Rule>,
    /// What it accumulates.
    pub live: Arc<LiveRule>,
    /// What becomes of its requests.
    pub route: CompiledRoute,
    pub(super) matcher: Matcher,
}

impl CompiledRule {
    pub(super) fn new(desired: Arc<Rule>, live: Arc<LiveRule>) -> Arc<Self> {
        Arc::new(Self {
            route: CompiledRoute::from(&desired.spec.route),
            matcher: Matcher::from(&desired.spec.conditions),
            desired,
            live,
        })
    }

    /// Its place.
    pub fn priority(&self) -> Priority {
        self.desired.priority
    }
}

/// A route, compiled.
#[derive(Debug)]
pub struct CompiledRoute {
    /// Who responds.
    pub action: CompiledAction,
    /// How messages are changed; `None`: they are not.
    pub changes: Option<Box<MessageChanges>>,
}

/// Who responds to a request.
#[derive(Debug)]
pub enum CompiledAction {
    /// A server of one pool.
    Pool(PoolRef),
    /// A server of one of several pools.
    Pools(PoolShares),
    /// Weldr, by a redirect.
    Redirect {
        /// The status.
        status: u16,
        /// The Location.
        location: Location,
    },
    /// Weldr.
    Respond(FixedResponse),
}

/// A pool by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolRef {
    /// The name.
    pub name: PoolName,
    /// Whether it is the default pool, which is found without a lookup.
    pub is_default: bool,
}

impl From<&PoolName> for PoolRef {
    fn from(name: &PoolName) -> Self {
        Self {
            is_default: *name == PoolName::default(),
            name: name.clone(),
        }
    }
}

/// Pools with their shares of the requests: at least one has a share.
#[derive(Debug)]
pub struct PoolShares {
    first: PoolRef,
    /// Each pool with a share, and the sum of its share and those before it.
    ends: Box<[(u32, PoolRef)]>,
}

impl PoolShares {
    fn new(pools: &[WeightedPool]) -> Self {
        let mut sum = 0;
        let ends = pools
            .iter()
            .filter(|weighted| weighted.weight > 0)
            .map(|weighted| {
                sum += u32::from(weighted.weight);
                (sum, PoolRef::from(&weighted.pool))
            })
            .collect();
        let first = pools.first().map(|weighted| PoolRef::from(&weighted.pool));
        Self {
            first: first.unwrap_or_else(|| PoolRef::from(&PoolName::default())),
            ends,
        }
    }

    /// The sum of the shares, at least 1.
    pub fn sum(&self) -> u32 {
        self.ends.last().map_or(1, |(end, _)| *end)
    }

    /// The pool at `point`, which is below the sum.
    pub fn at(&self, point: u32) -> &PoolRef {
        let place = self.ends.partition_point(|(end, _)| *end <= point);
        self.ends.get(place).map_or(&self.first, |(_, pool)| pool)
    }

    /// The pools and their shares.
    pub fn iter(&self) -> impl Iterator<Item = (&PoolRef, u32)> {
        let mut before = 0;
        self.ends.iter().map(move |(end, pool)| {
            let share = end - std::mem::replace(&mut before, *end);
            (pool, share)
        })
    }
}

impl From<&Route> for CompiledRoute {
    fn from(route: &Route) -> Self {
        let action = match &route.action {
            Action::Forward(pools) => match pools
                .iter()
                .filter(|pool| pool.weight > 0)
                .collect::<Vec<_>>()[..]
            {
                [only] => CompiledAction::Pool(PoolRef::from(&only.pool)),
                _ => CompiledAction::Pools(PoolShares::new(pools)),
            },
            Action::Redirect(Redirect { location, status }) => CompiledAction::Redirect {
                status: *status,
                location: Location::new(location),
            },
            Action::Respond(response) => CompiledAction::Respond(response.clone()),
        };
        let changes = (!route.changes.is_empty()).then(|| Box::new(route.changes.clone()));
        Self { action, changes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pool_has_its_share() {
        let pool = |name: &str, weight| WeightedPool {
            pool: name.parse().unwrap(),
            weight,
        };
        let shares = PoolShares::new(&[pool("a", 2), pool("b", 0), pool("c", 1)]);
        let at = |point| shares.at(point).name.as_str();
        assert_eq!(shares.sum(), 3);
        assert_eq!([at(0), at(1), at(2)], ["a", "a", "c"]);
        let all: Vec<_> = shares
            .iter()
            .map(|(pool, share)| (pool.name.as_str(), share))
            .collect();
        assert_eq!(all, [("a", 2), ("c", 1)]);
    }
}
