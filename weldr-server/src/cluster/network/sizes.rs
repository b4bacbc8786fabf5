//! How large a message may be: what anybody may send is small.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use tonic::{body::Body, server::NamedService};
use tower::Service;
use weldr_proto::raft::v1::raft_server::SERVICE_NAME;

/// The size limit of a message from a node that need not be a member, in bytes.
pub(in crate::cluster) const LONGEST_OF_STRANGERS: usize = 64 * 1024;

/// The calls that a node may make that is not a member.
const OF_STRANGERS: [&str; 3] = ["Join", "Identify", "Acquaint"];

/// One service twice, with two size limits.
#[derive(Debug, Clone)]
pub(in crate::cluster) struct BySize<S> {
    pub(in crate::cluster) of_strangers: S,
    pub(in crate::cluster) of_members: S,
}

impl<S> NamedService for BySize<S> {
    const NAME: &'static str = SERVICE_NAME;
}

impl<S> Service<http::Request<Body>> for BySize<S>
where
    S: Service<http::Request<Body>, Error = Infallible>,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        match self.of_strangers.poll_ready(cx) {
            Poll::Ready(Ok(())) => self.of_members.poll_ready(cx),
            waiting => waiting,
        }
    }

    fn call(&mut self, request: http::Request<Body>) -> S::Future {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default();
        if OF_STRANGERS.contains(&method) {
            self.of_strangers.call(request)
        } else {
            self.of_members.call(request)
        }
    }
}
