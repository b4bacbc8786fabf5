//! Weldr, an HTTP load balancer whose pool of servers changes at run time.

pub mod balancer;
pub mod cluster;
pub mod health;
pub mod management;
pub mod model;
pub mod snapshot;
pub mod stats;
