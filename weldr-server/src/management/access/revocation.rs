//! A principal that is revoked, or whose token expires, has its streams ended with an error that says so.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body::{Frame, SizeHint};
use tokio::time;
use tonic::Status;

use crate::{
    cluster,
    management::error::Error,
    model::{DesiredState, PrincipalName, Revision, Timestamp},
};

use super::caller::Caller;

/// How often the date is looked at: the clock of the machine may be set in the meantime.
const LOOK: Duration = Duration::from_secs(5);

/// Waits until `caller` is no longer known.
pub(super) async fn revoked(cluster: cluster::Handle, caller: Caller) -> Error {
    let permissions = caller.permissions();
    if permissions.principal.is_none() {
        return std::future::pending().await;
    }
    let mut states = cluster.watch();
    loop {
        if let Err(error) = still_known(&states.borrow_and_update(), &caller) {
            return error;
        }
        tokio::select! {
            changed = states.changed() => if changed.is_err() {
                // The node stops, which ends the stream.
                return std::future::pending().await;
            },
            () = time::sleep(LOOK), if permissions.expires.is_some() => {}
        }
    }
}

/// Refuses a caller whose principal was revoked, or whose token has expired, since its call began.
pub(super) fn still_known(state: &DesiredState, caller: &Caller) -> Result<(), Error> {
    let permissions = caller.permissions();
    let principal = permissions.principal.as_ref();
    if principal.is_some_and(|(name, revision)| !is_present(state, name, *revision)) {
        let caller = caller.to_string();
        return Err(Error::Revoked { caller });
    }
    let expires = permissions.expires;
    if expires.is_some_and(|expires| expires <= Timestamp::now()) {
        let caller = caller.to_string();
        return Err(Error::Expired { caller });
    }
    Ok(())
}

/// Whether the principal is the one that was created with `revision`.
fn is_present(state: &DesiredState, name: &PrincipalName, revision: Revision) -> bool {
    let principal = state.principals.get(name);
    principal.is_some_and(|principal| principal.revision == revision)
}

/// The body of a gRPC response, which ends with the error of `revoked` when that is ready.
pub(super) struct RevocableBody {
    body: Body,
    revoked: Option<BoxFuture<'static, Error>>,
    has_ended: bool,
}

impl RevocableBody {
    pub(super) fn new(body: Body, revoked: BoxFuture<'static, Error>) -> Self {
        Self {
            body,
            revoked: Some(revoked),
            has_ended: false,
        }
    }
}

impl http_body::Body for RevocableBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        if let Some(revoked) = &mut self.revoked
            && let Poll::Ready(error) = revoked.as_mut().poll(cx)
        {
            self.has_ended = true;
            self.revoked = None;
            let headers = Status::from(error)
                .into_http::<Body>()
                .into_parts()
                .0
                .headers;
            let mut trailers = http::HeaderMap::new();
            for name in ["grpc-status", "grpc-message"] {
                if let Some(value) = headers.get(name) {
                    trailers.insert(name, value.clone());
                }
            }
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
