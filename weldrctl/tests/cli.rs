//! Tests of the binary: exit codes, messages, and responses that a real weldr cannot be made to send.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test may stop at what it did not expect"
)]

mod scripted;

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Output, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use scripted::Script;
use serde_json::Value;

/// The time limit for a command in these tests.
const LONGEST: Duration = Duration::from_secs(20);

/// The endpoint of a command that does not connect.
const UNUSED: &str = "127.0.0.1:1";

/// An address on which nothing listens, because it was free a moment ago.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn weldrctl(endpoint: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weldrctl"));
    command
        .args(args)
        .env("WELDR_ENDPOINT", endpoint)
        .env_remove("NO_COLOR")
        .stdin(Stdio::null());
    command
}

fn run(endpoint: &str, args: &[&str]) -> Output {
    let child = weldrctl(endpoint, args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    end_of(child)
}

/// The output of a child process. If it does not exit in time, it is killed and the test fails.
fn end_of(mut child: Child) -> Output {
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > LONGEST {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("still runs after {LONGEST:?}: {:?}", stdout.join());
        }
        thread::sleep(Duration::from_millis(2));
    };
    Output {
        status,
        stdout: stdout.join().unwrap(),
        stderr: stderr.join().unwrap(),
    }
}

/// Reads to the end in a thread of its own, so that the child is never blocked by a full pipe.
fn drain(pipe: Option<impl io::Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            pipe.read_to_end(&mut bytes).unwrap();
        }
        bytes
    })
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn assert_exit(output: &Output, code: i32) {
    assert_eq!(
        output.status.code(),
        Some(code),
        "stdout: {}\nstderr: {}",
        stdout(output),
        stderr(output)
    );
}

#[test]
fn help_names_every_command_and_ends_with_examples() {
    let output = run(UNUSED, &["--help"]);
    assert_exit(&output, 0);
    let text = stdout(&output);
    for command in [
        "add",
        "remove",
        "drain",
        "ready",
        "maintenance",
        "set",
        "list",
        "get",
        "pool",
        "stats",
        "watch",
        "token",
        "whoami",
        "context",
        "completions",
    ] {
        assert!(
            text.contains(&format!("\n  {command} ")),
            "{command} in {text}"
        );
    }
    let examples = text
        .split("Examples:\n")
        .nth(1)
        .expect("examples at the end");
    assert_eq!(examples.trim_end().lines().count(), 3, "{examples}");
}

#[test]
fn every_option_of_the_short_help_is_one_line() {
    for command in [
        &["add", "-h"][..],
        &["remove", "-h"],
        &["set", "-h"],
        &["pool", "set", "-h"],
        &["stats", "-h"],
        &["token", "create", "-h"],
    ] {
        let output = run(UNUSED, command);
        let text = stdout(&output);
        // Options begin in the third or seventh column; a line that begins later continues the line before.
        let more = text.lines().find(|line| line.starts_with("          "));
        assert_eq!(more, None, "{command:?}");
    }
}

#[test]
fn wrong_usage_exits_with_2_and_dials_nothing() {
    let nowhere = free_address().to_string();
    for (args, part) in [
        (&["add", "localhost:80"][..], "ip:port"),
        (&["add"], "ADDR"),
        (&["frobnicate"], "frobnicate"),
        (
            &[
                "add",
                "127.0.0.1:80",
                "--check-type",
                "tcp",
                "--check-path",
                "/",
            ],
            "--check-type http",
        ),
        (
            &["add", "127.0.0.1:80", "--wait", "--weight", "0"],
            "does not become healthy",
        ),
        (
            &["remove", "127.0.0.1:80", "--now", "--deadline", "3s"],
            "--deadline",
        ),
        (&["set", "127.0.0.1:80"], "nothing to set"),
        (&["pool", "set"], "nothing to set"),
        (&["list", "--timeout", "5"], "time unit"),
        (&["list", "--timeout", "0"], "above 0"),
        (
            &["list", "--endpoint", "ftp://127.0.0.1:8687"],
            "http://127.0.0.1:8687",
        ),
    ] {
        let output = run(&nowhere, args);
        assert_exit(&output, 2);
        assert!(
            stderr(&output).contains(part),
            "{args:?}: {}",
            stderr(&output)
        );
        assert_eq!(stdout(&output), "");
    }
}

#[test]
fn nothing_listening_is_one_sentence_and_3() {
    let endpoint = free_address().to_string();
    for args in [
        &["list"][..],
        &["add", "127.0.0.1:80"],
        &["stats", "--watch"],
        &["watch"],
    ] {
        let output = run(&endpoint, args);
        assert_exit(&output, 3);
        assert_eq!(
            stderr(&output),
            format!(
                "weldrctl: cannot reach weldr at http://{endpoint}: connection refused; is it running? \
                 to use another address: --endpoint or WELDR_ENDPOINT\n"
            )
        );
    }
}

#[test]
fn a_server_that_never_responses_is_3_within_the_timeout() {
    // Connections wait in the queue and are not accepted.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    for args in [&["list"][..], &["watch"], &["stats", "--watch"]] {
        let output = run(&endpoint, &[args, &["--timeout", "200ms"]].concat());
        assert_exit(&output, 3);
        assert!(
            stderr(&output).contains("within 200ms"),
            "{}",
            stderr(&output)
        );
    }
}

