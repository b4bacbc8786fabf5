//! Becomes another program, bound to some cores and to the life of the process that started it.

use std::{
    convert::Infallible, ffi::OsString, io, os::unix::process::CommandExt as _, process::Command,
};

use rustix::process::{Signal, set_parent_process_death_signal};

use crate::machine;

/// Replaces this process by `command`.
pub(crate) fn run(cores: &[usize], command: &[OsString]) -> io::Result<Infallible> {
    let [program, arguments @ ..] = command else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    set_parent_process_death_signal(Some(Signal::TERM))?;
    machine::pin(cores)?;
    Err(Command::new(program).args(arguments).exec())
}
