//! The command line, and nothing else: what can be typed, with its defaults and its help.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

mod parse;

const EXAMPLES: &str = "\
Examples:
  weldrctl add 10.0.0.7:8080 --check-path /health --wait   add, return when healthy
  weldrctl list                                            states, reasons, figures
  weldrctl remove 10.0.0.7:8080 --deadline 60s --wait      drain, return when gone";

const ADDRESSES: &str = "Servers as ip:port, [ip]:port for IPv6";

const ENDPOINT: &str = "Management ports: the first that answers

Several are separated by commas. The variable WELDR_ENDPOINT says the same.";

const OUTPUT: &str = "\
How to print

JSON is stable: fields are added, never renamed. Names are in snake_case, durations are numbers of seconds \
(*_seconds), times are RFC 3339, states and reasons are words (healthy, connection_refused), what is not set is \
null. list and get print {pool, revision, servers: [...]}, a write prints {results: [{address, outcome, revision, \
server, error}, ...]}, watch and stats --watch print one object a line.";

const WATCH: &str = "\
Go on: on a terminal redraw in place, else print a line a sample

A line is the time and name=value pairs: client_rps, client_failed_ps, client_in_flight, server_rps, \
server_failed_ps, healthy=N/M, and client_success, client_failed, server_success, server_failed since the start. \
With --detail each sample has a further line a server. A rate is per second since the sample before, and - in the \
first one.";

/// Adds, changes, watches and removes the servers of a Weldr pool at run time.
#[derive(Debug, Parser)]
#[command(name = "weldrctl", version, after_help = EXAMPLES, max_term_width = 110)]
#[command(disable_help_subcommand = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalOptions,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every command takes, before or after its name.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalOptions {
    /// Management ports: the first that answers
    #[arg(
        long,
        global = true,
        env = "WELDR_ENDPOINT",
        hide_env = true,
        value_delimiter = ',',
        long_help = ENDPOINT
    )]
    #[arg(value_name = "URL", default_value = parse::DEFAULT_ENDPOINT, value_parser = parse::endpoint)]
    pub(crate) endpoint: Vec<String>,

    /// How to print
    #[arg(short, long, global = true, value_name = "FORMAT", value_enum, default_value_t = Format::Table, long_help = OUTPUT)]
    pub(crate) output: Format,

    /// Longest time for the connect and for each call
    #[arg(long, global = true, value_name = "TIME", default_value = "5s", value_parser = parse::positive)]
    pub(crate) timeout: Duration,

    /// Read what the node has, without asking whether the others have more
    #[arg(long, global = true)]
    pub(crate) stale: bool,

    /// Pool to work on
    #[arg(long, global = true, value_name = "NAME", default_value = "default")]
    pub(crate) pool: String,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// For programs
    Json,
    /// A table with more columns
    Wide,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Add servers; they receive requests after their first passed check
    Add(AddArgs),
    /// Remove servers: no new requests, running ones finish until the deadline
    Remove(RemoveArgs),
    /// Send no new requests to servers; checks go on, and they stay in the pool
    Drain(AdminArgs),
    /// Let servers receive requests again while they are healthy
    Ready(AdminArgs),
    /// Send no new requests to servers and stop their checks
    Maintenance(AdminArgs),
    /// Change the weight or the health check of servers
    Set(SetArgs),
    /// List the servers of the pool
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Show everything about servers
    Get(GetArgs),
    /// Show or change the settings of the pool
    #[command(subcommand)]
    Pool(PoolCommand),
    /// Show or change the nodes that keep the pool together
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Show the last changes: revision, time, what, from where
    History(HistoryArgs),
    /// Bring back, by a new change, the pool of an earlier revision
    Rollback(RollbackArgs),
    /// Show the statistics of the node
    Stats(StatsArgs),
    /// Print the servers, then each change as it happens, one a line
    Watch,
    /// Print the completion script of a shell
    Completions(CompletionsArgs),
}

/// The condition that any write can carry.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Condition {
    /// Refuse the change if its object has changed after this revision
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) expected_revision: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    #[arg(required = true, value_name = "ADDR", value_parser = parse::address, help = ADDRESSES)]
    pub(crate) addresses: Vec<SocketAddr>,
    /// Share of the requests, 0 to 256 [default: 1]
    #[arg(long, value_name = "N")]
    pub(crate) weight: Option<u32>,
    /// What you want of them: ready, drain or maintenance [default: ready]
    #[arg(long, value_name = "STATE", value_enum, hide_possible_values = true)]
    pub(crate) admin_state: Option<AdminChoice>,
    /// Return when they are healthy
    #[arg(long)]
    pub(crate) wait: bool,
    /// Longest time for --wait
    #[arg(long, value_name = "TIME", default_value = "30s", requires = "wait", value_parser = parse::positive)]
    pub(crate) wait_timeout: Duration,
    #[command(flatten)]
    pub(crate) condition: Condition,
    #[command(flatten)]
    pub(crate) check: CheckOptions,
}

/// What the operator can want of a server.
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
    /// Cut the running requests at once
    #[arg(long, conflicts_with = "deadline")]
    pub(crate) now: bool,
    /// How long running requests may go on [default: the pool's]
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    pub(crate) deadline: Option<Duration>,
    /// Return when they are gone
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
    /// Share of the requests, 0 to 256; 0 means no new requests
    #[arg(long, value_name = "N")]
    pub(crate) weight: Option<u32>,
    /// Inherit the pool's check, but for the check options of this call
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

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Show every node: role, term, how far it has come; and whether there is a quorum
    Status,
    /// Remove a node; it can only come back as a new one
    Remove(NodeArgs),
    /// Hand the leadership to a node
    Transfer(NodeArgs),
    /// Write the settings of the pool and its servers to a file
    Backup(FileArgs),
    /// Bring back, by a new change, what is in a backup, and nothing else
    Restore(FileArgs),
}

