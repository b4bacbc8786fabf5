#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on says so by panicking"
)]

mod acme;
mod certificates;
mod epochs;
mod objects;
mod principals;
mod properties;

use std::time::Duration;

use super::*;
use crate::model::{
    AdminState, CheckOverride, PoolPatch, Removal, ServerId, ServerPatch, ServerSpec, Setting,
    Timestamp, Weight,
};

const SECOND: u64 = 1_000;

fn default_pool() -> PoolName {
    PoolName::default()
}

fn other_pool() -> PoolName {
    "other".parse().unwrap()
}

fn address(n: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], n))
}

fn weight(weight: u32) -> Weight {
    Weight::new(weight).unwrap()
}

fn weighing(n: u32) -> ServerSpec {
    ServerSpec {
        weight: weight(n),
        ..ServerSpec::default()
    }
}

fn add(n: u16, spec: ServerSpec) -> Command {
    Command::AddServer {
        pool: default_pool(),
        address: address(n),
        spec,
        expected: None,
        at: Timestamp(SECOND),
    }
}

fn update(n: u16, patch: ServerPatch, at: u64) -> Command {
    Command::UpdateServer {
        pool: default_pool(),
        address: address(n),
        patch,
        expected: None,
        at: Timestamp(at),
    }
}

fn weigh(n: u16, new: u32) -> Command {
    let patch = ServerPatch {
        weight: Some(weight(new)),
        ..ServerPatch::default()
    };
    update(n, patch, 2 * SECOND)
}

fn remove(n: u16, id: Option<u64>, deadline: Option<u64>, at: u64) -> Command {
    Command::BeginRemoval {
        pool: default_pool(),
        address: address(n),
        id: id.map(ServerId),
        deadline: deadline.map(Duration::from_secs),
        expected: None,
        at: Timestamp(at),
    }
}

fn end(n: u16, id: u64) -> Command {
    Command::EndRemoval {
        pool: default_pool(),
        address: address(n),
        id: ServerId(id),
    }
}

fn update_pool(patch: PoolPatch) -> Command {
    Command::UpdatePool {
        pool: default_pool(),
        patch,
        expected: None,
    }
}

fn fail_open(fail_open: bool) -> Command {
    update_pool(PoolPatch {
        fail_open: Some(fail_open),
        ..PoolPatch::default()
    })
}

/// The command as a writer sends it who last saw `revision`.
fn expecting(revision: u64, mut command: Command) -> Command {
    match &mut command {
        Command::AddServer { expected, .. }
        | Command::UpdateServer { expected, .. }
        | Command::BeginRemoval { expected, .. }
        | Command::UpdatePool { expected, .. } => *expected = Some(Revision(revision)),
        other => panic!("{other:?} is not about a server or settings, or expects nothing"),
    }
    command
}

/// The same command, for a pool that is not there.
fn elsewhere(mut command: Command) -> Command {
    match &mut command {
        Command::AddServer { pool, .. }
        | Command::UpdateServer { pool, .. }
        | Command::BeginRemoval { pool, .. }
        | Command::EndRemoval { pool, .. }
        | Command::UpdatePool { pool, .. } => *pool = other_pool(),
        other => panic!("{other:?} is not about a server or settings"),
    }
    command
}

/// The state after `commands`, none of which may be refused.
fn after(commands: impl IntoIterator<Item = Command>) -> DesiredState {
    let mut state = DesiredState::new(PoolSettings::default());
    for command in commands {
        state.apply(command).unwrap();
    }
    state
}

fn server(state: &DesiredState, n: u16) -> Server {
    Server::clone(state.server(&default_pool(), address(n)).unwrap())
}

/// What happened, and the revision after it.
fn applied(state: &mut DesiredState, command: Command) -> (Outcome, u64) {
    let applied = state.apply(command).unwrap();
    assert_eq!(applied.revision, state.revision);
    (applied.outcome, applied.revision.0)
}

/// The refusal of a command that must leave everything as it was.
fn refused(state: &DesiredState, command: Command) -> Rejection {
    let mut tried = state.clone();
    let rejection = tried.apply(command).unwrap_err();
    assert_eq!(tried, *state);
    rejection
}

#[test]
fn a_new_server_has_the_revision_that_added_it_as_its_id() {
    let mut state = after([add(1, weighing(1))]);
    let outcome = applied(&mut state, add(2, weighing(7)));
    assert_eq!(outcome, (Outcome::Created, 2));
    let expected = Server {
        id: ServerId(2),
        address: address(2),
        spec: weighing(7),
        removal: None,
        added_at: Timestamp(SECOND),
        intent_since: Timestamp(SECOND),
        revision: Revision(2),
    };
    assert_eq!(server(&state, 2), expected);
    let pool = state.pool(&default_pool()).unwrap();
    let revisions = (pool.settings_revision, pool.servers_revision);
    assert_eq!(revisions, (Revision(0), Revision(2)));
}

