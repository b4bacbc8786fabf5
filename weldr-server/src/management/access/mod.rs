//! Who may call: authentication and authorization, before anything else sees a request.
//!
//! ```text
//!  gate      admits a request: guard, table, identification, role; the one layer around gRPC and REST
//!    ├ table       the role that each method and path requires
//!    ├ identity    by which credential a caller is known: Unix socket, client certificate, token, or none
//!    │   └ token       the text of a token and its digest
//!    ├ caller      who it is and what it may do, an extension of each request that was let through
//!    ├ attempts    failed attempts, by address
//!    ├ held_body   fails when a body is held back for too long, or until its sender is revoked
//!    └ revocation  ends the streams of a principal that is revoked
//! ```
//!
//! A method or path that is not in the table is refused to everybody, so that nothing can be forgotten.

mod attempts;
mod caller;
mod gate;
mod held_body;
mod identity;
mod revocation;
pub(super) mod table;
mod token;

pub(super) use caller::{Caller, Peer, UnixPeer};
pub(super) use gate::{Gate, admitted};
pub(super) use identity::{Authenticator, NoCredential};
pub(super) use table::is_stream;
pub(super) use token::Token;
