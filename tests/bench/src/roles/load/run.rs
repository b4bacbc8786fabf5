//! Drives the connections of a load.

use std::{
    io,
    num::NonZeroU64,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use rustix::thread::set_current_timer_slack;

use super::{
    client::{Broken, Client, Script},
    pace::{Next, Schedule},
    spec::{LoadSpec, Outcome, Until},
};
use crate::{
    roles::{poller::Poller, socket},
    usage::{self, Cpu},
};

/// Bytes taken with one read.
const CHUNK: usize = 256 * 1024;

/// A load with more failures than this is given up.
const MAX_FAILURES: u64 = 100;

/// The longest latency that is told from longer ones, in nanoseconds.
const MAX_LATENCY: u64 = 60_000_000_000;

/// Makes the load.
pub(super) fn run(spec: &LoadSpec) -> io::Result<Outcome> {
    // Requests are due to the microsecond; the kernel would wake us up to 50 of them late.
    set_current_timer_slack(NonZeroU64::new(1))?;
    let mut load = Load::new(spec)?;
    let mut chunk = vec![0; CHUNK];
    while !load.is_over() {
        load.serve_those_who_wait()?;
        load.poller.wait(load.patience())?;
        for index in 0..load.poller.len() {
            let ready = load.poller.ready(index);
            load.advance(ready.token, ready.ending, &mut chunk)?;
        }
    }
    load.outcome()
}

struct Load<'spec> {
    spec: &'spec LoadSpec,
    script: Script,
    poller: Poller,
    clients: Vec<Client>,
    /// Connections without a request, waiting until one is due.
    waiting: Vec<usize>,
    /// When the next request is due, if someone waits for it.
    next_due: Option<Duration>,
    schedule: Schedule,
    /// Requests that were begun.
    begun: u64,
    /// Requests that were completed, counted or not.
    completed: u64,
    started: Instant,
    counting: Option<Counting>,
    failures: u64,
    failure: Option<String>,
}

/// What is counted once the load is warm.
struct Counting {
    since: Duration,
    cpu: Cpu,
    latencies: Histogram<u64>,
}

impl<'spec> Load<'spec> {
    fn new(spec: &'spec LoadSpec) -> io::Result<Self> {
        let script = Script::new(spec.shape, &spec.target.to_string());
        let poller = Poller::new()?;
        let mut clients = Vec::with_capacity(spec.connections);
        for token in 0..spec.connections {
            let client = Client::new(socket::connect(spec.target)?, &script);
            poller.add(client.stream(), token as u64)?;
            clients.push(client);
        }
        let waiting = (0..clients.len()).filter(|&index| clients[index].is_free());
        Ok(Self {
            spec,
            waiting: waiting.collect(),
            script,
            poller,
            clients,
            next_due: None,
            schedule: Schedule::new(spec.pace),
            begun: 0,
            completed: 0,
            started: Instant::now(),
            counting: None,
            failures: 0,
            failure: None,
        })
    }

    fn is_over(&mut self) -> bool {
        let now = self.started.elapsed();
        let is_warm = now >= self.spec.warm_up && self.completed >= self.spec.warm_up_requests;
        if self.counting.is_none() && is_warm {
            let latencies = Histogram::new_with_bounds(1, MAX_LATENCY, 3);
            self.counting = latencies.ok().map(|latencies| Counting {
                since: now,
                cpu: usage::cpu(self.spec.process),
                latencies,
            });
        }
        match (self.spec.until, &self.counting) {
            (_, None) => false,
            (Until::Elapsed(time), Some(counting)) => now >= counting.since + time,
            (Until::Requests(count), Some(counting)) => {
                counting.latencies.len() + self.failures >= count
            }
        }
    }

    /// How long nothing will happen unless a socket says so.
    fn patience(&self) -> Option<Duration> {
        let now = self.started.elapsed();
        let turning = match (&self.counting, self.spec.until) {
            (None, _) => Some(self.spec.warm_up).filter(|&end| end > now),
            (Some(counting), Until::Elapsed(time)) => Some(counting.since + time),
            (Some(_), Until::Requests(_)) => None,
        };
        let at = turning.into_iter().chain(self.next_due).min()?;
        Some(at.saturating_sub(now))
    }

    fn serve_those_who_wait(&mut self) -> io::Result<()> {
        self.next_due = None;
        while self.next_due.is_none() {
            let Some(index) = self.waiting.pop() else {
                return Ok(());
            };
            self.begin(index)?;
        }
        Ok(())
    }

    /// Gives a free connection its next request, or has it wait for one.
    fn begin(&mut self, index: usize) -> io::Result<()> {
        if matches!(self.spec.until, Until::Requests(count) if self.begun >= count) {
            return Ok(());
        }
        match self.schedule.next(self.started.elapsed()) {
            Next::Wait(due) => {
                self.waiting.push(index);
                self.next_due = Some(due);
                Ok(())
            }
            Next::Send(due) => {
                self.begun += 1;
                match self.clients[index].begin(&self.script, due) {
                    Ok(()) => Ok(()),
                    Err(broken) => self.replace_broken(index, &broken),
                }
            }
        }
    }

    fn advance(&mut self, token: u64, ending: bool, chunk: &mut [u8]) -> io::Result<()> {
        let index = usize::try_from(token).unwrap_or(usize::MAX);
        let step = match self.clients[index].advance(&self.script, ending, chunk) {
            Ok(step) => step,
            Err(broken) => return self.replace_broken(index, &broken),
        };
        self.completed += u64::from(step.completed.is_some());
        if let (Some(due), Some(counting)) = (step.completed, &mut self.counting) {
            let latency = self.started.elapsed().saturating_sub(due);
            let nanos = u64::try_from(latency.as_nanos()).unwrap_or(MAX_LATENCY);
            counting.latencies.saturating_record(nanos.max(1));
        }
        if step.left {
            self.replace(index)
        } else if step.free {
            self.begin(index)
        } else {
            Ok(())
        }
    }

    fn replace_broken(&mut self, index: usize, broken: &Broken) -> io::Result<()> {
        self.failures += 1;
        self.failure.get_or_insert_with(|| broken.to_string());
        if self.failures > MAX_FAILURES {
            return Err(io::Error::other(format!(
                "{} requests failed, the last one: {broken}",
                self.failures
            )));
        }
        self.replace(index)
    }

    /// Puts a new connection in the place of one that is over.
    fn replace(&mut self, index: usize) -> io::Result<()> {
        let client = Client::new(socket::connect(self.spec.target)?, &self.script);
        self.poller.add(client.stream(), index as u64)?;
        let is_free = client.is_free();
        self.clients[index] = client;
        if is_free { self.begin(index) } else { Ok(()) }
    }

    fn outcome(self) -> io::Result<Outcome> {
        let ended = self.started.elapsed();
        let counting = self
            .counting
            .ok_or_else(|| io::Error::other("the load ended before it was warm"))?;
        let cpu = usage::cpu(self.spec.process).since(&counting.cpu);
        let quantile = |q| Duration::from_nanos(counting.latencies.value_at_quantile(q));
        Ok(Outcome {
            requests: counting.latencies.len(),
            failures: self.failures,
            failure: self.failure,
            elapsed: ended.saturating_sub(counting.since),
            cpu,
            p50: quantile(0.5),
            p99: quantile(0.99),
            p999: quantile(0.999),
            idle_bytes: None,
        })
    }
}
