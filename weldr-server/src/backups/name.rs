//! The names of backup files: `weldr-backup-20260131T120000Z-r0000000042-NODE.json`. They sort by date. Pure.

use std::time::SystemTime;

use crate::model::Revision;

const PREFIX: &str = "weldr-backup-";
/// The form of the date: `d` is a digit.
const DATE: &str = "ddddddddTddddddZ";
/// Digits of a revision, which is longer only if it needs to be.
const REVISION_DIGITS: usize = 10;

/// The name of a backup of `revision` that `node` writes at `date`.
pub(super) fn file_name(date: SystemTime, revision: Revision, node: &str) -> String {
    let date = humantime::format_rfc3339_seconds(date).to_string();
    let date = date.replace(['-', ':'], "");
    let Revision(revision) = revision;
    format!("{PREFIX}{date}-r{revision:0REVISION_DIGITS$}-{node}.json")
}

/// The name of a backup of `node` that is not complete.
pub(super) fn unfinished_name(node: &str) -> String {
    format!(".{PREFIX}{node}.tmp")
}

/// Whether `name` is the name of a backup that `node` wrote.
pub(super) fn is_own(name: &str, node: &str) -> bool {
    let own = || {
        let (date, rest) = name.strip_prefix(PREFIX)?.split_at_checked(DATE.len())?;
        let rest = rest.strip_prefix("-r")?;
        let (revision, rest) = rest.split_once('-')?;
        let is_revision = revision.len() >= REVISION_DIGITS && are_digits(revision);
        Some(is_date(date) && is_revision && rest.strip_suffix(".json")? == node)
    };
    own().unwrap_or(false)
}

fn is_date(text: &str) -> bool {
    let fits = |(form, byte): (u8, u8)| match form {
        b'd' => byte.is_ascii_digit(),
        letter => byte == letter,
    };
    DATE.bytes().zip(text.bytes()).all(fits)
}

fn are_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn named(seconds: u64, revision: u64, node: &str) -> String {
        let date = UNIX_EPOCH + Duration::from_secs(seconds);
        file_name(date, Revision(revision), node)
    }

    #[test]
    fn names_sort_by_date_and_hold_the_revision() {
        let name = named(1_700_000_000, 42, "a");
        assert_eq!(name, "weldr-backup-20231114T221320Z-r0000000042-a.json");
        let later = [
            named(1_700_000_001, 9, "a"),
            named(1_700_086_400, 43, "a"),
            named(1_800_000_000, u64::MAX, "a"),
        ];
        assert!(name < later[0] && later.is_sorted(), "{later:?}");
    }

    #[test]
    fn only_the_names_of_this_node_are_its_own() {
        for node in ["a", "node-1", "r.2_x-r0000000001"] {
            assert!(is_own(&named(1_700_000_000, 42, node), node));
            assert!(is_own(&named(1_700_000_000, u64::MAX, node), node));
            assert!(!is_own(&unfinished_name(node), node));
        }
        for other in [
            "",
            "weldr-backup-",
            "weldr-backup-20231114T221320Z-r0000000042-b.json",
            "weldr-backup-20231114T221320Z-r0000000042-a.json.old",
            "weldr-backup-20231114T221320Z-r0000000042-a",
            "weldr-backup-20231114T221320Z-r42-a.json",
            "weldr-backup-20231114T221320Z-r000000004x-a.json",
            "weldr-backup-20231114-221320Z-r0000000042-a.json",
            "weldr-backup-2023111äT221320Z-r0000000042-a.json",
            "weldr-backup-2023-r0000000042-a.json",
            "my-weldr-backup-20231114T221320Z-r0000000042-a.json",
            "20231114T221320Z-r0000000042-a.json",
            "notes.txt",
        ] {
            assert!(!is_own(other, "a"), "{other}");
        }
    }
}
