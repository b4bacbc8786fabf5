//! `stalled`: the memory that Weldr holds for uploads and downloads that do not move.

use std::process::ExitCode;

use clap::Parser;
use weldr_tests::{
    say,
    stalled::{Direction, hold},
};

/// Stall many large bodies, and say how much memory Weldr holds for them.
#[derive(Debug, Parser)]
struct Args {
    /// How many in each direction
    #[arg(long, default_value_t = 1000)]
    bodies: usize,

    /// How large each is, in MiB
    #[arg(long, default_value_t = 200)]
    mib: usize,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    for direction in [Direction::Upload, Direction::Download] {
        let held = hold(direction, args.bodies, args.mib << 20).await;
        say!(
            "{} stalled bodies of {} MiB, {direction:?}: {} KiB before, {} KiB then: {} KiB each",
            args.bodies,
            args.mib,
            held.before / 1024,
            held.then / 1024,
            held.then.saturating_sub(held.before) / 1024 / args.bodies as u64,
        );
    }
    ExitCode::SUCCESS
}
