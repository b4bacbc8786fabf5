//! What Weldr is to reach, and whether it did.

use std::fmt;

use serde::Serialize;

use crate::{
    figures::{Metric, Rounds},
    results::Results,
};

/// A target.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Target {
    /// Whose figure.
    pub(crate) of: &'static str,
    /// Which.
    pub(crate) metric: Metric,
    /// What it is divided by.
    pub(crate) against: Against,
    /// Where it is to lie.
    pub(crate) bound: Bound,
    /// On which machines.
    pub(crate) when: When,
}

/// What a figure is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Against {
    /// Nothing: the figure counts as it is.
    Itself,
    /// The byte forwarder's figure.
    Floor,
    /// The figure of the peer whose figure is the best.
    BestPeer,
    /// The figure of whoever has this label.
    Subject(&'static str),
}

/// Where a figure is to lie.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    /// Here or lower.
    AtMost(f64),
    /// Here or higher.
    AtLeast(f64),
}

/// On which machines a target counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum When {
    /// On all.
    Always,
    /// Where two workers leave a core to the load.
    LoadHasACore,
    /// Where they do not.
    LoadHasNoCore,
}

/// Whether a target was reached.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Verdict {
    /// The target.
    pub(crate) target: Target,
    /// Who it was compared with, if with anyone.
    pub(crate) with: Option<String>,
    /// The figure, over the rounds; none when there was nothing to compare with.
    pub(crate) measured: Option<Rounds>,
    /// Whether its median lies where it should.
    pub(crate) is_reached: Option<bool>,
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }
}

impl Target {
    /// Whether it counts on this machine.
    pub(crate) fn counts(&self, load_has_a_core: bool) -> bool {
        match self.when {
            When::Always => true,
            When::LoadHasACore => load_has_a_core,
            When::LoadHasNoCore => !load_has_a_core,
        }
    }

    /// Compares with what was measured.
    pub(crate) fn judge(self, results: &Results) -> Verdict {
        let with = match self.against {
            Against::Itself => None,
            Against::Floor => results.floor(),
            Against::BestPeer => results.best_peer(self.metric),
            Against::Subject(label) => results.subject(label),
        };
        let measured = match self.against {
            Against::Itself => results.rounds(self.of, self.metric),
            _ => with.and_then(|with| results.ratio(self.of, with, self.metric)),
        };
        Verdict {
            target: self,
            with: with.map(|with| with.label.clone()),
            measured,
            is_reached: measured.map(|rounds| self.bound.holds(rounds.median)),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Target {
            metric,
            against,
            bound,
            ..
        } = self.target;
        let (sign, limit) = match bound {
            Bound::AtMost(limit) => ('≤', limit),
            Bound::AtLeast(limit) => ('≥', limit),
        };
        write!(f, "{} {sign} {limit}", metric.title())?;
        match (against, &self.with) {
            (Against::Itself, _) => f.write_str(" B")?,
            (_, Some(with)) => write!(f, " × {with}")?,
            (Against::BestPeer, None) => f.write_str(" × the best peer")?,
            (Against::Floor | Against::Subject(_), None) => f.write_str(" × what did not run")?,
        }
        match (self.measured, self.is_reached) {
            (Some(rounds), Some(true)) => write!(f, ": {} pass", Figure(rounds.median)),
            (Some(rounds), _) => write!(f, ": {} FAIL", Figure(rounds.median)),
            (None, _) => f.write_str(": not measured"),
        }
    }
}

/// A ratio has decimals, a size has none.
struct Figure(f64);

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = if self.0 < 100.0 { 3 } else { 0 };
        write!(f, "{:.decimals$}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Against, Bound, Target, When};
    use crate::{
        figures::{Metric, Sample},
        results::{Kind, Results, Row},
    };

    fn results(rows: &[(Kind, &str, [f64; 3])]) -> Results {
        let row = |(kind, label, cpu): &(Kind, &str, [f64; 3])| Row {
            label: (*label).to_owned(),
            kind: *kind,
            samples: cpu
                .map(|cpu| Sample::from([(Metric::CpuMicros, cpu)]))
                .into(),
            failures: 0,
            trouble: None,
        };
        Results::new("test", Metric::CpuMicros, rows.iter().map(row).collect())
    }

    fn target(against: Against, bound: Bound) -> Target {
        Target {
            of: "weldr",
            metric: Metric::CpuMicros,
            against,
            bound,
            when: When::Always,
        }
    }

    #[test]
    fn the_best_peer_is_the_one_with_the_lowest_median() {
        let results = results(&[
            (Kind::Floor, "floor", [10.0; 3]),
            (Kind::Weldr, "weldr", [12.0; 3]),
            (Kind::Peer, "slow", [9.0, 30.0, 30.0]),
            (Kind::Peer, "fast", [15.0; 3]),
        ]);
        let verdict = target(Against::BestPeer, Bound::AtMost(0.95)).judge(&results);
        assert_eq!(verdict.with.as_deref(), Some("fast"));
        assert_eq!(verdict.to_string(), "CPU ≤ 0.95 × fast: 0.800 pass");
        let verdict = target(Against::Floor, Bound::AtMost(1.1)).judge(&results);
        assert_eq!(verdict.to_string(), "CPU ≤ 1.1 × floor: 1.200 FAIL");
    }

    #[test]
    fn without_anyone_to_compare_with_nothing_is_said() {
        let results = results(&[(Kind::Weldr, "weldr", [12.0; 3])]);
        let verdict = target(Against::BestPeer, Bound::AtMost(0.95)).judge(&results);
        assert_eq!(verdict.is_reached, None);
        assert_eq!(
            verdict.to_string(),
            "CPU ≤ 0.95 × the best peer: not measured"
        );
    }

    #[test]
    fn a_figure_may_count_as_it_is() {
        let results = results(&[(Kind::Weldr, "weldr", [2000.0, 2049.0, 2048.0])]);
        let verdict = target(Against::Itself, Bound::AtMost(2048.0)).judge(&results);
        assert_eq!(verdict.is_reached, Some(true));
        let verdict = target(Against::Itself, Bound::AtLeast(2049.0)).judge(&results);
        assert_eq!(verdict.is_reached, Some(false));
    }
}
