//! gRPC clients of the other nodes, and the metadata of each call.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::{BoxFuture, Ready, ready};
use http::{HeaderMap, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataMap, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};
use uuid::Uuid;
use weldr_proto::raft::v1::{AcquaintRequest, raft_client::RaftClient};

#[cfg(test)]
use crate::cluster::log::types::StoredMembership;
use crate::cluster::log::{fingerprint::Fingerprint, types::Member};

use super::{
    channel::{ChannelPeer, Expected, Protocol},
    credentials::Credentials,
    dial::{DialError, Dialled, dial, dial_plain},
    lease_exchange::LeaseExchange,
    previous::{self, PreviousSecret},
    refusals::Refusals,
    roster::Roster,
    secret::{Claim, Secret, Side},
};

pub(in crate::cluster) const CLUSTER: &str = "weldr-cluster";
pub(in crate::cluster) const SENDER: &str = "weldr-sender";
pub(in crate::cluster) const TARGET: &str = "weldr-target";
pub(in crate::cluster) const PROOF: &str = "weldr-channel-proof";

/// The size limit of a message, in bytes: larger than a full batch of entries.
pub(in crate::cluster) const LONGEST_MESSAGE: usize = 64 * 1024 * 1024;
/// The time limit for connecting, with an acquaintance before it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection is checked with a ping in this interval, idle or not, and closed if no answer comes within the timeout.
/// So a network that works again is noticed in seconds, not after TCP's minutes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_millis(500);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(1);

pub(in crate::cluster) type PeerClient = RaftClient<InterceptedService<Channel, CallMetadata>>;

/// Creates clients of other nodes. Cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::cluster) struct Peers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    me: u64,
    cluster: OnceLock<Uuid>,
    credentials: RwLock<Arc<Credentials>>,
    /// The credentials that this node is about to use, when all members know them.
    next: Mutex<Option<Credentials>>,
    secret: RwLock<Option<Secret>>,
    /// The secret for members of version 0.1.0, if they are talked to.
    previous: Option<PreviousSecret>,
    /// The local address of outgoing connections.
    from: Option<IpAddr>,
    clients: Mutex<HashMap<(u64, SocketAddr), PeerClient>>,
    exchange: LeaseExchange,
    roster: Roster,
    refusals: Refusals,
}

/// What the clients of other nodes are made of.
#[derive(Debug)]
pub(in crate::cluster) struct PeersSetup {
    /// The id of this node.
    pub(in crate::cluster) me: u64,
    pub(in crate::cluster) cluster: Option<Uuid>,
    pub(in crate::cluster) credentials: Credentials,
    pub(in crate::cluster) secret: Option<Secret>,
    /// The secret for members of version 0.1.0, if they are talked to.
    pub(in crate::cluster) previous: Option<PreviousSecret>,
    /// The local address of outgoing connections.
    pub(in crate::cluster) from: Option<IpAddr>,
    pub(in crate::cluster) exchange: LeaseExchange,
    pub(in crate::cluster) roster: Roster,
}

/// A client of a node whose key this one does not know, on a connection of its own.
pub(in crate::cluster) struct Introduction {
    pub(in crate::cluster) client: PeerClient,
    /// Who answers.
    pub(in crate::cluster) peer: ChannelPeer,
    claim: Claim,
}

impl Peers {
    pub(in crate::cluster) fn new(setup: PeersSetup) -> Self {
        let PeersSetup {
            me,
            cluster,
            credentials,
            secret,
            previous,
            from,
            exchange,
            roster,
        } = setup;
        Self(Arc::new(Inner {
            me,
            cluster: cluster.map_or_else(OnceLock::new, OnceLock::from),
            credentials: RwLock::new(Arc::new(credentials)),
            next: Mutex::default(),
            secret: RwLock::new(secret),
            previous,
            from,
            clients: Mutex::default(),
            exchange,
            roster,
            refusals: Refusals::default(),
        }))
    }

    /// Those of a node that belongs to no cluster.
    #[cfg(test)]
    pub(super) fn alone() -> Self {
        let key = super::credentials::new_key().unwrap();
        let credentials = Credentials::of_key(&key, 1).unwrap();
        Self::new(PeersSetup {
            me: 1,
            cluster: None,
            credentials,
            secret: None,
            previous: None,
            from: None,
            exchange: LeaseExchange::new(Duration::ZERO),
            roster: Roster::new(StoredMembership::default()),
        })
    }

