//! Weighted round robin: each server in turn, in proportion to its weight.
//!
//! nginx's smooth weighted round robin looks at every server for each pick. Here each server has an interval as long as
//! its weight, and the intervals follow each other on a circle whose length is the sum of the weights. Each turn moves on
//! by a fixed step, of about the golden section of the circle. The step is coprime to the length, so one round visits each
//! unit exactly once and gives each server its exact share; the golden section spreads the turns of a server with a large
//! weight between those of the others. A pick is a multiplication and a binary search, and needs no state but the number
//! of the turn.

/// The turns of servers by their weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Where the interval of each server ends.
    ends: Box<[u64]>,
    step: u64,
}

impl Schedule {
    /// The turns of servers with these weights; a server of weight 0 has none.
    pub fn new(weights: impl IntoIterator<Item = u32>) -> Self {
        let mut sum = 0;
        let mut ends: Box<[u64]> = weights
            .into_iter()
            .map(|weight| {
                sum += u64::from(weight);
                sum
            })
            .collect();
        let (scale, step) = golden_step(sum);
        ends.iter_mut().for_each(|end| *end *= scale);
        Self { ends, step }
    }

    /// After how many turns each server has had its exact share.
    pub fn round(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// The index of the server whose turn is at `position`; `None` when no server has a turn.
    pub fn pick(&self, position: u64) -> Option<usize> {
        let round = Some(self.round()).filter(|&round| round > 0)?;
        let turn = u128::from(position % round) * u128::from(self.step) % u128::from(round);
        let point = u64::try_from(turn).ok()?;
        Some(self.ends.partition_point(|&end| end <= point))
    }
}

/// A factor by which to scale the length `sum`, and a step near the golden section of the scaled length that is coprime to
/// it. Short lengths have no such step (only 1 and 5 are coprime to 6), but two or three times the length has one.
fn golden_step(sum: u64) -> (u64, u64) {
    const MOST_SCALE: u64 = 8;
    let candidates = (1..=MOST_SCALE).flat_map(|scale| {
        let line = sum * scale;
        let golden = line * 618 / 1000;
        let nearest_first =
            (0..=line / 25).flat_map(move |off| [golden + off, golden.saturating_sub(off)]);
        nearest_first.map(move |step| (scale, step))
    });
    let mut coprime =
        candidates.filter(|&(scale, step)| greatest_common_divisor(step, sum * scale) == 1);
    coprime.next().unwrap_or((1, 1))
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_heavy_server_does_not_get_its_turns_in_a_row() {
        for (weights, longest) in [
            (vec![3, 1, 1, 1], 2),
            (vec![5, 1, 1], 4),
            (vec![100, 50, 1], 4),
        ] {
            let schedule = Schedule::new(weights.iter().copied());
            let turns = 0..2 * schedule.round();
            let picks: Vec<_> = turns
                .filter_map(|position| schedule.pick(position))
                .collect();
            let longest_run = picks.chunk_by(|a, b| a == b).map(<[_]>::len).max();
            assert!(longest_run <= Some(longest), "{weights:?}: {picks:?}");
        }
    }

    #[test]
    fn no_weight_no_turn() {
        assert_eq!(Schedule::new([]).pick(3), None);
        assert_eq!(Schedule::new([0, 0]).pick(3), None);
        assert_eq!(Schedule::new([0, 1, 0]).pick(3), Some(1));
    }

    proptest! {
        #[test]
        fn shares_are_exact_over_a_round(weights in prop::collection::vec(0_u32..=256, 1..20), start: u32) {
            let schedule = Schedule::new(weights.iter().copied());
            let round = schedule.round();
            let mut turns = vec![0; weights.len()];
            for position in u64::from(start)..u64::from(start) + round {
                turns[schedule.pick(position).unwrap()] += 1;
            }
            let sum: u64 = weights.iter().copied().map(u64::from).sum();
            for (weight, turns) in weights.into_iter().zip(turns) {
                prop_assert_eq!(turns * sum, u64::from(weight) * round);
            }
        }
    }
}
