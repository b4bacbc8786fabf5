//! What a scenario came to.

use serde::Serialize;

use crate::figures::{self, Metric, Rounds, Sample};

/// What someone who takes turns is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// The byte forwarder.
    Floor,
    /// Weldr.
    Weldr,
    /// Another proxy.
    Peer,
}

/// The turns of one.
#[derive(Debug)]
pub(crate) struct Row {
    /// What it is called.
    pub(crate) label: String,
    /// What it is.
    pub(crate) kind: Kind,
    /// What each of its turns measured.
    pub(crate) samples: Vec<Sample>,
    /// Requests that failed in all of them.
    pub(crate) failures: u64,
    /// Why there are no more samples, or what the first failure was.
    pub(crate) trouble: Option<String>,
}

/// The turns of all, in the same rounds.
#[derive(Debug)]
pub(crate) struct Results {
    /// The scenario.
    pub(crate) scenario: &'static str,
    /// What it is about.
    pub(crate) metric: Metric,
    rows: Vec<Row>,
}

impl Results {
    /// Of these.
    pub(crate) fn new(scenario: &'static str, metric: Metric, rows: Vec<Row>) -> Self {
        Self {
            scenario,
            metric,
            rows,
        }
    }

    /// Everyone, in their order.
    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The one with this label.
    pub(crate) fn subject(&self, label: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.label == label)
    }

    /// The byte forwarder.
    pub(crate) fn floor(&self) -> Option<&Row> {
        self.rows.iter().find(|row| row.kind == Kind::Floor)
    }

    /// The peer with the best median.
    pub(crate) fn best_peer(&self, metric: Metric) -> Option<&Row> {
        let peers = self.rows.iter().filter(|row| row.kind == Kind::Peer);
        let medians = peers.filter_map(|row| {
            let median = figures::rounds(&row.samples, metric)?.median;
            Some((
                row,
                if metric.is_better_high() {
                    -median
                } else {
                    median
                },
            ))
        });
        let best = medians.min_by(|(_, one), (_, other)| one.total_cmp(other));
        best.map(|(row, _)| row)
    }

    /// What the ratios in the table are to, besides the floor: the best peer, or the first variant.
    pub(crate) fn reference(&self, metric: Metric) -> Option<&Row> {
        let has_others = self.rows.iter().any(|row| row.kind != Kind::Weldr);
        if has_others {
            self.best_peer(metric)
        } else {
            self.rows.first()
        }
    }

    /// A figure of the one with this label.
    pub(crate) fn rounds(&self, label: &str, metric: Metric) -> Option<Rounds> {
        figures::rounds(&self.subject(label)?.samples, metric)
    }

    /// A figure of the one with this label, divided by another's.
    pub(crate) fn ratio(&self, label: &str, reference: &Row, metric: Metric) -> Option<Rounds> {
        figures::ratio(&self.subject(label)?.samples, &reference.samples, metric)
    }
}
