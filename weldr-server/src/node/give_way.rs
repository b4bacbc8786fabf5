//! What a node does when it is not ready: it tells the other nodes, and gives the leadership away, and with that the virtual
//! addresses, to one that is ready.

use std::time::{Duration, UNIX_EPOCH};

use tokio::{sync::watch, time};
use weldr_proto::raft;

use crate::{
    clock::dates,
    cluster::{ChangeError, Handle},
    readiness::{Code, Readiness, Reason, Status},
};

/// Between two attempts to give the leadership away; and for how long a node is not ready before the first.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two times that a node gives the leadership away and gets it back: where all nodes run out of something by turns,
/// each move would cut connections and help nobody.
const SPACING: Duration = Duration::from_mins(1);

/// Does so until the node stops, or until nobody tells its readiness any more.
pub(super) async fn follow(
    readiness: watch::Receiver<Readiness>,
    serving: watch::Sender<bool>,
    cluster: Handle,
) {
    let tell = tell(readiness.clone(), serving, cluster.clone());
    let give_way = give_way(readiness, || cluster.leads(), || cluster.step_down());
    tokio::join!(tell, give_way);
}

/// Tells the other nodes. A node without a data path holds no address and never leads again, whoever else can. One of the
/// lesser of two clusters holds no address for as long as the other cluster is there.
async fn tell(
    mut readiness: watch::Receiver<Readiness>,
    serving: watch::Sender<bool>,
    cluster: Handle,
) {
    loop {
        let now = readiness.borrow_and_update().clone();
        cluster.report_readiness(report(&now));
        if now.status == Status::Stopping {
            return;
        }
        if !now.data_path && *serving.borrow() {
            cluster.leave();
        }
        let serves = now.may_hold_addresses();
        serving.send_if_modified(|before| std::mem::replace(before, serves) != serves);
        if readiness.changed().await.is_err() {
            return;
        }
    }
}

/// Gives the leadership away while this node has it and is not ready.
async fn give_way<S>(
    mut readiness: watch::Receiver<Readiness>,
    leads: impl Fn() -> bool,
    mut step_down: impl FnMut() -> S,
) where
    S: Future<Output = Result<(), ChangeError>>,
{
    let mut stays_because = None;
    loop {
        let unready = readiness.wait_for(|now| !now.is_ready());
        let Ok((status, serves)) = unready.await.map(|now| (now.status, serves(&now))) else {
            return;
        };
        if status == Status::Stopping {
            return;
        }
        if serves {
            time::sleep(PAUSE).await;
            let status = readiness.borrow().status;
            if matches!(status, Status::Ready | Status::Stopping) {
                stays_because = None;
                continue;
            }
        }
        let led = leads();
        let refused = step_down().await.err().map(|error| error.to_string());
        if let Some(why) = refused.as_ref().filter(|_| refused != stays_because) {
            tracing::warn!(
                why,
                "this node is not ready, and the leadership is not handed over; trying again"
            );
        }
        // A hand-over that was refused has ended the lease too, for a moment.
        let gave_way = led && refused.is_none() && !leads();
        stays_because = refused;
        if gave_way {
            tracing::warn!("the leadership is handed over, because this node is not ready");
        }
        time::sleep(if gave_way && serves { SPACING } else { PAUSE }).await;
    }
}

/// Whether clients may still be served: a node that none reaches does not wait.
fn serves(readiness: &Readiness) -> bool {
    let reasons = &readiness.reasons;
    readiness.data_path && !reasons.iter().any(|reason| reason.code == Code::NoLink)
}

fn report(readiness: &Readiness) -> raft::v1::Readiness {
    let reason = |reason: &Reason| {
        let since = dates::shown(reason.since);
        let since = since.duration_since(UNIX_EPOCH).unwrap_or_default();
        raft::v1::UnreadyReason {
            code: reason.code.as_str().to_owned(),
            description: reason.description.clone(),
            since: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        }
    };
    raft::v1::Readiness {
        status: readiness.status.as_str().to_owned(),
        reasons: readiness.reasons.iter().map(reason).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use tokio::time::Instant;

    use super::*;

    const LIMIT: Duration = Duration::from_hours(1);

    /// When, in seconds, a node steps down that leads again after `leads_again`, until `enough` times.
    async fn steps(
        readiness: &watch::Sender<Readiness>,
        outcomes: &[Result<(), ()>],
        alone: bool,
    ) -> Vec<u64> {
        let begun = Instant::now();
        let (times, leading) = (RefCell::new(Vec::new()), Cell::new(true));
        let (done, mut is_done) = watch::channel(false);
        let step_down = || {
            let mut times = times.borrow_mut();
            let outcome = outcomes[times.len()];
            times.push(begun.elapsed().as_secs());
            done.send_replace(times.len() == outcomes.len());
            leading.set(outcome.is_err() || alone);
            std::future::ready(outcome.map_err(|()| ChangeError::Refused("b is dead".to_owned())))
        };
        // It gets the leadership back before the next look.
        let leads = || leading.replace(true);
        let give_way = give_way(readiness.subscribe(), leads, step_down);
        tokio::select! {
            () = give_way => unreachable!("it does not end"),
            done = time::timeout(LIMIT, is_done.wait_for(|done| *done)) => drop(done.unwrap().unwrap()),
        }
        times.into_inner()
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_is_not_ready_steps_down_again_and_again_and_not_too_often() {
        let readiness = watch::Sender::new(Readiness::of(Status::Unready));
        let outcomes = [Err(()), Err(()), Ok(()), Err(())];
        // A second before each; after one that has worked, a minute.
        assert_eq!(steps(&readiness, &outcomes, false).await, [1, 3, 5, 66]);
        let outcomes = [Ok(()), Ok(())];
        assert_eq!(steps(&readiness, &outcomes, true).await, [1, 3], "alone");
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_without_a_data_path_does_not_wait() {
        let readiness = watch::Sender::new(Readiness {
            data_path: false,
            ..Readiness::of(Status::Unready)
        });
        let outcomes = [Err(()), Ok(()), Err(())];
        assert_eq!(steps(&readiness, &outcomes, false).await, [0, 1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_is_ready_again_within_a_moment_stays() {
        let readiness = watch::Sender::new(Readiness::of(Status::Unready));
        let give_way = give_way(
            readiness.subscribe(),
            || true,
            || -> std::future::Ready<Result<(), ChangeError>> { unreachable!("it is ready again") },
        );
        let recover = async {
            time::sleep(PAUSE / 2).await;
            readiness.send_replace(Readiness::of(Status::Ready));
            time::sleep(PAUSE * 5).await;
            readiness.send_replace(Readiness::of(Status::Stopping));
        };
        tokio::join!(give_way, recover);
    }
}
