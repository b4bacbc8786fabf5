//! The options of a health check.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::parse;

/// The options of a health check. Those that are not given keep the value of the server, or of the pool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Health check (options that are not given keep their value)")]
pub(crate) struct CheckOptions {
    /// http or tcp [default: http if an option of HTTP is given]
    #[arg(long, value_name = "TYPE", value_enum, hide_possible_values = true)]
    pub(crate) check_type: Option<CheckType>,
    /// Path that an HTTP check requests
    #[arg(long, value_name = "PATH")]
    pub(crate) check_path: Option<String>,
    /// Status codes that pass an HTTP check, for example 200-299,401
    #[arg(long, value_name = "CODES")]
    pub(crate) check_expect: Option<String>,
    /// Method of an HTTP check: GET, HEAD or OPTIONS
    #[arg(long, value_name = "METHOD")]
    pub(crate) check_method: Option<String>,
    /// Text that the response to an HTTP check contains
    #[arg(long, value_name = "TEXT")]
    pub(crate) check_body: Option<String>,
    /// Host field of an HTTP check
    #[arg(long, value_name = "HOST")]
    pub(crate) check_host: Option<String>,
    /// Port of the check; 0 means the port of the server
    #[arg(long, value_name = "PORT")]
    pub(crate) check_port: Option<u16>,
    /// Time between two checks, from 100ms to 1h
    #[arg(long, visible_alias = "interval", value_name = "TIME", value_parser = parse::duration)]
    pub(crate) check_interval: Option<Duration>,
    /// Time limit for one check, from 10ms to 1m
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    pub(crate) check_timeout: Option<Duration>,
    /// Passed checks in a row until a server is healthy, 1 to 100
    #[arg(long, value_name = "N")]
    pub(crate) healthy_threshold: Option<u32>,
    /// Failed checks in a row until a server is unhealthy, 1 to 100
    #[arg(long, value_name = "N")]
    pub(crate) unhealthy_threshold: Option<u32>,
    /// Time for a new server in which failed checks do not count
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    pub(crate) check_grace: Option<Duration>,
    /// Whether new servers get requests before their first check
    #[arg(long, value_name = "BOOL", hide_possible_values = true)]
    pub(crate) check_begins_healthy: Option<bool>,
}

/// The types of health checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckType {
    /// Sends a request and compares the status code of the response
    Http,
    /// Opens a TCP connection and closes it
    Tcp,
}
