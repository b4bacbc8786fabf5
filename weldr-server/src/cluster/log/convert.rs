//! Converts the engine's types to the messages of `raft.proto` and back. The same messages are on disk. Pure.

use std::collections::{BTreeMap, BTreeSet};

use openraft::{
    EntryPayload,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest,
        VoteResponse,
    },
    vote::{RaftLeaderId as _, leader_id_std::CommittedLeaderId, leader_id_std::LeaderId},
};
use weldr_proto::raft::v1::{self, append_response, entry};

use super::{
    fingerprint::Fingerprint,
    proposal::Record,
    types::{Entry, LogId, Member, Membership, SnapshotMeta, StoredMembership, Types, Vote},
};

/// A member has one key, or two while it is rotated.
const MOST_KEYS: usize = 2;

/// A message lacks a required field, or contradicts itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(in crate::cluster) struct Malformed(&'static str);

/// The field, or the error that it is missing.
fn present<T>(field: Option<T>, name: &'static str) -> Result<T, Malformed> {
    field.ok_or(Malformed(name))
}

pub(in crate::cluster) fn log_id(id: LogId) -> v1::LogId {
    v1::LogId {
        term: id.leader_id.term,
        index: id.index,
    }
}

pub(in crate::cluster) fn from_log_id(id: v1::LogId) -> LogId {
    let leader_id: CommittedLeaderId<u64> = LeaderId::new(id.term, 0).to_committed();
    LogId {
        leader_id,
        index: id.index,
    }
}

pub(in crate::cluster) fn vote(vote: &Vote) -> v1::Vote {
    v1::Vote {
        term: vote.leader_id.term,
        node: vote.leader_id.voted_for,
        committed: vote.committed,
    }
}

pub(in crate::cluster) fn from_vote(vote: v1::Vote) -> Vote {
    Vote {
        leader_id: LeaderId::new(vote.term, vote.node),
        committed: vote.committed,
    }
}

fn some_vote(vote: Option<v1::Vote>) -> Result<Vote, Malformed> {
    present(vote, "there is no vote").map(from_vote)
}

pub(in crate::cluster) fn membership(membership: &Membership) -> v1::Membership {
    let sets = membership.get_joint_config().iter();
    v1::Membership {
        voters: sets
            .map(|ids| v1::Voters {
                ids: ids.iter().copied().collect(),
            })
            .collect(),
        members: membership
            .nodes()
            .map(|(id, node)| member(*id, node))
            .collect(),
    }
}

pub(in crate::cluster) fn member(id: u64, member: &Member) -> v1::Member {
    v1::Member {
        id,
        name: member.name.clone(),
        address: member.address.clone(),
        keys: member.keys.iter().map(|key| key.to_bytes()).collect(),
    }
}

/// The id of a member, and what the others know about it.
pub(in crate::cluster) fn from_member(member: v1::Member) -> Result<(u64, Member), Malformed> {
    let v1::Member {
        id,
        name,
        address,
        keys,
    } = member;
    if keys.len() > MOST_KEYS {
        return Err(Malformed("a member has more than two keys"));
    }
    let keys = keys.iter().map(|key| Fingerprint::from_bytes(key));
    let keys = keys.collect::<Option<_>>();
    let keys = keys.ok_or(Malformed("the key of a member is no SHA-256 digest"))?;
    let member = Member {
        name,
        address,
        keys,
    };
    Ok((id, member))
}

pub(in crate::cluster) fn from_membership(
    membership: v1::Membership,
) -> Result<Membership, Malformed> {
    let voters: Vec<BTreeSet<u64>> = membership
        .voters
        .into_iter()
        .map(|voters| voters.ids.into_iter().collect())
        .collect();
    let members = membership.members.into_iter().map(from_member);
    let members: BTreeMap<u64, Member> = members.collect::<Result<_, _>>()?;
    if voters.is_empty() && members.is_empty() {
        return Ok(Membership::default());
    }
    Membership::new(voters, members).map_err(|_| Malformed("a voter is not a member"))
}

pub(in crate::cluster) fn stored_membership(stored: &StoredMembership) -> v1::StoredMembership {
    v1::StoredMembership {
        log_id: stored.log_id().map(log_id),
        membership: Some(membership(stored.membership())),
    }
}

