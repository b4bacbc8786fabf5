//! Whether a history of calls to a register could have happened one after another. Pure.

use std::{collections::HashSet, fmt};

/// What a call did to a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Write this.
    Write(u32),
    /// Read this.
    Read(u32),
}

/// A call: what it did, when it began, and when it was completed. Without a response, it may take effect at any time
/// after it began, or never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// What it did.
    pub action: Action,
    /// When it began, by a clock that gives each moment once, from 1.
    pub begun: u64,
    /// When it was completed, by the same clock.
    pub completed: Option<u64>,
}

impl Call {
    fn is_over_before(&self, moment: u64) -> bool {
        self.completed.is_some_and(|completed| completed < moment)
    }

    fn is_write(&self) -> bool {
        matches!(self.action, Action::Write(_))
    }
}

/// Part of a history that could not have happened.
#[derive(Debug, PartialEq, Eq)]
pub struct Impossible {
    /// What the register held before.
    pub before: u32,
    /// The calls, in the order in which they began.
    pub calls: Vec<Call>,
}

impl fmt::Display for Impossible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it held {}", self.before)?;
        for call in &self.calls {
            let completed = call.completed.unwrap_or_default();
            write!(f, "; {:?} from {} to {completed}", call.action, call.begun)?;
        }
        Ok(())
    }
}

/// Judges a history of any length in which no value is written twice, nor `initial` written: as [`is_linearizable`]
/// would, but in windows, between which no call is under way and one value is certain. Gives their number.
///
/// # Errors
/// The first window that could not have happened.
pub fn judge(calls: &[Call], initial: u32) -> Result<usize, Impossible> {
    let (mut before, mut windows) = (initial, 0);
    let mut window = Vec::new();
    let mut last_response = 0;
    for call in closed(calls) {
        let is_cut = call.begun > last_response && !window.is_empty();
        if let Some(value) = Some(&window).filter(|_| is_cut).and_then(|w| fixed(w)) {
            before = judge_window(std::mem::take(&mut window), before, value)?;
            windows += 1;
        }
        last_response = last_response.max(call.completed.unwrap_or(u64::MAX));
        window.push(call);
    }
    judge_window(window, before, before)?;
    Ok(windows + 1)
}

fn judge_window(calls: Vec<Call>, before: u32, after: u32) -> Result<u32, Impossible> {
    if is_linearizable(&calls, before) {
        Ok(after)
    } else {
        Err(Impossible { before, calls })
    }
}

/// The same history without writes of unknown fate, ordered by their begin. One that was read took effect before the
/// first response with its value; one that never was is as good as never made.
fn closed(calls: &[Call]) -> Vec<Call> {
    let first_seen = |value: u32| {
        let readers = calls
            .iter()
            .filter(|call| call.action == Action::Read(value));
        readers.filter_map(|call| call.completed).min()
    };
    let close = |call: &Call| match (call.completed, call.action) {
        (None, Action::Write(value)) => Some(Call {
            completed: Some(first_seen(value)?),
            ..*call
        }),
        (None, Action::Read(_)) => None,
        (Some(_), _) => Some(*call),
    };
    let mut closed: Vec<Call> = calls.iter().filter_map(close).collect();
    closed.sort_unstable_by_key(|call| call.begun);
    closed
}

/// What the register holds when all of these calls are over, if that is certain: what a read says that began after
/// all writes, or the write that began after all others.
fn fixed(window: &[Call]) -> Option<u32> {
    let is_last = |call: &&Call| {
        let others = window.iter().filter(|other| other != call);
        others
            .filter(|other| other.is_write())
            .all(|other| other.is_over_before(call.begun))
    };
    window.iter().rfind(is_last).map(|call| match call.action {
        Action::Write(value) | Action::Read(value) => value,
    })
}

/// Whether there is an order in which each call takes effect between its begin and its response, and each read sees
/// the write before it. The search of Wing and Gong, with the memory of Lowe.
pub fn is_linearizable(calls: &[Call], initial: u32) -> bool {
    let none = Done(vec![0; calls.len().div_ceil(64)]);
    search(calls, &none, initial, &mut HashSet::new())
}

/// Which calls have taken effect: a bit each.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Done(Vec<u64>);

impl Done {
    fn has(&self, index: usize) -> bool {
        self.0[index / 64] & (1 << (index % 64)) != 0
    }

    fn with(&self, index: usize) -> Self {
        let mut with = self.clone();
        with.0[index / 64] |= 1 << (index % 64);
        with
    }
}

