//! What changes in a head on its way through. Pure.
//!
//! RFC 9110, section 7.6: an intermediary removes the fields that are about one connection only, says in
//! `Via` that it was there, and passes the rest on as it came.

use http::{
    HeaderMap, HeaderValue, Method, Uri, Version,
    header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, TE, TRANSFER_ENCODING, VIA},
    request, response,
    uri::PathAndQuery,
};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What is wrong with a request that is not forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the request has no Host field")]
    NoHost,
    #[error("the request has more than one Host field")]
    SeveralHosts,
    #[error("the Host field is not a host with an optional port")]
    MalformedHost,
    #[error("the request-target is not one that a gateway can forward")]
    UnusableTarget,
    #[error("the request has both Content-Length and Transfer-Encoding")]
    AmbiguousLength,
    #[error("the Transfer-Encoding is something other than chunked, once")]
    TransferCoding,
    #[error("the method CONNECT is not supported: this is a gateway, not a tunnel")]
    Connect,
}

/// Makes the head of a client's request the head of the request to a server. `length_seen`: whether it had a
/// Content-Length when it came; hyper removes one beside a Transfer-Encoding.
pub(super) fn prepare_request(
    head: &mut request::Parts,
    client: &HeaderValue,
    length_seen: bool,
) -> Result<(), Refusal> {
    if head.method == Method::CONNECT {
        return Err(Refusal::Connect);
    }
    settle_framing(&head.headers, length_seen)?;
    settle_host(head)?;
    strip_connection_fields(&mut head.headers);
    add_forwarding_fields(head, client);
    head.version = Version::HTTP_11;
    Ok(())
}

/// RFC 9112, sections 6.1 and 6.3. hyper undoes `chunked` when it comes last and drops every other coding, or a
/// second `chunked`, unseen: what it would pass on is not what the client sent.
fn settle_framing(headers: &HeaderMap, length_seen: bool) -> Result<(), Refusal> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else {
        return Ok(());
    };
    if length_seen {
        return Err(Refusal::AmbiguousLength);
    }
    if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Err(Refusal::TransferCoding);
    }
    Ok(())
}

/// RFC 9112, section 3.2: exactly one valid Host, and the host of an absolute-form target beats it.
fn settle_host(head: &mut request::Parts) -> Result<(), Refusal> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Refusal::SeveralHosts);
    }
    match host {
        None if head.version >= Version::HTTP_11 => return Err(Refusal::NoHost),
        Some(host) if !is_host(host.as_bytes()) => return Err(Refusal::MalformedHost),
        _ => {}
    }
    if head.uri.scheme().is_some() {
        let authority = head.uri.authority().ok_or(Refusal::UnusableTarget)?;
        let named = authority.as_str().rsplit('@').next().unwrap_or_default();
        let host = HeaderValue::from_str(named).map_err(|_| Refusal::UnusableTarget)?;
        head.headers.insert(HOST, host);
        let target = head.uri.path_and_query().cloned();
        head.uri = Uri::from(target.unwrap_or_else(|| PathAndQuery::from_static("/")));
    } else if head.uri.authority().is_some() {
        return Err(Refusal::UnusableTarget);
    }
    Ok(())
}

/// `uri-host [ ":" port ]` of RFC 9110, section 7.2, by its characters.
fn is_host(host: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(byte);
    host.iter().all(allowed)
}

/// Whether a field is about one connection only, or about the framing that hyper makes anew. One look at each
/// name is cheaper than a look-up for each of these, and most heads have none of them.
fn ends_here(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "http2-settings"
            | "upgrade"
            | "te"
            | "transfer-encoding"
    )
}

