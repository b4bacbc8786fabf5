//! What a node shows of itself on a channel: its own key with a certificate that it signed itself, or a certificate of the
//! operators' authority.

use std::{fs, io, path::Path, sync::Arc};

use rustls::{
    RootCertStore,
    crypto::{CryptoProvider, ring},
    server::ParsedCertificate,
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use crate::cluster::{error::OpenError, log::fingerprint::Fingerprint, options::TlsFiles};

/// The key and the certificate of a node, and whom it believes.
#[derive(Debug, Clone)]
pub(in crate::cluster) struct Credentials {
    pub(in crate::cluster) provider: Arc<CryptoProvider>,
    pub(in crate::cluster) certified: Arc<CertifiedKey>,
    pub(in crate::cluster) fingerprint: Fingerprint,
    /// The operators' authority. With it, a member is known by its name in place of its key.
    pub(in crate::cluster) authority: Option<Arc<RootCertStore>>,
}

/// The fingerprint of the key of a certificate.
pub(in crate::cluster) fn fingerprint(
    certificate: &CertificateDer<'_>,
) -> Result<Fingerprint, rustls::Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    Ok(Fingerprint::of(&parsed.subject_public_key_info()))
}

/// A new key, in PEM format.
pub(in crate::cluster) fn new_key() -> Result<String, OpenError> {
    let key = rcgen::KeyPair::generate().map_err(unusable)?;
    Ok(key.serialize_pem())
}

impl Credentials {
    /// The credentials of a node with a key of its own, in PEM format.
    ///
    /// # Errors
    /// The key cannot be parsed.
    pub(in crate::cluster) fn of_key(pem: &str, node: u64) -> Result<Self, OpenError> {
        let key = rcgen::KeyPair::from_pem(pem).map_err(unusable)?;
        // The name is for people who look at a connection. Nobody decides by it.
        let mut params = rcgen::CertificateParams::default();
        let name = format!("weldr node {node:x}");
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        let certificate = params.self_signed(&key).map_err(unusable)?;
        let private = PrivateKeyDer::try_from(key.serialize_der()).map_err(unusable)?;
        Self::new(vec![certificate.der().clone()], &private, None)
    }

    /// The credentials in files of the operators.
    ///
    /// # Errors
    /// A file cannot be read or parsed, or the key is not that of the certificate.
    pub(in crate::cluster) fn of_files(files: &TlsFiles) -> Result<Self, OpenError> {
        let of = |path: &Path| read(path);
        let in_file = |path: &Path, why: String| OpenError::ClusterPem {
            path: path.to_owned(),
            why,
        };
        let certificates = |path: &Path| -> Result<Vec<_>, OpenError> {
            let text = of(path)?;
            let parsed: Result<Vec<CertificateDer<'static>>, _> =
                CertificateDer::pem_slice_iter(&text).collect();
            let parsed = parsed.map_err(|error| in_file(path, error.to_string()))?;
            if parsed.is_empty() {
                return Err(in_file(path, "it holds no certificate".to_owned()));
            }
            Ok(parsed)
        };
        let chain = certificates(&files.cert)?;
        let private = PrivateKeyDer::from_pem_slice(&of(&files.key)?);
        let private = private.map_err(|error| in_file(&files.key, error.to_string()))?;
        let mut roots = RootCertStore::empty();
        for root in certificates(&files.ca)? {
            let added = roots.add(root);
            added.map_err(|error| in_file(&files.ca, error.to_string()))?;
        }
        Self::new(chain, &private, Some(Arc::new(roots)))
    }

    fn new(
        chain: Vec<CertificateDer<'static>>,
        private: &PrivateKeyDer<'_>,
        authority: Option<Arc<RootCertStore>>,
    ) -> Result<Self, OpenError> {
        let provider = Arc::new(ring::default_provider());
        let key = ring::sign::any_supported_type(private).map_err(unusable)?;
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(unusable)?;
        let fingerprint = fingerprint(&certified.cert[0]).map_err(unusable)?;
        Ok(Self {
            provider,
            certified: Arc::new(certified),
            fingerprint,
            authority,
        })
    }

    /// The keys by which the other members know this node: none if they know it by its name.
    pub(in crate::cluster) fn member_keys(&self) -> Vec<Fingerprint> {
        match self.authority {
            Some(_) => Vec::new(),
            None => vec![self.fingerprint],
        }
    }
}

fn unusable(error: impl std::fmt::Display) -> OpenError {
    OpenError::Tls(error.to_string())
}

fn read(path: &Path) -> Result<Vec<u8>, OpenError> {
    fs::read(path).map_err(|source: io::Error| OpenError::ClusterFile {
        path: path.to_owned(),
        source,
    })
}
