//! Who may call the management API. Pure: a principal holds the digest of a token, never the token.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Invalid, PoolName, Revision, Timestamp};

/// The length of the id of a token, in characters.
const ID_LENGTH: usize = 8;
/// The length of a SHA-256 digest in hexadecimal digits.
const DIGEST_LENGTH: usize = 64;
/// The longest subject of a certificate, in bytes.
const LONGEST_SUBJECT: usize = 256;

/// The name of a principal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PrincipalName(String);

impl PrincipalName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn validate(&self) -> Result<(), Invalid> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if (1..=64).contains(&self.0.len()) && self.0.chars().all(allowed) {
            return Ok(());
        }
        let accepted = "1 to 64 letters, digits, `-`, `_` or `.`";
        Err(Invalid::new("name", &self.0, accepted))
    }
}

impl fmt::Display for PrincipalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for PrincipalName {
    type Err = Invalid;

    fn from_str(name: &str) -> Result<Self, Invalid> {
        let name = Self(name.to_owned());
        name.validate()?;
        Ok(name)
    }
}

/// What a principal may do. Each role may do all that the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Read statistics and health.
    Metrics,
    /// Read everything but principals and backups.
    Viewer,
    /// Also add, change, drain and remove servers, of all pools or of some.
    Operator,
    /// Everything.
    Admin,
}

impl Role {
    /// All roles, the least powerful first.
    pub const ALL: [Self; 4] = [Self::Metrics, Self::Viewer, Self::Operator, Self::Admin];

    /// The role as a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a principal proves who it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Credential {
    /// By a token.
    Token {
        /// The part of the token that names it. It is no secret.
        id: String,
        /// The SHA-256 of the secret part, in hexadecimal digits. The secret is random and has 256 bits, so that the
        /// digest does not help to find it.
        sha256: String,
        /// When the token expires; `None`: never. The one place where a date decides something: a token that lives for
        /// weeks cannot be bound to the uptime of a machine.
        expires: Option<Timestamp>,
    },
    /// By a certificate of a client.
    Certificate {
        /// A DNS name or URI of the certificate, or else its common name, which has to be equal.
        subject: String,
    },
}

/// One who may call the management API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// What it may do.
    pub role: Role,
    /// The pools that an operator may change; empty: all.
    #[serde(default)]
    pub pools: Vec<PoolName>,
    /// How it proves who it is.
    pub credential: Credential,
    /// When it was created.
    pub created_at: Timestamp,
    /// The revision that created it. Tells it from an earlier one of the same name.
    pub revision: Revision,
}

impl Principal {
    /// Whether it may change servers of `pool`, if its role may change servers at all.
    pub fn may_change(&self, pool: &PoolName) -> bool {
        self.pools.is_empty() || self.pools.contains(pool)
    }
}

/// Principals by name. Cheap to clone.
pub type Principals = Arc<std::collections::BTreeMap<PrincipalName, Arc<Principal>>>;

impl Credential {
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        match self {
            Self::Token { id, sha256, .. } => {
                let is_id = |c: char| c.is_ascii_digit() || c.is_ascii_lowercase();
                if id.len() != ID_LENGTH || !id.chars().all(is_id) {
                    let accepted = "8 digits or small letters";
                    return Err(Invalid::new("token.id", id, accepted));
                }
                let is_hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
                if sha256.len() != DIGEST_LENGTH || !sha256.chars().all(is_hex) {
                    // Whatever it is, it may be a secret.
                    let accepted = "64 hexadecimal digits";
                    return Err(Invalid::new("token.sha256", "(hidden)", accepted));
                }
                Ok(())
            }
            Self::Certificate { subject } => {
                let printable = |c: char| c.is_ascii_graphic() || c == ' ';
                if (1..=LONGEST_SUBJECT).contains(&subject.len()) && subject.chars().all(printable)
                {
                    return Ok(());
                }
                let accepted =
                    "1 to 256 printable ASCII characters: a DNS name, a URI or a common name";
                Err(Invalid::new("subject", subject, accepted))
            }
        }
    }

    /// Whether a certificate or token would be accepted for both.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Token { id, .. }, Self::Token { id: other, .. }) => id == other,
            (Self::Certificate { subject }, Self::Certificate { subject: other }) => {
                subject == other
            }
            _ => false,
        }
    }
}
