//! Serving HTTP/1.1 with a closure, over hyper.

use std::{convert::Infallible, future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response,
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

/// The body of an answer.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// An answer on its way.
pub type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// What answers requests.
pub type Handler = Arc<dyn Fn(Request<Incoming>) -> Answering + Send + Sync>;

/// A body that is there at once.
pub fn full(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).boxed_unsync()
}

/// An answer of `status` with `body` and no fields of its own.
pub fn answer(status: u16, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status.try_into().expect("a status from 100 to 999");
    response
}

/// Makes a [`Handler`] of a closure.
pub fn handler<F, Fut>(answer: F) -> Handler
where
    F: Fn(Request<Incoming>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Response<Body>> + Send + 'static,
{
    Arc::new(move |request| Box::pin(answer(request)))
}

/// A hyper connection that serves `handler` on `stream` until either side closes.
pub fn connection<S>(
    stream: S,
    handler: Handler,
) -> http1::Connection<
    TokioIo<S>,
    impl Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send>,
>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(move |request| {
        let answering = handler(request);
        async move { Ok::<_, Infallible>(answering.await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .half_close(true)
        .max_headers(1000)
        .serve_connection(TokioIo::new(stream), service)
}
