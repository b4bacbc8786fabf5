//! Finds the route of a request by the rules of its listener, and makes the location of a redirect.

use std::net::IpAddr;

use crate::{
    http1::{Field, RequestHead},
    proxy::headers::{Accepted, ForwardingContext, Refusal, Scheme, path_and_query},
    snapshot::routes::{
        Location, LocationParts, Matched, PathReadings, RequestFields, RoutedRequest, Router,
        normal_host,
    },
};

/// A request as it came.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) head: &'a [u8],
    pub(super) request: &'a RequestHead,
    pub(super) fields: &'a [Field],
    pub(super) forwarding: &'a ForwardingContext<'a>,
}

impl RequestFields for Asked<'_> {
    fn any(&self, name: &str, accepts: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        let is_it = |field: &&Field| {
            let found = field.name.of(self.head);
            found.eq_ignore_ascii_case(name.as_bytes())
        };
        self.fields
            .iter()
            .filter(is_it)
            .any(|field| accepts(field.value.of(self.head)))
    }
}

impl Asked<'_> {
    /// The address of the client: as the access log has it.
    pub(super) fn source(&self) -> IpAddr {
        let ForwardingContext { peer, policy, .. } = self.forwarding;
        let named = peer.client(self.head, self.fields, policy);
        named.map_or(peer.address.ip(), |client| client.ip)
    }
}

/// The route of a request.
pub(super) fn route<'r>(
    router: &'r Router,
    asked: &Asked<'_>,
    accepted: &Accepted,
) -> Result<Matched<'r>, Refusal> {
    let authority = accepted.host.of(asked.head);
    let (path, query) = path_and_query(asked.head, asked.request);
    let request = RoutedRequest {
        method: asked.request.method.of(asked.head),
        host: normal_host(&authority),
        path: PathReadings::of(path),
        query,
        source: asked.source(),
        fields: asked,
    };
    router.route(&request).map_err(Refusal::Route)
}

/// The location of a redirect of a request, whose path in normal form begins with a prefix of length `prefix` that matched.
pub(super) fn redirect(
    location: &Location,
    asked: &Asked<'_>,
    accepted: &Accepted,
    prefix: usize,
) -> Vec<u8> {
    let authority = accepted.host.of(asked.head);
    let scheme = asked.forwarding.peer.scheme;
    let (raw, query) = path_and_query(asked.head, asked.request);
    let readings = PathReadings::of(raw);
    let path = readings.as_ref().map_or(raw, |readings| readings.normal());
    location.of(&LocationParts {
        scheme: scheme.name(),
        host: &normal_host(&authority).unwrap_or_default(),
        port: port_of(&authority, scheme),
        path,
        query,
        rest: path.get(prefix..).unwrap_or_default(),
    })
}

fn port_of(authority: &[u8], scheme: Scheme) -> &[u8] {
    let behind_ip = authority.iter().position(|&byte| byte == b']').unwrap_or(0);
    let rest = &authority[behind_ip..];
    let port = memchr::memchr(b':', rest).map(|colon| &rest[colon + 1..]);
    port.filter(|port| !port.is_empty())
        .unwrap_or(scheme.default_port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_an_authority() {
        for (authority, port) in [
            ("a", "80"),
            ("a:", "80"),
            ("a:81", "81"),
            ("[::1]", "80"),
            ("[::1]:82", "82"),
        ] {
            assert_eq!(
                port_of(authority.as_bytes(), Scheme::Http),
                port.as_bytes(),
                "{authority}"
            );
        }
    }
}
