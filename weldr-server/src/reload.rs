//! SIGHUP: what is read again while the node serves.
//!
//! The access log is opened again. The configuration file is read and validated, and the log names the options that differ
//! from those in effect: none of them changes without a restart.

use std::path::{Path, PathBuf};

use crate::{
    args::Options,
    config::{ChangedOptions, Config},
    node::Node,
};

/// Where the configuration in effect came from.
#[derive(Debug)]
pub struct ConfigSource {
    /// What flags and variables say.
    pub options: Options,
    /// The configuration file, if there is one.
    pub file: Option<PathBuf>,
}

/// Reloads what can be reloaded, and logs what was done. `running` is the configuration in effect.
pub fn reload(node: &Node, source: &ConfigSource, running: &Config) {
    node.reopen_logs();
    let Some(file) = &source.file else {
        return;
    };
    let path = file.display();
    match Config::load(source.options.clone(), Some(file)) {
        Ok(read) => log_changes(file, &ChangedOptions::between(running, &read)),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(
                file = %path,
                error,
                "not reloaded: the configuration file is not valid; what is in effect stays so"
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
