//! How this node replaces its key, and reads the operators' files again.
//!
//! For a moment both keys are in the membership: this node begins to use the new one only when every other member knows it, and
//! the old one is taken out when nothing uses it any more. So no call is refused meanwhile.

use std::time::Duration;

use tokio::time::{self, Instant};
use tonic::Status;
use tracing::{info, warn};
use weldr_proto::raft::v1;

use crate::cluster::{
    error::OpenError,
    log::{convert, fingerprint::Fingerprint, proposal::RECORD_VERSION, types::Member},
    network::{
        credentials::{Credentials, new_key},
        secret::Secret,
    },
    options::NetworkOptions,
    raft::core::Core,
    storage::{file_modes::warn_of_wide_file, node_files::NodeFile},
};

use super::admission::Voucher;

/// How long all members together may take to know the new key.
const PATIENCE: Duration = Duration::from_secs(3);
/// The pause between two looks at whether they do.
const LOOK: Duration = Duration::from_millis(50);
/// How long the old key stays valid after the last connection with it was given up for new calls.
const GRACE: Duration = Duration::from_millis(500);

impl Core {
    /// Replaces the key of this node. Returns the fingerprint of the new one, when it is the only one.
    pub(in crate::cluster) async fn rotate_key(&self) -> Result<Fingerprint, Status> {
        let refused = |why: &str| Err(Status::failed_precondition(why));
        if self.peers.credentials().authority.is_some() {
            return refused(
                "the certificate of this node comes from files of the operators: replace the files, and send SIGHUP to the node",
            );
        }
        let Ok(_rotation) = self.rotating.try_lock() else {
            return refused("a rotation of the key is under way");
        };
        let failed = |error: OpenError| Status::unavailable(error.to_string());
        let key = new_key().map_err(failed)?;
        let next = Credentials::of_key(&key, self.local_id()).map_err(failed)?;
        let fingerprint = next.fingerprint;
        self.peers.prepare_key(next);
        let known = self.all_know(fingerprint).await;
        if let Err(status) = known {
            self.peers.forget_next_key();
            // The other members forget it too; `announce` tries it again if this fails.
            let _ = self.announce_itself().await;
            return Err(status);
        }
        if let Err(error) = self.files.write(NodeFile::Key, key.as_bytes()) {
            self.peers.forget_next_key();
            let _ = self.announce_itself().await;
            return Err(failed(error));
        }
        self.peers.use_next_key();
        time::sleep(GRACE).await;
        self.announce_itself().await?;
        info!(%fingerprint, "the key of this node for other nodes was replaced");
        Ok(fingerprint)
    }

    /// Waits until every member has applied a membership with this key of this node.
    async fn all_know(&self, key: Fingerprint) -> Result<(), Status> {
        let deadline = Instant::now() + PATIENCE;
        self.announce_itself().await?;
        loop {
            let Some(name) = self.one_that_does_not_know(key).await else {
                return Ok(());
            };
            if Instant::now() >= deadline {
                return Err(Status::failed_precondition(format!(
                    "{name} does not know the new key yet, so the old one stays: start {name}, or remove it if it is lost"
                )));
            }
            time::sleep(LOOK).await;
        }
    }

    async fn one_that_does_not_know(&self, key: Fingerprint) -> Option<String> {
        let membership = self.membership();
        for (id, member) in membership.nodes() {
            let told = if *id == self.local_id() {
                Ok(self.report(false))
            } else {
                self.report_of(*id, member, false).await
            };
            let told = told.ok().and_then(|report| report.membership);
            let told = told.map(convert::from_stored_membership);
            let known = told.and_then(Result::ok).is_some_and(|told| {
                let own = told.get_node(&self.local_id());
                own.is_some_and(|own| own.keys.contains(&key))
            });
            if !known {
                return Some(member.name.clone());
            }
        }
        None
    }

    /// What the members have to know about this node.
    pub(in crate::cluster) fn itself(&self) -> Member {
        let mut member = self.member.clone();
        if !member.address.is_empty() {
            member.keys = self.peers.member_keys();
        }
        member
    }

    /// Updates this node's name, address and keys at the leader.
    pub(in crate::cluster) async fn announce_itself(&self) -> Result<(), Status> {
        let request = v1::JoinRequest {
            member: Some(convert::member(self.local_id(), &self.itself())),
            record_version: RECORD_VERSION,
            ..v1::JoinRequest::default()
        };
        let itself = Voucher::Member(self.local_id());
        self.admit(request, itself).await.map(drop)
    }

    /// Reads the secret and the certificate of this node again, if they are in files. What cannot be read stays as it is.
    pub(in crate::cluster) fn reload_files(&self) {
        let Some(NetworkOptions {
            secret_file, tls, ..
        }) = &self.network
        else {
            return;
        };
        if let Some(path) = secret_file {
            warn_of_wide_file(path);
            match Secret::of_file(path) {
                Ok(secret) => {
                    self.peers.set_secret(secret);
                    info!(path = %path.display(), "reloaded: the secret of the cluster");
                }
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    warn!(
                        error,
                        "not reloaded: the secret of the cluster; the one in effect stays so"
                    );
                }
            }
        }
        if let Some(files) = tls {
            warn_of_wide_file(&files.key);
            match Credentials::of_files(files) {
                Ok(credentials) => {
                    self.peers.set_credentials(credentials);
                    info!(path = %files.cert.display(), "reloaded: the certificate for other nodes");
                }
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    warn!(
                        error,
                        "not reloaded: the certificate for other nodes; the one in effect stays so"
                    );
                }
            }
        }
    }
}
