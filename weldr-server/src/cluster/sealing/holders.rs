//! The other members, as `crate::secrets` sees them.

use std::sync::Weak;

use futures_util::future::BoxFuture;
use tokio::runtime;

use crate::{
    cluster::raft::core::Core,
    model::SealingKeyId,
    secrets::{KeyHolders, SecretsError},
};

/// The other members. Does not keep the node alive.
pub(in crate::cluster) struct Members {
    pub(in crate::cluster) core: Weak<Core>,
    /// The engine's runtime, on which nodes talk to each other.
    pub(in crate::cluster) runtime: runtime::Handle,
}

impl KeyHolders for Members {
    fn ask(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if let Some(core) = self.core.upgrade() {
                let asked = async move { core.ask_for_sealing_keys().await };
                // An error means that the runtime ends.
                let _ = self.runtime.spawn(asked).await;
            }
        })
    }

    fn share(&self, key: SealingKeyId) -> BoxFuture<'_, Result<(), SecretsError>> {
        Box::pin(async move {
            let core = self.core.upgrade().ok_or(SecretsError::ShuttingDown)?;
            let shared = async move { core.share_sealing_key(key).await };
            let shared = self.runtime.spawn(shared).await;
            // An error means that the runtime ends.
            shared.unwrap_or(Err(SecretsError::ShuttingDown))
        })
    }
}
