//! Authenticates calls of other nodes.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use http::HeaderMap;
use tonic::{Request, Status, service::Interceptor};
use tracing::warn;
use uuid::Uuid;

use super::{
    connections::PeerConnection,
    peers::{CLUSTER, PROOF, Peers, SENDER, TARGET},
};

/// What the caller is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cluster) enum PeerRole {
    Member,
    /// A node that has the secret and is not yet a member of a cluster.
    Stranger,
    /// A node that has the secret and does not know which node it calls. It may be of another cluster.
    Caller,
}

/// When each refusal was last logged, by address and reason. Shared by all connections.
type Told = Arc<Mutex<HashMap<(Option<IpAddr>, &'static str), Instant>>>;

/// Accepts calls of members, and of nodes that have the secret and want to join.
#[derive(Debug, Clone)]
pub(in crate::cluster) struct Authentication {
    peers: Peers,
    told: Told,
}

/// Why a call is refused.
const NO_SECRET: &str = "it does not prove that it has the secret of this cluster";
const OTHER_CLUSTER: &str = "it belongs to another cluster";
const OTHER_NODE: &str =
    "it means another node: one whose data was lost, or whose address this one has taken";

/// A refusal with the same address and reason is not logged again within `QUIET`. At most `MOST_TOLD` refusals are
/// remembered.
const QUIET: Duration = Duration::from_mins(1);
const MOST_TOLD: usize = 256;
/// The longest name of a sender that is logged, in bytes: an id as a decimal number.
const LONGEST_SENDER: usize = 20;

impl Authentication {
    pub(in crate::cluster) fn new(peers: Peers) -> Self {
        Self {
            peers,
            told: Arc::default(),
        }
    }

    fn judge(&self, request: &Request<()>) -> Result<PeerRole, &'static str> {
        let headers = request.metadata().as_ref();
        let Claim { cluster, target } = proven(&self.peers, headers).ok_or(NO_SECRET)?;
        match cluster {
            None if target == 0 => Ok(PeerRole::Stranger),
            None => Err(OTHER_CLUSTER),
            Some(_) if target == 0 => Ok(PeerRole::Caller),
            cluster if cluster != self.peers.cluster() => Err(OTHER_CLUSTER),
            Some(_) if target != self.peers.local_id() => Err(OTHER_NODE),
            Some(_) => Ok(PeerRole::Member),
        }
    }

    /// Whether this refusal should be logged.
    fn is_news(&self, from: Option<IpAddr>, reason: &'static str) -> bool {
        let now = Instant::now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, at| now.duration_since(*at) < QUIET);
        if told.len() >= MOST_TOLD || told.contains_key(&(from, reason)) {
            return false;
        }
        told.insert((from, reason), now);
        true
    }
}

/// What a caller that has the secret says about itself and about the node that it means.
struct Claim {
    cluster: Option<Uuid>,
    target: u64,
}

/// The claim in the headers of a call, if the caller proves that it has the secret.
fn proven(peers: &Peers, headers: &HeaderMap) -> Option<Claim> {
    let text = |key| headers.get(key).and_then(|value| value.to_str().ok());
    let number = |key| text(key).and_then(|text| text.parse::<u64>().ok());
    let (sender, target, proof) = (number(SENDER)?, number(TARGET)?, text(PROOF)?);
    let cluster = text(CLUSTER).and_then(|text| Uuid::parse_str(text).ok());
    let proven = peers.secret().is_proven_by(proof, cluster, sender, target);
    proven.then_some(Claim { cluster, target })
}

/// The cluster of the caller, if it belongs to one and proves that it has the secret.
pub(in crate::cluster) fn cluster_of(peers: &Peers, headers: &HeaderMap) -> Option<Uuid> {
    proven(peers, headers)?.cluster
}

impl Interceptor for Authentication {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        match self.judge(&request) {
            Ok(caller) => {
                let connection = PeerConnection::of(request.extensions());
                if connection.is_some_and(|connection| !connection.prove()) {
                    return Err(Status::resource_exhausted(
                        "this node has as many connections of other nodes as it may have",
                    ));
                }
                request.extensions_mut().insert(caller);
                Ok(request)
            }
            Err(reason) => {
                let from = PeerConnection::of(request.extensions()).map(PeerConnection::address);
                if self.is_news(from.map(|from| from.ip()), reason) {
                    let sender = request.metadata().get(SENDER);
                    let sender = sender.and_then(|sender| sender.to_str().ok()).unwrap_or("");
                    let sender = &sender[..sender.len().min(LONGEST_SENDER)];
                    let from = from.map(tracing::field::display);
                    warn!(from, sender, reason, "node refused");
                }
                Err(Status::permission_denied(reason))
            }
        }
    }
}