#[test]
fn the_same_server_again_changes_nothing() {
    let mut state = after([add(1, weighing(7))]);
    let before = state.clone();
    let mut again = add(1, weighing(7));
    if let Command::AddServer { at, .. } = &mut again {
        *at = Timestamp(9 * SECOND);
    }
    assert_eq!(applied(&mut state, again), (Outcome::Unchanged, 1));
    assert_eq!(state, before);
}

#[test]
fn a_server_that_is_there_with_other_settings_is_refused_with_the_differences() {
    let state = after([add(1, weighing(7))]);
    let asked = ServerSpec {
        weight: weight(9),
        admin: AdminState::Drain,
        check: CheckOverride {
            port: Some(None),
            interval: Some(Duration::from_secs(1)),
            ..CheckOverride::default()
        },
    };
    let rejection = refused(&state, add(1, asked));
    let Rejection::Exists { differences, .. } = &rejection else {
        panic!("{rejection:?}");
    };
    let told: Vec<_> = differences
        .iter()
        .map(|setting| {
            let Setting {
                name,
                present,
                asked,
            } = setting;
            (name.as_ref(), present.as_str(), asked.as_str())
        })
        .collect();
    let expected = [
        ("weight", "7", "9"),
        ("admin_state", "ready", "drain"),
        ("check", "inherited", "interval 1s, port of the traffic"),
    ];
    assert_eq!(told, expected);
    assert_eq!(
        refused(&state, add(1, weighing(8))).to_string(),
        "server 127.0.0.1:1 is there already with weight 7 (asked for: 8)"
    );
}

#[test]
fn adding_a_server_that_is_being_removed_keeps_it() {
    let mut state = after([add(1, weighing(7)), remove(1, None, None, 5 * SECOND)]);
    let removed = server(&state, 1);
    let mut back = add(1, weighing(9));
    if let Command::AddServer { at, .. } = &mut back {
        *at = Timestamp(6 * SECOND);
    }
    assert_eq!(applied(&mut state, back), (Outcome::Created, 3));
    let kept = Server {
        spec: weighing(9),
        removal: None,
        intent_since: Timestamp(6 * SECOND),
        revision: Revision(3),
        ..removed
    };
    assert_eq!(server(&state, 1), kept);
    assert_eq!(kept.id, ServerId(1));
    assert_eq!(kept.added_at, Timestamp(SECOND));
}

#[test]
fn an_address_that_comes_back_after_it_was_gone_is_another_server() {
    let state = after([
        add(1, weighing(1)),
        remove(1, None, Some(0), 2 * SECOND),
        add(1, weighing(1)),
    ]);
    assert_eq!(server(&state, 1).id, ServerId(3));
}

#[test]
fn an_update_changes_what_it_names() {
    let mut state = after([add(1, weighing(7))]);
    let before = server(&state, 1);
    assert_eq!(applied(&mut state, weigh(1, 9)), (Outcome::Changed, 2));
    let expected = Server {
        spec: weighing(9),
        revision: Revision(2),
        ..before
    };
    assert_eq!(server(&state, 1), expected);
    assert_eq!(applied(&mut state, weigh(1, 9)), (Outcome::Unchanged, 2));
    let nothing = update(1, ServerPatch::default(), 3 * SECOND);
    assert_eq!(applied(&mut state, nothing), (Outcome::Unchanged, 2));
    assert_eq!(server(&state, 1), expected);
}

/// The intent is whether operators want requests sent there: another weight is none, unless it is 0.
#[test]
fn the_intent_is_as_old_as_its_last_change() {
    let admin = |admin| ServerPatch {
        admin: Some(admin),
        ..ServerPatch::default()
    };
    let mut state = after([add(1, weighing(7))]);
    let mut since = |command| {
        state.apply(command).unwrap();
        server(&state, 1).intent_since.0
    };
    assert_eq!(since(weigh(1, 8)), SECOND);
    assert_eq!(since(weigh(1, 0)), 2 * SECOND);
    assert_eq!(
        since(update(1, admin(AdminState::Drain), 3 * SECOND)),
        3 * SECOND
    );
    assert_eq!(
        since(update(1, admin(AdminState::Drain), 4 * SECOND)),
        3 * SECOND
    );
    assert_eq!(since(remove(1, None, None, 5 * SECOND)), 5 * SECOND);
    assert_eq!(since(remove(1, None, Some(9), 6 * SECOND)), 5 * SECOND);
}

