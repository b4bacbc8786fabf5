//! The gRPC service for other nodes.

use std::{sync::Arc, time::Instant};

use bytes::BytesMut;
use tonic::{Request, Response, Status, Streaming};
use weldr_proto::raft::v1::{self, change_request, raft_server, snapshot_part::Part};

use super::{
    log::{convert, types::RaftSnapshot},
    membership::admission::Voucher,
    network::{
        authentication::{Caller, CallerRole, NO_SECRET},
        bounds::{OutOfBounds, Sender},
        peers::PROOF,
        secret::{Claim, Side},
    },
    raft::core::{Core, Raft},
};

/// The largest replicated state that is accepted in a snapshot, in bytes.
const LONGEST_STATE: usize = 1024 * 1024 * 1024;

/// Serves the calls of other nodes.
#[derive(Debug, Clone)]
pub(super) struct RaftService(pub(super) Arc<Core>);

impl RaftService {
    fn raft(&self) -> Result<Raft, Status> {
        let raft = self.0.raft();
        raft.ok_or_else(|| Status::unavailable("the node is not ready"))
    }
}

impl RaftService {
    /// Which member sent `request`, and its message.
    fn of_sender<T>(&self, request: Request<T>) -> Result<(Sender, T), Status> {
        let id = Caller::of(&request)?.member()?;
        let sender = Sender {
            id,
            own_term: self.0.current_term(),
            votes: self.0.peers.roster().votes(id),
        };
        Ok((sender, request.into_inner()))
    }

    /// Refuses for as long as this node may have promised another leader not to vote.
    fn may_vote(&self, transfer: bool) -> Result<(), Status> {
        if self.0.voting_rights.refuse_vote(Instant::now(), transfer) {
            return Err(Status::unavailable("the node has just started"));
        }
        Ok(())
    }
}

impl RaftService {
    /// The response with a proof of the secret, if this node has one.
    fn proven<T>(&self, response: T, caller: &Caller) -> Response<T> {
        let mut response = Response::new(response);
        let claim = Claim {
            cluster: self.0.peers.cluster(),
            ..caller.claim
        };
        let peer = caller.connection.peer();
        let proof = peer.and_then(|peer| self.0.peers.proof(Side::Answerer, claim, peer));
        if let Some(proof) = proof.and_then(|proof| proof.parse().ok()) {
            response.metadata_mut().insert(PROOF, proof);
        }
        response
    }
}

/// The message of `request`, if a member sent it.
fn of_member<T>(request: Request<T>) -> Result<T, Status> {
    Caller::of(&request)?.member()?;
    Ok(request.into_inner())
}

/// The refusal of a message that no honest member sends.
fn refused(out_of_bounds: OutOfBounds) -> Status {
    tracing::warn!(reason = %out_of_bounds, "a message of a member is refused");
    Status::invalid_argument(out_of_bounds.to_string())
}

fn malformed(error: convert::Malformed) -> Status {
    Status::invalid_argument(error.to_string())
}

fn failed(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}

#[tonic::async_trait]
impl raft_server::Raft for RaftService {
    async fn append(
        &self,
        request: Request<v1::AppendRequest>,
    ) -> Result<Response<v1::AppendResponse>, Status> {
        let (sender, mut request) = self.of_sender(request)?;
        sender.may_append(&request).map_err(refused)?;
        let token_digest = std::mem::take(&mut request.token_digest);
        let request = convert::from_append(request).map_err(malformed)?;
        let leader = request.vote.leader_id;
        let raft = self.raft()?;
        self.0.hears_from_leader(leader.term);
        let exchange = self.0.peers.exchange();
        exchange.heard_from(leader.term, leader.voted_for, token_digest.into());
        let appended = raft.append_entries(request).await;
        Ok(Response::new(v1::AppendResponse {
            lease_millis: exchange.own_millis(),
            ..convert::appended(&appended.map_err(failed)?)
        }))
    }

