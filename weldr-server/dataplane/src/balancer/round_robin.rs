//! Round robin: each server in turn.

/// The index of the turn at `position` among `count` servers; `None` when there is none.
///
/// The caller raises `position` by one for each pick. Workers begin at different positions, so that they do not
/// choose the same server at the same time.
pub fn round_robin(count: usize, position: u64) -> Option<usize> {
    let count = u64::try_from(count).ok().filter(|&count| count > 0)?;
    usize::try_from(position % count).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_around() {
        let picks: Vec<_> = (5..10).map(|position| round_robin(3, position)).collect();
        assert_eq!(picks, [Some(2), Some(0), Some(1), Some(2), Some(0)]);
    }

    #[test]
    fn none_among_none() {
        assert_eq!(round_robin(0, 7), None);
    }

    #[test]
    fn the_position_may_wrap() {
        assert!(round_robin(3, u64::MAX).is_some());
    }
}
