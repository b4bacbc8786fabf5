//! The commands about the ACME account.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Condition;

#[derive(Debug, Subcommand)]
pub(crate) enum AcmeCommand {
    /// Set the account with which certificates are obtained; what is not given is reset
    Set(AcmeSetArgs),
    /// Show the account
    #[command(visible_alias = "get")]
    Show,
    /// Forget the account; refused while a certificate is obtained with it
    Remove(AcmeRemoveArgs),
}

#[derive(Debug, Args)]
pub(crate) struct AcmeSetArgs {
    /// URL of the authority's directory, such as <https://acme-v02.api.letsencrypt.org/directory>
    #[arg(long, value_name = "URL")]
    pub(crate) directory: String,
    /// Mail address where the authority may tell of problems; may be given several times
    #[arg(long = "email", value_name = "ADDRESS")]
    pub(crate) contacts: Vec<String>,
    /// Agree to the terms of service of the authority
    #[arg(long)]
    pub(crate) agree_to_terms: bool,
    /// How it is proven that a domain is served here: auto, http-01 (port 80) or tls-alpn-01 (port 443)
    #[arg(long, value_name = "KIND", default_value = "auto")]
    pub(crate) challenge: String,
    /// Identifier of an account that the authority has already (external account binding)
    #[arg(long, value_name = "ID", default_value = "")]
    pub(crate) external_key_id: String,
    /// File with the HMAC key of that account, in Base64 for URLs
    #[arg(long, value_name = "FILE", requires = "external_key_id")]
    pub(crate) external_key_file: Option<PathBuf>,
    /// Authorities of a private authority's own certificate (PEM) [default: the system's]
    #[arg(long, value_name = "FILE")]
    pub(crate) directory_ca: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) condition: Condition,
}

#[derive(Debug, Args)]
pub(crate) struct AcmeRemoveArgs {
    #[command(flatten)]
    pub(crate) condition: Condition,
}