    async fn vote(
        &self,
        request: Request<v1::VoteRequest>,
    ) -> Result<Response<v1::VoteResponse>, Status> {
        let (sender, request) = self.of_sender(request)?;
        sender.may_ask(&request).map_err(refused)?;
        let request = convert::from_ask_vote(request).map_err(malformed)?;
        self.may_vote(request.leadership_transfer)?;
        let voted = self.raft()?.vote(request).await.map_err(failed)?;
        Ok(Response::new(convert::voted(&voted)))
    }

    async fn pre_vote(
        &self,
        request: Request<v1::VoteRequest>,
    ) -> Result<Response<v1::VoteResponse>, Status> {
        let (sender, request) = self.of_sender(request)?;
        sender.may_ask(&request).map_err(refused)?;
        let request = convert::from_ask_vote(request).map_err(malformed)?;
        self.may_vote(false)?;
        let voted = self.raft()?.pre_vote(request).await.map_err(failed)?;
        Ok(Response::new(convert::voted(&voted)))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<v1::SnapshotPart>>,
    ) -> Result<Response<v1::SnapshotResponse>, Status> {
        let (sender, parts) = self.of_sender(request)?;
        let (head, snapshot) = receive(sender, parts).await?;
        let vote = head
            .vote
            .ok_or_else(|| Status::invalid_argument("there is no vote"))?;
        let vote = convert::from_vote(vote);
        let installed = self.raft()?.install_full_snapshot(vote, snapshot).await;
        let vote = installed.map_err(failed)?.vote;
        Ok(Response::new(v1::SnapshotResponse {
            vote: Some(convert::vote(&vote)),
        }))
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        let (sender, request) = self.of_sender(request)?;
        sender.may_transfer(&request).map_err(refused)?;
        let request = convert::from_transfer(request).map_err(malformed)?;
        if self.0.has_stopped() || self.0.is_leaving() {
            return Ok(Response::new(v1::TransferLeaderResponse {
                accepted: false,
            }));
        }
        let handled = self.raft()?.handle_transfer_leader(request).await;
        let accepted = handled.map_err(failed)?.is_ok();
        Ok(Response::new(v1::TransferLeaderResponse { accepted }))
    }

