use std::{
    net::SocketAddr,
    time::{Duration, UNIX_EPOCH},
};

use serde_json::{Value, json};

use super::{
    line::{LogEntry, Times},
    style::{Json, Logfmt, Style},
};
use crate::{
    http1::{ClientAddress, Version},
    policy::{AccessLogField, AccessLogFields},
    proxy::transport::SecuredFacts,
};

const TRACE: &[u8] = b"0af7651916cd43dd8448eb211c80319c";

fn entry<'a>() -> LogEntry<'a> {
    LogEntry {
        time: UNIX_EPOCH + Duration::from_millis(784_111_777_042),
        date: *b"Sun, 06 Nov 1994 08:49:37 GMT",
        client: SocketAddr::from(([192, 0, 2, 7], 5000)).into(),
        peer: ([192, 0, 2, 9], 6000).into(),
        tls: None,
        request_line: b"GET /a\"b HTTP/1.1",
        version: Version::Http10,
        user_agent: b"curl \xff\n",
        referer: b"",
        request_id: b"7",
        trace_id: TRACE,
        status: 200,
        bytes_received: 1,
        bytes_sent: 2,
        listener: "web",
        rule: Some(10),
        pool: Some("api"),
        server: Some(([127, 0, 0, 1], 80).into()),
        retries: 1,
        times: Times {
            queue: Duration::from_micros(3),
            connect: None,
            first_byte: Some(Duration::from_micros(4)),
            total: Duration::from_millis(5),
        },
        termination: "complete",
        error: b"",
    }
}

fn facts() -> SecuredFacts {
    SecuredFacts {
        version: rustls::ProtocolVersion::TLSv1_3,
        suite: rustls::CipherSuite::TLS13_AES_128_GCM_SHA256,
        is_resumed: true,
        server_name: Some("shop.example.com".into()),
        certificate: None,
    }
}

fn written<S: Style>(entry: &LogEntry<'_>, fields: AccessLogFields) -> String {
    // Behind another line, as in a batch.
    let mut out = b"before\n".to_vec();
    entry.write::<S>(fields, &mut out);
    let text = String::from_utf8(out).unwrap();
    text.strip_prefix("before\n").unwrap().to_owned()
}

fn all<S: Style>(entry: &LogEntry<'_>) -> String {
    written::<S>(entry, AccessLogFields::default())
}

fn combined(entry: &LogEntry<'_>) -> String {
    let mut out = Vec::new();
    entry.write_combined(&mut out);
    String::from_utf8(out).unwrap()
}

fn some(fields: &[AccessLogField]) -> AccessLogFields {
    fields.iter().copied().collect()
}

#[test]
fn a_line_of_json() {
    let line = all::<Json>(&entry());
    assert!(line.starts_with("{\"time\":") && line.ends_with("}\n"));
    let expected = json!({
        "time": "1994-11-06T08:49:37.042Z", "client": "192.0.2.7:5000",
        "peer": "192.0.2.9:6000", "method": "GET", "target": "/a\"b",
        "version": "HTTP/1.0", "status": 200, "bytes_received": 1, "bytes_sent": 2, "listener": "web", "rule": 10,
        "pool": "api", "server": "127.0.0.1:80",
        "retries": 1, "queue_us": 3, "connect_us": null, "first_byte_us": 4, "total_us": 5000,
        "termination": "complete", "request_id": "7", "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "user_agent": "curl \u{ff}\n", "referer": "",
    });
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), expected);
}

#[test]
fn a_line_of_logfmt() {
    let line = all::<Logfmt>(&entry());
    let expected = r#"time=1994-11-06T08:49:37.042Z client=192.0.2.7:5000 peer=192.0.2.9:6000 method=GET target="/a\"b" version=HTTP/1.0 status=200 bytes_received=1 bytes_sent=2 listener=web rule=10 pool=api server=127.0.0.1:80 retries=1 queue_us=3 first_byte_us=4 total_us=5000 termination=complete request_id=7 trace_id=0af7651916cd43dd8448eb211c80319c user_agent="curl \u00ff\u000a" referer="""#;
    assert_eq!(line, format!("{expected}\n"));
}

