use std::time::Duration;

use proptest::{collection::btree_map, option, prelude::*};

use super::*;
use crate::model::{
    Action, AdminState, CheckOverride, Conditions, Outcome, PoolPolicy, Rejection, Removal, Weight,
    WeightedPool,
};

const AT: Timestamp = Timestamp(1);

fn to_pool(name: &str) -> Route {
    Route {
        action: Action::Forward(vec![WeightedPool {
            pool: name.parse().unwrap(),
            weight: 1,
        }]),
        ..Route::default()
    }
}

/// Applies a configuration as one change.
fn apply(
    state: &mut DesiredState,
    configuration: &Configuration,
    prune: bool,
) -> Result<Outcome, Rejection> {
    let changes = changes(state, configuration, prune, AT);
    let apply = Command::Apply {
        changes,
        expected: Some(state.revision),
        force: false,
    };
    state.apply(apply).map(|applied| applied.outcome)
}

fn names() -> impl Strategy<Value = String> {
    prop_oneof![Just("default"), Just("a"), Just("b"), Just("c")].prop_map(str::to_owned)
}

fn pool_settings() -> impl Strategy<Value = PoolPatch> {
    let parts = (
        option::of(any::<bool>()),
        option::of((1u64..3).prop_map(Duration::from_secs)),
        option::of(option::of((1u64..3).prop_map(Duration::from_secs))),
        option::of(0u64..3),
        option::of((1u64..3).prop_map(Duration::from_secs)),
    );
    parts.prop_map(
        |(fail_open, drain, deregister, retries, interval)| PoolPatch {
            fail_open,
            drain_deadline: drain,
            deregister_after: deregister,
            check: CheckOverride {
                interval,
                ..CheckOverride::default()
            },
            policy: PolicyPatch {
                set: PoolPolicy {
                    retries,
                    ..PoolPolicy::default()
                },
                unset: vec![],
            },
            ..PoolPatch::default()
        },
    )
}

fn servers() -> impl Strategy<Value = BTreeMap<SocketAddr, ServerPatch>> {
    let addresses = (1u16..4).prop_map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let admin = prop_oneof![Just(AdminState::Ready), Just(AdminState::Drain)];
    let patches = (option::of(0u32..3), option::of(admin));
    let patches = patches.prop_map(|(weight, admin)| ServerPatch {
        weight: weight.map(|weight| Weight::new(weight).unwrap()),
        admin,
        check: None,
    });
    btree_map(addresses, patches, 0..3)
}

fn rules() -> impl Strategy<Value = BTreeMap<Priority, RuleSpec>> {
    let specs = ("/[ab]", names()).prop_map(|(path, pool)| RuleSpec {
        conditions: Conditions {
            paths: vec![path],
            ..Conditions::default()
        },
        route: to_pool(&pool),
    });
    btree_map((1u32..5).prop_map(Priority), specs, 0..4)
}

/// A configuration in which routes may name pools that it lacks.
fn any_configuration() -> impl Strategy<Value = Configuration> {
    let pools = (pool_settings(), servers());
    let pools = pools.prop_map(|(settings, servers)| PoolConfiguration { settings, servers });
    let pools = btree_map(names().prop_map(|name| name.parse().unwrap()), pools, 0..4);
    let listeners = (option::of(names()), option::of(any::<bool>()), rules());
    let listeners = listeners.prop_map(|(default, access_log, rules)| ListenerConfiguration {
        address: None,
        default_route: default.map(|pool| to_pool(&pool)),
        policy: ListenerPolicy {
            access_log,
            ..ListenerPolicy::default()
        },
        rules,
        ..ListenerConfiguration::default()
    });
    let names = names().prop_map(|name| name.parse().unwrap());
    let listeners = btree_map(names, listeners, 0..4);
    let listeners = listeners.prop_map(|mut all: BTreeMap<ListenerName, _>| {
        for (name, listener) in &mut all {
            let port = u16::from(name.as_str().as_bytes()[0]);
            let address = (*name != ListenerName::default())
                .then(|| SocketAddr::from(([127, 0, 0, 1], port)));
            let listener: &mut ListenerConfiguration = listener;
            listener.address = address;
        }
        all
    });
    (pools, listeners).prop_map(|(pools, listeners)| Configuration { pools, listeners })
}