pub(in crate::cluster) fn from_stored_membership(
    stored: v1::StoredMembership,
) -> Result<StoredMembership, Malformed> {
    let membership = from_membership(stored.membership.unwrap_or_default())?;
    Ok(StoredMembership::new(
        stored.log_id.map(from_log_id),
        membership,
    ))
}

pub(in crate::cluster) fn record(record: Record) -> v1::Record {
    v1::Record {
        version: record.version,
        order: record.proposal,
        id: record.id,
        validated: record.validated,
    }
}

pub(in crate::cluster) fn from_record(record: v1::Record) -> Record {
    Record {
        version: record.version,
        proposal: record.order,
        id: record.id,
        validated: record.validated,
    }
}

pub(in crate::cluster) fn entry(entry: &Entry) -> v1::Entry {
    let payload = match &entry.payload {
        EntryPayload::Blank => entry::Payload::Blank(v1::Blank {}),
        EntryPayload::Normal(proposed) => entry::Payload::Record(record(proposed.clone())),
        EntryPayload::Membership(members) => entry::Payload::Membership(membership(members)),
    };
    v1::Entry {
        log_id: Some(log_id(entry.log_id)),
        payload: Some(payload),
    }
}

pub(in crate::cluster) fn from_entry(entry: v1::Entry) -> Result<Entry, Malformed> {
    let payload = match present(entry.payload, "an entry has no payload")? {
        entry::Payload::Blank(_) => EntryPayload::Blank,
        entry::Payload::Record(record) => EntryPayload::Normal(from_record(record)),
        entry::Payload::Membership(members) => EntryPayload::Membership(from_membership(members)?),
    };
    let log_id = from_log_id(present(entry.log_id, "an entry has no log id")?);
    Ok(Entry { log_id, payload })
}

pub(in crate::cluster) fn snapshot_meta(meta: &SnapshotMeta) -> v1::SnapshotMeta {
    v1::SnapshotMeta {
        last: meta.last_log_id.map(log_id),
        membership: Some(stored_membership(&meta.last_membership)),
    }
}

pub(in crate::cluster) fn from_snapshot_meta(
    meta: v1::SnapshotMeta,
) -> Result<SnapshotMeta, Malformed> {
    Ok(SnapshotMeta {
        last_log_id: meta.last.map(from_log_id),
        last_membership: from_stored_membership(meta.membership.unwrap_or_default())?,
    })
}

pub(in crate::cluster) fn append(request: &AppendEntriesRequest<Types>) -> v1::AppendRequest {
    v1::AppendRequest {
        vote: Some(vote(&request.vote)),
        previous: request.prev_log_id.map(log_id),
        entries: request.entries.iter().map(entry).collect(),
        committed: request.leader_commit.map(log_id),
        ..v1::AppendRequest::default()
    }
}

pub(in crate::cluster) fn from_append(
    request: v1::AppendRequest,
) -> Result<AppendEntriesRequest<Types>, Malformed> {
    Ok(AppendEntriesRequest {
        vote: some_vote(request.vote)?,
        prev_log_id: request.previous.map(from_log_id),
        entries: request
            .entries
            .into_iter()
            .map(from_entry)
            .collect::<Result<_, _>>()?,
        leader_commit: request.committed.map(from_log_id),
    })
}

pub(in crate::cluster) fn appended(response: &AppendEntriesResponse<Types>) -> v1::AppendResponse {
    use AppendEntriesResponse as Response;
    use append_response::Result;
    let result = match response {
        Response::Success => Result::Success(v1::Blank {}),
        Response::PartialSuccess(matching) => Result::Partial(v1::PartialSuccess {
            matching: matching.map(log_id),
        }),
        Response::Conflict => Result::Conflict(v1::Blank {}),
        Response::HigherVote(higher) => Result::HigherVote(vote(higher)),
    };
    v1::AppendResponse {
        result: Some(result),
        ..v1::AppendResponse::default()
    }
}

pub(in crate::cluster) fn from_appended(
    response: v1::AppendResponse,
) -> Result<AppendEntriesResponse<Types>, Malformed> {
    use AppendEntriesResponse as Response;
    use append_response::Result as Wire;
    let result = present(response.result, "a response has no result")?;
    Ok(match result {
        Wire::Success(_) => Response::Success,
        Wire::Partial(partial) => Response::PartialSuccess(partial.matching.map(from_log_id)),
        Wire::Conflict(_) => Response::Conflict,
        Wire::HigherVote(vote) => Response::HigherVote(from_vote(vote)),
    })
}

