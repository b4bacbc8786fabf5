//! The commands about the settings of the pool.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::{CheckOptions, Condition, parse};

#[derive(Debug, Subcommand)]
pub(crate) enum PoolCommand {
    /// Show the settings of the pool and the number of servers in each state
    Get,
    /// Change the settings that are given, and leave the others as they are
    Set(PoolSetArgs),
}

#[derive(Debug, Args)]
pub(crate) struct PoolSetArgs {
    /// Algorithm: round-robin, weighted-round-robin or least-requests
    #[arg(long, value_name = "NAME", value_enum, hide_possible_values = true)]
    pub(crate) balancing: Option<BalancingChoice>,
    /// If no server is healthy: true uses all ready ones, false gives 503
    #[arg(long, value_name = "BOOL", hide_possible_values = true)]
    pub(crate) fail_open: Option<bool>,
    /// Time that running requests of a removed server get, up to 24h
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    pub(crate) drain_deadline: Option<Duration>,
    /// Remove a server unhealthy for this time; 0 or off means never
    #[arg(long, value_name = "TIME", value_parser = parse::duration_or_off)]
    pub(crate) deregister_after: Option<Duration>,
    /// Malformed but clear responses: true refuses, false corrects
    #[arg(long, value_name = "BOOL", hide_possible_values = true)]
    pub(crate) strict_responses: Option<bool>,
    #[command(flatten)]
    pub(crate) condition: Condition,
    #[command(flatten)]
    pub(crate) check: CheckOptions,
}

/// The algorithms that choose the server of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BalancingChoice {
    /// The servers in turn
    RoundRobin,
    /// The servers in turn, in proportion to their weights
    WeightedRoundRobin,
    /// Of two servers picked at random, the one with fewer running requests relative to its weight
    LeastRequests,
}
