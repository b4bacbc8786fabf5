//! The interface to what puts an address on a machine.

use std::time::Duration;

use super::error::BackendError;

/// What [`AddressBackend::hold`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// The address was not there.
    Missing,
    /// The address was there.
    Present,
}

/// Puts one address on this machine and removes it. Each call may be repeated. A call that is dropped before it ends
/// may or may not have taken effect.
pub(super) trait AddressBackend {
    /// Adds the address, or extends its lifetime if it is there. It may disappear by itself after `lifetime`, counted
    /// from now.
    async fn hold(&mut self, lifetime: Duration) -> Result<Found, BackendError>;

    /// Announces the address to the neighbours.
    async fn announce(&mut self) -> Result<(), BackendError>;

    /// Removes the address, if it is there.
    async fn release(&mut self) -> Result<(), BackendError>;
}
