//! Listens on the address of a node that is about to found a cluster, to find out whether it belongs to one.
//!
//! The members of a cluster call the addresses of all members, and of those that were removed, about once a second. If one of
//! them calls this address, this node has lost its data, and must not found a second cluster. They expect the key of the node
//! that they knew, do not meet it, and ask which node this one is (`Identify`).

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, TcpListener},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::{Ready, ready};
use tokio::{
    sync::{mpsc, watch},
    time,
};
use tonic::{Status, body::Body, server::NamedService, transport::Server};
use uuid::Uuid;
use weldr_proto::raft::v1::raft_server::SERVICE_NAME;

use crate::cluster::error::OpenError;

use super::{
    authentication,
    connections::{Connections, PeerConnection},
    incoming::incoming,
    peers::Peers,
};

/// How many connections may be open before the cluster is founded.
const MOST_CALLERS: usize = 64;

/// A node of another cluster that called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cluster) struct Called {
    pub(in crate::cluster) cluster: Uuid,
    pub(in crate::cluster) from: Option<IpAddr>,
    /// Whether it has proven that it has the secret of this node.
    pub(in crate::cluster) is_proven: bool,
}

/// Listens for `wait`, or until a node calls that belongs to a cluster and, if this node has a secret, proves it.
pub(in crate::cluster) async fn called(
    peers: &Peers,
    listener: &TcpListener,
    wait: Duration,
) -> Result<Option<Called>, OpenError> {
    let listener = listener.try_clone().and_then(into_tokio);
    let listener = listener.map_err(OpenError::Founding)?;
    let (told, mut call) = watch::channel(None);
    let peers = peers.clone();
    // A node that belongs to no cluster has no leader that could die.
    let (notices, _) = mpsc::channel(1);
    let connections = Connections::new(MOST_CALLERS);
    let incoming = incoming(listener, notices, connections, peers.clone());
    let router = Server::builder().add_service(Ear { peers, told });
    tokio::select! {
        // It ends only with an error, and then nobody can call.
        _ = router.serve_with_incoming(incoming) => Ok(None),
        () = time::sleep(wait) => Ok(None),
        called = call.wait_for(Option::is_some) => Ok(called.ok().and_then(|called| called.clone())),
    }
}

fn into_tokio(listener: TcpListener) -> io::Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}

/// Answers each call that this node is not ready, and notes from which cluster it is.
#[derive(Debug, Clone)]
struct Ear {
    peers: Peers,
    told: watch::Sender<Option<Called>>,
}

impl NamedService for Ear {
    const NAME: &'static str = SERVICE_NAME;
}

impl tower::Service<http::Request<Body>> for Ear {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if let Some(connection) = PeerConnection::of(request.extensions())
            && let Some(cluster) =
                authentication::cluster_of(&self.peers, request.headers(), connection.peer())
        {
            let from = Some(connection.address().ip());
            let is_proven = self.peers.has_secret();
            let called = Called {
                cluster,
                from,
                is_proven,
            };
            self.told.send_replace(Some(called));
        }
        let refusal = Status::unavailable("the node is not ready");
        ready(Ok(refusal.into_http()))
    }
}
