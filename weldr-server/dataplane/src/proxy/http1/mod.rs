//! HTTP/1.1 on the side of the client: `server` is a client connection, `exchange` a request on a connection to a server
//! that speaks HTTP/1.1 too, `client_watch` notices that the client is gone, `response_context` is what a response depends
//! on besides itself, and `tunnel` what follows a change of protocol. Bytes are parsed by [`crate::http1`].

mod client_watch;
mod exchange;
mod response_context;
mod server;
mod tunnel;

pub(super) use server::ClientConnection;
