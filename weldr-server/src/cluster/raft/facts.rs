//! What a node reports of how it was started. None of it changes while it runs.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use crate::{
    cluster::{network::certificate::expires, options::StoreOptions},
    model::Failover,
};

/// What a node reports of how it was started.
#[derive(Debug, Clone, Default)]
pub(in crate::cluster) struct StartFacts {
    /// The fail-over profile.
    pub(in crate::cluster) failover: Failover,
    /// The end of the validity of the certificate for other nodes, as the time since 1970.
    pub(in crate::cluster) certificate_expires: Option<Duration>,
    /// The permissions of the data directory. They are read once, because a disk that hangs must not hold up a report.
    pub(in crate::cluster) data_dir_mode: Option<u32>,
}

impl StartFacts {
    /// Reads what `options` name.
    pub(in crate::cluster) fn read(options: &StoreOptions) -> Self {
        let mode = |path: &Path| {
            let metadata = fs::metadata(path).ok()?;
            Some(metadata.permissions().mode() & 0o7777)
        };
        let tls = options
            .network
            .as_ref()
            .and_then(|network| network.tls.as_ref());
        let certificate = tls.and_then(|tls| fs::read(&tls.cert).ok());
        Self {
            failover: options.failover,
            certificate_expires: certificate.as_deref().and_then(expires),
            data_dir_mode: options.data_dir.as_deref().and_then(mode),
        }
    }
}
