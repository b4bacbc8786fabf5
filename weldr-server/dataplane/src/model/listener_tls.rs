//! What a listener speaks, and how it speaks TLS.

use std::collections::BTreeSet;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::{CaBundle, CertificateName, Invalid, ListenerSpec};

/// What clients speak to a listener.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListenerProtocol {
    /// HTTP without TLS.
    #[default]
    Http,
    /// HTTP over TLS.
    Https,
}

impl ListenerProtocol {
    /// The word in the API and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Which versions, cipher suites and key exchanges are offered to clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TlsPolicy {
    /// TLS 1.3 only.
    Modern,
    /// TLS 1.2 and 1.3.
    #[default]
    Intermediate,
}

impl TlsPolicy {
    /// All policies, the strictest first.
    pub const ALL: [Self; 2] = [Self::Modern, Self::Intermediate];

    /// The word in the API and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Modern => "modern",
            Self::Intermediate => "intermediate",
        }
    }

    /// What it contains, by the names of the registries of the IANA, the most preferred first.
    pub fn contents(self) -> TlsPolicyContents {
        match self {
            Self::Modern => TlsPolicyContents {
                versions: &["TLSv1.3"],
                suites: &SUITES[..OF_TLS_1_3],
                key_exchanges: &KEY_EXCHANGES,
            },
            Self::Intermediate => TlsPolicyContents {
                versions: &["TLSv1.3", "TLSv1.2"],
                suites: &SUITES,
                key_exchanges: &KEY_EXCHANGES,
            },
        }
    }
}

/// What a policy contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsPolicyContents {
    /// The versions of the protocol.
    pub versions: &'static [&'static str],
    /// The cipher suites.
    pub suites: &'static [&'static str],
    /// The groups of the key exchange.
    pub key_exchanges: &'static [&'static str],
}

/// How many of [`SUITES`] belong to TLS 1.3.
const OF_TLS_1_3: usize = 3;
/// All of them are authenticated encryption with forward secrecy.
const SUITES: [&str; 9] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];
const KEY_EXCHANGES: [&str; 4] = ["X25519MLKEM768", "x25519", "secp256r1", "secp384r1"];

/// Whether a client has to show a certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// None is asked for.
    #[default]
    Off,
    /// One is asked for, and verified if it is shown.
    Optional,
    /// Without one, the handshake fails.
    Required,
}

impl ClientAuth {
    /// The word in the API and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Optional => "optional",
            Self::Required => "required",
        }
    }
}

/// How a listener speaks TLS, besides its certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ListenerTls {
    /// What is offered to clients.
    pub policy: TlsPolicy,
    /// What a client gets whose name no certificate has, or that sends none: a refusal (true) or the first certificate.
    pub strict_sni: bool,
    /// Whether a client may resume a session with a ticket.
    pub session_resumption: bool,
    /// Whether a client has to show a certificate.
    pub client_auth: ClientAuth,
    /// The authorities of certificates of clients.
    pub client_ca: CaBundle,
    /// Whether servers are told the certificate of the client, in the field Client-Cert of RFC 9440.
    pub forward_client_certificate: bool,
}

impl Default for ListenerTls {
    fn default() -> Self {
        Self {
            policy: TlsPolicy::default(),
            strict_sni: false,
            session_resumption: true,
            client_auth: ClientAuth::default(),
            client_ca: CaBundle::default(),
            forward_client_certificate: false,
        }
    }
}

impl ListenerTls {
    fn validate(&self) -> Result<(), Invalid> {
        self.client_ca.validate("client_ca")?;
        let asks = self.client_auth != ClientAuth::Off;
        if asks && self.client_ca.is_empty() {
            let accepted = format!(
                "the certificates of the authorities of clients, which client_auth {} needs",
                self.client_auth.as_str()
            );
            return Err(Invalid::new("client_ca", "", accepted));
        }
        if self.forward_client_certificate && !asks {
            let accepted = "false while client_auth is off: no client shows a certificate";
            return Err(Invalid::new("forward_client_certificate", true, accepted));
        }
        Ok(())
    }
}

