//! One module per command or group of commands: it makes calls of the API from arguments, and prints the results.

use crate::{
    args::{Cli, Command, GlobalOptions},
    client::Client,
    error::{CtlError, Exit},
    output::{Output, json},
    target::Target,
};

mod acme;
mod add;
mod admin;
mod all_nodes;
mod batch;
mod certificate;
mod check;
mod cluster;
mod completions;
mod configuration;
mod context;
mod get;
mod history;
mod invites;
mod list;
mod listener;
mod pool;
mod remove;
mod route;
mod rule;
mod set;
mod stats;
mod token;
mod wait;
mod watch;
mod watch_objects;

/// What every command uses.
#[derive(Debug)]
struct Session {
    client: Client,
    pool: String,
    /// The pools that were given, which may be several where a command accepts that.
    given_pools: Vec<String>,
    /// Whether the node may serve reads alone, without asking the leader.
    stale: bool,
    output: Output,
}

impl Session {
    async fn open(global: GlobalOptions) -> Result<Self, CtlError> {
        let target = Target::of(&global)?;
        Ok(Self {
            client: Client::connect(target, global.timeout).await?,
            given_pools: global
                .pool
                .iter()
                .flat_map(|pools| pools.split(','))
                .map(str::to_owned)
                .collect(),
            pool: global.pool.unwrap_or_else(|| "default".to_owned()),
            stale: global.stale,
            output: Output::new(global.output),
        })
    }
}

/// Runs one command. The command line is checked before a connection is made.
pub(crate) async fn run(cli: Cli) -> Result<Exit, CtlError> {
    let command = match cli.command {
        Command::Completions(args) => {
            return completions::run(&args, &Output::new(cli.global.output));
        }
        Command::Context(command) => {
            return context::run(command, &cli.global, &Output::new(cli.global.output));
        }
        command => command,
    };
    validate(&command)?;
    let session = Session::open(cli.global).await?;
    match command {
        Command::Add(args) => add::run(&session, args).await,
        Command::Remove(args) => remove::run(&session, args).await,
        Command::Drain(args) => admin::run(&session, args, admin::DRAIN).await,
        Command::Ready(args) => admin::run(&session, args, admin::READY).await,
        Command::Maintenance(args) => admin::run(&session, args, admin::MAINTENANCE).await,
        Command::Set(args) => set::run(&session, args).await,
        Command::List(args) if args.all_nodes => all_nodes::run(&session).await,
        Command::List(_) => list::run(&session).await,
        Command::Get(args) => get::run(&session, args).await,
        // Its options make the largest future.
        Command::Pool(command) => Box::pin(pool::run(&session, command)).await,
        Command::Listener(command) => Box::pin(listener::run(&session, command)).await,
        Command::Rule(command) => rule::run(&session, command).await,
        Command::Certificate(command) => certificate::run(&session, command).await,
        Command::Acme(command) => acme::run(&session, command).await,
        Command::Tls(command) => certificate::tls(&session, command).await,
        Command::Route(command) => route::run(&session, command).await,
        Command::Export => configuration::export(&session).await,
        Command::Diff(args) => configuration::diff(&session, args).await,
        Command::Apply(args) => configuration::apply(&session, args).await,
        Command::History(args) => history::show(&session, &args).await,
        Command::Rollback(args) => history::roll_back(&session, &args).await,
        Command::Cluster(command) => cluster::run(&session, command).await,
        Command::Stats(args) => stats::run(&session, args).await,
        Command::Watch(args) if args.all => watch_objects::run(&session, args).await,
        Command::Watch(_) => watch::run(&session).await,
        Command::Token(command) => token::run(&session, command).await,
        Command::Whoami => token::who_am_i(&session).await,
        Command::Completions(_) | Command::Context(_) => Ok(Exit::Done),
    }
}

/// Says that an object was removed.
fn removed(session: &Session, object: &str, revision: u64) -> Result<Exit, CtlError> {
    let output = &session.output;
    if output.is_json() {
        output.document(&json::Made { revision })?;
    } else {
        output.text(&format!("{object} removed, revision {revision}\n"))?;
    }
    Ok(Exit::Done)
}

fn validate(command: &Command) -> Result<(), CtlError> {
    match command {
        Command::Add(args) => add::validate(args),
        Command::Set(args) => set::validate(args),
        Command::Pool(command) => pool::validate(command),
        Command::Listener(command) => listener::validate(command),
        Command::Rule(command) => rule::validate(command),
        Command::Certificate(_)
        | Command::Acme(_)
        | Command::Tls(_)
        | Command::Route(_)
        | Command::Export
        | Command::Diff(_)
        | Command::Apply(_)
        | Command::Remove(_)
        | Command::Drain(_)
        | Command::Ready(_)
        | Command::Maintenance(_)
        | Command::List(_)
        | Command::History(_)
        | Command::Rollback(_)
        | Command::Get(_)
        | Command::Cluster(_)
        | Command::Stats(_)
        | Command::Watch(_)
        | Command::Token(_)
        | Command::Whoami
        | Command::Context(_)
        | Command::Completions(_) => Ok(()),
    }
}
