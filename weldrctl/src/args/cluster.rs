//! The commands about the cluster and about its history.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Show all nodes: role, last contact, log position and disk; and whether there is a quorum
    ///
    /// Exit code 0: there is a quorum, and every node responds and is ready. 1: there is no quorum. 4: there is one, but a node
    /// does not respond or is not ready, a virtual address fails, or there is a second cluster.
    Status,
    /// Look at all that an operator would look at, and say what is wrong and what to do
    ///
    /// Every node responds and is ready; there is one leader and a quorum, and one more node may be lost; versions, fail-over
    /// profiles and clocks agree; no node lacks changes; disks, backups and certificates are fine; each virtual address is held
    /// once, and its guard and link work; all nodes agree which servers are healthy.
    ///
    /// Exit code 0: all is well. 1: there is no quorum. 4: there is one, and something else is wrong.
    Check,
    /// Remove a node; it can only join again as a new one, without its data
    Remove(RemoveNodeArgs),
    /// Let one more node join: print the command that starts it
    ///
    /// The command has a token in it, which is valid once. The token is given to the node by a variable or a file, because every
    /// user of a machine can read the command lines of its processes.
    Invite(InviteArgs),
    /// List the last invites
    Invites,
    /// End an invite that was not used
    RevokeInvite(RevokeInviteArgs),
    /// Replace the key by which the other nodes know a node
    ///
    /// All nodes have to respond. Connections of clients are not touched.
    RotateKey(NodeArgs),
    /// Make a node the leader
    Transfer(NodeArgs),
    /// Write the servers and the settings of the pool to a file
    Backup(FileArgs),
    /// Replace the servers and settings of the pool by those in a backup, by a new change
    Restore(FileArgs),
}

#[derive(Debug, Args)]
pub(crate) struct InviteArgs {
    /// How long the invite is valid, from 1s to 30days
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = super::parse::duration)]
    pub(crate) expires: Duration,

    /// Print only the token
    #[arg(long)]
    pub(crate) token_only: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RevokeInviteArgs {
    /// Id of the invite, as shown by cluster invites
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

#[derive(Debug, Args)]
pub(crate) struct FileArgs {
    /// File, in JSON; - means standard output or input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Maximum number of changes to show, the newest first
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: u32,
}

#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// Revision to restore, as shown by history
    #[arg(long, value_name = "N")]
    pub(crate) to_revision: u64,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveNodeArgs {
    /// Name of the node, as shown by cluster status
    #[arg(value_name = "NODE")]
    pub(crate) name: String,

    /// Remove the node even if most of the nodes that remain do not respond
    ///
    /// The risk: there is no quorum then, and nothing can be changed until enough of them respond again. If their data is
    /// lost, the cluster has lost its majority for good. The safe order is to remove the nodes that are down first.
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// Name of the node, as shown by cluster status
    #[arg(value_name = "NODE")]
    pub(crate) name: String,
}
