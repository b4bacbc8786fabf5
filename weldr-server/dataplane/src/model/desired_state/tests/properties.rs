//! What holds for any commands in any order.

use std::{collections::BTreeSet, fmt::Debug};

use proptest::{collection::vec, option, prelude::*};
use serde::{Serialize, de::DeserializeOwned};

use super::*;
use crate::model::{
    Balancing, CheckKind, Credential, HashKey, HttpCheck, OutlierPatch, PrincipalName,
    RequestLimitPatch, Role, Sealed, StickinessPatch,
};

fn pools() -> impl Strategy<Value = PoolName> {
    prop_oneof![9 => Just(default_pool()), 1 => Just(other_pool())]
}

/// Few, so that commands meet each other's servers.
fn addresses() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        (1u16..5).prop_map(address),
        Just("[2001:db8::1]:80".parse().unwrap())
    ]
}

fn durations() -> impl Strategy<Value = Duration> {
    prop_oneof![
        1 => Just(Duration::ZERO),
        8 => (1_000u64..60_000).prop_map(Duration::from_millis),
        1 => Just(Duration::from_nanos(1)),
    ]
}

fn kinds() -> impl Strategy<Value = CheckKind> {
    let paths = prop_oneof![Just("/"), Just("/\"quoted\\")];
    let http = (paths, option::of(Just("a.example:80")), 200u16..599);
    let http = http.prop_map(|(path, host, status)| {
        CheckKind::Http(HttpCheck {
            path: path.to_owned(),
            host: host.map(str::to_owned),
            expected_status: format!("{status}-599,{status}").parse().unwrap(),
            ..HttpCheck::default()
        })
    });
    prop_oneof![Just(CheckKind::Tcp), http]
}

fn checks() -> BoxedStrategy<CheckOverride> {
    let parts = (
        option::of(kinds()),
        option::of(durations()),
        option::of(durations()),
        option::of(0u32..102),
        option::of(0u32..102),
        option::of(option::of(0u16..9)),
        option::of(durations()),
        option::of(any::<bool>()),
    );
    parts
        .prop_map(
            |(kind, interval, timeout, healthy, unhealthy, port, grace, begins_healthy)| {
                CheckOverride {
                    kind,
                    interval,
                    timeout,
                    healthy_threshold: healthy,
                    unhealthy_threshold: unhealthy,
                    port,
                    grace,
                    begins_healthy,
                }
            },
        )
        .boxed()
}

/// Mostly none: two servers with the same settings are to be common.
fn few_checks() -> impl Strategy<Value = CheckOverride> {
    prop_oneof![4 => Just(CheckOverride::default()), 1 => checks()]
}

fn weights() -> impl Strategy<Value = Weight> {
    (0u32..3).prop_map(weight)
}

fn admin_states() -> impl Strategy<Value = AdminState> {
    use AdminState::{Drain, Maintenance, Ready};
    prop_oneof![Just(Ready), Just(Drain), Just(Maintenance)]
}

fn specs() -> impl Strategy<Value = ServerSpec> {
    let parts = (weights(), admin_states(), few_checks());
    parts.prop_map(|(weight, admin, check)| ServerSpec {
        weight,
        admin,
        check,
    })
}

fn patches() -> impl Strategy<Value = ServerPatch> {
    let parts = (
        option::of(weights()),
        option::of(admin_states()),
        option::of(few_checks()),
    );
    parts.prop_map(|(weight, admin, check)| ServerPatch {
        weight,
        admin,
        check,
    })
}

/// Boxed, because strategies within strategies take much of a test's stack.
fn pool_patches() -> BoxedStrategy<PoolPatch> {
    use Balancing::{ConsistentHash, LeastRequests, RoundRobin, WeightedRoundRobin};
    let balancing = prop_oneof![
        Just(RoundRobin),
        Just(WeightedRoundRobin),
        Just(LeastRequests),
        Just(ConsistentHash)
    ];
    let outliers = (option::of(0u32..3), option::of(durations()));
    let limits = (option::of(0u32..3), option::of(durations()));
    let hash_keys = prop_oneof![Just(HashKey::Path), Just(HashKey::Cookie("a".to_owned()))];
    let parts = (
        few_checks(),
        option::of(balancing),
        option::of(any::<bool>()),
        option::of(durations()),
        option::of(option::of(durations())),
        option::of(any::<bool>()),
    );
    let protection = (
        option::of(durations()),
        outliers,
        limits,
        option::of(hash_keys),
        stickiness_patches(),
    );
    (parts, protection)
        .prop_map(
            |(policy, (slow_start, outlier, limit, hash_key, stickiness))| {
                let (
                    check,
                    balancing,
                    fail_open,
                    drain_deadline,
                    deregister_after,
                    strict_responses,
                ) = policy;
                PoolPatch {
                    check,
                    balancing,
                    fail_open,
                    drain_deadline,
                    deregister_after,
                    strict_responses,
                    slow_start,
                    outlier: OutlierPatch {
                        failures: outlier.0,
                        time: outlier.1,
                        ..OutlierPatch::default()
                    },
                    limit: RequestLimitPatch {
                        requests: limit.0,
                        queue_timeout: limit.1,
                        ..RequestLimitPatch::default()
                    },
                    hash_key,
                    stickiness,
                    ..PoolPatch::default()
                }
            },
        )
        .boxed()
}

