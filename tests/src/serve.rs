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

/// The body of a response.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A response on its way.
pub type PendingResponse = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// Makes the response to a request.
pub type Handler = Arc<dyn Fn(Request<Incoming>) -> PendingResponse + Send + Sync>;

/// A body that is there at once.
pub fn full(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).boxed_unsync()
}

/// A response of `status` with `body` and no fields of its own.
pub fn response(status: u16, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status.try_into().expect("a status from 100 to 999");
    response
}

/// Makes a [`Handler`] of a closure.
pub fn handler<F, Fut>(response: F) -> Handler
where
    F: Fn(Request<Incoming>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Response<Body>> + Send + 'static,
{
    Arc::new(move |request| Box::pin(response(request)))
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
        let responding = handler(request);
        async move { Ok::<_, Infallible>(responding.await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .half_close(true)
        .max_headers(1000)
        .serve_connection(TokioIo::new(stream), service)
}
