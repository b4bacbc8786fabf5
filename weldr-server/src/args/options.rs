//! The list of options. Each is written here once: its name, its help, its type, and what clap has to know besides.
//!
//! The name gives the flag (`--connect-timeout`), the key in the configuration file (`connect_timeout`) and the
//! environment variable (`WELDR_CONNECT_TIMEOUT`). The default in the help comes from `Config::default()`; an option
//! whose default is not one value says it in its help. `config::fields` says which field an option sets and which
//! range it accepts.

use std::{net::SocketAddr, path::PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::values::{
    CheckType, ListenerAddress, LogFormat, Secret, Span, Switch, address, network, whole,
};
use crate::{
    model::{Balancing, Failover, OnLostQuorum},
    policy::{
        AccessLogField, AccessLogFormat, DesyncMode, ForwardedHeaders, SampleRatio, SyslogAddress,
    },
};

const HTTP: &str = "HTTP";
const POOL: &str = "Settings of a new pool (to change them later: weldrctl pool set)";
const CLUSTER: &str = "Cluster";
const TIMEOUTS: &str = "Timeouts";
const LIMITS: &str = "Limits";
const VIP: &str = "Virtual addresses";
const BACKUPS: &str = "Scheduled backups";

/// Makes a struct of the list: what clap needs for every option is written here once, and an option that is added
/// cannot be forgotten where the flags and the file are combined.
macro_rules! options {
    ($($(#[$attribute:meta])* $name:ident: $type:ty,)*) => {
        /// The values that were given for the options. `None` means that the option was not given.
        #[derive(Debug, Clone, Default, PartialEq, clap::Args, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Options {
            $($(#[$attribute])* #[arg(long, global = true)] pub $name: Option<$type>,)*
        }

        impl Options {
            /// These options, with the values of `lower` for those that are not given here.
            #[must_use]
            pub fn or(self, lower: Self) -> Self {
                Self { $($name: self.$name.or(lower.$name),)* }
            }
        }
    };
}

options! {
    /// Address on which to accept requests; may be repeated
    #[arg(value_name = "ADDR", value_delimiter = ',', value_parser = address)]
    listen: Vec<SocketAddr>,

    /// Address on which to accept requests by HTTPS; may be repeated; needs a certificate [default: none]
    #[arg(value_name = "ADDR", value_delimiter = ',', value_parser = address)]
    listen_https: Vec<SocketAddr>,

    /// Certificate for HTTPS, with those of intermediate authorities (PEM); the file is read again when it changes
    #[arg(value_name = "FILE")]
    tls_cert: PathBuf,

    /// Private key of the certificate for HTTPS (PEM); the file is read again when it changes
    #[arg(value_name = "FILE")]
    tls_key: PathBuf,

    /// Address on this node of a listener that was added at run time, instead of its own, for example web=127.0.0.1:8081; may be
    /// repeated
    #[arg(value_name = "NAME=ADDR", value_delimiter = ',')]
    listener_address: Vec<ListenerAddress>,

    /// Address of the management API (gRPC and REST)
    #[arg(value_name = "ADDR", value_parser = address)]
    management: SocketAddr,

    /// Whether callers of the management API need a token: on or off; always on if the address is not loopback [default: off on
    /// a loopback address]
    #[arg(value_name = "SWITCH")]
    management_auth: Switch,

    /// Unix socket of the management API, for root and the user of this process; off means none [default: management.sock in
    /// the data directory]
    #[arg(value_name = "FILE")]
    management_socket: PathBuf,

    /// Name under which the management API is called, besides IP addresses and localhost; may be repeated
    #[arg(value_name = "NAME", value_delimiter = ',')]
    management_host: Vec<String>,

    /// Certificate of the management API, with those of intermediate authorities (PEM); together with the key it turns on TLS
    #[arg(value_name = "FILE")]
    management_tls_cert: PathBuf,

    /// Private key of the certificate (PEM)
    #[arg(value_name = "FILE")]
    management_tls_key: PathBuf,

    /// Certificate authority of client certificates, which are mapped to roles by `weldrctl token create --subject` (PEM)
    #[arg(value_name = "FILE")]
    management_client_ca: PathBuf,

    /// Address that serves only /healthz, /readyz and grpc.health, without TLS [default: none]
    #[arg(value_name = "ADDR", value_parser = address)]
    health_listen: SocketAddr,

    /// Allow a management address that is not loopback without TLS: tokens and changes can be read on the network
    #[arg(require_equals = true)]
    management_insecure: bool,

    /// Serve only gRPC, not REST, on the management address
    #[arg(require_equals = true)]
    no_rest: bool,

    /// Directory in which the pool is stored
    #[arg(value_name = "DIR")]
    data_dir: PathBuf,

    /// Store nothing on disk: the pool is lost when weldr stops
    #[arg(require_equals = true)]
    ephemeral: bool,

    /// Number of threads that proxy requests [default: one per CPU core]
    #[arg(value_name = "N", value_parser = whole::<usize>)]
    workers: usize,

    /// Server to add to the pool at the start if it is not in it; may be repeated
    #[arg(value_name = "ADDR", value_delimiter = ',', value_parser = address)]
    server: Vec<SocketAddr>,

    /// Network in which servers may be added through this node, for example 10.0.0.0/8; may be repeated [default: all but
    /// link-local addresses]
    #[arg(value_name = "NETWORK", value_parser = network, value_delimiter = ',')]
    allow_servers: Vec<IpNet>,

    /// Proxy to three built-in servers and print commands to try; stores nothing on disk
    #[arg(require_equals = true)]
    demo: bool,

    /// Format of the log, which is written to standard error
    #[arg(value_name = "FORMAT")]
    log_format: LogFormat,

    /// Format of the access log, which has one line per request
    #[arg(value_name = "FORMAT")]
    access_log: AccessLogFormat,

    /// Fields of a line of the access log as json or logfmt, separated by commas [default: all]
    #[arg(value_name = "FIELD", value_delimiter = ',')]
    access_log_fields: Vec<AccessLogField>,

    /// Part of the successful requests that the access log has, from 0 to 1; it has all that failed, or an attempt of which did
    #[arg(value_name = "RATIO")]
    access_log_sample: SampleRatio,

    /// File to which the access log is appended; it is opened again after log rotation [default: standard output]
    #[arg(value_name = "FILE")]
    access_log_file: PathBuf,

    /// Syslog collector to which the access log is sent instead (RFC 5424), by UDP or to a Unix socket
    #[arg(value_name = "udp://IP:PORT|unix:///PATH")]
    access_log_syslog: SyslogAddress,

    /// Time that running requests get to finish after SIGTERM, SIGINT or SIGQUIT
    #[arg(value_name = "DURATION")]
    shutdown_timeout: Span,

    /// Name of this node in the cluster [default: the host name]
    #[arg(value_name = "NAME", help_heading = CLUSTER)]
    node_name: String,

    /// Address on which to accept connections of other nodes, for example 10.0.0.1:8688 [default: none, a single node]
    #[arg(value_name = "ADDR", value_parser = address, help_heading = CLUSTER)]
    cluster: SocketAddr,

    /// Address at which other nodes connect to this one [default: the address of --cluster]
    #[arg(value_name = "ADDR", value_parser = address, help_heading = CLUSTER)]
    cluster_advertise: SocketAddr,

    /// Address of a node whose cluster this node joins; may be repeated
    #[arg(value_name = "ADDR", value_delimiter = ',', value_parser = address, help_heading = CLUSTER)]
    join: Vec<SocketAddr>,

    /// Found a new cluster if this node belongs to none; without it, such a node needs --join
    #[arg(require_equals = true, help_heading = CLUSTER)]
    found_cluster: bool,

    /// Make this node the only one of a new cluster, with what it has, because most nodes are lost for good; changes that only
    /// they had are lost
    #[arg(require_equals = true, help_heading = CLUSTER)]
    recover_from_lost_majority: bool,

    /// Vote and store the log, and serve nothing: this node accepts no requests and holds no virtual address
    #[arg(require_equals = true, help_heading = CLUSTER)]
    witness: bool,

    /// Token of an invite, with which this node joins once (see --join-token-file; on the command line, every user of this
    /// machine can read it)
    #[arg(value_name = "TOKEN", hide_env_values = true, help_heading = CLUSTER)]
    join_token: Secret,

    /// File that contains the token of an invite; it, or the variable `WELDR_JOIN_TOKEN`, keeps the token out of the list of
    /// processes
    #[arg(value_name = "FILE", help_heading = CLUSTER)]
    join_token_file: PathBuf,

    /// File with the secret of the cluster, by which nodes join without an invite; while it is replaced, the new one is in
    /// the first line and the old one in the second
    #[arg(value_name = "FILE", help_heading = CLUSTER)]
    cluster_secret_file: PathBuf,

    /// Certificate of this node, valid for its name (PEM), with key and CA, in place of the key that the node makes itself
    #[arg(value_name = "FILE", help_heading = CLUSTER)]
    cluster_cert: PathBuf,

    /// Private key of the certificate (PEM)
    #[arg(value_name = "FILE", help_heading = CLUSTER)]
    cluster_key: PathBuf,

    /// Certificate authority that signs the certificates of all nodes (PEM)
    #[arg(value_name = "FILE", help_heading = CLUSTER)]
    cluster_ca: PathBuf,

    /// Talk to members of version 0.1.0, which prove the secret by a header that can be replayed; only during an upgrade
    #[arg(require_equals = true, help_heading = CLUSTER)]
    cluster_accept_previous_protocol: bool,

    /// How soon a lost leader is replaced; all nodes should have the same value
    #[arg(value_name = "PROFILE", help_heading = CLUSTER)]
    failover: Failover,

    /// Program to run as `CMD leader` or `CMD follower` when the role of this node changes
    #[arg(value_name = "CMD", help_heading = CLUSTER)]
    on_role_change: PathBuf,

    /// Algorithm that chooses the server of a request
    #[arg(value_name = "ALGORITHM", help_heading = POOL)]
    balancing: Balancing,

    /// If no server is healthy: true sends requests to all servers that are ready, false responds with 503
    #[arg(value_name = "BOOL", help_heading = POOL)]
    fail_open: bool,

    /// Time that running requests get to finish when their server is removed
    #[arg(value_name = "DURATION", help_heading = POOL)]
    drain_deadline: Span,

    /// Remove a server from the pool after it has been unhealthy for this time; 0s means never
    #[arg(value_name = "DURATION", help_heading = POOL)]
    deregister_after: Span,

    /// Malformed responses with one certain meaning: true responds with 502, false corrects them
    #[arg(value_name = "BOOL", help_heading = POOL)]
    strict_responses: bool,

    /// Type of the health check
    #[arg(value_name = "TYPE", help_heading = POOL)]
    check_type: CheckType,

    /// Path that an HTTP health check requests [default: /]
    #[arg(value_name = "PATH", help_heading = POOL)]
    check_path: String,

    /// Status codes that pass an HTTP health check, for example 200-299,401 [default: 200-399]
    #[arg(value_name = "CODES", help_heading = POOL)]
    check_expect: String,

    /// Host field of an HTTP health check [default: the address of the server]
    #[arg(value_name = "HOST", help_heading = POOL)]
    check_host: String,

    /// Port to which health checks connect [default: the port of the server]
    #[arg(value_name = "PORT", help_heading = POOL)]
    check_port: u16,

    /// Time between two health checks of a server
    #[arg(value_name = "DURATION", help_heading = POOL)]
    check_interval: Span,

    /// Time limit for one health check
    #[arg(value_name = "DURATION", help_heading = POOL)]
    check_timeout: Span,

    /// Number of consecutive passed checks after which an unhealthy server is healthy
    #[arg(value_name = "N", value_parser = whole::<u32>, help_heading = POOL)]
    healthy_threshold: u32,

    /// Number of consecutive failed checks after which a server is unhealthy
    #[arg(value_name = "N", value_parser = whole::<u32>, help_heading = POOL)]
    unhealthy_threshold: u32,

    /// Time limit for receiving the head of a request from a client
    #[arg(value_name = "DURATION", help_heading = TIMEOUTS)]
    client_header_timeout: Span,

    /// Time after which a client connection without a request is closed
    #[arg(value_name = "DURATION", help_heading = TIMEOUTS)]
    client_idle_timeout: Span,

    /// Time limit for receiving a request body, in addition to the time it takes at --body-min-rate
    #[arg(value_name = "DURATION", help_heading = TIMEOUTS)]
    client_body_timeout: Span,

    /// Time limit for connecting to a server
    #[arg(value_name = "DURATION", help_heading = TIMEOUTS)]
    connect_timeout: Span,

    /// Time limit for a request to find a server that accepts a connection, trying one after the other
    #[arg(value_name = "DURATION", help_heading = TIMEOUTS)]
    server_selection_timeout: Span,

    /// Time limit for reading and dropping what a client still sends after its last response, so that it can read the
    /// response
    #[arg(value_name = "DURATION", help_heading = TIMEOUTS)]
    lingering_timeout: Span,

    /// Time limit for a server to send the head of its response after it has received the request
    #[arg(value_name = "DURATION", help_heading = TIMEOUTS)]
    response_header_timeout: Span,

    /// Time without data, in either direction, after which the transfer of a body is aborted
    #[arg(value_name = "DURATION", help_heading = TIMEOUTS)]
    stream_idle_timeout: Span,

    /// Time after which an idle connection to a server is closed
    #[arg(value_name = "DURATION", help_heading = TIMEOUTS)]
    server_idle_timeout: Span,

    /// Time without data after which a WebSocket or other upgraded connection is closed
    #[arg(value_name = "DURATION", help_heading = TIMEOUTS)]
    tunnel_idle_timeout: Span,

    /// Maximum size of the head of a request or response, in bytes; at least 8192
    #[arg(value_name = "BYTES", value_parser = whole::<usize>, help_heading = LIMITS)]
    max_header_bytes: usize,

    /// Maximum number of fields in the head of a request or response
    #[arg(value_name = "N", value_parser = whole::<usize>, help_heading = LIMITS)]
    max_headers: usize,

    /// Maximum number of client connections; the longest idle one is closed for a new one, and further clients wait
    #[arg(value_name = "N", value_parser = whole::<usize>, help_heading = LIMITS)]
    max_connections: usize,

    /// Maximum number of connections of one client address, or IPv6 /64 network; 0 means no limit
    #[arg(value_name = "N", value_parser = whole::<usize>, help_heading = LIMITS)]
    max_connections_per_client: usize,

    /// Maximum number of connections to one server
    #[arg(value_name = "N", value_parser = whole::<usize>, help_heading = LIMITS)]
    max_server_connections: usize,

    /// Maximum number of idle connections kept open to one server
    #[arg(value_name = "N", value_parser = whole::<usize>, help_heading = LIMITS)]
    max_server_idle_connections: usize,

    /// Maximum size of a request body, in bytes; 0 means no limit
    #[arg(value_name = "BYTES", value_parser = whole::<u64>, help_heading = LIMITS)]
    max_body_bytes: u64,

    /// How to treat requests that servers could interpret differently
    #[arg(value_name = "MODE", help_heading = HTTP)]
    desync_mode: DesyncMode,

    /// How to treat the X-Forwarded-*, Forwarded, X-Real-IP and similar fields of clients
    #[arg(value_name = "MODE", help_heading = HTTP)]
    forwarded_headers: ForwardedHeaders,

    /// Network of proxies whose X-Forwarded-* and Forwarded fields are trusted, for example 10.0.0.0/8; may be repeated
    #[arg(value_name = "NETWORK", value_parser = network, value_delimiter = ',', help_heading = HTTP)]
    trusted_proxy: Vec<IpNet>,

    /// Network of proxies whose connections must begin with a header of the PROXY protocol, for example 10.0.0.0/8; all other
    /// connections are closed; may be repeated
    #[arg(value_name = "NETWORK", value_parser = network, value_delimiter = ',', help_heading = HTTP)]
    proxy_protocol_from: Vec<IpNet>,

    /// Minimum rate at which a client has to send a request body, in bytes per second; 0 means no minimum
    #[arg(value_name = "BYTES", value_parser = whole::<u64>, help_heading = HTTP)]
    body_min_rate: u64,

    /// Maximum number of times that a failed request is sent again, if that is safe
    #[arg(value_name = "N", value_parser = whole::<usize>, help_heading = HTTP)]
    retries: usize,

    /// Address that this node holds while it leads the cluster, for example 10.0.0.100/24; may be repeated
    #[arg(value_name = "ADDR/PREFIX", value_delimiter = ',', help_heading = VIP)]
    vip: Vec<String>,

    /// Network interface to which the virtual addresses are added
    #[arg(value_name = "IFACE", help_heading = VIP)]
    vip_interface: String,

    /// Program to run as `CMD acquire|release ADDR/PREFIX IFACE`, instead of changing the interface
    #[arg(value_name = "CMD", help_heading = VIP)]
    vip_hook: PathBuf,

    /// What the holder does when it loses the quorum: release the addresses, or keep them, at the risk of two holders
    #[arg(value_name = "WHAT", help_heading = VIP)]
    vip_on_lost_quorum: OnLostQuorum,

    /// Preference for this node as the holder of the addresses: the node with the highest number takes them back
    #[arg(value_name = "N", value_parser = whole::<usize>, help_heading = VIP)]
    vip_priority: usize,

    /// Time that this node has to be ready before it takes the addresses from a node with a lower priority
    #[arg(value_name = "DURATION", help_heading = VIP)]
    vip_preempt_delay: Span,

    /// Directory for scheduled backups of the servers and the settings of the pool; created if it does not exist
    #[arg(value_name = "DIR", help_heading = BACKUPS)]
    backup_dir: PathBuf,

    /// Time between two backups; without a change in between there is no second one
    #[arg(value_name = "DURATION", help_heading = BACKUPS)]
    backup_interval: Span,

    /// Number of backups of this node that are kept
    #[arg(value_name = "N", value_parser = whole::<usize>, help_heading = BACKUPS)]
    backup_keep: usize,
}
