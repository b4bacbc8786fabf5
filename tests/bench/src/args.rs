//! The command line.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf};

use clap::{Parser, Subcommand};

/// Starts Weldr, the other proxies that are installed, and a bare byte forwarder, puts the same load on each in
/// turn, and compares what they cost.
#[derive(Debug, Parser)]
#[command(
    name = "bench",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "A proxy that is not installed is skipped, with a word on how to get it. Nothing listens \
                  off 127.0.0.1. Ctrl-C stops all that was started."
)]
pub(crate) struct Args {
    /// What to do instead of comparing.
    #[command(subcommand)]
    pub(crate) command: Option<Role>,

    /// How to compare.
    #[command(flatten)]
    pub(crate) options: Options,
}

/// How to compare.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Run this scenario; repeatable [default: all]
    #[arg(long = "scenario", value_name = "NAME")]
    pub(crate) scenarios: Vec<String>,

    /// Print the names of the scenarios, and what each is
    #[arg(long)]
    pub(crate) list: bool,

    /// Few and short turns, to see that all works: 3 rounds of 1 s
    #[arg(long)]
    pub(crate) quick: bool,

    /// How often each proxy has its turn [default: 15, or 3 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: Option<u32>,

    /// How long each turn is counted, in seconds [default: 1]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) seconds: Option<u64>,

    /// Compare with these only, of nginx, haproxy, caddy, envoy, sozu, pingora; none: with none
    /// [default: all that are installed]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) peers: Option<Vec<String>>,

    /// Write all figures to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Where the binaries are.
    #[command(flatten)]
    pub(crate) binaries: Binaries,
}

/// Where the binaries are.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Binaries {
    /// The binary of Weldr [default: built by cargo, --release]
    #[arg(long, env = "WELDR_BENCH_WELDR", value_name = "FILE", global = true)]
    pub(crate) weldr: Option<PathBuf>,

    /// The binary of nginx [default: from PATH]
    #[arg(long, env = "WELDR_BENCH_NGINX", value_name = "FILE")]
    pub(crate) nginx: Option<PathBuf>,

    /// The binary of HAProxy [default: from PATH]
    #[arg(long, env = "WELDR_BENCH_HAPROXY", value_name = "FILE")]
    pub(crate) haproxy: Option<PathBuf>,

    /// The binary of Caddy [default: from PATH]
    #[arg(long, env = "WELDR_BENCH_CADDY", value_name = "FILE")]
    pub(crate) caddy: Option<PathBuf>,

    /// The binary of Envoy [default: from PATH]
    #[arg(long, env = "WELDR_BENCH_ENVOY", value_name = "FILE")]
    pub(crate) envoy: Option<PathBuf>,

    /// The binary of Sozu [default: from PATH]
    #[arg(long, env = "WELDR_BENCH_SOZU", value_name = "FILE")]
    pub(crate) sozu: Option<PathBuf>,

    /// A proxy on Pingora that takes two arguments: where to listen, and the origin
    #[arg(long, env = "WELDR_BENCH_PINGORA", value_name = "FILE")]
    pub(crate) pingora: Option<PathBuf>,
}

impl Binaries {
    /// What was named for a peer.
    pub(crate) fn of(&self, peer: &str) -> Option<&PathBuf> {
        match peer {
            "nginx" => self.nginx.as_ref(),
            "haproxy" => self.haproxy.as_ref(),
            "caddy" => self.caddy.as_ref(),
            "envoy" => self.envoy.as_ref(),
            "sozu" => self.sozu.as_ref(),
            "pingora" => self.pingora.as_ref(),
            _ => None,
        }
    }
}

/// What this binary is besides the comparison.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Role {
    /// Count the instructions that Weldr executes for a request, with callgrind, and compare with the figure
    /// that is kept; needs valgrind
    Instructions {
        /// Write the figure that was counted to the file that keeps it
        #[arg(long)]
        keep: bool,
    },

    /// Measure what many rules, pools and servers cost, and whether a listener that comes and goes disturbs others
    Objects {
        /// Rounds of each comparison
        #[arg(long, value_name = "N", default_value_t = 15)]
        #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
        rounds: u32,
    },

    /// Serve responses that were made beforehand, until the process is ended
    #[command(hide = true)]
    Origin {
        /// On so many ports.
        #[arg(long, default_value_t = 1)]
        listeners: usize,
    },

    /// Forward bytes, until the process is ended
    #[command(hide = true)]
    Floor {
        /// Where to listen.
        #[arg(long)]
        listen: SocketAddr,
        /// Where to forward to.
        #[arg(long)]
        origin: SocketAddr,
    },

    /// Make a load
    #[command(hide = true)]
    Load {
        /// The load, as JSON.
        spec: String,
    },

    /// Become another program on some cores
    #[command(hide = true)]
    Pin {
        /// The cores.
        #[arg(long, value_delimiter = ',')]
        cores: Vec<usize>,
        /// The program and its arguments.
        #[arg(last = true)]
        command: Vec<OsString>,
    },
}
