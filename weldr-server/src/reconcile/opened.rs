//! The certificates of the desired state, with their private keys opened.

use std::{collections::BTreeMap, sync::Arc};

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::watch;

use crate::{
    model::{CertificateName, CertificateSpec, DesiredState},
    secrets::Secrets,
    tls::{KeyError, ServerCertificate, certified_key},
};

/// Why a certificate of the desired state cannot be used here.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error("its private key cannot be opened")]
    Sealed(#[source] crate::secrets::SecretsError),
    #[error("its private key is not one")]
    NoKey,
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Certificates that listeners and pools use, opened when they are first needed.
#[derive(Debug)]
pub(super) struct OpenedCertificates {
    secrets: Secrets,
    by_name: BTreeMap<CertificateName, Opened>,
}

#[derive(Debug)]
struct Opened {
    spec: Arc<CertificateSpec>,
    /// `None`: it cannot be used.
    certificate: Option<Arc<ServerCertificate>>,
}

impl OpenedCertificates {
    pub(super) fn new(secrets: Secrets) -> Self {
        Self {
            secrets,
            by_name: BTreeMap::new(),
        }
    }

    /// Changes when sealing keys have come: what could not be opened may be now.
    pub(super) fn arrivals(&self) -> watch::Receiver<u64> {
        self.secrets.arrivals()
    }

    /// Tries again to open what could not be opened.
    pub(super) fn retry(&mut self) {
        self.by_name
            .retain(|_, opened| opened.certificate.is_some());
    }

    /// Forgets those that `state` no longer has.
    pub(super) fn follow(&mut self, state: &DesiredState) {
        self.by_name
            .retain(|name, _| state.certificates.contains_key(name));
    }

    /// The certificate of that name; `None`: there is none, or it cannot be used, which is logged.
    pub(super) fn get(
        &mut self,
        state: &DesiredState,
        name: &CertificateName,
    ) -> Option<Arc<ServerCertificate>> {
        let desired = &state.certificates.get(name)?.spec;
        if !desired.is_issued() {
            return None;
        }
        if let Some(opened) = self.by_name.get(name)
            && Arc::ptr_eq(&opened.spec, desired)
        {
            return opened.certificate.clone();
        }
        let certificate = match self.open(name, desired) {
            Ok(certificate) => Some(Arc::new(certificate)),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(certificate = %name, error, "a certificate cannot be used on this node");
                None
            }
        };
        let opened = Opened {
            spec: Arc::clone(desired),
            certificate: certificate.clone(),
        };
        self.by_name.insert(name.clone(), opened);
        certificate
    }

    fn open(
        &self,
        name: &CertificateName,
        spec: &CertificateSpec,
    ) -> Result<ServerCertificate, OpenError> {
        let key = self
            .secrets
            .open(&CertificateSpec::purpose(name), &spec.key);
        let key = key.map_err(OpenError::Sealed)?;
        let key = PrivateKeyDer::try_from(key.as_slice()).map_err(|_| OpenError::NoKey)?;
        let chain = spec.chain.iter();
        let chain = chain.map(|der| CertificateDer::from(der.bytes().to_vec()));
        Ok(ServerCertificate {
            names: spec.names.clone(),
            key: certified_key(chain.collect(), key.clone_key())?,
        })
    }
}