    pub(in crate::cluster) fn local_id(&self) -> u64 {
        self.0.me
    }

    pub(in crate::cluster) fn cluster(&self) -> Option<Uuid> {
        self.0.cluster.get().copied()
    }

    /// Sets the cluster, when the node has become a member.
    pub(in crate::cluster) fn set_cluster(&self, cluster: Uuid) {
        // It cannot be set to another cluster already: a node joins once.
        let _ = self.0.cluster.set(cluster);
        self.clients().clear();
    }

    /// The keys by which the other members know this node: two while the key is replaced, and none if they know its name.
    pub(in crate::cluster) fn member_keys(&self) -> Vec<Fingerprint> {
        let mut keys = self.credentials().member_keys();
        keys.extend(self.next().as_ref().map(|next| next.fingerprint));
        keys
    }

    /// Adds a key to those by which this node is known.
    pub(in crate::cluster) fn prepare_key(&self, next: Credentials) {
        *self.next() = Some(next);
    }

    pub(in crate::cluster) fn forget_next_key(&self) {
        *self.next() = None;
    }

    /// Uses the key that was prepared, on new connections. Calls that run go on.
    pub(in crate::cluster) fn use_next_key(&self) {
        let next = self.next().take();
        if let Some(next) = next {
            self.set_credentials(next);
        }
    }

    /// Uses other credentials on new connections, and gives up those that are open for new calls.
    pub(in crate::cluster) fn set_credentials(&self, credentials: Credentials) {
        let current = self.0.credentials.write();
        *current.unwrap_or_else(PoisonError::into_inner) = Arc::new(credentials);
        self.clients().clear();
    }

    pub(in crate::cluster) fn set_secret(&self, secret: Secret) {
        let current = self.0.secret.write();
        *current.unwrap_or_else(PoisonError::into_inner) = Some(secret);
    }

    fn next(&self) -> MutexGuard<'_, Option<Credentials>> {
        self.0.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<(u64, SocketAddr), PeerClient>> {
        let clients = self.0.clients.lock();
        clients.unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::cluster) fn credentials(&self) -> Arc<Credentials> {
        let credentials = self.0.credentials.read();
        Arc::clone(&credentials.unwrap_or_else(PoisonError::into_inner))
    }

    pub(in crate::cluster) fn has_secret(&self) -> bool {
        self.secret().is_some()
    }

