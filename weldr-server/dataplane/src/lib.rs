//! What of Weldr touches traffic: the proxy, the balancing, the health checks, and what they act on.
//!
//! It knows neither the management API nor how nodes agree: it would run unchanged from a static file.

pub mod balancer;
mod buffer;
pub mod clock;
pub mod health;
mod http1;
pub mod liveness;
pub mod model;
pub mod output;
pub mod policy;
pub mod proxy;
mod proxy_protocol;
pub mod snapshot;
pub mod stats;
pub mod stickiness;
pub mod tls;
pub mod warnings;
