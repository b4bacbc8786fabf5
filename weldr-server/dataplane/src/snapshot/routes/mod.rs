//! The rules of a listener, compiled for lookup. Pure.
//!
//! In reading order: `host` and `path` bring what a client sent into normal form; `request` is a request as conditions see
//! it; `glob` and `matcher` are the conditions of one rule; `route` is an action, and `location` that of a redirect;
//! `router` finds the first rule of a listener that matches, and `explain` says why earlier ones do not. `challenges` are
//! requests of ACME authorities, which come before all rules. `client` and
//! `hashing` say who the client is, and by what consistent hashing chooses.

mod challenges;
mod client;
mod explain;
mod glob;
mod hashing;
mod host;
mod location;
mod matcher;
mod path;
mod request;
mod route;
mod router;

pub use challenges::HttpChallenges;
pub use client::client_of;
pub use explain::{Explanation, Mismatch, explain};
pub use hashing::hash_of;
pub use host::{HostDefect, normal_host};
pub use location::{Location, LocationParts};
pub use matcher::{Difference, Uncertain};
pub use path::{PathDefect, PathReadings};
pub use request::{RequestFields, RoutedRequest};
pub use route::{CompiledAction, CompiledRoute, CompiledRule, PoolRef, PoolShares};
pub use router::{Matched, Router};
