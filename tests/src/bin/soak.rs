//! `soak`: many requests of mixed kinds to servers that misbehave at random, each accounted for.

use std::process::ExitCode;

use clap::Parser;
use weldr_tests::{say, soak};

/// Send many requests of mixed kinds through Weldr, and account for each.
#[derive(Debug, Parser)]
struct Args {
    /// How many
    #[arg(long, default_value_t = 200_000)]
    requests: usize,

    /// By how many clients at once
    #[arg(long, default_value_t = 64)]
    clients: usize,

    /// What chance begins with [default: a random number]
    #[arg(long)]
    seed: Option<u64>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..1 << 40));
    say!("seed {seed}");
    let report = soak::run(args.requests, args.clients, seed).await;
    say!("{}", report.account);
    say!("open files before and after: {:?}", report.open_files);
    say!(
        "memory after a quarter and after all, in bytes: {:?}",
        report.resident
    );
    let problems = report.problems();
    for problem in &problems {
        say!("{problem}");
    }
    ExitCode::from(u8::from(!problems.is_empty()))
}
