//! The secrets of TLS session tickets and of sticky cookies: the leader rotates them, and every node opens them.
//!
//! A secret is random, sealed, and replicated like any other part of the desired state, so all nodes have the same. An epoch is
//! measured by the leader from when it applied the rotation. A leader that was started in between measures from its start, so an
//! epoch may last longer, and never shorter.

use std::{future, sync::Arc, time::Duration};

use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::{
    cluster::{Handle, ProposeError},
    liveness::Tick,
    model::{
        Command, DesiredState, EpochSecret, SecretEpoch, SecretEpochs, SecretSeries, Stickiness,
    },
    secrets::{Secrets, SecretsError},
    tls::TicketSecrets,
    warnings::Repeats,
};

/// How long an epoch of a series lasts. Of cookies: as long as the longest cookie, because two secrets are kept.
fn epoch_length(series: SecretSeries) -> Duration {
    match series {
        SecretSeries::Tickets => Duration::from_hours(12),
        SecretSeries::Stickiness => Stickiness::LONGEST,
    }
}

/// How long the leader waits for the key of a secret that it cannot open. Then it begins the next epoch: the secret may come from
/// a backup of a cluster whose keys are lost.
const PATIENCE: Duration = Duration::from_mins(1);
/// The pause after a rotation that failed.
const RETRY: Duration = Duration::from_secs(30);
/// The same failure is logged once in this time.
const REPEAT: Duration = Duration::from_hours(1);
/// How many different failures are logged in that time.
const FAILURES: usize = 16;

/// How long one rotation may take: a key that is shared, and a proposal.
pub const LONGEST_STEP: Duration = Duration::from_secs(20);

/// Why the next epoch does not begin.
#[derive(Debug, thiserror::Error)]
enum RotationError {
    #[error("the operating system gives no random numbers")]
    NoRandomness,
    #[error("the secret cannot be sealed: {0}")]
    Seal(#[from] SecretsError),
    #[error("the secret cannot be replicated: {0}")]
    Propose(#[from] ProposeError),
}

/// Gives the secrets of the desired state to `tickets`, from which the listeners make and accept tickets, whenever they change or a
/// key has come. While none can be opened, `tickets` keeps what it has. Runs until it is dropped.
pub async fn follow(cluster: Handle, tickets: TicketSecrets) {
    let secrets = cluster.secrets();
    let (mut states, mut arrivals) = (cluster.watch(), secrets.arrivals());
    let mut epochs = Arc::<SecretEpochs>::default();
    let mut has_key_come = false;
    loop {
        let newest = Arc::clone(&states.borrow_and_update().ticket_epochs);
        if has_key_come || !Arc::ptr_eq(&newest, &epochs) {
            epochs = newest;
            let opened = opened(SecretSeries::Tickets, &epochs, &secrets);
            if !opened.is_empty() {
                tickets.set(opened);
            }
        }
        tokio::select! {
            changed = states.changed() => match changed {
                Ok(()) => has_key_come = false,
                // The node stops.
                Err(_) => return future::pending().await,
            },
            _ = arrivals.changed() => has_key_come = true,
        }
    }
}

/// The secrets of a series that this node can open, the newest first. The key of one that it cannot open is asked for.
pub fn opened(series: SecretSeries, epochs: &SecretEpochs, secrets: &Secrets) -> Vec<EpochSecret> {
    let opened = epochs.iter().filter_map(|epoch| {
        let secret = open(series, epoch, secrets).ok()?;
        Some(EpochSecret {
            // At two epochs a day, it does not end.
            number: u32::try_from(epoch.number).ok()?,
            bytes: secret.as_slice().try_into().ok()?,
        })
    });
    opened.collect()
}

fn open(
    series: SecretSeries,
    epoch: &SecretEpoch,
    secrets: &Secrets,
) -> Result<Zeroizing<Vec<u8>>, SecretsError> {
    secrets.open(&series.purpose(epoch.number), &epoch.secret)
}

/// Rotates the secrets of a series while this node leads and `wants` says that there is a use for them. Runs until it is dropped.
pub async fn rotate(
    cluster: Handle,
    series: SecretSeries,
    wants: impl Fn(&DesiredState) -> bool,
    tick: Tick,
) {
    let secrets = cluster.secrets();
    let mut epoch = SeenEpoch::begun(series, 0, Instant::now());
    let mut failures = Repeats::new(REPEAT, FAILURES);
    let mut not_before = Instant::now();
    loop {
        tick.tick();
        let state = cluster.current();
        if wants(&state) {
            let now = Instant::now();
            epoch.look(series.of(&state), &secrets, now);
            if cluster.leads() && now >= not_before && epoch.is_over(now) {
                let rotated = next(&cluster, &secrets, series, epoch.number).await;
                if let Err(error) = rotated {
                    not_before = Instant::now() + RETRY;
                    tell(series, &error, &mut failures);
                }
            }
        }
        Tick::due().await;
    }
}

async fn next(
    cluster: &Handle,
    secrets: &Secrets,
    series: SecretSeries,
    after: u64,
) -> Result<(), RotationError> {
    let mut secret = Zeroizing::new([0; SecretEpoch::SECRET]);
    let filled = SystemRandom::new().fill(&mut *secret);
    filled.map_err(|_| RotationError::NoRandomness)?;
    let epoch = after.saturating_add(1);
    let purpose = series.purpose(epoch);
    let secret = secrets.seal(&purpose, &*secret).await?;
    let command = match series {
        SecretSeries::Tickets => Command::RotateTickets { after, secret },
        SecretSeries::Stickiness => Command::RotateStickiness { after, secret },
    };
    cluster.propose(command).await?;
    tracing::info!(epoch, "the secret of {} was rotated", what(series));
    Ok(())
}

/// What the secrets of a series are for, in words.
fn what(series: SecretSeries) -> &'static str {
    match series {
        SecretSeries::Tickets => "session tickets",
        SecretSeries::Stickiness => "sticky cookies",
    }
}

fn tell(series: SecretSeries, error: &RotationError, failures: &mut Repeats<String>) {
    let why = error.to_string();
    if let Some(left_out) = failures.occurred(&why, Instant::now().into_std()) {
        tracing::warn!(
            why,
            left_out,
            "the secret of {} is not rotated; trying again",
            what(series)
        );
    }
}

/// The newest epoch as this node has seen it.
#[derive(Debug)]
struct SeenEpoch {
    series: SecretSeries,
    /// 0: there is none.
    number: u64,
    /// When this node applied it, or when it was started after that.
    since: Instant,
    /// Since when this node cannot open its secret; `None`: it can.
    closed_since: Option<Instant>,
}

impl SeenEpoch {
    fn begun(series: SecretSeries, number: u64, now: Instant) -> Self {
        Self {
            series,
            number,
            since: now,
            closed_since: None,
        }
    }

    fn look(&mut self, epochs: &SecretEpochs, secrets: &Secrets, now: Instant) {
        if epochs.last() != self.number {
            *self = Self::begun(self.series, epochs.last(), now);
        }
        let is_closed = |newest| open(self.series, newest, secrets).is_err();
        self.closed_since = epochs
            .newest()
            .is_some_and(is_closed)
            .then(|| self.closed_since.unwrap_or(now));
    }

    fn is_over(&self, now: Instant) -> bool {
        let is_lost = |since| now.duration_since(since) >= PATIENCE;
        self.number == 0
            || now.duration_since(self.since) >= epoch_length(self.series)
            || self.closed_since.is_some_and(is_lost)
    }
}

#[cfg(test)]
mod tests;
