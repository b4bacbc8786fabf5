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
    /// Algorithm: round-robin, weighted-round-robin, least-requests or consistent-hash
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
    pub(crate) protection: ProtectionOptions,
    #[command(flatten)]
    pub(crate) condition: Condition,
    #[command(flatten)]
    pub(crate) check: CheckOptions,
}

/// How a pool protects its servers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Servers under load")]
pub(crate) struct ProtectionOptions {
    /// Time in which a server that has become healthy gets fewer requests, up to 1h; 0 or off means none
    #[arg(long, value_name = "TIME", value_parser = parse::duration_or_off)]
    pub(crate) slow_start: Option<Duration>,
    /// With consistent-hash, what decides: client, path, header:NAME or cookie:NAME
    #[arg(long, value_name = "KEY")]
    pub(crate) hash_key: Option<String>,
    /// Failed requests in a row until a server is ejected; 0 means never
    #[arg(long, value_name = "N")]
    pub(crate) eject_after: Option<u32>,
    /// Time of the first ejection; each next one lasts longer
    #[arg(long, value_name = "TIME", value_parser = parse::positive)]
    pub(crate) eject_time: Option<Duration>,
    /// Longest ejection
    #[arg(long, value_name = "TIME", value_parser = parse::positive)]
    pub(crate) eject_longest: Option<Duration>,
    /// Largest share of the servers that is ejected at once, in percent
    #[arg(long, value_name = "PERCENT")]
    pub(crate) eject_share: Option<u32>,
    /// Requests that run on one server through one node; 0 means no limit
    #[arg(long, value_name = "N")]
    pub(crate) max_requests: Option<u32>,
    /// Requests of one node that wait for a server when all are at the limit
    #[arg(long, value_name = "N")]
    pub(crate) max_queue: Option<u32>,
    /// Time that a request waits for a server
    #[arg(long, value_name = "TIME", value_parser = parse::positive)]
    pub(crate) queue_timeout: Option<Duration>,
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
    /// Requests with the same hash key to the same server
    ConsistentHash,
}
