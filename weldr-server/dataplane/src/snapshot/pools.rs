//! All pools as the data path sees them.

use std::{hash::BuildHasherDefault, sync::Arc};

use archery::ArcTK;
use rpds::{HashTrieMap, RedBlackTreeMapSync};
use rustc_hash::FxHasher;

use crate::model::PoolName;

use super::{LiveServer, PoolView, ServerView, routes::PoolRef};

/// The pools of a snapshot, ordered by name. The default pool is always one of them.
///
/// Versions share what they have in common: a change of one pool among a thousand costs a path in the tree and that
/// pool, and all others stay the same [`PoolView`]s.
#[derive(Debug, Clone)]
pub struct Pools {
    /// Held apart as well, because a plain request must not pay for a lookup.
    default: Arc<PoolView>,
    by_name: ByName,
    /// The same as `by_name`: the requests of rules pay for a lookup.
    lookup: HashTrieMap<PoolName, Arc<PoolView>, ArcTK, BuildHasherDefault<FxHasher>>,
    /// Those with a server whose removal has begun: few, and looked for often.
    draining: ByName,
}

type ByName = RedBlackTreeMapSync<PoolName, Arc<PoolView>>;

impl Pools {
    /// The default pool alone.
    pub fn new(default: PoolView) -> Self {
        debug_assert_eq!(*default.name(), PoolName::default());
        let mut pools = Self {
            default: Arc::new(default.clone()),
            by_name: ByName::new_sync(),
            lookup: HashTrieMap::new_with_hasher_and_ptr_kind(BuildHasherDefault::default()),
            draining: ByName::new_sync(),
        };
        pools.put(default);
        pools
    }

    /// Adds a pool, or replaces the one of its name.
    pub fn put(&mut self, pool: PoolView) {
        let (name, pool) = (pool.name().clone(), Arc::new(pool));
        if name == PoolName::default() {
            self.default = Arc::clone(&pool);
        }
        if pool.leaving().is_empty() {
            self.draining.remove_mut(&name);
        } else {
            self.draining.insert_mut(name.clone(), Arc::clone(&pool));
        }
        self.lookup.insert_mut(name.clone(), Arc::clone(&pool));
        self.by_name.insert_mut(name, pool);
    }

    /// Takes a pool out. The default pool stays.
    pub fn take(&mut self, name: &PoolName) {
        if *name != PoolName::default() {
            self.by_name.remove_mut(name);
            self.lookup.remove_mut(name);
            self.draining.remove_mut(name);
        }
    }

    /// The default pool.
    pub fn default_pool(&self) -> &Arc<PoolView> {
        &self.default
    }

    /// The pool of that name.
    pub fn get(&self, name: &PoolName) -> Option<&Arc<PoolView>> {
        self.lookup.get(name)
    }

    /// The pool of a route.
    pub fn find(&self, pool: &PoolRef) -> Option<&Arc<PoolView>> {
        if pool.is_default {
            return Some(&self.default);
        }
        self.get(&pool.name)
    }

