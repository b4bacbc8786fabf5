//! The call that says what becomes of a request.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::SystemTime,
};

use http::{HeaderName, HeaderValue, Method};
use weldr_proto::v1;

use crate::{
    management::{convert::Violations, error::Error},
    model::{AdminState, Balancing, HealthState, Invalid, ListenerName, Rejection},
    snapshot::{
        ListenerView, PoolView, Snapshot,
        routes::{
            Explanation, PathReadings, RoutedRequest, client_of, explain, hash_of, normal_host,
        },
    },
    stickiness::SessionRequest,
};

use super::{Operations, explained_url::ExplainedUrl};

/// The most bytes of all fields together.
const MOST_BYTES: usize = 64 * 1024;
/// The longest method that is forwarded, in bytes.
const LONGEST_METHOD: usize = 64;

/// The fields of a request.
type Fields = Vec<(String, String)>;

/// What of a request decides which server of a pool gets it.
struct Asked<'a> {
    path: &'a str,
    fields: &'a Fields,
    client: IpAddr,
}

impl Operations {
    pub(in crate::management) fn explain_route(
        &self,
        request: &v1::ExplainRouteRequest,
    ) -> Result<v1::ExplainRouteResponse, Error> {
        let mut violations = Violations::default();
        let url = violations.take(ExplainedUrl::read(&request.url));
        let method = violations.take(method(&request.method));
        let source = violations.take(source(&request.source));
        let fields = violations.take(fields(&request.headers));
        let listener = match request.listener.as_str() {
            "" => Some(None),
            name => violations.take(name.parse::<ListenerName>().map(Some)),
        };
        let asked = url.zip(method).zip(source.zip(fields)).zip(listener);
        let (((url, method), (source, fields)), listener) = violations.settle(asked)?;
        let snapshot = self.snapshot();
        let view = match &listener {
            Some(name) => named(&snapshot, name)?,
            None => at_port(&snapshot, url.port)?,
        };
        let policy = &view.desired.spec.policy;
        let of_node = &self.context.trusted_proxies[..];
        let trusted = policy.trusted_proxies.as_deref().unwrap_or(of_node);
        let client = client_of(&fields, source, trusted);
        let routed = RoutedRequest {
            method: method.as_bytes(),
            host: normal_host(url.authority.as_bytes()),
            path: PathReadings::of(url.path.as_bytes()),
            query: url.query.as_bytes(),
            source: client,
            fields: &fields,
        };
        let explanation = explain(&view.router, &routed);
        let asked = Asked {
            path: url.path,
            fields: &fields,
            client,
        };
        let node = self.context.cluster.name();
        Ok(response(node, &snapshot, view, (explanation, &asked)))
    }
}

fn method(text: &str) -> Result<&str, Invalid> {
    match text {
        "" => Ok("GET"),
        text if text.len() <= LONGEST_METHOD && Method::from_bytes(text.as_bytes()).is_ok() => {
            Ok(text)
        }
        text => {
            let accepted = format!("a method such as GET, of at most {LONGEST_METHOD} bytes");
            Err(Invalid::new("method", text, accepted))
        }
    }
}

fn source(text: &str) -> Result<IpAddr, Invalid> {
    if text.is_empty() {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    text.parse()
        .map_err(|_| Invalid::new("source", text, "an IPv4 or IPv6 address"))
}

fn fields(given: &[v1::HeaderField]) -> Result<Fields, Invalid> {
    let bytes = given
        .iter()
        .map(|field| field.name.len() + field.value.len());
    let bytes: usize = bytes.sum();
    if bytes > MOST_BYTES {
        let accepted = format!("fields of at most {MOST_BYTES} bytes together");
        return Err(Invalid::new("headers", format!("{bytes} bytes"), accepted));
    }
    for field in given {
        if HeaderName::from_bytes(field.name.as_bytes()).is_err() {
            let accepted = "the name of a header field, such as X-Beta";
            return Err(Invalid::new("headers.name", &field.name, accepted));
        }
        if HeaderValue::from_str(&field.value).is_err() {
            let accepted = "a value without control characters";
            return Err(Invalid::new("headers.value", &field.value, accepted));
        }
    }
    let pairs = given
        .iter()
        .map(|field| (field.name.clone(), field.value.clone()));
    Ok(pairs.collect())
}

fn named<'a>(snapshot: &'a Snapshot, name: &ListenerName) -> Result<&'a ListenerView, Error> {
    let missing = || Rejection::NoSuchListener {
        listener: name.clone(),
    };
    let view = snapshot.listeners.get(name).ok_or_else(missing)?;
    Ok(view)
}

