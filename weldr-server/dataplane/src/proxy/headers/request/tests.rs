use crate::{
    http1::{HeadLimits, parse_request},
    policy::ForwardedHeaders,
};

use super::*;
use crate::model::PathPrefixChange;
use crate::proxy::headers::Scheme;

/// What becomes of a request.
#[derive(Debug)]
enum Prepared {
    /// It is sent to a server.
    Forward(Request),
    /// Its Max-Forwards says that it ends here: RFC 9110, section 7.6.2.
    ToProxy(ProxyRequest),
}

/// Makes the head of a client's request the head of the request to a server, in `out`, or says why not.
fn prepare(
    head: &[u8],
    request: &RequestHead,
    fields: &[Field],
    context: &ForwardingContext<'_>,
    out: Vec<u8>,
) -> Result<Prepared, Refusal> {
    match accept(head, request, fields, context)? {
        Accepted {
            forwards: Some(0), ..
        } => {
            let method = request.method.of(head);
            Ok(Prepared::ToProxy(proxy_request(head, method, fields)))
        }
        accepted => Ok(Prepared::Forward(write(
            head,
            request,
            fields,
            context,
            (&accepted, None),
            out,
        ))),
    }
}

fn prepared_with(head: &str, policy: &HttpPolicy) -> Result<Prepared, Refusal> {
    let address = ([192, 0, 2, 7], 5000).into();
    prepared_for(head, &Peer::new(address, Scheme::Http, policy), policy)
}

fn prepared_for(head: &str, peer: &Peer, policy: &HttpPolicy) -> Result<Prepared, Refusal> {
    let limits = HeadLimits {
        bytes: 4096,
        fields: 30,
    };
    let mut fields = Vec::new();
    let request = parse_request(head.as_bytes(), limits, &mut fields).map_err(Refusal::Head)?;
    let context = ForwardingContext {
        peer,
        local: Some(([192, 0, 2, 1], 80).into()),
        policy,
        facts: RequestFacts::of(head.as_bytes(), &request, &fields),
        ids: Ids::new(10, 11),
    };
    prepare(head.as_bytes(), &request, &fields, &context, Vec::new())
}

fn prepared(head: &str) -> Result<Prepared, Refusal> {
    prepared_with(head, &HttpPolicy::default())
}

fn forwarded_with(head: &str, policy: &HttpPolicy) -> (String, Request) {
    match prepared_with(head, policy) {
        Ok(Prepared::Forward(request)) => {
            let text = String::from_utf8(request.head.clone()).unwrap();
            (text, request)
        }
        other => panic!("{head:?}: {other:?}"),
    }
}

fn forwarded(head: &str) -> String {
    forwarded_with(head, &HttpPolicy::default()).0
}

/// The values of a field, in order.
fn values<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    text.lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .filter(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
        .collect()
}

#[test]
fn a_plain_request_keeps_its_lines() {
    let text =
        forwarded("GET /a%2Fb/../c?x HTTP/1.1\r\nhOsT: a:81\r\nX-A:1\r\nAccept: */*\r\n\r\n");
    assert!(
        text.starts_with(
            "GET /a%2Fb/../c?x HTTP/1.1\r\nhOsT: a:81\r\nX-A:1\r\nAccept: */*\r\nVia: 1.1 weldr-00000000\r\n"
        ),
        "{text}"
    );
    assert!(text.ends_with("\r\n\r\n"));
    assert_eq!(values(&text, "connection"), Vec::<&str>::new());
}

#[test]
fn what_is_refused() {
    let get = "GET / HTTP/1.1\r\n";
    let post = "POST / HTTP/1.1\r\nHost: a\r\n";
    for (head, refusal) in [
        (get.to_owned(), Refusal::NoHost),
        (
            format!("{get}Host: a\r\nHost: a\r\n"),
            Refusal::SeveralHosts,
        ),
        (format!("{get}Host: \r\n"), Refusal::MalformedHost),
        (format!("{get}Host: a b\r\n"), Refusal::MalformedHost),
        (format!("{get}Host: u@a\r\n"), Refusal::MalformedHost),
        (
            "GET http://a/ HTTP/1.1\r\nHost: b/\r\n".into(),
            Refusal::MalformedHost,
        ),
        (
            "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n".into(),
            Refusal::Connect,
        ),
        (
            "TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n".into(),
            Refusal::TraceContent,
        ),
        (
            format!("{post}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"),
            Refusal::Framing(FramingDefect::LengthAndCoding),
        ),
        (
            format!("{post}Content_Length: 1\r\n"),
            Refusal::Framing(FramingDefect::Twin),
        ),
        (
            format!("{post}Content-Length: 1\r\nContent-Length: 1\r\n"),
            Refusal::Framing(FramingDefect::Lengths),
        ),
    ] {
        assert_eq!(
            prepared(&format!("{head}\r\n")).unwrap_err(),
            refusal,
            "{head:?}"
        );
    }
}

