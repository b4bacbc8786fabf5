//! Certificates by ACME, from Pebble.

use std::{fs, net::SocketAddr};

use rustls::pki_types::ServerName;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use weldr_tests::{
    cluster::TestCluster,
    daemon::Daemon,
    origin::Origin,
    pebble::{Pebble, PebbleOptions},
    process::{Finished, Program},
    tls::{Authority, client_of_all},
    wait,
};

/// The options of a Pebble that finds the challenges at these addresses.
fn options(http: SocketAddr, tls: SocketAddr) -> PebbleOptions {
    PebbleOptions {
        http: http.port(),
        tls: tls.port(),
        external_account: None,
        sleep: 0,
    }
}

/// `weldrctl acme set` with the directory of `pebble`, and `args`.
async fn set_account(weldrctl: Program, pebble: &Pebble, args: &[&str]) -> Finished {
    let ca = weldrctl.directory().join("ca.pem");
    fs::write(&ca, pebble.ca()).unwrap();
    let directory = pebble.directory();
    let set = ["acme", "set", "--directory", &directory];
    let rest = ["--agree-to-terms", "--directory-ca", "ca.pem"];
    weldrctl.args(set).args(rest).args(args).run().await
}

/// The certificate of that name, as `weldrctl certificate list` tells it.
async fn listed(weldrctl: Program, name: &str) -> Value {
    let list = ["--output", "json", "--stale", "certificate", "list"];
    let json = weldrctl.args(list).run().await.expect_success();
    let json: Value = serde_json::from_str(&json).unwrap();
    let mut all = json["certificates"].as_array().unwrap().iter();
    let found = all.find(|certificate| certificate["name"] == name);
    found.unwrap_or_else(|| panic!("{json}")).clone()
}

/// Waits until a node has the certificate, and returns its fingerprint.
async fn issued(weldrctl: impl Fn() -> Program, name: &str) -> String {
    wait::until_within(wait::LIMIT * 3, "a certificate", async || {
        let certificate = listed(weldrctl(), name).await;
        match certificate["fingerprint"].as_str() {
            Some(fingerprint) if !fingerprint.is_empty() => Ok(fingerprint.to_owned()),
            _ => Err(certificate.to_string()),
        }
    })
    .await
}

/// The SHA-256 of the certificate that a client sees which asks for `name`; `None`: the handshake fails.
async fn seen(address: SocketAddr, name: &'static str) -> Option<String> {
    let connector = TlsConnector::from(client_of_all());
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(name).unwrap();
    let stream = connector.connect(name, stream).await.ok()?;
    let (_, connection) = stream.get_ref();
    let chain = connection.peer_certificates().unwrap();
    Some(weldr::certificates::fingerprint(&chain[0]))
}

/// The options of a node that serves HTTPS with a certificate of its own in `FILES`.
const HTTPS: [&str; 6] = [
    "--listen-https",
    "127.0.0.1:0",
    "--tls-cert",
    "FILES/cert.pem",
    "--tls-key",
    "FILES/key.pem",
];

/// A directory with a certificate and its key, and the secret of a cluster.
fn files() -> TempDir {
    let files = TempDir::with_prefix("weldr-acme-").unwrap();
    Authority::new()
        .issue(&["own.example.com"])
        .write_to(files.path());
    fs::write(files.path().join("secret"), "open sesame, open sesame").unwrap();
    files
}

/// A node that serves HTTP and HTTPS, and where it serves HTTPS.
async fn alone() -> (Daemon, SocketAddr, TempDir) {
    let files = files();
    let path = files.path().to_str().unwrap();
    let options = HTTPS.map(|option| option.replace("FILES", path));
    let mut weldr = Daemon::run(Program::weldr().args(options)).await;
    let process = weldr.process_mut();
    let https = process.logged_address("listening for HTTPS").await;
    (weldr, https, files)
}

/// The authority asks a node that does not lead, by HTTP, and every node shows the certificate.
#[tokio::test(flavor = "multi_thread")]
async fn any_node_answers_a_challenge_and_all_have_the_certificate() {
    let cluster = TestCluster::start(3).await;
    let leader = cluster.leader().await;
    let follower = (leader + 1) % 3;
    let at = cluster.proxy(follower);
    let Some(pebble) = Pebble::start(&options(at, at)).await else {
        return;
    };
    let set = set_account(
        cluster.weldrctl(follower),
        &pebble,
        &["--challenge", "http-01"],
    )
    .await;
    set.expect_success();
    let add = "certificate add shop --acme --domain shop.example.com --domain www.example.com";
    let added = cluster.weldrctl(follower).args(add.split(' ')).run().await;
    let added = added.expect_success();
    assert!(added.contains("obtained by ACME soon"), "{added}");
    let mut fingerprints = Vec::new();
    for node in 0..3 {
        fingerprints.push(issued(|| cluster.weldrctl(node), "shop").await);
    }
    fingerprints.dedup();
    assert_eq!(fingerprints.len(), 1, "{fingerprints:?}");
    let shop = wait::until("a plan for the renewal", async || {
        let shop = listed(cluster.weldrctl(follower), "shop").await;
        let planned = shop["acme"]["next_renewal"].is_string();
        planned.then(|| shop.clone()).ok_or(shop)
    })
    .await;
    assert_eq!(shop["source"], "acme");
    assert_eq!(shop["last_error"], "");
    let mut names: Vec<_> = shop["dns_names"].as_array().unwrap().clone();
    names.sort_by_key(ToString::to_string);
    assert_eq!(names, ["shop.example.com", "www.example.com"]);
    assert_eq!(pebble.orders(), 1);
}

