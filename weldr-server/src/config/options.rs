//! Configurations as options: what is in effect, and the values of several sources combined.

use super::{Config, Storage, VirtualAddresses};
use crate::{
    args::{CheckType, Options},
    model::CheckKind,
};

/// The configuration in effect, in the form of a configuration file.
impl From<&Config> for Options {
    fn from(config: &Config) -> Self {
        let cluster = config.cluster.as_ref();
        let tls = cluster.and_then(|cluster| cluster.tls.as_ref());
        let vip = config.vip.as_ref();
        let http = match &config.pool.check.kind {
            CheckKind::Http(http) => Some(http),
            CheckKind::Tcp => None,
        };
        Self {
            no_rest: Some(!config.rest),
            data_dir: match &config.storage {
                Storage::Directory(directory) => Some(directory.clone()),
                Storage::Ephemeral => None,
            },
            ephemeral: Some(config.storage == Storage::Ephemeral),
            cluster: cluster.map(|cluster| cluster.listen),
            cluster_advertise: cluster.and_then(|cluster| cluster.advertise),
            join: cluster.map(|cluster| cluster.join.clone()),
            recover_from_lost_majority: cluster.map(|cluster| cluster.recover),
            witness: cluster.map(|cluster| cluster.witness),
            found_cluster: cluster.map(|cluster| cluster.found),
            // Not the token: what is printed of the configuration shows no secrets.
            join_token_file: cluster.and_then(|cluster| cluster.join_token_file.clone()),
            cluster_secret_file: cluster.and_then(|cluster| cluster.secret_file.clone()),
            cluster_cert: tls.map(|tls| tls.cert.clone()),
            cluster_key: tls.map(|tls| tls.key.clone()),
            cluster_ca: tls.map(|tls| tls.ca.clone()),
            cluster_accept_previous_protocol: cluster.map(|cluster| cluster.accept_previous),
            check_type: Some(http.map_or(CheckType::Tcp, |_| CheckType::Http)),
            check_path: http.map(|http| http.path.clone()),
            check_expect: http.map(|http| http.expected_status.to_string()),
            check_host: http.and_then(|http| http.host.clone()),
            vip: vip.map(VirtualAddresses::texts),
            vip_interface: vip.map(|vip| vip.interface.clone()),
            vip_hook: vip.and_then(|vip| vip.hook.clone()),
            vip_on_lost_quorum: vip.map(|vip| vip.on_lost_quorum),
            ..config.given_fields()
        }
    }
}

impl Options {
    /// Whether an option is given that only an HTTP check has.
    pub(super) fn asks_http(&self) -> bool {
        self.check_path.is_some() || self.check_expect.is_some() || self.check_host.is_some()
    }

    /// These options, with the values of `file` for those that are not given here. Options that are one decision
    /// override each other: a flag `--ephemeral` overrides the file's `data_dir`.
    #[must_use]
    pub fn over(self, mut file: Self) -> Self {
        if self.data_dir.is_some() || self.ephemeral.is_some() {
            file.data_dir = None;
            file.ephemeral = None;
        }
        match self.check_type {
            Some(CheckType::Tcp) => {
                file.check_path = None;
                file.check_expect = None;
                file.check_host = None;
            }
            None if self.asks_http() => file.check_type = None,
            Some(CheckType::Http) | None => {}
        }
        self.or(file)
    }
}
