//! The command line: commands and options, with their defaults and their help.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

mod acme;
mod certificate;
mod check;
mod cluster;
mod configuration;
mod context;
mod listener;
mod listener_tls;
mod parse;
mod pool;
mod rule;
mod server;
mod stats;
mod token;
mod watch;

pub(crate) use acme::{AcmeCommand, AcmeRemoveArgs, AcmeSetArgs};
pub(crate) use certificate::{
    CertificateAddArgs, CertificateCommand, CertificateContent, CertificateRemoveArgs,
    CertificateRenewArgs, CertificateSetArgs, TlsCommand,
};
pub(crate) use check::{CheckOptions, CheckType};
pub(crate) use cluster::{ClusterCommand, HistoryArgs, InviteArgs, RollbackArgs};
pub(crate) use configuration::{ApplyArgs, DiffArgs};
pub(crate) use context::ContextCommand;
pub(crate) use listener::{
    DesyncChoice, ForwardedChoice, ListenerAddArgs, ListenerCommand, ListenerPolicyArgs,
    ListenerRemoveArgs, ListenerSetArgs,
};
pub(crate) use listener_tls::{
    ClientAuthChoice, ListenerProtocolChoice, ListenerTlsArgs, TlsPolicyChoice,
};
pub(crate) use parse::DEFAULT_ENDPOINT;
pub(crate) use pool::{
    BalancingChoice, PoolAddArgs, PoolCommand, PoolPolicyArgs, PoolProtocolChoice, PoolRemoveArgs,
    PoolSetArgs, PoolSettingsArgs, PoolTlsArgs, ProtectionOptions, SendProxyChoice, StickinessArgs,
};
pub(crate) use rule::{
    ActionArgs, ConditionArgs, ExplainArgs, RouteCommand, RuleAddArgs, RuleCommand, RuleListArgs,
    RuleMoveArgs, RulePart, RulePlaceArgs, RuleSetArgs,
};
pub(crate) use server::{
    AddArgs, AdminArgs, AdminChoice, Condition, GetArgs, ListArgs, RemoveArgs, SetArgs,
};
pub(crate) use stats::{StatsArgs, StatsObject};
pub(crate) use token::{RoleChoice, TokenCommand, TokenCreateArgs};
pub(crate) use watch::WatchArgs;

const EXAMPLES: &str = "\
Examples:
  weldrctl add 10.0.0.7:8080 --check-path /health --wait   add a server, return when it is healthy
  weldrctl list                                            show servers, their states and statistics
  weldrctl remove 10.0.0.7:8080 --deadline 60s --wait      drain a server, return when it is removed";

const ENDPOINT: &str = "\
Management API, as URL, host:port or unix:PATH [default: http://127.0.0.1:8687]

Several are separated by commas, and the first that responds is used. They can also be given in the environment \
variable WELDR_ENDPOINT, or by a context. With unix:PATH, the Unix socket in the data directory of a node is used, where root \
and the user of the node are administrators.";

const CONTEXT: &str = "\
Context to use, as made by `weldrctl context add`

A context has the endpoints of a cluster and how to prove who calls. The current one is used if neither --endpoint nor \
WELDR_ENDPOINT is given. Options override environment variables, and these override the context.";

const TOKEN_FILE: &str = "\
File that contains the token

The token can also be given in the environment variable WELDR_TOKEN. It is no option, because other users of the machine can \
see the options of a process.";

const PLAINTEXT_TOKEN: &str = "\
Send the token without TLS, even to another machine

Whoever is on the way can read the token and use it.";

const OUTPUT: &str = "\
Output format

The JSON is stable: fields are added, never renamed or removed. Names are in snake_case, durations are numbers of \
seconds (*_seconds), times are RFC 3339, states and reasons are words (healthy, connection_refused), and null means \
that something is not set. list and get print {pool, revision, servers: [...]}, a change prints {results: [{address, \
outcome, revision, server, error}, ...]}, and watch and stats --watch print one object per line.";

