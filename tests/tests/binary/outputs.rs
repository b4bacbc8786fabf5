//! Standard output, standard error and log files that are closed, full or not read: nothing blocks and nothing ends.

use std::{
    fs,
    io::{PipeReader, PipeWriter, Write as _},
    net::{SocketAddr, TcpListener},
};

use serde_json::Value;
use weldr_proto::v1::HealthState;
use weldr_tests::{
    daemon::Daemon,
    origin::Origin,
    process::{Program, Signal, Stream},
    raw::{self, Client},
    wait,
};

use super::{busy::Busy, guard::Guard};

/// A message with two equal lengths: `--desync-mode monitor` forwards it and logs a line.
const TWICE: &str =
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello";

/// The writing end of a pipe that nobody can read.
fn closed_pipe() -> PipeWriter {
    let (_reader, writer) = std::io::pipe().unwrap();
    writer
}

/// The writing end of a pipe that is full; it stays so while the reader lives.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let size = rustix::pipe::fcntl_getpipe_size(&writer).unwrap();
    writer.write_all(&vec![b'x'; size]).unwrap();
    (reader, writer)
}

/// Manages servers, notices one that dies, finishes the running request and stops.
async fn goes_on_and_stops(mut busy: Busy) {
    let mut origin = Origin::saying("hi");
    busy.weldr.add(origin.address()).await;
    origin.stop().await;
    busy.weldr
        .reaches(origin.address(), HealthState::Unhealthy)
        .await;
    let listed = raw::get(busy.weldr.management(), "/servers").await;
    assert_eq!(listed.status, 200, "{listed}");

    busy.weldr.process().signal(Signal::TERM);
    wait::until("the stop", async || {
        match raw::get(busy.weldr.management(), "/readyz").await {
            readyz if readyz.status == 503 => Ok(()),
            readyz => Err(readyz),
        }
    })
    .await;
    busy.open(1);
    busy.gets_its_response().await;
    let finished = busy.weldr.finished().await;
    assert_eq!(finished.code(), Some(0), "{finished:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standard_error_that_was_closed_changes_nothing() {
    let mut busy = Busy::start(Program::weldr()).await;
    busy.weldr.process_mut().close(Stream::Stderr).await;
    goes_on_and_stops(busy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unread_standard_error_changes_nothing() {
    let busy = Busy::start(Program::weldr().env("RUST_LOG", "trace")).await;
    busy.weldr.process().stall(Stream::Stderr);
    goes_on_and_stops(busy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unread_log_stops_no_traffic() {
    let origin = Origin::saying("hi");
    let options = ["--desync-mode", "monitor", "--workers", "1"];
    let weldr = Daemon::run(Program::weldr().args(options)).await;
    weldr.add(origin.address()).await;
    weldr.process().stall(Stream::Stderr);
    for _ in 0..100 {
        let mut client = Client::connect(weldr.proxy()).await;
        let response = client.exchange("POST", TWICE).await;
        assert_eq!(response.status, 200, "{response}");
    }
    let finished = weldr.terminate().await;
    assert_eq!(finished.code(), Some(0), "{finished:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_on_a_full_device_changes_nothing() {
    let program = Program::weldr_bare().arg("--demo");
    let mut weldr = program.writing_to(Stream::Stderr, "/dev/full").start();
    let proxy = weldr.logged_address("weldr proxies").await;
    let management = weldr.logged_address("/servers").await;
    let origin = Origin::saying("hi");
    let address = origin.address();
    let server = serde_json::json!({"ip": address.ip(), "port": address.port()});
    let added = raw::request(management, "POST", "/servers", &server.to_string()).await;
    assert_eq!(added.status, 201, "{added}");
    assert_eq!(raw::get(proxy, "/").await.status, 200);
    let finished = weldr.terminate().await;
    assert_eq!(finished.code(), Some(0), "{finished:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_a_full_disk_cut_is_ended_and_lost_lines_are_counted() {
    let program = Program::weldr().writing_to(Stream::Stderr, "log");
    let weldr = Daemon::run(program).await;
    let log = weldr.process().directory().join("log");
    let length = || fs::metadata(&log).unwrap().len();
    let limit = length() + 10;
    weldr.process().limit_files(Some(limit));
    let mut origin = Origin::saying("hi");
    weldr.add(origin.address()).await;
    origin.stop().await;
    weldr
        .reaches(origin.address(), HealthState::Unhealthy)
        .await;
    assert_eq!(length(), limit, "the disk is full");

    weldr.process().limit_files(None);
    weldr.process().logs("lines of the log were lost").await;
    let text = fs::read_to_string(&log).unwrap();
    let (before, after) = text.split_at(usize::try_from(limit).unwrap());
    assert!(!before.ends_with('\n'), "{text}");
    assert!(after.starts_with('\n'), "{text}");
    let notice = after.lines().find(|line| line.contains("were lost"));
    assert!(notice.unwrap().contains("lines="), "{text}");
    assert_eq!(weldr.terminate().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unread_access_log_does_not_delay_a_stop() {
    let options = ["--access-log", "json", "--shutdown-timeout", "1s"];
    let weldr = Daemon::run(Program::weldr().args(options)).await;
    weldr.process().stall(Stream::Stdout);
    for _ in 0..100 {
        assert_eq!(raw::get(weldr.proxy(), "/").await.status, 503);
    }
    let finished = weldr.terminate().await;
    assert_eq!(finished.code(), Some(0), "{finished:#?}");
    let lost = "the access log could not be written in time";
    assert!(finished.stderr.contains(lost), "{finished:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_log_that_was_closed_counts_what_it_loses() {
    let mut weldr = Daemon::run(Program::weldr().args(["--access-log", "json"])).await;
    weldr.process_mut().close(Stream::Stdout).await;
    assert_eq!(raw::get(weldr.proxy(), "/").await.status, 503);
    weldr
        .process()
        .logs("the access log cannot be written")
        .await;
    assert_eq!(raw::get(weldr.proxy(), "/").await.status, 503);
    let finished = weldr.terminate().await;
    assert_eq!(finished.code(), Some(0), "{finished:#?}");
    let lost = "lines of the access log were lost";
    let line = finished.stderr.lines().find(|line| line.contains(lost));
    assert!(
        line.is_some_and(|line| line.contains("lost=2")),
        "{finished:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_log_on_a_full_disk_goes_on_with_whole_lines() {
    let options = ["--access-log", "json", "--access-log-file", "access.log"];
    let weldr = Daemon::run(Program::weldr().args(options)).await;
    let file = weldr.process().directory().join("access.log");
    weldr.process().limit_files(Some(10));
    assert_eq!(raw::get(weldr.proxy(), "/lost").await.status, 503);
    weldr
        .process()
        .logs("the access log cannot be written")
        .await;
    weldr.process().limit_files(None);
    let text = wait::until("a line after the one that was cut", async || {
        assert_eq!(raw::get(weldr.proxy(), "/kept").await.status, 503);
        let text = fs::read_to_string(&file).unwrap();
        match text.lines().nth(1) {
            Some(_) if text.ends_with('\n') => Ok(text),
            _ => Err(text),
        }
    })
    .await;
    weldr
        .process()
        .logs("lines of the access log were lost")
        .await;
    let mut lines = text.lines();
    assert_eq!(lines.next().map(str::len), Some(10), "{text}");
    for line in lines {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["target"], "/kept", "{text}");
    }
    assert_eq!(weldr.terminate().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_whose_output_was_closed_end_as_they_would() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let cases: [(&str, &[&str], i32); 9] = [
        ("weldr", &["check-config"], 0),
        ("weldr", &["--help"], 0),
        ("weldr", &["--no-such-option"], 2),
        ("weldr", &["--config", "missing.toml"], 2),
        ("weldr", &["--ephemeral", "--listen", &taken], 1),
        ("weldrctl", &["--help"], 0),
        ("weldrctl", &["completions", "bash"], 0),
        ("weldrctl", &["--endpoint", "127.0.0.1:1", "list"], 3),
        ("test-server", &[&taken], 1),
    ];
    for (name, args, code) in cases {
        let program = Program::new(name)
            .args(args)
            .writing_into(Stream::Stdout, closed_pipe())
            .writing_into(Stream::Stderr, closed_pipe());
        let finished = program.run().await;
        assert_eq!(finished.code(), Some(code), "{name} {args:?}: {finished:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn weldrctl_ends_quietly_when_its_output_was_closed() {
    let (weldr, origin) = (Daemon::start().await, Origin::saying("hi"));
    weldr.add(origin.address()).await;
    for args in [&["list"] as &[&str], &["list", "-o", "json"], &["stats"]] {
        let program = weldr.weldrctl(args);
        let finished = program
            .writing_into(Stream::Stdout, closed_pipe())
            .run()
            .await;
        assert_eq!(finished.code(), Some(0), "{args:?}: {finished:?}");
        assert_eq!(finished.stderr, "", "{args:?}");
    }
    assert_eq!(weldr.terminate().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_at_the_start_waits_for_no_reader() {
    let (_reader, writer) = full_pipe();
    let program = Program::weldr().args(["--config", "missing.toml"]);
    let finished = program.writing_into(Stream::Stderr, writer).run().await;
    assert_eq!(finished.code(), Some(2), "{finished:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_cannot_be_printed_is_an_error() {
    let program = Program::weldr().arg("check-config");
    let finished = program.writing_to(Stream::Stdout, "/dev/full").run().await;
    assert_eq!(finished.code(), Some(1), "{finished:#?}");
    assert!(
        finished.stderr.contains("No space left on device"),
        "{finished:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demonstration_with_unread_output_serves() {
    let (_reader, writer) = full_pipe();
    let program = Program::weldr_bare().arg("--demo");
    let weldr = Daemon::run(program.writing_into(Stream::Stdout, writer)).await;
    let proxy: SocketAddr = weldr.proxy();
    wait::until("a response", async || match raw::get(proxy, "/").await {
        response if response.status == 200 => Ok(()),
        other => Err(other),
    })
    .await;
    assert_eq!(weldr.terminate().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guard_of_virtual_addresses_drops_them_whatever_becomes_of_its_log() {
    let (_reader, full) = full_pipe();
    for log in [closed_pipe(), full] {
        let mut guard = Guard::start(|program| program.writing_into(Stream::Stderr, log)).await;
        guard.releases(1).await;
        guard.ends().await;
    }
}
