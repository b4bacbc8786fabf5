//! The one way to read and to change the desired state.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time,
};

use crate::model::{Applied, Command, DesiredState, Rejection};

/// How long a proposal may take before its fate is called unknown.
const LONGEST_PROPOSAL: Duration = Duration::from_secs(10);

/// Proposes commands, and watches the state that they make. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    proposals: mpsc::Sender<Proposal>,
    state: watch::Receiver<Arc<DesiredState>>,
}

/// A command on its way, and where its answer goes.
#[derive(Debug)]
pub(super) struct Proposal {
    pub(super) command: Command,
    pub(super) answer: oneshot::Sender<Result<Applied, ProposeError>>,
}

/// Why a proposal did not go through.
#[derive(Debug, thiserror::Error)]
pub enum ProposeError {
    /// The command does not fit the state; nothing changed.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// It could not be written to disk; nothing changed.
    #[error("the change could not be written to disk")]
    NotDurable(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// No answer in time: it may or may not have been applied. Repeating it is safe.
    #[error("the change was not answered in time, so it is not known whether it was made")]
    Unknown,
    /// The node is shutting down; nothing changed.
    #[error("the node is shutting down")]
    ShuttingDown,
}

impl Handle {
    pub(super) fn new(
        proposals: mpsc::Sender<Proposal>,
        state: watch::Receiver<Arc<DesiredState>>,
    ) -> Self {
        Self { proposals, state }
    }

    /// Proposes `command` and waits until it is applied and on disk.
    pub async fn propose(&self, command: Command) -> Result<Applied, ProposeError> {
        let (answer, answered) = oneshot::channel();
        let propose = async {
            let proposal = Proposal { command, answer };
            self.proposals
                .send(proposal)
                .await
                .map_err(|_| ProposeError::ShuttingDown)?;
            // Dropped unanswered: the log stopped with the command in its hands.
            answered.await.map_err(|_| ProposeError::Unknown)?
        };
        time::timeout(LONGEST_PROPOSAL, propose)
            .await
            .unwrap_or(Err(ProposeError::Unknown))
    }

    /// The state, and each later one; states in quick succession wake the receiver once.
    pub fn watch(&self) -> watch::Receiver<Arc<DesiredState>> {
        self.state.clone()
    }

    /// The state as it is now.
    pub fn current(&self) -> Arc<DesiredState> {
        Arc::clone(&self.state.borrow())
    }
}
