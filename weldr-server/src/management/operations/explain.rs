//! The call that says what becomes of a request.

use std::net::{IpAddr, Ipv4Addr};

use http::Uri;
use weldr_proto::v1;

use crate::{
    management::{convert::Violations, error::Error},
    model::{AdminState, HealthState, Invalid, ListenerName, Rejection},
    snapshot::{
        ListenerView, PoolView, Snapshot,
        routes::{Explanation, PathReadings, RoutedRequest, explain, normal_host},
    },
};

use super::Operations;

const URL: &str = "a URL such as http://host/path?query";

/// The most bytes of a URL and of all fields together.
const MOST_BYTES: usize = 64 * 1024;

impl Operations {
    pub(in crate::management) fn explain_route(
        &self,
        request: &v1::ExplainRouteRequest,
    ) -> Result<v1::ExplainRouteResponse, Error> {
        let mut violations = Violations::default();
        let url = violations.take(url(&request.url));
        let source = violations.take(source(&request.source));
        let fields = violations.take(fields(&request.headers));
        let listener = match request.listener.as_str() {
            "" => Some(None),
            name => violations.take(name.parse::<ListenerName>().map(Some)),
        };
        let (((url, source), fields), listener) =
            violations.settle(url.zip(source).zip(fields).zip(listener))?;
        let snapshot = self.snapshot();
        let view = match &listener {
            Some(name) => named(&snapshot, name)?,
            None => at_port(&snapshot, url.port_u16().unwrap_or(80))?,
        };
        let authority = url.authority().map_or("", http::uri::Authority::as_str);
        let method = match request.method.as_str() {
            "" => "GET",
            method => method,
        };
        let routed = RoutedRequest {
            method: method.as_bytes(),
            host: normal_host(authority.as_bytes()),
            path: PathReadings::of(url.path().as_bytes()),
            query: url.query().unwrap_or_default().as_bytes(),
            source,
            fields: &fields,
        };
        let explanation = explain(&view.router, &routed);
        Ok(response(
            self.context.cluster.name(),
            &snapshot,
            view,
            explanation,
        ))
    }
}

fn url(text: &str) -> Result<Uri, Invalid> {
    let refused = || Invalid::new("url", text, URL);
    if text.len() > MOST_BYTES {
        return Err(refused());
    }
    let url: Uri = text.parse().map_err(|_| refused())?;
    match (url.scheme_str(), url.authority()) {
        (Some("http" | "https"), Some(_)) => Ok(url),
        _ => Err(refused()),
    }
}

fn source(text: &str) -> Result<IpAddr, Invalid> {
    if text.is_empty() {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    text.parse()
        .map_err(|_| Invalid::new("source", text, "an IPv4 or IPv6 address"))
}

fn fields(given: &[v1::HeaderField]) -> Result<Vec<(String, String)>, Invalid> {
    let bytes = given
        .iter()
        .map(|field| field.name.len() + field.value.len());
    let bytes: usize = bytes.sum();
    if bytes > MOST_BYTES {
        let accepted = format!("fields of at most {MOST_BYTES} bytes together");
        return Err(Invalid::new("headers", format!("{bytes} bytes"), accepted));
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
    explanation: Explanation,
) -> v1::ExplainRouteResponse {
    let pools = explanation.pools.into_iter().map(|(name, share)| {
        let pool = name.parse().ok().and_then(|name| snapshot.pools.get(&name));
        let servers = pool.map(|pool| receiving(pool)).unwrap_or_default();
        let unavailable = match pool {
            None => "there is no such pool",
            Some(_) if servers.is_empty() => "no server can get requests: 503",
            Some(_) => "",
        };
        v1::ExplainedPool {
            pool: name,
            share,
            servers,
            unavailable: unavailable.to_owned(),
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
    }
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
