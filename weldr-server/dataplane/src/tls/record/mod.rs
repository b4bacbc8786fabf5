//! The record protocol of TLS, once a handshake has agreed on keys: what protects and what opens the bytes of a connection.
//!
//! rustls performs the handshakes and derives the keys. Records are protected here, because that is the data path: a record
//! is opened and sealed where it is read and written, without a copy, and a connection that waits holds its keys and no
//! buffer. Pure: no socket is known here.

mod cipher;
mod error;
mod header;
mod post_handshake;
mod session;

pub(crate) use error::RecordError;
pub(crate) use header::{Header, MAX_CIPHERTEXT};
pub(crate) use session::{Opened, Role, Session};
