//! Runs a program of the operator's when this node begins or ceases to lead.

use std::{path::PathBuf, time::Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::vip::run_program;

/// Runs `program` with `leader` or `follower` each time that the role of this node changes, until the node stops. Changes
/// that come while it runs are summarised: it is told the newest role.
pub(super) async fn follow(
    program: PathBuf,
    mut leadership: watch::Receiver<Option<Instant>>,
    stop: CancellationToken,
) {
    let mut told = false;
    loop {
        let leads = leadership.borrow_and_update().is_some();
        if leads != told {
            told = leads;
            let role = if leads { "leader" } else { "follower" };
            if let Err(error) = run_program(&program, &[role]).await {
                tracing::warn!(
                    program = %program.display(),
                    role,
                    %error,
                    "the program for changes of the role has failed"
                );
            }
            continue;
        }
        match stop.run_until_cancelled(leadership.changed()).await {
            Some(Ok(())) => {}
            // It has ceased to lead before the control plane stops.
            Some(Err(_)) | None => return,
        }
    }
}
