//! What was seen, for people.

use std::{collections::BTreeMap, fmt::Write as _};

/// What became of one case.
#[derive(Debug)]
pub struct Verdict {
    /// The table of the case.
    pub table: &'static str,
    /// The case.
    pub name: String,
    /// The rule that it is judged by.
    pub rule: String,
    /// What was sent: by the client, or by the server.
    pub bytes: Vec<u8>,
    /// What had to come of it.
    pub required: String,
    /// What came of it.
    pub observed: String,
    /// What was wrong with that; nothing when the case passed.
    pub problems: Vec<String>,
}

impl Verdict {
    /// Whether the case passed.
    pub fn passed(&self) -> bool {
        self.problems.is_empty()
    }

    /// Whether the rule is Weldr's own, and so nobody else's.
    pub fn is_of_weldr_only(&self) -> bool {
        self.rule.starts_with("Weldr")
    }

    /// The case as a failure: bytes in, required, observed.
    pub fn failure(&self) -> String {
        format!(
            "{}: {} [{}]\n    sent:     {}\n    required: {}\n    observed: {}\n    wrong:    {}\n",
            self.table,
            self.name,
            self.rule,
            super::recorder::shortened(&self.bytes),
            self.required,
            self.observed,
            self.problems.join("; ")
        )
    }
}

/// How many cases of each table passed, and which did not.
pub fn summary(verdicts: &[Verdict]) -> String {
    let mut tables: BTreeMap<_, (usize, usize)> = BTreeMap::new();
    for verdict in verdicts {
        let (passed, all) = tables.entry(verdict.table).or_default();
        *passed += usize::from(verdict.passed());
        *all += 1;
    }
    let mut text = String::new();
    for (table, (passed, all)) in &tables {
        let _infallible = writeln!(text, "{table:<20} {passed:>4} of {all:>4}");
    }
    let passed = verdicts.iter().filter(|verdict| verdict.passed()).count();
    let _infallible = writeln!(text, "{:<20} {passed:>4} of {:>4}\n", "all", verdicts.len());
    for verdict in verdicts.iter().filter(|verdict| !verdict.passed()) {
        text += &verdict.failure();
    }
    text
}
