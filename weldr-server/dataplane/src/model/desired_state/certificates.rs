//! The certificates of the desired state.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{DesiredState, expect_unchanged, first_of};
use crate::model::{
    Certificate, CertificateName, CertificateSpec, Outcome, PoolSettings, Rejection, Revision,
    Timestamp, differences,
};

impl DesiredState {
    /// The certificate of that name.
    ///
    /// # Errors
    /// There is none.
    pub fn certificate(&self, name: &CertificateName) -> Result<&Arc<Certificate>, Rejection> {
        let missing = || Rejection::NoSuchCertificate {
            certificate: name.clone(),
        };
        self.certificates.get(name).ok_or_else(missing)
    }

    pub(super) fn add_certificate(
        &mut self,
        name: &CertificateName,
        spec: CertificateSpec,
    ) -> Result<Outcome, Rejection> {
        if let Some(present) = self.certificates.get(name) {
            if present.spec.is_same(&spec) {
                return Ok(Outcome::Unchanged);
            }
            return Err(Rejection::Present {
                object: format!("certificate {name}"),
                differences: differences(&present.spec.shown(), &spec.shown()),
            });
        }
        if self.certificates.size() >= Self::MOST_CERTIFICATES {
            return Err(Rejection::Full {
                what: "certificates".to_owned(),
                limit: Self::MOST_CERTIFICATES,
            });
        }
        self.put_certificate(name, spec.into());
        Ok(Outcome::Created)
    }

    /// Replaces the chain and the key. The same certificate is replaced as well if its key is now sealed with another key:
    /// so an operator uploads it again when the one that it was sealed with is lost.
    pub(super) fn update_certificate(
        &mut self,
        name: &CertificateName,
        spec: CertificateSpec,
        expected: Option<Revision>,
    ) -> Result<Outcome, Rejection> {
        let present = self.certificate(name)?;
        expect_unchanged(expected, present.revision, || format!("certificate {name}"))?;
        if present.spec.is_same(&spec) && present.spec.key.key() == spec.key.key() {
            return Ok(Outcome::Unchanged);
        }
        self.put_certificate(name, spec.into());
        Ok(Outcome::Changed)
    }

    /// Removes a certificate. Whether anything names it is another question.
    pub(super) fn remove_certificate(
        &mut self,
        name: &CertificateName,
        expected: Option<Revision>,
    ) -> Result<Outcome, Rejection> {
        let present = self.certificate(name)?;
        expect_unchanged(expected, present.revision, || format!("certificate {name}"))?;
        self.touched.certificate(name);
        self.forget_progress(name);
        self.certificates.remove_mut(name);
        Ok(Outcome::Removed)
    }

    pub(super) fn put_certificate(&mut self, name: &CertificateName, spec: Arc<CertificateSpec>) {
        self.touched.certificate(name);
        self.set_certificate(name, spec);
    }

    /// Puts a certificate in its place. Without [`Self::put_certificate`], a rollback leaves it as it is.
    pub(super) fn set_certificate(&mut self, name: &CertificateName, spec: Arc<CertificateSpec>) {
        self.forget_progress(name);
        let present = self.certificates.get(name);
        let was_uploaded = present.is_some_and(|present| present.spec.request().is_none());
        if was_uploaded && spec.request().is_some() {
            self.order_at(name, Timestamp(0));
        }
        let certificate = Certificate {
            spec,
            revision: self.revision.next(),
        };
        self.certificates
            .insert_mut(name.clone(), Arc::new(certificate));
    }

    /// Refuses names of certificates that do not exist. `object` says what names them.
    pub(super) fn expect_certificates<'a>(
        &self,
        names: impl IntoIterator<Item = &'a CertificateName>,
        object: impl FnOnce() -> String,
    ) -> Result<(), Rejection> {
        let mut names = names.into_iter();
        match names.find(|name| !self.certificates.contains_key(*name)) {
            Some(certificate) => Err(Rejection::MissingCertificate {
                certificate: certificate.clone(),
                object: object(),
            }),
            None => Ok(()),
        }
    }

    /// Refuses settings of a pool that name a certificate that does not exist.
    pub(super) fn expect_client_certificate(
        &self,
        settings: &PoolSettings,
        object: impl FnOnce() -> String,
    ) -> Result<(), Rejection> {
        self.expect_certificates(&settings.tls.client_certificate, object)
    }

    /// Refuses to go on without `certificates` while anything names them.
    pub(super) fn expect_certificates_unused(
        &self,
        certificates: &BTreeSet<CertificateName>,
    ) -> Result<(), Rejection> {
        if certificates.is_empty() {
            return Ok(());
        }
        for (certificate, by) in self.uses_of_certificates() {
            if certificates.contains(certificate) {
                return Err(Rejection::CertificateInUse {
                    certificate: certificate.clone(),
                    by: first_of(by),
                });
            }
        }
        Ok(())
    }

    /// What names each certificate, as phrases: `listener web`, `pool api`. Those that nothing names are absent.
    pub fn uses_of_certificates(&self) -> BTreeMap<&CertificateName, Vec<String>> {
        let mut uses: BTreeMap<&CertificateName, Vec<String>> = BTreeMap::new();
        for (name, listener) in &self.listeners {
            for certificate in &listener.spec.certificates {
                let by = uses.entry(certificate).or_default();
                by.push(format!("listener {name}"));
            }
        }
        for (name, pool) in &self.pools {
            if let Some(certificate) = &pool.settings.tls.client_certificate {
                let by = uses.entry(certificate).or_default();
                by.push(format!("pool {name}"));
            }
        }
        uses
    }
}
