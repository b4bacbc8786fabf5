//! The binary `weldr`.

use std::{
    env,
    error::Error,
    ffi::OsString,
    io::{self, Write as _},
    process::ExitCode,
    time::{Duration, SystemTime},
};

use clap::ValueEnum as _;
use tokio::runtime::{Builder, Runtime};
use weldr::{
    args::{Args, LogFormat, Options, Subcommands},
    clock::dates,
    cluster,
    config::Config,
    demo,
    node::Node,
    reload::{ConfigSource, Reloads},
    shutdown::{self, Order, Signals},
    telemetry, threads, vip,
};
use weldr_allocator::{Allocator, give_back_after};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// How soon memory that a burst of clients took is given back. Pages that come and go more often than that are few: a
/// worker reuses what it has.
const GIVE_BACK: Duration = Duration::from_millis(10);

/// Threads of the control plane: one is enough, the second keeps it alert while the first is at work.
const CONTROL_THREADS: usize = 2;

/// Threads beside the workers and those of the control plane: one each for the cluster, the database, the readiness, the
/// virtual addresses and the access log, two of the engine, and some that come and go.
const OTHER_THREADS: usize = 12;

/// How long tasks that still run when the node has stopped may take to end.
const LAST_TASKS: Duration = Duration::from_millis(500);

/// What was asked for cannot be: the code that clap ends with too.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    give_back_after(GIVE_BACK);
    let args = Args::parse_process(&Options::from(&Config::default()));
    if let Some(Subcommands::VipGuard) = args.command {
        return guard(args.options.log_format.unwrap_or_default());
    }
    let source = ConfigSource {
        options: args.options,
        file: args.config,
    };
    let loaded = Config::load(source.options.clone(), source.file.as_deref());
    let mut config = match loaded {
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
    if let Err(error) = start_log(config.log_format) {
        return fail(&error, USAGE);
    }
    if let Err(error) = threads::check(CONTROL_THREADS + OTHER_THREADS + config.workers) {
        return fail(&error, 1);
    }
    shutdown::raise_descriptor_limit();
    let runtime = Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("weldr-control")
        .enable_all()
        .build();
    let code = match runtime {
        Ok(runtime) => {
            let code = run(&runtime, &config, &source);
            // What still runs has nothing left to save.
            runtime.shutdown_timeout(LAST_TASKS);
            code
        }
        Err(error) => fail(&error, 1),
    };
    telemetry::flush();
    code
}

fn start_log(format: LogFormat) -> Result<(), telemetry::InitError> {
    telemetry::init(format == LogFormat::Json)?;
    telemetry::log_panics();
    Ok(())
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
    if let Err(error) = start_log(log_format) {
        return fail(&error, USAGE);
    }
    let guarded = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Box::new(error) as Box<dyn Error>)
        .and_then(|runtime| Ok(runtime.block_on(vip::guard(cluster::tell_of_death))?));
    match guarded {
        Ok(()) => {
            telemetry::flush();
            ExitCode::SUCCESS
        }
        Err(error) => fail(error.as_ref(), 1),
    }
}

fn run(runtime: &Runtime, config: &Config, source: &ConfigSource) -> ExitCode {
    let ran = runtime.block_on(async {
        let mut signals = Signals::install()?;
        if let Some(doubt) = dates::doubt(SystemTime::now()) {
            tracing::warn!("{doubt}");
        }
        let node = tokio::select! {
            node = Node::start(config.clone()) => node?,
            // What has begun by then is cut, and nothing that was acknowledged is lost.
            signal = signals.stop() => end_at_once(signal),
        };
        let _demo = if config.demo {
            Some(demo::run(&node).await?)
        } else {
            None
        };
        let signal = serve(&node, &mut signals, source, config).await;
        tracing::info!(
            signal,
            "stopping: running requests finish; a second signal ends at once"
        );
        tokio::select! {
            () = node.shutdown() => {}
            signal = signals.stop() => end_at_once(signal),
        }
        tracing::info!("stopped");
        Ok::<_, Box<dyn Error + Send + Sync>>(ExitCode::SUCCESS)
    });
    ran.unwrap_or_else(|error| fail(error.as_ref(), 1))
}

/// Serves until a signal asks to stop, and gives its name.
async fn serve(
    node: &Node,
    signals: &mut Signals,
    source: &ConfigSource,
    config: &Config,
) -> &'static str {
    let mut reloads = Reloads::new(source, config);
    loop {
        let order = tokio::select! {
            order = signals.received() => order,
            () = reloads.finished() => continue,
        };
        match order {
            Order::Stop(name) => return name,
            Order::Reload => {
                tracing::info!(
                    signal = "SIGHUP",
                    "reopening log files and reading files again"
                );
                node.reopen_logs();
                node.reload_certificates();
                node.reload_cluster_files();
                reloads.begin();
            }
            Order::ReopenLogs => {
                tracing::info!(signal = "SIGUSR1", "reopening log files");
                node.reopen_logs();
            }
        }
    }
}

/// Ends the process. Threads that finish requests are not waited for.
fn end_at_once(signal: &'static str) -> ! {
    tracing::warn!(signal, "ending at once");
    telemetry::flush();
    std::process::exit(1)
}

fn print_effective(config: &Config) -> ExitCode {
    match toml::to_string(&Options::from(config)) {
        Ok(text) => match print(&text) {
            Ok(()) => ExitCode::SUCCESS,
            // Whoever reads it has seen enough: `weldr check-config | head -1`.
            Err(PrintError(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                ExitCode::SUCCESS
            }
            Err(error) => fail(&error, 1),
        },
        Err(error) => fail(&error, 1),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the configuration cannot be printed")]
struct PrintError(#[source] io::Error);

fn print(text: &str) -> Result<(), PrintError> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes());
    written.and_then(|()| stdout.flush()).map_err(PrintError)
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
    sentence.push('\n');
    telemetry::print_error(&sentence);
    ExitCode::from(code)
}