/// The leader dies between the order and the challenge. The next one goes on with the same order.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_leader_goes_on_with_the_order_of_one_that_was_killed() {
    let mut cluster = TestCluster::start(3).await;
    let leader = cluster.leader().await;
    let follower = (leader + 1) % 3;
    let at = cluster.proxy(follower);
    let patient = PebbleOptions {
        sleep: 3,
        ..options(at, at)
    };
    let Some(pebble) = Pebble::start(&patient).await else {
        return;
    };
    set_account(cluster.weldrctl(follower), &pebble, &[])
        .await
        .expect_success();
    let add = "certificate add shop --acme --domain shop.example.com";
    let added = cluster.weldrctl(follower).args(add.split(' ')).run().await;
    added.expect_success();
    wait::until("an order", async || {
        let shop = listed(cluster.weldrctl(follower), "shop").await;
        let is_ordered = shop["acme"]["ordering"] == true;
        is_ordered.then_some(()).ok_or(shop)
    })
    .await;
    cluster.kill(leader).await;
    issued(|| cluster.weldrctl(follower), "shop").await;
    assert_eq!(pebble.orders(), 1);
}

/// Behind the handshake of an authority nothing is served, and other clients see what they did before.
#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_proves_a_domain_and_the_next_one_shows_the_certificate() {
    let (weldr, https, _files) = alone().await;
    let Some(pebble) = Pebble::start(&options(https, https)).await else {
        return;
    };
    let weldrctl = || weldr.weldrctl(&[]);
    set_account(weldrctl(), &pebble, &["--challenge", "tls-alpn-01"])
        .await
        .expect_success();
    weldr
        .ctl(&[
            "certificate",
            "add",
            "shop",
            "--acme",
            "--domain",
            "Shop.Example.com.",
        ])
        .await;
    let own = seen(https, "shop.example.com").await;
    let words = ["listener", "set", "default", "--certificate", "shop"];
    weldr.ctl(&words).await;
    let shop = issued(weldrctl, "shop").await;
    assert_ne!(own, Some(shop.clone()));
    wait::until("the certificate in handshakes", async || {
        let seen = seen(https, "shop.example.com").await;
        (seen.as_ref() == Some(&shop))
            .then_some(())
            .ok_or(format!("{seen:?}"))
    })
    .await;
    assert_ne!(seen(https, "own.example.com").await, Some(shop.clone()));

    // Renewed at once, with another key; until then the old one is shown.
    let renew = weldr.ctl(&["certificate", "renew", "shop"]).await;
    assert!(renew.contains("will be renewed now"), "{renew}");
    wait::until("the next certificate", async || {
        let seen = seen(https, "shop.example.com").await;
        match seen {
            Some(next) if next != shop => Ok(()),
            Some(_) => Err("the old one"),
            None => panic!("no certificate while it is renewed"),
        }
    })
    .await;
    assert_eq!(pebble.orders(), 2);
    let history = weldr.ctl(&["history"]).await;
    for words in [
        "set the ACME account",
        "order certificate shop",
        "certificate shop was issued",
    ] {
        assert!(history.contains(words), "{history}");
    }
}

/// What answers on port 80 is not Weldr. The list has the words of the authority, and the next attempt is made when an operator
/// has mended it.
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_told_in_the_words_of_the_authority() {
    let (weldr, https, _files) = alone().await;
    let other = Origin::saying("something else");
    let Some(pebble) = Pebble::start(&options(other.address(), https)).await else {
        return;
    };
    let weldrctl = || weldr.weldrctl(&[]);
    set_account(weldrctl(), &pebble, &["--challenge", "http-01"])
        .await
        .expect_success();
    weldr
        .ctl(&[
            "certificate",
            "add",
            "shop",
            "--acme",
            "--domain",
            "shop.example.com",
        ])
        .await;
    let shop = wait::until("a failure", async || {
        let shop = listed(weldrctl(), "shop").await;
        let has_failed = shop["acme"]["failures"] == 1;
        has_failed.then(|| shop.clone()).ok_or(shop)
    })
    .await;
    let error = shop["last_error"].as_str().unwrap();
    let words = ["shop.example.com", "something else", "(unauthorized)"];
    assert!(words.iter().all(|word| error.contains(word)), "{error}");
    assert!(shop["acme"]["retry_at"].is_string(), "{shop}");
    assert_eq!(shop["acme"]["ordering"], false, "{shop}");
    set_account(weldrctl(), &pebble, &["--challenge", "tls-alpn-01"])
        .await
        .expect_success();
    weldr.ctl(&["certificate", "renew", "shop"]).await;
    issued(weldrctl, "shop").await;
    assert_eq!(listed(weldrctl(), "shop").await["last_error"], "");
}

