//! The process, as the kernel sees it. What cannot be read is left out.

use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
};

use super::exposition::{Exposition, Kind::Counter, Kind::Gauge};

/// The begin of the names of the threads of the data path; the number of the worker follows.
const WORKER: &str = "weldr-worker-";

pub(super) fn write(started_at: SystemTime, to: &mut Exposition) {
    if let Some(times) = fs::read_to_string("/proc/self/stat")
        .ok()
        .as_deref()
        .and_then(Times::of)
    {
        to.family(
            "process_cpu_seconds_total",
            Counter,
            "CPU time of the process in the kernel and outside of it.",
        )
        .sample(&[], times.cpu_seconds);
        to.family(
            "process_resident_memory_bytes",
            Gauge,
            "Resident memory of the process.",
        )
        .sample(&[], times.resident_pages * page_size() as u64);
    }
    if let Ok(files) = fs::read_dir("/proc/self/fd") {
        // Reading the directory takes one itself.
        to.family("process_open_fds", Gauge, "Open file descriptors.")
            .sample(&[], files.count().saturating_sub(1));
    }
    if let Some(most) = getrlimit(Resource::Nofile).current {
        to.family(
            "process_max_fds",
            Gauge,
            "How many file descriptors may be open.",
        )
        .sample(&[], most);
    }
    if let Ok(since) = started_at.duration_since(UNIX_EPOCH) {
        to.family(
            "process_start_time_seconds",
            Gauge,
            "When the process started.",
        )
        .sample(&[], since.as_secs_f64());
    }
    let mut busy = to.family(
        "weldr_worker_cpu_seconds_total",
        Counter,
        "CPU time of each thread of the data path: its rate is the share of a core that it is busy.",
    );
    for (worker, seconds) in workers() {
        busy.sample(&[("worker", &worker)], seconds);
    }
}

/// The CPU time of each worker, ordered by number.
fn workers() -> Vec<(String, f64)> {
    let threads = fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    let mut workers: Vec<_> = threads
        .filter_map(|thread| {
            let stat = fs::read_to_string(thread.path().join("stat")).ok()?;
            let times = Times::of(&stat)?;
            let number = times.name.strip_prefix(WORKER)?.to_owned();
            Some((number, times.cpu_seconds))
        })
        .collect();
    workers.sort_by_key(|(number, _)| number.parse::<u32>().unwrap_or(u32::MAX));
    workers
}

/// What a file `stat` of the kernel says (`proc_pid_stat(5)`).
#[derive(Debug, PartialEq)]
struct Times<'s> {
    name: &'s str,
    cpu_seconds: f64,
    resident_pages: u64,
}

impl<'s> Times<'s> {
    fn of(stat: &'s str) -> Option<Self> {
        Self::with_ticks(stat, clock_ticks_per_second())
    }

    /// The name is in parentheses and may have any character, so what follows the last one is counted.
    fn with_ticks(stat: &'s str, ticks_per_second: u64) -> Option<Self> {
        let (name, rest) = stat.rsplit_once(')')?;
        let (_, name) = name.split_once('(')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let number = |field: usize| fields.get(field)?.parse::<u64>().ok();
        let ticks = number(11)? + number(12)?;
        Some(Self {
            name,
            cpu_seconds: ticks as f64 / ticks_per_second as f64,
            resident_pages: number(21)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_blanks_misleads_nobody() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 9 0 1000 99 4242 18446744073709551615 1";
        let times = Times::with_ticks(stat, 100).unwrap();
        assert_eq!(times.name, "a) b (c");
        assert!((times.cpu_seconds - 2.0).abs() < f64::EPSILON);
        assert_eq!(times.resident_pages, 4242);
        for damaged in ["", "7 (a", "7 (a) S 1"] {
            assert_eq!(Times::with_ticks(damaged, 100), None);
        }
    }

    #[test]
    fn this_process_can_be_read() {
        let mut exposition = Exposition::new(super::super::Format::Prometheus);
        write(SystemTime::now(), &mut exposition);
        let text = exposition.finish();
        for name in [
            "process_cpu_seconds_total",
            "process_open_fds",
            "process_max_fds",
        ] {
            assert!(text.contains(&format!("\n{name} ")), "{text}");
        }
    }
}
