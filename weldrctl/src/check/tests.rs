use prost_types::{Duration, Timestamp};
use weldr_proto::v1::{
    Backups, Disk, DiskState, GuardState, Health, HealthState, LinkState, NodeHealth, NodeRole,
    Readiness, ReadinessStatus, ServerHealth, UnreadyCode, UnreadyReason, VirtualAddress, Voters,
};

use super::*;

const NOW: i64 = 1_800_000_000;
const DAY: i64 = 86_400;

fn node(name: &str, role: NodeRole) -> Node {
    Node {
        id: name.to_owned(),
        name: name.to_owned(),
        address: format!("{name}:8688"),
        role: role.into(),
        reachable: true,
        votes: true,
        term: 3,
        applied: 90,
        version: "0.2.0".to_owned(),
        failover: "normal".to_owned(),
        data_dir_mode: 0o755,
        clock_offset: Some(Duration::default()),
        disk: Some(Disk {
            state: DiskState::Ok.into(),
            cause: String::new(),
        }),
        readiness: Some(Readiness {
            status: ReadinessStatus::Ready.into(),
            reasons: Vec::new(),
        }),
        virtual_addresses: vec![VirtualAddress {
            address: "10.0.0.100/24".to_owned(),
            interface: "eth0".to_owned(),
            held: role == NodeRole::Leader,
            standing: "holding".to_owned(),
            guard: GuardState::Running.into(),
            link: LinkState::Up.into(),
            ..VirtualAddress::default()
        }],
        ..Node::default()
    }
}

fn voters(total: u32, silent: &[&str]) -> Voters {
    Voters {
        total,
        responding: total - u32::try_from(silent.len()).unwrap(),
        majority: total / 2 + 1,
        silent: silent.iter().map(ToString::to_string).collect(),
    }
}

fn well() -> Observed {
    Observed {
        cluster: GetClusterResponse {
            cluster: "c1".to_owned(),
            quorum: true,
            leader: "a".to_owned(),
            answered_by: "b".to_owned(),
            nodes: vec![
                node("a", NodeRole::Leader),
                node("b", NodeRole::Follower),
                node("c", NodeRole::Follower),
            ],
            voters: Some(voters(3, &[])),
            ..GetClusterResponse::default()
        },
        now: Timestamp {
            seconds: NOW,
            nanos: 0,
        },
        ..Observed::default()
    }
}

/// What is found in a cluster in which only `harm` is wrong.
fn found(harm: impl FnOnce(&mut Observed)) -> Vec<Finding> {
    let mut observed = well();
    harm(&mut observed);
    check(&observed)
}

/// The one finding after `harm`, with this code and these parts in its text.
#[track_caller]
fn one(code: &str, severity: Severity, parts: &[&str], harm: impl FnOnce(&mut Observed)) {
    let findings = found(harm);
    let [finding] = findings.as_slice() else {
        panic!("{code}: {findings:?}");
    };
    assert_eq!((finding.code, finding.severity), (code, severity));
    for part in parts {
        assert!(finding.text.contains(part), "{part}: {}", finding.text);
    }
    assert!(
        !finding.text.ends_with('.') && !finding.text.contains(". "),
        "one sentence: {}",
        finding.text
    );
}

fn unready(node: &mut Node, code: UnreadyCode, description: &str) {
    node.readiness = Some(Readiness {
        status: ReadinessStatus::Unready.into(),
        reasons: vec![UnreadyReason {
            code: code.into(),
            description: description.to_owned(),
            since: None,
        }],
    });
}

use Severity::{NoQuorum, Problem, Warning};

#[test]
fn nothing_is_found_where_all_is_well() {
    let findings = check(&well());
    assert_eq!(findings, []);
    assert_eq!(exit(&findings), Exit::Done);
}

#[test]
fn a_node_of_an_earlier_version_is_not_blamed_for_what_it_does_not_say() {
    let findings = found(|observed| {
        observed.cluster.voters = None;
        for node in &mut observed.cluster.nodes {
            *node = Node {
                failover: String::new(),
                data_dir_mode: 0,
                clock_offset: None,
                disk: None,
                readiness: None,
                votes: false,
                ..node.clone()
            };
            let address = &mut node.virtual_addresses[0];
            (address.guard, address.link) = (0, 0);
        }
    });
    assert_eq!(findings, []);
}

#[test]
fn a_lost_quorum_comes_first_and_decides_the_exit_code() {
    let lost = |observed: &mut Observed| {
        let cluster = &mut observed.cluster;
        (cluster.quorum, cluster.voters) = (false, Some(voters(3, &["a", "c"])));
        cluster.leader.clear();
        for silent in [0, 2] {
            cluster.nodes[silent].reachable = false;
            cluster.nodes[silent].last_contact = Some(Duration {
                seconds: 40,
                nanos: 0,
            });
        }
        cluster.nodes[1].virtual_addresses.clear();
    };
    let findings = found(lost);
    let codes: Vec<_> = findings.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["no_quorum", "silent", "silent"], "{findings:?}");
    let first = &findings[0].text;
    assert!(
        first.contains("a majority of 2 needs one of a, c"),
        "{first}"
    );
    assert!(findings[1].text.contains("40s ago"), "{findings:?}");
    assert_eq!(findings[1].node, "a");
    assert_eq!(exit(&findings), Exit::Refused);
    let majority = ["although 3 of 3 voters respond"];
    one("no_quorum", NoQuorum, &majority, |observed| {
        observed.cluster.quorum = false;
    });
}

