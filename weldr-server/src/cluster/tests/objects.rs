//! Pools, listeners, rules and certificates in the log, in snapshots, in the history and in backups.

use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::{
    cluster::{
        Backup,
        log::proposal::{Proposal, ProposalResult, Record},
    },
    model::{
        Action, CertificateName, CertificateSource, CertificateSpec, Conditions, Der, KeyType,
        ListenerName, ListenerPatch, ListenerProtocol, ListenerSpec, PolicyPatch, PoolPatch,
        PoolPolicy, PoolProtocol, PoolTlsPatch, Priority, Route, RuleSpec, Sealed, SealingKeyId,
        WeightedPool,
    },
};

fn api() -> PoolName {
    "api".parse().unwrap()
}

fn web() -> ListenerName {
    "web".parse().unwrap()
}

fn to_api() -> Route {
    Route {
        action: Action::Forward(vec![WeightedPool {
            pool: api(),
            weight: 5,
        }]),
        ..Route::default()
    }
}

fn rule(path: &str) -> Box<RuleSpec> {
    Box::new(RuleSpec {
        conditions: Conditions {
            paths: vec![path.to_owned()],
            ..Conditions::default()
        },
        route: to_api(),
    })
}

fn add_rule(priority: u32, path: &str) -> Command {
    Command::AddRule {
        listener: web(),
        priority: Some(Priority(priority)),
        spec: rule(path),
        expected: None,
    }
}

fn add_server(n: u16) -> Command {
    Command::AddServer {
        pool: api(),
        address: address(n),
        spec: ServerSpec::default(),
        expected: None,
        at: Timestamp(1),
    }
}

fn shop() -> CertificateName {
    "shop".parse().unwrap()
}

/// A certificate whose chain is made of this byte.
fn certificate(chain: u8) -> CertificateSpec {
    let sealed = Sealed::new(SealingKeyId::of_digest(&[7; 32]), [chain; 40]);
    CertificateSpec {
        chain: vec![Der::new([chain; 10])],
        key: sealed.unwrap(),
        names: vec!["shop.example".to_owned()],
        not_before: Timestamp(0),
        not_after: Timestamp(1),
        key_type: KeyType::Rsa(2048),
        fingerprint: format!("{chain:064x}"),
        source: CertificateSource::Uploaded,
    }
}

/// The pool `default` with this certificate for its servers.
fn client_certificate(name: Option<CertificateName>) -> Command {
    Command::UpdatePool {
        pool: PoolName::default(),
        patch: PoolPatch {
            protocol: Some(PoolProtocol::Https),
            tls: PoolTlsPatch {
                client_certificate: Some(name),
                ..PoolTlsPatch::default()
            },
            ..PoolPatch::default()
        },
        expected: None,
    }
}

/// Commands about certificates and what names them, in an order in which each changes something.
fn about_certificates() -> Vec<Command> {
    let secure: ListenerName = "secure".parse().unwrap();
    vec![
        Command::AddCertificate {
            certificate: shop(),
            spec: Box::new(certificate(1)),
        },
        Command::AddListener {
            listener: secure.clone(),
            spec: Box::new(ListenerSpec {
                address: Some("0.0.0.0:443".parse().unwrap()),
                protocol: ListenerProtocol::Https,
                certificates: vec![shop()],
                ..ListenerSpec::default()
            }),
        },
        client_certificate(Some(shop())),
        Command::UpdateCertificate {
            certificate: shop(),
            spec: Box::new(certificate(2)),
            expected: None,
        },
        client_certificate(None),
        Command::RemoveListener {
            listener: secure,
            drain_deadline: Duration::from_secs(3),
            expected: None,
        },
        Command::RemoveCertificate {
            certificate: shop(),
            expected: None,
        },
    ]
}

fn secret_of_tickets() -> Sealed {
    Sealed::new("0123456789abcdef".parse().unwrap(), [9; 60]).unwrap()
}