#[test]
fn monitor_forwards_what_has_one_meaning() {
    let policy = HttpPolicy {
        desync_mode: DesyncMode::Monitor,
        ..HttpPolicy::default()
    };
    let head =
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (text, request) = forwarded_with(head, &policy);
    assert_eq!(values(&text, "content-length"), Vec::<&str>::new());
    assert_eq!(values(&text, "transfer-encoding"), ["chunked"]);
    assert_eq!(request.objection, Some(FramingDefect::LengthAndCoding));
    assert!(!request.keep_alive, "RFC 9112, section 6.1");

    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 01\r\n\r\n";
    let (text, request) = forwarded_with(head, &policy);
    assert_eq!(values(&text, "content-length"), ["1"]);
    assert!(request.keep_alive);

    let (text, _) = forwarded_with(
        "GET / HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: x\r\n\r\n",
        &policy,
    );
    assert_eq!(values(&text, "transfer_encoding"), Vec::<&str>::new());
    let both = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n";
    assert!(prepared_with(both, &policy).is_err());
}

#[test]
fn absolute_form_beats_host_and_goes_on_as_origin_form() {
    for (target, line, host) in [
        (
            "GET http://right:81/a?b",
            "GET /a?b HTTP/1.1\r\n",
            "right:81",
        ),
        ("GET http://right?b", "GET /?b HTTP/1.1\r\n", "right"),
        ("GET http://right", "GET / HTTP/1.1\r\n", "right"),
        ("OPTIONS http://right", "OPTIONS * HTTP/1.1\r\n", "right"),
        ("OPTIONS http://right/", "OPTIONS / HTTP/1.1\r\n", "right"),
    ] {
        let text = forwarded(&format!("{target} HTTP/1.1\r\nHost: wrong\r\n\r\n"));
        assert!(text.starts_with(line), "{text}");
        assert_eq!(values(&text, "host"), [host]);
    }
}

#[test]
fn http_1_0_gets_a_host_and_loses_what_it_does_not_have() {
    let (text, request) = forwarded_with(
        "GET / HTTP/1.0\r\nExpect: 100-continue\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        &HttpPolicy::default(),
    );
    assert_eq!(values(&text, "host"), ["192.0.2.1:80"]);
    assert_eq!(values(&text, "via"), ["1.0 weldr-00000000"]);
    for gone in ["expect", "upgrade", "connection"] {
        assert!(values(&text, gone).is_empty(), "{gone}");
    }
    assert!(!request.keep_alive && request.upgrades.is_empty());
}

#[test]
fn connection_fields_end_here() {
    let text = forwarded(
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Mine, content-length, host\r\nConnection: te\r\n\
         X-Mine: 1\r\nContent-Length: 3\r\nKeep-Alive: timeout=5\r\nProxy-Connection: close\r\nTE: gzip;q=0.5, trailers\r\n\
         Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nX-Other: stays\r\n\r\n",
    );
    for gone in [
        "x-mine",
        "keep-alive",
        "proxy-connection",
        "upgrade",
        "http2-settings",
    ] {
        assert!(values(&text, gone).is_empty(), "{gone}");
    }
    assert_eq!(values(&text, "content-length"), ["3"]);
    assert_eq!(values(&text, "host"), ["a"]);
    assert_eq!(values(&text, "te"), ["trailers"]);
    assert_eq!(values(&text, "connection"), ["TE"]);
    assert_eq!(values(&text, "x-other"), ["stays"]);
}

#[test]
fn an_upgrade_is_passed_on_without_http_2() {
    let head = |protocols: &str| {
        format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: {protocols}\r\n\r\n")
    };
    let (text, request) = forwarded_with(&head("h2c, websocket, HTTP/2.0"), &HttpPolicy::default());
    assert_eq!(values(&text, "upgrade"), ["websocket"]);
    assert_eq!(values(&text, "connection"), ["Upgrade"]);
    assert_eq!(request.upgrades, b"websocket");
    let (text, request) = forwarded_with(&head("h2c"), &HttpPolicy::default());
    assert!(values(&text, "upgrade").is_empty() && request.upgrades.is_empty());
}