fn stickiness_patches() -> impl Strategy<Value = StickinessPatch> {
    let names = || {
        option::of(option::of(prop_oneof![
            Just("a".to_owned()),
            Just("b".to_owned())
        ]))
    };
    (names(), names(), option::of(durations())).prop_map(
        |(cookie, application_cookie, duration)| StickinessPatch {
            cookie,
            application_cookie,
            duration,
        },
    )
}

fn names() -> impl Strategy<Value = PrincipalName> {
    prop_oneof![Just("deploy"), Just("ci"), Just("a")].prop_map(|name| name.parse().unwrap())
}

fn roles() -> impl Strategy<Value = Role> {
    proptest::sample::select(Role::ALL.as_slice())
}

fn credentials() -> impl Strategy<Value = Credential> {
    let token =
        ("[a-b]{8}", option::of((0u64..9).prop_map(Timestamp))).prop_map(|(id, expires)| {
            Credential::Token {
                id,
                sha256: "0f".repeat(32),
                expires,
            }
        });
    let certificate = "[a-b]{1,2}".prop_map(|subject| Credential::Certificate { subject });
    prop_oneof![token, certificate]
}

fn commands() -> impl Strategy<Value = Command> {
    let seen = || option::weighted(0.2, (0u64..20).prop_map(Revision));
    let moments = || (0u64..9).prop_map(Timestamp);
    let lives = || (1u64..20).prop_map(ServerId);
    prop_oneof![
        3 => (pools(), addresses(), specs(), seen(), moments()).prop_map(
            |(pool, address, spec, expected, at)| Command::AddServer {
                pool, address, spec, expected, at,
            }
        ),
        2 => (pools(), addresses(), patches(), seen(), moments()).prop_map(
            |(pool, address, patch, expected, at)| Command::UpdateServer {
                pool, address, patch, expected, at,
            }
        ),
        2 => (
            pools(), addresses(), option::weighted(0.3, lives()), option::of(durations()), seen(), moments(),
        ).prop_map(|(pool, address, id, deadline, expected, at)| Command::BeginRemoval {
            pool, address, id, deadline, expected, at,
        }),
        1 => (pools(), addresses(), lives()).prop_map(
            |(pool, address, id)| Command::EndRemoval { pool, address, id }
        ),
        1 => (pools(), pool_patches(), seen()).prop_map(
            |(pool, patch, expected)| Command::UpdatePool { pool, patch, expected }
        ),
        1 => (names(), roles(), credentials(), moments()).prop_map(
            |(name, role, credential, at)| Command::CreatePrincipal {
                name, role, pools: vec![], credential, at,
            }
        ),
        1 => names().prop_map(|name| Command::RevokePrincipal { name }),
        1 => (0u64..3, any::<u8>()).prop_map(|(after, byte)| Command::RotateStickiness {
            after,
            secret: Sealed::new("0123456789abcdef".parse().unwrap(), [byte; 60]).unwrap(),
        }),
        1 => (0u64..3, any::<u8>()).prop_map(|(after, byte)| Command::RotateTickets {
            after,
            secret: Sealed::new("0123456789abcdef".parse().unwrap(), [byte; 60]).unwrap(),
        }),
    ]
}

fn sequences() -> impl Strategy<Value = Vec<Command>> {
    vec(commands(), 0..30)
}

fn new() -> DesiredState {
    DesiredState::new(PoolSettings::default())
}

fn servers(state: &DesiredState) -> impl Iterator<Item = &Arc<Server>> {
    state.pools.values().flat_map(|pool| pool.servers.values())
}

