//! The judge of Weldr's HTTP/1.1: tables of bytes in and required behaviour, and what runs them.
//!
//! The tables are in `tests/tables`, to be read by people: each case says what is sent, what must come of
//! it, and which rule says so. [`table`] reads them, [`case`] gives them their meaning, [`recorder`] is the
//! server behind the proxy, [`session`] the client before it, [`wire`] the strict reading that both trust,
//! [`requests`] and [`responses`] run one case each, and [`report`] says what was seen. [`peers`] starts
//! what is judged: Weldr, or another proxy that is installed.
//!
//! Nothing here is shared with the proxy: two readers that agree say more than one that agrees with itself.

pub mod case;
pub mod peers;
pub mod recorder;
pub mod report;
pub mod requests;
pub mod responses;
pub mod session;
pub mod table;
pub mod wire;

use std::net::SocketAddr;

use recorder::Recorder;

/// A proxy that is judged, and the server behind it.
#[derive(Debug)]
pub struct Bench<'a> {
    /// Where the proxy listens.
    pub proxy: SocketAddr,
    /// The server that it forwards to.
    pub origin: &'a Recorder,
    /// By which measure it is judged.
    pub measure: Measure,
}

/// By which measure a proxy is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// All that Weldr promises.
    Weldr,
    /// What the RFCs ask of any intermediary: any refusal is as good as the one that Weldr promises.
    Peer,
}
