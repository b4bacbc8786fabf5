//! Programs whose data is on a small disk of their own: a file system in memory, which only that process and its children
//! see, and which a test can fill.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use crate::process::{Process, Program, binary, installed};

/// Where the disk is, in the directory of its process.
pub const DISK: &str = "disk";

/// The size of the disk, as `mount` has it: several times what a node with a few servers needs.
const SIZE: &str = "size=8m";

/// The binary `name` in a directory with a small disk named [`DISK`]; `None`, after saying so past the capture of the test
/// runner, when this process cannot make one. `options` are those of `mount`, after a comma: `",ro"` makes it read-only.
pub fn program(name: &str, options: &str) -> Option<Program> {
    let probe = Command::new("unshare")
        .args(["--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"])
        .output();
    let unshare = installed("unshare").filter(|_| probe.is_ok_and(|probe| probe.status.success()));
    let Some(unshare) = unshare else {
        let test = thread::current().name().unwrap_or("a test").to_owned();
        let _ = writeln!(
            io::stderr(),
            "{test}: SKIPPED, it needs root and mount namespaces"
        );
        return None;
    };
    let script =
        format!("mkdir {DISK} && mount -t tmpfs -o {SIZE}{options} tmpfs {DISK} && exec \"$@\"");
    let program = Program::at(name, &unshare).args(["--mount", "sh", "-c", &script, "sh"]);
    Some(program.arg(binary(name)))
}

/// The small disk of a running process.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// That of `process`, which [`program`] has started.
    pub fn of(process: &Process) -> Self {
        let root = format!("/proc/{}/root", process.id());
        let directory = process.directory();
        let inside = directory.strip_prefix("/").unwrap_or(directory);
        Self(Path::new(&root).join(inside).join(DISK))
    }

    /// Fills it to its last byte.
    ///
    /// # Panics
    /// When it cannot be filled.
    pub fn fill(&self) {
        let mut filler = File::create(self.filler()).expect("a file");
        let full = loop {
            if let Err(error) = filler.write_all(&[0; 4096]) {
                break error;
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::StorageFull, "{full}");
    }

    /// Gives back what [`fill`](Self::fill) took.
    ///
    /// # Panics
    /// When it was not filled.
    pub fn empty(&self) {
        fs::remove_file(self.filler()).expect("a filled disk");
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}
