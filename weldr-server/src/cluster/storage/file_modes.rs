//! Who else may read the files of a node: those of the data directory, the secret and the key.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tracing::warn;

use crate::durable;

/// The mode of a data directory.
pub(in crate::cluster) const DIRECTORY_MODE: u32 = 0o700;
/// The mode of a file in it.
pub(in crate::cluster) const FILE_MODE: u32 = durable::FILE_MODE;

/// A file or directory that others than its owner may use.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wide {
    path: PathBuf,
    mode: u32,
    /// The command that mends it.
    mend: String,
}

/// Logs a warning for the directory at `path` and each file in it that others than its owner may use.
pub(in crate::cluster) fn warn_of_wide_directory(path: &Path) {
    let files = fs::read_dir(path).into_iter().flatten().flatten();
    let files = files.filter_map(|entry| wide(&entry.path()));
    for wide in wide(path).into_iter().chain(files) {
        tell(&wide);
    }
}

/// Logs a warning if others than its owner may use the file at `path`.
pub(crate) fn warn_of_wide_file(path: &Path) {
    if let Some(wide) = wide(path) {
        tell(&wide);
    }
}

fn tell(wide: &Wide) {
    let Wide { path, mode, mend } = wide;
    warn!(
        path = %path.display(),
        mode = format!("{mode:o}"),
        mend,
        "others than the owner may use this file of the node"
    );
}

/// `None` also for a file whose mode cannot be read: whoever uses it will say why.
fn wide(path: &Path) -> Option<Wide> {
    let metadata = fs::metadata(path).ok()?;
    let mode = metadata.permissions().mode() & 0o777;
    let of_others = mode & 0o077;
    if of_others == 0 {
        return None;
    }
    let right = if metadata.is_dir() {
        DIRECTORY_MODE
    } else {
        FILE_MODE
    };
    let quoted = path.display().to_string().replace('\'', r"'\''");
    Some(Wide {
        path: path.to_owned(),
        mode,
        mend: format!("chmod {right:o} '{quoted}'"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_may_use_is_named_with_the_command_that_mends_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("it's");
        fs::write(&file, "").unwrap();
        for (path, mode, right) in [
            (file.as_path(), 0o640, 0o600),
            (&file, 0o604, 0o600),
            (directory.path(), 0o755, 0o700),
        ] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            let wide = wide(path).unwrap();
            assert_eq!(wide.mode, mode);
            let status = std::process::Command::new("sh")
                .args(["-c", &wide.mend])
                .status();
            assert!(status.unwrap().success(), "{}", wide.mend);
            let mended = fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mended, right, "{}", wide.mend);
            assert_eq!(super::wide(path), None);
        }
    }
}
