//! Pools, listeners and rules.

use super::*;
use crate::model::{
    Action, Conditions, FixedResponse, ListenerPatch, ListenerPolicy, PolicyPatch, PoolPolicy,
    Redirect, Route, RuleId, RuleSpec, WeightedPool,
};

pub(super) fn pool(name: &str) -> PoolName {
    name.parse().unwrap()
}

pub(super) fn web() -> ListenerName {
    "web".parse().unwrap()
}

pub(super) fn add_pool(name: &str) -> Command {
    Command::AddPool {
        pool: pool(name),
        settings: Box::default(),
    }
}

pub(super) fn remove_pool(name: &str, force: bool) -> Command {
    Command::RemovePool {
        pool: pool(name),
        force,
        expected: None,
    }
}

pub(super) fn add_listener(name: &str, address: &str) -> Command {
    Command::AddListener {
        listener: name.parse().unwrap(),
        spec: Box::new(ListenerSpec {
            address: Some(address.parse().unwrap()),
            ..ListenerSpec::default()
        }),
    }
}

pub(super) fn to_pools(pools: &[(&str, u16)]) -> Route {
    let weighted = pools.iter().map(|(name, weight)| WeightedPool {
        pool: pool(name),
        weight: *weight,
    });
    Route {
        action: Action::Forward(weighted.collect()),
        ..Route::default()
    }
}

pub(super) fn rule_for(path: &str, route: Route) -> Box<RuleSpec> {
    let conditions = Conditions {
        paths: vec![path.to_owned()],
        ..Conditions::default()
    };
    Box::new(RuleSpec { conditions, route })
}

pub(super) fn add_rule(priority: Option<u32>, path: &str, pools: &[(&str, u16)]) -> Command {
    Command::AddRule {
        listener: web(),
        priority: priority.map(Priority),
        spec: rule_for(path, to_pools(pools)),
        expected: None,
    }
}

pub(super) fn move_rule(from: u32, to: u32) -> Command {
    Command::MoveRule {
        listener: web(),
        from: Priority(from),
        to: Priority(to),
        expected: None,
    }
}

pub(super) fn add_to(name: &str, n: u16) -> Command {
    Command::AddServer {
        pool: pool(name),
        address: address(n),
        spec: ServerSpec::default(),
        expected: None,
        at: Timestamp(1),
    }
}

fn remove_from(name: &str, n: u16) -> Command {
    Command::BeginRemoval {
        pool: pool(name),
        address: address(n),
        id: None,
        deadline: None,
        expected: None,
        at: Timestamp(1),
    }
}

pub(super) fn batch(changes: Vec<Command>) -> Command {
    Command::Apply {
        changes,
        expected: None,
        force: false,
    }
}

fn forced(changes: Vec<Command>) -> Command {
    Command::Apply {
        changes,
        expected: None,
        force: true,
    }
}

/// The places and paths of the rules of `web`.
fn paths(state: &DesiredState) -> Vec<(u32, String)> {
    let listener = state.listener(&web()).unwrap();
    let rules = listener.rules.values();
    rules
        .map(|rule| (rule.priority.0, rule.spec.conditions.paths[0].clone()))
        .collect()
}

/// A pool `api` with a server, and a listener `web` with a rule 10 that forwards to it.
pub(super) fn routed() -> DesiredState {
    after([
        add_pool("api"),
        add_to("api", 1),
        add_listener("web", "0.0.0.0:80"),
        add_rule(Some(10), "/v1/*", &[("api", 1)]),
    ])
}

