//! Rewrites heads between client and server. Pure.
//!
//! RFC 9110, section 7.6: an intermediary removes the fields that concern one connection only, adds itself to `Via`,
//! and forwards the rest unchanged. So lines are copied, not rebuilt: the case of names, the bytes of values and the order
//! of fields stay.

mod changes;
mod forwarding;
mod lines;
mod refusal;
mod request;
mod response;
mod target;
mod trace;
mod via;

pub(super) use changes::{add_field, change_fields};
pub(super) use forwarding::{Peer, Scheme};
pub(super) use lines::ConnectionOptions;
pub(super) use refusal::Refusal;
pub(super) use request::{
    Accepted, FieldSpans, ForwardingContext, ProxyRequest, Request, accept, write,
};
pub(super) use response::{ClientFraming, ResponseRewrite, write_interim, write_response};
pub(super) use target::path_and_query;
pub(super) use trace::Ids;
