//! What weldr 0.1.0 wrote, and what it reads of ours. It knows the end of a removal as a date only.

use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::{cluster::log::proposal::Record, model::Removal};

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
