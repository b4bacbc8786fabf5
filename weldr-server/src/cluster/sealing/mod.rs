//! How the members share the keys that seal secrets (`crate::secrets`).
//!
//! A key leaves a node in one way only: in the answer to a call of `SealingKeys`, which a voter makes on a channel on which both
//! sides have shown the keys that are in the membership. A node that wants others to keep a key names it, and they fetch it. A
//! node believes only voters: one that has just joined may be anybody with an invite.
//!
//! In reading order:
//!
//! * `ask`: fetches keys that this node lacks.
//! * `share`: has the others keep a key, until a majority does.
//! * `search`: the task that asks for keys which this node needs.
//! * `holders`: the other members as `crate::secrets` sees them.

pub(super) mod ask;
pub(super) mod holders;
pub(super) mod search;
pub(super) mod share;
