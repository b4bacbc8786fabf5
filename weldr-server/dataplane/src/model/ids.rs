//! Names and numbers that identify things.

use std::{
    fmt,
    str::FromStr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::Invalid;

/// A revision of the desired state: grows by one with each change, never goes back. 0 is the state
/// before the first change.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl Revision {
    /// The revision that the next change makes.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One life of a server in the pool: the revision that added it. So an id is never used again, not even
/// when the same address comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ServerId(pub u64);

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A moment, in milliseconds since 1970. Commands carry it, because applying them reads no clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// What the clock of this machine says.
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// This moment plus `duration`.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis))
    }

    /// How long it is from `now` to this moment; zero when it has passed.
    pub fn remaining(self, now: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(now.0))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(timestamp: Timestamp) -> Self {
        UNIX_EPOCH + Duration::from_millis(timestamp.0)
    }
}

/// One life of a rule: the revision that added it. It is kept when the rule moves to another priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RuleId(pub u64);

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Declares the name of a kind of object, of which one named `default` always exists.
macro_rules! object_name {
    ($(#[$doc:meta])* $name:ident, $field:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        /// The one that always exists.
        impl Default for $name {
            fn default() -> Self {
                Self(DEFAULT.to_owned())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        /// Empty means `default`.
        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(name: &str) -> Result<Self, Invalid> {
                object_name($field, name).map(Self)
            }
        }
    };
}

object_name!(
    /// The name of a pool.
    PoolName,
    "pool"
);
object_name!(
    /// The name of a listener.
    ListenerName,
    "listener"
);

const DEFAULT: &str = "default";

fn object_name(field: &str, name: &str) -> Result<String, Invalid> {
    let name = if name.is_empty() { DEFAULT } else { name };
    is_name(field, name).map(|()| name.to_owned())
}

fn is_name(field: &str, name: &str) -> Result<(), Invalid> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if (1..=64).contains(&name.len()) && name.chars().all(allowed) {
        return Ok(());
    }
    let accepted = "a name of at most 64 letters, digits, `-`, `_` or `.`";
    Err(Invalid::new(field, name, accepted))
}

/// The name of a certificate. There is none that always exists.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CertificateName(Arc<str>);

impl CertificateName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Accepts a name that was only read.
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        is_name("certificate", &self.0)
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for CertificateName {
    type Err = Invalid;

    fn from_str(name: &str) -> Result<Self, Invalid> {
        is_name("certificate", name).map(|()| Self(name.into()))
    }
}