/// One command of each kind, in an order in which each changes something.
#[expect(clippy::too_many_lines, reason = "it is a list")]
fn one_of_each_kind() -> Vec<Command> {
    let listener = ListenerSpec {
        address: Some("0.0.0.0:80".parse().unwrap()),
        ..ListenerSpec::default()
    };
    vec![
        Command::AddPool {
            pool: api(),
            settings: Box::default(),
        },
        add_server(1),
        Command::UpdatePool {
            pool: api(),
            patch: PoolPatch {
                policy: PolicyPatch {
                    set: PoolPolicy {
                        retries: Some(3),
                        ..PoolPolicy::default()
                    },
                    unset: vec![],
                },
                ..PoolPatch::default()
            },
            expected: None,
        },
        Command::AddListener {
            listener: web(),
            spec: Box::new(listener),
        },
        Command::UpdateListener {
            listener: web(),
            patch: Box::new(ListenerPatch {
                default_route: Some(to_api()),
                ..ListenerPatch::default()
            }),
            expected: None,
        },
        add_rule(10, "/a"),
        add_rule(11, "/b"),
        Command::MoveRule {
            listener: web(),
            from: Priority(11),
            to: Priority(10),
            expected: None,
        },
        Command::UpdateRule {
            listener: web(),
            priority: Priority(10),
            spec: rule("/c"),
            expected: None,
        },
        Command::RemoveRule {
            listener: web(),
            priority: Priority(11),
            expected: None,
        },
        Command::Apply {
            changes: vec![
                add_server(2),
                add_server(3),
                add_rule(20, "/d"),
                add_rule(30, "/e"),
            ],
            expected: None,
            force: false,
        },
        Command::RotateTickets {
            after: 0,
            secret: secret_of_tickets(),
        },
        Command::RemovePool {
            pool: api(),
            force: true,
            expected: None,
        },
        Command::RemoveListener {
            listener: web(),
            drain_deadline: Duration::from_secs(3),
            expected: None,
        },
    ]
}

/// The replicas after each of the commands, the first one before all.
fn replicas() -> Vec<replica::Replica> {
    let mut replicas = vec![replica::Replica::default()];
    let cookies = Command::RotateStickiness {
        after: 0,
        secret: secret_of_tickets(),
    };
    let commands = one_of_each_kind().into_iter();
    let commands = commands.chain(about_certificates()).chain([cookies]);
    for (id, command) in (1..).zip(commands) {
        let mut replica = replicas.last().unwrap().clone();
        let proposal = Proposal::Change {
            command,
            at: Timestamp(id),
            from: "test".to_owned(),
        };
        let record = Record {
            id,
            ..Record::of(&proposal)
        };
        match replica.apply(&record).unwrap() {
            ProposalResult::Applied(applied) => assert_eq!(applied.revision, revision(id)),
            other => panic!("{other:?}"),
        }
        replicas.push(replica);
    }
    replicas
}

fn proposed(replica: &mut replica::Replica, proposal: &Proposal) -> ProposalResult {
    replica.apply(&Record::of(proposal)).unwrap()
}

/// What operators want of all objects, without ids and revisions, and without secrets that no rollback brings back.
fn wanted(state: &DesiredState) -> Value {
    let mut file: Value = serde_json::from_slice(&Backup::of(state).to_file().unwrap()).unwrap();
    let fields = file.as_object_mut().unwrap();
    fields.remove("revision");
    fields.remove("ticket_epochs");
    fields.remove("stickiness_epochs");
    file
}

#[test]
fn a_snapshot_has_all_objects_of_every_kind() {
    for replica in replicas() {
        let image = replica::encode(&replica).unwrap();
        assert_eq!(replica::decode(&image).unwrap(), replica);
    }
}

#[test]
fn an_id_after_a_restart_is_one_that_no_object_has_had() {
    let mut there = replicas().remove(11);
    let mut again = replica::decode(&replica::encode(&there).unwrap()).unwrap();
    let command = add_server(9);
    for replica in [&mut there, &mut again] {
        replica.state.apply(command.clone()).unwrap();
    }
    assert_eq!(there.state, again.state);
    let ids = there.state.pool(&api()).unwrap().servers.values();
    let mut ids: Vec<u64> = ids.map(|server| server.id.0).collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "{ids:?}");
}

/// From each revision back to each earlier one: all objects of that revision are there again.
#[test]
fn a_rollback_brings_back_objects_of_every_kind() {
    let replicas = replicas();
    for (from, present) in replicas.iter().enumerate() {
        for (to, earlier) in replicas[..=from].iter().enumerate() {
            let mut replica = present.clone();
            let rollback = Proposal::Rollback {
                to: revision(u64::try_from(to).unwrap()),
                at: Timestamp(100),
                from: "test".to_owned(),
            };
            let result = proposed(&mut replica, &rollback);
            assert!(
                matches!(result, ProposalResult::Applied(_)),
                "{from} to {to}: {result:?}"
            );
            assert_eq!(
                wanted(&replica.state),
                wanted(&earlier.state),
                "{from} to {to}"
            );
            // And it can be taken back.
            let undo = Proposal::Rollback {
                to: revision(u64::try_from(from).unwrap()),
                at: Timestamp(101),
                from: "test".to_owned(),
            };
            let result = proposed(&mut replica, &undo);
            assert!(
                matches!(result, ProposalResult::Applied(_)),
                "{from} to {to}: {result:?}"
            );
            assert_eq!(
                wanted(&replica.state),
                wanted(&present.state),
                "{from} to {to} and again"
            );
        }
    }
}

