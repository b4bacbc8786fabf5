//! The certificates of a listener, and which of them a client sees. Pure, but for the swap of the table.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use rpds::HashTrieMapSync;
use rustls::{
    SignatureScheme,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

/// Certificates of one name, in the order of preference: a client takes the first whose signatures it understands.
type Choices = Arc<[Arc<CertifiedKey>]>;

/// A chain with its key, and the names that it is for.
#[derive(Debug, Clone)]
pub struct ServerCertificate {
    /// DNS names in lower case; the first label may be `*`.
    pub names: Vec<String>,
    /// The chain, and what signs with its key.
    pub key: Arc<CertifiedKey>,
}

/// Certificates by the names that they are for. Adding one costs the same however many there are.
#[derive(Debug, Clone, Default)]
pub struct CertificateTable {
    /// Names and patterns: `*.example.com` is a key of its own.
    by_name: HashTrieMapSync<Box<str>, Choices>,
    /// For a client that names no server, or one that no certificate is for.
    first: Option<Choices>,
}

impl CertificateTable {
    /// The table of `certificates`, in their order.
    pub fn new<'c>(certificates: impl IntoIterator<Item = &'c ServerCertificate>) -> Self {
        let mut table = Self::default();
        for certificate in certificates {
            table.add(certificate);
        }
        table
    }

    /// Adds a certificate behind those that are there.
    pub fn add(&mut self, certificate: &ServerCertificate) {
        for name in &certificate.names {
            let choices = self.by_name.get(name.as_str());
            let choices = with(choices, &certificate.key);
            self.by_name.insert_mut(name.as_str().into(), choices);
        }
        if self.first.is_none() {
            self.first = Some(Arc::from([Arc::clone(&certificate.key)]));
        }
    }

    /// The certificates for `name`, in lower case: those of the exact name, or else of its wildcard.
    fn of(&self, name: &str) -> Option<&Choices> {
        if let Some(exact) = self.by_name.get(name) {
            return Some(exact);
        }
        // RFC 6125, section 6.4.3: a wildcard stands for exactly one label, the first.
        let (_, rest) = name.split_once('.')?;
        self.by_name.get(format!("*.{rest}").as_str())
    }

    /// The certificate for a client that asked for `name` and understands `schemes`.
    fn choose(
        &self,
        name: Option<&str>,
        is_strict: bool,
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let named = name.and_then(|name| self.of(name));
        let choices = match (named, is_strict) {
            (Some(choices), _) => choices,
            (None, false) => self.first.as_ref()?,
            (None, true) => return None,
        };
        let understood = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        choices.iter().find(understood).cloned()
    }
}

fn with(choices: Option<&Choices>, key: &Arc<CertifiedKey>) -> Choices {
    let present = choices.iter().flat_map(|choices| choices.iter());
    present.chain([key]).cloned().collect()
}

/// The certificates of a listener as handshakes see them. They change without a new configuration of the listener.
pub(super) struct Resolver {
    table: ArcSwap<CertificateTable>,
    is_strict: bool,
}

impl Resolver {
    /// `is_strict`: a client that names no server, or one that no certificate is for, is refused.
    pub(super) fn new(table: CertificateTable, is_strict: bool) -> Arc<Self> {
        Arc::new(Self {
            table: ArcSwap::from_pointee(table),
            is_strict,
        })
    }

    pub(super) fn set(&self, table: CertificateTable) {
        self.table.store(Arc::new(table));
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let table = self.table.load();
        table.choose(name.as_deref(), self.is_strict, hello.signature_schemes())
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver")
            .field("is_strict", &self.is_strict)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
