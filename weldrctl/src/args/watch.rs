//! The command that watches.

use clap::{Args, ValueEnum};
use weldr_proto::v1::ObjectKind;

const ALL: &str = "\
Print all objects and their changes, not only the servers of one pool

First all objects are printed, then each change of what operators have set: of pools, servers, certificates, listeners, rules \
and, for administrators, principals. Health is not among them: see watch without --all. A line begins with the revision, with \
which --after goes on from there, at any node.";

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Print all objects and their changes, not only the servers of one pool
    #[arg(long, long_help = ALL)]
    pub(crate) all: bool,
    /// Print what has changed after this revision, not all objects
    #[arg(long, value_name = "REVISION", requires = "all", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) after: Option<u64>,
    /// Only these: pool, server, certificate, listener, rule, principal
    #[arg(
        long,
        value_name = "KIND",
        value_enum,
        value_delimiter = ',',
        hide_possible_values = true,
        requires = "all"
    )]
    pub(crate) kind: Vec<KindChoice>,
}

/// A kind of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KindChoice {
    Pool,
    Server,
    Certificate,
    Listener,
    Rule,
    Principal,
}

impl From<KindChoice> for ObjectKind {
    fn from(choice: KindChoice) -> Self {
        match choice {
            KindChoice::Pool => Self::Pool,
            KindChoice::Server => Self::Server,
            KindChoice::Certificate => Self::Certificate,
            KindChoice::Listener => Self::Listener,
            KindChoice::Rule => Self::Rule,
            KindChoice::Principal => Self::Principal,
        }
    }
}