#[test]
fn an_untrusted_peer_cannot_say_where_a_request_comes_from() {
    let head = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Host: evil\r\n\
                X-Forwarded-Proto: https\r\nForwarded: for=10.0.0.1\r\nVia: 1.0 first\r\n\r\n";
    let text = forwarded(head);
    assert_eq!(values(&text, "x-forwarded-for"), ["192.0.2.7"]);
    assert_eq!(values(&text, "x-forwarded-host"), ["a"]);
    assert_eq!(values(&text, "x-forwarded-proto"), ["http"]);
    assert_eq!(
        values(&text, "forwarded"),
        ["for=192.0.2.7;host=a;proto=http"]
    );
    assert_eq!(values(&text, "via"), ["1.0 first, 1.1 weldr-00000000"]);

    let trusting = HttpPolicy {
        trusted_proxies: vec!["192.0.2.0/24".parse().unwrap()],
        ..HttpPolicy::default()
    };
    let (text, _) = forwarded_with(head, &trusting);
    assert_eq!(values(&text, "x-forwarded-for"), ["10.0.0.1, 192.0.2.7"]);
    assert_eq!(values(&text, "x-forwarded-host"), ["evil"]);
    assert_eq!(values(&text, "x-forwarded-proto"), ["https"]);
    assert_eq!(
        values(&text, "forwarded"),
        ["for=10.0.0.1, for=192.0.2.7;host=a;proto=http"]
    );

    let off = HttpPolicy {
        forwarded_headers: ForwardedHeaders::Off,
        ..HttpPolicy::default()
    };
    let (text, _) = forwarded_with(head, &off);
    assert_eq!(values(&text, "x-forwarded-for"), ["10.0.0.1"]);
    let (text, _) = forwarded_with("GET / HTTP/1.1\r\nHost: a:1\r\n\r\n", &off);
    assert!(values(&text, "forwarded").is_empty());
    assert_eq!(
        values(
            &forwarded("GET / HTTP/1.1\r\nHost: a:1\r\n\r\n"),
            "forwarded"
        ),
        ["for=192.0.2.7;host=\"a:1\";proto=http"]
    );
}

#[test]
fn ids_are_kept_or_made() {
    let text = forwarded("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(
        values(&text, "x-request-id"),
        ["0000000000000000000000000000000a"]
    );
    assert_eq!(
        values(&text, "traceparent"),
        ["00-0000000000000000000000000000000a-000000000000000b-00"]
    );
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let kept = forwarded(&format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine\r\ntraceparent: {parent}\r\ntracestate: a=b\r\n\r\n"
    ));
    assert_eq!(values(&kept, "x-request-id"), ["mine"]);
    assert_eq!(values(&kept, "traceparent"), [parent]);
    assert_eq!(values(&kept, "tracestate"), ["a=b"]);
    let invalid = forwarded(
        "GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: a b\r\ntraceparent: x\r\ntracestate: a=b\r\n\r\n",
    );
    assert_eq!(
        values(&invalid, "x-request-id"),
        ["0000000000000000000000000000000a"]
    );
    assert_eq!(values(&invalid, "traceparent").len(), 1);
    assert!(values(&invalid, "tracestate").is_empty());
}

#[test]
fn max_forwards_counts_down_and_ends_here() {
    let text = forwarded("OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 2\r\n\r\n");
    assert_eq!(values(&text, "max-forwards"), ["1"]);
    let text = forwarded("GET / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n");
    assert_eq!(
        values(&text, "max-forwards"),
        ["0"],
        "only OPTIONS and TRACE"
    );
    let options = prepared("OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n");
    assert!(matches!(
        options,
        Ok(Prepared::ToProxy(ProxyRequest::Options))
    ));
    let trace =
        prepared("TRACE / HTTP/1.1\r\nHost: a\r\nCookie: secret\r\nMax-Forwards: 0\r\n\r\n");
    let Ok(Prepared::ToProxy(ProxyRequest::Trace(seen))) = trace else {
        panic!("{trace:?}");
    };
    assert_eq!(
        seen,
        b"TRACE / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n"
    );
}

#[test]
fn a_large_body_is_refused_before_it_comes() {
    let policy = HttpPolicy {
        max_body_bytes: Some(10),
        ..HttpPolicy::default()
    };
    let post =
        |length: u32| format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    assert!(prepared_with(&post(10), &policy).is_ok());
    let refused = prepared_with(&post(11), &policy).unwrap_err();
    assert_eq!(refused, Refusal::BodyTooLarge { limit: 10 });
}