    fn secret(&self) -> Option<Secret> {
        let secret = self.0.secret.read();
        secret.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The secret for members of version 0.1.0, if they are talked to.
    pub(in crate::cluster) fn previous(&self) -> Option<&PreviousSecret> {
        self.0.previous.as_ref()
    }

    /// What nodes tell each other beside the heartbeats.
    pub(in crate::cluster) fn exchange(&self) -> &LeaseExchange {
        &self.0.exchange
    }

    /// Who is a member.
    pub(in crate::cluster) fn roster(&self) -> &Roster {
        &self.0.roster
    }

    /// What is logged of callers.
    pub(in crate::cluster) fn refusals(&self) -> &Refusals {
        &self.0.refusals
    }

    /// A client of the member `target`. It connects at the first call, and again after a failure.
    pub(in crate::cluster) fn client(
        &self,
        target: u64,
        member: &Member,
    ) -> Result<PeerClient, DialError> {
        let address = parsed(&member.address)?;
        let mut clients = self.clients();
        let client = clients.entry((target, address)).or_insert_with(|| {
            let channel = self.channel(target, address, member);
            self.over(channel, self.claim(target), None)
        });
        Ok(client.clone())
    }

    /// [`client`](Self::client) with a connection of its own, so that large messages do not delay others.
    pub(in crate::cluster) fn client_apart(
        &self,
        target: u64,
        member: &Member,
    ) -> Result<PeerClient, DialError> {
        let channel = self.channel(target, parsed(&member.address)?, member);
        Ok(self.over(channel, self.claim(target), None))
    }

    /// Connects to the node at `address`, whose key this one does not know. Each call on the connection has a proof of the
    /// secret, if this node has one. `target` is 0 if its id is not known either.
    pub(in crate::cluster) async fn introduce(
        &self,
        target: u64,
        address: SocketAddr,
        expected: Expected,
    ) -> Result<Introduction, DialError> {
        let current = Protocol::Current;
        let dialled = dial(&self.credentials(), expected, current, self.0.from, address).await?;
        let Dialled { stream, peer } = dialled;
        let claim = self.claim(target);
        let proof = self.proof(Side::Caller, claim, &peer);
        let channel = endpoint().connect_with_connector_lazy(Once(Some(stream)));
        Ok(Introduction {
            client: self.over(channel, claim, proof),
            peer,
            claim,
        })
    }

    /// Whether the answer to a call of an introduction proves the secret.
    pub(in crate::cluster) fn is_proven(
        &self,
        introduction: &Introduction,
        cluster: Option<Uuid>,
        answer: &MetadataMap,
    ) -> bool {
        let Introduction { peer, claim, .. } = introduction;
        let claim = Claim { cluster, ..*claim };
        self.has_proof(answer.as_ref(), Side::Answerer, claim, peer)
    }

    /// A proof of the secret on a channel; `None` without a secret.
    pub(in crate::cluster) fn proof(
        &self,
        side: Side,
        claim: Claim,
        peer: &ChannelPeer,
    ) -> Option<String> {
        Some(self.secret()?.proof(side, claim, &peer.binding))
    }

    /// Whether these headers have a valid proof of the secret.
    pub(in crate::cluster) fn has_proof(
        &self,
        headers: &HeaderMap,
        side: Side,
        claim: Claim,
        peer: &ChannelPeer,
    ) -> bool {
        let proof = headers.get(PROOF).and_then(|proof| proof.to_str().ok());
        let Some((secret, proof)) = self.secret().zip(proof) else {
            return false;
        };
        secret.is_proven_by(proof, side, claim, &peer.binding)
    }

    fn claim(&self, target: u64) -> Claim {
        Claim {
            cluster: self.cluster(),
            sender: self.local_id(),
            target,
        }
    }

    fn over(&self, channel: Channel, claim: Claim, proof: Option<String>) -> PeerClient {
        let previous = self.previous().map(|secret| secret.proof(claim));
        let metadata = CallMetadata::new(claim, proof, previous);
        RaftClient::with_interceptor(channel, metadata)
            .max_decoding_message_size(LONGEST_MESSAGE)
            .max_encoding_message_size(LONGEST_MESSAGE)
    }

    fn channel(&self, target: u64, address: SocketAddr, member: &Member) -> Channel {
        let connector = MemberConnector {
            peers: Arc::downgrade(&self.0),
            target,
            address,
            member: member.clone(),
        };
        endpoint().connect_with_connector_lazy(connector)
    }

    /// Connects to a member, which has to have its key. To one that is of version 0.1.0 in its way, if that is allowed.
    async fn connect(
        &self,
        target: u64,
        address: SocketAddr,
        told: &Member,
    ) -> Result<Link, DialError> {
        let connected = self.connect_current(target, address, told).await;
        let is_old = self.previous().is_some() && self.0.roster.lacks_key(target);
        match connected {
            Ok(stream) => Ok(Link::Left(stream)),
            Err(DialError::Tls(..) | DialError::Timeout(_) | DialError::NotAcquainted(_))
                if is_old =>
            {
                self.connect_previous(told, address).await
            }
            Err(error) => Err(error),
        }
    }

    async fn connect_previous(
        &self,
        member: &Member,
        address: SocketAddr,
    ) -> Result<Link, DialError> {
        let credentials = self.credentials();
        if credentials.authority.is_none() {
            return dial_plain(self.0.from, address).await.map(Link::Right);
        }
        let expected = Expected::Member(member.clone());
        let dialled = dial(
            &credentials,
            expected,
            Protocol::Previous,
            self.0.from,
            address,
        );
        Ok(Link::Left(dialled.await?.stream))
    }

    async fn connect_current(
        &self,
        target: u64,
        address: SocketAddr,
        told: &Member,
    ) -> Result<TlsStream<TcpStream>, DialError> {
        let credentials = self.credentials();
        // The engine may know a new member a moment earlier than the roster.
        let member = || self.0.roster.member(target).unwrap_or_else(|| told.clone());
        let expected = member();
        let is_known = !self.0.roster.lacks_key(self.local_id());
        if credentials.authority.is_none() && (expected.keys.is_empty() || !is_known) {
            self.acquaint(target, &expected, address).await?;
        }
        let expected = Expected::Member(member());
        let current = Protocol::Current;
        let dialled = dial(&credentials, expected, current, self.0.from, address).await?;
        Ok(dialled.stream)
    }

    /// Exchanges keys with a member: the membership, which comes from version 0.1.0, lacks one of them.
    async fn acquaint(
        &self,
        target: u64,
        member: &Member,
        address: SocketAddr,
    ) -> Result<(), DialError> {
        if !self.has_secret() {
            let why = "this node has no --cluster-secret-file";
            return Err(DialError::NotAcquainted(why.to_owned()));
        }
        let expected = if member.keys.is_empty() {
            Expected::Anyone
        } else {
            Expected::Member(member.clone())
        };
        let mut introduction = self.introduce(target, address, expected).await?;
        let refused = |status: Status| DialError::NotAcquainted(status.message().to_owned());
        let response = introduction.client.acquaint(AcquaintRequest {}).await;
        let answer = response.map_err(refused)?;
        if !self.is_proven(&introduction, self.cluster(), answer.metadata()) {
            let why = "the other node does not prove it";
            return Err(DialError::NotAcquainted(why.to_owned()));
        }
        self.0.roster.acquaint(target, introduction.peer.key);
        Ok(())
    }
}

fn parsed(address: &str) -> Result<SocketAddr, DialError> {
    let parsed = address.parse();
    parsed.map_err(|_| DialError::Address(address.to_owned()))
}

/// A connection to a member; without TLS only to one of version 0.1.0.
type Link = Either<TlsStream<TcpStream>, TcpStream>;

/// The connection is made by the connector, so the URI names nothing.
fn endpoint() -> Endpoint {
    Endpoint::from_static("http://node")
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
}

/// Connects to a member, each time that a connection is needed.
struct MemberConnector {
    peers: Weak<Inner>,
    target: u64,
    address: SocketAddr,
    /// The member as it was when it was first called.
    member: Member,
}

impl tower::Service<Uri> for MemberConnector {
    type Response = TokioIo<Link>;
    type Error = DialError;
    type Future = BoxFuture<'static, Result<Self::Response, DialError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (peers, target, address) = (self.peers.clone(), self.target, self.address);
        let member = self.member.clone();
        Box::pin(async move {
            let peers = Peers(peers.upgrade().ok_or(DialError::Ended)?);
            peers
                .connect(target, address, &member)
                .await
                .map(TokioIo::new)
        })
    }
}

