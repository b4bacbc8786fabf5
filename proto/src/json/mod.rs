//! The JSON form of the API's messages, for the REST API and for `weldrctl --output json`: one type for each message
//! that is shown, so that both show the same and a new field of a message is added in one place.
//!
//! The JSON is stable: fields are added, and never renamed or removed. Its rules:
//!
//! - Field names are `snake_case`, as in the `.proto` files.
//! - Durations are numbers of seconds, and their names end with `_seconds`. Rates end with `_per_second`.
//! - Times are RFC 3339, in UTC, with milliseconds.
//! - Values of enumerations are the [words](crate::words) for them.
//! - What is not set is `null`.
//!
//! The two APIs had JSON before they shared it, so some facts are here under both of their names: the health of a
//! server as `health` and as `state`, `reason`, `description` and `since`; the address as `address` and as `ip` and
//! `port`; the settings of a pool as `settings` and beside it. Two fields mean different things in the two APIs, see
//! [`Server::check`] and [`Pool::revision`]; the fields named there mean the same in both.

mod access;
mod cluster;
pub mod form;
mod pool;
mod server;
mod stats;

pub use access::{CreatedToken, Principal, Principals, RevokedToken, WhoAmI};
pub use cluster::{
    Backups, Cluster, Disk, HealthOnNodes, History, HistoryEvent, Invite, Node, NodeHealth,
    Readiness, ServerHealth, UnreadyReason, VirtualAddress, Voters,
};
pub use pool::{OutlierEjection, Pool, PoolCounts, PoolSettings, RequestLimit, Stickiness};
pub use server::{Health, HealthCheck, Server};
pub use stats::{ClientStats, Latency, Outcomes, ServerStats, Stats, StatusClasses, Totals};

use std::{net::SocketAddr, time::SystemTime};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A duration as a number of seconds: a whole number if there is no fraction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seconds(pub prost_types::Duration);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let prost_types::Duration { seconds, nanos } = self.0;
        if nanos == 0 {
            return serializer.serialize_i64(seconds);
        }
        serializer.serialize_f64(seconds as f64 + f64::from(nanos) / 1e9)
    }
}

/// Accepts a number that is not negative, with or without a fraction.
impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let refused =
            || serde::de::Error::custom("a number of seconds that is not negative is needed");
        let seconds = f64::deserialize(deserializer).map_err(|_| refused())?;
        let duration = std::time::Duration::try_from_secs_f64(seconds).map_err(|_| refused())?;
        let duration = prost_types::Duration::try_from(duration).map_err(|_| refused())?;
        Ok(Self(duration))
    }
}

/// A time as RFC 3339, in UTC, with milliseconds. `None` if there is none, or if its year is not one from 1970 to 9999,
/// which a machine can have set its clock to.
pub fn time(time: Option<prost_types::Timestamp>) -> Option<String> {
    /// 9999-12-31T23:59:59Z.
    const LAST: i64 = 253_402_300_799;
    let time = time.filter(|time| (0..=LAST).contains(&time.seconds))?;
    let time = SystemTime::try_from(time).ok()?;
    Some(humantime::format_rfc3339_millis(time).to_string())
}

/// The text, or `None` if it is empty: an empty string in a message means that the field is not set.
fn set(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// The IP address and the port of `address`. An address that is neither is returned whole, with an empty port.
fn ip_and_port(address: &str) -> (String, String) {
    match address.parse::<SocketAddr>() {
        Ok(address) => (address.ip().to_string(), address.port().to_string()),
        Err(_) => (address.to_owned(), String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node's clock may be set to anything.
    #[test]
    fn a_time_that_cannot_be_written_is_left_out() {
        let written = |seconds, nanos| time(Some(prost_types::Timestamp { seconds, nanos }));
        assert_eq!(written(0, 0).as_deref(), Some("1970-01-01T00:00:00.000Z"));
        let last = written(253_402_300_799, 999_000_000);
        assert_eq!(last.as_deref(), Some("9999-12-31T23:59:59.999Z"));
        for seconds in [-1, 253_402_300_800, i64::MIN, i64::MAX] {
            assert_eq!(written(seconds, 0), None, "{seconds}");
        }
    }
}