#[test]
fn a_stream_that_begins_and_says_nothing_is_3_within_the_timeout() {
    let node = Script::start();
    let args = ["watch", "--pool", "silent", "--timeout", "200ms"];
    let output = run(&node.endpoint, &args);
    assert_exit(&output, 3);
    assert!(
        stderr(&output).contains("within 200ms"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn what_is_not_weldr_is_said_in_a_sentence() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        // Ends with the process.
        while let Ok((mut stream, _)) = listener.accept() {
            thread::spawn(move || {
                let mut request = [0; 1024];
                let _read = stream.read(&mut request);
                let _written = stream.write_all(
                    b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                );
            });
        }
    });
    for args in [&["list"][..], &["add", "127.0.0.1:80"], &["watch"]] {
        let output = run(&endpoint, args);
        assert_exit(&output, 3);
        let text = stderr(&output);
        assert!(text.contains("management port"), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}

#[test]
fn completions_are_scripts_that_their_shells_read() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(UNUSED, &["completions", shell]);
        assert_exit(&output, 0);
        let script = stdout(&output);
        assert!(script.contains("weldrctl"), "{shell}");
        assert!(script.contains("maintenance"), "{shell}");
        let parse = Command::new(shell)
            .arg("-n")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        // Not every machine has every shell.
        if let (Ok(mut parse), "bash" | "zsh" | "fish") = (parse, shell) {
            parse
                .stdin
                .take()
                .unwrap()
                .write_all(&output.stdout)
                .unwrap();
            assert!(parse.wait().unwrap().success(), "{shell} reads its script");
        }
    }
}

#[test]
fn each_address_is_tried_and_each_failure_is_told() {
    let node = Script::start();
    let args = ["add", "127.0.0.1:9001", "127.0.0.1:9409", "127.0.0.1:9002"];
    let output = run(&node.endpoint, &args);
    assert_exit(&output, 1);
    let out = stdout(&output);
    assert!(
        out.contains("127.0.0.1:9001 added: initial (check pending), revision"),
        "{out}"
    );
    assert!(out.contains("127.0.0.1:9002 added"), "{out}");
    assert!(!out.contains("\x1b["), "no colour on a pipe: {out:?}");
    assert_eq!(
        stderr(&output),
        "weldrctl: 127.0.0.1:9409: server is there with other settings: weight is 1, not 2\n"
    );

    let output = run(&node.endpoint, &[&args[..], &["--output", "json"]].concat());
    assert_exit(&output, 1);
    let document: Value = serde_json::from_slice(&output.stdout).expect("one document");
    let results = document["results"].as_array().expect("results");
    let outcomes: Vec<_> = results.iter().map(|result| &result["outcome"]).collect();
    assert_eq!(outcomes, ["unchanged", "failed", "unchanged"]);
    assert_eq!(results[0]["server"]["health"]["state"], "initial");
    assert!(
        results[1]["error"]
            .as_str()
            .unwrap()
            .contains("other settings")
    );
}

