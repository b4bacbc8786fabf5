//! The secrets of sticky cookies in the desired state, opened, as keys for the data path.

use std::sync::Arc;

use crate::{
    epochs,
    model::{DesiredState, SecretEpochs, SecretSeries},
    secrets::Secrets,
    stickiness::SessionKeys,
};

/// The keys that the secrets of the followed state make.
#[derive(Debug)]
pub(super) struct SessionSecrets {
    secrets: Secrets,
    followed: Arc<SecretEpochs>,
    /// While a secret cannot be opened: the key of none, or only that of another epoch.
    keys: Arc<SessionKeys>,
}

impl SessionSecrets {
    pub(super) fn new(secrets: Secrets) -> Self {
        Self {
            secrets,
            followed: Arc::default(),
            keys: Arc::default(),
        }
    }

    /// Opens the secrets of `state`, unless that was done.
    pub(super) fn follow(&mut self, state: &DesiredState) {
        let series = SecretSeries::Stickiness;
        let epochs = series.of(state);
        if Arc::ptr_eq(epochs, &self.followed) {
            return;
        }
        self.followed = Arc::clone(epochs);
        let opened = epochs::opened(series, epochs, &self.secrets);
        self.keys = Arc::new(SessionKeys::new(opened));
    }

    /// Opens the secrets of the next state again, because sealing keys have come.
    pub(super) fn retry(&mut self) {
        self.followed = Arc::default();
    }

    pub(super) fn keys(&self) -> Arc<SessionKeys> {
        Arc::clone(&self.keys)
    }
}