    async fn join(
        &self,
        request: Request<v1::JoinRequest>,
    ) -> Result<Response<v1::JoinResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let voucher = match caller.role {
            CallerRole::Member(id) => Voucher::Member(id),
            CallerRole::HasSecret if caller.claim.target == 0 && caller.claim.cluster.is_some() => {
                return Err(Status::permission_denied("a member does not join"));
            }
            CallerRole::HasSecret => Voucher::Secret(&caller),
            CallerRole::Stranger if request.invite.is_empty() => {
                let from = caller.connection.address().ip();
                let refusals = self.0.peers.refusals();
                refusals.tell(Some(from), Some(caller.claim.sender), NO_SECRET);
                return Err(Status::permission_denied(NO_SECRET));
            }
            CallerRole::Stranger => Voucher::Invite(&caller),
        };
        let response = self.0.admit(request, voucher).await?;
        Ok(self.proven(response, &caller))
    }

    async fn identify(
        &self,
        request: Request<v1::ClusterFacts>,
    ) -> Result<Response<v1::ClusterFacts>, Status> {
        let caller = Caller::of(&request)?;
        if caller.role == CallerRole::Stranger {
            return Err(Status::permission_denied(NO_SECRET));
        }
        self.0.note_cluster(request.into_inner());
        Ok(self.proven(self.0.cluster_facts(), &caller))
    }

    async fn acquaint(
        &self,
        request: Request<v1::AcquaintRequest>,
    ) -> Result<Response<v1::AcquaintResponse>, Status> {
        let caller = Caller::of(&request)?;
        if caller.role == CallerRole::HasSecret && caller.claim.cluster == self.0.peers.cluster() {
            if let Some(peer) = caller.connection.peer() {
                let roster = self.0.peers.roster();
                roster.acquaint(caller.claim.sender, peer.key);
            }
        } else {
            caller.member()?;
        }
        Ok(self.proven(v1::AcquaintResponse {}, &caller))
    }

    async fn propose(
        &self,
        request: Request<v1::ProposeRequest>,
    ) -> Result<Response<v1::ProposeResponse>, Status> {
        let record = of_member(request)?.record;
        let record = record.ok_or_else(|| Status::invalid_argument("there is no record"))?;
        let (index, result) = self.0.submit_here(convert::from_record(record)).await?;
        let result =
            serde_json::to_vec(&result).map_err(|error| Status::unknown(error.to_string()))?;
        Ok(Response::new(v1::ProposeResponse {
            index,
            answer: result.into(),
        }))
    }

    async fn read_index(
        &self,
        request: Request<v1::ReadIndexRequest>,
    ) -> Result<Response<v1::ReadIndexResponse>, Status> {
        of_member(request)?;
        let index = self.0.read_index().await?;
        Ok(Response::new(v1::ReadIndexResponse { index }))
    }

    async fn change(
        &self,
        request: Request<v1::ChangeRequest>,
    ) -> Result<Response<v1::ChangeResponse>, Status> {
        let v1::ChangeRequest { change, force } = of_member(request)?;
        match change {
            Some(change_request::Change::Remove(name)) => {
                self.0.remove_member(&name, force).await?;
            }
            Some(change_request::Change::Transfer(name)) => self.0.hand_over(&name).await?,
            None => return Err(Status::unimplemented("this weldr does not know the change")),
        }
        Ok(Response::new(v1::ChangeResponse {}))
    }

    async fn rotate_key(
        &self,
        request: Request<v1::RotateKeyRequest>,
    ) -> Result<Response<v1::RotateKeyResponse>, Status> {
        of_member(request)?;
        let key = self.0.rotate_key().await?.to_string();
        Ok(Response::new(v1::RotateKeyResponse { key }))
    }

    async fn sealing_keys(
        &self,
        request: Request<v1::SealingKeysRequest>,
    ) -> Result<Response<v1::SealingKeysResponse>, Status> {
        let caller = Caller::of(&request)?;
        let known = request.into_inner().known;
        self.0.sealing_keys_for(&caller, &known).map(Response::new)
    }

    async fn keep_sealing_key(
        &self,
        request: Request<v1::KeepSealingKeyRequest>,
    ) -> Result<Response<v1::KeepSealingKeyResponse>, Status> {
        let caller = Caller::of(&request)?;
        let id = request.into_inner().id;
        let kept = self.0.keep_sealing_key_of(&caller, &id).await?;
        Ok(Response::new(v1::KeepSealingKeyResponse { kept }))
    }

    async fn report(
        &self,
        request: Request<v1::ReportRequest>,
    ) -> Result<Response<v1::ReportResponse>, Status> {
        let servers = of_member(request)?.servers;
        Ok(Response::new(self.0.report(servers)))
    }
}

/// Receives all parts of a snapshot.
async fn receive(
    sender: Sender,
    mut parts: Streaming<v1::SnapshotPart>,
) -> Result<(v1::SnapshotHead, RaftSnapshot), Status> {
    let mut head = None;
    let mut state = BytesMut::new();
    while let Some(part) = parts.message().await? {
        match part.part {
            Some(Part::Head(first)) if head.is_none() => {
                sender.may_install(&first).map_err(refused)?;
                head = Some(first);
            }
            // A state before its head is refused before it takes memory.
            Some(Part::State(more))
                if head.is_some() && state.len() + more.len() <= LONGEST_STATE =>
            {
                state.extend_from_slice(&more);
            }
            _ => return Err(Status::invalid_argument("this is not a part of a snapshot")),
        }
    }
    let head = head.ok_or_else(|| Status::invalid_argument("there is no head"))?;
    let meta =
        convert::from_snapshot_meta(head.meta.clone().unwrap_or_default()).map_err(malformed)?;
    let snapshot = RaftSnapshot {
        meta,
        snapshot: state.freeze(),
    };
    Ok((head, snapshot))
}
