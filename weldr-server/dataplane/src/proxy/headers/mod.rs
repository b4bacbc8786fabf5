//! What changes in a head on its way through. Pure.
//!
//! RFC 9110, section 7.6: an intermediary removes the fields that are about one connection only, says in `Via` that it
//! was there, and passes the rest on as it came. So lines are copied, not rebuilt: names keep their case, values their
//! bytes, and fields their order.

mod client;
mod forwarded;
mod forwarding;
mod lines;
mod refusal;
mod request;
mod response;
mod trace;
mod via;

pub(super) use client::ClientAddress;
pub(super) use forwarding::Peer;
pub(super) use lines::ConnectionOptions;
pub(super) use refusal::Refusal;
pub(super) use request::{FieldSpans, ForwardingContext, Prepared, ProxyRequest, Request, prepare};
pub(super) use response::{ClientFraming, ResponseRewrite, write_interim, write_response};
pub(super) use trace::Ids;
