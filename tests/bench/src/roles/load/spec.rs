//! What a load is asked for, and what it responses.

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::usage::Cpu;

/// A load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct LoadSpec {
    /// The proxy.
    pub(crate) target: SocketAddr,
    /// Its process: what it and its children use is read when the counting begins and when it ends.
    pub(crate) process: u32,
    /// Connections at a time.
    pub(crate) connections: usize,
    /// What each of them does.
    pub(crate) shape: Shape,
    /// When the next request is due.
    pub(crate) pace: Pace,
    /// How long nothing is counted.
    pub(crate) warm_up: Duration,
    /// How many requests are completed before anything is counted, however long that takes.
    pub(crate) warm_up_requests: u64,
    /// When it ends.
    pub(crate) until: Until,
}

/// What a connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Shape {
    /// Asks for a body of so many bytes, again and again.
    Download(usize),
    /// Sends a body of so many bytes, again and again.
    Upload(usize),
    /// Asks for a body of so many bytes, on a new connection each time.
    Reconnect(usize),
    /// Opens a WebSocket and has messages of so many bytes echoed.
    Echo(usize),
    /// Asks once for 128 bytes, keeps the connection, and asks once more at the end.
    Idle,
}

/// When the next request is due.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum Pace {
    /// When the last one on its connection is completed.
    Closed,
    /// So many a second, whatever the proxy does.
    Rate(f64),
}

/// When a load ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Until {
    /// After so long.
    Elapsed(Duration),
    /// After so many requests, completed or failed.
    Requests(u64),
}

/// What came of a load, in the time that was counted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Requests completed, or messages echoed.
    pub(crate) requests: u64,
    /// Connections that broke, and responses that were not a 200 of the expected length.
    pub(crate) failures: u64,
    /// The first failure.
    pub(crate) failure: Option<String>,
    /// How long was counted.
    pub(crate) elapsed: Duration,
    /// What the proxy used.
    pub(crate) cpu: Cpu,
    /// Half of the requests were completed in this time.
    pub(crate) p50: Duration,
    /// 99 % were.
    pub(crate) p99: Duration,
    /// 99.9 % were.
    pub(crate) p999: Duration,
    /// What the proxy kept in memory for each idle connection, in bytes.
    pub(crate) idle_bytes: Option<f64>,
}