#[test]
fn a_line_of_the_combined_format() {
    assert_eq!(
        combined(&entry()),
        "192.0.2.7 - - [06/Nov/1994:08:49:37 +0000] \"GET /a\\\"b HTTP/1.0\" 200 2 \"-\" \"curl \\xff\\x0a\"\n"
    );
}

#[test]
fn a_connection_inside_tls_says_what_was_agreed_on() {
    let facts = facts();
    let entry = LogEntry {
        tls: Some(&facts),
        ..entry()
    };
    let json: Value = serde_json::from_str(&all::<Json>(&entry)).unwrap();
    let expected = json!({
        "version": "TLSv1.3", "suite": "TLS_AES_128_GCM_SHA256",
        "server_name": "shop.example.com", "resumed": true
    });
    assert_eq!(json["tls"], expected);
    let tls = some(&[AccessLogField::Tls]);
    assert_eq!(
        written::<Logfmt>(&entry, tls),
        "tls_version=TLSv1.3 tls_suite=TLS_AES_128_GCM_SHA256 tls_server_name=shop.example.com tls_resumed=true\n"
    );
}

/// Each field alone, and all but each.
#[test]
fn a_line_has_the_fields_that_were_chosen() {
    let facts = facts();
    let entry = LogEntry {
        tls: Some(&facts),
        error: b"why",
        ..entry()
    };
    let whole: Value = serde_json::from_str(&all::<Json>(&entry)).unwrap();
    let whole = whole.as_object().unwrap();
    let every: Vec<AccessLogField> = AccessLogFields::default().iter().collect();
    assert_eq!(whole.len(), every.len());
    for &field in &every {
        let name = serde_json::to_value(field).unwrap();
        let name = name.as_str().unwrap();
        let alone: Value = serde_json::from_str(&written::<Json>(&entry, some(&[field]))).unwrap();
        assert_eq!(alone, json!({ name: whole[name] }));
        let others = every.iter().copied().filter(|other| *other != field);
        let rest: Value = serde_json::from_str(&written::<Json>(&entry, others.collect())).unwrap();
        let mut expected = whole.clone();
        expected.remove(name);
        assert_eq!(rest, Value::Object(expected));
        let pairs = pairs(&written::<Logfmt>(&entry, some(&[field])));
        // The one value that is null there.
        assert_eq!(pairs.is_empty(), field == AccessLogField::ConnectUs);
        assert!(
            pairs.iter().all(|pair| pair.0.starts_with(name)),
            "{pairs:?}"
        );
    }
}

#[test]
fn a_line_without_any_of_its_fields_is_still_a_line() {
    let tls = some(&[AccessLogField::Tls]);
    assert_eq!(written::<Json>(&entry(), tls), "{}\n");
    assert_eq!(written::<Logfmt>(&entry(), tls), "\n");
}

#[test]
fn a_client_behind_a_proxy_may_have_no_port() {
    for (ip, port, written_as) in [
        ("2001:db8::7", None, "2001:db8::7"),
        ("2001:db8::7", Some(80), "[2001:db8::7]:80"),
        ("192.0.2.1", None, "192.0.2.1"),
    ] {
        let ip = ip.parse().unwrap();
        let entry = LogEntry {
            client: ClientAddress { ip, port },
            ..entry()
        };
        let client = some(&[AccessLogField::Client]);
        assert_eq!(
            written::<Logfmt>(&entry, client),
            format!("client={written_as}\n")
        );
    }
}

