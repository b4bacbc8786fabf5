//! The secrets of TLS session tickets: the leader rotates them, and every node opens them.
//!
//! A secret is random, sealed, and replicated like any other part of the desired state, so all nodes have the same. An epoch lasts
//! 12 hours, measured by the leader from when it applied the rotation, and secrets of three epochs are kept. A leader that was
//! started in between measures from its start, so an epoch may last longer, and never shorter.

use std::{sync::Arc, time::Duration};

use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::{
    cluster::{Handle, ProposeError},
    liveness::Tick,
    model::{Command, DesiredState, TicketSecret, TicketSecrets},
    secrets::{Secrets, SecretsError},
    warnings::Repeats,
};

/// How long an epoch lasts.
const EPOCH: Duration = Duration::from_hours(12);
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

/// The secret of one epoch, for the keys of its tickets.
pub struct OpenTicketSecret {
    /// The number of the epoch.
    pub epoch: u64,
    /// The secret. It is overwritten when it is dropped.
    pub secret: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for OpenTicketSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenTicketSecret")
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

/// The secrets that this node can open, the newest first. For one whose key is missing, the key is asked for:
/// [`Secrets::arrivals`] tells when to open them again.
pub fn opened(tickets: &TicketSecrets, secrets: &Secrets) -> Vec<OpenTicketSecret> {
    let opened = tickets.iter().filter_map(|ticket| {
        let secret = open(ticket, secrets).ok()?;
        let epoch = ticket.epoch;
        Some(OpenTicketSecret { epoch, secret })
    });
    opened.collect()
}

fn open(ticket: &TicketSecret, secrets: &Secrets) -> Result<Zeroizing<Vec<u8>>, SecretsError> {
    secrets.open(&TicketSecret::purpose(ticket.epoch), &ticket.secret)
}

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

/// Rotates the secrets while this node leads and `wants` says that the state has a use for them. Runs until it is dropped.
pub async fn rotate(cluster: Handle, wants: impl Fn(&DesiredState) -> bool, tick: Tick) {
    let secrets = cluster.secrets();
    let mut epoch = Epoch::begun(0, Instant::now());
    let mut failures = Repeats::new(REPEAT, FAILURES);
    let mut not_before = Instant::now();
    loop {
        tick.tick();
        let state = cluster.current();
        if wants(&state) {
            let now = Instant::now();
            epoch.look(&state.ticket_secrets, &secrets, now);
            if cluster.leads() && now >= not_before && epoch.is_over(now) {
                let rotated = next(&cluster, &secrets, epoch.number).await;
                if let Err(error) = rotated {
                    not_before = Instant::now() + RETRY;
                    tell(&error, &mut failures);
                }
            }
        }
        Tick::due().await;
    }
}

async fn next(cluster: &Handle, secrets: &Secrets, after: u64) -> Result<(), RotationError> {
    let mut secret = Zeroizing::new([0; TicketSecret::LENGTH]);
    let filled = SystemRandom::new().fill(&mut *secret);
    filled.map_err(|_| RotationError::NoRandomness)?;
    let epoch = after.saturating_add(1);
    let purpose = TicketSecret::purpose(epoch);
    let secret = secrets.seal(&purpose, &*secret).await?;
    cluster
        .propose(Command::RotateTickets { after, secret })
        .await?;
    tracing::info!(epoch, "the secret of session tickets was rotated");
    Ok(())
}

fn tell(error: &RotationError, failures: &mut Repeats<String>) {
    let why = error.to_string();
    if let Some(left_out) = failures.occurred(&why, Instant::now().into_std()) {
        tracing::warn!(
            why,
            left_out,
            "the secret of session tickets is not rotated; trying again"
        );
    }
}

/// The newest epoch as this node has seen it.
#[derive(Debug)]
struct Epoch {
    /// 0: there is none.
    number: u64,
    /// When this node applied it, or when it was started after that.
    since: Instant,
    /// Since when this node cannot open its secret; `None`: it can.
    closed_since: Option<Instant>,
}

impl Epoch {
    fn begun(number: u64, now: Instant) -> Self {
        Self {
            number,
            since: now,
            closed_since: None,
        }
    }

    fn look(&mut self, tickets: &Arc<TicketSecrets>, secrets: &Secrets, now: Instant) {
        if tickets.epoch() != self.number {
            *self = Self::begun(tickets.epoch(), now);
        }
        let is_closed = |newest| open(newest, secrets).is_err();
        self.closed_since = tickets
            .newest()
            .is_some_and(is_closed)
            .then(|| self.closed_since.unwrap_or(now));
    }

    fn is_over(&self, now: Instant) -> bool {
        let is_lost = |since| now.duration_since(since) >= PATIENCE;
        self.number == 0
            || now.duration_since(self.since) >= EPOCH
            || self.closed_since.is_some_and(is_lost)
    }
}

#[cfg(test)]
mod tests;
