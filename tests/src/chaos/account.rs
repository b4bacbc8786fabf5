//! What became of each call.

use std::{collections::BTreeMap, fmt};

/// What a client was told of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It was acknowledged, or answered.
    Ok,
    /// Nothing happened.
    Refused,
    /// It may or may not have happened, or may yet.
    Unknown,
}

const FATES: [Fate; 3] = [Fate::Ok, Fate::Refused, Fate::Unknown];

/// How many calls of each kind had which fate.
#[derive(Debug, Default, Clone)]
pub struct Account {
    fates: BTreeMap<(&'static str, Fate), usize>,
}

impl Account {
    pub(super) fn book(&mut self, kind: &'static str, fate: Fate) {
        *self.fates.entry((kind, fate)).or_default() += 1;
    }

    /// How many had this fate.
    pub fn of(&self, fate: Fate) -> usize {
        let of_it = self.fates.iter().filter(|((_, booked), _)| *booked == fate);
        of_it.map(|(_, count)| count).sum()
    }

    /// All of them.
    pub fn calls(&self) -> usize {
        self.fates.values().sum()
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |f: &mut fmt::Formatter<'_>, kind, [all, ok, refused, unknown]: [usize; 4]| {
            write!(f, "\n{kind:<8}{all:>9}{ok:>9}{refused:>9}{unknown:>9}")
        };
        write!(f, "{:<8}{:>9}", "", "calls")?;
        for fate in FATES {
            write!(f, "{:>9}", format!("{fate:?}").to_lowercase())?;
        }
        let mut kinds: Vec<_> = self.fates.keys().map(|(kind, _)| *kind).collect();
        kinds.dedup();
        for kind in kinds {
            let [ok, refused, unknown] =
                FATES.map(|fate| self.fates.get(&(kind, fate)).copied().unwrap_or(0));
            row(f, kind, [ok + refused + unknown, ok, refused, unknown])?;
        }
        let [ok, refused, unknown] = FATES.map(|fate| self.of(fate));
        row(f, "all", [self.calls(), ok, refused, unknown])
    }
}
