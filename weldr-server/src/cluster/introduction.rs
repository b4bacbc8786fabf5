//! How a node presents itself to the others, and whom it knows when it starts.

use std::net::IpAddr;

use prost::Message as _;
use tracing::warn;
use weldr_proto::raft::v1;

use super::{
    error::OpenError,
    log::{convert, types::StoredMembership},
    membership::token::Token,
    network::{
        credentials::{Credentials, new_key},
        lease_exchange::LeaseExchange,
        peers::{Peers, PeersSetup},
        previous::PreviousSecret,
        roster::Roster,
        secret::Secret,
    },
    options::{JoinToken, NetworkOptions, StoreOptions},
    raft::settings::Timing,
    storage::{
        file_modes::warn_of_wide_file,
        node_files::{NodeFile, NodeFiles},
        persistent_state::{Identity, PersistentState},
        recovery,
    },
};

/// Warns of a secret and of a key that others than their owner may read.
pub(super) fn warn_of_wide_files(options: Option<&NetworkOptions>) {
    let secret = options.and_then(|options| options.secret_file.as_ref());
    let key = options.and_then(|options| options.tls.as_ref().map(|tls| &tls.key));
    for path in secret.into_iter().chain(key) {
        warn_of_wide_file(path);
    }
}

/// Warns that members without a key are believed by a header.
pub(super) fn warn_of_previous(options: Option<&NetworkOptions>) {
    if options.is_some_and(|options| options.accept_previous) {
        warn!(
            "--cluster-accept-previous-protocol: members of version 0.1.0 are talked to in their way, which can be replayed. Restart \
             this node without the option when all nodes are upgraded"
        );
    }
}

/// What this node shows of itself: the operators' certificate, or its own key, which is made at the first start.
pub(super) fn credentials(
    identity: &Identity,
    options: Option<&NetworkOptions>,
    files: &NodeFiles,
) -> Result<Credentials, OpenError> {
    if let Some(files) = options.and_then(|options| options.tls.as_ref()) {
        return Credentials::of_files(files);
    }
    if options.is_none() {
        // Nobody calls it, so its data directory needs no key.
        return Credentials::of_key(&new_key()?, identity.node);
    }
    if let Some(stored) = files.read(NodeFile::Key)? {
        return Credentials::of_key(&String::from_utf8_lossy(&stored), identity.node);
    }
    let key = new_key()?;
    files.write(NodeFile::Key, key.as_bytes())?;
    Credentials::of_key(&key, identity.node)
}

/// The clients of other nodes, for a node with this state.
pub(super) fn peers(
    persistent: &PersistentState,
    options: &StoreOptions,
    credentials: &Credentials,
    files: &NodeFiles,
) -> Result<Peers, OpenError> {
    let exchange = LeaseExchange::new(Timing::from(options.failover).lease);
    let options = options.network.as_ref();
    let secret = options.and_then(|options| options.secret_file.as_deref());
    let secret = secret.map(Secret::of_file).transpose()?;
    let previous = options.filter(|options| options.accept_previous);
    let previous = previous.and_then(|options| options.secret_file.as_deref());
    let previous = previous.map(PreviousSecret::of_file).transpose()?;
    let from = options.map(|options| options.listen.ip());
    let from = from.filter(|from: &IpAddr| !from.is_unspecified());
    let Identity { node, cluster, .. } = persistent.identity;
    let members = known_members(persistent, files)?;
    Ok(Peers::new(PeersSetup {
        me: node,
        cluster,
        credentials: credentials.clone(),
        secret,
        previous,
        from,
        exchange,
        roster: Roster::new(members),
    }))
}

/// The members in the log, or, if it has none yet, those that this node was told when it joined.
fn known_members(
    persistent: &PersistentState,
    files: &NodeFiles,
) -> Result<StoredMembership, OpenError> {
    let in_log = recovery::membership(persistent);
    if in_log.nodes().next().is_some() || persistent.identity.cluster.is_none() {
        return Ok(in_log);
    }
    let told = files.read(NodeFile::Members)?.unwrap_or_default();
    // A file that is damaged is as good as none: the log brings the members too.
    let told = v1::StoredMembership::decode(&*told).unwrap_or_default();
    Ok(convert::from_stored_membership(told).unwrap_or_default())
}

/// The token of the invite with which this node is to join.
pub(super) fn read_token(token: &JoinToken) -> Result<Token, OpenError> {
    let text = match token {
        JoinToken::Text(text) => text.clone(),
        JoinToken::File(path) => {
            let read = std::fs::read_to_string(path);
            read.map_err(|source| OpenError::ClusterFile {
                path: path.clone(),
                source,
            })?
        }
    };
    Token::parse(&text).ok_or(OpenError::BadToken)
}