    /// The pools, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<PoolView>> {
        self.by_name.values()
    }

    /// The pools with a server whose removal has begun, ordered by name.
    pub fn draining(&self) -> impl Iterator<Item = &Arc<PoolView>> {
        self.draining.values()
    }

    /// Whether no pool has a server whose removal has begun.
    pub fn none_drains(&self) -> bool {
        self.draining.is_empty()
    }

    /// The present view of `server`; `None` when its pool no longer has it, even if another server is at its address.
    pub fn view_of(&self, server: &LiveServer) -> Option<&Arc<ServerView>> {
        let pool = self.get(&server.pool.name)?;
        pool.server(server.address)
            .filter(|view| view.desired.id == server.id)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::test_views::{add_healthy, change_server, default_pool, leaving, pool_named},
        *,
    };
    use crate::model::ServerId;

    fn name(name: &str) -> PoolName {
        name.parse().unwrap()
    }

    fn names<'a>(pools: impl Iterator<Item = &'a Arc<PoolView>>) -> Vec<&'a str> {
        pools.map(|pool| pool.name().as_str()).collect()
    }

    #[test]
    fn pools_are_found_by_name_and_ordered_by_it() {
        let mut pools = Pools::new(default_pool());
        pools.put(pool_named("web"));
        pools.put(pool_named("api"));
        assert_eq!(names(pools.iter()), ["api", "default", "web"]);
        assert_eq!(pools.get(&name("web")).unwrap().name().as_str(), "web");
        assert!(pools.get(&name("none")).is_none());
        pools.take(&name("api"));
        assert_eq!(names(pools.iter()), ["default", "web"]);
    }

    #[test]
    fn the_default_pool_is_the_one_of_its_name_and_stays() {
        let mut pools = Pools::new(default_pool());
        let is_one = |pools: &Pools| {
            let found = pools.get(&PoolName::default()).unwrap();
            Arc::ptr_eq(pools.default_pool(), found)
        };
        assert!(is_one(&pools));
        let mut changed = default_pool();
        add_healthy(&mut changed, 1, 80);
        pools.put(changed);
        assert_eq!(pools.default_pool().servers.len(), 1);
        assert!(is_one(&pools));
        pools.take(&PoolName::default());
        assert!(is_one(&pools));
    }

    #[test]
    fn a_change_of_one_pool_shares_all_others() {
        let mut before = Pools::new(default_pool());
        before.put(pool_named("web"));
        let mut web = pool_named("web");
        add_healthy(&mut web, 1, 80);
        let mut after = before.clone();
        after.put(web);
        assert!(Arc::ptr_eq(before.default_pool(), after.default_pool()));
        let is_shared = |pool: &str| {
            let pool = name(pool);
            Arc::ptr_eq(before.get(&pool).unwrap(), after.get(&pool).unwrap())
        };
        assert!(is_shared("default"));
        assert!(!is_shared("web"));
        let servers = |pools: &Pools| pools.get(&name("web")).unwrap().servers.len();
        assert_eq!((servers(&before), servers(&after)), (0, 1));
    }

    #[test]
    fn a_server_is_found_in_its_own_pool_though_another_has_its_address() {
        let (mut default, mut web) = (default_pool(), pool_named("web"));
        let of_default = add_healthy(&mut default, 1, 80);
        let of_web = add_healthy(&mut web, 2, 80);
        let mut pools = Pools::new(default.clone());
        pools.put(web);
        let id = |pools: &Pools, server: &ServerView| {
            let view = pools.view_of(&server.live)?;
            Some(view.desired.id)
        };
        assert_eq!(id(&pools, &of_default), Some(ServerId(1)));
        assert_eq!(id(&pools, &of_web), Some(ServerId(2)));
        default.take(of_default.desired.address);
        pools.put(default.clone());
        assert_eq!(id(&pools, &of_default), None);
        assert_eq!(id(&pools, &of_web), Some(ServerId(2)));
        // Its next life.
        add_healthy(&mut default, 3, 80);
        pools.put(default);
        assert_eq!(id(&pools, &of_default), None);
        pools.take(&name("web"));
        assert_eq!(id(&pools, &of_web), None, "its pool is gone");
    }

    #[test]
    fn pools_drain_while_a_server_leaves_them() {
        let mut pools = Pools::new(default_pool());
        let mut web = pool_named("web");
        let server = add_healthy(&mut web, 1, 80);
        pools.put(web.clone());
        assert!(pools.none_drains());
        change_server(&mut web, leaving(&server));
        pools.put(web.clone());
        assert!(!pools.none_drains());
        assert_eq!(names(pools.draining()), ["web"]);
        let mut without = pools.clone();
        without.take(&name("web"));
        assert!(without.none_drains());
        web.take(server.desired.address);
        pools.put(web);
        assert!(pools.none_drains());
    }
}
