//! The simulated network: one connection a call.

use std::{error::Error, io, time::Duration};

use bytes::Bytes;
use openraft::{
    OptionalSend, RaftNetworkFactory, RaftNetworkV2,
    errors::{RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::RPCOption,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
    },
};
use prost::Message;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time,
};
use turmoil::net::TcpStream;
use weldr_proto::raft::v1;

use super::{PORT, host};
use crate::cluster::{
    log::{
        convert,
        types::{Member, RaftSnapshot, SnapshotMeta, Types, Vote},
    },
    raft::core::Raft,
};

/// The kinds of calls in the simulated protocol.
const APPEND: u8 = 0;
const VOTE: u8 = 1;
const PRE_VOTE: u8 = 2;
const SNAPSHOT: u8 = 3;

#[derive(Clone)]
pub(super) struct SimNetwork;

pub(super) struct SimConnection(u64);

fn unreachable(error: impl std::fmt::Display) -> Unreachable<Types> {
    Unreachable::from_string(error)
}

/// One call, with a connection of its own.
async fn call(
    target: u64,
    kind: u8,
    request: Vec<u8>,
    limit: Duration,
) -> Result<Vec<u8>, Unreachable<Types>> {
    let exchange = async {
        let mut stream = TcpStream::connect((host(target), PORT)).await?;
        stream.write_u64(target).await?;
        stream.write_u8(kind).await?;
        write_frame(&mut stream, &request).await?;
        read_frame(&mut stream).await
    };
    match time::timeout(limit, exchange).await {
        Ok(answer) => answer.map_err(unreachable),
        Err(elapsed) => Err(unreachable(elapsed)),
    }
}

async fn write_frame(stream: &mut TcpStream, frame: &[u8]) -> io::Result<()> {
    stream
        .write_u32(u32::try_from(frame.len()).unwrap())
        .await?;
    stream.write_all(frame).await
}

async fn read_frame(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; stream.read_u32().await? as usize];
    stream.read_exact(&mut frame).await?;
    Ok(frame)
}

fn decoded<M: Message + Default>(frame: &[u8]) -> Result<M, Unreachable<Types>> {
    M::decode(frame).map_err(unreachable)
}

impl RaftNetworkFactory<Types> for SimNetwork {
    type Network = SimConnection;

    async fn new_client(&mut self, target: u64, _node: &Member) -> SimConnection {
        SimConnection(target)
    }
}

impl RaftNetworkV2<Types> for SimConnection {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let request = convert::append(&request).encode_to_vec();
        let limit = option.hard_ttl().max(Duration::from_secs(1));
        let answer = call(self.0, APPEND, request, limit).await?;
        Ok(convert::from_appended(decoded(&answer)?).map_err(unreachable)?)
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let request = convert::ask_vote(&request).encode_to_vec();
        let answer = call(self.0, VOTE, request, option.hard_ttl()).await?;
        Ok(convert::from_voted(decoded(&answer)?).map_err(unreachable)?)
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let request = convert::ask_vote(&request).encode_to_vec();
        let answer = call(self.0, PRE_VOTE, request, option.hard_ttl()).await?;
        Ok(convert::from_voted(decoded(&answer)?).map_err(unreachable)?)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: RaftSnapshot,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let head = v1::SnapshotHead {
            vote: Some(convert::vote(&vote)),
            meta: Some(convert::snapshot_meta(&snapshot.meta)),
        };
        let mut request = head.encode_length_delimited_to_vec();
        request.extend_from_slice(&snapshot.snapshot);
        let answer = call(self.0, SNAPSHOT, request, option.hard_ttl()).await?;
        let response: v1::SnapshotResponse = decoded(&answer)?;
        Ok(SnapshotResponse::new(convert::from_vote(
            response.vote.unwrap(),
        )))
    }
}

/// Serves one call, if it is for the node `id`: one that has lost its data is another node at the same place.
pub(super) async fn answer(
    id: u64,
    raft: Raft,
    mut stream: TcpStream,
) -> Result<(), Box<dyn Error>> {
    if stream.read_u64().await? != id {
        return Err("another node was there".into());
    }
    let kind = stream.read_u8().await?;
    let request = read_frame(&mut stream).await?;
    let answer = match kind {
        APPEND => {
            let request = convert::from_append(v1::AppendRequest::decode(&*request)?)?;
            convert::appended(&raft.append_entries(request).await?).encode_to_vec()
        }
        VOTE => {
            let request = convert::from_ask_vote(v1::VoteRequest::decode(&*request)?)?;
            convert::voted(&raft.vote(request).await?).encode_to_vec()
        }
        PRE_VOTE => {
            let request = convert::from_ask_vote(v1::VoteRequest::decode(&*request)?)?;
            convert::voted(&raft.pre_vote(request).await?).encode_to_vec()
        }
        _ => {
            let mut rest = &request[..];
            let head = v1::SnapshotHead::decode_length_delimited(&mut rest)?;
            let meta: SnapshotMeta = convert::from_snapshot_meta(head.meta.unwrap())?;
            let snapshot = RaftSnapshot {
                meta,
                snapshot: Bytes::copy_from_slice(rest),
            };
            let vote = convert::from_vote(head.vote.unwrap());
            let vote = raft.install_full_snapshot(vote, snapshot).await?.vote;
            v1::SnapshotResponse {
                vote: Some(convert::vote(&vote)),
            }
            .encode_to_vec()
        }
    };
    Ok(write_frame(&mut stream, &answer).await?)
}
