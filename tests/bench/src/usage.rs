//! What a process and its children use, from `/proc`.

use std::{collections::HashMap, fs, ops::AddAssign, time::Duration};

use rustix::param::clock_ticks_per_second;
use serde::{Deserialize, Serialize};

/// CPU time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cpu {
    /// Spent in the programs, in ticks of the clock (10 ms).
    user_ticks: u64,
    /// Spent in the kernel for them, in ticks.
    system_ticks: u64,
    /// All of it, to the nanosecond, as the scheduler counts; 0 where the kernel does not tell.
    nanos: u64,
}

impl AddAssign for Cpu {
    fn add_assign(&mut self, other: Self) {
        self.user_ticks += other.user_ticks;
        self.system_ticks += other.system_ticks;
        self.nanos += other.nanos;
    }
}

impl Cpu {
    /// What was spent after `earlier`.
    #[must_use]
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            user_ticks: self.user_ticks.saturating_sub(earlier.user_ticks),
            system_ticks: self.system_ticks.saturating_sub(earlier.system_ticks),
            nanos: self.nanos.saturating_sub(earlier.nanos),
        }
    }

    /// User and system time together.
    pub(crate) fn total(&self) -> Duration {
        if self.nanos > 0 {
            return Duration::from_nanos(self.nanos);
        }
        let ticks = (self.user_ticks + self.system_ticks) as f64;
        Duration::from_secs_f64(ticks / clock_ticks_per_second() as f64)
    }

    /// The part of [`Cpu::total`] that was spent in the kernel, 0 to 1.
    pub(crate) fn system_share(&self) -> f64 {
        let ticks = self.user_ticks + self.system_ticks;
        self.system_ticks as f64 / (ticks as f64).max(1.0)
    }
}

/// What `process` and all that came from it have spent so far; those that have ended do not count.
pub(crate) fn cpu(process: u32) -> Cpu {
    let mut sum = Cpu::default();
    for pid in tree(process) {
        if let Some(stat) = Stat::of(pid) {
            sum += Cpu {
                user_ticks: stat.user_ticks,
                system_ticks: stat.system_ticks,
                nanos: scheduled_nanos(pid),
            };
        }
    }
    sum
}

/// The memory of `process` and all that came from it, in bytes. Pages that several processes share are
/// divided among them, so that a proxy of two processes is not charged twice for its code.
pub(crate) fn memory(process: u32) -> u64 {
    tree(process).into_iter().filter_map(memory_of).sum()
}

fn memory_of(pid: u32) -> Option<u64> {
    let kilobytes = |file: &str, name: &str| {
        let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let size = kilobytes("smaps_rollup", "Pss:").or_else(|| kilobytes("status", "VmRSS:"))?;
    Some(size * 1024)
}

/// The sum over the threads that live.
fn scheduled_nanos(pid: u32) -> u64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return 0;
    };
    let of_thread = |entry: fs::DirEntry| {
        let text = fs::read_to_string(entry.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    threads.flatten().filter_map(of_thread).sum()
}

/// `process` and all that came from it.
fn tree(process: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        if let Some(pid) = pid
            && let Some(stat) = Stat::of(pid)
        {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    let mut found = vec![process];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children.remove(pid).unwrap_or_default());
        next += 1;
    }
    found
}

/// What `/proc/PID/stat` says, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    user_ticks: u64,
    system_ticks: u64,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The fields are those of proc(5); the second is a name in parentheses, which may hold anything.
    fn parse(line: &str) -> Option<Self> {
        let (_, fields) = line.rsplit_once(')')?;
        let mut fields = fields.split_whitespace();
        Some(Self {
            parent: fields.nth(1)?.parse().ok()?,
            user_ticks: fields.nth(9)?.parse().ok()?,
            system_ticks: fields.next()?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{process, time::Duration};

    use super::{Cpu, Stat, cpu, memory};

    #[test]
    fn a_name_may_look_like_anything() {
        let line = "17 (a) 9 (b)) S 4 17 17 0 -1 4194560 1 0 0 0 250 30 0 0 20 0 1 0 99 1 1";
        let stat = Stat {
            parent: 4,
            user_ticks: 250,
            system_ticks: 30,
        };
        assert_eq!(Stat::parse(line), Some(stat));
        assert_eq!(Stat::parse("nonsense"), None);
    }

    #[test]
    fn this_process_uses_something() {
        let used = cpu(process::id());
        assert!(used.total() > Duration::ZERO);
        assert!(memory(process::id()) > 100 * 1024);
        assert_eq!(used.since(&used), Cpu::default());
    }
}
