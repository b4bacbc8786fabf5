//! A pseudo-terminal: for what a program writes to a terminal and not to a pipe.

use std::{
    ffi::OsStr,
    fs::{File, OpenOptions},
    io,
    os::unix::{ffi::OsStrExt as _, fs::OpenOptionsExt as _},
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

/// The two ends of a terminal.
#[derive(Debug)]
pub(crate) struct Terminal {
    /// Where a person would look.
    pub(crate) screen: File,
    /// What a program writes to.
    pub(crate) device: File,
}

impl Terminal {
    /// A new terminal of `rows` and `columns`.
    pub(crate) fn open(rows: u16, columns: u16) -> io::Result<Self> {
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&screen)?;
        unlockpt(&screen)?;
        let path = ptsname(&screen, Vec::new())?;
        let device = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OpenptFlags::NOCTTY.bits().cast_signed())
            .open(OsStr::from_bytes(path.to_bytes()))?;
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&device, size)?;
        Ok(Self {
            screen: File::from(screen),
            device,
        })
    }
}