#[test]
fn a_write_without_an_response_leaves_open_whether_it_was_made() {
    let node = Script::start();
    let output = run(
        &node.endpoint,
        &[
            "add",
            "127.0.0.1:9408",
            "127.0.0.1:9409",
            "127.0.0.1:9001",
            "--timeout",
            "200ms",
        ],
    );
    assert_exit(&output, 3);
    let text = stderr(&output);
    let first = text.lines().next().unwrap();
    assert!(
        first.starts_with("weldrctl: 127.0.0.1:9408: no response from weldr at http://"),
        "{text}"
    );
    assert!(
        first.ends_with("the change may have been made, repeating it is safe"),
        "{text}"
    );
    assert!(
        stdout(&output).contains("127.0.0.1:9001 added"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn bad_fields_are_told_once_with_what_is_accepted() {
    let node = Script::start();
    let output = run(
        &node.endpoint,
        &["add", "127.0.0.1:9001", "--weight", "300"],
    );
    assert_exit(&output, 1);
    assert!(
        stderr(&output).contains("\n  weight: 300 is not accepted, 0 to 256 is\n"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn several_adds_with_a_condition_go_by_their_own_responses() {
    let node = Script::start();
    let first = ["add", "127.0.0.1:9001"];
    assert_exit(&run(&node.endpoint, &first), 0);
    let conditional = ["--expected-revision", "1"];
    let two = [
        &["add", "127.0.0.1:9002", "127.0.0.1:9003"][..],
        &conditional,
    ]
    .concat();
    assert_exit(&run(&node.endpoint, &two), 0);
    let late = [&["add", "127.0.0.1:9004"][..], &conditional].concat();
    let output = run(&node.endpoint, &late);
    assert_exit(&output, 1);
    assert!(stderr(&output).contains("changed"), "{}", stderr(&output));
}

#[test]
fn a_write_that_lost_a_race_is_read_and_written_again() {
    let node = Script::start();
    assert_exit(
        &run(
            &node.endpoint,
            &["add", "127.0.0.1:9001", "--check-expect", "200"],
        ),
        0,
    );
    node.abort_next_updates(2);
    let set = ["set", "127.0.0.1:9001", "--check-path", "/new"];
    let output = run(&node.endpoint, &set);
    assert_exit(&output, 0);
    let check = node.check_of("127.0.0.1:9001");
    assert_eq!(check, Some(("/new".to_owned(), "200".to_owned())));

    node.abort_next_updates(1);
    let output = run(
        &node.endpoint,
        &[&set[..], &["--expected-revision", "1"]].concat(),
    );
    assert_exit(&output, 1);
}

#[test]
fn a_wait_for_health_ends_with_health_or_with_its_time() {
    let node = Script::start();
    let output = run(&node.endpoint, &["add", "127.0.0.1:9001", "--wait"]);
    assert_exit(&output, 0);
    assert!(
        stdout(&output).contains("127.0.0.1:9001 is healthy (checks passed)\n"),
        "{}",
        stdout(&output)
    );

    let output = run(
        &node.endpoint,
        &["add", "127.0.0.1:9500", "--wait", "--wait-timeout", "200ms"],
    );
    assert_exit(&output, 1);
    assert_eq!(
        stderr(&output),
        "weldrctl: 127.0.0.1:9500: not healthy after 200ms: unhealthy (connection refused (3 checks failed \
         in a row))\n"
    );
}

#[test]
fn a_wait_for_a_removal_ends_when_the_server_is_gone() {
    let node = Script::start();
    assert_exit(&run(&node.endpoint, &["add", "127.0.0.1:9001"]), 0);
    let output = run(&node.endpoint, &["remove", "127.0.0.1:9001", "--wait"]);
    assert_exit(&output, 0);
    let text = stdout(&output);
    assert!(
        text.contains("127.0.0.1:9001 is being removed: draining"),
        "{text}"
    );
    assert!(text.ends_with("127.0.0.1:9001 is gone\n"), "{text}");
    // Progress is shown on a terminal only.
    assert_eq!(stderr(&output), "");

    let output = run(&node.endpoint, &["remove", "127.0.0.1:9001"]);
    assert_exit(&output, 1);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let node = Script::start();
    let mut child = weldrctl(&node.endpoint, &["stats", "--watch", "--interval", "100ms"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.contains(" client_rps=- "), "{line}");
    let output = end_of(child);
    assert_exit(&output, 0);
    assert_eq!(stderr(&output), "");
}

#[test]
fn stats_stop_after_the_count() {
    let node = Script::start();
    let args = ["stats", "--watch", "--interval", "100ms", "--count", "2"];
    let text = stdout(&run(&node.endpoint, &args));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].contains(" client_rps=- "), "{text}");
    assert!(lines[1].contains(" client_rps=100.0 "), "{text}");

    let json = run(&node.endpoint, &[&args[..], &["-o", "json"]].concat());
    let samples: Vec<Value> = stdout(&json)
        .lines()
        .map(|line| serde_json::from_str(line).expect("an object a line"))
        .collect();
    assert_eq!(samples.len(), 2);
    assert_eq!(samples[0]["rates"], Value::Null);
    assert_eq!(samples[1]["rates"]["client_requests_per_second"], 100.0);
}

#[test]
fn a_stream_that_ends_is_3() {
    let node = Script::start();
    let output = run(&node.endpoint, &["watch"]);
    // The script's stream has the state, a change for each server, and an end.
    assert_exit(&output, 3);
    assert!(
        stdout(&output).contains("settings  balancing round_robin"),
        "{}",
        stdout(&output)
    );
    assert!(
        stderr(&output).contains("was closed"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_pool_keeps_the_parameters_of_its_check_that_are_not_given() {
    let node = Script::start();
    let output = run(
        &node.endpoint,
        &[
            "pool",
            "set",
            "--check-path",
            "/health",
            "--deregister-after",
            "off",
            "-o",
            "json",
        ],
    );
    assert_exit(&output, 0);
    let pool: Value = serde_json::from_slice(&output.stdout).expect("one document");
    let check = &pool["settings"]["check"];
    assert_eq!(check["path"], "/health");
    assert_eq!(check["expected_status"], "200-299");
}

#[test]
fn an_empty_pool_says_how_to_fill_it() {
    let node = Script::start();
    let output = run(&node.endpoint, &["list"]);
    assert_exit(&output, 0);
    assert_eq!(stdout(&output), "");
    assert!(
        stderr(&output).contains("weldrctl add IP:PORT"),
        "{}",
        stderr(&output)
    );
}

/// An endpoint that accepts connections and says nothing, as a machine that was stopped does.
#[test]
fn an_endpoint_that_is_silent_costs_less_than_the_timeout() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let node = Script::start();
    let refusing = free_address();
    let endpoints = format!(
        "{refusing},{},{}",
        silent.local_addr().unwrap(),
        node.endpoint
    );
    let begun = Instant::now();
    let output = run(&endpoints, &["list", "--timeout", "20s"]);
    assert_exit(&output, 0);
    assert!(begun.elapsed() < Duration::from_secs(10), "{output:?}");
}
