//! A client connection that speaks HTTP/1.1. In reading order: `connection` is its task, `idle` waits for a
//! request to begin, `requests` serves one request after another, `head` waits for the next head, `request` serves one, `routing`
//! finds its route, `attempt` sends it to a server and `reply`
//! writes a local reply; `after` decides whether the connection is kept, and `closing` closes it.

mod after;
mod attempt;
mod closing;
mod connection;
mod head;
mod idle;
mod reply;
mod request;
mod requests;
mod routing;

pub(in crate::proxy) use connection::ClientConnection;
