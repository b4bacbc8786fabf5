//! Messages between nodes, changed at random, from a peer that has joined with the secret.

use bytes::{Buf as _, BufMut as _, Bytes};
use http::uri::PathAndQuery;
use prost::Message as _;
use tonic::{
    Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Channel,
};
use weldr_proto::raft::v1;

use crate::{
    cluster::TestCluster,
    hostile::peer::{Claim, Credentials, Peer},
};

/// The secret of a [`TestCluster`].
const SECRET: &str = "open sesame, open sesame";
/// The id of the peer.
const ID: u64 = 4711;

/// A member that says anything.
#[derive(Debug)]
pub struct Fuzzer {
    grpc: Grpc<Channel>,
    claim: Claim,
    corpus: Vec<(&'static str, Vec<u8>)>,
}

impl Fuzzer {
    /// Joins a cluster.
    ///
    /// # Panics
    /// When the cluster does not take it.
    pub async fn join(cluster: &TestCluster) -> Self {
        let credentials = Credentials::new();
        let address = cluster.clustered(0);
        let mut peer = Peer::connect(address, &credentials)
            .await
            .expect("a channel");
        let member = v1::Member {
            id: ID,
            name: "fuzzer".to_owned(),
            address: "127.0.0.99:1".to_owned(),
            keys: vec![credentials.fingerprint().into()],
        };
        let joined = peer.join(SECRET, member.clone()).await.expect("a member");
        let claim = Claim {
            cluster: joined.cluster.clone(),
            sender: ID,
            target: cluster.id(0).await,
            proof: String::new(),
        };
        Self {
            grpc: Grpc::new(peer.channel),
            claim,
            corpus: corpus(&member, joined.membership),
        }
    }

    /// Sends `count` messages. Gives how many the node took.
    ///
    /// # Errors
    /// The node does not answer any more.
    pub async fn run(&mut self, seed: u64, count: usize) -> Result<usize, String> {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut taken = 0;
        for _ in 0..count {
            let (method, mut bytes) = random.choice(&self.corpus).cloned().unwrap_or_default();
            for _ in 0..random.usize(0..4) {
                change(&mut bytes, &mut random);
            }
            let answer = self.call(method, bytes).await;
            taken += usize::from(answer.is_ok());
            if let Err(status) = answer
                && std::error::Error::source(&status).is_some()
            {
                return Err(format!("seed {seed}: {method}: {status:?}"));
            }
        }
        Ok(taken)
    }

    async fn call(&mut self, method: &'static str, bytes: Vec<u8>) -> Result<(), Status> {
        let ready = self.grpc.ready().await;
        ready.map_err(|error| Status::from_error(error.into()))?;
        let path = PathAndQuery::from_static(method);
        let request = self.claim.on(Bytes::from(bytes));
        self.grpc.unary(request, path, Raw).await.map(drop)
    }
}

/// One byte, one bit, or the length.
fn change(bytes: &mut Vec<u8>, random: &mut fastrand::Rng) {
    if bytes.is_empty() {
        bytes.push(random.u8(..));
        return;
    }
    let at = random.usize(..bytes.len());
    match random.u8(..5) {
        0 => bytes[at] = random.u8(..),
        1 => bytes[at] ^= 1 << random.u8(..8),
        2 => bytes.truncate(at),
        3 => bytes.insert(at, 0xff),
        _ => bytes.extend_from_within(at..),
    }
}

fn at(index: u64) -> v1::LogId {
    v1::LogId { term: 1, index }
}

fn vote(committed: bool) -> v1::Vote {
    v1::Vote {
        term: 2,
        node: ID,
        committed,
    }
}

/// A proposal.
fn record() -> v1::Record {
    v1::Record {
        version: 3,
        order: Bytes::from_static(br#"{"begin":{"settings":{}}}"#),
        id: 1,
        validated: true,
    }
}

/// What a leader sends: entries, its snapshot, and that another node is to lead.
fn of_leaders(membership: Option<v1::StoredMembership>) -> [(&'static str, Vec<u8>); 3] {
    let members = membership.clone().and_then(|stored| stored.membership);
    let entry = |index, payload| v1::Entry {
        log_id: Some(at(index)),
        payload: Some(payload),
    };
    let append = v1::AppendRequest {
        vote: Some(vote(true)),
        previous: Some(at(1)),
        entries: vec![
            entry(2, v1::entry::Payload::Record(record())),
            entry(
                3,
                v1::entry::Payload::Membership(members.unwrap_or_default()),
            ),
        ],
        committed: Some(at(3)),
        token_digest: Bytes::from_static(&[7; 32]),
    };
    let head = v1::SnapshotHead {
        vote: Some(vote(true)),
        meta: Some(v1::SnapshotMeta {
            last: Some(at(9)),
            membership,
        }),
    };
    let part = v1::SnapshotPart {
        part: Some(v1::snapshot_part::Part::Head(head)),
    };
    let transfer = v1::TransferLeaderRequest {
        vote: Some(vote(true)),
        to: ID,
        last: Some(at(9)),
    };
    [
        ("/weldr.raft.v1.Raft/Append", append.encode_to_vec()),
        ("/weldr.raft.v1.Raft/InstallSnapshot", part.encode_to_vec()),
        (
            "/weldr.raft.v1.Raft/TransferLeader",
            transfer.encode_to_vec(),
        ),
    ]
}

/// One message of each kind that a member sends. Those that change the membership are left out: a member may do that.
fn corpus(
    member: &v1::Member,
    membership: Option<v1::StoredMembership>,
) -> Vec<(&'static str, Vec<u8>)> {
    let ask = v1::VoteRequest {
        vote: Some(vote(false)),
        last: Some(at(9)),
        leadership_transfer: true,
    };
    let join = v1::JoinRequest {
        member: Some(member.clone()),
        record_version: 3,
        invite: Bytes::from_static(&[7; 16]),
    };
    let facts = v1::ClusterFacts {
        cluster: "7f1d3fbe-0000-4000-8000-000000000000".to_owned(),
        ..v1::ClusterFacts::default()
    };
    let propose = v1::ProposeRequest {
        record: Some(record()),
    };
    let mut corpus = vec![
        ("/weldr.raft.v1.Raft/Vote", ask.encode_to_vec()),
        ("/weldr.raft.v1.Raft/PreVote", ask.encode_to_vec()),
        ("/weldr.raft.v1.Raft/Join", join.encode_to_vec()),
        ("/weldr.raft.v1.Raft/Identify", facts.encode_to_vec()),
        ("/weldr.raft.v1.Raft/Acquaint", Vec::new()),
        ("/weldr.raft.v1.Raft/Propose", propose.encode_to_vec()),
        ("/weldr.raft.v1.Raft/ReadIndex", Vec::new()),
        ("/weldr.raft.v1.Raft/Report", vec![8, 1]),
    ];
    corpus.extend(of_leaders(membership));
    corpus
}

/// Bytes instead of messages.
#[derive(Debug, Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, bytes: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(bytes);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