#[test]
fn fewer_losses_than_expected_are_a_warning() {
    for (total, text) in [
        (1, "only one node votes"),
        (2, "2 nodes vote"),
        (4, "than 3 do"),
    ] {
        one("tolerance", Warning, &[text], |observed| {
            observed.cluster.voters = Some(voters(total, &[]));
        });
    }
    let silent = found(|observed| {
        observed.cluster.voters = Some(voters(3, &["c"]));
        observed.cluster.nodes[2].reachable = false;
    });
    let codes: Vec<_> = silent.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["silent", "tolerance"]);
    assert_eq!(exit(&silent), Exit::Degraded);
    let of_five = found(|observed| observed.cluster.voters = Some(voters(5, &["e"])));
    assert_eq!(of_five, [], "one more may be lost");
}

#[test]
fn two_leaders_and_two_clusters_are_problems() {
    one(
        "several_leaders",
        Problem,
        &["a (term 3) and b (term 4)"],
        |observed| {
            observed.cluster.nodes[1].role = NodeRole::Leader.into();
            observed.cluster.nodes[1].term = 4;
        },
    );
    one(
        "other_cluster",
        Problem,
        &["10.0.0.9:8687", "c2"],
        |observed| {
            observed.other_clusters = vec![("10.0.0.9:8687".to_owned(), "c2".to_owned())];
        },
    );
    one(
        "other_cluster",
        Problem,
        &["b sees another cluster"],
        |observed| {
            observed.cluster.nodes[1].other_cluster = "another cluster".to_owned();
        },
    );
}

#[test]
fn what_a_node_says_of_itself_is_told_once_with_advice() {
    one(
        "not_ready",
        Problem,
        &["b is not ready: no space", "free space"],
        |observed| {
            let node = &mut observed.cluster.nodes[1];
            unready(node, UnreadyCode::DiskFailed, "no space");
            node.disk = Some(Disk {
                state: DiskState::Failed.into(),
                cause: "no space".to_owned(),
            });
        },
    );
    one("disk_failed", Problem, &["of b", "no space"], |observed| {
        observed.cluster.nodes[1].disk = Some(Disk {
            state: DiskState::Failed.into(),
            cause: "no space".to_owned(),
        });
    });
    one("disk_stalled", Problem, &["of b"], |observed| {
        observed.cluster.nodes[1].disk = Some(Disk {
            state: DiskState::Stalled.into(),
            cause: "for 9 s".to_owned(),
        });
    });
    one("stopped", Problem, &["record 7", "upgrade"], |observed| {
        let node = &mut observed.cluster.nodes[1];
        unready(node, UnreadyCode::Outdated, "record 7");
        node.stopped = "record 7".to_owned();
        node.lag = 9_000;
    });
    one("not_ready", Problem, &["gives no reason"], |observed| {
        observed.cluster.nodes[1].readiness = Some(Readiness {
            status: ReadinessStatus::Unready.into(),
            reasons: Vec::new(),
        });
    });
    one(
        "backups",
        Warning,
        &["b makes no", "disk full"],
        |observed| {
            observed.cluster.nodes[1].backups = Some(Backups {
                failure: "disk full".to_owned(),
                ..Backups::default()
            });
        },
    );
    one("data_directory", Warning, &["of b", "0775"], |observed| {
        observed.cluster.nodes[1].data_dir_mode = 0o775;
    });
}

#[test]
fn a_node_lags_when_it_lacks_much_or_does_not_go_on() {
    one("lag", Problem, &["c lacks 1001 changes"], |observed| {
        observed.cluster.nodes[2].lag = 1_001;
    });
    one("lag", Problem, &["c lacks 3 changes"], |observed| {
        observed.cluster.nodes[2].lag = 3;
        observed.earlier = Some(observed.cluster.clone());
    });
    let goes_on = found(|observed| {
        observed.cluster.nodes[2].lag = 3;
        observed.earlier = Some(observed.cluster.clone());
        observed.cluster.nodes[2].applied += 1;
    });
    assert_eq!(goes_on, []);
}

#[test]
fn a_certificate_is_told_before_it_expires() {
    let expiring = |days: i64| {
        move |observed: &mut Observed| {
            observed.cluster.nodes[0].certificate_expires = Some(Timestamp {
                seconds: NOW + days * DAY,
                nanos: 0,
            });
        }
    };
    assert_eq!(found(expiring(15)), []);
    one(
        "certificate",
        Warning,
        &["of a expires in 13d"],
        expiring(13),
    );
    one("certificate", Problem, &["of a has expired"], expiring(-1));
}

