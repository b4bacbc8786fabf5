//! Counters, their shards, and their sums.
//!
//! Each worker counts into shards of its own, with plain loads and stores: nothing is shared between
//! workers per request, and the control plane reads without disturbing them. They are summed in one
//! place, `totals`, on demand.

mod counter;
mod failures;
mod handshakes;
mod histogram;
mod local_replies;
mod proxy_protocol;
mod rates;
mod shard;
mod totals;

pub use counter::{Counter, Gauge};
pub use failures::{FailureReason, FailureTotals, Failures};
pub use handshakes::{HandshakeFailure, HandshakeTotals, Handshakes};
pub use histogram::{Histogram, Latency};
pub use local_replies::{LocalReplies, LocalReplyReason, LocalReplyTotals};
pub use proxy_protocol::{ProxyProtocolRefusal, ProxyProtocolRefusals, ProxyProtocolTotals};
pub use rates::{RateMeter, Rates};
pub use shard::{
    ClientShard, ForwardedShard, ListenerShard, RequestShard, ServerShard, Sharded, Statuses,
};
pub use totals::{
    ClientTotals, ForwardedTotals, ListenerTotals, Outcomes, RequestTotals, ServerTotals,
    StatusTotals, Totals,
};
