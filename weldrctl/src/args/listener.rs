//! The commands about listeners.

use std::{net::SocketAddr, time::Duration};

use clap::{Args, Subcommand, ValueEnum};

use super::{ActionArgs, Condition, ListenerTlsArgs, parse};

#[derive(Debug, Subcommand)]
pub(crate) enum ListenerCommand {
    /// Add an address that clients connect to; each node opens it at once
    Add(ListenerAddArgs),
    /// Change the settings that are given, and leave the others as they are
    Set(ListenerSetArgs),
    /// Show a listener, and on which nodes it is open
    #[command(visible_alias = "show")]
    Get(ListenerNameArgs),
    /// List the listeners, and on which nodes they are open
    #[command(visible_alias = "ls")]
    List,
    /// Remove a listener with its rules
    Remove(ListenerRemoveArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ListenerAddArgs {
    /// Name: letters, digits, -, _ and .
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Address with its port, for example 10.0.0.1:80; 0.0.0.0 and :: stand for all addresses of a node
    #[arg(long, value_name = "ADDR", value_parser = parse::address)]
    pub(crate) address: SocketAddr,
    #[command(flatten)]
    pub(crate) action: ActionArgs,
    #[command(flatten)]
    pub(crate) policy: ListenerPolicyArgs,
    #[command(flatten)]
    pub(crate) tls: ListenerTlsArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ListenerSetArgs {
    /// Name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Address with its port, for example 10.0.0.1:80
    #[arg(long, value_name = "ADDR", value_parser = parse::address)]
    pub(crate) address: Option<SocketAddr>,
    /// Use the node's option again, for example client-idle-timeout; may be repeated
    #[arg(long, value_name = "SETTING", value_delimiter = ',')]
    pub(crate) unset: Vec<String>,
    #[command(flatten)]
    pub(crate) action: ActionArgs,
    #[command(flatten)]
    pub(crate) policy: ListenerPolicyArgs,
    #[command(flatten)]
    pub(crate) tls: ListenerTlsArgs,
    #[command(flatten)]
    pub(crate) condition: Condition,
}

#[derive(Debug, Args)]
pub(crate) struct ListenerNameArgs {
    /// Name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct ListenerRemoveArgs {
    /// Name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Time that running requests get to finish, up to 24h
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse::duration)]
    pub(crate) deadline: Duration,
    #[command(flatten)]
    pub(crate) condition: Condition,
}

/// The values of a listener's policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Clients (default: the option of the node of the same name)")]
pub(crate) struct ListenerPolicyArgs {
    /// From the first byte of a request to the end of its head
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    pub(crate) client_header_timeout: Option<Duration>,
    /// Between two requests of a connection
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    pub(crate) client_idle_timeout: Option<Duration>,
    /// How long a client may be slower than the minimum rate
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    pub(crate) client_body_timeout: Option<Duration>,
    /// How long late bytes of a client are read after its last response
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    pub(crate) lingering_timeout: Option<Duration>,
    /// Bytes of a head
    #[arg(long, value_name = "N")]
    pub(crate) max_header_bytes: Option<u64>,
    /// Fields of a head
    #[arg(long, value_name = "N")]
    pub(crate) max_headers: Option<u64>,
    /// Bytes of the body of a request; 0 means any number
    #[arg(long, value_name = "N")]
    pub(crate) max_body_bytes: Option<u64>,
    /// Minimum rate of a body, in bytes a second; 0 means none
    #[arg(long, value_name = "N")]
    pub(crate) body_min_rate: Option<u64>,
    /// Connections to this listener on one node; 0 means the node's limit
    #[arg(long, value_name = "N")]
    pub(crate) max_connections: Option<u64>,
    /// Connections of one client address; 0 means any number
    #[arg(long, value_name = "N")]
    pub(crate) max_connections_per_client: Option<u64>,
    /// Ambiguous requests: strict refuses, monitor logs and corrects
    #[arg(long, value_name = "MODE", value_enum, hide_possible_values = true)]
    pub(crate) desync_mode: Option<DesyncChoice>,
    /// Fields about the client: append, replace or off
    #[arg(long, value_name = "MODE", value_enum, hide_possible_values = true)]
    pub(crate) forwarded_headers: Option<ForwardedChoice>,
    /// Networks of proxies whose values are accepted, separated by commas
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub(crate) trusted_proxies: Option<Vec<String>>,
    /// Networks of proxies whose connections must begin with a header of the PROXY protocol, while others are closed; may be
    /// repeated; off: nobody may send one
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub(crate) proxy_protocol_from: Option<Vec<String>>,
    /// Whether requests are written to the access log
    #[arg(long, value_name = "BOOL", hide_possible_values = true)]
    pub(crate) access_log: Option<bool>,
}

/// How requests are treated that servers may interpret differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DesyncChoice {
    /// Refuses them
    Strict,
    /// Logs them, and forwards those with one certain meaning
    Monitor,
}

/// How the fields are treated in which a proxy tells a server who the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ForwardedChoice {
    /// Keeps them, and adds the client's address
    Append,
    /// Keeps those from trusted proxies only, and adds the client's address
    Replace,
    /// Forwards them unchanged
    Off,
}