#[test]
fn what_the_log_tells_is_marked_where_it_was_written() {
    let told = |head: &str| {
        let (text, request) = forwarded_with(head, &HttpPolicy::default());
        let FieldSpans {
            request_line,
            user_agent,
            referer,
            request_id,
            traceparent,
        } = request.spans;
        [request_line, user_agent, referer, request_id, traceparent]
            .map(|span| text[span.range()].to_owned())
    };
    let given = told(
        "GET http://a/b HTTP/1.1\r\nHost: z\r\nreferer:  there \r\nConnection: X-Hop\r\nX-Hop: 1\r\nA: b\r\n\
         User-Agent: first\r\nX-Request-Id: mine\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\
         User-Agent: second\r\n\r\n",
    );
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    assert_eq!(given, ["GET /b HTTP/1.1", "first", "there", "mine", trace]);
    let made = told("GET / HTTP/1.0\r\nX-Request-Id: a\r\nX-Request-Id: b\r\n\r\n");
    assert_eq!(made[..3], ["GET / HTTP/1.1", "", ""]);
    assert_eq!(made[3], format!("{:032x}", 10), "two are none");
    assert!(made[4].starts_with(&format!("00-{:032x}-", 10)), "{made:?}");
}

#[test]
fn a_route_changes_the_head_for_the_server() {
    let head = "GET /api/x?y HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nUser-Agent: u\r\nx-forwarded-for: 9.9.9.9\r\n\r\n";
    let limits = HeadLimits {
        bytes: 4096,
        fields: 30,
    };
    let policy = HttpPolicy::default();
    let mut fields = Vec::new();
    let request = parse_request(head.as_bytes(), limits, &mut fields).unwrap();
    let context = ForwardingContext {
        peer: &Peer::new(([192, 0, 2, 7], 5000).into(), Scheme::Http, &policy),
        local: None,
        policy: &policy,
        facts: RequestFacts::default(),
        ids: Ids::new(10, 11),
    };
    let changes = MessageChanges {
        path_prefix: Some(PathPrefixChange {
            prefix: "/api".into(),
            replacement: String::new(),
        }),
        host: Some("inner:81".into()),
        request: crate::model::FieldChanges {
            remove: vec!["x-a".into(), "traceparent".into()],
            set: [("X-B".to_owned(), "2".to_owned())].into(),
        },
        ..MessageChanges::default()
    };
    let accepted = accept(head.as_bytes(), &request, &fields, &context).unwrap();
    let accepted = (&accepted, Some(&changes));
    let request = write(
        head.as_bytes(),
        &request,
        &fields,
        &context,
        accepted,
        Vec::new(),
    );
    let text = String::from_utf8(request.head.clone()).unwrap();
    assert!(
        text.starts_with("GET /x?y HTTP/1.1\r\nHost: inner:81\r\n"),
        "{text}"
    );
    assert_eq!(values(&text, "host"), ["inner:81"]);
    assert_eq!(
        values(&text, "x-forwarded-host"),
        ["a"],
        "what the client asked for"
    );
    assert_eq!(values(&text, "x-forwarded-for"), ["192.0.2.7"]);
    assert_eq!(values(&text, "x-b"), ["2"]);
    assert!(values(&text, "x-a").is_empty() && values(&text, "traceparent").is_empty());
    assert!(text.ends_with("\r\n\r\n"));
    assert_eq!(request.spans.user_agent.of(&request.head), b"u");
    assert_eq!(
        request.spans.request_line.of(&request.head),
        b"GET /x?y HTTP/1.1"
    );
}

#[test]
fn servers_are_told_the_certificate_and_nobody_else_tells_them_of_one() {
    let policy = HttpPolicy::default();
    let head = "GET / HTTP/1.1\r\nHost: a\r\nClient-Cert: :Zm9yZ2Vk:\r\nClient-Cert-Chain: :Zm9yZ2Vk:\r\n\
        client_cert: forged\r\n\r\n";
    let peer =
        |policy: &HttpPolicy| Peer::new(([192, 0, 2, 7], 5000).into(), Scheme::Https, policy);
    let passes = HttpPolicy {
        forwarded_headers: ForwardedHeaders::Off,
        ..HttpPolicy::default()
    };
    for (peer, expected) in [
        (peer(&policy), &[][..]),
        (peer(&policy).telling_certificate(None), &[]),
        (
            peer(&policy).telling_certificate(Some(b"\x01\x02")),
            &[":AQI=:"],
        ),
        (peer(&passes).telling_certificate(None), &[]),
        (
            peer(&passes).telling_certificate(Some(b"\x01\x02")),
            &[":AQI=:"],
        ),
    ] {
        let Ok(Prepared::Forward(request)) = prepared_for(head, &peer, &policy) else {
            panic!("it is forwarded");
        };
        let text = String::from_utf8(request.head).unwrap();
        assert_eq!(values(&text, "client-cert"), expected, "{text}");
        assert!(
            !text.contains("forged") && !text.contains("Zm9yZ2Vk"),
            "{text}"
        );
    }
}
