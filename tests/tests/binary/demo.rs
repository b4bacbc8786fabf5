//! `weldr --demo`.

use std::{collections::BTreeSet, fs, net::SocketAddr};

use weldr_tests::{daemon::Daemon, http1::Response, process::Program, raw, wait};

/// Does what a `curl` command does, as far as the demonstration uses it.
async fn curl(command: &str) -> Response {
    let mut words = command.split_whitespace().peekable();
    assert_eq!(words.next(), Some("curl"), "{command}");
    let mut method = "GET";
    if words.next_if_eq(&"-X").is_some() {
        method = words.next().expect("a method");
    }
    let url = words.next().expect("a URL").trim_matches('\'');
    let (address, path) = match url.strip_prefix("http://").unwrap_or(url).split_once('/') {
        Some((address, path)) => (address, format!("/{path}")),
        None => (url.trim_start_matches("http://"), "/".to_owned()),
    };
    assert_eq!(words.next(), None, "{command}");
    let address: SocketAddr = address.parse().expect("an address");
    raw::request(address, method, &path, "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn prints_addresses_and_three_commands_that_work() {
    let weldr = Daemon::run(Program::weldr_bare().arg("--demo")).await;
    weldr.process().prints("-X DELETE").await;
    let printed = weldr.process().stdout();
    for address in [weldr.proxy(), weldr.management()] {
        assert!(printed.contains(&address.to_string()), "{printed}");
    }
    let commands: Vec<_> = printed
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("curl "))
        .collect();
    assert_eq!(commands.len(), 3, "{printed}");

    let mut greeters = BTreeSet::new();
    wait::until("each server to respond", async || {
        let response = curl(commands[0]).await;
        assert_eq!(response.status, 200, "{response}");
        greeters.insert(response.text());
        match greeters.len() {
            3 => Ok(()),
            few => Err(few),
        }
    })
    .await;
    let servers = curl(commands[1]).await.json();
    assert_eq!(servers.as_array().map(Vec::len), Some(3), "{servers}");
    let removed = curl(commands[2]).await;
    assert_eq!(removed.status, 200, "{removed}");
    assert_eq!(
        curl(commands[1]).await.json().as_array().map(Vec::len),
        Some(2)
    );

    let kept: Vec<_> = fs::read_dir(weldr.process().directory()).unwrap().collect();
    assert!(kept.is_empty(), "{kept:?}");
    assert_eq!(weldr.terminate().await.code(), Some(0));
}
