//! What a few proposals, taken together, do to the state. Pure.

use std::{collections::BTreeSet, net::SocketAddr};

use crate::model::{Applied, Command, DesiredState, Outcome, PoolName, Rejection};

/// The state after some commands, and what became of each.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) after: DesiredState,
    /// In the order of the commands.
    pub(super) outcomes: Vec<Result<Applied, Rejection>>,
    pub(super) changes: Changes,
}

/// The rows that a batch has touched: their number grows with the commands, not with the pool.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) pools: BTreeSet<PoolName>,
    pub(super) servers: BTreeSet<(PoolName, SocketAddr)>,
}

impl Batch {
    /// Applies `commands` one after another to a copy of `before`.
    pub(super) fn apply(
        before: &DesiredState,
        commands: impl IntoIterator<Item = Command>,
    ) -> Self {
        let mut batch = Self {
            after: before.clone(),
            outcomes: Vec::new(),
            changes: Changes::default(),
        };
        for command in commands {
            let (pool, server) = touched(&command);
            let outcome = batch.after.apply(command);
            if matches!(&outcome, Ok(applied) if applied.outcome != Outcome::Unchanged) {
                let servers = &mut batch.changes.servers;
                servers.extend(server.map(|address| (pool.clone(), address)));
                batch.changes.pools.insert(pool);
            }
            batch.outcomes.push(outcome);
        }
        batch
    }
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.pools.is_empty() && self.servers.is_empty()
    }
}

/// What a command may change. A pool's own row always: it holds the revision of its servers.
fn touched(command: &Command) -> (PoolName, Option<SocketAddr>) {
    match command {
        Command::AddServer { pool, address, .. }
        | Command::UpdateServer { pool, address, .. }
        | Command::BeginRemoval { pool, address, .. }
        | Command::EndRemoval { pool, address, .. } => (pool.clone(), Some(*address)),
        Command::UpdatePool { pool, .. } => (pool.clone(), None),
    }
}
