//! The machine that a run is made on: its cores, and how many descriptors a process may have.

use std::io;

use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};
use serde::Serialize;

/// Which cores do what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Cores {
    /// The proxy, when it has one worker.
    pub(crate) proxy: Vec<usize>,
    /// The proxy, when it has two workers.
    pub(crate) two_workers: Vec<usize>,
    /// Origin, load, and this command itself.
    pub(crate) load: Vec<usize>,
}

impl Cores {
    /// The proxy is alone on the first core that this process may use. A second worker has a core of its own
    /// when there are four.
    pub(crate) fn of_this_machine() -> io::Result<Self> {
        let allowed = sched_getaffinity(None)?;
        let usable: Vec<usize> = (0..CpuSet::MAX_CPU)
            .filter(|&core| allowed.is_set(core))
            .collect();
        Ok(Self::among(&usable))
    }

    fn among(usable: &[usize]) -> Self {
        match usable {
            [] | [_] => Self {
                proxy: usable.to_vec(),
                two_workers: usable.to_vec(),
                load: usable.to_vec(),
            },
            [first, second] | [first, second, _] => Self {
                proxy: vec![*first],
                two_workers: vec![*first, *second],
                load: usable[1..].to_vec(),
            },
            [first, second, rest @ ..] => Self {
                proxy: vec![*first],
                two_workers: vec![*first, *second],
                load: rest.to_vec(),
            },
        }
    }

    /// Whether two workers leave a core to the load.
    pub(crate) fn have_room_for_two_workers(&self) -> bool {
        !self.load.iter().any(|core| self.two_workers.contains(core))
    }

    /// Whether the proxy is apart from the load.
    pub(crate) fn are_apart(&self) -> bool {
        self.proxy != self.load
    }
}

/// Binds this thread, and what it starts, to `cores`.
pub(crate) fn pin(cores: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for &core in cores {
        set.set(core);
    }
    Ok(sched_setaffinity(None, &set)?)
}

/// Raises the number of descriptors that this process and what it starts may have to `wanted`, or as far as
/// it is allowed; says how far that is.
pub(crate) fn raise_descriptor_limit(wanted: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let maximum = limit.maximum.unwrap_or(u64::MAX);
    for maximum in [maximum.max(wanted), maximum] {
        let current = maximum.min(wanted);
        let raised = Rlimit {
            current: Some(current),
            maximum: Some(maximum),
        };
        if setrlimit(Resource::Nofile, raised).is_ok() {
            return current;
        }
    }
    limit.current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::Cores;

    #[test]
    fn proxy_and_load_are_apart_from_two_cores_on() {
        assert!(!Cores::among(&[3]).are_apart());
        for usable in [&[0, 1][..], &[2, 5, 7], &[0, 1, 2, 3]] {
            let cores = Cores::among(usable);
            assert!(cores.are_apart());
            assert!(!cores.load.contains(&cores.proxy[0]), "{cores:?}");
        }
    }

    #[test]
    fn two_workers_have_cores_of_their_own_from_four_on() {
        assert!(!Cores::among(&[0, 1]).have_room_for_two_workers());
        assert!(Cores::among(&[0, 1, 2, 3]).have_room_for_two_workers());
        assert_eq!(Cores::among(&[0, 1, 2, 3]).load, [2, 3]);
    }
}