/// Gives a connection that is open, once.
struct Once(Option<TlsStream<TcpStream>>);

impl tower::Service<Uri> for Once {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = DialError;
    type Future = Ready<Result<Self::Response, DialError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let stream = self.0.take().map(TokioIo::new);
        ready(stream.ok_or(DialError::Ended))
    }
}

/// Metadata of each call.
#[derive(Debug, Clone)]
pub(in crate::cluster) struct CallMetadata {
    cluster: Option<MetadataValue<Ascii>>,
    sender: MetadataValue<Ascii>,
    target: MetadataValue<Ascii>,
    proof: Option<MetadataValue<Ascii>>,
    /// For a member of version 0.1.0.
    previous: Option<MetadataValue<Ascii>>,
}

impl CallMetadata {
    fn new(claim: Claim, proof: Option<String>, previous: Option<String>) -> Self {
        let cluster = claim.cluster;
        Self {
            cluster: cluster.and_then(|cluster| cluster.to_string().parse().ok()),
            sender: claim.sender.into(),
            target: claim.target.into(),
            proof: proof.and_then(|proof| proof.parse().ok()),
            previous: previous.and_then(|proof| proof.parse().ok()),
        }
    }
}

impl Interceptor for CallMetadata {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        if let Some(cluster) = &self.cluster {
            metadata.insert(CLUSTER, cluster.clone());
        }
        metadata.insert(SENDER, self.sender.clone());
        metadata.insert(TARGET, self.target.clone());
        if let Some(proof) = &self.proof {
            metadata.insert(PROOF, proof.clone());
        }
        if let Some(proof) = &self.previous {
            metadata.insert(previous::PROOF, proof.clone());
        }
        Ok(request)
    }
}
