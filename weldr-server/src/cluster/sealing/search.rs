//! The task that asks for keys which this node needs.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tracing::{info, warn};

use crate::{
    cluster::raft::core::Core,
    liveness::{TICK, Tick},
    model::SealingKeyId,
    secrets::SecretsError,
    warnings::Repeats,
};

/// A key that is not found is an error for an operator only when it was asked for so often: the others may be starting.
const EXPECTED_FAILURES: u32 = 4;
/// The same warning is logged once in this time.
const REPEAT: Duration = Duration::from_hours(1);
/// How many different warnings are logged in that time.
const WARNINGS: usize = 16;
/// How long one round may take: the disk, and then the slowest member.
pub(in crate::cluster) const LONGEST_ROUND: Duration = Duration::from_secs(15);

/// Asks for them until the node stops.
pub(in crate::cluster) async fn search(core: Arc<Core>, tick: Tick) {
    let mut missing = Repeats::new(REPEAT, WARNINGS);
    let mut unreadable = Repeats::new(REPEAT, WARNINGS);
    let work = async {
        loop {
            tick.tick();
            let due = core.secrets.due();
            if !due.is_empty() {
                look(&core, due, &mut missing, &mut unreadable).await;
            }
            core.secrets.search_begins(TICK).await;
        }
    };
    core.stop.run_until_cancelled(work).await;
}

/// Reads the file of the keys again. Logs what comes of it.
pub(in crate::cluster) async fn reload(core: &Core) {
    match core.secrets.keep(vec![]).await {
        Ok(new) => new
            .iter()
            .for_each(|key| info!(%key, "reloaded: a sealing key was added to the file")),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            warn!(
                error,
                "not reloaded: the sealing keys; those in effect stay so"
            );
        }
    }
}

async fn look(
    core: &Core,
    due: Vec<SealingKeyId>,
    missing: &mut Repeats<SealingKeyId>,
    unreadable: &mut Repeats<String>,
) {
    // An operator may have added the keys of a copy to the file.
    if let Err(error) = core.secrets.keep(vec![]).await {
        tell_unreadable(&error, unreadable);
    }
    core.ask_for_sealing_keys().await;
    for key in due.into_iter().filter(|key| !core.secrets.has(*key)) {
        if core.secrets.not_found(key) < EXPECTED_FAILURES {
            continue;
        }
        if let Some(left_out) = missing.occurred(&key, Instant::now()) {
            warn!(
                %key,
                left_out,
                "no node that responds has the key of a sealed secret, so what needs the secret does not work: set it again, or \
                 add the line of that key from a copy of sealing.keys to that file of a node"
            );
        }
    }
}

fn tell_unreadable(error: &SecretsError, unreadable: &mut Repeats<String>) {
    let why = std::error::Error::source(error).map(ToString::to_string);
    let why = why.map_or_else(|| error.to_string(), |why| format!("{error}: {why}"));
    if let Some(left_out) = unreadable.occurred(&why, Instant::now()) {
        warn!(
            why,
            left_out, "the file of the sealing keys is not used; trying again"
        );
    }
}
