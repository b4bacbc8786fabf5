//! The metrics of this node.

use std::sync::Arc;

use crate::{
    management::error::Error,
    metrics::{self, Detail, Format, Sources},
};

use super::Operations;

impl Operations {
    /// All metrics of this node. With many servers it takes a while, so it is written where nothing else waits for it.
    pub(in crate::management) async fn metrics(
        self: Arc<Self>,
        detail: Detail,
        format: Format,
    ) -> Result<String, Error> {
        let written = tokio::task::spawn_blocking(move || {
            let context = &self.context;
            let sources = Sources {
                snapshots: &context.snapshots,
                clients: &context.clients,
                cluster: &context.cluster,
                started_at: context.started_at,
            };
            metrics::render(&sources, detail, format)
        });
        // It ends without a result only when the node stops.
        written.await.map_err(|_| Error::Stopping)
    }
}