pub(in crate::cluster) fn ask_vote(request: &VoteRequest<Types>) -> v1::VoteRequest {
    v1::VoteRequest {
        vote: Some(vote(&request.vote)),
        last: request.last_log_id.map(log_id),
        leadership_transfer: request.leadership_transfer,
    }
}

pub(in crate::cluster) fn from_ask_vote(
    request: v1::VoteRequest,
) -> Result<VoteRequest<Types>, Malformed> {
    Ok(VoteRequest {
        vote: some_vote(request.vote)?,
        last_log_id: request.last.map(from_log_id),
        leadership_transfer: request.leadership_transfer,
    })
}

pub(in crate::cluster) fn voted(response: &VoteResponse<Types>) -> v1::VoteResponse {
    v1::VoteResponse {
        vote: Some(vote(&response.vote)),
        granted: response.vote_granted,
        last: response.last_log_id.map(log_id),
    }
}

pub(in crate::cluster) fn from_voted(
    response: v1::VoteResponse,
) -> Result<VoteResponse<Types>, Malformed> {
    let vote = some_vote(response.vote)?;
    let last = response.last.map(from_log_id);
    Ok(VoteResponse::new(vote, last, response.granted))
}

pub(in crate::cluster) fn transfer(
    request: &TransferLeaderRequest<Types>,
) -> v1::TransferLeaderRequest {
    v1::TransferLeaderRequest {
        vote: Some(vote(request.from_leader())),
        to: *request.to_node_id(),
        last: request.last_log_id().copied().map(log_id),
    }
}

pub(in crate::cluster) fn from_transfer(
    request: v1::TransferLeaderRequest,
) -> Result<TransferLeaderRequest<Types>, Malformed> {
    let vote = some_vote(request.vote)?;
    let last = request.last.map(from_log_id);
    Ok(TransferLeaderRequest::new(vote, request.to, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members() -> Membership {
        let member = |name: &str| Member {
            name: name.to_owned(),
            address: "127.0.0.1:8688".to_owned(),
            keys: vec![Fingerprint::of(name.as_bytes()); usize::from(name == "a")],
        };
        let nodes = BTreeMap::from([(7, member("a")), (8, member("b")), (u64::MAX, member("c"))]);
        let voters = vec![BTreeSet::from([7]), BTreeSet::from([7, u64::MAX])];
        Membership::new(voters, nodes).unwrap()
    }

    #[test]
    fn entries_come_back_as_they_were() {
        let record = Record {
            version: 9,
            proposal: b"anything".as_slice().into(),
            id: 77,
            validated: true,
        };
        for payload in [
            EntryPayload::Blank,
            EntryPayload::Normal(record),
            EntryPayload::Membership(members()),
        ] {
            let log_id = from_log_id(v1::LogId { term: 3, index: 9 });
            let there = Entry { log_id, payload };
            assert_eq!(from_entry(entry(&there)).unwrap(), there);
        }
    }

    #[test]
    fn snapshots_votes_and_answers_come_back_as_they_were() {
        let last = from_log_id(v1::LogId { term: 2, index: 5 });
        let meta = SnapshotMeta {
            last_log_id: Some(last),
            last_membership: StoredMembership::new(Some(last), members()),
        };
        assert_eq!(from_snapshot_meta(snapshot_meta(&meta)).unwrap(), meta);
        let nothing = SnapshotMeta::default();
        assert_eq!(
            from_snapshot_meta(snapshot_meta(&nothing)).unwrap(),
            nothing
        );
        let higher = from_vote(v1::Vote {
            term: 4,
            node: 8,
            committed: true,
        });
        for response in [
            AppendEntriesResponse::Success,
            AppendEntriesResponse::PartialSuccess(Some(last)),
            AppendEntriesResponse::Conflict,
            AppendEntriesResponse::HigherVote(higher),
        ] {
            assert_eq!(from_appended(appended(&response)).unwrap(), response);
        }
    }

    #[test]
    fn what_lacks_its_parts_is_refused() {
        assert!(from_entry(v1::Entry::default()).is_err());
        assert!(from_append(v1::AppendRequest::default()).is_err());
        assert!(from_ask_vote(v1::VoteRequest::default()).is_err());
        let voter_who_is_nobody = v1::Membership {
            voters: vec![v1::Voters { ids: vec![1] }],
            members: vec![],
        };
        assert!(from_membership(voter_who_is_nobody).is_err());
    }
}
