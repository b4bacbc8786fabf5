//! TLS, apart from the sockets: handshakes by rustls, records by ourselves, and which certificate a client sees.
//!
//! Reading order: `provider` and `policy` say what is offered, `certificates` choose by name, `server` and `client`
//! are the configurations of a listener and of a pool, `challenges` are handshakes of ACME authorities, `handshake` drives one handshake, and `record` protects what
//! comes behind it.

mod certificates;
mod challenges;
mod client;
mod handshake;
mod hello;
mod key;
mod policy;
mod provider;
pub(crate) mod record;
mod server;
#[cfg(test)]
pub(crate) mod test_peer;
mod tickets;

pub use certificates::{CertificateTable, ServerCertificate};
pub use challenges::TlsChallenges;
pub use client::{ClientTls, ClientTlsError};
pub use key::{KeyError, certified_key, unverified_key};
pub use server::{ServerTls, ServerTlsError};
pub use tickets::TicketSecrets;

pub(crate) use client::ToServer;
pub(crate) use handshake::{Established, Handshake, HandshakeError, HandshakeErrorKind, Progress};
pub(crate) use hello::{is_whole, server_name};