/// Adds, changes, watches and removes the servers of a Weldr pool at run time.
#[derive(Debug, Parser)]
#[command(name = "weldrctl", version, after_help = EXAMPLES, max_term_width = 110)]
#[command(disable_help_subcommand = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalOptions,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every command takes, before or after its name.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalOptions {
    /// Management API, as URL, host:port or unix:PATH
    #[arg(
        long,
        global = true,
        env = "WELDR_ENDPOINT",
        hide_env = true,
        value_delimiter = ',',
        long_help = ENDPOINT
    )]
    #[arg(value_name = "URL", value_parser = parse::endpoint)]
    pub(crate) endpoint: Vec<String>,

    /// Context to use, as made by `weldrctl context add`
    #[arg(long, global = true, value_name = "NAME", env = "WELDR_CONTEXT", hide_env = true, long_help = CONTEXT)]
    pub(crate) context: Option<String>,

    /// File that contains the token
    #[arg(long, global = true, value_name = "FILE", long_help = TOKEN_FILE)]
    pub(crate) token_file: Option<PathBuf>,

    /// Authority of the node's certificate (PEM) [default: the system's]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "WELDR_CA",
        hide_env = true
    )]
    pub(crate) ca: Option<PathBuf>,

    /// Certificate to prove who calls (PEM)
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "WELDR_CLIENT_CERT",
        hide_env = true
    )]
    pub(crate) client_cert: Option<PathBuf>,

    /// Private key of the certificate (PEM)
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "WELDR_CLIENT_KEY",
        hide_env = true
    )]
    pub(crate) client_key: Option<PathBuf>,

    /// Send the token without TLS, even to another machine
    #[arg(long, global = true, long_help = PLAINTEXT_TOKEN)]
    pub(crate) plaintext_token: bool,

    /// Output format
    #[arg(short, long, global = true, value_name = "FORMAT", value_enum, default_value_t = Format::Table, long_help = OUTPUT)]
    pub(crate) output: Format,

    /// Time limit for connecting and for each call
    #[arg(long, global = true, value_name = "TIME", default_value = "5s", value_parser = parse::positive)]
    pub(crate) timeout: Duration,

    /// Read what the node has, without asking the leader for newer changes
    #[arg(long, global = true)]
    pub(crate) stale: bool,

    /// Pool to work on [default: default]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) pool: Option<String>,
}

/// The format of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Tables for people
    Table,
    /// JSON for programs
    Json,
    /// Tables with more columns
    Wide,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Add servers; they receive requests after their first passed health check
    Add(AddArgs),
    /// Remove servers: they get no new requests; running ones finish until the deadline
    Remove(RemoveArgs),
    /// Send no new requests to servers, but keep them in the pool and check their health
    Drain(AdminArgs),
    /// Send requests to servers again, while they are healthy
    Ready(AdminArgs),
    /// Send no new requests to servers and do not check their health
    Maintenance(AdminArgs),
    /// Change the weight or the health check of servers
    Set(SetArgs),
    /// List the servers of the pool
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Show all details of servers
    Get(GetArgs),
    /// Add, list, change and remove pools
    #[command(subcommand)]
    Pool(PoolCommand),
    /// Add, list, change and remove the addresses that clients connect to
    #[command(subcommand)]
    Listener(ListenerCommand),
    /// Add, list, change, move and remove rules: which requests go where
    #[command(subcommand)]
    Rule(RuleCommand),
    /// Add, list, replace and remove certificates
    #[command(subcommand)]
    Certificate(CertificateCommand),
    /// Set the account with which certificates are obtained by ACME
    #[command(subcommand)]
    Acme(AcmeCommand),
    /// Show what the TLS policies of listeners contain
    #[command(subcommand)]
    Tls(TlsCommand),
    /// Say what becomes of a request
    #[command(subcommand)]
    Route(RouteCommand),
    /// Print pools, listeners and rules as a file for apply, in YAML
    Export,
    /// Show what apply would change
    Diff(DiffArgs),
    /// Make pools, listeners and rules what a file says, all at once or not at all
    Apply(ApplyArgs),
    /// Show or change the nodes of the cluster
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Show the last changes: revision, time, what was changed, and by whom
    History(HistoryArgs),
    /// Restore the pools, servers, listeners and rules of an earlier revision, by a new change
    Rollback(RollbackArgs),
    /// Show, create or revoke tokens and other principals
    #[command(subcommand)]
    Token(TokenCommand),
    /// Show who you are to a node, and what you may do
    Whoami,
    /// Show or change the contexts: endpoints with tokens or certificates
    #[command(subcommand)]
    Context(ContextCommand),
    /// Show the statistics of one node
    Stats(StatsArgs),
    /// Print the servers, then each change when it happens, one per line
    Watch(WatchArgs),
    /// Print the completion script for a shell
    Completions(CompletionsArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Shell for which to print it
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::expect_used,
        reason = "a test may stop at what it did not expect"
    )]

    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn definition_holds() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_go_before_and_after_the_command() {
        for line in [
            ["weldrctl", "--pool", "blue", "list"],
            ["weldrctl", "list", "--pool", "blue"],
        ] {
            let cli = Cli::try_parse_from(line).expect("both orders parse");
            assert_eq!(cli.global.pool.as_deref(), Some("blue"));
        }
    }

    #[test]
    fn interval_is_the_check_of_add_and_the_sampling_of_stats() {
        let cli = Cli::try_parse_from(["weldrctl", "add", "127.0.0.1:1", "--interval", "3s"])
            .expect("an alias");
        let Command::Add(add) = cli.command else {
            panic!("add parses as {:?}", cli.command)
        };
        assert_eq!(add.check.check_interval, Some(Duration::from_secs(3)));
        let cli = Cli::try_parse_from(["weldrctl", "stats", "--watch", "--interval", "3s"])
            .expect("an option");
        let Command::Stats(stats) = cli.command else {
            panic!("stats parses as {:?}", cli.command)
        };
        assert_eq!(stats.interval, Duration::from_secs(3));
    }
}
