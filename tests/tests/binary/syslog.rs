//! The access log, sent to a syslog collector.

use std::time::SystemTime;

use tokio::net::{UdpSocket, UnixDatagram};
use weldr_tests::{daemon::Daemon, process::Program, raw, wait};

async fn logging_to(collector: &str) -> Daemon {
    let options = ["--access-log", "logfmt", "--access-log-syslog", collector];
    Daemon::run(Program::weldr().args(options)).await
}

/// Parses a message by RFC 5424, section 6, and gives its text.
fn text_of(message: &[u8]) -> String {
    let message = std::str::from_utf8(message).expect("UTF-8");
    let parts: Vec<&str> = message.splitn(8, ' ').collect();
    let [priority, time, host, app, process, kind, data, text] = parts[..] else {
        panic!("not a message: {message}");
    };
    // Local0 and informational: 16 * 8 + 6.
    assert_eq!(priority, "<134>1", "{message}");
    let sent = humantime::parse_rfc3339(time).expect("a time");
    assert!(sent <= SystemTime::now(), "{message}");
    assert!(!host.is_empty() && process.parse::<u32>().is_ok());
    assert_eq!([app, kind, data], ["weldr", "access", "-"], "{message}");
    text.to_owned()
}

fn has_request(text: &str, target: &str) {
    let parts = [&format!(" target={target} "), " status=503 "];
    assert!(parts.iter().all(|part| text.contains(*part)), "{text}");
    assert!(text.starts_with("time=") && !text.contains('\n'), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_line_is_a_datagram_by_udp() {
    for ip in ["127.0.0.1:0", "[::1]:0"] {
        let collector = UdpSocket::bind(ip).await.expect("a socket");
        let address = collector.local_addr().expect("an address");
        let weldr = logging_to(&format!("udp://{address}")).await;
        for target in ["/first", "/second"] {
            assert_eq!(raw::get(weldr.proxy(), target).await.status, 503);
            let mut message = vec![0; 4096];
            let length = wait::bounded("a message", collector.recv(&mut message)).await;
            message.truncate(length.expect("a message"));
            has_request(&text_of(&message), target);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_collector_may_come_later_and_what_it_missed_is_counted() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("log");
    let weldr = logging_to(&format!("unix://{}", path.display())).await;
    for _ in 0..3 {
        assert_eq!(raw::get(weldr.proxy(), "/missed").await.status, 503);
    }
    weldr
        .process()
        .logs("the access log cannot be written")
        .await;
    let collector = UnixDatagram::bind(&path).expect("a socket");
    let mut message = vec![0; 4096];
    let text = wait::until("a message", async || {
        assert_eq!(raw::get(weldr.proxy(), "/seen").await.status, 503);
        match collector.try_recv(&mut message) {
            Ok(length) => Ok(text_of(&message[..length])),
            Err(error) => Err(error),
        }
    })
    .await;
    assert!(text.contains(" status=503 "), "{text}");
    let finished = weldr.terminate().await;
    assert_eq!(finished.code(), Some(0), "{finished:#?}");
    let lost = "lines of the access log were lost";
    assert!(finished.stderr.contains(lost), "{finished:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_by_udp_costs_lines_and_nothing_else() {
    let collector = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let address = collector.local_addr().expect("an address");
    drop(collector);
    let weldr = logging_to(&format!("udp://{address}")).await;
    for _ in 0..100 {
        assert_eq!(raw::get(weldr.proxy(), "/").await.status, 503);
    }
    let finished = weldr.terminate().await;
    assert_eq!(finished.code(), Some(0), "{finished:#?}");
    let lost = "lines of the access log were lost";
    let line = finished.stderr.lines().find(|line| line.contains(lost));
    // Of the last datagram, nobody says that it was refused.
    assert!(
        line.is_some_and(|line| line.contains("lost=99")),
        "{finished:#?}"
    );
}
