//! What differs between two configurations.

use toml::Table;

use super::Config;
use crate::args::Options;

/// The options whose values differ between two configurations, by their keys in the configuration file, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangedOptions {
    /// Options of the node, which take effect when it starts.
    pub of_node: Vec<String>,
    /// Settings with which a new pool is created. They do not change a pool that exists.
    pub of_new_pools: Vec<String>,
}

impl ChangedOptions {
    /// Compares the configuration in effect with one that was read later.
    pub fn between(running: &Config, read: &Config) -> Self {
        let of_running_node = Config {
            pool: running.pool.clone(),
            ..read.clone()
        };
        Self {
            of_node: differing(running, &of_running_node),
            of_new_pools: differing(&of_running_node, read),
        }
    }
}

fn differing(one: &Config, other: &Config) -> Vec<String> {
    let table = |config: &Config| Table::try_from(Options::from(config)).unwrap_or_default();
    let (one, other) = (table(one), table(other));
    let mut keys: Vec<&String> = one.keys().chain(other.keys()).collect();
    keys.sort();
    keys.dedup();
    keys.into_iter()
        .filter(|key| one.get(*key) != other.get(*key))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn names_the_options_that_differ_by_when_they_take_effect() {
        let running = Config::default();
        let none = ChangedOptions::between(&running, &running);
        assert_eq!(none, ChangedOptions::default());
        let mut read = running.clone();
        read.shutdown_timeout = Duration::from_secs(1);
        read.access_log.file = Some("access.log".into());
        read.pool.fail_open = !read.pool.fail_open;
        let changed = ChangedOptions::between(&running, &read);
        assert_eq!(changed.of_node, ["access_log_file", "shutdown_timeout"]);
        assert_eq!(changed.of_new_pools, ["fail_open"]);
    }
}
