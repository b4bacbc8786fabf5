//! Changes of the secrets for TLS session tickets.

use std::sync::Arc;

use crate::model::{DesiredState, Outcome, Sealed, TicketSecrets};

impl DesiredState {
    /// Begins the epoch after `after`. Two leaders may ask for it, one after the other: the second changes nothing.
    pub(super) fn rotate_tickets(&mut self, after: u64, secret: Sealed) -> Outcome {
        let mut next = TicketSecrets::clone(&self.ticket_secrets);
        if !next.rotate(after, secret) {
            return Outcome::Unchanged;
        }
        self.ticket_secrets = Arc::new(next);
        Outcome::Changed
    }

    /// Takes the secrets of a backup, if there are none: a restore must not bring back secrets that were rotated out.
    pub(super) fn bring_back_tickets(&mut self, secrets: TicketSecrets) {
        if self.ticket_secrets.is_empty() && !secrets.is_empty() {
            self.ticket_secrets = Arc::new(secrets);
            self.count(Outcome::Changed);
        }
    }
}
