//! Looks after virtual addresses as a node does, and is told by lines on its input what a node would know:
//! `lead MILLIS`, `follow`, `serve`, `fail`, and the end of the input to stop. Prints `ready`, and then how each
//! address stands whenever that changes.

use std::{
    env,
    error::Error,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, stdin},
    sync::watch,
};
use weldr::{
    config::VirtualAddresses,
    liveness::Tasks,
    model::OnLostQuorum,
    vip::{AddressStatus, Inputs, Vip},
};
use weldr_tests::{complain, say};

#[derive(Debug, Parser)]
struct Args {
    interface: String,
    #[arg(required = true)]
    addresses: Vec<String>,
    #[arg(long)]
    hook: Option<PathBuf>,
    /// The program that is the guard, instead of this one.
    #[arg(long)]
    guard: Option<PathBuf>,
    /// Keep the addresses when the lease ends, until the node hears of another leader.
    #[arg(long)]
    keep: bool,
    /// Leave it to the kernel to drop the addresses of a process that was killed.
    #[arg(long)]
    unguarded: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let is_guard = env::args().nth(1).is_some_and(|first| first == "guard");
    let ran = if is_guard {
        weldr::vip::guard(async |_| ()).await.map_err(Into::into)
    } else {
        run(Args::parse()).await
    };
    weldr::telemetry::flush();
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain!("vip-driver: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), Box<dyn Error>> {
    weldr::telemetry::init(false)?;
    let addresses = args.addresses.iter().map(|address| address.parse());
    let addresses = VirtualAddresses {
        addresses: addresses.collect::<Result<_, _>>()?,
        interface: args.interface,
        hook: args.hook,
        on_lost_quorum: if args.keep {
            OnLostQuorum::Keep
        } else {
            OnLostQuorum::Release
        },
        guard: if args.unguarded {
            None
        } else {
            let program = args.guard.map_or_else(env::current_exe, Ok)?;
            Some(vec![program.into(), "guard".into()])
        },
    };
    let (lease, serving) = (watch::Sender::new(None), watch::Sender::new(true));
    let led_last = watch::Sender::new(false);
    let inputs = Inputs {
        lease: lease.subscribe(),
        serving: serving.subscribe(),
        led_last: led_last.subscribe(),
        last_words: watch::Sender::new(None).subscribe(),
    };
    let vip = Vip::start(addresses, inputs, &Tasks::default()).await?;
    say!("ready");
    let mut status = vip.status();
    let mut lines = BufReader::new(stdin()).lines();
    loop {
        tokio::select! {
            line = lines.next_line() => match line? {
                Some(line) => {
                    led_last.send_replace(line.starts_with("lead") || (line != "follow" && *led_last.borrow()));
                    obey(&line, &lease, &serving)?;
                },
                None => break,
            },
            Ok(()) = status.changed() => print(&status.borrow_and_update()),
        }
    }
    vip.stop().await;
    print(&status.borrow_and_update());
    Ok(())
}

fn obey(
    line: &str,
    lease: &watch::Sender<Option<Instant>>,
    serving: &watch::Sender<bool>,
) -> Result<(), Box<dyn Error>> {
    match line.split(' ').collect::<Vec<_>>()[..] {
        ["lead", millis] => {
            lease.send_replace(Some(
                Instant::now() + Duration::from_millis(millis.parse()?),
            ));
        }
        ["follow"] => drop(lease.send_replace(None)),
        ["serve"] => drop(serving.send_replace(true)),
        ["fail"] => drop(serving.send_replace(false)),
        _ => return Err(format!("not understood: {line:?}").into()),
    }
    Ok(())
}

fn print(statuses: &[AddressStatus]) {
    for status in statuses {
        say!("{} {}", status.address, status.standing);
    }
}
