//! What is in the replicated log, and the state that its entries make. No I/O and no clock.
//!
//! In reading order:
//!
//! * `fingerprint`: by what members know each other's keys.
//! * `proposal`: what can be proposed, its form in the log, and its result.
//! * `replica`: the replicated state. Applies records, and encodes itself for a snapshot.
//! * `history`: the last changes, for listing and rollback.
//! * `member_history`: which nodes joined and were removed.
//! * `invites`: which invites there are.
//! * `backup`: the backup file.
//! * `types`: the consensus engine's types.
//! * `convert`: the engine's types to the messages of `raft.proto` and back; the same messages are on disk.

pub(super) mod backup;
pub(super) mod convert;
pub(super) mod fingerprint;
pub(super) mod history;
pub(super) mod invites;
pub(super) mod member_history;
pub(super) mod proposal;
pub(super) mod replica;
pub(super) mod types;
