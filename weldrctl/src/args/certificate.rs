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
    pub(crate) files: CertificateFiles,
}

#[derive(Debug, Args)]
pub(crate) struct CertificateSetArgs {
    /// Name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) files: CertificateFiles,
    #[command(flatten)]
    pub(crate) condition: Condition,
}

/// The files of a certificate.
#[derive(Debug, Args)]
pub(crate) struct CertificateFiles {
    /// Certificate, then those of its issuers (PEM)
    #[arg(long, value_name = "FILE")]
    pub(crate) cert: PathBuf,
    /// Private key without a passphrase (PEM)
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// Also if it has expired, is not valid yet, or has no DNS name
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CertificateNameArgs {
    /// Name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
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
