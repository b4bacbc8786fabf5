//! Seals secrets for the desired state, and opens them.
//!
//! The desired state is in the log, in snapshots and in backups, so a private key is in it only encrypted. The keys for that,
//! the *sealing keys*, are elsewhere: in the file `sealing.keys` of each node's data directory, and in its memory. A
//! [`Sealed`](crate::model::Sealed) value names its key, so any number of keys can be in use at the same time, and nothing breaks
//! when two nodes make one at once.
//!
//! A value is bound to its *purpose*, such as `certificate/shop`: who can write to the desired state and not read the keys cannot
//! make one object use the secret of another.
//!
//! This room knows nothing of other nodes. The cluster tells it by `KeyHolders` who has a key, and brings those that are
//! missing.
//!
//! * `error`: why a secret cannot be sealed or opened.
//! * `key`: one key, and the cipher.
//! * `key_file`: the keys on disk.
//! * `key_ring`: the keys in memory, and which of them seals. Pure.
//! * `searches`: which keys are asked of other nodes, and when. Pure.
//! * `handle`: the interface for the rest of the program.

mod error;
mod handle;
mod key;
mod key_file;
mod key_ring;
mod searches;

pub use error::{KeyFileError, SecretsError};
pub(crate) use handle::KeyHolders;
pub use handle::Secrets;
pub(crate) use key::SealingKey;
pub(crate) use key_ring::MOST_KEYS;
