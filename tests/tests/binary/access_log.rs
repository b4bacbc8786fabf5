//! The access log: a line for each request, and what it tells.

use std::{fs, net::SocketAddr, path::Path};

use serde_json::Value;
use weldr_tests::{
    daemon::Daemon,
    origin::{Origin, ReservedPort},
    process::Program,
    raw::{self, Client},
    wait,
};

async fn logging(format: &str) -> Daemon {
    let options = ["--access-log", format, "--access-log-file", "access.log"];
    Daemon::run(Program::weldr().args(options)).await
}

/// The lines of the log, once there are `count`.
async fn lines(file: &Path, count: usize) -> Vec<String> {
    wait::until(format!("{count} lines"), async || {
        let text = fs::read_to_string(file).unwrap_or_default();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if lines.len() < count {
            return Err(text);
        }
        Ok(lines)
    })
    .await
}

async fn send(proxy: SocketAddr, request: &str) -> u16 {
    Client::connect(proxy)
        .await
        .exchange("GET", request)
        .await
        .status
}

#[tokio::test(flavor = "multi_thread")]
async fn json_has_the_client_the_request_and_the_result() {
    let (weldr, origin) = (logging("json").await, Origin::saying("hello"));
    let proxy = weldr.proxy();
    assert_eq!(
        send(proxy, "GET /none HTTP/1.1\r\nHost: a\r\n\r\n").await,
        503
    );
    weldr.add(origin.address()).await;
    let request = "GET /a?b=c HTTP/1.1\r\nHost: a\r\nUser-Agent: first\r\nUser-Agent: \r\n\
                   Referer: http://r/\r\nX-Request-Id: id-7\r\n\
                   traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n";
    assert_eq!(send(proxy, request).await, 200);
    assert_eq!(send(proxy, "GET / HTTP/1.1\r\n\r\n").await, 400);

    let file = weldr.process().directory().join("access.log");
    let lines = lines(&file, 3).await;
    let parse = |line: &String| serde_json::from_str::<Value>(line).expect("a line of JSON");
    let lines: Vec<Value> = lines.iter().map(parse).collect();
    // Each worker hands its lines over when it likes to.
    let of_target = |target: &str| {
        let found = lines.iter().find(|line| line["target"] == target);
        found.unwrap_or_else(|| panic!("{target} is not in {lines:#?}"))
    };
    let [none, completed, refused] = ["/none", "/a?b=c", "/"].map(of_target);
    for (line, status) in [(none, 503), (completed, 200), (refused, 400)] {
        assert_eq!(line["method"], "GET", "{line}");
        assert_eq!(line["status"], status, "{line}");
        let client = line["client"].as_str().unwrap_or_default();
        assert!(client.starts_with("127.0.0.1:"), "{line}");
        assert!(
            line["total_us"].is_u64() && line["queue_us"].is_u64(),
            "{line}"
        );
    }
    assert_eq!(completed["server"], origin.address().to_string());
    assert_eq!(completed["bytes_sent"], 5);
    assert_eq!(completed["retries"], 0);
    assert_eq!(completed["termination"], "complete");
    assert!(
        completed["connect_us"].is_u64() && completed["first_byte_us"].is_u64(),
        "{completed}"
    );
    assert_eq!(
        completed["user_agent"], "first",
        "the first of several counts"
    );
    assert_eq!(completed["referer"], "http://r/");
    assert_eq!(completed["request_id"], "id-7");
    assert_eq!(completed["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    for line in [none, refused] {
        assert_eq!(line["server"], Value::Null);
        assert_ne!(line["termination"], "complete");
    }
}

/// The client is who the last trusted proxy was connected to: what came before that may be anybody's claim.
#[tokio::test(flavor = "multi_thread")]
async fn behind_a_trusted_proxy_it_tells_the_client_and_the_peer() {
    let options = ["--access-log", "json", "--access-log-file", "access.log"];
    let trust = ["--trusted-proxy", "127.0.0.0/8,10.0.0.0/8"];
    let weldr = Daemon::run(Program::weldr().args(options).args(trust)).await;
    let origin = Origin::saying("hello");
    weldr.add(origin.address()).await;
    let cases = [
        ("/none", "", None),
        ("/one", "X-Forwarded-For: 192.0.2.1\r\n", Some("192.0.2.1")),
        (
            "/claimed",
            "X-Forwarded-For: 203.0.113.9, 192.0.2.1, 10.0.0.1\r\n",
            Some("192.0.2.1"),
        ),
        (
            "/lines",
            "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 10.0.0.1\r\n",
            Some("192.0.2.1"),
        ),
        (
            "/standard",
            "Forwarded: for=192.0.2.1, for=\"[2001:db8::7]:4711\";proto=https\r\n",
            Some("[2001:db8::7]:4711"),
        ),
        ("/unknown", "X-Forwarded-For: 192.0.2.1, unknown\r\n", None),
        ("/malformed", "Forwarded: for=\"192.0.2.1\r\n", None),
    ];
    for (target, lines, _) in cases {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        assert_eq!(send(weldr.proxy(), &request).await, 200);
    }
    // Refused before it goes anywhere.
    let refused = "GET /refused HTTP/1.1\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n";
    assert_eq!(send(weldr.proxy(), refused).await, 400);
    let file = weldr.process().directory().join("access.log");
    let lines = lines(&file, cases.len() + 1).await;
    let parse = |line: &String| serde_json::from_str::<Value>(line).expect("a line of JSON");
    let lines: Vec<Value> = lines.iter().map(parse).collect();
    let expected = cases.iter().map(|&(target, _, client)| (target, client));
    for (target, client) in expected.chain([("/refused", Some("192.0.2.1"))]) {
        let found = lines.iter().find(|line| line["target"] == target);
        let line = found.unwrap_or_else(|| panic!("{target} is not in {lines:#?}"));
        let peer = line["peer"].as_str().unwrap_or_default();
        assert!(peer.starts_with("127.0.0.1:"), "{line}");
        assert_eq!(line["client"], client.unwrap_or(peer), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_moved_away_is_begun_anew() {
    let weldr = logging("combined").await;
    let file = weldr.process().directory().join("access.log");
    raw::get(weldr.proxy(), "/before").await;
    let before = lines(&file, 1).await;
    assert!(
        before[0].contains("\"GET /before HTTP/1.1\" 503 "),
        "{before:?}"
    );
    fs::rename(&file, file.with_extension("old")).expect("to move the log");
    wait::until("a line in the new file", async || {
        raw::get(weldr.proxy(), "/after").await;
        let text = fs::read_to_string(&file).unwrap_or_default();
        if text.contains("GET /after HTTP/1.1") {
            Ok(())
        } else {
            Err(text)
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logfmt_has_the_chosen_fields_and_no_client_adds_one() {
    let options = ["--access-log", "logfmt", "--access-log-file", "access.log"];
    let fields = ["--access-log-fields", "user_agent,status,target"];
    let weldr = Daemon::run(Program::weldr().args(options).args(fields)).await;
    let request = "GET /a?b HTTP/1.1\r\nHost: a\r\nUser-Agent: x\" status=200 y=\"\u{9b}\t\r\n\r\n";
    assert_eq!(send(weldr.proxy(), request).await, 503);
    let file = weldr.process().directory().join("access.log");
    let expected = r#"target=/a?b status=503 user_agent="x\" status=200 y=\"\u009b""#;
    assert_eq!(lines(&file, 1).await, [expected]);
}

/// Nothing is in a sample of 0 but what failed, each of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_sample_leaves_out_successes_alone() {
    let options = ["--access-log", "logfmt", "--access-log-file", "access.log"];
    let sample = [
        "--access-log-sample",
        "0",
        "--access-log-fields",
        "target,status",
    ];
    let options = options.iter().chain(&sample);
    let weldr = Daemon::run(Program::weldr().args(options).arg("--retries").arg("0")).await;
    let proxy = weldr.proxy();
    let get = async |target: &str| {
        let mut client = Client::connect(proxy).await;
        let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        client.send(request).await;
        // A response may end too early.
        let _ = client.until_end().await;
    };
    get("/none").await;
    let origin = Origin::script(|mut conversation| async move {
        while let Some(head) = conversation.head().await {
            let response = match head.line[1].as_str() {
                "/failed" => "HTTP/1.1 500 Sorry\r\nContent-Length: 0\r\n\r\n",
                "/broken" => "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
                "/missing" => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            };
            conversation.write(response).await;
            if head.line[1] == "/broken" {
                return;
            }
        }
    });
    weldr.add(origin.address()).await;
    for target in ["/fine", "/failed", "/missing", "/broken", "/fine"] {
        get(target).await;
    }
    assert_eq!(send(proxy, "GET /refused HTTP/1.1\r\n\r\n").await, 400);
    let file = weldr.process().directory().join("access.log");
    let mut lines = lines(&file, 4).await;
    lines.sort();
    let expected = [
        "target=/broken status=200",
        "target=/failed status=500",
        "target=/none status=503",
        "target=/refused status=400",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_has_each_request_of_which_an_attempt_failed() {
    let options = ["--access-log", "logfmt", "--access-log-file", "access.log"];
    let sample = ["--access-log-sample", "0", "--access-log-fields", "status"];
    let (refusing, origin) = (ReservedPort::new(), Origin::saying("hi"));
    let port = origin.address().port().to_string();
    let checks = ["--check-port", &port, "--unhealthy-threshold", "100"];
    let options = options.iter().chain(&sample).chain(&checks);
    let weldr = Daemon::run(Program::weldr().args(options)).await;
    weldr.add(refusing.address()).await;
    weldr.add(origin.address()).await;
    let file = weldr.process().directory().join("access.log");
    wait::until("a line of a request that was sent again", async || {
        assert_eq!(raw::get(weldr.proxy(), "/").await.status, 200);
        let text = fs::read_to_string(&file).unwrap_or_default();
        if text.starts_with("status=200\n") {
            Ok(())
        } else {
            Err(text)
        }
    })
    .await;
}