#[test]
fn a_rule_that_comes_back_has_its_id() {
    let replicas = replicas();
    let id = |replica: &replica::Replica, place: u32| {
        replica
            .state
            .rule(&web(), Priority(place))
            .map(|rule| rule.id)
    };
    let (before, removed) = (&replicas[7], replicas[10].clone());
    let mut replica = removed;
    let rollback = Proposal::Rollback {
        to: revision(7),
        at: Timestamp(100),
        from: "test".to_owned(),
    };
    proposed(&mut replica, &rollback);
    for place in [10, 11] {
        assert_eq!(id(&replica, place), id(before, place));
    }
}

#[test]
fn a_backup_of_any_state_restores_it_over_any_other() {
    let replicas = replicas();
    for (index, of) in replicas.iter().enumerate() {
        let file = Backup::of(&of.state).to_file().unwrap();
        for (over, present) in replicas.iter().enumerate() {
            let mut replica = present.clone();
            let restore = Proposal::Restore {
                backup: Backup::parse(&file).unwrap(),
                at: Timestamp(100),
                from: "test".to_owned(),
            };
            let result = proposed(&mut replica, &restore);
            assert!(
                matches!(result, ProposalResult::Applied(_)),
                "{index} over {over}: {result:?}"
            );
            assert_eq!(
                wanted(&replica.state),
                wanted(&of.state),
                "{index} over {over}"
            );
        }
    }
}

#[test]
fn a_backup_of_the_last_release_changes_only_the_pools_that_it_names() {
    let file = br#"{"format":1,"revision":9,"pools":[{"name":"default","settings":{"check":{"kind":"tcp","interval":{"secs":5,"nanos":0},"timeout":{"secs":2,"nanos":0},"healthy_threshold":2,"unhealthy_threshold":3,"port":null},"balancing":"round_robin","fail_open":false,"drain_deadline":{"secs":30,"nanos":0},"deregister_after":null,"strict_responses":false},"servers":[{"address":"127.0.0.1:10007","weight":1,"admin":"ready","check":{}}]}]}"#;
    let mut replica = replicas().remove(11);
    let before = replica.state.clone();
    let restore = Proposal::Restore {
        backup: Backup::parse(file).unwrap(),
        at: Timestamp(100),
        from: "test".to_owned(),
    };
    proposed(&mut replica, &restore);
    assert!(
        replica
            .state
            .server(&PoolName::default(), address(7))
            .is_ok()
    );
    assert!(
        !replica
            .state
            .pool(&PoolName::default())
            .unwrap()
            .settings
            .fail_open
    );
    assert_eq!(replica.state.listeners, before.listeners);
    assert!(replica.state.pool(&api()).is_ok());
}

#[test]
fn a_backup_without_certificates_leaves_them() {
    let replicas = replicas();
    let before_certificates = Backup::of(&replicas[1].state).to_file().unwrap();
    let mut file: Value = serde_json::from_slice(&before_certificates).unwrap();
    let fields = file.as_object_mut().unwrap();
    fields.insert("format".to_owned(), 2.into());
    assert!(fields.remove("certificates").is_some());
    let file = serde_json::to_vec(&file).unwrap();
    let added = one_of_each_kind().len() + 1;
    let mut replica = replicas[added].clone();
    let restore = Proposal::Restore {
        backup: Backup::parse(&file).unwrap(),
        at: Timestamp(100),
        from: "test".to_owned(),
    };
    proposed(&mut replica, &restore);
    assert!(replica.state.certificate(&shop()).is_ok());
}

/// The history holds a certificate once for each change of it, and lists none.
#[test]
fn the_history_has_the_name_of_a_certificate_and_not_what_is_in_it() {
    let replicas = replicas();
    let added = one_of_each_kind().len() + 1;
    let what = &replicas[added].history.latest(1)[0].what;
    let is_added = matches!(what, crate::cluster::What::Certificate { certificate, added: true } if *certificate == shop());
    assert!(is_added, "{what:?}");
    let changed = &replicas[added + 3].history.latest(1)[0].what;
    let text = serde_json::to_string(changed).unwrap();
    assert_eq!(
        text,
        r#"{"certificate":{"certificate":"shop","added":false}}"#
    );
}

#[test]
fn a_snapshot_of_the_last_release_has_the_default_listener() {
    let mut replica = replica::Replica::default();
    replica.state.apply(add(1)).unwrap();
    let mut image: Value = serde_json::from_slice(&replica::encode(&replica).unwrap()).unwrap();
    let fields = image.as_object_mut().unwrap();
    for field in ["listeners", "removed_listeners", "last_id", "certificates"] {
        assert!(fields.remove(field).is_some());
    }
    let settings = image["pools"][0]["settings"].as_object_mut().unwrap();
    for field in ["policy", "protocol", "tls"] {
        assert!(settings.remove(field).is_some());
    }
    let old = serde_json::to_vec(&image).unwrap();
    assert_eq!(replica::decode(&old).unwrap(), replica);
}

