//! A descriptor to write to, whatever it stands for.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::{
        fd::AsFd,
        unix::fs::{FileExt as _, OpenOptionsExt as _},
    },
    path::Path,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::OFlags,
};

use super::LineWriter;

/// A file, a pipe, a terminal or a device. Writing waits until it is possible, also where the descriptor is in
/// non-blocking mode: a terminal or a pipe may be put there by whoever else has it.
#[derive(Debug)]
pub struct Destination(File);

impl Destination {
    /// Writes to what `descriptor` stands for: standard output, for example. No lock of the standard library is taken,
    /// so that a write that waits delays no other process.
    pub fn of(descriptor: impl AsFd) -> io::Result<LineWriter<Self>> {
        let own = descriptor.as_fd().try_clone_to_owned()?;
        Ok(LineWriter::new(Self(File::from(own)), false))
    }

    /// Appends to the file at `path`, which is created if it is missing. A named pipe that nobody has open for reading
    /// is an error.
    pub fn append_to(path: &Path) -> io::Result<LineWriter<Self>> {
        // Without the flag, opening a named pipe waits for its reader. Files do not know it.
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .custom_flags(flags)
            .open(path)?;
        let is_cut = ends_within_a_line(path, &file);
        Ok(LineWriter::new(Self(file), is_cut))
    }

    /// The file behind it.
    pub fn file(&self) -> &File {
        &self.0
    }
}

/// Whether the last line of a file lacks its end. A file that may not be read counts as whole.
fn ends_within_a_line(path: &Path, file: &File) -> bool {
    let last = || -> io::Result<u8> {
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() == 0 {
            return Ok(b'\n');
        }
        let mut last = [b'\n'];
        File::open(path)?.read_exact_at(&mut last, metadata.len() - 1)?;
        Ok(last[0])
    };
    last().is_ok_and(|last| last != b'\n')
}

impl Write for Destination {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // An interruption is as good as an event: the next write tells.
                    let _ = poll(&mut [PollFd::new(&self.0, PollFlags::OUT)], None);
                }
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::Read as _,
        process::{Command, Stdio},
        thread,
    };

    use super::*;

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn a_file_that_a_full_disk_left_within_a_line_goes_on_with_a_new_one() {
        let directory = directory();
        let path = directory.path().join("log");
        for (before, after) in [
            ("", "next\n"),
            ("whole\n", "whole\nnext\n"),
            ("cu", "cu\nnext\n"),
        ] {
            fs::write(&path, before).unwrap();
            Destination::append_to(&path)
                .unwrap()
                .write(b"next\n")
                .unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), after);
        }
    }

    #[test]
    fn a_named_pipe_without_a_reader_is_an_error_and_one_that_is_full_is_waited_for() {
        let directory = directory();
        let path = directory.path().join("pipe");
        let made = Command::new("mkfifo")
            .arg(&path)
            .stdin(Stdio::null())
            .status();
        assert!(made.unwrap().success());
        assert!(Destination::append_to(&path).is_err());

        let reader = OpenOptions::new().read(true).write(true).open(&path);
        let mut reader = reader.unwrap();
        let mut writer = Destination::append_to(&path).unwrap();
        // More than any pipe holds.
        let mut line = vec![b'x'; 4 << 20];
        line.push(b'\n');
        let length = line.len();
        let writing = thread::spawn(move || writer.write(&line));
        let mut read = vec![0; length];
        reader.read_exact(&mut read).unwrap();
        writing.join().unwrap().unwrap();
        assert_eq!(read.last(), Some(&b'\n'));
    }
}
