//! The commands of `weldrctl`, as operators type them.

use serde_json::Value;
use weldr_tests::{
    daemon::{Daemon, QUICK_CHECKS},
    origin::{Origin, ReservedPort},
    process::{Finished, Program},
    raw,
};

const REFUSED: Option<i32> = Some(1);
const USAGE: Option<i32> = Some(2);

/// The words of a command line; quotes group words.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for character in line.chars() {
        match character {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            other => words.last_mut().unwrap().push(other),
        }
    }
    words
}

async fn run(weldr: &Daemon, line: &str) -> Finished {
    let words = words(line);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    weldr.weldrctl(&words).run().await
}

async fn done(weldr: &Daemon, line: &str) -> String {
    run(weldr, line).await.expect_success()
}

async fn json(weldr: &Daemon, line: &str) -> Value {
    let printed = done(weldr, &format!("{line} --output json")).await;
    serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_pools_and_rules_are_added_listed_and_removed() {
    let weldr = Daemon::start().await;
    let address = ReservedPort::new().address();
    let added = done(&weldr, &format!("listener add web --address {address}")).await;
    assert!(
        added.starts_with("listener web added, revision 1"),
        "{added}"
    );
    let pool = "pool add api --check-path /health --balancing least_requests";
    assert_eq!(done(&weldr, pool).await, "pool api added, revision 2\n");
    assert!(done(&weldr, pool).await.contains("nothing changed"));
    done(&weldr, "--pool api add 10.0.0.7:8080 10.0.0.8:8080").await;
    for name in ["blue", "green", "site"] {
        done(&weldr, &format!("pool add {name}")).await;
    }
    for rule in [
        "rule add --listener web --priority 10 --host api.example.com --path '/v1/*' --forward api",
        "rule add --listener web --priority 20 --host '*.example.com' --forward blue=90,green=10",
        "rule add --listener web --priority 30 --path '/old/*' --redirect 'https://{host}/new/{rest}' --status 301",
        "rule add --listener web --priority 40 --path /ping --respond 200 --body pong",
        "listener set web --forward site",
    ] {
        done(&weldr, rule).await;
    }
    let listed = done(&weldr, "rule list --listener web").await;
    for line in [
        "10  host api.example.com, path /v1/*  forward api",
        "20  host *.example.com                forward blue=90,green=10",
        "30  path /old/*                       redirect https://{host}/new/{rest} (301)",
        "40  path /ping                        respond 200 (4 bytes)",
    ] {
        assert!(listed.contains(line), "{line} in {listed}");
    }
    let listeners = done(&weldr, "listener list").await;
    for part in ["as --listen", &address.to_string(), "forward site"] {
        assert!(listeners.contains(part), "{part} in {listeners}");
    }
    let pools = json(&weldr, "pool list").await;
    let names: Vec<&str> = pools["pools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pool| pool["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["api", "blue", "default", "green", "site"]);
    let servers = json(&weldr, "--pool api list").await;
    assert_eq!(servers["servers"].as_array().unwrap().len(), 2);
    assert_eq!(servers["servers"][0]["pool"], "api");
    let explained = done(
        &weldr,
        "route explain 'http://api.example.com/v1/users?x=1' --listener web --method POST --header 'X-Beta: 1'",
    )
    .await;
    for line in [
        "listener web of node",
        "rule 10: forward to pool api",
        "  pool api: one of 10.0.0.7:8080, 10.0.0.8:8080",
    ] {
        assert!(explained.contains(line), "{line} in {explained}");
    }
    let explained = done(
        &weldr,
        "route explain http://x.example.org/ping --listener web",
    )
    .await;
    for line in [
        "rule 10 does not match: the host x.example.org is not api.example.com",
        "rule 30 does not match: the path /ping is not /old/*",
        "rule 40: respond with 200",
    ] {
        assert!(explained.contains(line), "{line} in {explained}");
    }
    let explained = json(&weldr, "route explain http://x.example.org/ --listener web").await;
    assert!(explained["priority"].is_null(), "{explained}");
    assert_eq!(explained["pools"][0]["pool"], "site");
    assert_eq!(explained["mismatches"].as_array().unwrap().len(), 4);
    let history = done(&weldr, "history").await;
    for change in [
        "add listener web",
        "add pool api",
        "add 10.0.0.7:8080 to pool api",
        "add rule 10 to listener web",
        "set listener web",
    ] {
        assert!(history.contains(change), "{change} in {history}");
    }
    done(&weldr, "rule remove --listener web --priority 40").await;
    done(&weldr, "listener remove web --deadline 1s").await;
    done(&weldr, "pool remove api").await;
    let gone = run(&weldr, "--pool api list").await;
    assert_eq!(gone.code(), REFUSED, "{gone:?}");
    assert!(gone.stderr.contains("there is no pool api"), "{gone:?}");
    // All of it comes back.
    done(&weldr, "rollback --to-revision 12").await;
    assert!(
        done(&weldr, "rule list --listener web")
            .await
            .contains("respond 200")
    );
    assert_eq!(
        json(&weldr, "--pool api list").await["servers"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_gets_the_rule_that_was_added_last() {
    let (one, other) = (Origin::saying("one"), Origin::saying("other"));
    let weldr = Daemon::start().await;
    let address = ReservedPort::new().address();
    for (name, origin) in [("one", &one), ("other", &other)] {
        done(&weldr, &format!("pool add {name}")).await;
        let server = origin.address();
        done(&weldr, &format!("--pool {name} add {server} --wait")).await;
    }
    let added = done(
        &weldr,
        &format!("listener add web --address {address} --forward one"),
    )
    .await;
    assert!(added.contains(&format!(": bound at {address}")), "{added}");
    assert_eq!(raw::get(address, "/b").await.text(), "one");
    done(
        &weldr,
        "rule add --listener web --path '/b*' --forward other",
    )
    .await;
    assert_eq!(raw::get(address, "/b").await.text(), "other");
    assert_eq!(raw::get(address, "/a").await.text(), "one");
    done(
        &weldr,
        "rule add --listener web --priority 1 --path /b --respond 200 --body fixed",
    )
    .await;
    assert_eq!(raw::get(address, "/b").await.text(), "fixed");
    done(&weldr, "pool remove one --force").await;
    assert_eq!(raw::get(address, "/a").await.status, 503);
    done(&weldr, "rollback --to-revision 5").await;
    assert_eq!(raw::get(address, "/b").await.text(), "one");
    // Another listener at an address of this node is not possible, and one at that of another process says so.
    for own in [weldr.management(), weldr.proxy(), address] {
        let refused = run(&weldr, &format!("listener add taken --address {own}")).await;
        assert_eq!(refused.code(), REFUSED, "{refused:?}");
        assert!(refused.stderr.contains(&own.to_string()), "{refused:?}");
    }
    let occupied = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let taken = occupied.local_addr().unwrap();
    let taken = run(&weldr, &format!("listener add taken --address {taken}")).await;
    assert!(taken.stdout.contains("in use at"), "{taken:?}");
    assert!(taken.stderr.contains("it tries again"), "{taken:?}");
    assert!(done(&weldr, "listener list").await.contains("in use"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_is_changed_moved_and_said_to_be_covered() {
    let weldr = Daemon::start().await;
    for rule in [
        "rule add --priority 10 --path '/a/*' --header 'X-Beta: 1' --header 'X-Beta: 2' --forward default",
        "rule add --path '/b/*' --method GET --query k=v --source 10.0.0.0/8 --respond 204 \
         --set-response-header 'X-A: b' --remove-request-header Cookie --strip-prefix /b --replace-host inner",
        "rule add --path '/*' --forward default",
    ] {
        done(&weldr, rule).await;
    }
    let covered = run(&weldr, "rule add --path /c --respond 404").await;
    let told = "rule 40 never decides: rule 30 comes before it";
    assert!(covered.stderr.contains(told), "{covered:?}");
    let again = run(&weldr, "rule add --path /c --respond 404").await;
    assert!(again.stdout.contains("nothing changed"), "{again:?}");
    assert!(
        done(&weldr, "rule list")
            .await
            .contains("never decides: rule 30 covers it")
    );
    let never = run(
        &weldr,
        "rule add --priority 50 --path '/v1/*' --host v1 --forward default --replace-prefix /v2=/",
    )
    .await;
    let told = "rule 50 never changes a path: no path that it matches begins with /v2";
    assert!(never.stderr.contains(told), "{never:?}");
    done(&weldr, "rule remove --priority 50").await;
    done(&weldr, "rule move --priority 40 --to 30").await;
    let moved = json(&weldr, "rule list").await;
    let rules = moved["rules"].as_array().unwrap();
    let places: Vec<u64> = rules
        .iter()
        .map(|rule| rule["priority"].as_u64().unwrap())
        .collect();
    assert_eq!(places, [10, 20, 30, 31]);
    assert_eq!(rules[2]["conditions"]["paths"][0], "/c");
    assert!(rules.iter().all(|rule| rule["covered_by"].is_null()));
    assert_eq!(rules[1]["route"]["changes"]["response"]["set"]["X-A"], "b");
    assert_eq!(rules[1]["route"]["changes"]["host"], "inner");
    done(
        &weldr,
        "rule set --priority 20 --clear method,changes --path /d --redirect https://x/",
    )
    .await;
    let set = &json(&weldr, "rule list").await["rules"][1];
    assert_eq!(set["conditions"]["methods"], serde_json::json!([]));
    assert_eq!(set["conditions"]["paths"][0], "/d");
    assert_eq!(set["conditions"]["query"][0]["values"][0], "v");
    assert_eq!(set["route"]["redirect"]["status"], 302);
    assert!(set["route"]["changes"].is_null() && set["route"]["respond"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_of_a_listener_on_this_node_is_shown() {
    let ports = [(); 2].map(|()| ReservedPort::new());
    let [everywhere, here] = ports.each_ref().map(ReservedPort::address);
    drop(ports);
    let program = Program::weldr()
        .args(QUICK_CHECKS)
        .args(["--listener-address", &format!("web={here}")]);
    let weldr = Daemon::run(program).await;
    done(&weldr, &format!("listener add web --address {everywhere}")).await;
    let listed = done(&weldr, "listener list").await;
    assert!(listed.contains(&format!("bound at {here}")), "{listed}");
    // An address that is reserved for another listener on this node.
    let refused = run(&weldr, &format!("listener add api --address {here}")).await;
    assert_eq!(refused.code(), REFUSED, "{refused:?}");
    let told = "that of listener web on this node (--listener-address)";
    assert!(refused.stderr.contains(told), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_names_the_object_and_what_is_accepted() {
    let weldr = Daemon::start().await;
    done(&weldr, "pool add api").await;
    done(
        &weldr,
        "listener add web --address 127.0.0.1:1 --forward api",
    )
    .await;
    for (line, code, told) in [
        (
            "pool remove api",
            REFUSED,
            "pool api is named by the default action of listener web",
        ),
        ("pool remove default", REFUSED, "cannot be removed"),
        (
            "listener remove default",
            REFUSED,
            "listener default cannot be removed",
        ),
        (
            "listener add web --address 127.0.0.1:2",
            REFUSED,
            "listener web is there already with address 127.0.0.1:1 (asked for: 127.0.0.1:2)",
        ),
        (
            "listener add other --address 127.0.0.1:1",
            REFUSED,
            "127.0.0.1:1 is that of listener web",
        ),
        (
            "rule add --forward none",
            REFUSED,
            "names pool none, which does not exist",
        ),
        (
            "rule add --priority 0 --forward api",
            REFUSED,
            "a whole number from 1 to 1000000",
        ),
        (
            "rule add --host 'a b' --forward api",
            REFUSED,
            "conditions.hosts",
        ),
        (
            "rule add --path /a --redirect 'https://x/{rest}'",
            REFUSED,
            "such as /old/*",
        ),
        (
            "rule add --path /a",
            REFUSED,
            "one action: forward, redirect or respond",
        ),
        (
            "rule add --path /a --forward api --respond 200",
            USAGE,
            "cannot be used with",
        ),
        ("rule set --priority 7 --path /a", REFUSED, "no rule 7"),
        ("rule set --priority 7", USAGE, "nothing to set"),
        ("rule move --priority 7 --to 8", REFUSED, "no rule 7"),
        ("pool set api --unset retires", REFUSED, "connect_timeout"),
        (
            "listener set web --max-headers 0",
            REFUSED,
            "policy.max_headers",
        ),
        ("apply -f /does/not/exist", USAGE, "cannot be read"),
    ] {
        let refused = run(&weldr, line).await;
        assert_eq!(refused.code(), code, "{line}: {refused:?}");
        assert!(refused.stderr.contains(told), "{line}: {refused:?}");
    }
    let forced = done(&weldr, "pool remove api --force").await;
    assert!(forced.contains("pool api removed"), "{forced}");
    assert!(done(&weldr, "listener list").await.contains("respond 503"));
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_are_set_and_left_to_the_node_again() {
    let weldr = Daemon::start().await;
    done(&weldr, "pool set --connect-timeout 1500ms --retries 0").await;
    let policy = &json(&weldr, "pool get").await["policy"];
    assert_eq!(policy["connect_timeout_seconds"], 1.5);
    assert_eq!(policy["retries"], 0);
    assert!(
        done(&weldr, "pool get")
            .await
            .contains("connect_timeout 1.5s, retries 0")
    );
    done(&weldr, "pool set default --unset connect-timeout").await;
    assert!(json(&weldr, "pool get").await["policy"]["connect_timeout_seconds"].is_null());
    done(&weldr, "listener set default --desync-mode monitor --trusted-proxies 10.0.0.0/8,::1 --access-log false").await;
    let policy = &json(&weldr, "listener get default").await["listener"]["policy"];
    assert_eq!(policy["desync_mode"], "monitor");
    assert_eq!(
        policy["trusted_proxies"],
        serde_json::json!(["10.0.0.0/8", "::1/128"])
    );
    assert_eq!(policy["access_log"], false);
    done(
        &weldr,
        "listener set default --unset desync-mode,access_log",
    )
    .await;
    let policy = &json(&weldr, "listener get default").await["listener"]["policy"];
    assert!(policy["desync_mode"].is_null() && policy["access_log"].is_null());
    assert!(!policy["trusted_proxies"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_protocol_is_set_and_left_to_the_node_again() {
    let weldr = Daemon::start().await;
    let listener = async || json(&weldr, "listener get default").await["listener"]["policy"].take();
    let from = "--proxy-protocol-from";
    done(
        &weldr,
        &format!("listener set default {from} 10.0.0.0/8 {from} ::1"),
    )
    .await;
    let networks = &listener().await["proxy_protocol_from"];
    assert_eq!(*networks, serde_json::json!(["10.0.0.0/8", "::1/128"]));
    done(&weldr, "pool set --send-proxy-protocol v2").await;
    let pool = json(&weldr, "pool get").await;
    assert_eq!(pool["policy"]["send_proxy_protocol"], "v2");
    let exported = done(&weldr, "export").await;
    assert!(exported.contains("send_proxy_protocol: v2"), "{exported}");
    assert!(exported.contains("proxy_protocol_from:"), "{exported}");
    done(&weldr, &format!("listener set default {from} off")).await;
    let networks = &listener().await["proxy_protocol_from"];
    assert_eq!(*networks, serde_json::json!([]));
    done(&weldr, "listener set default --unset proxy-protocol-from").await;
    assert!(listener().await["proxy_protocol_from"].is_null());
    done(&weldr, "pool set default --unset send-proxy-protocol").await;
    let pool = json(&weldr, "pool get").await;
    assert!(pool["policy"]["send_proxy_protocol"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_address_is_reported_as_it_is_after_the_change() {
    let weldr = Daemon::start().await;
    let occupied = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let in_use = occupied.local_addr().unwrap();
    let ports = [(); 3].map(|()| ReservedPort::new());
    let [first, second, third] = ports.each_ref().map(ReservedPort::address);
    drop(ports);
    done(&weldr, &format!("listener add web --address {first}")).await;
    for (address, state) in [
        (second, "bound at"),
        (in_use, "in use at"),
        (third, "bound at"),
    ] {
        let set = done(&weldr, &format!("listener set web --address {address}")).await;
        let line = format!("{state} {address}");
        assert!(set.contains(&line), "{line} in {set}");
    }
}