#[test]
fn the_first_state_has_the_listener_and_the_pool_that_always_exist() {
    let mut state = after([]);
    let listener = state.listener(&ListenerName::default()).unwrap();
    assert_eq!(listener.spec.address, None);
    assert_eq!(listener.spec.default_route, to_pools(&[("default", 1)]));
    let remove_listener = Command::RemoveListener {
        listener: ListenerName::default(),
        drain_deadline: Duration::ZERO,
        expected: None,
    };
    for (command, object) in [
        (remove_pool("default", false), "pool default"),
        (remove_pool("default", true), "pool default"),
        (forced(vec![remove_pool("default", true)]), "pool default"),
        (remove_listener, "listener default"),
    ] {
        let refused = state.apply(command).unwrap_err();
        let always = Rejection::Permanent {
            object: object.to_owned(),
        };
        // The default pool is in use as well, which forcing overcomes, and this does not.
        assert_eq!(refused, always);
    }
    assert_eq!(state, after([]));
}

#[test]
fn adding_an_object_again_changes_nothing_and_other_settings_are_named() {
    let mut state = routed();
    for command in [
        add_pool("api"),
        add_listener("web", "0.0.0.0:80"),
        add_rule(Some(10), "/v1/*", &[("api", 1)]),
        add_rule(None, "/v1/*", &[("api", 1)]),
        batch(vec![add_pool("api"), add_listener("web", "0.0.0.0:80")]),
    ] {
        assert_eq!(applied(&mut state, command), (Outcome::Unchanged, 4));
    }
    let other_pool = Command::AddPool {
        pool: pool("api"),
        settings: Box::new(PoolSettings {
            fail_open: false,
            drain_deadline: Duration::from_secs(5),
            ..PoolSettings::default()
        }),
    };
    for (command, told) in [
        (
            other_pool,
            "pool api is there already with drain_deadline 30s (asked for: 5s), fail_open true (asked for: false)",
        ),
        (
            add_listener("web", "0.0.0.0:81"),
            "listener web is there already with address 0.0.0.0:80 (asked for: 0.0.0.0:81)",
        ),
        (
            add_rule(Some(10), "/v2/*", &[("api", 1)]),
            "rule 10 of listener web is there already with conditions.paths [\"/v1/*\"] (asked for: [\"/v2/*\"])",
        ),
    ] {
        assert_eq!(refused(&state, command).to_string(), told);
    }
}

#[test]
fn what_is_not_there_is_named_by_its_kind() {
    let state = routed();
    let listener: ListenerName = "none".parse().unwrap();
    let patch = Box::<ListenerPatch>::default();
    for (command, told) in [
        (remove_pool("none", false), "there is no pool none"),
        (remove_pool("none", true), "there is no pool none"),
        (
            Command::UpdateListener {
                listener,
                patch,
                expected: None,
            },
            "there is no listener none",
        ),
        (move_rule(11, 12), "listener web has no rule 11"),
        (
            add_rule(Some(20), "/", &[("none", 1)]),
            "rule 20 of listener web names pool none, which does not exist: add the pool first",
        ),
        (
            add_listener("again", "0.0.0.0:80"),
            "0.0.0.0:80 is the address of listener web",
        ),
    ] {
        assert_eq!(refused(&state, command).to_string(), told);
    }
}

#[test]
fn a_rule_without_a_number_goes_last() {
    let mut state = after([add_listener("web", "0.0.0.0:80")]);
    for path in ["/a", "/b"] {
        state
            .apply(add_rule(None, path, &[("default", 1)]))
            .unwrap();
    }
    state
        .apply(add_rule(Some(7), "/c", &[("default", 1)]))
        .unwrap();
    let expected = [(7, "/c"), (10, "/a"), (20, "/b")];
    assert_eq!(
        paths(&state),
        expected.map(|(priority, path)| (priority, path.to_owned()))
    );
    let last = Priority::LAST.0;
    state
        .apply(add_rule(Some(last), "/d", &[("default", 1)]))
        .unwrap();
    let ids = |state: &DesiredState| -> Vec<RuleId> {
        let listener = state.listener(&web()).unwrap();
        listener.rules.values().map(|rule| rule.id).collect()
    };
    let before = ids(&state);
    // Those at the end make room.
    for path in ["/e", "/f"] {
        let (outcome, _) = applied(&mut state, add_rule(None, path, &[("default", 1)]));
        assert_eq!(outcome, Outcome::Created);
    }
    let expected = [
        (7, "/c"),
        (10, "/a"),
        (20, "/b"),
        (last - 2, "/d"),
        (last - 1, "/e"),
        (last, "/f"),
    ];
    assert_eq!(
        paths(&state),
        expected.map(|(priority, path)| (priority, path.to_owned()))
    );
    assert_eq!(ids(&state)[..4], before);
}

