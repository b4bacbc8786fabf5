//! The commands about the configuration as one file.

use std::path::PathBuf;

use clap::Args;

use super::Condition;

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// File, in YAML or JSON; - means standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Also what would be removed because the file does not name it
    #[arg(long)]
    pub(crate) prune: bool,
}

#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub(crate) struct ApplyArgs {
    /// File, in YAML or JSON; - means standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Say what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Also remove what the file does not name
    #[arg(long)]
    pub(crate) prune: bool,
    /// Also remove pools that rules name, and the last server of such a pool
    #[arg(long)]
    pub(crate) force: bool,
    /// Apply even if the state changes after the differences were computed
    #[arg(long, conflicts_with = "expected_revision")]
    pub(crate) any_revision: bool,
    #[command(flatten)]
    pub(crate) condition: Condition,
}