#[test]
fn what_should_be_the_same_is_compared() {
    one(
        "versions",
        Warning,
        &["0.1.0 at c; 0.2.0 at a, b"],
        |observed| {
            observed.cluster.nodes[2].version = "0.1.0".to_owned();
        },
    );
    one(
        "failover",
        Warning,
        &["fast at b; normal at a, c"],
        |observed| {
            observed.cluster.nodes[1].failover = "fast".to_owned();
        },
    );
}

#[test]
fn a_clock_is_compared_with_the_one_in_the_middle() {
    let set = |offsets: [i64; 3]| {
        move |observed: &mut Observed| {
            for (node, seconds) in observed.cluster.nodes.iter_mut().zip(offsets) {
                node.clock_offset = Some(Duration { seconds, nanos: 0 });
            }
        }
    };
    one(
        "clock",
        Warning,
        &["of c is 8.0 s ahead of that of"],
        set([0, 0, 8]),
    );
    one(
        "clock",
        Warning,
        &["of c is 8.0 s behind that of"],
        set([0, 0, -8]),
    );
    // The node that was asked is the one that is wrong.
    one(
        "clock",
        Warning,
        &["of b is 8.0 s behind that of a"],
        set([8, 0, 8]),
    );
    assert_eq!(found(set([0, 1, 0])), []);
    one(
        "clock",
        Warning,
        &["of a is 2.0 s ahead of that of b"],
        |observed| {
            observed.cluster.nodes.pop();
            observed.cluster.nodes[0].clock_offset = Some(Duration {
                seconds: 2,
                nanos: 0,
            });
        },
    );
}

#[test]
fn an_address_is_held_exactly_once() {
    one(
        "address_not_held",
        Problem,
        &["the leader a says: the interface"],
        |observed| {
            let address = &mut observed.cluster.nodes[0].virtual_addresses[0];
            address.held = false;
            address.standing = "the interface has no link".to_owned();
        },
    );
    one(
        "address_held_twice",
        Problem,
        &["a and c hold"],
        |observed| {
            observed.cluster.nodes[2].virtual_addresses[0].held = true;
        },
    );
    one(
        "address_not_configured",
        Warning,
        &["b and c may lead"],
        |observed| {
            observed.cluster.nodes[1].virtual_addresses.clear();
            observed.cluster.nodes[2].virtual_addresses.clear();
        },
    );
    let learner = found(|observed| {
        observed.cluster.nodes[2].virtual_addresses.clear();
        observed.cluster.nodes[2].role = NodeRole::Learner.into();
    });
    assert_eq!(learner, [], "it cannot lead");
    one(
        "address_failing",
        Problem,
        &["a fails", "denied"],
        |observed| {
            let address = &mut observed.cluster.nodes[0].virtual_addresses[0];
            address.failing = true;
            address.standing = "denied".to_owned();
        },
    );
}

#[test]
fn another_machine_with_the_address_is_a_problem() {
    let set = |observed: &mut Observed| {
        let address = &mut observed.cluster.nodes[0].virtual_addresses[0];
        address.conflict = "02:00:00:00:00:09".to_owned();
    };
    one("address_conflict", Problem, &["02:00:00:00:00:09"], set);
}

#[test]
fn what_protects_an_address_is_looked_at() {
    let set = |guard: GuardState, link: LinkState| {
        move |observed: &mut Observed| {
            let address = &mut observed.cluster.nodes[1].virtual_addresses[0];
            (address.guard, address.link) = (guard.into(), link.into());
            address.guard_restarts = 2;
        }
    };
    one(
        "guard",
        Problem,
        &["at b"],
        set(GuardState::Failed, LinkState::Up),
    );
    one(
        "guard",
        Warning,
        &["at b", "restarts in all: 2"],
        set(GuardState::Restarted, LinkState::Up),
    );
    one(
        "no_link",
        Problem,
        &["eth0 of b"],
        set(GuardState::Running, LinkState::Down),
    );
}

#[test]
fn health_that_differs_between_nodes_is_a_matter_of_the_network() {
    let seen = |states: [Option<HealthState>; 3]| {
        move |observed: &mut Observed| {
            let nodes = ["a", "b", "c"].iter().zip(states);
            let nodes = nodes.map(|(name, state)| NodeHealth {
                node: (*name).to_owned(),
                health: state.map(|state| Health {
                    state: state.into(),
                    description: "no route".to_owned(),
                    ..Health::default()
                }),
                in_flight: 0,
            });
            observed.health = Some(ListHealthResponse {
                revision: 1,
                servers: vec![ServerHealth {
                    address: "10.0.0.7:80".to_owned(),
                    nodes: nodes.collect(),
                    ..ServerHealth::default()
                }],
            });
        }
    };
    let (good, bad) = (Some(HealthState::Healthy), Some(HealthState::Unhealthy));
    let parts = [
        "10.0.0.7:80",
        "healthy at a, c and unhealthy at b (no route)",
    ];
    one("server_health", Warning, &parts, seen([good, bad, good]));
    assert_eq!(found(seen([bad, bad, bad])), [], "the server is the cause");
    assert_eq!(found(seen([good, None, Some(HealthState::Initial)])), []);
}