#[test]
fn the_history_of_an_apply_says_how_many_changes_it_has() {
    let replica = replicas().remove(11);
    let latest = replica.history.latest(1);
    let what = &latest[0].what;
    assert!(
        matches!(what, crate::cluster::What::Apply { changes: 4 }),
        "{what:?}"
    );
}

/// What was rotated out is gone: the history does not keep it, and a rollback does not bring it back.
#[test]
fn the_history_has_no_secret_of_tickets() {
    let mut replica = replicas().remove(12);
    let (before, secret) = (replica.state.ticket_epochs.clone(), secret_of_tickets());
    assert_eq!(before.newest().unwrap().secret, secret);
    let history = serde_json::to_string(&replica.history).unwrap();
    assert!(history.contains("rotate_tickets"), "{history}");
    assert!(!history.contains(&secret.key().to_string()), "{history}");
    let rollback = Proposal::Rollback {
        to: revision(11),
        at: Timestamp(100),
        from: "test".to_owned(),
    };
    proposed(&mut replica, &rollback);
    assert_eq!(replica.state.ticket_epochs, before);
}

#[test]
fn a_snapshot_and_a_backup_have_the_secrets_of_tickets_as_they_are_sealed() {
    let there = replicas().remove(12);
    let image = replica::encode(&there).unwrap();
    let decoded = replica::decode(&image).unwrap();
    assert_eq!(decoded.state.ticket_epochs, there.state.ticket_epochs);
    // As a version that knew none wrote it.
    let mut image: Value = serde_json::from_slice(&image).unwrap();
    assert!(
        image
            .as_object_mut()
            .unwrap()
            .remove("ticket_epochs")
            .is_some()
    );
    let old = replica::decode(&serde_json::to_vec(&image).unwrap()).unwrap();
    assert!(old.state.ticket_epochs.is_empty());

    let file = Backup::of(&there.state).to_file().unwrap();
    let mut new = replica::Replica::default();
    let restore = Proposal::Restore {
        backup: Backup::parse(&file).unwrap(),
        at: Timestamp(100),
        from: "test".to_owned(),
    };
    proposed(&mut new, &restore);
    assert_eq!(new.state.ticket_epochs, there.state.ticket_epochs);
    // A state without secrets has the file that it had before there were any.
    let without = Backup::of(&DesiredState::new(PoolSettings::default()));
    let without = String::from_utf8(without.to_file().unwrap()).unwrap();
    assert!(!without.contains("ticket"), "{without}");
}

#[test]
fn the_secrets_of_cookies_are_in_a_backup_and_not_in_the_history() {
    let there = replicas().pop().unwrap();
    assert_eq!(there.state.stickiness_epochs.last(), 1);
    let history = serde_json::to_string(&there.history).unwrap();
    assert!(history.contains("rotate_stickiness"), "{history}");
    assert!(!history.contains(&secret_of_tickets().key().to_string()));
    let file = Backup::of(&there.state).to_file().unwrap();
    let mut new = replica::Replica::default();
    let restore = Proposal::Restore {
        backup: Backup::parse(&file).unwrap(),
        at: Timestamp(100),
        from: "test".to_owned(),
    };
    proposed(&mut new, &restore);
    assert_eq!(new.state.stickiness_epochs, there.state.stickiness_epochs);
}

/// A large history is cut by what it holds, so that a few large changes do not fill the memory.
#[test]
fn the_history_is_bounded_by_its_values() {
    let mut replica = replica::Replica::default();
    let places = 1..=15_000;
    let listener = Command::AddListener {
        listener: web(),
        spec: Box::new(ListenerSpec {
            address: Some("0.0.0.0:80".parse().unwrap()),
            ..ListenerSpec::default()
        }),
    };
    replica.state.apply(listener).unwrap();
    replica.state.apply(one_of_each_kind().remove(0)).unwrap();
    for round in 0..20 {
        let changes = places.clone().map(|place| match round % 2 {
            0 => add_rule(place, "/x"),
            _ => Command::RemoveRule {
                listener: web(),
                priority: Priority(place),
                expected: None,
            },
        });
        let proposal = Proposal::Change {
            command: Command::Apply {
                changes: changes.collect(),
                expected: None,
                force: false,
            },
            at: Timestamp(round),
            from: "test".to_owned(),
        };
        let result = proposed(&mut replica, &proposal);
        assert!(matches!(result, ProposalResult::Applied(_)), "{result:?}");
    }
    assert_eq!(replica.history.latest(100).len(), 200_000 / 15_000);
}
