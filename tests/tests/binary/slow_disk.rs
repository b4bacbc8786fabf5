//! A stop while the disk does not respond.

use std::{fs, path::Path, process::Command, thread};

use weldr_proto::v1::AddServerRequest;
use weldr_tests::{
    daemon::Daemon,
    origin::Origin,
    process::{Program, installed},
    wait,
};

/// A sync does not end while the file `$SLOW` exists, and makes the file `$SLOW.begun`.
const SHIM: &str = r#"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
static int synced(long number, int file) {
    const char *slow = getenv("SLOW");
    char begun[4096];
    snprintf(begun, sizeof begun, "%s.begun", slow);
    while (access(slow, F_OK) == 0) {
        close(open(begun, O_CREAT | O_WRONLY, 0600));
        usleep(10000);
    }
    return syscall(number, file);
}
int fsync(int file) { return synced(SYS_fsync, file); }
int fdatasync(int file) { return synced(SYS_fdatasync, file); }
"#;

/// Makes the library in `directory`; `None`, after saying so, on a machine without a compiler.
fn shim(directory: &Path) -> Option<String> {
    let Some(compiler) = installed("cc") else {
        let test = thread::current().name().unwrap_or("a test").to_owned();
        weldr_tests::complain!("{test}: SKIPPED, it needs a C compiler");
        return None;
    };
    let (source, library) = (directory.join("shim.c"), directory.join("shim.so"));
    fs::write(&source, SHIM).unwrap();
    let built = Command::new(compiler)
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .output()
        .unwrap();
    assert!(built.status.success(), "{built:?}");
    Some(library.to_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_a_disk_that_does_not_respond() {
    let home = tempfile::tempdir().unwrap();
    let Some(library) = shim(home.path()) else {
        return;
    };
    let slow = home.path().join("slow");
    let program = Program::weldr_bare()
        .args(["--shutdown-timeout", "200ms"])
        .in_directory(home.path());
    let program = program.env("LD_PRELOAD", &library);
    let weldr = Daemon::run(program.env("SLOW", slow.to_str().unwrap())).await;
    let (kept, pending) = (Origin::saying("hi"), Origin::saying("hi"));
    weldr.add(kept.address()).await;

    fs::write(&slow, "").unwrap();
    let mut client = weldr.client();
    let request = AddServerRequest {
        address: pending.address().to_string(),
        ..Default::default()
    };
    let change = tokio::spawn(async move { client.add_server(request).await });
    wait::until("a sync to begin", async || {
        let begun = home.path().join("slow.begun");
        begun.exists().then_some(()).ok_or("none")
    })
    .await;
    // Bounded by less than the disk takes, which is for ever.
    let finished = weldr.terminate().await;
    assert_eq!(finished.code(), Some(0), "{finished:#?}");
    assert!(finished.stderr.contains("the disk"), "{finished:#?}");
    let answer = change.await.unwrap();
    assert!(answer.is_err(), "nothing was acknowledged: {answer:?}");

    fs::remove_file(&slow).unwrap();
    let again = Daemon::run(Program::weldr_bare().in_directory(home.path())).await;
    assert!(again.server(kept.address()).await.is_some());
    assert_eq!(again.terminate().await.code(), Some(0));
}