/// Changes of how a listener speaks TLS; `None` leaves a setting as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ListenerTlsPatch {
    /// What is offered to clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<TlsPolicy>,
    /// Whether a client is refused whose name no certificate has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict_sni: Option<bool>,
    /// Whether a client may resume a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_resumption: Option<bool>,
    /// Whether a client has to show a certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_auth: Option<ClientAuth>,
    /// The authorities of certificates of clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<CaBundle>,
    /// Whether servers are told the certificate of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward_client_certificate: Option<bool>,
}

/// The changes that make any settings these.
impl From<ListenerTls> for ListenerTlsPatch {
    fn from(tls: ListenerTls) -> Self {
        Self {
            policy: Some(tls.policy),
            strict_sni: Some(tls.strict_sni),
            session_resumption: Some(tls.session_resumption),
            client_auth: Some(tls.client_auth),
            client_ca: Some(tls.client_ca),
            forward_client_certificate: Some(tls.forward_client_certificate),
        }
    }
}

impl ListenerTlsPatch {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// `tls` with these changes.
    #[must_use]
    pub fn applied_to(&self, tls: &ListenerTls) -> ListenerTls {
        ListenerTls {
            policy: self.policy.unwrap_or(tls.policy),
            strict_sni: self.strict_sni.unwrap_or(tls.strict_sni),
            session_resumption: self.session_resumption.unwrap_or(tls.session_resumption),
            client_auth: self.client_auth.unwrap_or(tls.client_auth),
            client_ca: self.client_ca.as_ref().unwrap_or(&tls.client_ca).clone(),
            forward_client_certificate: self
                .forward_client_certificate
                .unwrap_or(tls.forward_client_certificate),
        }
    }
}

impl ListenerSpec {
    /// How many certificates a listener may name.
    pub const MOST_CERTIFICATES: usize = 100_000;

    /// Accepts protocol, certificates and TLS settings that fit together. Whether the certificates exist is another question.
    ///
    /// The listener `default`, which has no address, has both kinds of sockets: those of the option `--listen` without TLS, and
    /// those of `--listen-https` with it.
    pub(super) fn validate_tls(&self) -> Result<(), Invalid> {
        certificate_names(&self.certificates)?;
        self.tls
            .validate()
            .map_err(|invalid| invalid.within("tls"))?;
        let is_default = self.address.is_none();
        match self.protocol {
            ListenerProtocol::Https if is_default => {
                let accepted = "http: the listener default speaks https where the option --listen-https of each node says";
                Err(Invalid::new("protocol", "https", accepted))
            }
            ListenerProtocol::Https if self.certificates.is_empty() => {
                let accepted = "the name of at least one certificate, which protocol https needs";
                Err(Invalid::new("certificates", "", accepted))
            }
            ListenerProtocol::Http if !is_default && !self.certificates.is_empty() => {
                let accepted = "none with protocol http: set the protocol to https";
                Err(Invalid::new(
                    "certificates",
                    self.certificates[0].as_str(),
                    accepted,
                ))
            }
            ListenerProtocol::Http if !is_default && self.tls != ListenerTls::default() => {
                let accepted = "no settings with protocol http: set the protocol to https";
                Err(Invalid::new("tls", "set", accepted))
            }
            ListenerProtocol::Http | ListenerProtocol::Https => Ok(()),
        }
    }
}

