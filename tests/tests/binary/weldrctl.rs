//! `weldrctl` against `weldr`: each command, its output for people and for programs, its exit code.

use serde_json::Value;
use weldr_proto::v1::HealthState;
use weldr_tests::{
    daemon::Daemon,
    origin::{Origin, ReservedPort},
    process::Program,
    raw,
};

const DONE: Option<i32> = Some(0);
const REFUSED: Option<i32> = Some(1);
const USAGE: Option<i32> = Some(2);
const UNREACHABLE: Option<i32> = Some(3);

async fn json(weldr: &Daemon, args: &[&str]) -> Value {
    let printed = weldr.ctl(&[args, &["--output", "json"]].concat()).await;
    serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_life_of_a_server() {
    let origin = Origin::saying("hi");
    let name = origin.address().to_string();
    let weldr = Daemon::start().await;

    let added = weldr.ctl(&["add", &name, "--wait"]).await;
    assert!(added.contains("added"), "{added}");
    assert!(added.contains("healthy"), "{added}");
    let again = weldr.ctl(&["add", &name]).await;
    assert!(again.contains("nothing changed"), "{again}");
    let other = weldr.weldrctl(&["add", &name, "--weight", "3"]).run().await;
    assert_eq!(other.code(), REFUSED, "{other:#?}");
    assert!(
        other.stderr.contains("weight 1 (asked for: 3)"),
        "{other:#?}"
    );

    let listed = weldr.ctl(&["list"]).await;
    for heading in [
        "ADDRESS",
        "STATE",
        "REASON",
        "SINCE",
        "WEIGHT",
        "IN FLIGHT",
        "REQUESTS/S",
        "FAILURES",
        "P99",
    ] {
        assert!(listed.contains(heading), "{heading} in {listed}");
    }
    assert!(listed.contains("checks passed"), "{listed}");
    weldr.ctl(&["set", &name, "--weight", "256"]).await;
    let server = &json(&weldr, &["get", &name]).await["servers"][0];
    assert_eq!(server["weight"], 256);
    assert_eq!(server["health"]["state"], "healthy");

    for (command, state, admin) in [
        ("drain", "draining", "drain"),
        ("maintenance", "unused", "maintenance"),
    ] {
        weldr.ctl(&[command, &name]).await;
        let server = &json(&weldr, &["get", &name]).await["servers"][0];
        assert_eq!(server["health"]["state"], state);
        assert_eq!(server["admin_state"], admin);
        assert_eq!(raw::get(weldr.proxy(), "/").await.status, 503);
    }
    weldr.ctl(&["ready", &name]).await;
    weldr.reaches(origin.address(), HealthState::Healthy).await;
    assert_eq!(raw::get(weldr.proxy(), "/").await.text(), "hi");

    let removed = weldr.ctl(&["remove", &name, "--wait"]).await;
    assert!(removed.contains("removed"), "{removed}");
    let gone = weldr.weldrctl(&["remove", &name]).run().await;
    assert_eq!(gone.code(), REFUSED, "{gone:#?}");
    assert!(gone.stderr.contains("no server"), "{gone:#?}");
    assert_eq!(weldr.terminate().await.code(), DONE);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_servers_at_once_and_in_ipv6() {
    let weldr = Daemon::start().await;
    let names = ["127.0.0.1:1", "[::1]:2", "127.0.0.1:3"];
    weldr.ctl(&[&["add"], &names[..]].concat()).await;
    let listed = json(&weldr, &["list"]).await;
    let servers = listed["servers"].as_array().unwrap().iter();
    let mut addresses: Vec<_> = servers.map(|server| server["address"].clone()).collect();
    addresses.sort_by_key(Value::to_string);
    assert_eq!(addresses, ["127.0.0.1:1", "127.0.0.1:3", "[::1]:2"]);

    let args = ["remove", "127.0.0.1:1", "127.0.0.1:9", "[::1]:2", "--now"];
    let some = weldr.weldrctl(&args).run().await;
    assert_eq!(some.code(), REFUSED, "{some:#?}");
    assert_eq!(some.stdout.matches(" removed").count(), 2, "{some:#?}");
    assert!(some.stderr.contains("127.0.0.1:9"), "{some:#?}");
    let left = json(&weldr, &["list"]).await;
    assert_eq!(left["servers"].as_array().map(Vec::len), Some(1), "{left}");
    assert_eq!(weldr.terminate().await.code(), DONE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_is_told_as_it_is_made_and_the_pool_is_inherited() {
    let origin = Origin::saying("hi");
    let name = origin.address().to_string();
    let weldr = Daemon::start().await;
    let add = ["add", &name, "--check-path", "/health", "--interval", "3s"];
    weldr.ctl(&add).await;
    weldr
        .ctl(&["pool", "set", "--check-timeout", "700ms"])
        .await;
    let server = &json(&weldr, &["get", &name]).await["servers"][0];
    let check = &server["effective_check"];
    assert_eq!(check["type"], "http");
    assert_eq!(check["path"], "/health");
    assert_eq!(check["interval_seconds"], 3.0);
    assert_eq!(check["timeout_seconds"], 0.7, "the pool's");
    let pool = json(&weldr, &["pool", "get"]).await;
    assert_eq!(pool["settings"]["check"]["type"], "tcp");
    assert_eq!(pool["settings"]["check"]["timeout_seconds"], 0.7);
    assert_eq!(weldr.terminate().await.code(), DONE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_that_no_longer_holds_refuses_the_change() {
    let weldr = Daemon::start().await;
    let added = json(&weldr, &["add", "127.0.0.1:1"]).await;
    let revision = added["results"][0]["revision"].to_string();
    let set = ["set", "127.0.0.1:1", "--expected-revision", &revision];
    weldr.ctl(&[&set[..], &["--weight", "2"]].concat()).await;
    let late = [&set[..], &["--weight", "3"]].concat();
    let late = weldr.weldrctl(&late).run().await;
    assert_eq!(late.code(), REFUSED, "{late:#?}");
    assert!(late.stderr.contains("has changed at revision"), "{late:#?}");
    assert_eq!(weldr.terminate().await.code(), DONE);
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_count_what_clients_and_servers_did() {
    let origin = Origin::saying("hi");
    let weldr = Daemon::start().await;
    assert_eq!(raw::get(weldr.proxy(), "/").await.status, 503);
    weldr.add(origin.address()).await;
    assert_eq!(raw::get(weldr.proxy(), "/").await.status, 200);
    let counts = async || json(&weldr, &["stats", "--detail"]).await;
    weldr_tests::wait::until("both to be counted", async || {
        let stats = counts().await;
        if stats["client"] == serde_json::json!({"success": 1, "failed": 1}) {
            assert_eq!(stats["server"]["success"], 1);
            assert_eq!(stats["servers"][0]["latency"]["count"], 1);
            Ok(())
        } else {
            Err(stats)
        }
    })
    .await;
    let rest = raw::get(weldr.management(), "/stats").await.text();
    assert_eq!(
        rest,
        r#"{"client":{"success":1,"failed":1},"server":{"success":1,"failed":0}}"#
    );
    assert_eq!(weldr.terminate().await.code(), DONE);
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_tell_refused_usage_and_unreachable_apart() {
    let weldr = Daemon::start().await;
    for (args, code) in [
        (&["list"][..], DONE),
        (&["get", "127.0.0.1:1"], REFUSED),
        (&["add", "0.0.0.0:80"], REFUSED),
        (&["--pool", "blue", "list"], REFUSED),
        (&["add", "localhost:80"], USAGE),
        (&["no-such-command"], USAGE),
    ] {
        let finished = weldr.weldrctl(args).run().await;
        assert_eq!(finished.code(), code, "{args:?}: {finished:#?}");
    }
    assert_eq!(weldr.terminate().await.code(), DONE);

    let nobody = ReservedPort::new();
    let endpoint = format!("http://{}", nobody.address());
    let list = Program::new("weldrctl").args(["--endpoint", &endpoint, "list"]);
    let finished = list.run().await;
    assert_eq!(finished.code(), UNREACHABLE, "{finished:#?}");
    assert_eq!(finished.stderr.lines().count(), 1, "{finished:#?}");
    for part in [endpoint.as_str(), "--endpoint"] {
        assert!(finished.stderr.contains(part), "{part} in {finished:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn colours_are_for_terminals_that_want_them() {
    const ESCAPE: char = '\u{1b}';
    let weldr = Daemon::start().await;
    weldr.add_unchecked("127.0.0.1:1".parse().unwrap()).await;
    let list = || weldr.weldrctl(&["list"]);
    let piped = list().run().await.expect_success();
    assert!(!piped.contains(ESCAPE), "{piped}");
    let shown = list().on_terminal(24, 120).run().await.expect_success();
    assert!(shown.contains(ESCAPE), "{shown}");
    let plain = list().on_terminal(24, 120).env("NO_COLOR", "1");
    let plain = plain.run().await.expect_success();
    assert!(!plain.contains(ESCAPE), "{plain}");
    assert_eq!(weldr.terminate().await.code(), DONE);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_response_without_a_server_names_a_command_that_adds_one() {
    let (weldr, origin) = (Daemon::start().await, Origin::saying("hi"));
    let told = raw::get(weldr.proxy(), "/").await;
    assert_eq!(told.status, 503, "{told}");
    let text = told.text();
    let command = text
        .lines()
        .find_map(|line| line.strip_prefix("  weldrctl "))
        .unwrap_or_else(|| panic!("no command in {text}"));
    let command = command.replace("IP:PORT", &origin.address().to_string());
    let words: Vec<_> = command.split(' ').collect();
    Program::new("weldrctl")
        .args(words)
        .run()
        .await
        .expect_success();
    assert!(weldr.server(origin.address()).await.is_some(), "{command}");
    let curl = format!("  curl localhost:{}/servers -d ", weldr.management().port());
    assert!(text.contains(&curl), "{text}");
}
