//! What is held by the leadership, and has to be let go of before that is handed over.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use weldr_proto::raft::v1;

/// Holds something while this node surely leads, and lets go of it when the lease ends.
///
/// A hand-over calls [`prepare`](Self::prepare) while the lease still holds, ends the lease, and waits for
/// [`released`](Self::released) before it asks another node to lead.
pub trait Tenant: fmt::Debug + Send + Sync {
    /// The lease ends soon: returns when it may. Bounded.
    fn prepare(&self) -> BoxFuture<'_, ()>;

    /// Returns when nothing is held any more. Bounded.
    ///
    /// # Errors
    /// Why it is still held, as a sentence: the leadership stays.
    fn released(&self) -> BoxFuture<'_, Result<(), String>>;

    /// How long `prepare` and `released` may take together.
    fn longest(&self) -> Duration;

    /// What it may hold, for those who look at the cluster.
    fn addresses(&self) -> Vec<v1::VirtualAddress>;

    /// All is released, or the hand-over has ended without. May come more than once, and at any time after `prepare` was
    /// called.
    fn resume(&self);
}

/// Ends a hand-over, also one that nobody waits for any more.
pub(super) struct Notice<'c> {
    core: &'c super::core::Core,
    tenant: Option<Arc<dyn Tenant>>,
}

impl<'c> Notice<'c> {
    /// Ends the lease when the tenant has had its time, and returns when it has let go.
    pub(super) async fn give(core: &'c super::core::Core) -> Result<Self, String> {
        let tenant = core.tenant();
        let notice = Self { core, tenant };
        if let Some(tenant) = &notice.tenant {
            tenant.prepare().await;
        }
        core.withhold_lease(true);
        if let Some(tenant) = &notice.tenant {
            tenant.released().await?;
            // What is gone need not be left any more; what comes now concerns other addresses.
            tenant.resume();
        }
        Ok(notice)
    }
}

impl Drop for Notice<'_> {
    fn drop(&mut self) {
        self.core.withhold_lease(false);
        if let Some(tenant) = &self.tenant {
            tenant.resume();
        }
    }
}
