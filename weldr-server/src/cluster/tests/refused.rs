//! The error messages of a start that is not possible.

use std::{error::Error as _, fs};

use redb::{Database, ReadableDatabase as _, ReadableTable, TableDefinition, TableHandle as _};

use super::*;
use crate::cluster::{Damage, OpenError};

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const NODE: TableDefinition<&str, &[u8]> = TableDefinition::new("node");
const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");

/// A store with one server, changed by `harm` in a way that keeps the database valid.
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

/// The reported damage; its row must be `row`.
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
        // The hint is made after the database.
        for file in ["weldr.redb", "decided"] {
            let _ = fs::remove_file(directory.path().join(file));
        }
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
            .insert("format", 3)
            .unwrap();
        transaction.delete_table(LOG).unwrap();
    })
    .await;
    let error = refused(directory.path());
    let newer = matches!(
        error,
        OpenError::NewerFormat {
            found: 3,
            known: 2,
            ..
        }
    );
    assert!(newer, "{error:?}");
}

#[tokio::test]
async fn a_format_from_before_clusters_is_refused_and_kept() {
    let directory = harmed(|transaction| {
        let mut meta = transaction.open_table(META).unwrap();
        meta.insert("format", 1).unwrap();
        drop(meta);
        transaction.delete_table(NODE).unwrap();
        transaction.delete_table(LOG).unwrap();
    })
    .await;
    let database = directory.path().join("weldr.redb");
    let before = contents(&database);
    let error = refused(directory.path());
    assert_eq!(
        error.to_string(),
        format!(
            "the database {} was written by a weldr from before clusters, which this one does not read: move it \
             away, start, and add the servers again",
            database.display()
        )
    );
    assert_eq!(contents(&database), before);
}

/// The tables of a database, and its format. Its length is not compared, because it shrinks when it is closed.
fn contents(database: &Path) -> (Vec<String>, Option<u64>) {
    let database = Database::open(database).unwrap();
    let transaction = database.begin_read().unwrap();
    let tables = transaction.list_tables().unwrap();
    let names = tables.map(|table| table.name().to_owned()).collect();
    let meta = transaction.open_table(META).unwrap();
    let format = meta.get("format").unwrap();
    (names, format.map(|format| format.value()))
}

#[tokio::test]
async fn a_row_that_does_not_parse_is_named() {
    let log = harmed(|transaction| {
        let mut log = transaction.open_table(LOG).unwrap();
        log.insert(1, b"\xff\xff\xff".as_slice()).unwrap();
    })
    .await;
    let damage = damage_of(log.path(), "log/1");
    assert!(matches!(damage, Damage::Row { .. }), "{damage:?}");
    for key in ["identity", "vote", "committed"] {
        let directory = harmed(|transaction| {
            let mut node = transaction.open_table(NODE).unwrap();
            node.insert(key, b"\xff\xff\xff".as_slice()).unwrap();
        })
        .await;
        let damage = damage_of(directory.path(), &format!("node/{key}"));
        assert!(matches!(damage, Damage::Row { .. }), "{damage:?}");
    }
}

#[tokio::test]
async fn rows_that_contradict_each_other_are_named() {
    let copied = harmed(|transaction| {
        let mut log = transaction.open_table(LOG).unwrap();
        let value = log.get(2).unwrap().unwrap().value().to_vec();
        log.insert(3, value.as_slice()).unwrap();
    })
    .await;
    damage_of(copied.path(), "log/3");
    let with_a_gap = harmed(|transaction| {
        let mut log = transaction.open_table(LOG).unwrap();
        assert!(log.remove(2).unwrap().is_some());
    })
    .await;
    damage_of(with_a_gap.path(), "log/2");
    let never_voted = harmed(|transaction| {
        let mut node = transaction.open_table(NODE).unwrap();
        assert!(node.remove("vote").unwrap().is_some());
    })
    .await;
    damage_of(never_voted.path(), "node/vote");
    let without_begin = harmed(|transaction| {
        let mut node = transaction.open_table(NODE).unwrap();
        // Term 1, index 1, as if a snapshot had the entry.
        node.insert("purged", b"\x08\x01\x10\x01".as_slice())
            .unwrap();
        let mut log = transaction.open_table(LOG).unwrap();
        log.retain_in(0..=1, |_, _| false).unwrap();
    })
    .await;
    damage_of(without_begin.path(), "node/snapshot");
}

#[tokio::test]
async fn rows_that_are_gone_are_missed() {
    let no_identity = harmed(|rows| {
        rows.open_table(NODE).unwrap().remove("identity").unwrap();
    })
    .await;
    damage_of(no_identity.path(), "node/identity");
    let no_format = harmed(|rows| {
        rows.open_table(META).unwrap().remove("format").unwrap();
    })
    .await;
    damage_of(no_format.path(), "meta/format");
    let no_log = harmed(|rows| assert!(rows.delete_table(LOG).unwrap())).await;
    damage_of(no_log.path(), "log");
}