/// `value` after it was written and read.
fn stored<T: Serialize + DeserializeOwned + Debug>(value: &T) -> T {
    let text = serde_json::to_string(value).unwrap();
    serde_json::from_str(&text).unwrap()
}

proptest! {
    // Enough for each of these to fail within a run when what it guards is broken.
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn the_same_commands_make_the_same_state(commands in sequences()) {
        let (mut one, mut other) = (new(), new());
        for command in commands {
            prop_assert_eq!(one.apply(command.clone()), other.apply(command));
        }
        prop_assert_eq!(one, other);
    }

    /// By one with each change, and with nothing else.
    #[test]
    fn the_revision_counts_the_changes(commands in sequences()) {
        let mut state = new();
        for command in commands {
            let before = state.clone();
            let changed = match state.apply(command) {
                Ok(Applied { revision, outcome }) => {
                    prop_assert_eq!(revision, state.revision);
                    outcome != Outcome::Unchanged
                }
                Err(_) => false,
            };
            if changed {
                prop_assert_eq!(state.revision, before.revision.next());
                let parts = |state: &DesiredState| {
                    (state.pools.clone(), Arc::clone(&state.principals), Arc::clone(&state.ticket_epochs), Arc::clone(&state.stickiness_epochs))
                };
                prop_assert_ne!(parts(&state), parts(&before));
            } else {
                prop_assert_eq!(&state, &before);
            }
        }
    }

    /// A client that heard nothing sends its command again: it must find its wish fulfilled, or be refused.
    #[test]
    fn a_command_that_is_repeated_changes_nothing_more(commands in sequences()) {
        let mut state = new();
        for command in commands {
            let _ = state.apply(command.clone());
            let before = state.clone();
            let again = state.apply(command);
            let idle = matches!(again, Err(_) | Ok(Applied { outcome: Outcome::Unchanged, .. }));
            prop_assert!(idle, "{:?}", again);
            prop_assert_eq!(&state, &before);
        }
    }

    #[test]
    fn an_id_belongs_to_one_life_of_one_server(commands in sequences()) {
        let mut state = new();
        let mut ended = BTreeSet::new();
        for command in commands {
            let before: BTreeSet<_> = servers(&state).map(|server| (server.id, server.address)).collect();
            let _ = state.apply(command);
            let now: BTreeSet<_> = servers(&state).map(|server| (server.id, server.address)).collect();
            ended.extend(before.difference(&now).map(|(id, _)| *id));
            let ids: BTreeSet<_> = now.iter().map(|(id, _)| *id).collect();
            prop_assert_eq!(ids.len(), now.len(), "two servers share an id");
            prop_assert!(ids.is_disjoint(&ended), "an id came back");
        }
    }

    /// What the parts say of their last change fits the whole.
    #[test]
    fn revisions_contain_each_other(commands in sequences()) {
        let mut state = new();
        for command in commands {
            let _ = state.apply(command);
            for pool in state.pools.values() {
                prop_assert!(pool.servers_revision.max(pool.settings_revision) <= state.revision);
                for (address, server) in &pool.servers {
                    prop_assert_eq!(*address, server.address);
                    prop_assert!(server.revision <= pool.servers_revision);
                    prop_assert!(server.id.0 <= server.revision.0);
                }
            }
        }
    }

    /// Earlier versions stay as they were: readers hold them while later ones are made.
    #[test]
    fn a_copy_does_not_change_with_the_original(before in sequences(), later in sequences()) {
        let mut state = new();
        let mut apart = new();
        for command in before {
            let _ = state.apply(command.clone());
            let _ = apart.apply(command);
        }
        let copy = state.clone();
        for command in later {
            let _ = state.apply(command);
        }
        prop_assert_eq!(copy, apart);
    }

    #[test]
    fn commands_are_stored_as_they_are(command in commands()) {
        prop_assert_eq!(stored(&command), command);
    }

    #[test]
    fn servers_and_settings_are_stored_as_they_are(commands in sequences()) {
        let mut state = new();
        for command in commands {
            let _ = state.apply(command);
        }
        for server in servers(&state) {
            prop_assert_eq!(&stored(server.as_ref()), server.as_ref());
        }
        for pool in state.pools.values() {
            prop_assert_eq!(&stored(&pool.settings), &pool.settings);
        }
    }

    #[test]
    fn overrides_are_stored_as_they_are(check in checks()) {
        prop_assert_eq!(stored(&check), check);
    }
}
