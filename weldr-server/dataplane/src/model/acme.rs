//! ACME (RFC 8555): the account at a certificate authority, and how far each certificate is that is obtained from it. All of it is
//! replicated, so that any node answers a challenge, and the next leader goes on with the orders of the one before. Pure.

use std::sync::Arc;

use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};

use super::{CaBundle, CertificateName, Revision, Sealed, Timestamp};

mod request;
mod step;
mod validation;

pub use request::AcmeRequest;
pub use step::AcmeStep;

/// Everything about ACME, but for what operators want of each certificate, which is [`CertificateSource`](super::CertificateSource).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Acme {
    /// The account; `None`: no certificate can be obtained.
    pub account: Option<Arc<AcmeAccount>>,
    /// The orders that are under way, by their certificates.
    pub orders: RedBlackTreeMapSync<CertificateName, Arc<AcmeOrder>>,
    /// How far the certificates are. One that is absent has no plan and no failure.
    pub progress: RedBlackTreeMapSync<CertificateName, Arc<AcmeProgress>>,
}

/// The account at a certificate authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcmeAccount {
    /// What operators want.
    pub settings: AcmeSettings,
    /// What the authority knows of it; `None`: not registered yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration: Option<AcmeRegistration>,
    /// Why it could not be registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<AcmeFailure>,
    /// The revision of the last change of its settings.
    pub revision: Revision,
}

/// What operators want of the account. They have agreed to the terms of service of the authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcmeSettings {
    /// The URL of the authority's directory, with `https`.
    pub directory: String,
    /// Mail addresses where the authority may tell of problems.
    #[serde(default)]
    pub contacts: Vec<String>,
    /// How it is proven that a domain is served here.
    #[serde(default)]
    pub challenge: ChallengePreference,
    /// The account that the authority has already, outside of ACME.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_account: Option<ExternalAccount>,
    /// Which authorities the directory's own certificate may be of; empty: those of the system.
    #[serde(default, skip_serializing_if = "CaBundle::is_empty")]
    pub ca: CaBundle,
}

/// An account at the authority outside of ACME (RFC 8555, section 7.3.4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalAccount {
    /// Its identifier.
    pub key_id: String,
    /// Its HMAC key, sealed for [`ExternalAccount::PURPOSE`].
    pub key: Sealed,
}

impl ExternalAccount {
    /// What the HMAC key is sealed for.
    pub const PURPOSE: &'static str = "acme/external-account";
}

/// What the authority knows of the account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcmeRegistration {
    /// The URL of the account.
    pub url: String,
    /// Its credentials, with the private key, sealed for [`AcmeRegistration::PURPOSE`].
    pub credentials: Sealed,
    /// The contacts that the authority has.
    pub contacts: Vec<String>,
}

impl AcmeRegistration {
    /// What the credentials are sealed for.
    pub const PURPOSE: &'static str = "acme/account";
}

/// How it is proven that a domain is served here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChallengeKind {
    /// By a response on port 80 (RFC 8555, section 8.3).
    Http01,
    /// By a handshake on port 443 (RFC 8737).
    TlsAlpn01,
}

impl ChallengeKind {
    /// The name that RFC 8555 and RFC 8737 give it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        }
    }
}

/// Which kind of challenge is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChallengePreference {
    /// HTTP-01, and after a failure the other one, in turn.
    #[default]
    Auto,
    /// Only HTTP-01.
    Http01,
    /// Only TLS-ALPN-01.
    TlsAlpn01,
}

impl ChallengePreference {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Http01, Self::TlsAlpn01];

    /// The word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Http01 => ChallengeKind::Http01.as_str(),
            Self::TlsAlpn01 => ChallengeKind::TlsAlpn01.as_str(),
        }
    }

    /// The kind for an order, after so many failures in a row.
    pub fn kind(self, failures: u32) -> ChallengeKind {
        match self {
            Self::Auto if failures % 2 == 1 => ChallengeKind::TlsAlpn01,
            Self::Auto | Self::Http01 => ChallengeKind::Http01,
            Self::TlsAlpn01 => ChallengeKind::TlsAlpn01,
        }
    }
}

/// How far a certificate is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcmeProgress {
    /// When the certificate is renewed; `None`: not planned yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal: Option<Renewal>,
    /// Why the last order failed; `None`: it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<AcmeFailure>,
}

/// An order that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcmeOrder {
    /// Its URL at the authority.
    pub url: String,
    /// The private key of the certificate that will come, sealed for `certificate/NAME`.
    pub key: Sealed,
    /// What proves that the domains are served here. A domain that the authority takes for proven has none.
    pub challenges: Vec<AcmeChallenge>,
}

/// What proves that a domain is served here. None of it is secret: it is shown to everybody who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcmeChallenge {
    /// The domain, in lower case.
    pub domain: String,
    /// How it is proven.
    pub kind: ChallengeKind,
    /// The name of the challenge: Base64 for URLs.
    pub token: String,
    /// The proof: the token, a point, and the digest of the account's key.
    pub key_authorization: String,
}

/// When a certificate is renewed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewal {
    /// The moment.
    pub at: Timestamp,
    /// Who says so.
    pub by: RenewalBy,
    /// Where the authority explains it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<String>,
}

/// Who says when a certificate is renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RenewalBy {
    /// Its lifetime: two thirds of it.
    Lifetime,
    /// The authority (RFC 9773).
    Authority,
    /// An operator.
    Operator,
}

/// Why something failed, and when it is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcmeFailure {
    /// The authority's own words, or ours where it has said nothing.
    pub message: String,
    /// When it failed.
    pub at: Timestamp,
    /// Before when it is not tried again.
    pub retry_at: Timestamp,
    /// How many times in a row it has failed.
    pub failures: u32,
}

impl Acme {
    /// The challenges of all orders that are under way.
    pub fn challenges(&self) -> impl Iterator<Item = &AcmeChallenge> {
        self.orders.values().flat_map(|order| &order.challenges)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_failure_the_other_challenge_is_tried_unless_one_is_chosen() {
        use ChallengeKind::{Http01, TlsAlpn01};
        for (preference, kinds) in [
            (ChallengePreference::Auto, [Http01, TlsAlpn01, Http01]),
            (ChallengePreference::Http01, [Http01; 3]),
            (ChallengePreference::TlsAlpn01, [TlsAlpn01; 3]),
        ] {
            assert_eq!([0, 1, 2].map(|failures| preference.kind(failures)), kinds);
        }
    }
}
