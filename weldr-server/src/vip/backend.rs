//! The ways to move an address.

use std::time::Duration;

use super::error::BackendError;

/// What putting an address in place found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// It was not there.
    Missing,
    /// It was there.
    Present,
}

/// A way to move one address. Each call may be repeated, and may be dropped halfway: what it was about to
/// do may then be done or not.
pub(super) trait AddressBackend {
    /// Puts the address in place, or lets it live longer where it is. It may vanish by itself after
    /// `lifetime`, counted from now.
    async fn hold(&mut self, lifetime: Duration) -> Result<Found, BackendError>;

    /// Tells the neighbours where the address is.
    async fn announce(&mut self) -> Result<(), BackendError>;

    /// Takes the address away, if it is there.
    async fn release(&mut self) -> Result<(), BackendError>;
}