#[test]
fn a_removal_has_the_deadline_that_was_asked_for_or_the_one_of_the_pool() {
    let at = 5 * SECOND;
    for (asked, deadline) in [(None, at + 30 * SECOND), (Some(7), at + 7 * SECOND)] {
        let mut state = after([add(1, weighing(1)), add(2, weighing(1))]);
        let outcome = applied(&mut state, remove(1, Some(1), asked, at));
        assert_eq!(outcome, (Outcome::Changed, 3));
        let removal = Removal {
            drain_deadline: Duration::from_millis(deadline - at),
            deadline: Timestamp(deadline),
        };
        let there = server(&state, 1);
        assert_eq!(
            (there.removal, there.revision),
            (Some(removal), Revision(3))
        );
        assert!(!there.wants_requests());
        assert_eq!(server(&state, 2).removal, None);
    }
}

#[test]
fn a_removal_takes_the_drain_deadline_of_its_pool_as_it_is_then() {
    let deadline = PoolPatch {
        drain_deadline: Some(Duration::from_secs(3)),
        ..PoolPatch::default()
    };
    let state = after([
        add(1, weighing(1)),
        update_pool(deadline),
        remove(1, None, None, 5 * SECOND),
    ]);
    let removal = server(&state, 1).removal.unwrap();
    assert_eq!(removal.drain_deadline, Duration::from_secs(3));
    assert_eq!(removal.deadline, Timestamp(8 * SECOND));
}

#[test]
fn a_removal_without_time_ends_at_once() {
    let begun = [add(1, weighing(1)), remove(1, None, None, 2 * SECOND)];
    for before in [after([begun[0].clone()]), after(begun.clone())] {
        let mut state = before;
        let revision = state.revision.next();
        let outcome = applied(&mut state, remove(1, None, Some(0), 3 * SECOND));
        assert_eq!(outcome, (Outcome::Removed, revision.0));
        let pool = state.pool(&default_pool()).unwrap();
        assert_eq!((pool.servers.size(), pool.servers_revision), (0, revision));
    }
}

/// The table of a removal that is asked for again at 9 s, when the first (at 5 s, for 30 s) is under way.
#[test]
fn a_removal_that_is_repeated_moves_only_when_told_a_deadline() {
    for (asked, at, outcome, lasts, deadline) in [
        (None, 9, Outcome::Unchanged, 30, 35),
        (Some(2), 9, Outcome::Changed, 2, 11),
        (Some(60), 9, Outcome::Changed, 60, 69),
        (Some(30), 5, Outcome::Unchanged, 30, 35),
        (Some(26), 9, Outcome::Changed, 26, 35),
    ] {
        let mut state = after([add(1, weighing(1)), remove(1, None, None, 5 * SECOND)]);
        let revision = if outcome == Outcome::Changed { 3 } else { 2 };
        let again = remove(1, None, asked, at * SECOND);
        assert_eq!(applied(&mut state, again), (outcome, revision), "{asked:?}");
        let removal = server(&state, 1).removal.unwrap();
        let expected = Removal {
            drain_deadline: Duration::from_secs(lasts),
            deadline: Timestamp(deadline * SECOND),
        };
        assert_eq!(removal, expected, "{asked:?}");
    }
}

#[test]
fn a_removal_of_another_life_of_the_server_is_refused() {
    let state = after([add(1, weighing(1))]);
    for deadline in [None, Some(0), Some(9)] {
        let rejection = refused(&state, remove(1, Some(2), deadline, SECOND));
        assert!(matches!(rejection, Rejection::NoSuchServer { .. }));
    }
}

/// An end comes from a timer, which may have been overtaken.
#[test]
fn an_end_of_a_removal_ends_only_what_is_being_removed() {
    let added = add(1, weighing(1));
    let begun = remove(1, None, None, 2 * SECOND);
    let unchanged = [
        ("not being removed", vec![added.clone()], end(1, 1)),
        (
            "kept",
            vec![added.clone(), begun.clone(), added.clone()],
            end(1, 1),
        ),
        (
            "another life",
            vec![added.clone(), begun.clone()],
            end(1, 2),
        ),
        ("gone", vec![added.clone()], end(2, 2)),
        (
            "no pool",
            vec![added.clone(), begun.clone()],
            elsewhere(end(1, 1)),
        ),
    ];
    for (what, before, command) in unchanged {
        let mut state = after(before);
        let before = state.clone();
        assert_eq!(applied(&mut state, command).0, Outcome::Unchanged, "{what}");
        assert_eq!(state, before, "{what}");
    }
    let mut state = after([added, begun]);
    assert_eq!(applied(&mut state, end(1, 1)), (Outcome::Removed, 3));
    let pool = state.pool(&default_pool()).unwrap();
    assert_eq!(
        (pool.servers.size(), pool.servers_revision),
        (0, Revision(3))
    );
}

