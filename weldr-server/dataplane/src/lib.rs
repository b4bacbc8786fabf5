//! What of Weldr touches traffic: the proxy, the balancing, the health checks, and what they act on.
//!
//! It knows neither the management API nor how nodes agree: it would run unchanged from a static file.

pub mod balancer;
pub mod health;
pub mod model;
pub mod policy;
pub mod proxy;
pub mod snapshot;
pub mod stats;
