//! What weldr 0.1.0 wrote, and what it reads of ours. It knows the end of a removal as a date only.

use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::{
    cluster::log::proposal::{ProposalResult, Record},
    model::{Rejection, Removal},
};

const REMOVAL: Removal = Removal {
    drain_deadline: Duration::from_secs(30),
    deadline: Timestamp(35_000),
};

/// The removal of the only server of a replica.
fn removal(replica: &replica::Replica) -> Option<Removal> {
    let pool = replica.state.pool(&PoolName::default()).unwrap();
    pool.servers.get(&address(1)).unwrap().removal
}

/// A replica made of records as weldr 0.1.0 writes them: the pool, a server, and its removal for 30 s from second 5 on.
fn replica_of_old_records() -> replica::Replica {
    let proposals = [
        r#"{"change":{"command":{"add_server":{"pool":"default","address":"127.0.0.1:10001","spec":{"weight":1,"admin":"ready","check":{}},"expected":null,"at":1000}},"at":1000,"from":"a"}}"#,
        r#"{"change":{"command":{"begin_removal":{"pool":"default","address":"127.0.0.1:10001","id":null,"deadline":{"secs":30,"nanos":0},"expected":null,"at":5000}},"at":5000,"from":"a"}}"#,
    ];
    let mut replica = replica::Replica::default();
    for (id, proposal) in (1..).zip(proposals) {
        let record = Record {
            version: 1,
            proposal: proposal.into(),
            id,
            validated: false,
        };
        replica.apply(&record).unwrap();
    }
    replica
}

#[test]
fn a_record_of_a_removal_says_how_long_it_lasts() {
    assert_eq!(removal(&replica_of_old_records()), Some(REMOVAL));
}

#[test]
fn a_snapshot_without_the_duration_of_a_removal_is_the_one_with_it() {
    let replica = replica_of_old_records();
    let mut image: Value = serde_json::from_slice(&replica::encode(&replica).unwrap()).unwrap();
    let removal = image["pools"][0]["servers"][0]["removal"]
        .as_object_mut()
        .unwrap();
    assert!(removal.remove("drain_deadline").is_some());
    assert_eq!(removal.len(), 1, "what 0.1.0 knows");
    let old = serde_json::to_vec(&image).unwrap();
    assert_eq!(replica::decode(&old).unwrap(), replica);
}

/// A record that an earlier version accepted makes the same state on a node that replays it and on one that has it in a
/// snapshot, so it is applied as it was. The same change in a record of this version is refused.
#[test]
fn a_record_that_was_not_validated_is_applied_as_it_was() {
    let add = r#"{"change":{"command":{"add_server":{"pool":"default","address":"0.0.0.0:0","spec":{"weight":1,"admin":"ready","check":{"interval":{"secs":0,"nanos":0}}},"expected":null,"at":1000}},"at":1000,"from":"a"}}"#;
    let record = |validated| Record {
        version: 2,
        proposal: add.into(),
        id: 1,
        validated,
    };
    let mut replica = replica::Replica::default();
    replica.apply(&record(false)).unwrap();
    assert_eq!(replica.state.revision, revision(1));
    let image = replica::encode(&replica).unwrap();
    assert_eq!(replica::decode(&image).unwrap(), replica);

    let mut replica = replica::Replica::default();
    let result = replica.apply(&record(true)).unwrap();
    assert!(
        matches!(&result, ProposalResult::Rejected(Rejection::Invalid { field, .. }) if field == "address"),
        "{result:?}"
    );
    assert_eq!(replica.state.revision, revision(0));
}

/// A principal is in the snapshot, and a rollback to before its revocation does not bring it back.
#[test]
fn principals_are_in_snapshots_and_do_not_come_back() {
    let create = r#"{"change":{"command":{"create_principal":{"name":"ci","role":"operator","pools":["default"],"credential":{"token":{"id":"00000001","sha256":"DIGEST","expires":null}},"at":1}},"at":1,"from":"unix:root"}}"#;
    let create = create.replace("DIGEST", &"0f".repeat(32));
    let revoke =
        r#"{"change":{"command":{"revoke_principal":{"name":"ci"}},"at":2,"from":"token:boss"}}"#;
    let rollback = r#"{"rollback":{"to":1,"at":3,"from":"token:boss"}}"#;
    let mut replica = replica::Replica::default();
    let mut apply = |id, proposal: &str| {
        let record = Record {
            version: 3,
            proposal: proposal.to_owned().into(),
            id,
            validated: true,
        };
        replica.apply(&record).unwrap();
        replica.clone()
    };
    let created = apply(1, &create);
    assert_eq!(created.state.principals.len(), 1);
    let image = replica::encode(&created).unwrap();
    assert_eq!(replica::decode(&image).unwrap(), created);
    let revoked = apply(2, revoke);
    assert!(revoked.state.principals.is_empty());
    let back = apply(3, rollback);
    assert!(back.state.principals.is_empty());
    assert_eq!(
        back.state.revision,
        revision(2),
        "there is nothing else to bring back"
    );

    // As a version that knew no principals wrote it.
    let mut image: Value = serde_json::from_slice(&replica::encode(&back).unwrap()).unwrap();
    assert!(
        image
            .as_object_mut()
            .unwrap()
            .remove("principals")
            .is_some()
    );
    let old = serde_json::to_vec(&image).unwrap();
    assert_eq!(replica::decode(&old).unwrap(), back);
    image["principals"] = serde_json::json!({"ci": created.state.principals.values().next()});
    image["revision"] = 0.into();
    let damaged = replica::decode(&serde_json::to_vec(&image).unwrap());
    assert!(damaged.is_err(), "it is older than its principal");
}