#[derive(Debug, Args)]
pub(crate) struct FileArgs {
    /// JSON; - for standard output or input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Show what each node of the cluster sees, side by side
    #[arg(long)]
    pub(crate) all_nodes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Show at most this many, the newest first
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: u32,
}

#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// Revision to bring back, as in history
    #[arg(long, value_name = "N")]
    pub(crate) to_revision: u64,
}

#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// Name of the node, as in cluster status
    #[arg(value_name = "NODE")]
    pub(crate) name: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PoolCommand {
    /// Show the settings of the pool and how many servers are in which state
    Get,
    /// Change the settings that are given and leave the others
    Set(PoolSetArgs),
}

#[derive(Debug, Args)]
pub(crate) struct PoolSetArgs {
    /// round-robin, weighted-round-robin or least-requests
    #[arg(long, value_name = "NAME", value_enum, hide_possible_values = true)]
    pub(crate) balancing: Option<BalancingChoice>,
    /// With no healthy server: true sends to all ready, false answers 503
    #[arg(long, value_name = "BOOL", hide_possible_values = true)]
    pub(crate) fail_open: Option<bool>,
    /// How long running requests of a removed server may go on, up to 24h
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    pub(crate) drain_deadline: Option<Duration>,
    /// Remove a server unhealthy for this long; 0 or off: never
    #[arg(long, value_name = "TIME", value_parser = parse::duration_or_off)]
    pub(crate) deregister_after: Option<Duration>,
    #[command(flatten)]
    pub(crate) condition: Condition,
    #[command(flatten)]
    pub(crate) check: CheckOptions,
}

/// How the server of a request is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BalancingChoice {
    /// Each in turn
    RoundRobin,
    /// Each in turn, as often as its weight says
    WeightedRoundRobin,
    /// Of two picked at random, the one with fewer running requests for its weight
    LeastRequests,
}

/// The options of a health check. What is not given is inherited, or left as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Health check (what is not given is inherited, or left as it is)")]
pub(crate) struct CheckOptions {
    /// http or tcp [default: http if a path, codes or a host is given]
    #[arg(long, value_name = "TYPE", value_enum, hide_possible_values = true)]
    pub(crate) check_type: Option<CheckType>,
    /// Path of the GET
    #[arg(long, value_name = "PATH")]
    pub(crate) check_path: Option<String>,
    /// Statuses that pass, as codes and ranges such as 200-299,401
    #[arg(long, value_name = "CODES")]
    pub(crate) check_expect: Option<String>,
    /// Host field of the check
    #[arg(long, value_name = "HOST")]
    pub(crate) check_host: Option<String>,
    /// Port to check; 0 means the port of the traffic
    #[arg(long, value_name = "PORT")]
    pub(crate) check_port: Option<u16>,
    /// Time between checks, 100ms to 1h
    #[arg(long, visible_alias = "interval", value_name = "TIME", value_parser = parse::duration)]
    pub(crate) check_interval: Option<Duration>,
    /// Time one check may take, 10ms to 1m
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    pub(crate) check_timeout: Option<Duration>,
    /// Passes in a row that make an unhealthy server healthy, 1 to 100
    #[arg(long, value_name = "N")]
    pub(crate) healthy_threshold: Option<u32>,
    /// Failures in a row that make a server unhealthy, 1 to 100
    #[arg(long, value_name = "N")]
    pub(crate) unhealthy_threshold: Option<u32>,
}

/// The kind of a health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckType {
    /// An HTTP GET whose status is compared
    Http,
    /// A TCP connection that is opened and closed
    Tcp,
}

#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// Show each server as well
    #[arg(long)]
    pub(crate) detail: bool,
    /// Go on: on a terminal redraw in place, else print a line a sample
    #[arg(long, long_help = WATCH)]
    pub(crate) watch: bool,
    /// Time between samples, 100ms to 1h
    #[arg(long, value_name = "TIME", default_value = "1s", requires = "watch", value_parser = parse::positive)]
    pub(crate) interval: Duration,
    /// Stop after this many samples [default: never]
    #[arg(long, value_name = "N", requires = "watch", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Shell to print it for
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::expect_used,
        reason = "a test may stop at what it did not expect"
    )]

    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn definition_holds() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_go_before_and_after_the_command() {
        for line in [
            ["weldrctl", "--pool", "blue", "list"],
            ["weldrctl", "list", "--pool", "blue"],
        ] {
            let cli = Cli::try_parse_from(line).expect("both orders parse");
            assert_eq!(cli.global.pool, "blue");
        }
    }

    #[test]
    fn interval_is_the_check_of_add_and_the_sampling_of_stats() {
        let cli = Cli::try_parse_from(["weldrctl", "add", "127.0.0.1:1", "--interval", "3s"])
            .expect("an alias");
        let Command::Add(add) = cli.command else {
            panic!("add parses as {:?}", cli.command)
        };
        assert_eq!(add.check.check_interval, Some(Duration::from_secs(3)));
        let cli = Cli::try_parse_from(["weldrctl", "stats", "--watch", "--interval", "3s"])
            .expect("an option");
        let Command::Stats(stats) = cli.command else {
            panic!("stats parses as {:?}", cli.command)
        };
        assert_eq!(stats.interval, Duration::from_secs(3));
    }
}