/// The key is refused where it is wrong, and it is nowhere in clear.
#[tokio::test(flavor = "multi_thread")]
async fn an_authority_may_demand_an_account_that_it_knows() {
    const KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let (weldr, https, _files) = alone().await;
    let known = PebbleOptions {
        external_account: Some(("kid-1", KEY)),
        ..options(weldr.proxy(), https)
    };
    let Some(pebble) = Pebble::start(&known).await else {
        return;
    };
    let weldrctl = || weldr.weldrctl(&[]);
    let account = async || {
        let shown = weldrctl()
            .args(["--output", "json", "acme", "show"])
            .run()
            .await;
        let shown: Value = serde_json::from_str(&shown.expect_success()).unwrap();
        shown["account"].clone()
    };
    set_account(weldrctl(), &pebble, &[]).await.expect_success();
    let refused = wait::until("a refusal", async || {
        let account = account().await;
        let error = account["last_error"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        (!error.is_empty()).then_some(error).ok_or(account)
    })
    .await;
    assert!(refused.contains("(externalAccountRequired)"), "{refused}");

    let with_key = weldrctl();
    fs::write(with_key.directory().join("key"), format!("{KEY}\n")).unwrap();
    let external = ["--external-key-id", "kid-1", "--external-key-file", "key"];
    let set = set_account(with_key, &pebble, &external).await;
    assert!(!set.expect_success().contains(KEY));
    let url = wait::until("a registration", async || {
        let account = account().await;
        let url = account["url"].as_str().unwrap_or_default().to_owned();
        (!url.is_empty()).then_some(url).ok_or(account)
    })
    .await;
    // The identifier alone is the same account, with other contacts.
    let again = ["--external-key-id", "kid-1", "--email", "ops@example.com"];
    set_account(weldrctl(), &pebble, &again)
        .await
        .expect_success();
    assert_eq!(account().await["url"], url.as_str());
    let directory = weldr.kill().await;
    let mut found = Vec::new();
    files_with(directory.path(), KEY.as_bytes(), &mut found);
    assert!(found.is_empty(), "{found:?}");
}

fn files_with(directory: &std::path::Path, bytes: &[u8], found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_with(&path, bytes, found);
        } else if let Ok(content) = fs::read(&path)
            && content.windows(bytes.len()).any(|window| window == bytes)
        {
            found.push(path.display().to_string());
        }
    }
}

/// What is refused, and what is said of it. No authority is asked.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_obtained_is_refused_in_a_sentence() {
    let weldr = Daemon::start().await;
    let set = "acme set --directory https://127.0.0.1:1/dir";
    let add = "certificate add shop --acme --domain";
    for (words, expected) in [
        (
            format!("{add} shop.example.com"),
            "there is no ACME account",
        ),
        ("acme show".to_owned(), "there is no ACME account"),
        (set.to_owned(), "--agree-to-terms"),
        (
            "acme set --agree-to-terms --directory http://127.0.0.1:1/dir".to_owned(),
            "a URL with https",
        ),
        (
            format!("{set} --agree-to-terms --email ops"),
            "a mail address",
        ),
        (
            format!("{set} --agree-to-terms --challenge dns-01"),
            "auto, http-01 or tls-alpn-01",
        ),
        (
            format!("{set} --agree-to-terms --external-key-id a"),
            "external_key",
        ),
        (format!("{set} --agree-to-terms"), ""),
        (format!("{add} *.example.com"), "without a wildcard"),
        (format!("{add} 192.0.2.1"), "a DNS name, not an address"),
        (
            format!("{add} shop.example.com --key-type rsa"),
            "p256 or p384",
        ),
        ("certificate add shop".to_owned(), "--acme and --domain"),
        (
            format!("{add} shop.example.com --cert a.pem --key b.pem"),
            "cannot be used with",
        ),
        (format!("{add} shop.example.com"), ""),
        ("acme remove".to_owned(), "certificate shop"),
        (
            "certificate renew other".to_owned(),
            "there is no certificate other",
        ),
        ("certificate remove shop".to_owned(), ""),
        ("acme remove".to_owned(), ""),
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        let finished = weldr.weldrctl(&words).run().await;
        if expected.is_empty() {
            finished.expect_success();
            continue;
        }
        assert_ne!(finished.code(), Some(0), "{words:?}");
        let said = finished.stderr;
        assert!(said.contains(expected), "{words:?}: {said}");
    }
}
