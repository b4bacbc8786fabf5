//! The binary `bench`: Weldr beside other proxies, on the same work, on this machine. `bench/README.md` says
//! what is measured and why it is fair.
//!
//! * [`campaign`]: a whole run; [`scenario`]: the work and its targets; [`turn`]: one turn of one proxy.
//! * [`peers`] and [`weldr`]: how each proxy is found and set up.
//! * [`roles`]: origin, load and byte forwarder; each is this binary again, as a process of its own.
//! * [`usage`] reads what a proxy uses; [`figures`], [`results`], [`target`] and [`report`] make sense of it.
//! * [`objects`]: what many rules, pools and servers cost.
//! * [`instructions`]: the guard that does not depend on the machine.

mod args;
mod campaign;
mod child;
mod figures;
mod instructions;
mod machine;
mod objects;
mod peers;
mod print;
mod report;
mod results;
mod roles;
mod scenario;
mod target;
mod turn;
mod usage;
mod weldr;

use std::{error::Error, fs, process::ExitCode};

use clap::Parser as _;
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};

use crate::{
    args::{Args, Options, Role},
    campaign::Campaign,
    instructions::Guard,
    print::{complain, say},
    report::Report,
    roles::{floor, load, origin, pin},
    scenario::SCENARIOS,
};

type Outcome = Result<ExitCode, Box<dyn Error>>;

/// What a shell expects of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let args = Args::parse();
    run(args).unwrap_or_else(|error| {
        complain!("bench: {error}");
        ExitCode::FAILURE
    })
}

fn run(args: Args) -> Outcome {
    match args.command {
        Some(Role::Origin { listeners }) => origin::run(listeners)?,
        Some(Role::Floor { listen, origin }) => floor::run(listen, origin)?,
        Some(Role::Load { spec }) => load::run(&serde_json::from_str(&spec)?)?,
        Some(Role::Pin { cores, command }) => match pin::run(&cores, &command)? {},
        Some(Role::Instructions { keep }) => {
            return until_interrupted(async {
                match instructions::run(&args.options.binaries, keep).await? {
                    Guard::Kept | Guard::Skipped => Ok(ExitCode::SUCCESS),
                    Guard::Grown | Guard::Shrunk => Ok(ExitCode::FAILURE),
                }
            });
        }
        Some(Role::Objects { rounds }) => {
            return until_interrupted(async {
                objects::run(&args.options.binaries, rounds).await?;
                Ok(ExitCode::SUCCESS)
            });
        }
        None if args.options.list => list(),
        None => return until_interrupted(compare(&args.options)),
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs `work`, or as much of it as comes before Ctrl-C; then lets go of it, and with it of every process.
fn until_interrupted(work: impl Future<Output = Outcome>) -> Outcome {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate())?;
        let mut interrupted = signal(SignalKind::interrupt())?;
        tokio::select! {
            outcome = work => return outcome,
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
        complain!("bench: interrupted; stopping what was started");
        Ok(ExitCode::from(INTERRUPTED))
    })
}

fn list() {
    for scenario in SCENARIOS {
        say!("{:<18}{}", scenario.name, scenario.about);
    }
}

async fn compare(options: &Options) -> Outcome {
    let campaign = Campaign::prepare(options)?;
    announce(&campaign);
    machine::pin(&campaign.cores.load)?;
    let mut reports = Vec::new();
    for &scenario in &campaign.scenarios {
        reports.push(match campaign.obstacle(scenario) {
            Some(why) => Report::Skipped(scenario.name, why),
            None => Report::of(campaign.run(scenario).await, &campaign.cores),
        });
    }
    say!("{}", report::table(&reports));
    if let Some(file) = &options.json {
        let text = serde_json::to_string_pretty(&report::json(&campaign, &reports))?;
        fs::write(file, text + "\n")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn announce(campaign: &Campaign) {
    for (name, install) in &campaign.missing {
        complain!("{name} is not here: {install}");
    }
    for installed in &campaign.peers {
        complain!("{}: {}", installed.name, installed.version);
    }
    complain!("weldr: {}", campaign.weldr_version());
    if !campaign.cores.are_apart() {
        complain!(
            "there is one core: proxy and load share it, and only CPU a request means something"
        );
    }
    if cfg!(debug_assertions) {
        complain!("this is a debug build: the floor is not the floor, and the load is slow");
    }
    let minutes = campaign.duration().as_secs().div_ceil(60);
    complain!("{} rounds; about {minutes} minutes", campaign.rounds);
}
