//! The binary `weldr`.

use std::{env, error::Error, ffi::OsString, io, process::ExitCode, time::Duration};

use clap::ValueEnum as _;
use tokio::runtime::{Builder, Runtime};
use weldr::{
    args::{Args, LogFormat, Options, Subcommands},
    config::Config,
    demo,
    node::Node,
    shutdown::{self, Signals},
    telemetry, vip,
};
use weldr_allocator::{Allocator, give_back_after};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// How soon memory that a burst of clients took is given back. Pages that come and go more often than that are few: a
/// worker reuses what it has.
const GIVE_BACK: Duration = Duration::from_millis(10);

/// Threads of the control plane: one is enough, the second keeps it alert while the first is at work.
const CONTROL_THREADS: usize = 2;

/// What was asked for cannot be: the code that clap ends with too.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    give_back_after(GIVE_BACK);
    let args = Args::parse_process(&Options::from(&Config::default()));
    if let Some(Subcommands::VipGuard) = args.command {
        return guard(args.options.log_format.unwrap_or_default());
    }
    let mut config = match Config::load(args.options, args.config.as_deref()) {
        Ok(config) => config,
        Err(error) => return fail(&error, USAGE),
    };
    if let Some(Subcommands::CheckConfig) = args.command {
        return print_effective(&config);
    }
    if let Some(addresses) = &mut config.vip {
        match guard_command(config.log_format) {
            Ok(command) => addresses.guard = Some(command),
            Err(error) => return fail(&error, 1),
        }
    }
    if let Err(error) = telemetry::init(config.log_format == LogFormat::Json) {
        return fail(&error, USAGE);
    }
    shutdown::raise_descriptor_limit();
    let runtime = Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("weldr-control")
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => run(&runtime, config),
        Err(error) => fail(&error, 1),
    }
}

/// This very program, as the guard of its own addresses.
fn guard_command(log_format: LogFormat) -> io::Result<Vec<OsString>> {
    let name = log_format
        .to_possible_value()
        .map(|value| value.get_name().to_owned());
    let program = env::current_exe()?.into_os_string();
    let format = name.unwrap_or_default();
    Ok(vec![
        program,
        "vip-guard".into(),
        "--log-format".into(),
        format.into(),
    ])
}

fn guard(log_format: LogFormat) -> ExitCode {
    if let Err(error) = telemetry::init(log_format == LogFormat::Json) {
        return fail(&error, USAGE);
    }
    let guarded = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Box::new(error) as Box<dyn Error>)
        .and_then(|runtime| Ok(runtime.block_on(vip::guard())?));
    match guarded {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error.as_ref(), 1),
    }
}

fn run(runtime: &Runtime, config: Config) -> ExitCode {
    let ran = runtime.block_on(async {
        let mut signals = Signals::install()?;
        let is_demo = config.demo;
        let node = Node::start(config).await?;
        let _demo = if is_demo {
            Some(demo::run(&node).await?)
        } else {
            None
        };
        let signal = signals.received().await;
        tracing::info!(
            signal,
            "stopping: running requests finish; a second signal ends at once"
        );
        let stopped = tokio::select! {
            () = node.shutdown() => ExitCode::SUCCESS,
            signal = signals.received() => {
                tracing::warn!(signal, "ending at once");
                // Threads that finish requests are not waited for.
                std::process::exit(1);
            }
        };
        tracing::info!("stopped");
        Ok::<_, Box<dyn Error + Send + Sync>>(stopped)
    });
    ran.unwrap_or_else(|error| fail(error.as_ref(), 1))
}

fn print_effective(config: &Config) -> ExitCode {
    match toml::to_string(&Options::from(config)) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error, 1),
    }
}

/// One sentence on standard error: the error, and what lies beneath it.
fn fail(error: &(dyn Error + 'static), code: u8) -> ExitCode {
    let mut sentence = format!("weldr: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        sentence.push_str(": ");
        let lines = cause.to_string();
        sentence.push_str(&lines.lines().collect::<Vec<_>>().join(" "));
        source = cause.source();
    }
    eprintln!("{sentence}");
    ExitCode::from(code)
}
