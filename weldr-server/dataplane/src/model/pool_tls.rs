//! What a pool speaks to its servers, and how it speaks TLS.

use std::net::IpAddr;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::{CaBundle, CertificateName, Invalid, PoolSettings};

/// What a pool speaks to its servers; checks speak the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolProtocol {
    /// HTTP/1.1 without TLS.
    #[default]
    Http1,
    /// HTTP/1.1 over TLS.
    Https,
}

impl PoolProtocol {
    /// The word in the API and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Https => "https",
        }
    }
}

/// How a pool speaks TLS to its servers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PoolTls {
    /// The name that is sent to a server and that its certificate must have; `None`: the address of the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// The authorities of certificates of servers. Without any, those of the system of each node.
    pub verify_ca: CaBundle,
    /// The certificate that is shown to servers that ask for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<CertificateName>,
    /// Whether certificates of servers are accepted without verification.
    pub insecure: bool,
}

/// Changes of how a pool speaks TLS; `None` leaves a setting as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PoolTlsPatch {
    /// The name of the servers; `Some(None)`: their addresses.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "super::present"
    )]
    pub server_name: Option<Option<String>>,
    /// The authorities; an empty bundle: those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify_ca: Option<CaBundle>,
    /// The certificate that is shown to servers; `Some(None)`: none.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "super::present"
    )]
    pub client_certificate: Option<Option<CertificateName>>,
    /// Whether certificates of servers are accepted without verification.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure: Option<bool>,
}

/// The changes that make any settings these.
impl From<PoolTls> for PoolTlsPatch {
    fn from(tls: PoolTls) -> Self {
        Self {
            server_name: Some(tls.server_name),
            verify_ca: Some(tls.verify_ca),
            client_certificate: Some(tls.client_certificate),
            insecure: Some(tls.insecure),
        }
    }
}

impl PoolTlsPatch {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// `tls` with these changes.
    #[must_use]
    pub fn applied_to(&self, tls: &PoolTls) -> PoolTls {
        let of = self.clone();
        PoolTls {
            server_name: of.server_name.unwrap_or_else(|| tls.server_name.clone()),
            verify_ca: of.verify_ca.unwrap_or_else(|| tls.verify_ca.clone()),
            client_certificate: of
                .client_certificate
                .unwrap_or_else(|| tls.client_certificate.clone()),
            insecure: of.insecure.unwrap_or(tls.insecure),
        }
    }
}

impl PoolTls {
    /// Accepts settings when each is in its range.
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        if let Some(name) = &self.server_name
            && name.parse::<IpAddr>().is_err()
            && !is_dns_name(name)
        {
            let accepted = "a DNS name or an IP address";
            return Err(Invalid::new("server_name", name, accepted));
        }
        if let Some(name) = &self.client_certificate {
            name.validate()
                .map_err(|invalid| invalid.named("client_certificate"))?;
        }
        self.verify_ca.validate("verify_ca")
    }
}

/// The longest DNS name, and the longest part of one, in characters.
const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;

fn is_dns_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let mut labels = name.split('.');
    name.len() <= LONGEST_NAME
        && labels.all(|label| {
            (1..=LONGEST_LABEL).contains(&label.len())
                && label.chars().all(allowed)
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

impl PoolSettings {
    /// Accepts settings that fit together, and each of which is in its range.
    pub(super) fn validate_whole(&self) -> Result<(), Invalid> {
        self.validate()?;
        self.validate_together()
    }

    /// Accepts settings that fit together: a protocol and settings of TLS, and the cookies of stickiness.
    pub(super) fn validate_together(&self) -> Result<(), Invalid> {
        let within = |invalid: Invalid| invalid.within("stickiness");
        self.stickiness.validate_cookies().map_err(within)?;
        if self.protocol == PoolProtocol::Http1 && self.tls != PoolTls::default() {
            // Whoever gives an authority and forgets the protocol would send everything in clear.
            let accepted = "no settings with protocol http1: set the protocol to https";
            return Err(Invalid::new("tls", "set", accepted));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Der, PoolPatch};
    use super::*;

    fn named(name: &str) -> PoolTls {
        PoolTls {
            server_name: Some(name.to_owned()),
            ..PoolTls::default()
        }
    }

    #[test]
    fn the_name_of_servers_is_one() {
        for name in [
            "api.internal",
            "a",
            "10.0.0.1",
            "::1",
            "a_b.c-d",
            &"a".repeat(63),
        ] {
            assert_eq!(named(name).validate(), Ok(()), "{name}");
        }
        for name in [
            "",
            "a..b",
            "a.",
            "-a.b",
            "a-.b",
            "*.a",
            "a b",
            "é",
            &"a".repeat(64),
        ] {
            let invalid = named(name).validate().unwrap_err();
            assert_eq!(invalid.field, "server_name", "{name}");
        }
    }

    #[test]
    fn plain_servers_have_no_tls_settings() {
        let settings = PoolSettings {
            tls: named("api.internal"),
            ..PoolSettings::default()
        };
        assert_eq!(settings.validate_whole().unwrap_err().field, "tls");
        let settings = PoolSettings {
            protocol: PoolProtocol::Https,
            ..settings
        };
        assert_eq!(settings.validate_whole(), Ok(()));
        let plain = PoolPatch {
            protocol: Some(PoolProtocol::Http1),
            ..PoolPatch::default()
        };
        assert_eq!(plain.applied_to(&settings), PoolSettings::default());
    }

    #[test]
    fn the_changes_to_settings_make_any_settings_those() {
        let tls = PoolTls {
            verify_ca: CaBundle::new([Der::new([1])]),
            client_certificate: Some("weldr".parse().unwrap()),
            insecure: true,
            ..named("a")
        };
        let patch = PoolTlsPatch::from(tls.clone());
        assert_eq!(patch.applied_to(&PoolTls::default()), tls);
        let back = PoolTlsPatch::from(PoolTls::default());
        let json = serde_json::to_string(&back).unwrap();
        let read: PoolTlsPatch = serde_json::from_str(&json).unwrap();
        assert_eq!(read.applied_to(&tls), PoolTls::default(), "{json}");
    }
}
