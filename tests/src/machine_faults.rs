//! A library that is loaded into a program so that its disk and its clock fail, as a test wants.
//!
//! The wall clock of a machine cannot be set for one process, and a file system cannot be frozen without privileges: what the
//! program asks the system is changed instead.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use crate::process::{Program, installed};

/// A sync does not end while the file `$SLOW_DISK` exists, and makes the file `$SLOW_DISK.begun`. The wall clock is ahead by
/// the nanoseconds in the file `$WALL_CLOCK`: 8 bytes, in the order of the machine.
const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int synced(long number, int file) {
    const char *slow = getenv("SLOW_DISK");
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

static const volatile long long *ahead;

__attribute__((constructor)) static void open_clock(void) {
    int file = open(getenv("WALL_CLOCK"), O_RDONLY | O_CLOEXEC);
    void *mapped = mmap(0, sizeof *ahead, PROT_READ, MAP_SHARED, file, 0);
    if (mapped != MAP_FAILED) ahead = mapped;
    close(file);
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && ahead && clock == CLOCK_REALTIME) {
        long long nanos = now->tv_nsec + *ahead % 1000000000;
        now->tv_sec += *ahead / 1000000000 + (nanos >= 1000000000) - (nanos < 0);
        now->tv_nsec = (nanos + 1000000000) % 1000000000;
    }
    return failed;
}
"#;

/// The faults of one machine.
#[derive(Debug, Clone)]
pub struct MachineFaults {
    library: PathBuf,
    slow_disk: PathBuf,
    wall_clock: PathBuf,
}

impl MachineFaults {
    /// A machine without faults, whose files are in `directory`; `None`, after saying so past the capture of the test runner,
    /// without a C compiler.
    pub fn new(directory: &Path) -> Option<Self> {
        let Some(compiler) = installed("cc") else {
            let test = thread::current().name().unwrap_or("a test").to_owned();
            let _ = writeln!(io::stderr(), "{test}: SKIPPED, it needs a C compiler");
            return None;
        };
        fs::create_dir_all(directory).expect("a directory");
        let (source, library) = (directory.join("faults.c"), directory.join("libfaults.so"));
        fs::write(&source, SOURCE).expect("a file");
        let built = Command::new(compiler)
            .args(["-shared", "-fPIC", "-o"])
            .args([&library, &source])
            .output()
            .expect("the compiler runs");
        assert!(built.status.success(), "{built:?}");
        let faults = Self {
            library,
            slow_disk: directory.join("slow"),
            wall_clock: directory.join("clock"),
        };
        fs::write(&faults.wall_clock, [0; 8]).expect("a file");
        Some(faults)
    }

    /// Lets `program` run on this machine.
    #[must_use]
    pub fn on(&self, program: Program) -> Program {
        let text = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
        program
            .env("LD_PRELOAD", &text(&self.library))
            .env("SLOW_DISK", &text(&self.slow_disk))
            .env("WALL_CLOCK", &text(&self.wall_clock))
    }

    /// From now on, what is written does not reach the disk; or it does again.
    pub fn freeze_disk(&self, frozen: bool) {
        if frozen {
            fs::write(&self.slow_disk, "").expect("a file");
        } else {
            let _ = fs::remove_file(&self.slow_disk);
            let _ = fs::remove_file(self.begun());
        }
    }

    /// Whether something waits for the frozen disk.
    pub fn waits_for_disk(&self) -> bool {
        self.begun().exists()
    }

    /// Sets the wall clock so many seconds ahead of that of this machine, from now on.
    pub fn set_clock_ahead(&self, seconds: i64) {
        let file = fs::OpenOptions::new().write(true).open(&self.wall_clock);
        let nanoseconds = seconds.saturating_mul(1_000_000_000).to_ne_bytes();
        let written = file.expect("the clock").write_all_at(&nanoseconds, 0);
        written.expect("the clock is set");
    }

    fn begun(&self) -> PathBuf {
        let mut path = self.slow_disk.clone().into_os_string();
        path.push(".begun");
        path.into()
    }
}
