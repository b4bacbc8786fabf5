//! What can be said on the command line, in the environment and in the configuration file: one list of
//! options for all three.

use std::{
    fmt,
    net::SocketAddr,
    num::{IntErrorKind, ParseIntError},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use clap::{
    ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum,
    error::ErrorKind, parser::ValueSource,
};
use ipnet::IpNet;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, Unexpected, Visitor},
};

use crate::policy::{AccessLogFormat, DesyncMode, ForwardedHeaders};

/// The command line of weldr.
#[derive(Debug, Parser)]
#[command(
    name = "weldr",
    version,
    about = "An HTTP load balancer whose pool of servers changes at run time",
    after_help = AFTER_HELP
)]
pub struct Args {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Subcommands>,

    /// Read options from this TOML file; a flag or a variable says it louder
    #[arg(long, env = "WELDR_CONFIG", value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,

    /// The options themselves.
    #[command(flatten)]
    pub options: Options,
}

impl Args {
    /// Reads the command line and the environment of this process; prints help or what is wrong, and ends
    /// the process, where clap would.
    pub fn parse_process() -> Self {
        let matches = Self::command().get_matches();
        Self::from_arg_matches(&matches)
            .and_then(|args| args.settle_storage(&matches))
            .unwrap_or_else(|error| error.format(&mut Self::command()).exit())
    }

    /// `--data-dir` and `--ephemeral` are one decision: the flag beats the variable here too.
    fn settle_storage(mut self, matches: &ArgMatches) -> Result<Self, clap::Error> {
        let options = &mut self.options;
        if options.ephemeral != Some(true) || options.data_dir.is_none() {
            return Ok(self);
        }
        let is_flag = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
        match (is_flag("ephemeral"), is_flag("data_dir")) {
            (true, false) => options.data_dir = None,
            (false, true) => options.ephemeral = None,
            _ => {
                return Err(clap::Error::raw(
                    ErrorKind::ArgumentConflict,
                    "--data-dir keeps the pool on disk and --ephemeral keeps it nowhere: say one of them",
                ));
            }
        }
        Ok(self)
    }
}

const AFTER_HELP: &str = "\
Each option can also be set by its variable, and by a key of the file named with --config: the long
name with `_` for `-`. A flag beats a variable, a variable beats the file.

Durations are written like 500ms, 2s, 1m or 1h30m.

Try it:
  weldr --demo
  weldr --server 127.0.0.1:12345 --ephemeral
  weldr --node-name a --cluster 127.0.0.1:8688
  weldr check-config --config weldr.toml";

/// What `weldr` can do besides serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum Subcommands {
    /// Validate the options and print those in effect, as a configuration file
    CheckConfig,
    /// Drop the virtual addresses when the process that writes to standard input no longer can
    #[command(hide = true)]
    VipGuard,
}