proptest! {
    /// After a configuration was applied, it makes no change, whatever was there before.
    #[test]
    fn a_configuration_that_was_applied_changes_nothing(
        first in any_configuration(),
        second in any_configuration(),
        prune in any::<bool>(),
    ) {
        let mut state = DesiredState::new(PoolSettings::default());
        let _ = apply(&mut state, &first, false);
        let before = state.clone();
        match apply(&mut state, &second, prune) {
            Ok(_) => {
                prop_assert!(state.revision.0 <= before.revision.0 + 1);
                prop_assert_eq!(changes(&state, &second, prune, AT), vec![]);
            }
            Err(rejection) => {
                let is_guard = matches!(
                    rejection,
                    Rejection::MissingPool { .. }
                        | Rejection::InUse { .. }
                        | Rejection::WouldBeEmpty { .. }
                );
                prop_assert!(is_guard, "{}", rejection);
                prop_assert_eq!(state, before);
            }
        }
    }

    /// Without pruning, whatever was there is still there.
    #[test]
    fn nothing_that_is_not_named_is_removed(
        first in any_configuration(),
        second in any_configuration(),
    ) {
        let mut state = DesiredState::new(PoolSettings::default());
        let _ = apply(&mut state, &first, false);
        let before = state.clone();
        if apply(&mut state, &second, false).is_ok() {
            for (name, pool) in &before.pools {
                for address in pool.servers.keys() {
                    let there = state.server(name, *address).unwrap();
                    prop_assert_eq!(there.removal, None::<Removal>);
                }
            }
            for (name, listener) in &before.listeners {
                for priority in listener.rules.keys() {
                    prop_assert!(state.rule(name, *priority).is_ok());
                }
            }
        }
    }
}

fn pool(name: &str) -> PoolName {
    name.parse().unwrap()
}

fn with_server(n: u16) -> PoolConfiguration {
    let address = SocketAddr::from(([127, 0, 0, 1], n));
    PoolConfiguration {
        servers: [(address, ServerPatch::default())].into(),
        ..PoolConfiguration::default()
    }
}

#[test]
fn pruning_removes_what_is_not_named() {
    let mut state = DesiredState::new(PoolSettings::default());
    let all = Configuration {
        pools: [(pool("a"), with_server(1)), (pool("b"), with_server(2))].into(),
        listeners: [(
            "web".parse().unwrap(),
            ListenerConfiguration {
                address: Some("0.0.0.0:80".parse().unwrap()),
                ..ListenerConfiguration::default()
            },
        )]
        .into(),
    };
    apply(&mut state, &all, false).unwrap();
    let part = Configuration {
        pools: [
            (pool("a"), with_server(3)),
            (pool("b"), PoolConfiguration::default()),
        ]
        .into(),
        ..Configuration::default()
    };
    let mut kept = state.clone();
    apply(&mut kept, &part, false).unwrap();
    assert_eq!(kept.listeners.size(), 2);
    apply(&mut state, &part, true).unwrap();
    assert_eq!(state.listeners.size(), 1, "default is always there");
    assert_eq!(state.pools.size(), 3);
    let a = state.pool(&pool("a")).unwrap();
    let leaving: Vec<bool> = a
        .servers
        .values()
        .map(|server| server.removal.is_some())
        .collect();
    assert_eq!(leaving, [true, false]);
    let b = state.pool(&pool("b")).unwrap();
    assert!(
        b.servers.values().all(|server| server.removal.is_none()),
        "it names no server of b"
    );
}
