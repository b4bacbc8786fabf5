//! The commands about tokens.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::parse;

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Create a token and print it; it is shown only once
    ///
    /// The token is the only line on standard output, so that it can be written to a file: weldrctl token create ci --role
    /// operator > ci.token. An operator may change the servers of all pools, or only of those given with --pool, separated by commas.
    /// With --subject, no token is made: whoever has a client certificate with that subject has the role.
    Create(TokenCreateArgs),
    /// List all tokens and other principals, without secrets
    #[command(visible_alias = "ls")]
    List,
    /// Revoke a token; returns when all nodes that respond refuse it
    Revoke(TokenNameArgs),
}

#[derive(Debug, Args)]
pub(crate) struct TokenCreateArgs {
    /// Name, which the history shows
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    /// What its holder may do: metrics, viewer, operator or admin
    ///
    /// Each role may do all that the ones before it may. metrics: read statistics and health. viewer: read everything but tokens
    /// and backups. operator: also add, change, drain and remove servers. admin: everything.
    #[arg(long, value_name = "ROLE", value_enum, hide_possible_values = true)]
    pub(crate) role: RoleChoice,

    /// Time after which it expires, such as 12h or 90d [default: never]
    #[arg(long, value_name = "TIME", value_parser = parse::lifetime, conflicts_with = "subject")]
    pub(crate) expires: Option<Duration>,

    /// DNS name, URI or common name of a client certificate
    #[arg(long, value_name = "NAME")]
    pub(crate) subject: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct TokenNameArgs {
    /// Name, as shown by token list
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

/// What a principal may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleChoice {
    /// Read statistics and health
    Metrics,
    /// Read everything but tokens and backups
    Viewer,
    /// Also add, change, drain and remove servers
    Operator,
    /// Everything
    Admin,
}
