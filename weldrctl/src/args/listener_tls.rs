//! How a listener speaks TLS.

use clap::{Args, ValueEnum};

use super::parse;

/// What a listener speaks, and its settings of TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "TLS")]
pub(crate) struct ListenerTlsArgs {
    /// http or https
    #[arg(long, value_name = "NAME", value_enum, hide_possible_values = true)]
    pub(crate) protocol: Option<ListenerProtocolChoice>,
    /// Certificate by its name, may be repeated; the first is the default
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) certificate: Vec<String>,
    /// modern or intermediate, as shown by: weldrctl tls policies
    #[arg(long, value_name = "NAME", value_enum, hide_possible_values = true)]
    pub(crate) tls_policy: Option<TlsPolicyChoice>,
    /// Unknown names: true refuses, false shows the first certificate
    #[arg(long, value_name = "BOOL", hide_possible_values = true)]
    pub(crate) strict_sni: Option<bool>,
    /// Whether sessions may be resumed, on any node
    #[arg(long, value_name = "BOOL", hide_possible_values = true)]
    pub(crate) session_resumption: Option<bool>,
    /// Certificates of clients: off, optional or required
    #[arg(long, value_name = "MODE", value_enum, hide_possible_values = true)]
    pub(crate) client_auth: Option<ClientAuthChoice>,
    /// Authorities of certificates of clients (PEM); '' means none
    #[arg(long, value_name = "FILE", value_parser = parse::text_of_file)]
    pub(crate) client_ca: Option<String>,
    /// Whether servers get Client-Cert (RFC 9440)
    #[arg(long, value_name = "BOOL", hide_possible_values = true)]
    pub(crate) forward_client_certificate: Option<bool>,
}

impl ListenerTlsArgs {
    /// Whether none of the options is given.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What clients speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListenerProtocolChoice {
    /// HTTP without TLS
    Http,
    /// HTTP over TLS
    Https,
}

/// What is offered to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TlsPolicyChoice {
    /// TLS 1.3 only
    Modern,
    /// TLS 1.2 and 1.3
    Intermediate,
}

/// Whether a client has to show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClientAuthChoice {
    /// None is asked for
    Off,
    /// One is verified if it is shown
    Optional,
    /// Without one, the handshake fails
    Required,
}
