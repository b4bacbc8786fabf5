//! Changes of the secrets from which all nodes derive the same keys.

use std::sync::Arc;

use crate::model::{DesiredState, Outcome, Sealed, SecretEpochs, SecretSeries};

impl DesiredState {
    /// Begins the epoch after `after`. Two leaders may ask for it, one after the other: the second changes nothing.
    pub(super) fn rotate_secret(
        &mut self,
        series: SecretSeries,
        after: u64,
        secret: Sealed,
    ) -> Outcome {
        let epochs = self.epochs_mut(series);
        let mut next = SecretEpochs::clone(epochs);
        if !next.rotate(series, after, secret) {
            return Outcome::Unchanged;
        }
        *epochs = Arc::new(next);
        Outcome::Changed
    }

    /// Takes the secrets of a backup, if there are none: a restore must not bring back secrets that were rotated out.
    pub(super) fn bring_back_secrets(&mut self, series: SecretSeries, secrets: SecretEpochs) {
        let epochs = self.epochs_mut(series);
        if epochs.is_empty() && !secrets.is_empty() {
            *epochs = Arc::new(secrets);
            self.count(Outcome::Changed);
        }
    }

    fn epochs_mut(&mut self, series: SecretSeries) -> &mut Arc<SecretEpochs> {
        match series {
            SecretSeries::Tickets => &mut self.ticket_epochs,
            SecretSeries::Stickiness => &mut self.stickiness_epochs,
        }
    }
}
