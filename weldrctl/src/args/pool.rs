//! The commands about pools.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::{CheckOptions, Condition, parse};

#[derive(Debug, Subcommand)]
pub(crate) enum PoolCommand {
    /// Add a pool; servers are added with: weldrctl --pool NAME add ADDR
    Add(PoolAddArgs),
    /// Show the settings of a pool and the number of servers in each state
    #[command(visible_alias = "show")]
    Get(PoolGetArgs),
    /// Change the settings that are given, and leave the others as they are
    Set(PoolSetArgs),
    /// List the pools
    #[command(visible_alias = "ls")]
    List,
    /// Remove a pool, with its servers, at once
    Remove(PoolRemoveArgs),
}

#[derive(Debug, Args)]
pub(crate) struct PoolAddArgs {
    /// Name: letters, digits, -, _ and .
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) settings: PoolSettingsArgs,
    #[command(flatten)]
    pub(crate) check: CheckOptions,
}

#[derive(Debug, Args)]
pub(crate) struct PoolGetArgs {
    /// Name [default: that of --pool]
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PoolSetArgs {
    /// Name [default: that of --pool]
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) settings: PoolSettingsArgs,
    /// Setting that follows the node's option again
    #[arg(long, value_name = "SETTING", value_delimiter = ',')]
    pub(crate) unset: Vec<String>,
    #[command(flatten)]
    pub(crate) condition: Condition,
    #[command(flatten)]
    pub(crate) check: CheckOptions,
}

#[derive(Debug, Args)]
pub(crate) struct PoolRemoveArgs {
    /// Name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Also if a rule names it: a rule that is left without a pool responds 503
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) condition: Condition,
}

/// The settings of a pool, except for its check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub(crate) struct PoolSettingsArgs {
    /// round-robin, weighted-round-robin, least-requests, consistent-hash
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
    pub(crate) stickiness: StickinessArgs,
    #[command(flatten)]
    pub(crate) policy: PoolPolicyArgs,
    #[command(flatten)]
    pub(crate) tls: PoolTlsArgs,
}

/// What is spoken to servers, and how TLS is spoken to them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "TLS to servers")]
pub(crate) struct PoolTlsArgs {
    /// http1 (without TLS) or https
    #[arg(long, value_name = "NAME", value_enum, hide_possible_values = true)]
    pub(crate) protocol: Option<PoolProtocolChoice>,
    /// Name in certificates of servers; '' means their addresses
    #[arg(long, value_name = "NAME")]
    pub(crate) server_name: Option<String>,
    /// Authorities of servers (PEM); '' means those of the system
    #[arg(long, value_name = "FILE", value_parser = parse::text_of_file)]
    pub(crate) verify_ca: Option<String>,
    /// Certificate, by its name, to show to servers; '' means none
    #[arg(long, value_name = "NAME")]
    pub(crate) client_certificate: Option<String>,
    /// Do not verify certificates of servers; =false verifies again
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(hide_possible_values = true)]
    pub(crate) insecure: Option<bool>,
}

/// What is spoken to servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PoolProtocolChoice {
    /// HTTP/1.1 without TLS
    #[value(alias = "http")]
    Http1,
    /// HTTP/1.1 over TLS
    Https,
}

/// The values of a pool's policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(
    next_help_heading = "Requests to servers (default: the option of the node of the same name)"
)]
pub(crate) struct PoolPolicyArgs {
    /// Time limit for a connection to a server
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    pub(crate) connect_timeout: Option<Duration>,
    /// How long a request may look for a server to connect to
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    pub(crate) server_selection_timeout: Option<Duration>,
    /// From the end of a request to the head of its response
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    pub(crate) response_header_timeout: Option<Duration>,
    /// Time limit for the next part of a body
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    pub(crate) stream_idle_timeout: Option<Duration>,
    /// How long an unused connection to a server is kept
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    pub(crate) server_idle_timeout: Option<Duration>,
    /// How long a tunnel may be idle
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    pub(crate) tunnel_idle_timeout: Option<Duration>,
    /// How often a failed request may be sent again, 0 to 10
    #[arg(long, value_name = "N")]
    pub(crate) retries: Option<u64>,
    /// Connections of a node to one server
    #[arg(long, value_name = "N")]
    pub(crate) max_server_connections: Option<u64>,
    /// Unused connections of a node to one server
    #[arg(long, value_name = "N")]
    pub(crate) max_server_idle_connections: Option<u64>,
    /// Name the client by the PROXY protocol: off, v1 or v2
    #[arg(long, value_name = "VERSION", value_enum, hide_possible_values = true)]
    pub(crate) send_proxy_protocol: Option<SendProxyChoice>,
}

/// What names the client at the begin of each connection to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SendProxyChoice {
    /// Nothing
    Off,
    /// A header of version 1
    V1,
    /// A header of version 2
    V2,
}

/// How a pool protects its servers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Servers under load")]
pub(crate) struct ProtectionOptions {
    /// Time in which a new healthy server gets fewer requests
    #[arg(long, value_name = "TIME", value_parser = parse::duration_or_off)]
    pub(crate) slow_start: Option<Duration>,
    /// For consistent-hash: client, path, header:NAME, cookie:NAME
    #[arg(long, value_name = "KEY")]
    pub(crate) hash_key: Option<String>,
    /// Failed requests in a row that eject a server; 0: never
    #[arg(long, value_name = "N")]
    pub(crate) eject_after: Option<u32>,
    /// Time of the first ejection; each next one lasts longer
    #[arg(long, value_name = "TIME", value_parser = parse::positive)]
    pub(crate) eject_time: Option<Duration>,
    /// Longest ejection
    #[arg(long, value_name = "TIME", value_parser = parse::positive)]
    pub(crate) eject_longest: Option<Duration>,
    /// Largest share of servers ejected at once, in percent
    #[arg(long, value_name = "PERCENT")]
    pub(crate) eject_share: Option<u32>,
    /// Requests on one server through one node; 0: no limit
    #[arg(long, value_name = "N")]
    pub(crate) max_requests: Option<u32>,
    /// Requests that wait when all servers are at the limit
    #[arg(long, value_name = "N")]
    pub(crate) max_queue: Option<u32>,
    /// Time that a request waits for a server
    #[arg(long, value_name = "TIME", value_parser = parse::positive)]
    pub(crate) queue_timeout: Option<Duration>,
}

/// Whether the requests of a client keep going to the same server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Sticky sessions")]
pub(crate) struct StickinessArgs {
    /// Cookie that tells a client its server; '' means not sticky
    #[arg(id = "sticky_cookie", long = "sticky-cookie", value_name = "COOKIE")]
    pub(crate) cookie: Option<String>,
    /// Application's cookie that makes a session; '' means none
    #[arg(id = "sticky_app_cookie", long = "sticky-app-cookie")]
    #[arg(value_name = "COOKIE")]
    pub(crate) application_cookie: Option<String>,
    /// How long a session lasts after its last request, up to 7d
    #[arg(id = "sticky_duration", long = "sticky-duration", value_name = "TIME")]
    #[arg(value_parser = parse::positive)]
    pub(crate) duration: Option<Duration>,
}

/// The algorithms that choose the server of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BalancingChoice {
    /// The servers in turn, in proportion to their weights
    #[value(alias = "round_robin")]
    RoundRobin,
    /// Another name of round-robin
    #[value(alias = "weighted_round_robin")]
    WeightedRoundRobin,
    /// Of two servers picked at random, the one with fewer running requests relative to its weight
    #[value(alias = "least_requests")]
    LeastRequests,
    /// Requests with the same hash key to the same server
    ConsistentHash,
}