/// The listener that listens on `port` on this node, if there is exactly one; otherwise the default one.
fn at_port(snapshot: &Snapshot, port: u16) -> Result<&ListenerView, Error> {
    let has_port = |view: &&std::sync::Arc<ListenerView>| {
        let here = view.live.binding().address;
        here.or(view.desired.spec.address)
            .is_some_and(|address| address.port() == port)
    };
    let mut at_port = snapshot.listeners.iter().filter(has_port);
    match (at_port.next(), at_port.next()) {
        (Some(view), None) => Ok(view),
        _ => named(snapshot, &ListenerName::default()),
    }
}

fn response(
    node: &str,
    snapshot: &Snapshot,
    view: &ListenerView,
    (explanation, asked): (Explanation, &Asked<'_>),
) -> v1::ExplainRouteResponse {
    let pools = explanation.pools.into_iter().map(|(name, share)| {
        let pool = name.parse().ok().and_then(|name| snapshot.pools.get(&name));
        let servers = pool.map(|pool| receiving(pool)).unwrap_or_default();
        let unavailable = match pool {
            None => "there is no such pool",
            Some(_) if servers.is_empty() => "no server can get requests: 503",
            Some(_) => "",
        };
        let (chosen, hash_key) = pool
            .and_then(|pool| {
                let of_session = chosen_by_session(snapshot, pool, asked);
                of_session.or_else(|| chosen_by_hash(pool, asked))
            })
            .unwrap_or_default();
        v1::ExplainedPool {
            pool: name,
            share,
            servers,
            unavailable: unavailable.to_owned(),
            chosen,
            hash_key,
        }
    });
    let mismatches = explanation.mismatches.into_iter();
    v1::ExplainRouteResponse {
        revision: snapshot.revision.0,
        node: node.to_owned(),
        listener: view.name().to_string(),
        priority: explanation.rule.map(|(_, priority)| priority.0),
        rule_id: explanation.rule.map_or(0, |(id, _)| id.0),
        action: explanation.action,
        pools: pools.collect(),
        mismatches: mismatches
            .map(|mismatch| v1::RuleMismatch {
                priority: mismatch.priority.0,
                rule_id: mismatch.rule.0,
                reason: mismatch.reason,
            })
            .collect(),
        refused: explanation.refused.unwrap_or_default(),
        client: asked.client.to_string(),
    }
}

/// The server that gets the request because its session has it, and by which cookie; `None` if it is in no session, or its server
/// does not keep it.
fn chosen_by_session(
    snapshot: &Snapshot,
    pool: &PoolView,
    asked: &Asked<'_>,
) -> Option<(String, String)> {
    let is_cookie = |(name, _): &&(String, String)| name.eq_ignore_ascii_case("cookie");
    let cookies = asked.fields.iter().filter(is_cookie);
    let cookies = cookies.map(|(_, value)| value.as_bytes());
    let request = SessionRequest {
        at: SystemTime::now(),
        is_secure: false,
    };
    let sticky = pool.sticky.as_ref()?;
    let session = sticky.session(&snapshot.session_keys, cookies, request);
    let chosen = pool.keeping_sessions(session.server()?)?;
    let cookie = session.cookie_to_remove()?;
    Some((
        chosen.desired.address.to_string(),
        format!("cookie:{cookie}"),
    ))
}

/// The server that gets the request, and by what it is chosen; `None` if the pool does not balance by a hash.
fn chosen_by_hash(pool: &PoolView, asked: &Asked<'_>) -> Option<(String, String)> {
    if pool.settings.balancing != Balancing::ConsistentHash {
        return None;
    }
    let key = &pool.settings.hash_key;
    let hash = hash_of(key, asked.fields, asked.path.as_bytes(), || asked.client);
    let chosen = pool.candidates().ok()?.by_hash(hash).next()?;
    Some((chosen.server.desired.address.to_string(), key.to_string()))
}

/// The addresses of the servers that may get a request now.
fn receiving(pool: &PoolView) -> Vec<String> {
    let wanting = || {
        let servers = pool.servers.iter();
        servers.filter(|view| view.desired.wants_requests())
    };
    let address =
        |view: &std::sync::Arc<crate::snapshot::ServerView>| view.desired.address.to_string();
    let healthy = wanting().filter(|view| view.health.state == HealthState::Healthy);
    let healthy: Vec<String> = healthy.map(address).collect();
    if healthy.is_empty() && pool.settings.fail_open {
        let ready = wanting().filter(|view| view.desired.spec.admin == AdminState::Ready);
        return ready.map(address).collect();
    }
    healthy
}
