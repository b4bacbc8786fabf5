//! Logs connections that could not be accepted or were refused.

use std::{
    cell::RefCell,
    error::Error,
    io,
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::{
    stats::{HandshakeFailure, ProxyProtocolRefusal},
    warnings::Repeats,
};

use super::failure_log::with_causes;

/// How often a worker logs the same warning.
const PERIOD: Duration = Duration::from_secs(10);
/// Maximum number of keys at a time.
const MAX_KEYS: usize = 64;

/// The key of equal warnings.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum AcceptWarning {
    /// An error of `accept`, by its code.
    Error(Option<i32>),
    /// Connections of a client that is at its connection limit.
    Refused(IpAddr),
    /// TLS handshakes that failed for the same reason.
    Handshake(HandshakeFailure),
    /// Connections that must begin with a header of the PROXY protocol, refused for the same reason.
    ProxyProtocol(ProxyProtocolRefusal),
}

/// Logs at `warn`, repeated warnings summarised.
#[derive(Debug)]
pub(super) struct AcceptLog(RefCell<Repeats<AcceptWarning>>);

impl Default for AcceptLog {
    fn default() -> Self {
        Self(RefCell::new(Repeats::new(PERIOD, MAX_KEYS)))
    }
}

impl AcceptLog {
    /// Logs an error of `accept`, unless the same was logged just now.
    pub(super) fn failed(&self, error: &io::Error) {
        if let Some(suppressed) = self.occurred(&AcceptWarning::Error(error.raw_os_error())) {
            let suppressed = (suppressed > 0).then_some(suppressed);
            tracing::warn!(%error, suppressed, "cannot accept client connections; trying again");
        }
    }

    /// Logs that a connection of `client` was refused, unless that was logged just now.
    pub(super) fn refused(&self, client: IpAddr) {
        if let Some(suppressed) = self.occurred(&AcceptWarning::Refused(client)) {
            let suppressed = (suppressed > 0).then_some(suppressed);
            tracing::warn!(
                %client,
                suppressed,
                "connection refused: the client has max_connections_per_client connections"
            );
        }
    }

    /// Logs that a TLS handshake failed, unless one failed for the same reason just now. Clients that go away are no news.
    pub(super) fn handshake_failed(&self, reason: HandshakeFailure, error: &dyn Error) {
        if reason == HandshakeFailure::Closed {
            tracing::debug!(error = %with_causes(error), "TLS handshake failed");
        } else if let Some(suppressed) = self.occurred(&AcceptWarning::Handshake(reason)) {
            let suppressed = (suppressed > 0).then_some(suppressed);
            let (reason, error) = (reason.name(), with_causes(error));
            tracing::warn!(reason, %error, suppressed, "TLS handshake failed");
        }
    }

    /// Logs that a connection of `peer` was refused because only proxies may connect, unless that was logged just now.
    pub(super) fn no_proxy(&self, peer: IpAddr) {
        let key = AcceptWarning::ProxyProtocol(ProxyProtocolRefusal::NotAllowed);
        if let Some(suppressed) = self.occurred(&key) {
            let suppressed = (suppressed > 0).then_some(suppressed);
            tracing::warn!(
                %peer,
                suppressed,
                "connection refused: the peer is in no network of proxy_protocol_from"
            );
        }
    }

    /// Logs that a connection of `proxy` was refused for its header of the PROXY protocol, unless one was for the same reason
    /// just now. Proxies that only see whether the port is open are no news.
    pub(super) fn proxy_header_refused(
        &self,
        reason: ProxyProtocolRefusal,
        proxy: IpAddr,
        error: &dyn Error,
    ) {
        if reason == ProxyProtocolRefusal::Closed {
            tracing::debug!(%proxy, error = %with_causes(error), "no header of the PROXY protocol came");
        } else if let Some(suppressed) = self.occurred(&AcceptWarning::ProxyProtocol(reason)) {
            let suppressed = (suppressed > 0).then_some(suppressed);
            let (reason, error) = (reason.name(), with_causes(error));
            tracing::warn!(reason, %proxy, %error, suppressed, "connection refused: it must begin with a header of the PROXY protocol");
        }
    }

    fn occurred(&self, key: &AcceptWarning) -> Option<u64> {
        self.0.borrow_mut().occurred(key, Instant::now())
    }

    /// Logs how many warnings were left out. Called about once a second.
    pub(super) fn summarise(&self) {
        let summaries = self.0.borrow_mut().summaries(Instant::now());
        for (key, suppressed) in summaries {
            match key {
                AcceptWarning::Error(code) => {
                    let error = code.map(io::Error::from_raw_os_error);
                    let error = error.map(tracing::field::display);
                    tracing::warn!(
                        error,
                        suppressed,
                        "client connections could not be accepted"
                    );
                }
                AcceptWarning::Refused(client) => {
                    tracing::warn!(%client, suppressed, "more connections refused");
                }
                AcceptWarning::Handshake(reason) => {
                    let reason = reason.name();
                    tracing::warn!(reason, suppressed, "more TLS handshakes failed");
                }
                AcceptWarning::ProxyProtocol(reason) => {
                    let reason = reason.name();
                    tracing::warn!(
                        reason,
                        suppressed,
                        "more connections refused that must begin with a header of the PROXY protocol"
                    );
                }
            }
        }
    }
}
