//! What a start that cannot go on tells the operator.

use std::{error::Error as _, fs};

use redb::{Database, ReadableTable, TableDefinition};

use super::*;
use crate::cluster::{Damage, OpenError};

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const POOLS: TableDefinition<&str, &[u8]> = TableDefinition::new("pools");
const SERVERS: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("servers");

/// A store with one server, changed by `harm` as a sound database may be.
async fn harmed(harm: impl FnOnce(&redb::WriteTransaction)) -> TempDir {
    let directory = tempdir().unwrap();
    let Opened { handle, log, .. } = open_in(directory.path());
    handle.propose(add(1)).await.unwrap();
    log.stop().await;
    let database = Database::open(directory.path().join("weldr.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    harm(&transaction);
    transaction.commit().unwrap();
    directory
}

fn refused(directory: &Path) -> OpenError {
    open(options(directory)).unwrap_err()
}

/// The damage, whose row must be `row`.
fn damage_of(directory: &Path, row: &str) -> Damage {
    let OpenError::Damaged { source, .. } = refused(directory) else {
        panic!("not reported as damage");
    };
    assert!(source.to_string().contains(row), "{source}");
    source
}

#[tokio::test]
async fn a_second_weldr_is_told_that_the_directory_is_in_use() {
    let directory = tempdir().unwrap();
    let first = open_in(directory.path());
    let second = refused(directory.path());
    assert_eq!(
        second.to_string(),
        format!(
            "the data directory {} is in use by another weldr: stop that one, or name another directory with --data-dir",
            directory.path().display()
        )
    );
    first.handle.propose(add(1)).await.unwrap();
    first.log.stop().await;
    assert_eq!(reopened(directory.path()).await.revision, revision(1));
}

#[test]
fn a_directory_that_cannot_be_one_is_named() {
    let directory = tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = refused(&path);
        assert!(matches!(error, OpenError::Directory { .. }), "{error:?}");
        assert!(
            error.to_string().contains(path.to_str().unwrap()),
            "{error}"
        );
        assert!(error.source().is_some());
    }
}

#[test]
fn a_database_that_is_no_file_is_named() {
    let directory = tempdir().unwrap();
    fs::create_dir(directory.path().join("weldr.redb")).unwrap();
    let error = refused(directory.path());
    assert!(matches!(error, OpenError::Database { .. }), "{error:?}");
}

#[tokio::test]
async fn missing_directories_are_created() {
    let directory = tempdir().unwrap();
    let below = directory.path().join("a/b/c");
    assert_eq!(reopened(&below).await.revision, revision(0));
    assert!(below.join("weldr.redb").is_file());
}

#[tokio::test]
async fn a_creation_that_was_cut_short_begins_again() {
    let directory = tempdir().unwrap();
    for left in [b"".as_slice(), b"redb, but not much of it", &[0; 10_000]] {
        let unfinished = directory.path().join("weldr.redb.new");
        let _ = fs::remove_file(directory.path().join("weldr.redb"));
        fs::write(&unfinished, left).unwrap();
        assert_eq!(reopened(directory.path()).await.revision, revision(0));
        assert!(!unfinished.exists());
    }
}

#[tokio::test]
async fn a_newer_format_is_refused_before_anything_else_is_read() {
    let directory = harmed(|transaction| {
        transaction
            .open_table(META)
            .unwrap()
            .insert("format", 2)
            .unwrap();
        transaction.delete_table(POOLS).unwrap();
    })
    .await;
    let error = refused(directory.path());
    let newer = matches!(
        error,
        OpenError::NewerFormat {
            found: 2,
            known: 1,
            ..
        }
    );
    assert!(newer, "{error:?}");
}

#[tokio::test]
async fn a_row_that_does_not_parse_is_named() {
    let key = ("default", "127.0.0.1:10001");
    let directory = harmed(|transaction| {
        let mut servers = transaction.open_table(SERVERS).unwrap();
        servers.insert(key, b"{\"id\":1}".as_slice()).unwrap();
    })
    .await;
    let damage = damage_of(directory.path(), "servers/default/127.0.0.1:10001");
    assert!(matches!(damage, Damage::Row { .. }), "{damage:?}");
}

#[tokio::test]
async fn rows_that_contradict_each_other_are_named() {
    let insert_copy = |transaction: &redb::WriteTransaction, key| {
        let mut servers = transaction.open_table(SERVERS).unwrap();
        let there = servers.get(("default", "127.0.0.1:10001")).unwrap();
        let value = there.map(|value| value.value().to_vec()).unwrap();
        servers.insert(key, value.as_slice()).unwrap();
    };
    let elsewhere = harmed(|rows| insert_copy(rows, ("default", "127.0.0.1:9"))).await;
    damage_of(elsewhere.path(), "servers/default/127.0.0.1:9");
    let no_pool = harmed(|rows| insert_copy(rows, ("other", "127.0.0.1:10001"))).await;
    damage_of(no_pool.path(), "servers/other/127.0.0.1:10001");
    let earlier = harmed(|rows| {
        rows.open_table(META)
            .unwrap()
            .insert("revision", 0)
            .unwrap();
    })
    .await;
    damage_of(earlier.path(), "pools/default");
}

#[tokio::test]
async fn rows_that_are_gone_are_missed() {
    let no_revision = harmed(|rows| {
        rows.open_table(META).unwrap().remove("revision").unwrap();
    })
    .await;
    damage_of(no_revision.path(), "meta/revision");
    let no_pool = harmed(|rows| {
        rows.open_table(POOLS).unwrap().remove("default").unwrap();
        rows.open_table(SERVERS)
            .unwrap()
            .retain(|_, _| false)
            .unwrap();
    })
    .await;
    damage_of(no_pool.path(), "pools/default");
    let no_servers = harmed(|rows| assert!(rows.delete_table(SERVERS).unwrap())).await;
    damage_of(no_servers.path(), "servers");
}