/// Every option, each as it was said or not at all.
#[expect(
    clippy::doc_markdown,
    reason = "the first line of each is its help, which has no markup"
)]
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Proxy on this address; repeatable [default: 0.0.0.0:8080]
    #[arg(
        long,
        env = "WELDR_LISTEN",
        value_name = "ADDR",
        value_delimiter = ',',
        global = true,
        value_parser = address
    )]
    pub listen: Option<Vec<SocketAddr>>,

    /// Serve the management API (gRPC and REST) on this address [default: 127.0.0.1:8687]
    #[arg(long, env = "WELDR_MANAGEMENT", value_name = "ADDR", value_parser = address, global = true)]
    pub management: Option<SocketAddr>,

    /// Allow management on an address that is not loopback, though nobody has to authenticate
    #[arg(long, env = "WELDR_MANAGEMENT_INSECURE", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", global = true)]
    pub management_insecure: Option<bool>,

    /// Serve gRPC only on the management address
    #[arg(long, env = "WELDR_NO_REST", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", global = true)]
    pub no_rest: Option<bool>,

    /// Keep the pool in this directory [default: ./weldr-data]
    #[arg(long, env = "WELDR_DATA_DIR", value_name = "DIR", global = true)]
    pub data_dir: Option<PathBuf>,

    /// Keep nothing on disk: the pool is forgotten at the end
    #[arg(long, env = "WELDR_EPHEMERAL", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", global = true)]
    pub ephemeral: Option<bool>,

    /// Threads that proxy [default: one for each core]
    #[arg(long, env = "WELDR_WORKERS", value_name = "N", value_parser = whole::<usize>, global = true)]
    pub workers: Option<usize>,

    /// Add this server at the start when it is not in the pool; repeatable
    #[arg(
        long,
        env = "WELDR_SERVER",
        value_name = "ADDR",
        value_delimiter = ',',
        global = true,
        value_parser = address
    )]
    pub server: Option<Vec<SocketAddr>>,

    /// Proxy to three servers in this process and show what to try; keeps nothing on disk
    #[arg(long, env = "WELDR_DEMO", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", global = true)]
    pub demo: Option<bool>,

    /// How to write the log [default: text]
    #[arg(long, env = "WELDR_LOG_FORMAT", value_name = "FORMAT", global = true)]
    pub log_format: Option<LogFormat>,

    /// How long running requests may go on after SIGTERM or SIGINT [default: 30s]
    #[arg(
        long,
        env = "WELDR_SHUTDOWN_TIMEOUT",
        value_name = "DURATION",
        global = true
    )]
    pub shutdown_timeout: Option<Span>,

    /// What to call this node among the others [default: the name of the host]
    #[arg(long, env = "WELDR_NODE_NAME", value_name = "NAME", global = true, help_heading = CLUSTER)]
    pub node_name: Option<String>,

    /// Meet other nodes on this address, as in 10.0.0.1:8688 [default: be alone]
    #[arg(long, env = "WELDR_CLUSTER", value_name = "ADDR", global = true, help_heading = CLUSTER)]
    pub cluster: Option<SocketAddr>,

    /// The address at which other nodes reach this one [default: that of --cluster]
    #[arg(long, env = "WELDR_CLUSTER_ADVERTISE", value_name = "ADDR", global = true, help_heading = CLUSTER)]
    pub cluster_advertise: Option<SocketAddr>,

    /// Join the cluster that a node at this address belongs to; repeatable
    #[arg(long, env = "WELDR_JOIN", value_name = "ADDR", value_delimiter = ',', global = true, help_heading = CLUSTER)]
    pub join: Option<Vec<SocketAddr>>,

    /// The file of the secret that all nodes share
    #[arg(long, env = "WELDR_CLUSTER_SECRET_FILE", value_name = "FILE", global = true, help_heading = CLUSTER)]
    pub cluster_secret_file: Option<PathBuf>,

    /// The certificate of this node, naming its address (PEM); with key and authority: mutual TLS
    #[arg(long, env = "WELDR_CLUSTER_CERT", value_name = "FILE", global = true, help_heading = CLUSTER)]
    pub cluster_cert: Option<PathBuf>,

    /// The key of the certificate (PEM)
    #[arg(long, env = "WELDR_CLUSTER_KEY", value_name = "FILE", global = true, help_heading = CLUSTER)]
    pub cluster_key: Option<PathBuf>,

    /// Who signs the certificates of all nodes (PEM)
    #[arg(long, env = "WELDR_CLUSTER_CA", value_name = "FILE", global = true, help_heading = CLUSTER)]
    pub cluster_ca: Option<PathBuf>,

    /// Allow nodes to talk without TLS on an address that is not loopback
    #[arg(long, env = "WELDR_CLUSTER_INSECURE", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", global = true, help_heading = CLUSTER)]
    pub cluster_insecure: Option<bool>,

    /// How to choose a server [default: round_robin]
    #[arg(long, env = "WELDR_BALANCING", value_name = "ALGORITHM", global = true, help_heading = POOL)]
    pub balancing: Option<BalancingName>,

    /// When no server is healthy: ask all that are ready (true), or answer 503 (false) [default: true]
    #[arg(long, env = "WELDR_FAIL_OPEN", value_name = "BOOL", global = true, help_heading = POOL)]
    pub fail_open: Option<bool>,

    /// How long running requests of a removed server may go on [default: 30s]
    #[arg(long, env = "WELDR_DRAIN_DEADLINE", value_name = "DURATION", global = true, help_heading = POOL)]
    pub drain_deadline: Option<Span>,

    /// Remove a server that is unhealthy for this long; 0s: never [default: 0s]
    #[arg(long, env = "WELDR_DEREGISTER_AFTER", value_name = "DURATION", global = true, help_heading = POOL)]
    pub deregister_after: Option<Span>,

    /// What a check does: connect (tcp), or ask for a path (http) [default: tcp]
    #[arg(long, env = "WELDR_CHECK_TYPE", value_name = "TYPE", global = true, help_heading = POOL)]
    pub check_type: Option<CheckType>,

    /// The path that an HTTP check asks for [default: /]
    #[arg(long, env = "WELDR_CHECK_PATH", value_name = "PATH", global = true, help_heading = POOL)]
    pub check_path: Option<String>,

    /// The statuses that pass an HTTP check, as in 200-299,401 [default: 200-399]
    #[arg(long, env = "WELDR_CHECK_EXPECT", value_name = "CODES", global = true, help_heading = POOL)]
    pub check_expect: Option<String>,

    /// The Host field of an HTTP check [default: the address of the server]
    #[arg(long, env = "WELDR_CHECK_HOST", value_name = "HOST", global = true, help_heading = POOL)]
    pub check_host: Option<String>,

    /// The port to check [default: the port of the traffic]
    #[arg(long, env = "WELDR_CHECK_PORT", value_name = "PORT", global = true, help_heading = POOL)]
    pub check_port: Option<u16>,

    /// From one check of a server to the next [default: 5s]
    #[arg(long, env = "WELDR_CHECK_INTERVAL", value_name = "DURATION", global = true, help_heading = POOL)]
    pub check_interval: Option<Span>,

    /// How long a check may take in all [default: 2s]
    #[arg(long, env = "WELDR_CHECK_TIMEOUT", value_name = "DURATION", global = true, help_heading = POOL)]
    pub check_timeout: Option<Span>,

    /// Checks in a row that make an unhealthy server healthy [default: 2]
    #[arg(long, env = "WELDR_HEALTHY_THRESHOLD", value_name = "N", value_parser = whole::<u32>, global = true, help_heading = POOL)]
    pub healthy_threshold: Option<u32>,

    /// Checks in a row that make a server unhealthy [default: 3]
    #[arg(long, env = "WELDR_UNHEALTHY_THRESHOLD", value_name = "N", value_parser = whole::<u32>, global = true, help_heading = POOL)]
    pub unhealthy_threshold: Option<u32>,

    /// A client's whole request head must be here in this time [default: 10s]
    #[arg(long, env = "WELDR_CLIENT_HEADER_TIMEOUT", value_name = "DURATION", global = true, help_heading = TIMEOUTS)]
    pub client_header_timeout: Option<Span>,

    /// How long a client's connection may wait for a request, the first or the next [default: 1m]
    #[arg(long, env = "WELDR_CLIENT_IDLE_TIMEOUT", value_name = "DURATION", global = true, help_heading = TIMEOUTS)]
    pub client_idle_timeout: Option<Span>,

    /// How long connecting to a server may take [default: 2s]
    #[arg(long, env = "WELDR_CONNECT_TIMEOUT", value_name = "DURATION", global = true, help_heading = TIMEOUTS)]
    pub connect_timeout: Option<Span>,

    /// From the end of a request to the head of the server's answer [default: 1m]
    #[arg(long, env = "WELDR_RESPONSE_HEADER_TIMEOUT", value_name = "DURATION", global = true, help_heading = TIMEOUTS)]
    pub response_header_timeout: Option<Span>,

    /// How long a body may stand still, in either direction [default: 1m]
    #[arg(long, env = "WELDR_STREAM_IDLE_TIMEOUT", value_name = "DURATION", global = true, help_heading = TIMEOUTS)]
    pub stream_idle_timeout: Option<Span>,

    /// How long an unused connection to a server is kept [default: 1m]
    #[arg(long, env = "WELDR_SERVER_IDLE_TIMEOUT", value_name = "DURATION", global = true, help_heading = TIMEOUTS)]
    pub server_idle_timeout: Option<Span>,

    /// The size of a head, in bytes; 8192 or more [default: 32768]
    #[arg(long, env = "WELDR_MAX_HEADER_BYTES", value_name = "BYTES", value_parser = whole::<usize>, global = true, help_heading = LIMITS)]
    pub max_header_bytes: Option<usize>,

    /// The number of fields in a head [default: 128]
    #[arg(long, env = "WELDR_MAX_HEADERS", value_name = "N", value_parser = whole::<usize>, global = true, help_heading = LIMITS)]
    pub max_headers: Option<usize>,

    /// Connections of clients; further ones wait in the kernel's queue [default: 20000]
    #[arg(long, env = "WELDR_MAX_CONNECTIONS", value_name = "N", value_parser = whole::<usize>, global = true, help_heading = LIMITS)]
    pub max_connections: Option<usize>,

    /// Connections to one server [default: 4096]
    #[arg(long, env = "WELDR_MAX_SERVER_CONNECTIONS", value_name = "N", value_parser = whole::<usize>, global = true, help_heading = LIMITS)]
    pub max_server_connections: Option<usize>,

    /// Unused connections that are kept to one server [default: 1024]
    #[arg(long, env = "WELDR_MAX_SERVER_IDLE_CONNECTIONS", value_name = "N", value_parser = whole::<usize>, global = true, help_heading = LIMITS)]
    pub max_server_idle_connections: Option<usize>,

    /// Hold this address while this node leads, as in 10.0.0.100/24; repeatable
    #[arg(long, env = "WELDR_VIP", value_name = "ADDR/PREFIX", value_delimiter = ',', global = true, help_heading = VIP)]
    pub vip: Option<Vec<String>>,

    /// The network interface that gets the virtual addresses
    #[arg(long, env = "WELDR_VIP_INTERFACE", value_name = "IFACE", global = true, help_heading = VIP)]
    pub vip_interface: Option<String>,

    /// Run this program with `acquire|release ADDR/PREFIX IFACE` instead of changing the interface
    #[arg(long, env = "WELDR_VIP_HOOK", value_name = "CMD", global = true, help_heading = VIP)]
    pub vip_hook: Option<PathBuf>,

    /// How long a client may be waited for over a whole body, beyond what its bytes take at the minimum rate [default: 20s]
    #[arg(long, env = "WELDR_CLIENT_BODY_TIMEOUT", value_name = "DURATION", global = true, help_heading = TIMEOUTS)]
    pub client_body_timeout: Option<Span>,

    /// How long a request may try servers that accept no connection, one after another [default: 10s]
    #[arg(long, env = "WELDR_SERVER_SELECTION_TIMEOUT", value_name = "DURATION", global = true, help_heading = TIMEOUTS)]
    pub server_selection_timeout: Option<Span>,

    /// How long what a client still sends after its last response is read and dropped, so that it can read the response
    /// [default: 1m]
    #[arg(long, env = "WELDR_LINGERING_TIMEOUT", value_name = "DURATION", global = true, help_heading = TIMEOUTS)]
    pub lingering_timeout: Option<Span>,

    /// How long a WebSocket or another upgraded connection may stand still [default: 1h]
    #[arg(long, env = "WELDR_TUNNEL_IDLE_TIMEOUT", value_name = "DURATION", global = true, help_heading = TIMEOUTS)]
    pub tunnel_idle_timeout: Option<Span>,

    /// Requests that a server might read in another way: refuse all (strict), or forward and log those whose meaning
    /// is certain (monitor) [default: strict]
    #[arg(long, env = "WELDR_DESYNC_MODE", value_name = "MODE", global = true, help_heading = HTTP)]
    pub desync_mode: Option<DesyncMode>,

    /// What to do with X-Forwarded-… and Forwarded that a client sends: replace (append for trusted proxies), append,
    /// or off (leave them alone) [default: replace]
    #[arg(long, env = "WELDR_FORWARDED_HEADERS", value_name = "MODE", global = true, help_heading = HTTP)]
    pub forwarded_headers: Option<ForwardedHeaders>,

    /// A network of proxies whose X-Forwarded-… and Forwarded are believed, as in 10.0.0.0/8; repeatable
    #[arg(
        long,
        env = "WELDR_TRUSTED_PROXY",
        value_name = "NETWORK",
        value_parser = network,
        value_delimiter = ',',
        global = true,
        help_heading = HTTP
    )]
    pub trusted_proxy: Option<Vec<IpNet>>,

    /// The size of a request's body, in bytes; 0: any [default: 0]
    #[arg(long, env = "WELDR_MAX_BODY_BYTES", value_name = "BYTES", value_parser = whole::<u64>, global = true, help_heading = HTTP)]
    pub max_body_bytes: Option<u64>,

    /// Bytes a second that a client has to send of a body; 0: any rate will do [default: 500]
    #[arg(long, env = "WELDR_BODY_MIN_RATE", value_name = "BYTES", value_parser = whole::<u64>, global = true, help_heading = HTTP)]
    pub body_min_rate: Option<u64>,

    /// How often a request that failed may be sent again, where that is safe [default: 1]
    #[arg(long, env = "WELDR_RETRIES", value_name = "N", value_parser = whole::<usize>, global = true, help_heading = HTTP)]
    pub retries: Option<usize>,

    /// Write a line for each request: off, json, or combined (as Apache and nginx do) [default: off]
    #[arg(long, env = "WELDR_ACCESS_LOG", value_name = "FORMAT", global = true)]
    pub access_log: Option<AccessLogFormat>,

    /// Append the access log to this file, also after it was rotated away [default: standard output]
    #[arg(
        long,
        env = "WELDR_ACCESS_LOG_FILE",
        value_name = "FILE",
        global = true
    )]
    pub access_log_file: Option<PathBuf>,
}

