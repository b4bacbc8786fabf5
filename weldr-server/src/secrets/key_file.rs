//! The file of the keys: one key a line, as `form generation id key`, the key in Base64.
//!
//! The id is the begin of the SHA-256 of the key, so a damaged line is noticed. Lines may be in any order and come several times:
//! an operator who has a copy of the file can append it, while the node runs.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::{Zeroize as _, Zeroizing};

use crate::durable;

use super::{error::KeyFileError, key::SealingKey};

/// Its name in the data directory.
const NAME: &str = "sealing.keys";
/// The form of a line that this version of Weldr writes.
const FORM: &str = "1";
/// What an operator should know who opens the file.
const HEAD: &str = "\
# These keys open the secrets in Weldr's desired state, such as private keys of certificates. Only their owner may read them.
# They are not in backups: keep a copy of this file apart from those.
";

/// The path of the file; `None` keeps the keys in memory only.
#[derive(Debug, Clone)]
pub(super) struct KeyFile(Option<PathBuf>);

impl KeyFile {
    pub(super) fn in_directory(directory: Option<&Path>) -> Self {
        Self(directory.map(|directory| directory.join(NAME)))
    }

    /// The keys in the file; none if it does not exist. Waits for the disk.
    pub(super) fn read(&self) -> Result<Vec<SealingKey>, KeyFileError> {
        let Some(path) = &self.0 else {
            return Ok(Vec::new());
        };
        let content = match fs::read(path) {
            Ok(content) => Zeroizing::new(content),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(unusable(path, source)),
        };
        parse(&content).map_err(|(line, why)| KeyFileError::Damaged {
            path: path.clone(),
            line,
            why,
        })
    }

    /// Replaces the file. The keys are on disk when this returns. Waits for the disk.
    pub(super) fn write<'a>(
        &self,
        keys: impl Iterator<Item = &'a SealingKey>,
    ) -> Result<(), KeyFileError> {
        let Some(path) = &self.0 else {
            return Ok(());
        };
        let content = rendered(keys);
        durable::replace(path, content.as_bytes()).map_err(|source| unusable(path, source))
    }
}

fn unusable(path: &Path, source: io::Error) -> KeyFileError {
    KeyFileError::Unusable {
        path: path.to_owned(),
        source,
    }
}

fn rendered<'a>(keys: impl Iterator<Item = &'a SealingKey>) -> Zeroizing<String> {
    let mut content = Zeroizing::new(HEAD.to_owned());
    for key in keys {
        let text = Zeroizing::new(STANDARD.encode(key.expose()));
        let (generation, id) = (key.generation(), key.id());
        let mut line = format!("{FORM} {generation} {id} {}\n", *text);
        // Grown by hand, so that no copy of a key is left behind.
        if content.capacity() - content.len() < line.len() {
            let mut larger = String::with_capacity((content.len() + line.len()) * 2);
            larger.push_str(&content);
            content = Zeroizing::new(larger);
        }
        // Writing to a string cannot fail.
        let _ = content.write_str(&line);
        line.zeroize();
    }
    content
}

/// The keys, or the number of the first line that is none, and why.
fn parse(content: &[u8]) -> Result<Vec<SealingKey>, (usize, &'static str)> {
    let mut keys = Vec::new();
    for (index, line) in content.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        keys.push(parse_line(line).map_err(|why| (index + 1, why))?);
    }
    Ok(keys)
}

fn parse_line(line: &[u8]) -> Result<SealingKey, &'static str> {
    const NO_KEY: &str = "is no key";
    let line = str::from_utf8(line).map_err(|_| NO_KEY)?;
    let mut words = line.split_ascii_whitespace();
    if words.next() != Some(FORM) {
        return Err("is not of a form that this weldr knows");
    }
    let (Some(generation), Some(id), Some(text), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(NO_KEY);
    };
    let generation = generation.parse().map_err(|_| NO_KEY)?;
    let bytes = STANDARD.decode(text).map(Zeroizing::new);
    let key = SealingKey::new(generation, &bytes.map_err(|_| NO_KEY)?).ok_or(NO_KEY)?;
    if key.id().to_string() != id {
        return Err("has a key that is not the one that it names");
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn key(n: u8) -> SealingKey {
        SealingKey::new(u32::from(n), &[n; 32]).unwrap()
    }

    fn named(keys: &[SealingKey]) -> Vec<(u32, [u8; 32])> {
        let named = keys.iter().map(|key| (key.generation(), *key.expose()));
        named.collect()
    }

    #[test]
    fn keys_come_back_and_only_the_owner_can_read_them() {
        let directory = tempfile::tempdir().unwrap();
        let file = KeyFile::in_directory(Some(directory.path()));
        assert!(file.read().unwrap().is_empty());
        let keys: Vec<SealingKey> = (1..40).map(key).collect();
        file.write(keys.iter()).unwrap();
        assert_eq!(named(&file.read().unwrap()), named(&keys));
        let metadata = fs::metadata(directory.path().join("sealing.keys")).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        let nowhere = KeyFile::in_directory(None);
        nowhere.write(keys.iter()).unwrap();
        assert!(nowhere.read().unwrap().is_empty());
    }

    #[test]
    fn a_copy_that_was_appended_is_read() {
        let (one, two) = ([key(1), key(2)], [key(2), key(3)]);
        let content = [rendered(one.iter()), rendered(two.iter())];
        let content = format!("\r\n{}  \n{}", *content[0], content[1].trim_end());
        let keys = parse(content.as_bytes()).unwrap();
        let expected = [key(1), key(2), key(2), key(3)];
        assert_eq!(named(&keys), named(&expected));
    }

    #[test]
    fn a_damaged_line_is_named_and_shows_no_key() {
        let directory = tempfile::tempdir().unwrap();
        let file = KeyFile::in_directory(Some(directory.path()));
        let good = rendered([key(1)].iter());
        let line = good.lines().last().unwrap();
        let (form, rest) = line.split_once(' ').unwrap();
        let text = line.rsplit(' ').next().unwrap();
        let cases = [
            line.replace("AQEB", "AQIB"),
            line[..line.len() - 8].to_owned(),
            format!("{line} more"),
            format!("2{}", &line[form.len()..]),
            rest.to_owned(),
            text.to_owned(),
            line.replacen("1 1 ", "1 0 ", 1),
            "\u{0}\u{0}\u{0}".to_owned(),
        ];
        for case in cases {
            let content = format!("{}{case}\n", *good);
            fs::write(directory.path().join("sealing.keys"), &content).unwrap();
            let error = file.read().unwrap_err().to_string();
            assert!(error.starts_with("line 4 of "), "{case:?}: {error}");
            assert!(error.contains("restore the line"), "{error}");
            assert!(!error.contains(&text[..12]), "{error}");
        }
    }
}
