//! TLS to servers: another `weldr` is the server.

use std::fs;

use weldr_tests::{
    daemon::Daemon,
    origin::Origin,
    process::{Finished, Program},
    raw, wait,
};

use super::https::{Https, NAME};

async fn weldrctl(weldr: &Daemon, ca: &str, args: &[&str]) -> Finished {
    let program = weldr.weldrctl(args);
    fs::write(program.directory().join("ca.pem"), ca).unwrap();
    program.run().await
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_are_verified_and_their_connections_are_used_again() {
    let origin = Origin::saying("hello");
    let server = Https::before(&origin, &[]).await;
    let weldr = Daemon::run(Program::weldr().args(["--workers", "1"])).await;
    let ca = server.authority.pem();
    let set = [
        "pool",
        "set",
        "--protocol",
        "https",
        "--verify-ca",
        "ca.pem",
        "--server-name",
    ];
    weldrctl(&weldr, ca, &[&set[..], &[NAME]].concat())
        .await
        .expect_success();
    weldr.add(server.address).await;
    for _ in 0..5 {
        let response = raw::get(weldr.proxy(), "/").await;
        assert_eq!(
            (response.status, response.body.as_slice()),
            (200, b"hello".as_slice())
        );
    }
    let handshakes = server.weldr.stats().await.handshakes.unwrap();
    assert_eq!(handshakes.full + handshakes.resumed, 1, "{handshakes:?}");

    // Another name: the connection that was verified for the first is not used again.
    weldrctl(&weldr, ca, &[&set[..], &["other.example.com"]].concat())
        .await
        .expect_success();
    let response = wait::until("a refusal of the certificate", async || {
        let response = raw::get(weldr.proxy(), "/").await;
        if response.status == 502 {
            Ok(response)
        } else {
            Err(response.to_string())
        }
    })
    .await;
    let told = response.fields.get("proxy-status").unwrap_or_default();
    assert!(told.contains("tls_certificate_error"), "{response}");
    weldr
        .process()
        .logs("reason=\"tls_certificate_error\"")
        .await;

    // Whoever asks for it gets a connection to anybody.
    let insecure = ["pool", "set", "--insecure"];
    weldrctl(&weldr, ca, &insecure).await.expect_success();
    let response = raw::get(weldr.proxy(), "/").await;
    assert_eq!(response.status, 200, "{response}");
}