const HTTP: &str = "HTTP";
const POOL: &str = "The pool, when it is new (later changes: weldrctl pool set)";
const CLUSTER: &str = "Cluster";
const TIMEOUTS: &str = "Timeouts";
const LIMITS: &str = "Limits";
const VIP: &str = "Virtual address";

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(
        |_| "expected ip:port, as in 127.0.0.1:8080 or [::1]:8080; host names are not resolved",
    )
}

fn network(text: &str) -> Result<IpNet, &'static str> {
    text.parse()
        .map_err(|_| "expected a network, as in 10.0.0.0/8 or fd00::/8")
}

fn whole<N: FromStr<Err = ParseIntError>>(text: &str) -> Result<N, &'static str> {
    text.parse()
        .map_err(|error: ParseIntError| match error.kind() {
            IntErrorKind::PosOverflow => "expected a smaller number",
            _ => "expected a whole number that is not negative",
        })
}

/// A duration as people write it: `500ms`, `2s`, `1h30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct Span(pub Duration);

impl Span {
    const EXPECTED: &str = "a duration such as 500ms, 2s or 1h30m";
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text)
            .map(Self)
            .map_err(|_| format!("expected {}", Self::EXPECTED))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(Span::EXPECTED)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                text.parse()
                    .map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

/// How the log is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// A line for people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// What a check does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckType {
    /// Connects.
    Tcp,
    /// Asks for a path.
    Http,
}

/// The algorithms by the names that the management API gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[value(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum BalancingName {
    /// Each in turn.
    #[value(alias = "round-robin")]
    RoundRobin,
    /// Each in turn, as often as its weight says.
    #[value(alias = "weighted-round-robin")]
    WeightedRoundRobin,
    /// The less loaded of two.
    #[value(alias = "least-requests")]
    LeastRequests,
}
