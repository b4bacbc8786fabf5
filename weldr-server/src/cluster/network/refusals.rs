//! What is logged of callers that are refused.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tracing::warn;

/// A refusal with the same address and reason is not logged again within `QUIET`. At most `MOST_TOLD` refusals are
/// remembered, and others are not logged.
const QUIET: Duration = Duration::from_mins(1);
const MOST_TOLD: usize = 256;

/// When each refusal was last logged, by address and reason.
#[derive(Debug, Default)]
pub(in crate::cluster) struct Refusals(Mutex<HashMap<(Option<IpAddr>, &'static str), Instant>>);

impl Refusals {
    /// Logs a refusal, unless it was logged a moment ago. `sender` is what the caller says.
    pub(in crate::cluster) fn tell(
        &self,
        from: Option<IpAddr>,
        sender: Option<u64>,
        reason: &'static str,
    ) {
        if self.is_news(from, reason) {
            let from = from.map(tracing::field::display);
            let sender = sender.map(|sender| format!("{sender:x}"));
            warn!(from, sender, reason, "node refused");
        }
    }

    fn is_news(&self, from: Option<IpAddr>, reason: &'static str) -> bool {
        let now = Instant::now();
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, at| now.duration_since(*at) < QUIET);
        if told.len() >= MOST_TOLD || told.contains_key(&(from, reason)) {
            return false;
        }
        told.insert((from, reason), now);
        true
    }
}
