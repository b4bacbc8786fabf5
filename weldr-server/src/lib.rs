//! Weldr, an HTTP load balancer whose pool of servers changes at run time.

pub mod acme;
pub mod args;
pub mod backups;
pub mod budget;
pub mod certificates;
pub mod cluster;
pub mod config;
pub mod demo;
mod durable;
pub mod epochs;
pub mod management;
pub mod metrics;
pub mod node;
pub mod priority;
pub mod readiness;
pub mod reconcile;
pub mod reload;
pub mod secrets;
pub mod shutdown;
pub mod telemetry;
pub mod threads;
pub mod vip;

// The rooms of the data plane, so that a path says the room and not in which crate it is.
pub use weldr_dataplane::{
    balancer, clock, health, liveness, model, output, policy, proxy, snapshot, stats, stickiness,
    tls, warnings,
};
