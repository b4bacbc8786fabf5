//! Origin, floor and load, as the processes that they are in a run.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

/// A role that serves, ended with the test.
struct Role {
    child: Child,
    address: String,
}

impl Role {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_bench"))
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut address).unwrap();
        Self {
            child,
            address: address.trim().to_owned(),
        }
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Puts a load of so many requests on a floor before an origin.
fn load(shape: &Value, connections: usize, requests: u64, pace: &Value) -> Value {
    let origin = Role::start(&["origin"]);
    let floor = Role::start(&[
        "floor",
        "--listen",
        "127.0.0.1:0",
        "--origin",
        &origin.address,
    ]);
    let none = json!({ "secs": 0, "nanos": 0 });
    let spec = json!({
        "target": floor.address,
        "process": floor.child.id(),
        "connections": connections,
        "shape": shape,
        "pace": pace,
        "warm_up": none,
        "warm_up_requests": 0,
        "until": { "Requests": requests },
    });
    let ended = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["load", &spec.to_string()])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{errors}");
    serde_json::from_slice(&ended.stdout).unwrap()
}

fn all_are_completed(shape: &Value, connections: usize, requests: u64) {
    let outcome = load(shape, connections, requests, &json!("Closed"));
    assert_eq!(outcome["failures"], 0, "{outcome}");
    assert_eq!(outcome["requests"], requests, "{outcome}");
}

#[test]
fn small_responses() {
    all_are_completed(&json!({ "Download": 128 }), 64, 5000);
}

#[test]
fn large_responses_wait_for_room_in_the_sockets() {
    all_are_completed(&json!({ "Download": 4 << 20 }), 8, 64);
}

#[test]
fn uploads() {
    all_are_completed(&json!({ "Upload": 4 << 20 }), 8, 64);
}

#[test]
fn a_new_connection_for_each_request() {
    all_are_completed(&json!({ "Reconnect": 128 }), 16, 1000);
}

#[test]
fn websockets() {
    all_are_completed(&json!({ "Echo": 128 }), 16, 1000);
}

#[test]
fn a_fixed_rate_is_kept() {
    let rate = json!({ "Rate": 1000.0 });
    let outcome = load(&json!({ "Download": 128 }), 16, 200, &rate);
    assert_eq!(outcome["requests"], 200, "{outcome}");
    // The last of them is due after 199 ms, and not before.
    let elapsed = &outcome["elapsed"];
    let millis =
        elapsed["secs"].as_u64().unwrap() * 1000 + elapsed["nanos"].as_u64().unwrap() / 1_000_000;
    assert!(millis >= 199, "{outcome}");
}

#[test]
fn idle_connections_are_alive_at_the_end() {
    let outcome = load(&json!("Idle"), 50, 0, &json!("Closed"));
    assert_eq!(outcome["requests"], 50, "{outcome}");
    assert!(outcome["idle_bytes"].is_number(), "{outcome}");
}

#[test]
fn a_wrong_response_is_a_failure() {
    // Longer than the origin's longest.
    let shape = json!({ "Download": 64 << 20 });
    let outcome = load(&shape, 1, 1, &json!("Closed"));
    assert_eq!(
        (&outcome["requests"], &outcome["failures"]),
        (&json!(0), &json!(1))
    );
    let failure = outcome["failure"].as_str().unwrap();
    assert!(failure.contains("expected status 200"), "{failure}");
}
