//! Classifies errors of sockets.

use std::io;

use rustix::io::Errno;

/// Whether an error says that the process, or the system, has no file descriptor left.
pub(in crate::proxy) fn is_out_of_descriptors(error: &io::Error) -> bool {
    let exhausted = [Errno::MFILE, Errno::NFILE].map(|errno| Some(errno.raw_os_error()));
    exhausted.contains(&error.raw_os_error())
}

/// Whether a call found nothing to do, and has to be made again when something is ready.
pub(in crate::proxy) fn would_block<T>(outcome: &io::Result<T>) -> bool {
    matches!(outcome, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}
