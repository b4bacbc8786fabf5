//! A start that cannot be: one sentence that says why, and an exit code that is not 0.

use std::{
    fs,
    io::{self, Write as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
};

use weldr_tests::{
    daemon::Daemon,
    process::{Finished, Program, binary, installed},
    small_disk::{self, DISK},
};

/// What was asked for makes no sense.
const USAGE: i32 = 2;
/// It makes sense and cannot be done.
const REFUSED: i32 = 1;

#[track_caller]
fn assert_refused(finished: &Finished, code: i32, parts: &[&str]) {
    assert_eq!(finished.code(), Some(code), "{finished:#?}");
    assert_eq!(finished.stdout, "");
    let sentence = finished.stderr.trim_end();
    assert!(
        sentence.starts_with("weldr: ") && !sentence.contains('\n'),
        "not one sentence: {sentence}"
    );
    for part in parts {
        assert!(sentence.contains(part), "{part:?} in {sentence}");
    }
}

#[tokio::test]
async fn values_out_of_range_name_their_option_and_what_is_accepted() {
    for (args, parts) in [
        (
            &["--workers", "0"][..],
            &["workers", "\"0\"", "1 to 1024"][..],
        ),
        (
            &["--check-path", "health"],
            &["check_path", "\"health\"", "begins with `/`"],
        ),
        (
            &["--check-expect", "99"],
            &["check_expect", "\"99\"", "200 to 999"],
        ),
        (
            &["--connect-timeout", "0s"],
            &["connect_timeout", "\"0s\"", "10ms"],
        ),
        (
            &["--server", "127.0.0.1:0"],
            &["server", "127.0.0.1:0", "a port from 1 to 65535"],
        ),
        (
            &["--server", "127.0.0.1:80,0.0.0.0:80"],
            &["server", "0.0.0.0:80", "one host"],
        ),
        (
            &["--listen", "127.0.0.1:8080", "--listen", "127.0.0.1:8080"],
            &["listen", "127.0.0.1:8080", "once"],
        ),
        (
            &["--management", "0.0.0.0:0"],
            &["0.0.0.0:0", "without TLS", "--management-insecure"],
        ),
        (
            &["--demo", "--data-dir", "here"],
            &["demo", "keeps nothing on disk"],
        ),
        (
            &["--check-type", "tcp", "--check-path", "/"],
            &["check_type is tcp", "check_path"],
        ),
        (
            &["--config", "nowhere.toml"],
            &["nowhere.toml", "No such file"],
        ),
    ] {
        let finished = Program::new("weldr").args(args).run().await;
        assert_refused(&finished, USAGE, parts);
    }
}

#[tokio::test]
async fn what_does_not_parse_names_its_flag_and_what_is_accepted() {
    for (args, parts) in [
        (
            ["--listen", "localhost:80"],
            ["--listen", "ip:port", "host names are not resolved"],
        ),
        (
            ["--management", "8687"],
            ["--management", "ip:port", "8687"],
        ),
        (["--server", "::1:80"], ["--server", "[::1]", "ip:port"]),
        (["--workers", "two"], ["--workers", "two", "a whole number"]),
        (
            ["--connect-timeout", "5"],
            ["--connect-timeout", "5", "500ms"],
        ),
        (["--log-format", "xml"], ["--log-format", "text", "json"]),
        (
            ["--no-such-flag", "x"],
            ["--no-such-flag", "unexpected", "--help"],
        ),
    ] {
        let finished = Program::new("weldr").args(args).run().await;
        assert_eq!(finished.code(), Some(USAGE), "{finished:#?}");
        for part in parts {
            assert!(finished.stderr.contains(part), "{part:?} in {finished:#?}");
        }
    }
}

#[tokio::test]
async fn a_file_that_is_not_valid_is_told_with_the_place() {
    for (text, parts) in [
        (
            "workers = 'two'",
            &["line 1", "workers", "string \"two\""][..],
        ),
        ("\nnope = 1", &["line 2", "unknown", "`nope`", "`listen`"]),
        ("workers = ", &["line 1"]),
        (
            "connect_timeout = 5",
            &["line 1", "connect_timeout", "500ms"],
        ),
        ("listen = ['localhost:80']", &["line 1", "listen"]),
        ("workers = 0", &["workers", "1 to 1024"]),
        (
            "ephemeral = true\ndata_dir = 'here'",
            &["ephemeral", "data_dir"],
        ),
    ] {
        let program = Program::new("weldr").args(["--config", "weldr.toml"]);
        fs::write(program.directory().join("weldr.toml"), text).unwrap();
        assert_refused(&program.run().await, USAGE, parts);
    }
}

#[tokio::test]
async fn a_configuration_file_that_has_no_end_is_refused() {
    for file in ["/dev/zero", ".", "pipe"] {
        let program = Program::new("weldr").args(["--config", file]);
        let pipe = program.directory().join("pipe");
        let made = Command::new("mkfifo").arg(pipe).status().unwrap();
        assert!(made.success());
        assert_refused(&program.run().await, USAGE, &[file, "not a regular file"]);
    }
    let program = Program::new("weldr").args(["--config", "large"]);
    let large = vec![b'#'; (1 << 20) + 1];
    fs::write(program.directory().join("large"), large).unwrap();
    assert_refused(&program.run().await, USAGE, &["large", "longer than 1 MiB"]);
}

#[tokio::test]
async fn a_database_that_is_missing_where_a_node_has_run_is_no_empty_pool() {
    let home = tempfile::tempdir().unwrap();
    let weldr = || Program::weldr_bare().in_directory(home.path());
    let first = Daemon::run(weldr()).await;
    first.terminate().await;
    let data = home.path().join("weldr-data");
    let database = data.join("weldr.redb");
    let kept = home.path().join("kept");
    fs::rename(&database, &kept).unwrap();
    assert_refused(
        &weldr().run().await,
        REFUSED,
        &["weldr.redb is missing", "decided", "backup", "remove"],
    );
    fs::rename(&kept, &database).unwrap();
    let again = Daemon::run(weldr()).await;
    assert_eq!(again.terminate().await.code(), Some(0));

    fs::remove_file(&database).unwrap();
    fs::remove_file(data.join("decided")).unwrap();
    let empty = Daemon::run(weldr()).await;
    assert_eq!(empty.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn a_log_filter_that_is_not_one_is_refused() {
    let weldr = Program::weldr().env("RUST_LOG", "weldr=loud");
    assert_refused(
        &weldr.run().await,
        USAGE,
        &["RUST_LOG", "weldr=loud", "weldr=debug"],
    );
}

#[tokio::test]
async fn an_address_in_use_is_named_with_the_flag_that_changes_it() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = held.local_addr().unwrap();
    for (args, flag) in [
        (["--management", "127.0.0.1:0", "--listen"], "--listen"),
        (["--listen", "127.0.0.1:0", "--management"], "--management"),
    ] {
        let weldr = Program::new("weldr").args(["--ephemeral"]).args(args);
        let finished = weldr.arg(taken.to_string()).run().await;
        assert_refused(&finished, REFUSED, &[&taken.to_string(), flag, "in use"]);
    }
    drop(held);
}

#[tokio::test]
async fn a_second_weldr_keeps_off_the_data_directory_of_the_first() {
    let first = Daemon::run(Program::weldr_bare()).await;
    let second = Program::weldr_bare().in_directory(first.process().directory());
    assert_refused(
        &second.run().await,
        REFUSED,
        &["weldr-data", "in use by another weldr", "--data-dir"],
    );
    assert_eq!(first.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_used_is_named() {
    let weldr = Program::weldr_bare().args(["--data-dir", "a-file"]);
    fs::write(weldr.directory().join("a-file"), "").unwrap();
    assert_refused(
        &weldr.run().await,
        REFUSED,
        &["data directory", "a-file", "--data-dir"],
    );
}

#[tokio::test]
async fn a_data_directory_on_a_disk_that_takes_no_writes_is_named_with_the_cause() {
    for (options, parts) in [
        (
            ",ro",
            ["cannot use the data directory", "Read-only file system"],
        ),
        (
            ",size=16k",
            ["cannot read and write the database", "No space left"],
        ),
    ] {
        let Some(program) = small_disk::program("weldr", options) else {
            return;
        };
        let finished = program.args(["--data-dir", DISK]).run().await;
        assert_refused(&finished, REFUSED, &[&[DISK][..], &parts].concat());
    }
}

/// Whom the tests with wrong permissions run `weldr` as: root may do everything.
const NOBODY: [&str; 3] = ["--reuid=65534", "--regid=65534", "--clear-groups"];

/// `weldr` as a user who owns nothing; `None`, after saying so, when there is no way to become one who may run it.
fn weldr_as_nobody() -> Option<Program> {
    let weldr = binary("weldr");
    let probe = Command::new("setpriv")
        .args(NOBODY)
        .arg(&weldr)
        .arg("--version")
        .output();
    let setpriv = installed("setpriv").filter(|_| probe.is_ok_and(|probe| probe.status.success()));
    let Some(setpriv) = setpriv else {
        let _ = writeln!(io::stderr(), "SKIPPED, it needs root and setpriv");
        return None;
    };
    let program = Program::at("weldr", &setpriv).args(NOBODY).arg(weldr);
    allow(program.directory(), 0o755);
    let addresses = ["--listen", "127.0.0.1:0", "--management", "127.0.0.1:0"];
    Some(program.args(addresses).args(["--data-dir", "data"]))
}

fn allow(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn a_data_directory_of_another_user_is_named_and_left_unchanged() {
    // What a node of root has left, with the modes of its directory, its lock and its database.
    for (modes, parts) in [
        (
            [0o700, 0o666, 0o666],
            [
                "cannot use the data directory",
                "let weldr create, read and write",
            ],
        ),
        (
            [0o555, 0o644, 0o666],
            [
                "cannot use the data directory",
                "let weldr create, read and write",
            ],
        ),
        (
            [0o777, 0o600, 0o666],
            [
                "cannot use the data directory",
                "let weldr create, read and write",
            ],
        ),
        (
            [0o777, 0o666, 0o600],
            [
                "cannot read and write the database",
                "check its owner, its mode",
            ],
        ),
    ] {
        let Some(program) = weldr_as_nobody() else {
            return;
        };
        let data = program.directory().join("data");
        let first = Program::weldr_bare().args([Path::new("--data-dir"), &data]);
        assert_eq!(Daemon::run(first).await.terminate().await.code(), Some(0));
        let database = data.join("weldr.redb");
        let before = fs::read(&database).unwrap();
        for (path, mode) in [data.clone(), data.join("lock"), database.clone()]
            .iter()
            .zip(modes)
        {
            allow(path, mode);
        }
        // The directory of the program is gone with it.
        let kept = tempfile::tempdir().unwrap();
        let process = program.start();
        let link = kept.path().join("weldr.redb");
        fs::hard_link(&database, &link).unwrap();
        let finished = process.finished().await;
        assert_refused(
            &finished,
            REFUSED,
            &[&parts[..], &["Permission denied"]].concat(),
        );
        assert!(
            fs::read(&link).unwrap() == before,
            "{modes:?}: the database was changed"
        );
    }
}
