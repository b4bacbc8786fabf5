//! Obtains and renews certificates by ACME (RFC 8555), at the leader.
//!
//! What is wanted and how far it is are in the desired state, so a leader goes on where the one before was killed, and any node
//! answers the challenges: the reconciler gives them to the listeners. The library `instant-acme` speaks the protocol.
//!
//! * `due`: what is to be done for an account or a certificate now. Pure.
//! * `delays`: when a failure is tried again, and when a certificate is renewed. Pure.
//! * `pace`: how many orders are begun in a time. Pure.
//! * `error`: why a step fails, and in which words operators read it.
//! * `client`: HTTPS to the authority.
//! * `account`: the account at the authority.
//! * `order`: from an order to a certificate.
//! * `renewal`: asks the authority when a certificate is to be renewed.
//! * `manager`: starts what is due.

mod account;
mod client;
mod delays;
mod due;
mod error;
mod manager;
mod order;
mod pace;
mod renewal;

pub use manager::manage;
