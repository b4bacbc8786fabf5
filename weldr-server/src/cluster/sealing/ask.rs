//! Fetches keys that this node lacks from other members, and gives them its own.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use tokio::time;
use tonic::Status;
use tracing::{debug, info};
use weldr_proto::raft::v1;

use crate::{
    cluster::{log::types::Member, network::authentication::Caller, raft::core::Core},
    model::SealingKeyId,
    secrets::{MOST_KEYS, SealingKey},
};

/// How long a member may take to answer. It reads no disk for that.
const TIMEOUT: Duration = Duration::from_secs(1);

impl Core {
    /// Asks the other voters for the keys that this node lacks. Those that do not answer are left out.
    pub(in crate::cluster) async fn ask_for_sealing_keys(&self) {
        let others = self.other_voters();
        let asked = others.iter().map(async |(id, member)| {
            if let Err(error) = self.fetch_sealing_keys(*id, member).await {
                debug!(node = %member.name, %error, "a node gives no sealing keys");
            }
        });
        join_all(asked).await;
    }

    /// The voters but this node. A node that has just joined knows them before it has the log.
    pub(in crate::cluster) fn other_voters(&self) -> BTreeMap<u64, Member> {
        let known = self.peers.roster().current();
        let others = known.voter_ids().filter(|id| *id != self.local_id());
        let others = others.filter_map(|id| Some((id, known.get_node(&id)?.clone())));
        others.collect()
    }

    /// Fetches the keys that this node lacks from one member, and keeps them.
    pub(in crate::cluster) async fn fetch_sealing_keys(
        &self,
        id: u64,
        member: &Member,
    ) -> Result<(), Status> {
        self.expect_private_channel(id)?;
        let known = self.secrets.ids();
        let request = v1::SealingKeysRequest {
            known: known.iter().map(ToString::to_string).collect(),
        };
        let mut client = self.client(id, member)?;
        let Ok(response) = time::timeout(TIMEOUT, client.sealing_keys(request)).await else {
            return Err(Status::deadline_exceeded("no answer in time"));
        };
        let keys = response?.into_inner().keys;
        if keys.is_empty() {
            return Ok(());
        }
        let odd = || Status::invalid_argument("what it gives are no sealing keys");
        if keys.len() > MOST_KEYS {
            return Err(odd());
        }
        let keys = keys
            .iter()
            .map(|key| SealingKey::new(key.generation, &key.key));
        let keys = keys.collect::<Option<Vec<_>>>().ok_or_else(odd)?;
        let kept = self.secrets.keep(keys).await;
        for key in kept.map_err(|error| Status::unavailable(error.to_string()))? {
            info!(%key, from = %member.name, "a sealing key has come from another node");
        }
        Ok(())
    }

    /// The keys of this node that `caller` lacks.
    ///
    /// # Errors
    /// Refuses whoever is no voter, and a voter that could not be told from another one if somebody were between.
    pub(in crate::cluster) fn sealing_keys_for(
        &self,
        caller: &Caller,
        known: &[String],
    ) -> Result<v1::SealingKeysResponse, Status> {
        let id = self.expect_voter(caller)?;
        let is_private = caller
            .connection
            .peer()
            .is_some_and(|peer| !peer.is_previous);
        if !is_private {
            return Err(Status::permission_denied(
                "sealing keys are not sent by the protocol of version 0.1.0",
            ));
        }
        let known: Vec<SealingKeyId> = known.iter().filter_map(|id| id.parse().ok()).collect();
        let keys = self.secrets.beyond(&known);
        for key in &keys {
            info!(key = %key.id(), to = format!("{id:x}"), "a sealing key is given to another node");
        }
        let keys = keys.iter().map(|key| v1::SealingKey {
            generation: key.generation(),
            key: key.expose().to_vec().into(),
        });
        Ok(v1::SealingKeysResponse {
            keys: keys.collect(),
        })
    }

    /// The id of the voter that calls.
    pub(in crate::cluster) fn expect_voter(&self, caller: &Caller) -> Result<u64, Status> {
        let id = caller.member()?;
        if self.peers.roster().votes(id) {
            return Ok(id);
        }
        Err(Status::permission_denied("only for voters"))
    }

    /// Refuses to talk about keys where the channel to a member may be one of version 0.1.0, which everybody can read.
    fn expect_private_channel(&self, id: u64) -> Result<(), Status> {
        let peers = &self.peers;
        let is_by_name = peers.credentials().authority.is_some();
        if peers.previous().is_some() && !is_by_name && peers.roster().lacks_key(id) {
            return Err(Status::failed_precondition(
                "its key is not in the membership yet: it is of version 0.1.0, or was so a moment ago",
            ));
        }
        Ok(())
    }
}
