//! Where options come from, and what they do.

use std::fs;

use serde_json::Value;
use weldr_proto::v1::{GetPoolRequest, HealthState};
use weldr_tests::{
    daemon::{Daemon, QUICK_CHECKS, TestServer},
    origin::ReservedPort,
    process::Program,
    raw,
};

/// The line of the effective configuration that begins with `key`.
fn line(printed: &str, key: &str) -> String {
    let found = printed
        .lines()
        .find(|line| line.starts_with(&format!("{key} ")));
    found
        .unwrap_or_else(|| panic!("{key} in {printed}"))
        .to_owned()
}

#[tokio::test]
async fn a_flag_beats_a_variable_which_beats_the_file_which_beats_the_default() {
    let check = |args: &[&str], variable: Option<&str>| {
        let mut weldr = Program::new("weldr").arg("check-config").args(args);
        if let Some(workers) = variable {
            weldr = weldr.env("WELDR_WORKERS", workers);
        }
        fs::write(weldr.directory().join("weldr.toml"), "workers = 3\n").unwrap();
        weldr.run()
    };
    let file = ["--config", "weldr.toml"];
    let flag = ["--config", "weldr.toml", "--workers", "7"];
    for (args, variable, expected) in [
        (&file[..], None, "workers = 3"),
        (&file, Some("5"), "workers = 5"),
        (&flag, Some("5"), "workers = 7"),
    ] {
        let printed = check(args, variable).await.expect_success();
        assert_eq!(line(&printed, "workers"), expected);
    }
    let printed = check(&[], None).await.expect_success();
    assert_eq!(
        line(&printed, "connect_timeout"),
        "connect_timeout = \"2s\""
    );
}

#[tokio::test]
async fn the_file_can_be_named_by_a_variable_and_lists_by_commas() {
    let weldr = Program::new("weldr")
        .arg("check-config")
        .env("WELDR_CONFIG", "other.toml")
        .env("WELDR_SERVER", "127.0.0.1:1,[::1]:2");
    fs::write(weldr.directory().join("other.toml"), "max_headers = 9").unwrap();
    let printed = weldr.run().await.expect_success();
    assert_eq!(line(&printed, "max_headers"), "max_headers = 9");
    assert_eq!(
        line(&printed, "server"),
        "server = [\"127.0.0.1:1\", \"[::1]:2\"]"
    );
}

#[tokio::test]
async fn the_effective_configuration_is_a_file_with_which_weldr_starts() {
    let said = [
        "--check-path",
        "/health",
        "--deregister-after",
        "90m",
        "--balancing",
        "least_requests",
        "--max-headers",
        "77",
    ];
    let printed = Program::weldr()
        .arg("check-config")
        .args(said)
        .run()
        .await
        .expect_success();
    let again = Program::new("weldr").args(["check-config", "--config", "weldr.toml"]);
    fs::write(again.directory().join("weldr.toml"), &printed).unwrap();
    assert_eq!(again.run().await.expect_success(), printed);

    let weldr = Program::new("weldr").args(["--config", "weldr.toml"]);
    fs::write(weldr.directory().join("weldr.toml"), &printed).unwrap();
    let weldr = Daemon::run(weldr).await;
    let pool = weldr.client().get_pool(GetPoolRequest::default()).await;
    let settings = pool.unwrap().into_inner().pool.unwrap().settings.unwrap();
    assert_eq!(settings.deregister_after.unwrap().seconds, 90 * 60);
    assert_eq!(weldr.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn a_flag_beats_what_the_file_says_of_the_kind_of_check() {
    let of = async |file: &str, args: &[&str]| {
        let weldr = Program::new("weldr").args(["check-config", "--config", "weldr.toml"]);
        fs::write(weldr.directory().join("weldr.toml"), file).unwrap();
        let printed = weldr.args(args).run().await.expect_success();
        line(&printed, "check_type")
    };
    let http = of("check_type = 'tcp'", &["--check-path", "/health"]).await;
    assert_eq!(http, "check_type = \"http\"");
    let tcp = of("check_path = '/health'", &["--check-type", "tcp"]).await;
    assert_eq!(tcp, "check_type = \"tcp\"");
}

#[tokio::test]
async fn every_address_is_listened_on_and_servers_are_there_from_the_start() {
    let server = TestServer::start().await;
    let address = server.address();
    let weldr = Program::weldr().args(["--listen", "[::1]:0", "--server", &address.to_string()]);
    let weldr = Daemon::run(weldr).await;
    weldr.reaches(address, HealthState::Healthy).await;
    let addresses: Vec<_> = weldr
        .process()
        .stderr()
        .lines()
        .filter(|line| line.contains("proxy listening"))
        .filter_map(|line| line.split_once("address="))
        .map(|(_, rest)| rest.split(' ').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(addresses.len(), 2, "{addresses:?}");
    for proxy in addresses {
        assert_eq!(raw::get(proxy, "/").await.text(), "Hello World");
    }
    assert_eq!(weldr.terminate().await.code(), Some(0));
    server.kill().await;
}

#[tokio::test]
async fn without_rest_grpc_is_left() {
    let weldr = Daemon::run(Program::weldr().arg("--no-rest")).await;
    assert_eq!(raw::get(weldr.management(), "/stats").await.status, 404);
    assert_eq!(raw::get(weldr.management(), "/readyz").await.status, 200);
    assert!(weldr.stats().await.servers.is_empty());
    assert_eq!(weldr.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn the_log_is_text_or_json_and_as_much_as_was_asked_for() {
    let down = ReservedPort::new();
    let log = async |program: Program| {
        let address = down.address().to_string();
        let weldr = program.args(QUICK_CHECKS).args(["--server", &address]);
        let process = weldr.start();
        process.logs("connection_refused").await;
        process.terminate().await.stderr
    };
    let json = log(Program::weldr().args(["--log-format", "json"])).await;
    for line in json.lines() {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        for key in ["timestamp", "level", "message"] {
            assert!(entry[key].is_string(), "{key} in {line}");
        }
    }
    assert!(json.contains("\"proxy listening\""), "{json}");

    let all = log(Program::weldr().env("RUST_LOG", "weldr")).await;
    assert!(all.contains(" INFO proxy listening"), "{all}");
    assert!(!all.contains('\u{1b}'), "no colours in a pipe: {all}");
    let few = log(Program::weldr().env("RUST_LOG", "weldr=warn")).await;
    assert!(few.lines().all(|line| line.contains(" WARN ")), "{few}");
}

#[tokio::test]
async fn help_is_told_for_every_option() {
    let help = Program::new("weldr")
        .arg("--help")
        .run()
        .await
        .expect_success();
    let printed = Program::new("weldr").arg("check-config").run().await;
    for option in printed.expect_success().lines() {
        let key = option.split(' ').next().unwrap().replace('_', "-");
        assert!(help.contains(&format!("--{key}")), "{key} in {help}");
        let variable = format!("WELDR_{}=", key.replace('-', "_").to_uppercase());
        assert!(help.contains(&variable), "{variable} in {help}");
    }
}
