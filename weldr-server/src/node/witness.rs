//! What a witness does when it is elected: it gives the leadership to a node that serves.

use std::time::Duration;

use tokio::time;
use tokio_util::sync::CancellationToken;

use crate::cluster::Handle;

/// Between two attempts to give the leadership away. Nobody holds the virtual addresses meanwhile.
const PAUSE: Duration = Duration::from_millis(200);

/// Hands the leadership over whenever this node has it and another one that is ready can take it, until the node stops.
pub(super) async fn never_lead(cluster: Handle, stop: CancellationToken) {
    let mut leadership = cluster.leadership();
    let work = async {
        let mut stays_because = None;
        while leadership.wait_for(Option::is_some).await.is_ok() {
            let refused = cluster.step_down().await.err();
            let refused = refused.map(|error| error.to_string());
            if let Some(why) = refused.as_ref().filter(|_| refused != stays_because) {
                tracing::warn!(
                    why,
                    "this witness leads, and the leadership is not handed over; trying again"
                );
            }
            // A node without others stays the leader without a refusal.
            if refused.is_none() && !cluster.leads() {
                tracing::info!("the leadership is handed over, because this node is a witness");
            }
            stays_because = refused;
            time::sleep(PAUSE).await;
        }
    };
    stop.run_until_cancelled(work).await;
}
