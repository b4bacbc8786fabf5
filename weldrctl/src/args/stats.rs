//! The command about statistics.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::parse;

const WATCH: &str = "\
Repeat: on a terminal in place, otherwise one line per sample

A line is the time and name=value pairs: client_rps, client_failed_ps, client_in_flight, server_rps, \
server_failed_ps, healthy=N/M, and client_success, client_failed, server_success, server_failed since the start. \
With --detail there is one more line per server. A rate is per second since the sample before, and - in the first \
sample.";

const BY: &str = "\
Show instead: listener, rule or pool

The counts begin when the object is added or the node starts, and stay when the object changes or a rule moves. Those of the \
servers of a pool include servers that were removed. Pools can be chosen with --pool.";

/// The objects that have statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StatsObject {
    /// The addresses that clients connect to
    Listener,
    /// The rules of all listeners
    Rule,
    /// The pools
    Pool,
}

#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// Also show each server
    #[arg(long)]
    pub(crate) detail: bool,
    /// Show instead: listener, rule or pool
    #[arg(long, value_name = "OBJECT", value_enum, hide_possible_values = true, conflicts_with_all = ["detail", "watch"], long_help = BY)]
    pub(crate) by: Option<StatsObject>,
    /// Repeat: on a terminal in place, otherwise one line per sample
    #[arg(long, long_help = WATCH)]
    pub(crate) watch: bool,
    /// Time between two samples, from 100ms to 1h
    #[arg(long, value_name = "TIME", default_value = "1s", requires = "watch", value_parser = parse::positive)]
    pub(crate) interval: Duration,
    /// Stop after this many samples [default: never]
    #[arg(long, value_name = "N", requires = "watch", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
}
