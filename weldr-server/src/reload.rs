//! SIGHUP: what is read again while the node serves.
//!
//! The access log is opened again. The configuration file is read and validated, and the log names the options that differ
//! from those in effect: none of them changes without a restart.

use std::{
    error::Error,
    future,
    path::{Path, PathBuf},
};

use futures_util::future::BoxFuture;

use crate::{
    args::Options,
    config::{ChangedOptions, Config, ConfigError},
    threads::{self, ThreadError},
};

/// Where the configuration in effect came from.
#[derive(Debug, Clone)]
pub struct ConfigSource {
    /// What flags and variables say.
    pub options: Options,
    /// The configuration file, if there is one.
    pub file: Option<PathBuf>,
}

/// Reads the configuration file again and again, once at a time. Nothing else waits for the disk of the file.
pub struct Reloads<'a> {
    source: &'a ConfigSource,
    /// The configuration in effect.
    running: &'a Config,
    reading: Option<BoxFuture<'static, Result<Config, ReloadError>>>,
    /// Whether the file is to be read once more: it may have changed since the reading began.
    again: bool,
}

#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Thread(#[from] ThreadError),
}

impl<'a> Reloads<'a> {
    /// `running` is the configuration in effect, which came from `source`.
    pub fn new(source: &'a ConfigSource, running: &'a Config) -> Self {
        Self {
            source,
            running,
            reading: None,
            again: false,
        }
    }

    /// Begins to read the configuration file, if there is one. [`Reloads::finished`] goes on.
    pub fn begin(&mut self) {
        let Some(file) = self.source.file.clone() else {
            return;
        };
        if self.reading.is_some() {
            self.again = true;
            return;
        }
        let options = self.source.options.clone();
        let load = move || Config::load(options, Some(&file));
        self.reading = Some(Box::pin(async {
            Ok(threads::run("weldr-reload", load).await??)
        }));
    }

    /// Waits until the file that is being read was read, and logs what is in it. Never returns while none is read. Can be
    /// cancelled and called again.
    pub async fn finished(&mut self) {
        let Some(reading) = &mut self.reading else {
            return future::pending().await;
        };
        let read = reading.await;
        self.reading = None;
        if let Some(file) = &self.source.file {
            log(file, self.running, read);
        }
        if std::mem::take(&mut self.again) {
            self.begin();
        }
    }
}

fn log(file: &Path, running: &Config, read: Result<Config, ReloadError>) {
    match read {
        Ok(read) => log_changes(file, &ChangedOptions::between(running, &read)),
        Err(error) => {
            let error = &error as &dyn Error;
            tracing::error!(
                file = %file.display(),
                error,
                "not reloaded: the configuration file is not valid or cannot be read; what is in effect stays so"
            );
        }
    }
}

fn log_changes(file: &Path, changed: &ChangedOptions) {
    let file = file.display();
    let ChangedOptions {
        of_node,
        of_new_pools,
    } = changed;
    if of_node.is_empty() && of_new_pools.is_empty() {
        tracing::info!(%file, "reloaded: the configuration file says what is in effect");
    }
    if !of_node.is_empty() {
        tracing::warn!(
            %file,
            options = of_node.join(", "),
            "reloaded: these options of the configuration file take effect after a restart"
        );
    }
    if !of_new_pools.is_empty() {
        tracing::warn!(
            %file,
            options = of_new_pools.join(", "),
            "reloaded: these options are for a new pool; to change a pool: weldrctl pool set"
        );
    }
}
