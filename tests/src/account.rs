//! What became of many calls, counted by their kind and their fate.

use std::{collections::BTreeMap, fmt};

/// How a call can end.
pub trait Fate: Copy + Ord + fmt::Debug + 'static {
    /// All of them, in the order in which they are shown.
    const ALL: &'static [Self];
    /// What the calls are said to be, all together.
    const CALLS: &'static str;
}

/// How many calls of each kind had which fate.
#[derive(Debug, Clone)]
pub struct Account<F> {
    fates: BTreeMap<(&'static str, F), usize>,
}

impl<F> Default for Account<F> {
    fn default() -> Self {
        let fates = BTreeMap::new();
        Self { fates }
    }
}

impl<F: Fate> Account<F> {
    /// One more call of this kind had this fate.
    pub fn book(&mut self, kind: &'static str, fate: F) {
        *self.fates.entry((kind, fate)).or_default() += 1;
    }

    /// All that another account has.
    pub fn add(&mut self, other: Self) {
        for (key, count) in other.fates {
            *self.fates.entry(key).or_default() += count;
        }
    }

    /// How many had this fate.
    pub fn of(&self, fate: F) -> usize {
        let of_it = self.fates.iter().filter(|((_, booked), _)| *booked == fate);
        of_it.map(|(_, count)| count).sum()
    }

    /// All of them.
    pub fn calls(&self) -> usize {
        self.fates.values().sum()
    }
}

impl<F: Fate> fmt::Display for Account<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<12}{:>9}", "", F::CALLS)?;
        for fate in F::ALL {
            write!(f, "{:>11}", format!("{fate:?}").to_lowercase())?;
        }
        let mut kinds: Vec<_> = self.fates.keys().map(|(kind, _)| *kind).collect();
        kinds.dedup();
        for kind in kinds {
            let count = |fate: &F| self.fates.get(&(kind, *fate)).copied().unwrap_or(0);
            let calls: usize = F::ALL.iter().map(count).sum();
            write!(f, "\n{kind:<12}{calls:>9}")?;
            for fate in F::ALL {
                write!(f, "{:>11}", count(fate))?;
            }
        }
        write!(f, "\n{:<12}{:>9}", "all", self.calls())?;
        for fate in F::ALL {
            write!(f, "{:>11}", self.of(*fate))?;
        }
        Ok(())
    }
}
