//! `chaos`: a cluster while nodes are killed, stopped, restarted and cut off, and a judge of what its clients see.

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use weldr_tests::{
    chaos::{self, Settings},
    say,
};

/// Harm a cluster of real processes at random, and judge what its clients see.
#[derive(Debug, Parser)]
struct Args {
    /// For how long
    #[arg(long, default_value_t = 1)]
    minutes: u64,

    /// What chance begins with [default: a random number]
    #[arg(long)]
    seed: Option<u64>,

    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=7))]
    nodes: u8,

    /// Three machines behind a virtual address instead, whose links, disks, clocks and operators fail too: for root
    #[arg(long, conflicts_with = "nodes")]
    address: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..1 << 40));
    // Said at once: what panics says nothing later.
    say!("seed {seed}");
    let settings = Settings {
        duration: Duration::from_secs(args.minutes * 60),
        seed,
        nodes: args.nodes,
    };
    if args.address {
        let Some(report) = chaos::address::run(settings).await else {
            return ExitCode::from(2);
        };
        say!("{report}");
        return ExitCode::from(u8::from(!report.problems.is_empty()));
    }
    let report = chaos::run(settings).await;
    say!("{report}");
    ExitCode::from(u8::from(!report.problems.is_empty()))
}
