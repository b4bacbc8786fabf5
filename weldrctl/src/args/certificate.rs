//! The commands about certificates.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Condition;

#[derive(Debug, Subcommand)]
pub(crate) enum CertificateCommand {
    /// Add a certificate; listeners and pools use it by its name
    Add(CertificateAddArgs),
    /// Replace the chain and the key; the next handshake on every node uses them, and no connection is cut
    Set(CertificateSetArgs),
    /// Renew a certificate that is obtained by ACME now
    Renew(CertificateRenewArgs),
    /// Show a certificate
    #[command(visible_alias = "show")]
    Get(CertificateNameArgs),
    /// List the certificates, with their names, expiry and use
    #[command(visible_alias = "ls")]
    List,
    /// Remove a certificate that no listener and no pool names
    Remove(CertificateRemoveArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CertificateAddArgs {
    /// Name: letters, digits, -, _ and .
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) content: CertificateContent,
}

#[derive(Debug, Args)]
pub(crate) struct CertificateSetArgs {
    /// Name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) content: CertificateContent,
    #[command(flatten)]
    pub(crate) condition: Condition,
}

/// What a certificate consists of: files, or what ACME is asked for.
#[derive(Debug, Args)]
pub(crate) struct CertificateContent {
    /// Certificate, then those of its issuers (PEM)
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) cert: Option<PathBuf>,
    /// Private key without a passphrase (PEM)
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
    /// Also if it has expired, is not valid yet, or has no DNS name
    #[arg(long, requires = "cert")]
    pub(crate) force: bool,
    /// Obtain and renew it by ACME, with the account of `weldrctl acme set`
    #[arg(long, requires = "domains", conflicts_with = "cert")]
    pub(crate) acme: bool,
    /// DNS name; may be given several times
    #[arg(
        long = "domain",
        id = "domains",
        value_name = "NAME",
        requires = "acme"
    )]
    pub(crate) domains: Vec<String>,
    /// Kind of its key: p256 or p384 [default: p256]
    #[arg(long, value_name = "KIND", requires = "acme")]
    pub(crate) key_type: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct CertificateNameArgs {
    /// Name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct CertificateRenewArgs {
    /// Name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) condition: Condition,
}

#[derive(Debug, Args)]
pub(crate) struct CertificateRemoveArgs {
    /// Name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) condition: Condition,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TlsCommand {
    /// Show what the policies of listeners contain: versions, cipher suites and key exchanges
    Policies,
}