#[test]
fn each_month_has_its_number() {
    for (number, name) in (1..).zip([
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]) {
        let mut entry = entry();
        entry.date[8..11].copy_from_slice(name.as_bytes());
        let time = written::<Logfmt>(&entry, some(&[AccessLogField::Time]));
        assert_eq!(time, format!("time=1994-{number:02}-06T08:49:37.042Z\n"));
    }
}

/// What a client or a server may send to forge a line, a field, or what a terminal shows.
const HOSTILE: [&[u8]; 14] = [
    b"\n{\"status\":200,\"client\":\"10.0.0.1\"}",
    b"a\r\n192.0.2.1 - - [01/Jan/2000:00:00:00 +0000] \"GET / HTTP/1.1\" 200 0 \"-\" \"-\"",
    b"\",\"status\":200,\"x\":\"",
    b"\\\",\"status\":200,\"x\":\"",
    b"\\",
    b" status=200 client=10.0.0.1",
    b"x=1",
    b"\x1b[2J\x1b]0;owned\x07",
    "\u{9b}2J".as_bytes(),
    "a\u{2028}status=200\u{2029}\u{85}b".as_bytes(),
    "user\u{202e}nimda".as_bytes(),
    b"\0\x7f\x08\x0b\x0c",
    b"\xff\xfe\xc3(\xed\xa0\x80",
    b"<134>1 - - - - - - forged",
];

/// Splits a line of logfmt as its readers do.
fn pairs(line: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = line.trim_end_matches('\n');
    while !rest.is_empty() {
        let (name, value) = rest.split_once('=').unwrap();
        let length = if value.starts_with('"') {
            let mut texts = serde_json::Deserializer::from_str(value).into_iter::<String>();
            let text = texts.next().unwrap().unwrap();
            found.push((name.to_owned(), text));
            texts.byte_offset()
        } else {
            let length = value.find(' ').unwrap_or(value.len());
            found.push((name.to_owned(), value[..length].to_owned()));
            length
        };
        rest = value[length..].trim_start_matches(' ');
    }
    found
}

fn as_read(text: &[u8]) -> String {
    let latin1 = || text.iter().copied().map(char::from).collect();
    std::str::from_utf8(text).map_or_else(|_| latin1(), str::to_owned)
}

fn forges_nothing(line: &str) {
    let body = line.strip_suffix('\n').unwrap();
    let is_harmless =
        |char: char| !char.is_control() && !matches!(char, '\u{2028}' | '\u{2029}' | '\u{202e}');
    assert!(body.chars().all(is_harmless), "{line:?}");
}

#[test]
fn hostile_values_stay_values() {
    for text in HOSTILE {
        let request_line = [b"GET /", text].concat();
        let entry = LogEntry {
            request_line: &request_line,
            user_agent: text,
            referer: text,
            request_id: text,
            trace_id: text,
            error: text,
            ..entry()
        };
        let read = as_read(text);
        let line = all::<Json>(&entry);
        forges_nothing(&line);
        let json: Value = serde_json::from_str(&line).unwrap();
        let logfmt = all::<Logfmt>(&entry);
        forges_nothing(&logfmt);
        let pairs = pairs(&logfmt);
        // One of its values is null, which logfmt leaves out.
        assert_eq!(pairs.len() + 1, json.as_object().unwrap().len(), "{logfmt}");
        for name in ["user_agent", "referer", "request_id", "trace_id", "error"] {
            assert_eq!(json[name], read, "{line}");
            let found: Vec<_> = pairs.iter().filter(|pair| pair.0 == name).collect();
            assert_eq!(found, [&(name.to_owned(), read.clone())], "{logfmt}");
        }
        assert_eq!(json["status"], 200);
        assert!(pairs.contains(&("status".to_owned(), "200".to_owned())));

        let line = combined(&entry);
        forges_nothing(&line);
        // Without what is escaped, there are the quotes of the three fields.
        let quotes = line.replace("\\\\", "").replace("\\\"", "");
        assert_eq!(quotes.matches('"').count(), 6, "{line}");
    }
}
