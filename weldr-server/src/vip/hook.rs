//! The address backend that runs an operator's program, for clouds that move addresses by an API.

use std::{
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{process::Command, time};

use super::{
    backend::{AddressBackend, Found},
    error::{BackendError, VipStartError},
};
use crate::model::VirtualAddress;

/// The time limit of one run of the hook.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

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
        let (program, address) = (self.program.display(), self.address);
        let mut command = Command::new(self.program);
        command
            .args([what, &address.to_string(), self.interface])
            .stdin(Stdio::null())
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(BackendError::HookStart)?;
        let _group = Group(child.id());
        let Ok(ended) = time::timeout(LIMIT, child.wait()).await else {
            return Err(BackendError::Timeout(LIMIT));
        };
        let status = ended.map_err(BackendError::HookStart)?;
        tracing::info!(%program, what, %address, %status, "hook ended");
        if status.success() {
            Ok(())
        } else {
            Err(BackendError::HookFailed(status))
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