#[test]
fn an_update_of_the_pool_changes_its_settings_and_no_server() {
    let mut state = after([add(1, weighing(1))]);
    let before = server(&state, 1);
    assert_eq!(applied(&mut state, fail_open(false)), (Outcome::Changed, 2));
    assert_eq!(
        applied(&mut state, fail_open(false)),
        (Outcome::Unchanged, 2)
    );
    let pool = state.pool(&default_pool()).unwrap();
    let settings = PoolSettings {
        fail_open: false,
        ..PoolSettings::default()
    };
    assert_eq!(pool.settings, settings);
    let revisions = (pool.settings_revision, pool.servers_revision);
    assert_eq!(revisions, (Revision(2), Revision(1)));
    assert_eq!(server(&state, 1), before);
}

#[test]
fn what_is_not_there_is_named() {
    let state = after([add(1, weighing(1))]);
    let commands = [weigh(1, 2), remove(1, None, None, SECOND)];
    for command in [add(1, weighing(1)), fail_open(false)]
        .into_iter()
        .chain(commands)
    {
        let rejection = refused(&state, elsewhere(command));
        assert_eq!(rejection, Rejection::NoSuchPool { pool: other_pool() });
    }
    for command in [
        weigh(2, 2),
        remove(2, None, None, SECOND),
        remove(2, None, Some(0), SECOND),
    ] {
        let missing = Rejection::NoSuchServer {
            pool: default_pool(),
            address: address(2),
        };
        assert_eq!(refused(&state, command), missing);
    }
}

/// Revision 1 adds server 1, 2 adds server 2, 3 changes server 1, 4 changes the settings. Each object has
/// its own last change, and a writer who has seen that may write.
#[test]
fn an_expected_revision_is_compared_with_the_object_it_is_about() {
    let state = after([
        add(1, weighing(1)),
        add(2, weighing(1)),
        weigh(1, 5),
        fail_open(false),
    ]);
    for (what, command, last_change) in [
        ("the set of servers", add(3, weighing(1)), 3),
        ("the set of servers", add(1, weighing(5)), 3),
        ("server 127.0.0.1:1", weigh(1, 9), 3),
        ("server 127.0.0.1:1", weigh(1, 5), 3),
        ("server 127.0.0.1:1", remove(1, None, None, SECOND), 3),
        ("server 127.0.0.1:1", remove(1, None, Some(0), SECOND), 3),
        ("server 127.0.0.1:2", weigh(2, 9), 2),
        ("server 127.0.0.1:2", remove(2, None, None, SECOND), 2),
        ("the settings of pool default", fail_open(true), 4),
        ("the settings of pool default", fail_open(false), 4),
    ] {
        for seen in 0..=5 {
            let command = expecting(seen, command.clone());
            if seen >= last_change {
                state.clone().apply(command).unwrap();
                continue;
            }
            let rejection = refused(&state, command);
            let Rejection::Changed {
                object,
                expected,
                actual,
            } = rejection
            else {
                panic!("{what} at {seen}: {rejection:?}");
            };
            assert!(object.starts_with(what), "{object} is not {what}");
            assert_eq!((expected, actual), (Revision(seen), Revision(last_change)));
        }
    }
}

#[test]
fn a_removed_server_is_a_change_of_the_set() {
    let state = after([add(1, weighing(1)), remove(1, None, Some(0), SECOND)]);
    let rejection = refused(&state, expecting(1, add(1, weighing(1))));
    assert!(matches!(
        rejection,
        Rejection::Changed {
            actual: Revision(2),
            ..
        }
    ));
}

#[test]
fn a_full_pool_takes_no_further_server_and_goes_on_with_those_it_has() {
    let mut state = after([add(1, weighing(1))]);
    let any = Arc::new(server(&state, 1));
    let pool = state.pools.get_mut(&default_pool()).unwrap();
    let addresses = (0..).map(|n: u32| SocketAddr::from((n.to_be_bytes(), 80)));
    for address in addresses.take(DesiredState::MOST_SERVERS - 1) {
        pool.servers.insert_mut(address, Arc::clone(&any));
    }
    let full = Rejection::PoolFull {
        pool: default_pool(),
        limit: DesiredState::MOST_SERVERS,
    };
    assert_eq!(refused(&state, add(2, weighing(1))), full);
    assert_eq!(
        applied(&mut state, add(1, weighing(1))).0,
        Outcome::Unchanged
    );
    assert_eq!(
        applied(&mut state, remove(1, None, None, SECOND)).0,
        Outcome::Changed
    );
    assert_eq!(applied(&mut state, add(1, weighing(1))).0, Outcome::Created);
    assert_eq!(
        applied(&mut state, remove(1, None, Some(0), SECOND)).0,
        Outcome::Removed
    );
    assert_eq!(applied(&mut state, add(2, weighing(1))).0, Outcome::Created);
}
