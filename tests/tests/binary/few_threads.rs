//! A start with fewer threads than Weldr needs.

use rustix::process::getuid;
use weldr_tests::{
    process::{Finished, Program, Signal, binary, installed},
    wait,
};

/// A user who runs nothing else.
const USER: &str = "60731";

/// More threads than a node with two workers has.
const ENOUGH: u32 = 40;

/// `weldr` that may have `limit` threads; `None` on a machine without the programs for that. The limit is not for root, so
/// root becomes somebody else.
fn limited(limit: u32) -> Option<Program> {
    let prlimit = installed("prlimit")?;
    let limit = format!("--nproc={limit}:{limit}");
    let program = if getuid().is_root() {
        let ids = ["--reuid", USER, "--regid", USER, "--clear-groups"];
        let program = Program::at("weldr", &installed("setpriv")?).args(ids);
        program.arg(prlimit)
    } else {
        Program::at("weldr", &prlimit)
    };
    let program = program.args([limit.as_ref(), binary("weldr").as_os_str()]);
    let ports = ["--listen", "127.0.0.1:0", "--management", "127.0.0.1:0"];
    Some(program.args(ports).args(["--ephemeral", "--workers", "2"]))
}

/// Whether `weldr` can be run like that: the other user may not be able to reach the binary.
async fn can_be_limited() -> bool {
    let Some(program) = limited(ENOUGH) else {
        return false;
    };
    let finished = program.in_directory("/".as_ref()).arg("--version");
    finished.run().await.code() == Some(0)
}

/// Waits until it serves or has ended; ends it.
async fn outcome(program: Program) -> Finished {
    let process = program.in_directory("/".as_ref()).start();
    let serves = wait::until("it to serve or to say why not", async || {
        match process.stderr() {
            said if said.contains("management listening") => Ok(true),
            said if said.contains("weldr: ") => Ok(false),
            said => Err(said),
        }
    });
    if serves.await {
        process.signal(Signal::TERM);
    }
    process.finished().await
}

/// Whether it served; otherwise it ended with a sentence.
fn served(limit: u32, finished: &Finished) -> bool {
    assert!(!finished.stderr.contains("panic"), "{limit}: {finished:#?}");
    if finished.code() == Some(0) {
        return true;
    }
    assert!(
        matches!(finished.code(), Some(1 | 2)),
        "{limit}: {finished:#?}"
    );
    let sentence = finished.stderr.trim_end();
    let names_cause = sentence.starts_with("weldr: cannot start a thread: ")
        && sentence.contains("ulimit -u, TasksMax")
        && !sentence.contains('\n');
    assert!(names_cause, "{limit}: {finished:#?}");
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_enough_threads_ends_with_a_sentence() {
    if !can_be_limited().await {
        weldr_tests::complain!(
            "SKIPPED, it needs prlimit, and as root setpriv and a binary that all may run"
        );
        return;
    }
    let mut have_served = Vec::new();
    for limit in (1..=ENOUGH).filter(|limit| *limit < 20 || limit % 4 == 0) {
        let Some(program) = limited(limit) else {
            return;
        };
        if served(limit, &outcome(program).await) {
            have_served.push(limit);
        }
    }
    if getuid().is_root() {
        assert!(have_served.contains(&ENOUGH), "{have_served:?}");
        assert!(!have_served.contains(&8), "{have_served:?}");
    }
}
