//! When a server whose requests fail is ejected, and for how long. Pure: the caller gives the time.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::{
    model::{Health, HealthState, OutlierEjection, Reason},
    snapshot::EjectedServer,
};

/// After this many times the length of an ejection without another one, the next one is as short as the first.
const FORGIVEN_AFTER: u32 = 2;

/// The ejections of one server.
#[derive(Debug, Default)]
pub(super) struct Ejections {
    /// How many there were in a row.
    count: u32,
    /// The end of the last one, and its length.
    last: Option<(Instant, Duration)>,
    /// The one that lasts.
    present: Option<Ejected>,
    /// The date of the end of the last one.
    ended: Option<SystemTime>,
}

/// An ejection that lasts.
#[derive(Debug)]
struct Ejected {
    health: Health,
    /// Counts it against the share of the pool.
    _place: EjectedServer,
}

impl Ejections {
    /// Begins an ejection because `failures` requests in a row failed. Each one in a row lasts longer by the time of the
    /// first. `date` is that of now, to be shown.
    pub(super) fn begin(
        &mut self,
        settings: &OutlierEjection,
        place: EjectedServer,
        failures: u32,
        now: Instant,
        date: SystemTime,
    ) {
        let length = self.next_length(settings, now);
        self.last = Some((now + length, length));
        let length = humantime::format_duration(length);
        let health = Health {
            state: HealthState::Unhealthy,
            reason: Reason::Ejected,
            description: format!("ejected for {length}: {failures} requests in a row failed"),
            since: date,
        };
        self.present = Some(Ejected {
            health,
            _place: place,
        });
    }

    fn next_length(&mut self, settings: &OutlierEjection, now: Instant) -> Duration {
        let forgiven = self
            .last
            .is_none_or(|(end, length)| now > end + length * FORGIVEN_AFTER);
        self.count = if forgiven {
            1
        } else {
            self.count.saturating_add(1)
        };
        let length = settings.time.saturating_mul(self.count);
        length.min(settings.longest.max(settings.time))
    }

    /// The end of the ejection that lasts.
    pub(super) fn until(&self) -> Option<Instant> {
        let (end, _) = self.last?;
        self.present.is_some().then_some(end)
    }

    /// Ends the ejection that lasts.
    pub(super) fn end(&mut self, date: SystemTime) {
        self.present = None;
        self.ended = Some(date);
    }

    /// The health to report of a server whose checks say `observed`: an ejection shows while they pass.
    pub(super) fn shown(&self, observed: &Health) -> Health {
        let since = self.ended.unwrap_or(observed.since).max(observed.since);
        match &self.present {
            _ if observed.state != HealthState::Healthy => observed.clone(),
            Some(ejected) => ejected.health.clone(),
            None => Health {
                since,
                ..observed.clone()
            },
        }
    }
}

/// Whether one more server of a pool may be ejected, when `ejected` of its `servers` are.
pub(super) fn may_eject(settings: &OutlierEjection, ejected: usize, servers: usize) -> bool {
    if settings.failures == 0 || servers < 2 || ejected + 1 >= servers {
        return false;
    }
    let share = servers.saturating_mul(settings.share_percent as usize) / 100;
    ejected < share.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::PoolName, snapshot::LivePool};

    const SECOND: Duration = Duration::from_secs(1);

    fn settings(share_percent: u32) -> OutlierEjection {
        OutlierEjection {
            failures: 5,
            time: SECOND * 30,
            longest: SECOND * 100,
            share_percent,
        }
    }

    #[test]
    fn each_ejection_in_a_row_is_longer_up_to_a_limit() {
        let settings = settings(10);
        let mut ejections = Ejections::default();
        let mut now = Instant::now();
        let mut length_from = |now| {
            let pool = LivePool::new(PoolName::default(), 1);
            let place = pool.eject(|_, _| true).unwrap();
            ejections.begin(&settings, place, 5, now, SystemTime::UNIX_EPOCH);
            let end = ejections.until().unwrap();
            ejections.end(SystemTime::UNIX_EPOCH);
            assert_eq!(ejections.until(), None);
            end - now
        };
        for seconds in [30, 60, 90, 100, 100] {
            assert_eq!(length_from(now), SECOND * seconds);
            now += SECOND * (seconds + 1);
        }
        // Twice the last length.
        now += SECOND * 200;
        assert_eq!(length_from(now), SECOND * 30);
    }

    #[test]
    fn never_more_than_the_share_and_never_the_last() {
        for (share, ejected, servers, may) in [
            (10, 0, 100, true),
            (10, 9, 100, true),
            (10, 10, 100, false),
            // A small pool: one.
            (10, 0, 3, true),
            (10, 1, 3, false),
            (50, 1, 4, true),
            (50, 2, 4, false),
            (100, 2, 4, true),
            (100, 3, 4, false),
            (100, 0, 1, false),
            (100, 0, 0, false),
        ] {
            let found = may_eject(&settings(share), ejected, servers);
            assert_eq!(found, may, "{ejected} of {servers} with {share} %");
        }
        let off = OutlierEjection {
            failures: 0,
            ..settings(100)
        };
        assert!(!may_eject(&off, 0, 10));
    }
}
