//! Has the other members keep a key, until a majority of them does.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::time::{self, Instant};
use tonic::Status;
use tracing::debug;
use weldr_proto::raft::v1;

use crate::{
    cluster::{
        log::types::{Member, StoredMembership},
        network::authentication::Caller,
        raft::core::Core,
    },
    model::SealingKeyId,
    secrets::SecretsError,
};

/// How long a majority may take to keep a key.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long one member may take: it fetches the key, and waits for its disk.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The pause before those that do not keep it are asked again.
const PAUSE: Duration = Duration::from_millis(200);

impl Core {
    /// Returns when a majority of the voters has the key on disk: then it is not lost before acknowledged changes are. Those
    /// that are not needed for the majority get it a moment later, when this node's report names it.
    pub(in crate::cluster) async fn share_sealing_key(
        &self,
        key: SealingKeyId,
    ) -> Result<(), SecretsError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if self.share_once(key).await {
                return Ok(());
            }
            if Instant::now() + PAUSE >= deadline {
                break;
            }
            time::sleep(PAUSE).await;
        }
        let membership = self.membership();
        let without = membership.voter_ids().filter(|id| !self.keeps(*id, key));
        let missing = without.map(|id| {
            let member = membership.get_node(&id).cloned().unwrap_or_default();
            let Member { name, address, .. } = member;
            format!("{name} ({address})")
        });
        let mut missing: Vec<String> = missing.collect();
        missing.sort();
        if missing.is_empty() {
            missing.push("members that this node does not know yet".to_owned());
        }
        Err(SecretsError::NotShared { id: key, missing })
    }

    /// Asks each voter once that is not known to have the key; whether a majority has it now.
    async fn share_once(&self, key: SealingKeyId) -> bool {
        let membership = self.membership();
        if self.is_safe(key, &membership) {
            return true;
        }
        let others: BTreeMap<u64, Member> = membership
            .voter_ids()
            .filter(|id| *id != self.local_id() && !self.keeps(*id, key))
            .filter_map(|id| Some((id, membership.get_node(&id)?.clone())))
            .collect();
        let asked = others.iter().map(async |(id, member)| {
            match self.ask_to_keep(*id, member, key).await {
                Ok(true) => self.key_copies.add(*id, key),
                Ok(false) => debug!(node = %member.name, %key, "a node does not keep a sealing key"),
                Err(error) => {
                    debug!(node = %member.name, %key, %error, "a node does not answer about a sealing key");
                }
            }
        });
        let mut asked: FuturesUnordered<_> = asked.collect();
        while asked.next().await.is_some() {
            if self.is_safe(key, &membership) {
                return true;
            }
        }
        false
    }

    /// Whether a majority of each set of voters keeps the key.
    fn is_safe(&self, key: SealingKeyId, membership: &StoredMembership) -> bool {
        let sets = membership.membership().get_joint_config();
        let is_majority = |voters: &std::collections::BTreeSet<u64>| {
            let keep = voters.iter().filter(|id| self.keeps(**id, key));
            keep.count() * 2 > voters.len()
        };
        !sets.is_empty() && sets.iter().all(is_majority)
    }

    fn keeps(&self, id: u64, key: SealingKeyId) -> bool {
        if id == self.local_id() {
            return self.secrets.has(key);
        }
        self.key_copies.has(id, key)
    }

    async fn ask_to_keep(
        &self,
        id: u64,
        member: &Member,
        key: SealingKeyId,
    ) -> Result<bool, Status> {
        let mut client = self.client(id, member)?;
        let request = v1::KeepSealingKeyRequest {
            id: key.to_string(),
        };
        match time::timeout(TIMEOUT, client.keep_sealing_key(request)).await {
            Ok(response) => Ok(response?.into_inner().kept),
            Err(_) => Err(Status::deadline_exceeded("no answer in time")),
        }
    }

    /// Keeps the key with this id, for a voter that has it: fetches it from that voter if this node lacks it. Returns whether it
    /// is on the disk of this node.
    pub(in crate::cluster) async fn keep_sealing_key_of(
        &self,
        caller: &Caller,
        id: &str,
    ) -> Result<bool, Status> {
        let sender = self.expect_voter(caller)?;
        let key: Result<SealingKeyId, _> = id.parse();
        let key = key.map_err(|invalid| Status::invalid_argument(invalid.to_string()))?;
        if !self.secrets.has(key) {
            let member = self.peers.roster().member(sender);
            let member = member.ok_or_else(|| Status::permission_denied("only for voters"))?;
            self.fetch_sealing_keys(sender, &member).await?;
        }
        Ok(self.secrets.has(key))
    }
}
