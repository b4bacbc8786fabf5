//! The address backend that runs an operator's program, for clouds that move addresses by an API.

use std::{
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader},
    process::Command,
    task::JoinSet,
    time,
};

use super::{
    backend::{AddressBackend, Found},
    error::{BackendError, VipStartError},
};
use crate::model::VirtualAddress;

/// The time limit of one run of the hook.
pub(super) const LIMIT: Duration = Duration::from_secs(10);
/// How long what a hook wrote last is waited for when it has ended: something that it started may have the pipe open.
const LAST_OUTPUT: Duration = Duration::from_millis(100);
/// The longest part of a line of its output that is logged together, in bytes.
const LONGEST_LINE: u64 = 1024;

/// One address and the program that moves it.
#[derive(Debug)]
pub(super) struct Hook<'h> {
    program: &'h Path,
    address: VirtualAddress,
    interface: &'h str,
    is_held: bool,
}

impl<'h> Hook<'h> {
    /// An address of which nothing is known.
    pub(super) fn new(program: &'h Path, address: VirtualAddress, interface: &'h str) -> Self {
        Self {
            program,
            address,
            interface,
            is_held: false,
        }
    }

    /// Checks that the program can be run, and runs it to release what an earlier run left.
    pub(super) async fn prepare(
        program: &'h Path,
        address: VirtualAddress,
        interface: &'h str,
    ) -> Result<Self, VipStartError> {
        check(program).map_err(|error| VipStartError::NoHook(PathBuf::from(program), error))?;
        let mut hook = Self::new(program, address, interface);
        match hook.release().await {
            Ok(()) => Ok(hook),
            Err(source) => Err(VipStartError::Leftover { address, source }),
        }
    }

    async fn run(&self, what: &str) -> Result<(), BackendError> {
        let address = self.address.to_string();
        run_program(self.program, &[what, &address, self.interface]).await
    }
}

/// Runs a program of the operator's, for at most 10 s, and logs what it writes.
///
/// # Errors
/// When it cannot be run, takes too long, or does not end with 0.
pub async fn run_program(program: &Path, args: &[&str]) -> Result<(), BackendError> {
    let mut command = Command::new(program);
    command
        .args(args)
        .stdin(Stdio::null())
        // Standard error of this process may be closed, or a pipe that nobody reads.
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(BackendError::HookStart)?;
    let _group = Group(child.id());
    let mut output = JoinSet::new();
    if let Some(stdout) = child.stdout.take() {
        output.spawn(log_output(program.to_owned(), stdout));
    }
    if let Some(stderr) = child.stderr.take() {
        output.spawn(log_output(program.to_owned(), stderr));
    }
    let Ok(ended) = time::timeout(LIMIT, child.wait()).await else {
        return Err(BackendError::Timeout(LIMIT));
    };
    let logged = async { while output.join_next().await.is_some() {} };
    // What comes later is lost.
    let _ = time::timeout(LAST_OUTPUT, logged).await;
    let status = ended.map_err(BackendError::HookStart)?;
    tracing::info!(program = %program.display(), args = args.join(" "), %status, "hook ended");
    if status.success() {
        Ok(())
    } else {
        Err(BackendError::HookFailed(status))
    }
}

/// Logs each line that a hook writes.
async fn log_output(program: PathBuf, output: impl AsyncRead + Unpin) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut part = (&mut output).take(LONGEST_LINE);
        match part.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(&line);
                tracing::info!(program = %program.display(), output = text.trim_end(), "hook output");
            }
        }
    }
}

impl AddressBackend for Hook<'_> {
    async fn hold(&mut self, _lifetime: Duration) -> Result<Found, BackendError> {
        if self.is_held {
            return Ok(Found::Present);
        }
        self.run("acquire").await?;
        self.is_held = true;
        Ok(Found::Missing)
    }

    async fn announce(&mut self) -> Result<(), BackendError> {
        Ok(())
    }

    async fn release(&mut self) -> Result<(), BackendError> {
        self.is_held = false;
        self.run("release").await
    }
}

/// Kills the processes that a hook has left running.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let id = self.0.and_then(|id| i32::try_from(id).ok());
        if let Some(group) = id.and_then(Pid::from_raw) {
            // The group is empty if the hook ended normally.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

fn check(program: &Path) -> io::Result<()> {
    let metadata = program.metadata()?;
    if metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 {
        return Ok(());
    }
    Err(io::Error::from(io::ErrorKind::PermissionDenied))
}
