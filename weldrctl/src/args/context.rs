//! The commands about contexts.

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum ContextCommand {
    /// Add a context with the given --endpoint, --token-file, --ca, --client-cert and --client-key, or replace it
    ///
    /// The first context that is added becomes the current one. Only the paths of files are stored, not what is in them.
    Add(ContextAddArgs),
    /// List the contexts
    #[command(visible_alias = "ls")]
    List,
    /// Make a context the current one
    Use(ContextArgs),
    /// Remove a context; its files stay
    Remove(ContextArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ContextAddArgs {
    /// Name of the context
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct ContextArgs {
    /// Name of the context, as shown by context list
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}
