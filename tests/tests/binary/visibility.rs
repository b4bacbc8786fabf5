//! What an operator sees of failures without asking for more.

use std::fs;

use serde_json::Value;
use weldr_tests::{
    daemon::Daemon,
    origin::{Origin, ReservedPort},
    process::Program,
    raw, wait,
};

/// A server whose responses have two different lengths.
fn ambiguous() -> Origin {
    Origin::script(|mut conversation| async move {
        while conversation.request().await.is_some() {
            let lengths = "Content-Length: 3\r\nContent-Length: 4\r\n";
            conversation
                .write(format!("HTTP/1.1 200 OK\r\n{lengths}\r\nabcd"))
                .await;
        }
    })
}

fn failure_lines(log: &str) -> Vec<&str> {
    log.lines()
        .filter(|line| line.contains("request failed"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_response_is_logged_with_the_server_and_the_cause() {
    const CAUSE: &str = "Content-Length";
    let origin = ambiguous();
    let options = [
        "--access-log",
        "json",
        "--access-log-file",
        "access.log",
        "--workers",
        "1",
    ];
    let weldr = Daemon::run(Program::weldr().args(options)).await;
    weldr.add(origin.address()).await;
    for _ in 0..20 {
        let response = raw::get(weldr.proxy(), "/").await;
        assert_eq!(response.status, 502, "{response}");
        let details = response.fields.get("proxy-status").unwrap_or_default();
        assert!(
            details.contains(CAUSE),
            "the client reads the cause: {response}"
        );
    }
    let file = weldr.process().directory().join("access.log");
    let line = wait::until("a line of the access log", async || {
        let text = fs::read_to_string(&file).unwrap_or_default();
        text.lines().next().map(str::to_owned).ok_or(text)
    })
    .await;
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["termination"], "http_protocol_error", "{line}");
    assert!(
        line["bytes_sent"].as_u64() > Some(0),
        "the body of the reply: {line}"
    );
    let error = line["error"].as_str().unwrap_or_default();
    assert!(error.contains(CAUSE), "{line}");

    let log = weldr.terminate().await.stderr;
    let failures = failure_lines(&log);
    let [failure] = failures[..] else {
        panic!("20 equal failures are one line: {failures:?}");
    };
    for part in [
        "WARN",
        &origin.address().to_string(),
        "http_protocol_error",
        CAUSE,
    ] {
        assert!(failure.contains(part), "{part} is not in {failure}");
    }
}

/// The head is written and the server's reset is read in one turn of the worker.
#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_the_server_breaks_off_at_once_has_its_status_in_the_log() {
    const REQUESTS: usize = 20;
    let origin = Origin::script(|mut conversation| async move {
        if conversation.request().await.is_some() {
            let head = "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n";
            conversation
                .write(format!("{head}{}", "x".repeat(100)))
                .await;
        }
    });
    let options = ["--access-log", "json", "--access-log-file", "access.log"];
    let weldr = Daemon::run(Program::weldr().args(options)).await;
    weldr.add(origin.address()).await;
    for _ in 0..REQUESTS {
        let mut client = raw::Client::connect(weldr.proxy()).await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        // The response ends too early.
        let _ = client.until_end().await;
    }
    let file = weldr.process().directory().join("access.log");
    let log = wait::until("all lines of the access log", async || {
        let text = fs::read_to_string(&file).unwrap_or_default();
        if text.lines().count() == REQUESTS {
            Ok(text)
        } else {
            Err(text)
        }
    })
    .await;
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let found = (&line["status"], &line["termination"]);
        assert_eq!(found, (&200.into(), &"http_response_incomplete".into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_is_logged_also_when_another_one_responds() {
    let (refusing, origin) = (ReservedPort::new(), Origin::saying("hi"));
    let port = origin.address().port().to_string();
    let options = ["--check-port", &port, "--unhealthy-threshold", "100"];
    let weldr = Daemon::run(Program::weldr().args(options)).await;
    weldr.add(refusing.address()).await;
    weldr.add(origin.address()).await;
    for _ in 0..10 {
        assert_eq!(raw::get(weldr.proxy(), "/").await.status, 200);
    }
    let log = weldr.terminate().await.stderr;
    let server = refusing.address().to_string();
    let failures = failure_lines(&log);
    let is_told = failures
        .iter()
        .any(|line| line.contains(&server) && line.contains("connection_refused"));
    assert!(is_told, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_pool_is_logged_and_counted() {
    let weldr = Daemon::start().await;
    assert!(weldr.stats().await.failures.is_empty());
    assert_eq!(raw::get(weldr.proxy(), "/").await.status, 503);
    let counted = [("destination_unavailable".to_owned(), 1)].into();
    assert_eq!(weldr.stats().await.failures, counted);
    let log = weldr.terminate().await.stderr;
    let failures = failure_lines(&log);
    assert!(
        failures
            .iter()
            .any(|line| line.contains("destination_unavailable")),
        "{log}"
    );
}
