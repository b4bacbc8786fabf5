//! Authenticates calls of other nodes.

use http::HeaderMap;
use tonic::{Request, Status, metadata::MetadataValue, service::Interceptor};
use uuid::Uuid;

use super::{
    channel::ChannelPeer,
    connections::PeerConnection,
    peers::{CLUSTER, Peers, SENDER, TARGET},
    previous::PreviousSecret,
    secret::{Claim, Side},
};

/// Who calls.
#[derive(Debug, Clone)]
pub(in crate::cluster) struct Caller {
    pub(in crate::cluster) role: CallerRole,
    /// What the caller says. Only [`CallerRole::Member`] says who it is.
    pub(in crate::cluster) claim: Claim,
    pub(in crate::cluster) connection: PeerConnection,
}

/// What is known about a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cluster) enum CallerRole {
    /// The member with this id, by the key on its channel.
    Member(u64),
    /// A node that has the secret. It may be a member whose key is not known, or of another cluster.
    HasSecret,
    /// Anybody. It may bring an invite.
    Stranger,
}

/// Accepts calls of members, and of nodes that want to join.
#[derive(Debug, Clone)]
pub(in crate::cluster) struct Authentication(pub(in crate::cluster) Peers);

/// Why a call is refused.
pub(in crate::cluster) const NO_SECRET: &str =
    "it does not prove that it has the secret of this cluster";
const NO_CLAIM: &str = "it does not say what it is";
const NO_MEMBER: &str = "its key is not that of a member of this cluster";
const OTHER_CLUSTER: &str = "it belongs to another cluster";
const OTHER_NODE: &str =
    "it means another node: one whose data was lost, or whose address this one has taken";
const WAS_REMOVED: &str = "it was removed from this cluster";

/// The metadata of the refusal of a node that was removed: its id.
const REMOVED: &str = "weldr-removed";

impl Authentication {
    fn judge(
        &self,
        headers: &HeaderMap,
        peer: Option<&ChannelPeer>,
    ) -> Result<(CallerRole, Claim), &'static str> {
        let peers = &self.0;
        let claim = claim(headers).ok_or(NO_CLAIM)?;
        let Claim {
            cluster,
            sender,
            target,
        } = claim;
        let is_here = cluster.is_some() && cluster == peers.cluster();
        let Some(peer) = peer.filter(|peer| !peer.is_previous) else {
            return self.judge_previous(headers, peer, claim);
        };
        if is_here
            && target == peers.local_id()
            && let Some(id) = peers.roster().holder(peer, sender)
        {
            return Ok((CallerRole::Member(id), claim));
        }
        let has_secret = peers.has_proof(headers, Side::Caller, claim, peer);
        match cluster {
            None if target != 0 => Err(OTHER_CLUSTER),
            None if has_secret => Ok((CallerRole::HasSecret, claim)),
            None => Ok((CallerRole::Stranger, claim)),
            Some(_) if target == 0 && has_secret => Ok((CallerRole::HasSecret, claim)),
            Some(_) if target == 0 => Err(NO_SECRET),
            Some(_) if !is_here => Err(OTHER_CLUSTER),
            Some(_) if target != peers.local_id() => Err(OTHER_NODE),
            Some(_) if peers.roster().was_removed(sender) => Err(WAS_REMOVED),
            Some(_) if has_secret => Ok((CallerRole::HasSecret, claim)),
            Some(_) => Err(NO_MEMBER),
        }
    }
}

impl Authentication {
    /// The same of a caller of version 0.1.0. Only a member without a key may be one.
    fn judge_previous(
        &self,
        headers: &HeaderMap,
        peer: Option<&ChannelPeer>,
        claim: Claim,
    ) -> Result<(CallerRole, Claim), &'static str> {
        let peers = &self.0;
        let is_certified = peer.is_some_and(|peer| peer.is_certified);
        let needs_certificate = peers.credentials().authority.is_some();
        let proves = |secret: &PreviousSecret| secret.is_proven_by(headers, claim);
        if !peers.previous().is_some_and(proves) || is_certified != needs_certificate {
            return Err(NO_SECRET);
        }
        if claim.cluster.is_none() || claim.cluster != peers.cluster() {
            return Err(OTHER_CLUSTER);
        }
        if claim.target != peers.local_id() {
            return Err(OTHER_NODE);
        }
        if !peers.roster().lacks_key(claim.sender) {
            return Err(NO_MEMBER);
        }
        Ok((CallerRole::Member(claim.sender), claim))
    }
}

/// What the headers of a call say.
fn claim(headers: &HeaderMap) -> Option<Claim> {
    let text = |key| headers.get(key).and_then(|value| value.to_str().ok());
    let number = |key| text(key).and_then(|text| text.parse::<u64>().ok());
    Some(Claim {
        cluster: text(CLUSTER).and_then(|text| Uuid::parse_str(text).ok()),
        sender: number(SENDER)?,
        target: number(TARGET)?,
    })
}

/// The cluster of the caller, if it belongs to one. With a secret, only if the caller proves it; without one, whatever it
/// says: the worst that a lie does is that this node does not found a cluster, and says why.
pub(in crate::cluster) fn cluster_of(
    peers: &Peers,
    headers: &HeaderMap,
    peer: Option<&ChannelPeer>,
) -> Option<Uuid> {
    let (claim, peer) = (claim(headers)?, peer?);
    let is_believed = !peers.has_secret() || peers.has_proof(headers, Side::Caller, claim, peer);
    claim.cluster.filter(|_| is_believed)
}

/// Whether a member has refused a call because it knows that node `me` was removed.
pub(in crate::cluster) fn says_removed(status: &Status, me: u64) -> bool {
    let id = status.metadata().get(REMOVED);
    id.and_then(|id| id.to_str().ok()) == Some(me.to_string().as_str())
}

impl Caller {
    /// Who sent `request`.
    pub(in crate::cluster) fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let caller = request.extensions().get::<Self>().cloned();
        caller.ok_or_else(|| Status::permission_denied(NO_CLAIM))
    }

    /// The id of the member that calls.
    pub(in crate::cluster) fn member(&self) -> Result<u64, Status> {
        match self.role {
            CallerRole::Member(id) => Ok(id),
            CallerRole::HasSecret | CallerRole::Stranger => {
                Err(Status::permission_denied("only for members"))
            }
        }
    }
}

impl Interceptor for Authentication {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let Some(connection) = PeerConnection::of(request.extensions()).cloned() else {
            return Err(Status::permission_denied(NO_CLAIM));
        };
        match self.judge(request.metadata().as_ref(), connection.peer()) {
            Ok((role, claim)) => {
                if role != CallerRole::Stranger && !connection.prove() {
                    return Err(Status::resource_exhausted(
                        "this node has as many connections of other nodes as it may have",
                    ));
                }
                request.extensions_mut().insert(Caller {
                    role,
                    claim,
                    connection,
                });
                Ok(request)
            }
            Err(reason) => {
                let sender = claim(request.metadata().as_ref()).map(|claim| claim.sender);
                let from = connection.address().ip();
                self.0.refusals().tell(Some(from), sender, reason);
                let mut status = Status::permission_denied(reason);
                if let Some(sender) = sender.filter(|_| reason == WAS_REMOVED) {
                    let id = MetadataValue::from(sender);
                    status.metadata_mut().insert(REMOVED, id);
                }
                Err(status)
            }
        }
    }
}
