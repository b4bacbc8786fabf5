//! Whether a history of calls could have happened one after another. Pure.

use std::collections::HashSet;

/// What a call did to a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Write(u32),
    /// Read this.
    Read(u32),
}

/// A call: what it did, when it began, and when it was answered. Without an answer, it may take effect at any time
/// after it began, or never.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) action: Action,
    pub(super) begun: u64,
    pub(super) answered: Option<u64>,
}

/// Whether there is an order in which each call takes effect between its begin and its answer, and each read sees
/// the write before it. The search of Wing and Gong, with the memory of Lowe.
pub(super) fn is_linearizable(calls: &[Call], initial: u32) -> bool {
    assert!(
        calls.len() <= 128,
        "the search holds sets of at most 128 calls"
    );
    search(calls, 0, initial, &mut HashSet::new())
}

fn search(calls: &[Call], done: u128, value: u32, seen: &mut HashSet<(u128, u32)>) -> bool {
    let left = || {
        calls
            .iter()
            .enumerate()
            .filter(|(index, _)| done & (1 << index) == 0)
    };
    if left().all(|(_, call)| call.answered.is_none()) {
        return true;
    }
    if !seen.insert((done, value)) {
        return false;
    }
    // Nothing that begins after this answer can come before that call.
    let first_answer = left().filter_map(|(_, call)| call.answered).min();
    let bound = first_answer.unwrap_or(u64::MAX);
    left()
        .filter(|(_, call)| call.begun <= bound)
        .any(|(index, call)| {
            let done = done | 1 << index;
            match call.action {
                Action::Write(written) => search(calls, done, written, seen),
                Action::Read(read) => read == value && search(calls, done, value, seen),
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use Action::{Read, Write};

    fn call(action: Action, begun: u64, answered: u64) -> Call {
        let answered = Some(answered).filter(|answered| *answered > 0);
        Call {
            action,
            begun,
            answered,
        }
    }

    #[test]
    fn what_could_be_is_told_from_what_could_not() {
        let calls = [
            call(Write(1), 1, 4),
            call(Read(1), 2, 3),
            call(Read(1), 5, 6),
        ];
        assert!(is_linearizable(&calls, 0));
        let stale = [call(Write(1), 1, 2), call(Read(0), 3, 4)];
        assert!(!is_linearizable(&stale, 0));
        let back = [
            call(Write(1), 1, 10),
            call(Read(1), 2, 3),
            call(Read(0), 4, 5),
        ];
        assert!(!is_linearizable(&back, 0));
        let lost = [
            call(Write(1), 1, 2),
            call(Write(2), 3, 0),
            call(Read(1), 4, 5),
        ];
        assert!(is_linearizable(&lost, 0));
        let late = [
            call(Write(2), 1, 0),
            call(Read(0), 3, 4),
            call(Read(2), 5, 6),
        ];
        assert!(is_linearizable(&late, 0));
        let twice = [
            call(Write(2), 1, 0),
            call(Read(2), 3, 4),
            call(Read(0), 5, 6),
        ];
        assert!(!is_linearizable(&twice, 0));
    }
}
