//! HTTPS to the authority. Calls are rare, so each has a connection of its own.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, HttpClient};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{net::TcpStream, time};
use tokio_rustls::TlsConnector;

use super::error::words;

/// How long one call may take, with its connection.
const LONGEST_CALL: Duration = Duration::from_secs(30);
/// The longest response, in bytes: a chain has a few thousand.
const LONGEST_RESPONSE: usize = 1 << 20;

/// Why a call fails.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("{0} is not called: only https is")]
    NotHttps(Uri),
    #[error("no connection to {authority}")]
    Connect {
        authority: String,
        #[source]
        source: io::Error,
    },
    #[error("no call of {authority}")]
    Call {
        authority: String,
        #[source]
        source: hyper::Error,
    },
    #[error("no whole response of {authority}")]
    Body {
        authority: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{authority} answered {status}{detail}")]
    Refused {
        authority: String,
        status: http::StatusCode,
        /// What it says, behind a colon; empty if that is nothing.
        detail: String,
    },
    #[error("{authority} did not respond within {} s", LONGEST_CALL.as_secs())]
    Timeout { authority: String },
}

/// Calls the authority. Clones share what they have seen.
#[derive(Clone)]
pub(super) struct Client {
    tls: Arc<ClientConfig>,
    retry_after: Arc<Mutex<Option<SystemTime>>>,
}

impl Client {
    /// A client that accepts certificates of `roots`.
    pub(super) fn new(roots: Arc<RootCertStore>) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            tls: Arc::new(tls),
            retry_after: Arc::default(),
        })
    }

    /// How long the authority wanted us to wait when it refused a call last, from `now` on. The library does not tell. Asking
    /// forgets it.
    pub(super) fn take_retry_after(&self, now: SystemTime) -> Option<Duration> {
        let mut seen = self
            .retry_after
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        seen.take()?.duration_since(now).ok()
    }

    async fn call(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Result<Response<Full<Bytes>>, CallError> {
        let uri = request.uri().clone();
        let (Some("https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(CallError::NotHttps(uri));
        };
        let name = authority.to_string();
        let called = time::timeout(LONGEST_CALL, self.exchange(request, authority, &name)).await;
        called.map_err(|_| CallError::Timeout { authority: name })?
    }

    async fn exchange(
        &self,
        mut request: Request<BodyWrapper<Bytes>>,
        authority: &http::uri::Authority,
        name: &str,
    ) -> Result<Response<Full<Bytes>>, CallError> {
        let no_connection = |source| CallError::Connect {
            authority: name.to_owned(),
            source,
        };
        let no_call = |source| CallError::Call {
            authority: name.to_owned(),
            source,
        };
        let stream = self.connect(authority).await.map_err(no_connection)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(no_call)?;
        prepare(&mut request, name).map_err(no_connection)?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(no_call)?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, LONGEST_RESPONSE).collect().await;
            let no_body = |source| CallError::Body {
                authority: name.to_owned(),
                source,
            };
            let body = Full::new(body.map_err(no_body)?.to_bytes());
            Ok(Response::from_parts(parts, body))
        };
        // The connection is driven as long as the exchange takes, and closed with it.
        tokio::pin!(exchange, connection);
        tokio::select! {
            exchanged = &mut exchange => exchanged,
            ended = &mut connection => {
                ended.map_err(no_call)?;
                exchange.await
            }
        }
    }

    async fn connect(
        &self,
        authority: &http::uri::Authority,
    ) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        /// The port of `https`.
        const HTTPS: u16 = 443;
        let host = authority.host();
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        let port = authority.port_u16().unwrap_or(HTTPS);
        let stream = TcpStream::connect((host, port)).await?;
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(io::Error::other)?;
        TlsConnector::from(Arc::clone(&self.tls))
            .connect(name, stream)
            .await
    }

    fn note(&self, response: &Response<Full<Bytes>>) {
        if response.status().is_success() {
            return;
        }
        let after = response.headers().get(header::RETRY_AFTER);
        if let Some(at) = after.and_then(|value| retry_at(value.to_str().ok()?, SystemTime::now()))
        {
            let mut seen = self
                .retry_after
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *seen = Some(at);
        }
    }
}

/// What an authority says of a document that it does not give.
async fn refused(response: Response<Full<Bytes>>, authority: String) -> CallError {
    let status = response.status();
    let body = response.into_body().collect().await;
    let body = body
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let problem = serde_json::from_slice::<instant_acme::Problem>(&body).ok();
    let detail = problem.map(|problem| words(&problem));
    let detail = detail.filter(|words| !words.is_empty());
    CallError::Refused {
        authority,
        status,
        detail: detail.map(|words| format!(": {words}")).unwrap_or_default(),
    }
}

/// Makes a request one of a path, with the fields that RFC 8555, section 6.1, and HTTP/1.1 want.
fn prepare(request: &mut Request<BodyWrapper<Bytes>>, authority: &str) -> io::Result<()> {
    /// What this is, for the log of the authority.
    const USER_AGENT: &str = concat!("weldr/", env!("CARGO_PKG_VERSION"));
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path.map(Uri::from).unwrap_or_default();
    let host = HeaderValue::from_str(authority).map_err(io::Error::other)?;
    let headers = request.headers_mut();
    headers.insert(header::HOST, host);
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    Ok(())
}

/// The moment that a `Retry-After` names (RFC 9110, section 10.2.3).
fn retry_at(value: &str, now: SystemTime) -> Option<SystemTime> {
    match value.trim().parse() {
        Ok(seconds) => now.checked_add(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(value.trim()).ok(),
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let client = self.clone();
        let is_get = request.method() == http::Method::GET;
        let authority = request.uri().authority().map(ToString::to_string);
        let authority = authority.unwrap_or_default();
        Box::pin(async move {
            let response = client.call(request).await;
            let response = response.map_err(|error| instant_acme::Error::Other(Box::new(error)))?;
            client.note(&response);
            if is_get && !response.status().is_success() {
                // Of what is fetched, the library reads the body only.
                let refused = refused(response, authority).await;
                return Err(instant_acme::Error::Other(Box::new(refused)));
            }
            Ok(BytesResponse::from(response))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_after_is_a_number_of_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_000);
        let wait = |value| retry_at(value, now).map(|at| at.duration_since(now).unwrap());
        assert_eq!(wait("120"), Some(Duration::from_mins(2)));
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(wait(date), Some(Duration::from_secs(777)));
        assert_eq!(wait("soon"), None);
        assert_eq!(wait("18446744073709551615"), None);
    }
}
