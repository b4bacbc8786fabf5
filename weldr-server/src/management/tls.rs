//! TLS of the management port: its certificate, the authority of client certificates, and the names in both.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};
use x509_parser::{extensions::GeneralName, prelude::X509Certificate};

/// The protocols in the order in which they are preferred: gRPC needs HTTP/2.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// The most names of one certificate that are read, and the length of the longest, in bytes.
const MOST_NAMES: usize = 100;
const LONGEST_NAME: usize = 256;

/// The PEM files of the management port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, with those of the authorities between it and the root.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authority that signs the certificates of clients; `None`: clients have none.
    pub client_ca: Option<PathBuf>,
}

/// The files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {} for the TLS of the management port", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file is not what is expected.
    #[error("{} for the TLS of the management port is not accepted: {expected} is expected", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is expected in it.
        expected: &'static str,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The TLS of the management port, as the files were when they were read last. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tls {
    files: Arc<TlsFiles>,
    loaded: Arc<Mutex<Loaded>>,
}

#[derive(Debug, Clone)]
struct Loaded {
    config: Arc<ServerConfig>,
    names: Arc<[String]>,
}

impl Tls {
    /// Reads the files. Blocks.
    ///
    /// # Errors
    /// Names the file that cannot be used.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let loaded = load(&files)?;
        Ok(Self {
            files: Arc::new(files),
            loaded: Arc::new(Mutex::new(loaded)),
        })
    }

    /// Reads the files again. New connections get what is in them; if they cannot be used, everything stays as it is. Blocks.
    ///
    /// # Errors
    /// Names the file that cannot be used.
    pub fn reload(&self) -> Result<(), TlsError> {
        let loaded = load(&self.files)?;
        *self.loaded.lock().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(())
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&loaded.config)
    }

    /// The DNS names in the certificate, under which the port may be called.
    pub(super) fn names(&self) -> Arc<[String]> {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&loaded.names)
    }
}

fn load(files: &TlsFiles) -> Result<Loaded, TlsError> {
    let chain = certificates(&files.cert)?;
    let names = chain.first().map(|leaf| names_of(leaf).dns);
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?);
    let key = key.map_err(malformed(&files.key, "a private key (PEM)"))?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_protocol_versions(&[&TLS13, &TLS12]);
    let not_a_pair = "a certificate that belongs to the private key";
    let builder = builder.map_err(malformed(&files.cert, not_a_pair))?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            let expected = "the certificate of an authority (PEM)";
            for certificate in certificates(ca)? {
                roots.add(certificate).map_err(malformed(ca, expected))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            // A token is a credential as well, and health needs none.
            let verifier = verifier.allow_unauthenticated().build();
            builder.with_client_cert_verifier(verifier.map_err(malformed(ca, expected))?)
        }
    };
    let config = builder.with_single_cert(chain, key);
    let mut config = config.map_err(malformed(&files.cert, not_a_pair))?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(Loaded {
        config: Arc::new(config),
        names: names.unwrap_or_default().into(),
    })
}

/// The certificates in a file, at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let expected = "at least one certificate (PEM)";
    let text = read(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let certificates = certificates.map_err(malformed(path, expected))?;
    if certificates.is_empty() {
        return Err(malformed(path, expected)(io::Error::other("there is none")));
    }
    Ok(certificates)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

fn malformed<E: std::error::Error + Send + Sync + 'static>(
    path: &Path,
    expected: &'static str,
) -> impl FnOnce(E) -> TlsError {
    let path = path.to_owned();
    move |source| TlsError::Malformed {
        path,
        expected,
        source: Box::new(source),
    }
}

/// The names in a certificate.
#[derive(Debug, Default)]
struct Names {
    dns: Vec<String>,
    uris: Vec<String>,
    common: Vec<String>,
}

/// The names by which a client may be known: the DNS names and URIs of its certificate, or its common name if it has neither.
/// The certificate was verified before.
pub(super) fn subjects(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Names {
        mut dns,
        uris,
        common,
    } = names_of(certificate);
    dns.extend(uris);
    if dns.is_empty() { common } else { dns }
}

fn names_of(certificate: &CertificateDer<'_>) -> Names {
    let mut names = Names::default();
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(certificate) else {
        return names;
    };
    let certificate: X509Certificate<'_> = certificate;
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let alternatives = alternatives.map(|extension| &extension.value.general_names);
    for name in alternatives.into_iter().flatten().take(MOST_NAMES) {
        match name {
            GeneralName::DNSName(name) if name.len() <= LONGEST_NAME => {
                names.dns.push((*name).to_owned());
            }
            GeneralName::URI(uri) if uri.len() <= LONGEST_NAME => {
                names.uris.push((*uri).to_owned());
            }
            _ => {}
        }
    }
    let common = certificate.subject().iter_common_name().take(1);
    let common = common.filter_map(|name| name.as_str().ok());
    names.common = common
        .filter(|name| name.len() <= LONGEST_NAME)
        .map(str::to_owned)
        .collect();
    names
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn subjects_of(common: &str, alternatives: Vec<SanType>) -> Vec<String> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common);
        params.subject_alt_names = alternatives;
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        subjects(certificate.der())
    }

    #[test]
    fn the_common_name_counts_only_without_alternative_names() {
        let dns = SanType::DnsName("ci.example".try_into().unwrap());
        let uri = SanType::URI("spiffe://example/ci".try_into().unwrap());
        assert_eq!(subjects_of("ci", vec![]), ["ci"]);
        assert_eq!(
            subjects_of("admin", vec![dns, uri]),
            ["ci.example", "spiffe://example/ci"]
        );
        let ip = SanType::IpAddress([10, 0, 0, 1].into());
        assert_eq!(subjects_of("ci", vec![ip]), ["ci"]);
        let long = "x".repeat(300);
        assert!(subjects_of(&long, vec![]).is_empty());
    }

    #[test]
    fn files_that_cannot_be_used_are_named_and_leave_what_was_read() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["lb.example".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        fs::write(file("cert"), certificate.pem()).unwrap();
        fs::write(file("key"), key.serialize_pem()).unwrap();
        let files = TlsFiles {
            cert: file("cert"),
            key: file("key"),
            client_ca: None,
        };
        let tls = Tls::load(files.clone()).unwrap();
        assert_eq!(*tls.names(), ["lb.example".to_owned()]);
        let other = KeyPair::generate().unwrap();
        for (content, words) in [
            (String::new(), "a private key"),
            (other.serialize_pem(), "belongs to the private key"),
        ] {
            let before = tls.config();
            fs::write(file("key"), content).unwrap();
            let error = tls.reload().unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
            assert!(Arc::ptr_eq(&before, &tls.config()));
        }
        let missing = TlsFiles {
            client_ca: Some(file("nothing")),
            ..files
        };
        fs::write(file("key"), key.serialize_pem()).unwrap();
        let error = Tls::load(missing).unwrap_err();
        assert!(matches!(error, TlsError::Unreadable { .. }), "{error}");
        tls.reload().unwrap();
    }
}
