//! How this node asks to join a cluster.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use tokio::time::{self, Instant};
use tonic::{Code, Status};
use tracing::warn;
use uuid::Uuid;
use weldr_proto::raft::v1;

use crate::cluster::{
    error::OpenError,
    log::{
        convert,
        proposal::RECORD_VERSION,
        types::{Member, StoredMembership},
    },
    network::{channel::Expected, dial::DialError, peers::Peers},
};

use super::token::Token;

/// How long a node asks for admission.
const JOIN_PATIENCE: Duration = Duration::from_mins(1);
/// The time limit of one request.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause between two rounds of requests.
const JOIN_PAUSE: Duration = Duration::from_millis(250);

/// A cluster that has admitted this node.
#[derive(Debug)]
pub(in crate::cluster) struct Joined {
    pub(in crate::cluster) cluster: Uuid,
    /// Its members, from which this node accepts calls.
    pub(in crate::cluster) members: StoredMembership,
}

/// The most characters of what a node says that are shown: it may be none of the cluster.
const LONGEST_REASON: usize = 400;

/// Asks the nodes at `addresses` in turn to admit this one, until one does. Returns the cluster. A refusal counts when all
/// addresses were asked: whoever is at one of them need not belong to the cluster.
pub(in crate::cluster) async fn join(
    peers: &Peers,
    me: &Member,
    token: Option<&Token>,
    addresses: &[SocketAddr],
) -> Result<Joined, OpenError> {
    let by_authority = peers.credentials().authority.is_some();
    match token {
        None if !peers.has_secret() => return Err(OpenError::NothingToJoinWith),
        Some(token) if token.keys.is_empty() && !by_authority => {
            return Err(OpenError::InviteWithoutKeys);
        }
        _ => {}
    }
    let deadline = Instant::now() + JOIN_PATIENCE;
    let mut told = false;
    loop {
        let mut last = Status::unavailable("nobody was asked");
        let mut refused = None;
        for address in addresses {
            match ask(peers, me, token, *address).await {
                Ok(joined) => return Ok(joined),
                Err(status) if is_final(&status) => refused = Some(status),
                Err(status) => last = status,
            }
        }
        if let Some(status) = refused {
            return Err(OpenError::JoinRefused(status.message().to_owned()));
        }
        if Instant::now() >= deadline {
            return Err(OpenError::JoinUnanswered {
                addresses: addresses.to_vec(),
                source: Box::new(last),
            });
        }
        if !std::mem::replace(&mut told, true) {
            warn!(error = %last, "no node lets this one join yet; asking again");
        }
        time::sleep(JOIN_PAUSE).await;
    }
}

fn is_final(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::PermissionDenied
            | Code::AlreadyExists
            | Code::ResourceExhausted
            | Code::InvalidArgument
    )
}

async fn ask(
    peers: &Peers,
    me: &Member,
    token: Option<&Token>,
    address: SocketAddr,
) -> Result<Joined, Status> {
    let dial_error = |error: DialError| Status::unavailable(error.to_string());
    let expected = match token {
        Some(token) if !token.keys.is_empty() => Expected::OneOf(token.keys.clone()),
        _ => Expected::Anyone,
    };
    let introduced = peers.introduce(0, address, expected).await;
    let mut introduction = introduced.map_err(dial_error)?;
    let request = v1::JoinRequest {
        member: Some(convert::member(peers.local_id(), me)),
        record_version: RECORD_VERSION,
        invite: token.map_or_else(Bytes::new, |token| Bytes::copy_from_slice(&token.secret)),
    };
    let response = time::timeout(JOIN_TIMEOUT, introduction.client.join(request)).await;
    let response = response.map_err(|_| Status::unavailable("no answer in time"))?;
    let response =
        response.map_err(|status| Status::new(status.code(), plain(status.message())))?;
    let cluster = Uuid::parse_str(&response.get_ref().cluster)
        .map_err(|_| Status::internal("the response has no cluster id"))?;
    // With a token, the channel is to a member already.
    if token.is_none() && !peers.is_proven(&introduction, Some(cluster), response.metadata()) {
        return Err(Status::permission_denied(format!(
            "the node at {address} does not prove that it has the secret"
        )));
    }
    let members = response.into_inner().membership.unwrap_or_default();
    let members = convert::from_stored_membership(members);
    let members = members.map_err(|error| Status::internal(error.to_string()))?;
    Ok(Joined { cluster, members })
}

/// What an unknown node says, for a log and a terminal: short, and without characters that are not printed.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for character in text.chars().take(LONGEST_REASON) {
        match character {
            '"' | '\'' | '\\' => plain.push(character),
            other => plain.extend(other.escape_debug()),
        }
    }
    if text.chars().nth(LONGEST_REASON).is_some() {
        plain.push_str(" ...");
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_unknown_node_says_is_escaped_and_short() {
        let sentence = r#"node "a" isn't a member \ or is: é"#;
        assert_eq!(plain(sentence), sentence);
        assert_eq!(plain("\u{1b}[2J\n\u{202e}"), r"\u{1b}[2J\n\u{202e}");
        let long = plain(&"x".repeat(10_000));
        assert_eq!(long, "x".repeat(LONGEST_REASON) + " ...");
    }
}
