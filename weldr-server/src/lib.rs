//! Weldr, an HTTP load balancer whose pool of servers changes at run time.

pub mod args;
pub mod balancer;
pub mod cluster;
pub mod config;
pub mod demo;
pub mod health;
pub mod management;
pub mod model;
pub mod node;
pub mod proxy;
pub mod reconcile;
pub mod shutdown;
pub mod snapshot;
pub mod stats;
pub mod telemetry;
pub mod vip;
