//! The certificate of `--listen-https`: read from its files, and read again when they change.

use std::{
    fs, io,
    net::{Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{CertificateParams, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::{sync::watch, time};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::{
    certificates::accept,
    config::Config,
    model::{Invalid, Timestamp},
    threads::{self, ThreadError},
    tls::{KeyError, ServerCertificate, certified_key},
};

/// How often it is looked whether the files have changed.
const LOOK: Duration = Duration::from_secs(1);
/// Most bytes of a file: a chain of ten certificates has a third of it.
const MOST_BYTES: u64 = 64 * 1024;

/// The certificate for HTTPS cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HttpsError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The files have not what they must have, or the certificate and the key cannot be used together.
    #[error("{} and {} are not accepted: {}", cert.display(), key.display(), Invalid::sentences(wrong))]
    NotAccepted {
        /// The file of the certificate.
        cert: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What is wrong.
        wrong: Vec<Invalid>,
    },
    /// The certificate and the key cannot be used together.
    #[error("{} and {} cannot be used together", cert.display(), key.display())]
    Key {
        /// The file of the certificate.
        cert: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// The cause.
        source: KeyError,
    },
    /// The demonstration cannot make a certificate.
    #[error("no certificate can be made for the demonstration")]
    Demo(#[source] rcgen::Error),
    /// Its certificate cannot be used.
    #[error("the certificate of the demonstration cannot be used")]
    DemoKey(#[source] KeyError),
    /// There is no thread for reading.
    #[error(transparent)]
    Thread(#[from] ThreadError),
}

/// The files of the certificate.
#[derive(Debug, Clone)]
struct Files {
    cert: PathBuf,
    key: PathBuf,
}

/// The certificate for HTTPS, while the node runs. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Https {
    certificate: watch::Sender<Option<Arc<ServerCertificate>>>,
    files: Option<Files>,
}

impl Https {
    /// What `config` says.
    pub(super) async fn load(config: &Config) -> Result<Self, HttpsError> {
        if config.listen_https.is_empty() {
            return Ok(Self {
                certificate: watch::Sender::new(None),
                files: None,
            });
        }
        let files = match (&config.tls_cert, &config.tls_key) {
            (Some(cert), Some(key)) => Some(Files {
                cert: cert.clone(),
                key: key.clone(),
            }),
            _ => None,
        };
        let certificate = match &files {
            Some(files) => read(files.clone()).await?,
            None => of_demonstration()?,
        };
        let certificate = watch::Sender::new(Some(Arc::new(certificate)));
        Ok(Self { certificate, files })
    }

    /// The certificate, as it was read last; `None`: the node does not listen for HTTPS.
    pub(super) fn certificate(&self) -> watch::Receiver<Option<Arc<ServerCertificate>>> {
        self.certificate.subscribe()
    }

    /// Reads the files again. What cannot be used changes nothing, and is logged.
    pub(super) async fn reload(&self) {
        let Some(files) = &self.files else {
            return;
        };
        let cert = files.cert.display();
        match read(files.clone()).await {
            Ok(certificate) => {
                self.certificate.send_replace(Some(Arc::new(certificate)));
                tracing::info!(%cert, "the certificate for HTTPS was read again: new connections get it");
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(
                    %cert,
                    error,
                    "the certificate for HTTPS is not read again; the one in use stays"
                );
            }
        }
    }

    /// Reads the files again whenever they change, until `stop`.
    pub(super) fn watch(&self, stop: &CancellationToken) {
        if let Some(files) = self.files.clone() {
            let follow = self.clone().follow(files);
            tokio::spawn(stop.clone().run_until_cancelled_owned(follow));
        }
    }

    async fn follow(self, files: Files) {
        let mut seen = stamps(&files).await;
        loop {
            time::sleep(LOOK).await;
            let now = stamps(&files).await;
            if now != seen {
                seen = now;
                self.reload().await;
            }
        }
    }
}

/// When the files changed last, and how long they are; `None` for one that cannot be looked at.
async fn stamps(files: &Files) -> [Option<(SystemTime, u64)>; 2] {
    let stamp = async |path: &Path| {
        let metadata = tokio::fs::metadata(path).await.ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    [stamp(&files.cert).await, stamp(&files.key).await]
}

async fn read(files: Files) -> Result<ServerCertificate, HttpsError> {
    threads::run("weldr-https", move || read_blocking(&files)).await?
}

fn read_blocking(files: &Files) -> Result<ServerCertificate, HttpsError> {
    let (cert, key) = (contents(&files.cert)?, contents(&files.key)?);
    // Also one that has expired: a node that does not start would serve nothing at all.
    let accepted = accept(&cert, &key, Timestamp::now(), true);
    let accepted = accepted.map_err(|wrong| HttpsError::NotAccepted {
        cert: files.cert.clone(),
        key: files.key.clone(),
        wrong,
    })?;
    for warning in &accepted.warnings {
        tracing::warn!(cert = %files.cert.display(), warning, "the certificate for HTTPS may not work");
    }
    let chain = accepted.chain().iter();
    let chain = chain.map(|der| CertificateDer::from(der.bytes().to_vec()));
    let cannot_be_used = |source| HttpsError::Key {
        cert: files.cert.clone(),
        key: files.key.clone(),
        source,
    };
    let unreadable = |why: &str| KeyError::Key(rustls::Error::General(why.to_owned()));
    let key = PrivateKeyDer::try_from(accepted.private_key());
    let key = key.map_err(|why| cannot_be_used(unreadable(why)))?;
    Ok(ServerCertificate {
        names: accepted.names().to_vec(),
        key: certified_key(chain.collect(), key.clone_key()).map_err(cannot_be_used)?,
    })
}

/// The text of a file. What is not text is no PEM, and the refusal says what it is instead.
fn contents(path: &Path) -> Result<Zeroizing<String>, HttpsError> {
    use std::io::Read as _;
    let mut contents = Zeroizing::new(Vec::new());
    let read =
        fs::File::open(path).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut contents));
    read.map_err(|source| HttpsError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    Ok(Zeroizing::new(
        String::from_utf8_lossy(&contents).into_owned(),
    ))
}

/// A certificate that nobody vouches for, for `localhost`.
fn of_demonstration() -> Result<ServerCertificate, HttpsError> {
    let mut params = CertificateParams::new(["localhost".to_owned()]).map_err(HttpsError::Demo)?;
    let addresses = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let addresses = addresses.map(SanType::IpAddress);
    params.subject_alt_names.extend(addresses);
    let key = KeyPair::generate().map_err(HttpsError::Demo)?;
    let certificate = params.self_signed(&key).map_err(HttpsError::Demo)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let chain = vec![certificate.der().clone()];
    Ok(ServerCertificate {
        names: Vec::new(),
        key: certified_key(chain, key).map_err(HttpsError::DemoKey)?,
    })
}
