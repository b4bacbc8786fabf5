//! gRPC clients of the other nodes, and the metadata that identifies this node in each call.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};
use uuid::Uuid;
use weldr_proto::raft::v1::raft_client::RaftClient;

use super::{
    lease_exchange::LeaseExchange,
    security::{Secret, Tls},
};

pub(in crate::cluster) const CLUSTER: &str = "weldr-cluster";
pub(in crate::cluster) const SENDER: &str = "weldr-sender";
pub(in crate::cluster) const TARGET: &str = "weldr-target";
pub(in crate::cluster) const PROOF: &str = "weldr-proof";

/// The size limit of a message, in bytes: larger than a full batch of entries.
pub(in crate::cluster) const LONGEST_MESSAGE: usize = 64 * 1024 * 1024;
/// The time limit for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
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
    secret: Secret,
    tls: Option<Tls>,
    /// The local address of outgoing connections.
    from: Option<IpAddr>,
    channels: Mutex<HashMap<String, Channel>>,
    exchange: LeaseExchange,
}

/// An address is not valid for a connection.
#[derive(Debug, thiserror::Error)]
#[error("{address:?} is no address of a node")]
pub(in crate::cluster) struct DialError {
    address: String,
    #[source]
    source: Option<tonic::transport::Error>,
}

impl Peers {
    pub(in crate::cluster) fn new(
        me: u64,
        cluster: Option<Uuid>,
        secret: Secret,
        tls: Option<Tls>,
        from: Option<IpAddr>,
        exchange: LeaseExchange,
    ) -> Self {
        Self(Arc::new(Inner {
            me,
            cluster: cluster.map_or_else(OnceLock::new, OnceLock::from),
            secret,
            tls,
            from,
            channels: Mutex::default(),
            exchange,
        }))
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
    }

    pub(in crate::cluster) fn secret(&self) -> &Secret {
        &self.0.secret
    }

    /// What nodes tell each other beside the heartbeats.
    pub(in crate::cluster) fn exchange(&self) -> &LeaseExchange {
        &self.0.exchange
    }

    pub(in crate::cluster) fn tls(&self) -> Option<&Tls> {
        self.0.tls.as_ref()
    }

    /// A client of node `target` at `address`. It connects at the first call, and again after a failure.
    pub(in crate::cluster) fn client(
        &self,
        target: u64,
        address: &str,
    ) -> Result<PeerClient, DialError> {
        let mut channels = self
            .0
            .channels
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let channel = if let Some(channel) = channels.get(address) {
            channel.clone()
        } else {
            let channel = self.dial(address)?;
            channels.insert(address.to_owned(), channel.clone());
            channel
        };
        Ok(self.over(channel, target))
    }

    /// [`client`](Self::client) with a connection of its own, so that large messages do not delay others.
    pub(in crate::cluster) fn client_apart(
        &self,
        target: u64,
        address: &str,
    ) -> Result<PeerClient, DialError> {
        Ok(self.over(self.dial(address)?, target))
    }

    fn over(&self, channel: Channel, target: u64) -> PeerClient {
        let introduction = CallMetadata::new(self, target);
        RaftClient::with_interceptor(channel, introduction)
            .max_decoding_message_size(LONGEST_MESSAGE)
            .max_encoding_message_size(LONGEST_MESSAGE)
    }

    fn dial(&self, address: &str) -> Result<Channel, DialError> {
        let dial_error = |source| DialError {
            address: address.to_owned(),
            source,
        };
        if address.parse::<std::net::SocketAddr>().is_err() {
            return Err(dial_error(None));
        }
        let scheme = if self.0.tls.is_some() {
            "https"
        } else {
            "http"
        };
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))
            .map_err(|source| dial_error(Some(source)))?
            .local_address(self.0.from)
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        if let Some(tls) = &self.0.tls {
            endpoint = endpoint
                .tls_config(tls.client.clone())
                .map_err(|source| dial_error(Some(source)))?;
        }
        Ok(endpoint.connect_lazy())
    }
}

/// Metadata of each call that identifies the sender and the receiver.
#[derive(Debug, Clone)]
pub(in crate::cluster) struct CallMetadata {
    cluster: Option<MetadataValue<Ascii>>,
    sender: MetadataValue<Ascii>,
    target: MetadataValue<Ascii>,
    proof: Option<MetadataValue<Ascii>>,
}

impl CallMetadata {
    fn new(peers: &Peers, target: u64) -> Self {
        let (cluster, sender) = (peers.cluster(), peers.local_id());
        let proof = peers.secret().proof(cluster, sender, target);
        Self {
            cluster: cluster.and_then(|cluster| cluster.to_string().parse().ok()),
            sender: sender.into(),
            target: target.into(),
            proof: proof.parse().ok(),
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
        Ok(request)
    }
}