fn search(calls: &[Call], done: &Done, value: u32, seen: &mut HashSet<(Done, u32)>) -> bool {
    let left = || {
        let calls = calls.iter().enumerate();
        calls.filter(|(index, _)| !done.has(*index))
    };
    if left().all(|(_, call)| call.completed.is_none()) {
        return true;
    }
    if !seen.insert((done.clone(), value)) {
        return false;
    }
    // Nothing that begins after this response can come before that call.
    let first_response = left().filter_map(|(_, call)| call.completed).min();
    let bound = first_response.unwrap_or(u64::MAX);
    left()
        .filter(|(_, call)| call.begun <= bound)
        .any(|(index, call)| match call.action {
            Action::Write(written) => search(calls, &done.with(index), written, seen),
            Action::Read(read) => read == value && search(calls, &done.with(index), value, seen),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use Action::{Read, Write};

    fn call(action: Action, begun: u64, completed: u64) -> Call {
        let completed = Some(completed).filter(|completed| *completed > 0);
        Call {
            action,
            begun,
            completed,
        }
    }

    /// By the search over the whole, and in windows.
    fn is_possible(calls: &[Call]) -> bool {
        let whole = is_linearizable(calls, 0);
        assert_eq!(judge(calls, 0).is_ok(), whole, "{calls:?}");
        whole
    }

    #[test]
    fn what_could_be_is_told_from_what_could_not() {
        let calls = [
            call(Write(1), 1, 4),
            call(Read(1), 2, 3),
            call(Read(1), 5, 6),
        ];
        assert!(is_possible(&calls));
        let stale = [call(Write(1), 1, 2), call(Read(0), 3, 4)];
        assert!(!is_possible(&stale));
        let back = [
            call(Write(1), 1, 10),
            call(Read(1), 2, 3),
            call(Read(0), 4, 5),
        ];
        assert!(!is_possible(&back));
        let lost = [
            call(Write(1), 1, 2),
            call(Write(2), 3, 0),
            call(Read(1), 4, 5),
        ];
        assert!(is_possible(&lost));
        let late = [
            call(Write(2), 1, 0),
            call(Read(0), 3, 4),
            call(Read(2), 5, 6),
        ];
        assert!(is_possible(&late));
        let twice = [
            call(Write(2), 1, 0),
            call(Read(2), 3, 4),
            call(Read(0), 5, 6),
        ];
        assert!(!is_possible(&twice));
        let before_it_was_written = [call(Read(1), 1, 2), call(Write(1), 3, 0)];
        assert!(!is_possible(&before_it_was_written));
    }

    #[test]
    fn a_history_is_cut_where_one_value_is_certain() {
        // Between two writes at once and what follows, either value may be there.
        let calls = [
            call(Write(1), 1, 3),
            call(Write(2), 2, 4),
            call(Read(1), 5, 6),
            call(Write(3), 7, 0),
            call(Read(1), 8, 9),
            call(Read(3), 10, 11),
        ];
        // The write of unknown fate is under way until it is read.
        assert_eq!(judge(&calls, 0), Ok(2));
        let stale = [calls.as_slice(), &[call(Read(1), 12, 13)]].concat();
        let impossible = judge(&stale, 0).unwrap_err();
        assert_eq!((impossible.before, impossible.calls.len()), (3, 1));
    }

    #[test]
    fn a_long_history_is_judged() {
        let one_more = |n: u32| {
            let begun = u64::from(n) * 3;
            [
                call(Write(n), begun, begun + 1),
                // Overlaps the next write, so that some windows are long.
                call(Read(n), begun + 2, begun + 2 + u64::from(n % 5)),
            ]
        };
        let calls: Vec<Call> = (1..2_000).flat_map(one_more).collect();
        assert!(judge(&calls, 0).is_ok_and(|windows| windows > 100));
        let stale = call(Read(1_000), 10_000, 10_001);
        assert!(judge(&[calls.as_slice(), &[stale]].concat(), 0).is_err());
    }

    /// Writes at random times, some of unknown fate, and reads that see the last of them, or any.
    fn at_random(rng: &mut fastrand::Rng) -> Vec<Call> {
        let mut calls = Vec::new();
        for value in 1..=rng.u32(1..5) {
            let begun = rng.u64(1..30);
            let is_open = rng.u8(..4) == 0;
            let completed = if is_open { 0 } else { begun + rng.u64(1..6) };
            calls.push(call(Write(value), begun, completed));
        }
        let writes = calls.clone();
        for _ in 0..rng.u32(1..6) {
            let begun = rng.u64(1..40);
            let before = writes.iter().filter(|write| write.begun < begun);
            let last = before.max_by_key(|write| write.begun);
            let value = match last.map(|write| write.action) {
                Some(Write(value)) if rng.u8(..8) > 0 => value,
                _ => rng.u32(..5),
            };
            calls.push(call(Read(value), begun, begun + rng.u64(1..6)));
        }
        calls
    }

    #[test]
    fn windows_judge_as_the_whole_does() {
        let mut rng = fastrand::Rng::with_seed(1);
        let histories = (0..20_000).map(|_| at_random(&mut rng));
        let possible = histories.filter(|calls| is_possible(calls)).count();
        assert!((2_000..18_000).contains(&possible), "{possible}");
    }
}
