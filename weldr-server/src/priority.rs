//! The priority of the threads that must not wait while all cores are busy.

use rustix::process::setpriority_process;

/// The nice value of threads that decide about leadership and virtual addresses. They take little time, and need it soon.
const NICE: i32 = -15;

/// Raises the priority of this thread, and of the threads and processes that it starts from now on. Takes the capability
/// `CAP_SYS_NICE`; without it, nothing changes.
pub fn raise() {
    // On Linux, no process means this thread.
    if let Err(error) = setpriority_process(None, NICE) {
        tracing::debug!(%error, nice = NICE, "the priority of a thread cannot be raised");
    }
}