/// Removes what is about one connection only: RFC 9110, section 7.6.1. Framing and Host are never named
/// away: a `Connection: content-length` would otherwise change what the message means.
fn strip_connection_fields(headers: &mut HeaderMap) {
    if !headers.keys().any(ends_here) {
        return;
    }
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(elements)
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .filter(|name| ![CONTENT_LENGTH, HOST].contains(name) && !ends_here(name))
        .collect();
    let trailers = headers
        .get_all(TE)
        .iter()
        .flat_map(elements)
        .any(|coding| coding == b"trailers");
    let own: Vec<HeaderName> = headers
        .keys()
        .filter(|name| ends_here(name))
        .cloned()
        .collect();
    for name in named.into_iter().chain(own) {
        headers.remove(name);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// The elements of a list field: RFC 9110, section 5.6.1.
fn elements(list: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    list.as_bytes()
        .split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
}

fn add_forwarding_fields(head: &mut request::Parts, client: &HeaderValue) {
    let headers = &mut head.headers;
    append_to_list(headers, X_FORWARDED_FOR, client);
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    if let (Some(host), false) = (headers.get(HOST), headers.contains_key(X_FORWARDED_HOST)) {
        let host = host.clone();
        headers.insert(X_FORWARDED_HOST, host);
    }
    append_via(headers, head.version);
}

/// Makes the head of a server's answer the head of the answer to the client.
pub(super) fn prepare_response(head: &mut response::Parts) {
    strip_connection_fields(&mut head.headers);
    append_via(&mut head.headers, head.version);
    head.version = Version::HTTP_11;
}

/// Tells the client that its connection ends with this answer.
pub(super) fn close_after(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
}

fn append_via(headers: &mut HeaderMap, version: Version) {
    let hop = if version == Version::HTTP_10 {
        "1.0 weldr"
    } else {
        "1.1 weldr"
    };
    append_to_list(headers, VIA, &HeaderValue::from_static(hop));
}

/// Adds an element to a list field, after all that its lines hold.
fn append_to_list(headers: &mut HeaderMap, name: HeaderName, element: &HeaderValue) {
    if !headers.contains_key(&name) {
        headers.insert(name, element.clone());
        return;
    }
    let mut list = Vec::with_capacity(64);
    for value in headers.get_all(&name) {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(element.as_bytes());
    // Made of nothing but field values, so it is one.
    if let Ok(value) = HeaderValue::from_maybe_shared(bytes::Bytes::from(list)) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: HeaderValue = HeaderValue::from_static("192.0.2.7");

    fn request(target: &str, fields: &[(&str, &str)]) -> request::Parts {
        let mut request = http::Request::builder().uri(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn prepared(target: &str, fields: &[(&str, &str)]) -> request::Parts {
        let mut head = request(target, fields);
        prepare_request(&mut head, &CLIENT, false).unwrap();
        head
    }

    fn all<'h>(headers: &'h HeaderMap, name: &str) -> Vec<&'h str> {
        headers
            .get_all(name)
            .iter()
            .map(|value| value.to_str().unwrap())
            .collect()
    }

    #[test]
    fn what_has_two_meanings_is_refused() {
        type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Refusal);
        let twice: &[_] = &[
            ("transfer-encoding", "chunked"),
            ("transfer-encoding", "chunked"),
        ];
        let cases: [Case<'_>; 9] = [
            ("/", twice, Refusal::TransferCoding),
            (
                "/",
                &[("transfer-encoding", "chunked, chunked")],
                Refusal::TransferCoding,
            ),
            (
                "/",
                &[("transfer-encoding", "gzip, chunked")],
                Refusal::TransferCoding,
            ),
            (
                "/",
                &[("transfer-encoding", "identity")],
                Refusal::TransferCoding,
            ),
            ("/", &[], Refusal::NoHost),
            ("/", &[("host", "a"), ("host", "a")], Refusal::SeveralHosts),
            ("/", &[("host", "a b")], Refusal::MalformedHost),
            ("/", &[("host", "user@a")], Refusal::MalformedHost),
            (
                "/",
                &[
                    ("host", "a"),
                    ("content-length", "1"),
                    ("transfer-encoding", "chunked"),
                ],
                Refusal::AmbiguousLength,
            ),
        ];
        for (target, fields, refusal) in cases {
            let mut head = request(target, fields);
            // hyper has removed it by now.
            let length_seen = head.headers.remove(CONTENT_LENGTH).is_some();
            assert_eq!(
                prepare_request(&mut head, &CLIENT, length_seen),
                Err(refusal),
                "{fields:?}"
            );
        }
    }

    #[test]
    fn chunked_in_any_case_is_accepted() {
        for coding in ["chunked", "Chunked", "CHUNKED"] {
            let head = prepared("/", &[("host", "a"), ("transfer-encoding", coding)]);
            assert!(
                !head.headers.contains_key(TRANSFER_ENCODING),
                "hyper frames it anew"
            );
        }
    }

    #[test]
    fn absolute_form_beats_host_and_goes_on_as_origin_form() {
        let head = prepared("http://right:81/a%2Fb/../c?x=%20", &[("host", "wrong")]);
        assert_eq!(head.uri.to_string(), "/a%2Fb/../c?x=%20");
        assert_eq!(all(&head.headers, "host"), ["right:81"]);
    }

    #[test]
    fn connection_fields_end_here() {
        let head = prepared(
            "/",
            &[
                ("host", "a"),
                ("connection", "close, X-Mine, content-length"),
                ("connection", "te"),
                ("x-mine", "1"),
                ("content-length", "3"),
                ("keep-alive", "timeout=5"),
                ("proxy-connection", "close"),
                ("te", "gzip;q=0.5, trailers"),
                ("upgrade", "h2c"),
                ("http2-settings", "AAMAAABk"),
                ("x-other", "stays"),
            ],
        );
        for gone in [
            "connection",
            "x-mine",
            "keep-alive",
            "proxy-connection",
            "upgrade",
            "http2-settings",
        ] {
            assert!(!head.headers.contains_key(gone), "{gone}");
        }
        assert_eq!(all(&head.headers, "content-length"), ["3"]);
        assert_eq!(all(&head.headers, "te"), ["trailers"]);
        assert_eq!(all(&head.headers, "x-other"), ["stays"]);
    }

    #[test]
    fn forwarding_fields_are_added_to_what_is_there() {
        let head = prepared(
            "/",
            &[
                ("host", "a"),
                ("x-forwarded-for", "10.0.0.1"),
                ("x-forwarded-for", "10.0.0.2"),
                ("via", "1.0 first"),
            ],
        );
        assert_eq!(
            all(&head.headers, "x-forwarded-for"),
            ["10.0.0.1, 10.0.0.2, 192.0.2.7"]
        );
        assert_eq!(all(&head.headers, "x-forwarded-host"), ["a"]);
        assert_eq!(all(&head.headers, "via"), ["1.0 first, 1.1 weldr"]);
    }

    #[test]
    fn an_answer_keeps_its_end_to_end_fields() {
        let response = http::Response::builder()
            .header("connection", "close, x-hop")
            .header("x-hop", "1")
            .header("set-cookie", "a=1")
            .header("set-cookie", "b=2")
            .header("transfer-encoding", "chunked");
        let mut head = response.body(()).unwrap().into_parts().0;
        prepare_response(&mut head);
        assert_eq!(all(&head.headers, "set-cookie"), ["a=1", "b=2"]);
        for gone in ["connection", "x-hop", "transfer-encoding"] {
            assert!(!head.headers.contains_key(gone), "{gone}");
        }
        assert_eq!(all(&head.headers, "via"), ["1.1 weldr"]);
    }
}
