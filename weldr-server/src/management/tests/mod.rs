//! Tests of the whole API over sockets, with a store in memory and a simplified reconciler.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on says so by panicking"
)]

mod access;
mod browsers;
mod certificates;
mod connections;
mod http;
mod local;
mod node;
mod objects;
mod readiness;
mod removal;
mod rest;
mod rest_fuzz;
mod rest_refused;
mod service;
mod streams;
mod tls;
mod validation;

use std::time::Duration;

use tokio::time;

/// The result of `future`, within a time limit, so that a test fails and does not hang.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    time::timeout(Duration::from_secs(20), future)
        .await
        .expect("it takes too long")
}

#[test]
fn the_reply_of_an_empty_pool_names_the_commands_and_no_addresses() {
    let told = |address: &str, rest| {
        let address = address.parse().expect("an address");
        super::how_to_add(address, 8687, rest)
    };
    let body = r#"-d '{"ip":"IP", "port":"PORT"}'"#;
    for (address, rest, expected) in [
        (
            "127.0.0.1:8687",
            true,
            format!("  weldrctl add IP:PORT\n  curl localhost:8687/servers {body}\n"),
        ),
        (
            "[::]:99",
            true,
            format!(
                "  weldrctl --endpoint localhost:99 add IP:PORT\n  curl localhost:99/servers {body}\n"
            ),
        ),
        (
            "127.0.0.1:8687",
            false,
            "  weldrctl add IP:PORT\n".to_owned(),
        ),
        (
            "10.0.0.7:8687",
            true,
            "  weldrctl --endpoint HOST:PORT add IP:PORT\n".to_owned(),
        ),
    ] {
        assert_eq!(told(address, rest), expected, "{address}");
    }
}
