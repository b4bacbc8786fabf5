//! Least requests, by the power of two choices: of two random servers, the one with fewer running requests.
//!
//! Comparing two is nearly as good as comparing all, and does not send every worker to the same idle server at once
//! (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001).

/// The index of the less loaded of two different servers among `count`; `None` when there is none.
///
/// `random(n)` gives a number below `n`. `load(i)` gives the running requests of server `i` and its
/// weight, which is above 0: the load after one more request, divided by the weight, is compared.
pub fn least_requests(
    count: usize,
    mut random: impl FnMut(usize) -> usize,
    load: impl Fn(usize) -> (u64, u32),
) -> Option<usize> {
    match count {
        0 => None,
        1 => Some(0),
        _ => {
            let first = random(count);
            let other = random(count - 1);
            let second = if other >= first { other + 1 } else { other };
            let ((first_running, first_weight), (second_running, second_weight)) =
                (load(first), load(second));
            // a / v <= b / w without a division.
            let first_is_lighter = (first_running + 1) * u64::from(second_weight)
                <= (second_running + 1) * u64::from(first_weight);
            Some(if first_is_lighter { first } else { second })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives the numbers in turn.
    fn rng(numbers: &'static [usize]) -> impl FnMut(usize) -> usize {
        let mut numbers = numbers.iter().copied();
        move |below| numbers.next().filter(|&number| number < below).unwrap()
    }

    #[test]
    fn the_less_loaded_of_the_two_wins() {
        let running = [9, 3, 5];
        let load = |index: usize| (running[index], 1);
        assert_eq!(least_requests(3, rng(&[0, 1]), load), Some(2)); // 0 against 2
        assert_eq!(least_requests(3, rng(&[2, 1]), load), Some(1)); // 2 against 1
    }

    #[test]
    fn weight_counts() {
        let servers = [(5, 1), (9, 4)];
        assert_eq!(
            least_requests(2, rng(&[0, 0]), |index| servers[index]),
            Some(1)
        );
    }

    #[test]
    fn the_two_are_never_the_same() {
        let load = |_| (0, 1);
        for (first, other) in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)] {
            let looked_at = std::cell::RefCell::new(Vec::new());
            let mut numbers = [first, other].into_iter();
            least_requests(
                3,
                |_| numbers.next().unwrap(),
                |index| {
                    looked_at.borrow_mut().push(index);
                    load(index)
                },
            );
            let looked_at = looked_at.into_inner();
            assert_ne!(looked_at[0], looked_at[1]);
        }
    }

    #[test]
    fn few_servers() {
        assert_eq!(least_requests(0, rng(&[]), |_| (0, 1)), None);
        assert_eq!(least_requests(1, rng(&[]), |_| (0, 1)), Some(0));
    }
}
