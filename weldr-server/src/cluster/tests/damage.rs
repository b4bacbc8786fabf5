//! A damaged database is reported, and acknowledged changes are never lost silently.

use std::{fs, path::PathBuf};

use super::*;
use crate::cluster::{Handle, OpenError, storage::store::Store};

const SERVERS: u16 = 24;
const PAGE: usize = 4096;

/// The offset of the header byte whose lowest bit selects the current commit slot.
const FLAGS: usize = 9;

/// The bytes of a database, and the state that was stored in them.
struct Written {
    bytes: Vec<u8>,
    persistent: PersistentState,
    how: &'static str,
}

/// Two databases: one after a regular stop, and one after a `kill -9` that follows the last commit.
async fn stopped_and_killed() -> [Written; 2] {
    let directory = tempdir().unwrap();
    let Opened { handle, log, .. } = open_in(directory.path());
    change(&handle).await;
    let state = handle.current();
    let written = |how| Written::read(&directory, &state, how);
    let killed = written("killed");
    log.stop().await;
    [killed, written("stopped")]
}

async fn change(handle: &Handle) {
    for n in 0..SERVERS {
        handle.propose(add(n)).await.unwrap();
    }
    for n in 0..5 {
        handle.propose(weigh(n, 9)).await.unwrap();
        handle.propose(remove_now(n + 10)).await.unwrap();
    }
}

fn database_in(directory: &TempDir) -> PathBuf {
    directory.path().join("weldr.redb")
}

impl Written {
    /// The database in `directory`, which must have the acknowledged state.
    fn read(directory: &TempDir, acknowledged: &DesiredState, how: &'static str) -> Self {
        let bytes = fs::read(database_in(directory)).unwrap();
        let copy = tempdir().unwrap();
        fs::write(database_in(&copy), &bytes).unwrap();
        let persistent = Store::open(copy.path()).unwrap().persistent;
        assert!(state_of(&persistent) == *acknowledged, "{how}");
        Self {
            bytes,
            persistent,
            how,
        }
    }

    /// Opens the bytes after `harm`. Either the damage is reported and the file stays, or nothing was lost. Returns
    /// whether it was reported.
    fn reports(&self, what: &str, harm: impl FnOnce(&mut Vec<u8>)) -> bool {
        let directory = tempdir().unwrap();
        let mut bytes = self.bytes.clone();
        harm(&mut bytes);
        fs::write(database_in(&directory), &bytes).unwrap();
        match Store::open(directory.path()) {
            Ok(opened) => {
                assert!(
                    opened.persistent == self.persistent,
                    "{} and {what}",
                    self.how
                );
                false
            }
            Err(error) => {
                let damaged = matches!(error, OpenError::Damaged { .. });
                assert!(damaged, "{} and {what}: {error:?}", self.how);
                let length = fs::metadata(database_in(&directory)).unwrap().len();
                assert_eq!(length, bytes.len() as u64, "{} and {what}", self.how);
                true
            }
        }
    }

    fn flip_is_reported(&self, position: usize, bit: usize) -> bool {
        let what = format!("bit {bit} flipped at {position}");
        self.reports(&what, |bytes| bytes[position] ^= 1 << bit)
    }
}

#[tokio::test]
async fn what_a_stop_or_a_kill_leaves_is_read_back() {
    for written in stopped_and_killed().await {
        assert!(!written.reports("not harmed", |_| {}));
    }
}

#[tokio::test]
async fn a_truncated_file_is_reported() {
    for written in stopped_and_killed().await {
        let length = written.bytes.len();
        let rest = (330..length).step_by(PAGE - 100);
        for length in (0..330).step_by(30).chain(rest).chain([length - 1]) {
            let what = format!("truncated to {length}");
            assert!(
                written.reports(&what, |bytes| bytes.truncate(length)),
                "{what}"
            );
        }
    }
}

/// One bit is not covered, after a kill only: the one that selects the current commit slot. If it is flipped, the file
/// looks like after a crash just before the last commit.
#[tokio::test]
async fn a_flipped_bit_is_reported_where_it_matters() {
    for written in stopped_and_killed().await {
        for bit in usize::from(written.how == "killed")..8 {
            written.flip_is_reported(FLAGS, bit);
        }
        let header = (0..320).filter(|position| *position != FLAGS).step_by(7);
        let rest = (320..written.bytes.len()).step_by(PAGE / 3 + 1);
        let flips = header.chain(rest);
        let reported = flips.filter(|position| written.flip_is_reported(*position, position % 8));
        assert!(reported.count() > 20);
    }
}

#[tokio::test]
async fn an_overwritten_page_is_reported_where_it_matters() {
    for written in stopped_and_killed().await {
        let mut reported = 0;
        for start in (0..written.bytes.len()).step_by(PAGE) {
            for filler in [0, b'{'] {
                let what = format!("page at {start} filled with {filler}");
                reported += usize::from(written.reports(&what, |bytes| {
                    bytes[start..]
                        .iter_mut()
                        .take(PAGE)
                        .for_each(|byte| *byte = filler);
                }));
            }
        }
        assert!(reported > 5, "only {reported}");
    }
}

/// A file of the right size that was never a database, and an empty one.
#[tokio::test]
async fn a_file_that_is_no_database_is_reported_and_kept() {
    for bytes in [
        vec![],
        b"{}".to_vec(),
        vec![0; 20 * PAGE],
        vec![0xa5; 20 * PAGE],
    ] {
        let directory = tempdir().unwrap();
        fs::write(database_in(&directory), &bytes).unwrap();
        for _ in 0..2 {
            let refused = open(options(directory.path())).unwrap_err();
            assert!(matches!(refused, OpenError::Damaged { .. }), "{refused:?}");
        }
        assert_eq!(fs::read(database_in(&directory)).unwrap(), bytes);
    }
}

/// The library may panic on a damaged file. That is reported as damage and does not end the process.
#[test]
fn an_assertion_while_opening_is_reported_as_damage() {
    let directory = tempdir().unwrap();
    let open = |_: &Path| -> Result<redb::Database, redb::DatabaseError> { panic!("page 7") };
    let refused = Store::open_with(directory.path(), Box::new(open)).unwrap_err();
    let OpenError::Damaged { source, .. } = refused else {
        panic!("{refused:?}");
    };
    assert!(source.to_string().contains("page 7"), "{source}");
}

/// A power loss during the last write: the commit that was in progress is lost, the ones before are not.
#[tokio::test]
async fn a_torn_last_write_leaves_what_was_acknowledged() {
    let directory = tempdir().unwrap();
    let Opened { handle, log, .. } = open_in(directory.path());
    change(&handle).await;
    let acknowledged = Written::read(&directory, &handle.current(), "torn");
    handle.propose(add(SERVERS + 1)).await.unwrap();
    let next = fs::read(database_in(&directory)).unwrap();
    log.stop().await;
    // Some pages of the next commit reached the disk, the header did not: any prefix of the pages, in either direction.
    assert_eq!(next.len(), acknowledged.bytes.len());
    let pages: Vec<usize> = (PAGE..next.len())
        .step_by(PAGE)
        .filter(|&start| next[start..][..PAGE] != acknowledged.bytes[start..][..PAGE])
        .collect();
    assert!(!pages.is_empty());
    for torn in 0..=pages.len() {
        for reached in [&pages[..torn], &pages[torn..]] {
            let what = format!("{reached:?} of the next commit");
            let lost = acknowledged.reports(&what, |bytes| {
                for &start in reached {
                    bytes[start..][..PAGE].copy_from_slice(&next[start..][..PAGE]);
                }
            });
            assert!(!lost, "{what}");
        }
    }
}
