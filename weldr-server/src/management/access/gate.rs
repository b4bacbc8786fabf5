//! The one layer around gRPC and REST: no request gets past it that is not admitted.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use http_body::Body as _;
use tokio::time;
use tracing::{debug, warn};

use crate::{
    management::{
        error::{Error, speaks_grpc},
        guard,
    },
    warnings::Repeats,
};

use super::{
    Authenticator, NoCredential,
    attempts::{Attempts, Refusal},
    caller::{Caller, Peer},
    held_body::{HeldBody, Sender},
    revocation::{RevocableBody, revoked},
    table::{self, Entry, Required},
};

/// A warning about failed attempts of one address is logged once in this time, and of so many addresses.
const WARNING_PERIOD: Duration = Duration::from_mins(1);
const MOST_WARNED: usize = 64;

/// Admits requests.
#[derive(Debug)]
pub(in crate::management) struct Gate {
    authenticator: Authenticator,
    hosts: guard::Hosts,
    /// Whether REST is served.
    rest: bool,
    attempts: Attempts,
    warnings: Mutex<Repeats<IpAddr>>,
}

impl Gate {
    pub(in crate::management) fn new(
        authenticator: Authenticator,
        hosts: guard::Hosts,
        rest: bool,
    ) -> Self {
        Self {
            authenticator,
            hosts,
            rest,
            attempts: Attempts::default(),
            warnings: Mutex::new(Repeats::new(WARNING_PERIOD, MOST_WARNED)),
        }
    }

    /// The caller of a request that is admitted; `None` if the call requires none.
    async fn admit(
        &self,
        peer: &Peer,
        method: &Method,
        headers: &HeaderMap,
        uri: &Uri,
    ) -> Result<Option<Caller>, Error> {
        let hosts = match peer {
            Peer::Tcp(..) => Some(&self.hosts),
            // No browser connects to a Unix socket.
            Peer::Unix(_) => None,
        };
        guard::admit(method, headers, uri, hosts)?;
        let entry = table::find(method, uri.path(), self.rest);
        if entry == Entry::Call(Required::Nothing) {
            return Ok(None);
        }
        let caller = match self.authenticator.identify(peer, headers) {
            Ok(caller) => caller,
            Err(missing) => return Err(self.refuse(peer, missing).await),
        };
        match entry {
            Entry::Call(Required::Least(role)) => caller.require(role)?,
            Entry::Call(Required::Any | Required::Nothing) => {}
            Entry::OtherMethods(allow) => {
                let method = method.clone();
                return Err(Error::WrongMethod { method, allow });
            }
            Entry::Missing => {
                let path = uri.path().chars().take(100).collect();
                return Err(Error::NoSuchPath { path });
            }
        }
        Ok(Some(caller))
    }

    /// The error of a caller that is not known, after the time for which its address has to wait.
    async fn refuse(&self, peer: &Peer, missing: NoCredential) -> Error {
        let Some(ip) = peer.ip().filter(|_| missing.is_attempt()) else {
            return Error::Unauthenticated(missing);
        };
        self.warn(ip, &missing);
        match self.attempts.failed(ip, Instant::now()) {
            Refusal::After(delay, _waiting) => {
                time::sleep(delay).await;
                Error::Unauthenticated(missing)
            }
            Refusal::TooMany => Error::TooManyAttempts,
        }
    }

    fn warn(&self, ip: IpAddr, missing: &NoCredential) {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(suppressed) = warnings.occurred(&ip, Instant::now()) {
            let suppressed = (suppressed > 0).then_some(suppressed);
            let total = self.attempts.total() + 1;
            warn!(%ip, reason = %missing, suppressed, total, "management: authentication failed");
        }
    }
}

/// Admits a request, or refuses it before anything else has seen it.
pub(in crate::management) async fn admitted(
    State(gate): State<Arc<Gate>>,
    request: Request,
    next: Next,
) -> Response {
    let Some(peer) = request.extensions().get::<Peer>().cloned() else {
        return Error::Stopping.into_response_to(request.headers());
    };
    let (parts, body) = request.into_parts();
    let admitted = gate.admit(&peer, &parts.method, &parts.headers, &parts.uri);
    let caller = match admitted.await {
        Ok(caller) => caller,
        Err(error) => {
            debug!(%peer, %error, path = parts.uri.path(), "management request refused");
            return refusal(error, &parts.headers);
        }
    };
    let headers = parts.headers.clone();
    let request = Request::from_parts(parts, body);
    let served = match caller {
        Some(caller) => run(&gate, caller, request, next).await,
        None => held(request, None, next).await,
    };
    served.unwrap_or_else(|error| refusal(error, &headers))
}

/// Serves a request of `caller` for as long as the caller is known.
async fn run(
    gate: &Gate,
    caller: Caller,
    mut request: Request,
    next: Next,
) -> Result<Response, Error> {
    request.extensions_mut().insert(caller.clone());
    let cluster = gate.authenticator.cluster().clone();
    let is_stream = speaks_grpc(request.headers()) && table::is_stream(request.uri().path());
    let is_principal = caller.permissions().principal.is_some();
    let sender = is_principal.then(|| Sender {
        caller: caller.clone(),
        cluster: cluster.clone(),
    });
    let mut response = held(request, sender, next).await?;
    response.extensions_mut().insert(caller.clone());
    if is_stream && is_principal {
        let revoked = Box::pin(revoked(cluster, caller));
        return Ok(response.map(|body| Body::new(RevocableBody::new(body, revoked))));
    }
    Ok(response)
}

/// Serves a request whose body comes in time, while its sender is known.
async fn held(request: Request, sender: Option<Sender>, next: Next) -> Result<Response, Error> {
    // The body of such a call is as long as the call, and the end of its response is that of both.
    if request.body().is_end_stream() || table::has_endless_body(request.uri().path()) {
        return Ok(next.run(request).await);
    }
    let (parts, body) = request.into_parts();
    let body = HeldBody::new(body, sender);
    let failure = body.failure();
    let request = Request::from_parts(parts, Body::new(body));
    let response = next.run(request).await;
    failure.take().map_or(Ok(response), Err)
}

/// The response to a request that is refused.
fn refusal(error: Error, request: &HeaderMap) -> Response {
    let is_unauthenticated = matches!(error, Error::Unauthenticated(_));
    let allow = match &error {
        Error::WrongMethod { allow, .. } => HeaderValue::from_str(allow).ok(),
        _ => None,
    };
    let mut response = error.into_response_to(request);
    let headers = response.headers_mut();
    if is_unauthenticated {
        headers.insert(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"weldr\""),
        );
    }
    if let Some(allow) = allow {
        headers.insert(header::ALLOW, allow);
    }
    response
}
