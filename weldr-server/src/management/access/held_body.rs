//! The body of a request may be held back by its sender. It fails when that takes too long, and when the sender is revoked, or
//! its token expires, in the meantime: then the request has no effect.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use crate::{cluster, management::error::Error};

use super::{caller::Caller, revocation::still_known};

/// The time that the body of a request may take: enough for the longest backup.
const LONGEST_BODY: Duration = Duration::from_mins(1);

/// The principal that has sent a request, and where it is known.
pub(super) struct Sender {
    pub(super) caller: Caller,
    pub(super) cluster: cluster::Handle,
}

/// The body of a request, which fails as described above.
pub(super) struct HeldBody {
    body: Body,
    sender: Option<Sender>,
    /// When the body has to have ended; `None` once it has failed.
    end: Option<Pin<Box<Sleep>>>,
    failure: Failure,
}

/// Why a body has failed. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Failure(Arc<Mutex<Option<Error>>>);

impl Failure {
    /// The error, if the body has failed.
    pub(super) fn take(&self) -> Option<Error> {
        let mut failure = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failure.take()
    }
}

impl HeldBody {
    /// The body of a request of `sender`, if that is a principal.
    pub(super) fn new(body: Body, sender: Option<Sender>) -> Self {
        Self {
            body,
            sender,
            end: Some(Box::pin(sleep(LONGEST_BODY))),
            failure: Failure::default(),
        }
    }

    /// What tells why it has failed, also when it is gone.
    pub(super) fn failure(&self) -> Failure {
        self.failure.clone()
    }

    fn fail(&mut self, error: Error) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let failure = self.failure.0.lock();
        *failure.unwrap_or_else(PoisonError::into_inner) = Some(error);
        (self.body, self.end) = (Body::empty(), None);
        let cause = io::Error::from(io::ErrorKind::ConnectionAborted);
        Poll::Ready(Some(Err(axum::Error::new(cause))))
    }
}

impl http_body::Body for HeldBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Some(end) = &mut self.end
            && end.as_mut().poll(cx).is_ready()
        {
            return self.fail(Error::TooSlow);
        }
        // The end of the body counts too: a chunk of length zero can be held back.
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let sender = self.sender.as_ref().filter(|_| self.end.is_some());
        let known = sender.map_or(Ok(()), |sender| {
            still_known(&sender.cluster.current(), &sender.caller)
        });
        match known {
            Ok(()) => Poll::Ready(frame),
            Err(error) => self.fail(error),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{StreamExt as _, stream};
    use http_body_util::BodyExt as _;
    use tokio::time::{Instant, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_end_fails() {
        let begin = stream::iter([Ok::<_, Infallible>("begin")]);
        let body = Body::from_stream(begin.chain(stream::pending()));
        let mut body = HeldBody::new(body, None);
        let (failure, start) = (body.failure(), Instant::now());
        assert!(body.frame().await.unwrap().is_ok());
        assert!(failure.take().is_none());
        let failed = timeout(LONGEST_BODY * 2, body.frame()).await.unwrap();
        assert!(failed.unwrap().is_err());
        assert_eq!(start.elapsed(), LONGEST_BODY);
        assert!(matches!(failure.take(), Some(Error::TooSlow)));
        assert!(body.frame().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_ends_is_what_it_was() {
        let body = HeldBody::new(Body::from("all"), None);
        let failure = body.failure();
        assert_eq!(body.collect().await.unwrap().to_bytes(), "all");
        assert!(failure.take().is_none());
    }
}
