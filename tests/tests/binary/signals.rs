//! Signals that do not end a process with requests running.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use weldr_tests::{
    daemon::Daemon,
    process::{Program, Signal},
    raw, wait,
};

use super::{busy::Busy, guard::Guard};

#[tokio::test(flavor = "multi_thread")]
async fn signals_that_are_no_order_to_stop_cut_no_request() {
    for signal in [
        Signal::HUP,
        Signal::USR1,
        Signal::USR2,
        Signal::PIPE,
        Signal::XFSZ,
    ] {
        let mut busy = Busy::start(Program::weldr()).await;
        busy.weldr.process().signal(signal);
        let readyz = raw::get(busy.weldr.management(), "/readyz").await;
        assert_eq!(readyz.status, 200, "{signal:?}: {readyz}");
        busy.open(1);
        busy.gets_its_response().await;
        let finished = busy.weldr.terminate().await;
        assert_eq!(finished.code(), Some(0), "{signal:?}: {finished:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guard_of_virtual_addresses_outlives_every_signal_that_can_be_caught() {
    let mut guard = Guard::start(|program| program).await;
    guard.releases(1).await;
    for signal in [
        Signal::TERM,
        Signal::INT,
        Signal::QUIT,
        Signal::HUP,
        Signal::USR1,
        Signal::USR2,
        Signal::PIPE,
        Signal::XFSZ,
    ] {
        guard.process().signal(signal);
    }
    guard.releases(2).await;
    guard.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigquit_stops_as_sigterm_does() {
    let mut busy = Busy::start(Program::weldr()).await;
    busy.weldr.process().signal(Signal::QUIT);
    busy.weldr.process().logs("stopping").await;
    // Neither of them is a second order to stop.
    busy.weldr.process().signal(Signal::HUP);
    busy.weldr.process().signal(Signal::USR1);
    busy.open(1);
    busy.gets_its_response().await;
    let finished = busy.weldr.finished().await;
    assert_eq!(finished.code(), Some(0), "{finished:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_and_sigusr1_reopen_the_access_log() {
    for signal in [Signal::HUP, Signal::USR1] {
        let options = ["--access-log", "json", "--access-log-file", "access.log"];
        let weldr = Daemon::run(Program::weldr().args(options)).await;
        let file = weldr.process().directory().join("access.log");
        fs::rename(&file, file.with_extension("old")).unwrap();
        weldr.process().signal(signal);
        weldr.process().logs("access log reopened").await;
        raw::get(weldr.proxy(), "/after").await;
        wait::until("a line in the new file", async || {
            let text = fs::read_to_string(&file).unwrap_or_default();
            if text.contains("/after") {
                Ok(())
            } else {
                Err(text)
            }
        })
        .await;
        assert_eq!(weldr.terminate().await.code(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_names_the_options_of_the_file_that_need_a_restart() {
    let program = Program::weldr().args(["--config", "weldr.toml", "--max-headers", "100"]);
    let file = program.directory().join("weldr.toml");
    fs::write(&file, "retries = 2\n").unwrap();
    let weldr = Daemon::run(program).await;
    weldr.process().signal(Signal::HUP);
    weldr
        .process()
        .logs("the configuration file says what is in effect")
        .await;

    // A flag overrides the file, so `max_headers` does not change.
    fs::write(&file, "retries = 3\nmax_headers = 64\nfail_open = false\n").unwrap();
    weldr.process().signal(Signal::HUP);
    weldr.process().logs("take effect after a restart").await;
    let log = weldr.process().stderr();
    let line = log.lines().find(|line| line.contains("after a restart"));
    let line = line.unwrap();
    assert!(line.contains("options=\"retries\""), "{line}");
    weldr.process().logs("for a new pool").await;
    let log = weldr.process().stderr();
    let line = log.lines().find(|line| line.contains("for a new pool"));
    assert!(line.unwrap().contains("options=\"fail_open\""), "{log}");

    fs::write(&file, "retries = many\n").unwrap();
    weldr.process().signal(Signal::HUP);
    weldr
        .process()
        .logs("the configuration file is not valid")
        .await;
    let readyz = raw::get(weldr.management(), "/readyz").await;
    assert_eq!(readyz.status, 200, "{readyz}");
    assert_eq!(weldr.terminate().await.code(), Some(0));
}

/// `weldr` with a configuration file that is a symbolic link.
async fn with_linked_file() -> (Daemon, PathBuf) {
    let program = Program::weldr().args(["--config", "weldr.toml"]);
    let link = program.directory().join("weldr.toml");
    fs::write(link.with_extension("first"), "retries = 2\n").unwrap();
    symlink(link.with_extension("first"), &link).unwrap();
    (Daemon::run(program).await, link)
}

fn link_to(link: &Path, target: impl AsRef<Path>) {
    fs::remove_file(link).unwrap();
    symlink(target, link).unwrap();
}

fn named_pipe(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_with_a_file_that_is_none_is_an_error_and_later_signals_work() {
    for (target, words) in [
        ("pipe", "not a regular file"),
        ("/dev/zero", "not a regular file"),
        (".", "not a regular file"),
        ("large", "longer than 1 MiB"),
    ] {
        let (weldr, link) = with_linked_file().await;
        named_pipe(&link.with_file_name("pipe"));
        fs::write(link.with_file_name("large"), vec![b'#'; (1 << 20) + 1]).unwrap();
        link_to(&link, target);
        weldr.process().signal(Signal::HUP);
        weldr.process().logs(words).await;

        link_to(&link, "weldr.first");
        weldr.process().signal(Signal::HUP);
        weldr
            .process()
            .logs("the configuration file says what is in effect")
            .await;
        let finished = weldr.terminate().await;
        assert_eq!(finished.code(), Some(0), "{target}: {finished:#?}");
    }
}
