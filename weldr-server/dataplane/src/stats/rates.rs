//! Events per second, from samples of counts.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::model::ServerId;

/// The weight of the newest sample: with one sample a second, the last two make half of the rate.
const NEWEST: f64 = 0.3;

/// A smoothed rate of one count.
#[derive(Debug, Clone, Copy)]
pub struct RateMeter {
    count: u64,
    at: Instant,
    per_second: Option<f64>,
}

impl RateMeter {
    /// Begins with `count` at `at`.
    pub fn new(count: u64, at: Instant) -> Self {
        Self {
            count,
            at,
            per_second: None,
        }
    }

    /// Takes a sample of the count. Samples less than a millisecond apart are dropped.
    pub fn sample(&mut self, count: u64, at: Instant) {
        let elapsed = at.saturating_duration_since(self.at);
        if elapsed < Duration::from_millis(1) {
            return;
        }
        let newest = count.saturating_sub(self.count) as f64 / elapsed.as_secs_f64();
        let smoothed = match self.per_second {
            Some(before) => before + NEWEST * (newest - before),
            None => newest,
        };
        // A rate that only decays ends at zero.
        let settled = if smoothed < 0.01 { 0.0 } else { smoothed };
        *self = Self {
            count,
            at,
            per_second: Some(settled),
        };
    }

    /// Events per second; 0 before the second sample.
    pub fn per_second(&self) -> f64 {
        self.per_second.unwrap_or(0.0)
    }
}

/// The rates of the process and of each server. Written by one task of the control plane each second.
#[derive(Debug, Default)]
pub struct Rates(Mutex<Meters>);

#[derive(Debug, Default)]
struct Meters {
    client: Option<RateMeter>,
    servers: HashMap<ServerId, RateMeter>,
}

impl Rates {
    /// Takes a sample of everything; servers that are not in it are forgotten.
    pub fn sample(
        &self,
        at: Instant,
        client: u64,
        servers: impl IntoIterator<Item = (ServerId, u64)>,
    ) {
        let mut meters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        meters
            .client
            .get_or_insert_with(|| RateMeter::new(client, at))
            .sample(client, at);
        let mut before = std::mem::take(&mut meters.servers);
        meters.servers = servers
            .into_iter()
            .map(|(id, count)| {
                let mut meter = before.remove(&id).unwrap_or_else(|| RateMeter::new(0, at));
                meter.sample(count, at);
                (id, meter)
            })
            .collect();
    }

    /// Requests of clients per second.
    pub fn client(&self) -> f64 {
        let meters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        meters.client.map_or(0.0, |meter| meter.per_second())
    }

    /// Attempts on one server per second.
    pub fn server(&self, id: ServerId) -> f64 {
        let meters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        meters.servers.get(&id).map_or(0.0, RateMeter::per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_is_shown_as_it_is_and_fades_when_it_ends() {
        let start = Instant::now();
        let mut meter = RateMeter::new(0, start);
        assert!(meter.per_second().abs() < f64::EPSILON);
        for second in 1..=3 {
            meter.sample(second * 50, start + Duration::from_secs(second));
        }
        assert!((meter.per_second() - 50.0).abs() < 1e-9);
        for second in 4..60 {
            meter.sample(150, start + Duration::from_secs(second));
        }
        assert!(meter.per_second().abs() < f64::EPSILON);
    }

    #[test]
    fn a_removed_server_is_forgotten() {
        let (rates, start) = (Rates::default(), Instant::now());
        rates.sample(start, 0, [(ServerId(1), 0)]);
        rates.sample(start + Duration::from_secs(1), 0, [(ServerId(1), 10)]);
        assert!(rates.server(ServerId(1)) > 9.0);
        rates.sample(start + Duration::from_secs(2), 0, []);
        assert!(rates.server(ServerId(1)).abs() < f64::EPSILON);
    }
}
