//! The file of contexts: names for the endpoints of clusters and for how to prove who calls.
//!
//! It contains the paths of tokens and keys, not what is in them.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::error::CtlError;

/// Whoever can read the file learns where tokens are.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// All contexts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Contexts {
    /// The one that is used if no other is asked for.
    pub(crate) current: Option<String>,
    pub(crate) contexts: BTreeMap<String, Context>,
}

/// One context.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Context {
    pub(crate) endpoint: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_cert: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_key: Option<PathBuf>,
}

/// The path of the file: `weldr/contexts.toml` in `$XDG_CONFIG_HOME`, which is `~/.config` if it is not set. `None` if there
/// is no home directory either.
fn path() -> Option<PathBuf> {
    let absolute = |name: &str| {
        let path = PathBuf::from(env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    let home = || Some(absolute("HOME")?.join(".config"));
    let directory = absolute("XDG_CONFIG_HOME").or_else(home)?;
    Some(directory.join("weldr").join("contexts.toml"))
}

impl Contexts {
    /// Reads the file. There are no contexts if there is none.
    pub(crate) fn load() -> Result<Self, CtlError> {
        let Some(path) = path() else {
            return Ok(Self::default());
        };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed("read", &path, error)),
        };
        toml::from_str(&text).map_err(|error| failed("understand", &path, error))
    }

    /// Replaces the file, whole or not at all.
    pub(crate) fn store(&self) -> Result<(), CtlError> {
        let path = path().ok_or_else(|| {
            CtlError::Usage("contexts need the environment variable HOME or XDG_CONFIG_HOME".into())
        })?;
        let write = || -> io::Result<()> {
            if let Some(directory) = path.parent() {
                let mut builder = fs::DirBuilder::new();
                builder.recursive(true).mode(DIRECTORY_MODE);
                builder.create(directory)?;
            }
            let text = toml::to_string_pretty(self).map_err(io::Error::other)?;
            let unfinished = path.with_extension("toml.new");
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(FILE_MODE)
                .open(&unfinished)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)
        };
        write().map_err(|error| failed("write", &path, error))
    }

    /// The context `name`.
    pub(crate) fn get(&self, name: &str) -> Result<&Context, CtlError> {
        self.contexts.get(name).ok_or_else(|| {
            let names: Vec<_> = self.contexts.keys().map(String::as_str).collect();
            let there = if names.is_empty() {
                "there are none; add one with weldrctl context add".to_owned()
            } else {
                format!("there are {}", names.join(", "))
            };
            CtlError::Usage(format!("there is no context {name}: {there}"))
        })
    }

    /// Adds or replaces a context. The first one becomes the current one.
    pub(crate) fn add(&mut self, name: &str, context: Context) {
        self.contexts.insert(name.to_owned(), context);
        self.current.get_or_insert_with(|| name.to_owned());
    }

    /// Removes a context. If it is the current one, none is.
    pub(crate) fn remove(&mut self, name: &str) -> Result<(), CtlError> {
        self.get(name)?;
        self.contexts.remove(name);
        self.current = self.current.take().filter(|current| current != name);
        Ok(())
    }
}

fn failed(
    what: &'static str,
    path: &Path,
    source: impl std::error::Error + Send + Sync + 'static,
) -> CtlError {
    CtlError::File {
        what,
        file: path.display().to_string(),
        source: Box::new(source),
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::expect_used,
        reason = "a test may stop at what it did not expect"
    )]

    use super::*;

    #[test]
    fn contexts_are_read_as_they_were_written() {
        let mut contexts = Contexts::default();
        let prod = Context {
            endpoint: vec!["https://lb.example:8687".to_owned()],
            token_file: Some("/etc/weldr/token".into()),
            ..Context::default()
        };
        contexts.add("prod", prod.clone());
        contexts.add("lab", Context::default());
        let text = toml::to_string_pretty(&contexts).expect("it can be written");
        assert_eq!(toml::from_str::<Contexts>(&text).expect("read"), contexts);
        assert_eq!(contexts.current.as_deref(), Some("prod"));
        assert_eq!(contexts.get("prod").expect("there"), &prod);
        contexts.remove("prod").expect("it was there");
        assert_eq!(contexts.current, None);
        let missing = contexts.remove("prod").expect_err("it is gone");
        assert!(missing.sentence().contains("there are lab"), "{missing:?}");
    }
}