/// Accepts a list of certificates, each once.
pub(super) fn certificate_names(certificates: &[CertificateName]) -> Result<(), Invalid> {
    let refused = |value: &str, accepted: &str| Err(Invalid::new("certificates", value, accepted));
    if certificates.len() > ListenerSpec::MOST_CERTIFICATES {
        let accepted = format!("at most {} names", ListenerSpec::MOST_CERTIFICATES);
        return refused(&format!("{} names", certificates.len()), &accepted);
    }
    let mut seen = BTreeSet::new();
    for name in certificates {
        name.validate()
            .map_err(|invalid| invalid.named("certificates"))?;
        if !seen.insert(name) {
            return refused(name.as_str(), "each certificate once");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Der;
    use super::*;

    fn name(name: &str) -> CertificateName {
        name.parse().unwrap()
    }

    fn https() -> ListenerSpec {
        ListenerSpec {
            address: Some(([127, 0, 0, 1], 443).into()),
            protocol: ListenerProtocol::Https,
            certificates: vec![name("shop")],
            ..ListenerSpec::default()
        }
    }

    fn strict() -> ListenerTls {
        ListenerTls {
            strict_sni: true,
            ..ListenerTls::default()
        }
    }

    fn field(spec: &ListenerSpec) -> Option<String> {
        spec.validate_tls().err().map(|invalid| invalid.field)
    }

    #[test]
    fn a_listener_has_what_its_protocol_needs_and_nothing_else() {
        assert_eq!(field(&https()), None);
        let change = |change: &dyn Fn(&mut ListenerSpec)| {
            let mut spec = https();
            change(&mut spec);
            field(&spec)
        };
        let told = |field: &str| Some(field.to_owned());
        assert_eq!(
            change(&|spec| spec.certificates.clear()),
            told("certificates")
        );
        assert_eq!(change(&|spec| spec.address = None), told("protocol"));
        let http = ListenerProtocol::Http;
        assert_eq!(change(&|spec| spec.protocol = http), told("certificates"));
        let plain = |spec: &mut ListenerSpec| {
            spec.protocol = http;
            spec.certificates.clear();
        };
        assert_eq!(change(&plain), None);
        let with_settings = |spec: &mut ListenerSpec| {
            plain(spec);
            spec.tls = strict();
        };
        assert_eq!(change(&with_settings), told("tls"));
        // Its other sockets may need them.
        let of_default = |spec: &mut ListenerSpec| {
            spec.protocol = http;
            spec.address = None;
            spec.tls = strict();
        };
        assert_eq!(change(&of_default), None);
        let twice = |spec: &mut ListenerSpec| spec.certificates.push(name("shop"));
        assert_eq!(change(&twice), told("certificates"));
    }

    #[test]
    fn certificates_of_clients_need_authorities() {
        let with = |tls: ListenerTls| field(&ListenerSpec { tls, ..https() });
        let none = ListenerTls::default;
        let required = ListenerTls {
            client_auth: ClientAuth::Required,
            ..none()
        };
        assert_eq!(with(required.clone()).unwrap(), "tls.client_ca");
        let client_ca = CaBundle::new([Der::new([1])]);
        let required = ListenerTls {
            client_ca,
            forward_client_certificate: true,
            ..required
        };
        assert_eq!(with(required), None);
        let forward = ListenerTls {
            forward_client_certificate: true,
            ..none()
        };
        let field = with(forward).unwrap();
        assert_eq!(field, "tls.forward_client_certificate");
    }

    #[test]
    fn a_policy_has_no_version_without_a_suite_of_it() {
        let modern = TlsPolicy::Modern.contents();
        assert!(modern.suites.iter().all(|suite| !suite.contains("_WITH_")));
        let intermediate = TlsPolicy::Intermediate.contents();
        assert!(
            intermediate
                .suites
                .iter()
                .any(|suite| suite.contains("_WITH_"))
        );
        for policy in TlsPolicy::ALL {
            let contents = policy.contents();
            assert!(contents.suites.starts_with(modern.suites));
            assert_eq!(contents.key_exchanges[0], "X25519MLKEM768");
        }
    }

    #[test]
    fn the_changes_to_settings_make_any_settings_those() {
        let tls = ListenerTls {
            policy: TlsPolicy::Modern,
            session_resumption: false,
            ..strict()
        };
        let patch = ListenerTlsPatch::from(tls.clone());
        assert_eq!(patch.applied_to(&ListenerTls::default()), tls);
        assert!(!patch.is_empty());
        let nothing = ListenerTlsPatch::default();
        assert_eq!(nothing.applied_to(&tls), tls);
    }
}