/// The places and paths of four rules.
type Places = [(u32, &'static str); 4];

#[test]
fn a_rule_that_moves_keeps_its_id_and_the_order_of_the_others() {
    let mut state = after([add_listener("web", "0.0.0.0:80")]);
    for (priority, path) in [(10, "/a"), (11, "/b"), (20, "/c"), (30, "/d")] {
        state
            .apply(add_rule(Some(priority), path, &[("default", 1)]))
            .unwrap();
    }
    let id_of = |state: &DesiredState, path: &str| -> RuleId {
        let listener = state.listener(&web()).unwrap();
        let mut rules = listener.rules.values();
        rules
            .find(|rule| rule.spec.conditions.paths[0] == path)
            .unwrap()
            .id
    };
    let ids = ["/a", "/b", "/c", "/d"].map(|path| id_of(&state, path));
    let moves: [(u32, u32, Places); 4] = [
        // In the way are 10 and 11.
        (30, 10, [(10, "/d"), (11, "/a"), (12, "/b"), (20, "/c")]),
        // Within the row: the place that it leaves is filled.
        (12, 10, [(10, "/b"), (11, "/d"), (12, "/a"), (20, "/c")]),
        (10, 11, [(11, "/b"), (12, "/d"), (13, "/a"), (20, "/c")]),
        (20, 1, [(1, "/c"), (11, "/b"), (12, "/d"), (13, "/a")]),
    ];
    for (from, to, expected) in moves {
        let (outcome, _) = applied(&mut state, move_rule(from, to));
        assert_eq!(outcome, Outcome::Changed);
        let expected: Vec<_> = expected
            .iter()
            .map(|(p, path)| (*p, (*path).to_owned()))
            .collect();
        assert_eq!(paths(&state), expected, "{from} to {to}");
        assert_eq!(
            ["/a", "/b", "/c", "/d"].map(|path| id_of(&state, path)),
            ids
        );
    }
    assert_eq!(applied(&mut state, move_rule(1, 1)).0, Outcome::Unchanged);
    state
        .apply(add_rule(Some(Priority::LAST.0), "/e", &[("default", 1)]))
        .unwrap();
    let before = state.clone();
    let refused = state.apply(move_rule(1, Priority::LAST.0)).unwrap_err();
    assert!(matches!(&refused, Rejection::Invalid { field, .. } if field == "to_priority"));
    assert_eq!(state, before);
}

#[test]
fn a_pool_in_use_is_removed_only_by_force() {
    let mut state = routed();
    state
        .apply(Command::UpdateListener {
            listener: web(),
            patch: Box::new(ListenerPatch {
                default_route: Some(to_pools(&[("api", 90), ("default", 10)])),
                ..ListenerPatch::default()
            }),
            expected: None,
        })
        .unwrap();
    for command in [
        remove_pool("api", false),
        batch(vec![remove_pool("api", false)]),
    ] {
        let refused = refused(&state, command).to_string();
        let by = "pool api is named by the default action of listener web, rule 10 of listener web";
        assert!(refused.starts_with(by), "{refused}");
    }
    let revision = state.revision;
    for command in [
        remove_pool("api", true),
        forced(vec![remove_pool("api", false)]),
    ] {
        let mut state = state.clone();
        let done = state.apply(command).unwrap();
        assert_eq!(done.revision, revision.next());
        assert!(state.pool(&pool("api")).is_err());
        let listener = state.listener(&web()).unwrap();
        assert_eq!(listener.spec.default_route, to_pools(&[("default", 10)]));
        let left = &state.rule(&web(), Priority(10)).unwrap().spec.route.action;
        assert!(matches!(
            left,
            Action::Respond(FixedResponse { status: 503, .. })
        ));
    }
    state.apply(add_pool("spare")).unwrap();
    state.apply(remove_pool("spare", false)).unwrap();
}

#[test]
fn an_apply_leaves_no_used_pool_without_a_server() {
    let mut state = routed();
    let refused = refused(&state, batch(vec![remove_from("api", 1)]));
    let told = "pool api would be left without a server for requests, and is named by rule 10 of listener web: keep one that is \
                ready and has a weight, or force the change";
    assert_eq!(refused.to_string(), told);
    let replaced = batch(vec![remove_from("api", 1), add_to("api", 2)]);
    assert_eq!(applied(&mut state, replaced).0, Outcome::Changed);
    // A server that gets no requests is none.
    let set = |patch: ServerPatch| Command::UpdateServer {
        pool: pool("api"),
        address: address(2),
        patch,
        expected: None,
        at: Timestamp(1),
    };
    for patch in [
        ServerPatch {
            weight: Weight::new(0).ok(),
            ..ServerPatch::default()
        },
        ServerPatch {
            admin: Some(AdminState::Maintenance),
            ..ServerPatch::default()
        },
        ServerPatch {
            admin: Some(AdminState::Drain),
            ..ServerPatch::default()
        },
    ] {
        let refused = self::refused(&state, batch(vec![set(patch.clone())]));
        assert!(
            matches!(refused, Rejection::WouldBeEmpty { .. }),
            "{refused}"
        );
        let mut forced_state = state.clone();
        forced_state.apply(forced(vec![set(patch)])).unwrap();
    }
    // What has none before may have none after.
    let empty = batch(vec![
        add_pool("new"),
        add_rule(Some(20), "/new", &[("new", 1)]),
    ]);
    state.apply(empty).unwrap();
    state.apply(forced(vec![remove_from("api", 2)])).unwrap();
    // A single removal is for operators who know what they do, as in a pool that no rule names.
    let mut alone = routed();
    alone.apply(remove_from("api", 1)).unwrap();
}

#[test]
fn an_apply_is_one_revision_in_any_order_or_nothing() {
    let mut state = after([]);
    let rule_first = vec![
        add_listener("web", "0.0.0.0:80"),
        add_rule(Some(10), "/v1/*", &[("api", 1)]),
        add_pool("api"),
        add_to("api", 1),
        add_to("api", 2),
        add_to("api", 3),
    ];
    let mut bad = rule_first.clone();
    bad.push(add_rule(Some(20), "/v2/*", &[("none", 1)]));
    let told = refused(&state, batch(bad)).to_string();
    assert!(
        told.starts_with("rule 20 of listener web names pool none"),
        "{told}"
    );
    assert_eq!(
        applied(&mut state, batch(rule_first.clone())),
        (Outcome::Changed, 1)
    );
    let servers: Vec<_> = state
        .pool(&pool("api"))
        .unwrap()
        .servers
        .values()
        .cloned()
        .collect();
    let ids: Vec<u64> = servers.iter().map(|server| server.id.0).collect();
    assert_eq!(ids, [2, 3, 4], "the rule has 1");
    assert!(servers.iter().all(|server| server.revision == Revision(1)));
    assert_eq!(
        applied(&mut state, batch(rule_first)),
        (Outcome::Unchanged, 1)
    );
    // No id is used again, although the revision is behind them.
    state.apply(add_to("api", 4)).unwrap();
    assert_eq!(
        state.server(&pool("api"), address(4)).unwrap().id,
        ServerId(5)
    );
    for n in 5..9 {
        state.apply(add_to("api", n)).unwrap();
    }
    let last = state.server(&pool("api"), address(8)).unwrap().id.0;
    assert_eq!((last, state.revision), (9, Revision(6)));
    let nested = batch(vec![batch(vec![])]);
    assert!(
        matches!(refused(&state, nested), Rejection::Invalid { field, .. } if field == "changes")
    );
}

#[test]
fn two_listeners_can_swap_their_addresses_in_one_apply() {
    let mut state = after([
        add_listener("web", "0.0.0.0:80"),
        add_listener("other", "0.0.0.0:81"),
    ]);
    let at = |name: &str, address: &str| Command::UpdateListener {
        listener: name.parse().unwrap(),
        patch: Box::new(ListenerPatch {
            address: Some(address.parse().unwrap()),
            ..ListenerPatch::default()
        }),
        expected: None,
    };
    assert!(matches!(
        refused(&state, at("web", "0.0.0.0:81")),
        Rejection::AddressTaken { .. }
    ));
    let half = batch(vec![at("web", "0.0.0.0:81")]);
    assert!(matches!(
        refused(&state, half),
        Rejection::AddressTaken { .. }
    ));
    state
        .apply(batch(vec![
            at("web", "0.0.0.0:81"),
            at("other", "0.0.0.0:80"),
        ]))
        .unwrap();
}

#[test]
fn an_expected_revision_is_that_of_the_object() {
    let state = routed();
    let expected = Some(Revision(2));
    let settings = Command::UpdatePool {
        pool: pool("api"),
        patch: PoolPatch {
            fail_open: Some(false),
            ..PoolPatch::default()
        },
        expected: Some(Revision(0)),
    };
    let gone = Command::RemovePool {
        pool: pool("api"),
        force: true,
        expected: Some(Revision(1)),
    };
    let listener = Command::RemoveListener {
        listener: web(),
        drain_deadline: Duration::ZERO,
        expected: Some(Revision(3)),
    };
    let Command::AddRule { spec, .. } = add_rule(None, "/", &[("api", 1)]) else {
        unreachable!()
    };
    let rule = Command::UpdateRule {
        listener: web(),
        priority: Priority(10),
        spec,
        expected,
    };
    let all = Command::Apply {
        changes: vec![add_pool("x")],
        expected: Some(Revision(3)),
        force: false,
    };
    for (command, object) in [
        (settings, "the settings of pool api"),
        (gone, "pool api"),
        (listener, "listener web"),
        (rule, "rule 10 of listener web"),
        (all, "the desired state"),
    ] {
        let told = refused(&state, command);
        assert!(
            matches!(&told, Rejection::Changed { object: told, .. } if told == object),
            "{told}"
        );
    }
}

#[test]
fn a_removed_listener_says_how_long_its_connections_have() {
    let mut state = routed();
    let drain_deadline = Duration::from_secs(7);
    state
        .apply(Command::RemoveListener {
            listener: web(),
            drain_deadline,
            expected: None,
        })
        .unwrap();
    assert!(state.listener(&web()).is_err());
    assert_eq!(
        state.removed_listeners[&web()].drain_deadline,
        drain_deadline
    );
    state.apply(add_listener("web", "0.0.0.0:80")).unwrap();
    assert!(state.removed_listeners.is_empty());
    // As many are remembered as there may be.
    for n in 0..300u16 {
        let name = format!("l{n}");
        state
            .apply(add_listener(&name, &format!("127.0.0.1:{}", n + 1)))
            .unwrap();
        state
            .apply(Command::RemoveListener {
                listener: name.parse().unwrap(),
                drain_deadline,
                expected: None,
            })
            .unwrap();
    }
    assert_eq!(state.removed_listeners.size(), DesiredState::MOST_LISTENERS);
    assert!(
        state
            .removed_listeners
            .contains_key(&"l299".parse().unwrap())
    );
    assert!(!state.removed_listeners.contains_key(&"l0".parse().unwrap()));
}

#[test]
fn a_policy_is_set_and_unset_value_by_value() {
    let mut state = routed();
    let patch = |set: PoolPolicy, unset: &[&str]| Command::UpdatePool {
        pool: pool("api"),
        patch: PoolPatch {
            policy: PolicyPatch {
                set,
                unset: unset.iter().map(|name| (*name).to_owned()).collect(),
            },
            ..PoolPatch::default()
        },
        expected: None,
    };
    let set = PoolPolicy {
        retries: Some(0),
        connect_timeout: Some(Duration::from_secs(1)),
        ..PoolPolicy::default()
    };
    state.apply(patch(set, &[])).unwrap();
    state
        .apply(patch(PoolPolicy::default(), &["retries"]))
        .unwrap();
    let policy = &state.pool(&pool("api")).unwrap().settings.policy;
    assert_eq!(
        (policy.retries, policy.connect_timeout),
        (None, Some(Duration::from_secs(1)))
    );
    let told = refused(&state, patch(PoolPolicy::default(), &["retires"]));
    assert!(told.to_string().contains("connect_timeout"), "{told}");
    let listener = Command::UpdateListener {
        listener: ListenerName::default(),
        patch: Box::new(ListenerPatch {
            policy: PolicyPatch {
                set: ListenerPolicy {
                    access_log: Some(false),
                    max_headers: Some(0),
                    ..ListenerPolicy::default()
                },
                unset: vec![],
            },
            ..ListenerPatch::default()
        }),
        expected: None,
    };
    assert!(
        matches!(refused(&state, listener), Rejection::Invalid { field, .. } if field == "policy.max_headers")
    );
}

#[test]
fn values_out_of_range_are_refused_with_their_field() {
    let redirect = |path: &str, location: &str| Command::AddRule {
        listener: web(),
        priority: Some(Priority(30)),
        spec: rule_for(
            path,
            Route {
                action: Action::Redirect(Redirect {
                    location: location.to_owned(),
                    status: 301,
                }),
                ..Route::default()
            },
        ),
        expected: None,
    };
    let respond = |body: usize| Command::AddRule {
        listener: web(),
        priority: Some(Priority(30)),
        spec: rule_for(
            "/",
            Route {
                action: Action::Respond(FixedResponse {
                    status: 200,
                    content_type: "text/plain".to_owned(),
                    body: "x".repeat(body),
                }),
                ..Route::default()
            },
        ),
        expected: None,
    };
    let mut state = routed();
    for (command, name) in [
        (
            redirect("/old", "https://a/{rest}"),
            "route.redirect.location",
        ),
        (
            redirect("/o*d/*", "https://a/{rest}"),
            "route.redirect.location",
        ),
        (
            redirect("/old/*", "https://a/{other}"),
            "route.redirect.location",
        ),
        (respond(16 * 1024 + 1), "route.respond.body"),
        (add_rule(Some(0), "/", &[("api", 1)]), "priority"),
        (add_rule(Some(1_000_001), "/", &[("api", 1)]), "priority"),
        (move_rule(10, 0), "to_priority"),
        (
            add_rule(Some(30), "/", &[("api", 1000)]),
            "route.forward.weight",
        ),
        (
            add_rule(Some(30), "/", &[("api", 0)]),
            "route.forward.weight",
        ),
        (
            add_rule(Some(30), "/", &[("api", 1), ("api", 2)]),
            "route.forward.pool",
        ),
        (add_rule(Some(30), "/", &[]), "route.forward"),
        (add_listener("l", "0.0.0.0:0"), "address"),
        (add_listener("default", "0.0.0.0:1"), "address"),
    ] {
        let told = refused(&state, command);
        assert!(
            matches!(&told, Rejection::Invalid { field, .. } if field == name),
            "{name}: {told}"
        );
    }
    state.apply(redirect("/old/*", "https://a/{rest}")).unwrap();
    state.apply(move_rule(30, 40)).unwrap();
    state.apply(respond(16 * 1024)).unwrap();
}

#[test]
fn what_is_full_takes_no_more_and_can_be_emptied() {
    let mut state = after([]);
    for n in 1..DesiredState::MOST_POOLS {
        state.apply_earlier(add_pool(&format!("p{n}"))).unwrap();
    }
    let told = refused(&state, add_pool("one-more")).to_string();
    assert_eq!(told, "there are 10000 pools, which is the limit");
    state.apply(remove_pool("p1", false)).unwrap();
    state.apply(add_pool("one-more")).unwrap();

    let mut state = after([]);
    for n in 1..DesiredState::MOST_LISTENERS {
        let port = u16::try_from(n).unwrap();
        state
            .apply_earlier(add_listener(&format!("l{n}"), &format!("0.0.0.0:{port}")))
            .unwrap();
    }
    let told = refused(&state, add_listener("more", "0.0.0.0:9999")).to_string();
    assert_eq!(told, "there are 256 listeners, which is the limit");

    let mut state = after([add_listener("web", "0.0.0.0:80")]);
    let full = u32::try_from(Listener::MOST_RULES).unwrap();
    let rules = (1..=full).map(|n| add_rule(Some(n), &format!("/{n}"), &[("default", 1)]));
    state.apply(batch(rules.collect())).unwrap();
    let told = refused(&state, add_rule(None, "/more", &[("default", 1)])).to_string();
    assert_eq!(
        told,
        "there are 20000 rules of listener web, which is the limit"
    );
    let remove = |priority: u32| Command::RemoveRule {
        listener: web(),
        priority: Priority(priority),
        expected: None,
    };
    state
        .apply(batch((1..=full).map(remove).collect()))
        .unwrap();
    assert!(state.listener(&web()).unwrap().rules.is_empty());
}

#[test]
fn all_listeners_together_have_a_limit_of_rules() {
    let names = ["web", "a", "b"];
    let ports = ["0.0.0.0:1", "0.0.0.0:2", "0.0.0.0:3"];
    let mut state = after(
        names
            .iter()
            .zip(ports)
            .map(|(name, at)| add_listener(name, at)),
    );
    let rule = |listener: &str, n: u32| Command::AddRule {
        listener: listener.parse().unwrap(),
        priority: Some(Priority(n)),
        spec: rule_for(&format!("/{n}"), to_pools(&[("default", 1)])),
        expected: None,
    };
    for (listener, rules) in names.iter().zip([20_000, 20_000, 10_000]) {
        let rules = (1..=rules).map(|n| rule(listener, n));
        state.apply(batch(rules.collect())).unwrap();
    }
    let told = refused(&state, rule("b", 10_001)).to_string();
    assert_eq!(
        told,
        "there are 50000 rules of all listeners, which is the limit"
    );
}

/// What one change of a server copies does not depend on how many other pools there are: the views of all others are shared.
#[test]
fn a_change_of_one_pool_shares_all_others() {
    let mut state = after([]);
    for n in 0..100 {
        state.apply(add_pool(&format!("p{n}"))).unwrap();
        state.apply(add_to(&format!("p{n}"), 1)).unwrap();
    }
    let before = state.clone();
    state.apply(add_to("p50", 2)).unwrap();
    for (name, pool) in &before.pools {
        let server = pool.servers.values().next();
        let same = state.pools[name].servers.values().next();
        let (Some(server), Some(same)) = (server, same) else {
            continue;
        };
        assert!(Arc::ptr_eq(server, same));
        if name.as_str() != "p50" {
            assert!(
                std::ptr::eq(pool, &raw const state.pools[name]),
                "{name} was copied"
            );
        }
    }
}
