//! Replaces a small file so that it is there completely or not at all, whatever fails in between.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

/// The mode of a file that only its owner may use.
pub(crate) const FILE_MODE: u32 = 0o600;

/// Replaces the file at `path`. Only the owner can read it, and it is on disk when this returns. Waits for the disk.
///
/// # Errors
/// The file is as it was before. What was written of the new one may be left beside it, under a name that ends with `.new`.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let unfinished = path.with_added_extension("new");
    // What an interrupted write left may have other permissions.
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let options = options.create_new(true).write(true).mode(FILE_MODE);
    let mut written = options.open(&unfinished)?;
    written.write_all(content)?;
    written.sync_all()?;
    fs::rename(&unfinished, path)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}
