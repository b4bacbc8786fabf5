//! The commands about servers.

use std::{net::SocketAddr, time::Duration};

use clap::{Args, ValueEnum};

use super::{CheckOptions, parse};

const ADDRESSES: &str = "Servers, as ip:port or for IPv6 [ip]:port";

/// The condition that any change can have.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Condition {
    /// Refuse if the object changed after this revision
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) expected_revision: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    #[arg(required = true, value_name = "ADDR", value_parser = parse::address, help = ADDRESSES)]
    pub(crate) addresses: Vec<SocketAddr>,
    /// Weight, the share of the requests, from 0 to 256 [default: 1]
    #[arg(long, value_name = "N")]
    pub(crate) weight: Option<u32>,
    /// Initial admin state: ready, drain or maintenance [default: ready]
    #[arg(long, value_name = "STATE", value_enum, hide_possible_values = true)]
    pub(crate) admin_state: Option<AdminChoice>,
    /// Return when the servers are healthy
    #[arg(long)]
    pub(crate) wait: bool,
    /// Time limit for --wait
    #[arg(long, value_name = "TIME", default_value = "30s", requires = "wait", value_parser = parse::positive)]
    pub(crate) wait_timeout: Duration,
    #[command(flatten)]
    pub(crate) condition: Condition,
    #[command(flatten)]
    pub(crate) check: CheckOptions,
}

/// The admin states of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AdminChoice {
    /// Receives requests while it is healthy
    Ready,
    /// Receives no new requests
    Drain,
    /// Receives no new requests and is not checked
    Maintenance,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    #[arg(required = true, value_name = "ADDR", value_parser = parse::address, help = ADDRESSES)]
    pub(crate) addresses: Vec<SocketAddr>,
    /// Abort running requests at once
    #[arg(long, conflicts_with = "deadline")]
    pub(crate) now: bool,
    /// Time that running requests get to finish [default: the pool's]
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    pub(crate) deadline: Option<Duration>,
    /// Return when the servers are removed
    #[arg(long)]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) condition: Condition,
}

#[derive(Debug, Args)]
pub(crate) struct AdminArgs {
    #[arg(required = true, value_name = "ADDR", value_parser = parse::address, help = ADDRESSES)]
    pub(crate) addresses: Vec<SocketAddr>,
    #[command(flatten)]
    pub(crate) condition: Condition,
}

#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    #[arg(required = true, value_name = "ADDR", value_parser = parse::address, help = ADDRESSES)]
    pub(crate) addresses: Vec<SocketAddr>,
    /// Weight, the share of the requests, 0 to 256; 0 means no new ones
    #[arg(long, value_name = "N")]
    pub(crate) weight: Option<u32>,
    /// Use the pool's check, except for the check options given here
    #[arg(long)]
    pub(crate) clear_check: bool,
    #[command(flatten)]
    pub(crate) condition: Condition,
    #[command(flatten)]
    pub(crate) check: CheckOptions,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    #[arg(required = true, value_name = "ADDR", value_parser = parse::address, help = ADDRESSES)]
    pub(crate) addresses: Vec<SocketAddr>,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Show the health that each node observes, side by side
    #[arg(long)]
    pub(crate) all_nodes: bool,
}
