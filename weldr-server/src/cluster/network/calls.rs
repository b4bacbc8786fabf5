//! The consensus engine's calls to other nodes.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use openraft::{
    OptionalSend, RaftNetworkFactory, RaftNetworkV2,
    errors::{RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::RPCOption,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
        VoteRequest, VoteResponse,
    },
};
use tonic::Status;
use weldr_proto::raft::v1::{self, snapshot_part::Part};

use crate::cluster::log::{
    convert,
    types::{Member, RaftSnapshot, Types, Vote},
};

use super::{
    dial::DialError,
    peers::{PeerClient, Peers},
};

/// How long a follower may take to write entries to disk.
const APPEND_TIMEOUT: Duration = Duration::from_secs(2);
/// The size of the parts of a snapshot, in bytes.
const PART: usize = 1024 * 1024;

/// Creates the engine's clients of other nodes.
#[derive(Debug)]
pub(in crate::cluster) struct Network(pub(in crate::cluster) Peers);

impl RaftNetworkFactory<Types> for Network {
    type Network = PeerConnection;

    async fn new_client(&mut self, target: u64, node: &Member) -> PeerConnection {
        PeerConnection {
            apart: None,
            member: node.clone(),
            target,
            peers: self.0.clone(),
        }
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &Member) -> PeerConnection {
        PeerConnection {
            apart: Some(self.0.client_apart(target, node)),
            member: node.clone(),
            target,
            peers: self.0.clone(),
        }
    }
}

/// The engine's client of one node.
#[derive(Debug)]
pub(in crate::cluster) struct PeerConnection {
    /// A connection of its own, if it has one.
    apart: Option<Result<PeerClient, DialError>>,
    target: u64,
    member: Member,
    peers: Peers,
}

type TransferLeaderResponse = openraft::raft::TransferLeaderResponse<Types>;

impl PeerConnection {
    fn client(&self) -> Result<PeerClient, Unreachable<Types>> {
        match &self.apart {
            Some(Ok(client)) => Ok(client.clone()),
            Some(Err(dial_error)) => Err(Unreachable::from_string(dial_error)),
            // Not kept: after a rotation of this node's key it is another connection.
            None => {
                let client = self.peers.client(self.target, &self.member);
                client.map_err(Unreachable::from_string)
            }
        }
    }
}

/// Every failure is reported as unreachable: the engine waits a moment before it tries again.
fn unreachable(error: &(impl std::error::Error + 'static)) -> Unreachable<Types> {
    Unreachable::new(error)
}

/// The response to `call`, within `limit`.
async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, Unreachable<Types>> {
    match tokio::time::timeout(limit, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(unreachable(&status)),
        Err(elapsed) => Err(unreachable(&elapsed)),
    }
}

impl RaftNetworkV2<Types> for PeerConnection {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let mut client = self.client()?;
        let limit = option.hard_ttl().max(APPEND_TIMEOUT);
        let exchange = self.peers.exchange();
        let message = v1::AppendRequest {
            token_digest: exchange.token_digest(request.vote.leader_id.term).into(),
            ..convert::append(&request)
        };
        let response = within(limit, client.append(message)).await?;
        // Before the engine counts the answer for the lease.
        exchange.answered(self.target, response.lease_millis);
        Ok(convert::from_appended(response).map_err(|error| unreachable(&error))?)
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let mut client = self.client()?;
        let call = client.vote(convert::ask_vote(&request));
        let response = within(option.hard_ttl(), call).await?;
        Ok(convert::from_voted(response).map_err(|error| unreachable(&error))?)
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let mut client = self.client()?;
        let call = client.pre_vote(convert::ask_vote(&request));
        let response = within(option.hard_ttl(), call).await?;
        Ok(convert::from_voted(response).map_err(|error| unreachable(&error))?)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: RaftSnapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let mut client = self.client()?;
        let parts = stream::iter(parts(&vote, snapshot));
        let send = within(option.hard_ttl(), client.install_snapshot(parts));
        let response = tokio::select! {
            response = send => response?,
            closed = cancel => return Err(closed.into()),
        };
        let vote = response.vote.ok_or_else(no_vote)?;
        Ok(SnapshotResponse::new(convert::from_vote(vote)))
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse, RPCError<Types>> {
        let mut client = self.client()?;
        let call = client.transfer_leader(convert::transfer(&request));
        let response = within(option.hard_ttl(), call).await?;
        if response.accepted {
            return Ok(Ok(()));
        }
        Ok(Err(openraft::raft::TransferLeaderError::LogNotFlushed {
            expected: request.last_log_id().copied(),
            actual: None,
        }))
    }
}

fn no_vote() -> Unreachable<Types> {
    Unreachable::from_string("the response to a snapshot has no vote")
}

/// The parts of a snapshot: the head, then the state.
fn parts(vote: &Vote, snapshot: RaftSnapshot) -> Vec<v1::SnapshotPart> {
    let head = v1::SnapshotHead {
        vote: Some(convert::vote(vote)),
        meta: Some(convert::snapshot_meta(&snapshot.meta)),
    };
    let mut parts = vec![Part::Head(head)];
    let mut state = snapshot.snapshot;
    while !state.is_empty() {
        parts.push(Part::State(state.split_to(state.len().min(PART))));
    }
    let part = |part| v1::SnapshotPart { part: Some(part) };
    parts.into_iter().map(part).collect()
}
