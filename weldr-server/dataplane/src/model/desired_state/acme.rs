//! The ACME account of the desired state, and the progress of the certificates that are obtained with it.

use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

use super::{DesiredState, expect_unchanged, first_of};
use crate::model::{
    AcmeAccount, AcmeOrder, AcmeProgress, AcmeSettings, AcmeStep, CertificateName, CertificateSpec,
    Outcome, Rejection, Renewal, RenewalBy, Revision, Timestamp,
};

impl DesiredState {
    pub(super) fn set_acme_account(
        &mut self,
        settings: AcmeSettings,
        expected: Option<Revision>,
    ) -> Result<Outcome, Rejection> {
        let revision = self.revision.next();
        let Some(present) = &self.acme.account else {
            expect_unchanged(expected, Revision::default(), object)?;
            self.acme.account = Some(Arc::new(AcmeAccount {
                settings,
                registration: None,
                failure: None,
                revision,
            }));
            return Ok(Outcome::Created);
        };
        expect_unchanged(expected, present.revision, object)?;
        // A sealed key differs each time, and an operator who gives it again may have a reason.
        if present.settings == settings {
            return Ok(self.try_account_again());
        }
        let is_same_account = present.settings.directory == settings.directory
            && present.settings.external_account == settings.external_account;
        let registration = present.registration.clone();
        self.acme.account = Some(Arc::new(AcmeAccount {
            registration: registration.filter(|_| is_same_account),
            settings,
            failure: None,
            revision,
        }));
        if !is_same_account {
            self.forget_all_progress();
        }
        Ok(Outcome::Changed)
    }

    pub(super) fn remove_acme_account(
        &mut self,
        expected: Option<Revision>,
    ) -> Result<Outcome, Rejection> {
        let account = self.acme.account.as_ref();
        let account = account.ok_or(Rejection::NoAcmeAccount)?;
        expect_unchanged(expected, account.revision, object)?;
        let used = self.certificates.iter();
        let used = used.filter(|(_, certificate)| certificate.spec.request().is_some());
        let by: Vec<_> = used
            .map(|(name, _)| format!("certificate {name}"))
            .collect();
        if !by.is_empty() {
            return Err(Rejection::AcmeAccountInUse { by: first_of(by) });
        }
        self.acme.account = None;
        self.forget_all_progress();
        Ok(Outcome::Removed)
    }

    /// Refuses a certificate that is to be obtained by ACME while there is no account.
    pub(super) fn expect_acme_account(&self, spec: &CertificateSpec) -> Result<(), Rejection> {
        if spec.request().is_some() && self.acme.account.is_none() {
            return Err(Rejection::NoAcmeAccount);
        }
        Ok(())
    }

    pub(super) fn renew_certificate(
        &mut self,
        name: &CertificateName,
        at: Timestamp,
        expected: Option<Revision>,
    ) -> Result<Outcome, Rejection> {
        let present = self.certificate(name)?;
        expect_unchanged(expected, present.revision, || format!("certificate {name}"))?;
        if present.spec.request().is_none() {
            return Err(Rejection::NotByAcme {
                certificate: name.clone(),
            });
        }
        self.expect_acme_account(&present.spec)?;
        self.order_at(name, at);
        self.try_account_again();
        Ok(Outcome::Changed)
    }

    /// Forgets that the account could not be registered, so that it is tried again at once: an operator wants it.
    fn try_account_again(&mut self) -> Outcome {
        match &self.acme.account {
            Some(account) if account.failure.is_some() => {
                self.acme.account = Some(Arc::new(AcmeAccount {
                    failure: None,
                    ..AcmeAccount::clone(account)
                }));
                Outcome::Changed
            }
            _ => Outcome::Unchanged,
        }
    }

    /// Notes what a leader has done. What was overtaken changes nothing.
    pub(super) fn note_acme(&mut self, step: AcmeStep) -> Outcome {
        match step {
            AcmeStep::Registered { of, registration } => self.note_account(of, |account| {
                account.registration = Some(registration);
                account.failure = None;
            }),
            AcmeStep::NotRegistered { of, failure } => {
                self.note_account(of, |account| account.failure = Some(failure))
            }
            AcmeStep::Ordered {
                certificate,
                of,
                order,
            } => self.note_order(&certificate, of, order),
            AcmeStep::Issued {
                certificate,
                order,
                spec,
            } => self.note_issued(&certificate, &order, *spec),
            AcmeStep::Failed {
                certificate,
                of,
                failure,
                keeps_order,
            } => {
                let noted = self.note_progress(&certificate, of, |progress| {
                    progress.failure = Some(failure);
                });
                if noted == Outcome::Changed && !keeps_order {
                    self.acme.orders.remove_mut(&certificate);
                }
                noted
            }
            AcmeStep::Planned {
                certificate,
                of,
                renewal,
            } => self.note_progress(&certificate, of, |progress| {
                // What an operator asked for in the meantime is not put off.
                let by = progress.renewal.as_ref().map(|renewal| renewal.by);
                if by != Some(RenewalBy::Operator) {
                    progress.renewal = Some(renewal);
                }
            }),
        }
    }

    fn note_account(&mut self, of: Revision, change: impl FnOnce(&mut AcmeAccount)) -> Outcome {
        match &self.acme.account {
            Some(account) if account.revision == of => {
                let mut next = AcmeAccount::clone(account);
                change(&mut next);
                self.acme.account = Some(Arc::new(next));
                Outcome::Changed
            }
            _ => Outcome::Unchanged,
        }
    }

    /// Two leaders may order at once: the first order stays, and the other one is never answered.
    fn note_order(&mut self, name: &CertificateName, of: Revision, order: AcmeOrder) -> Outcome {
        let is_wanted = self.acme.account.is_some() && self.is_requested(name, of);
        if !is_wanted || self.acme.orders.contains_key(name) {
            return Outcome::Unchanged;
        }
        self.acme.orders.insert_mut(name.clone(), Arc::new(order));
        Outcome::Changed
    }

    fn note_issued(
        &mut self,
        name: &CertificateName,
        order: &str,
        spec: CertificateSpec,
    ) -> Outcome {
        let is_it = |present: &Arc<AcmeOrder>| present.url == order;
        if !self.acme.orders.get(name).is_some_and(is_it) {
            return Outcome::Unchanged;
        }
        let Some(present) = self.certificates.get(name) else {
            return Outcome::Unchanged;
        };
        let spec = CertificateSpec {
            source: present.spec.source.clone(),
            ..spec
        };
        self.set_certificate(name, spec.into());
        Outcome::Changed
    }

    fn note_progress(
        &mut self,
        name: &CertificateName,
        of: Revision,
        change: impl FnOnce(&mut AcmeProgress),
    ) -> Outcome {
        if !self.is_requested(name, of) {
            return Outcome::Unchanged;
        }
        let mut next = self.progress_of(name);
        change(&mut next);
        self.put_progress(name, next);
        Outcome::Changed
    }

    /// Whether the certificate is still the one of revision `of`, and to be obtained by ACME.
    fn is_requested(&self, name: &CertificateName, of: Revision) -> bool {
        let certificate = self.certificates.get(name);
        certificate.is_some_and(|certificate| {
            certificate.revision == of && certificate.spec.request().is_some()
        })
    }

    fn progress_of(&self, name: &CertificateName) -> AcmeProgress {
        let present = self.acme.progress.get(name);
        present.map_or_else(AcmeProgress::default, |present| {
            AcmeProgress::clone(present)
        })
    }

    fn put_progress(&mut self, name: &CertificateName, progress: AcmeProgress) {
        self.acme
            .progress
            .insert_mut(name.clone(), Arc::new(progress));
    }

    /// Lets a certificate be ordered from `at` on, whatever the present one is: it may be for the same names.
    pub(super) fn order_at(&mut self, name: &CertificateName, at: Timestamp) {
        let renewal = Renewal {
            at,
            by: RenewalBy::Operator,
            explanation: None,
        };
        let progress = AcmeProgress {
            renewal: Some(renewal),
            failure: None,
        };
        self.put_progress(name, progress);
    }

    /// Forgets how far a certificate is: it was replaced or removed.
    pub(super) fn forget_progress(&mut self, name: &CertificateName) {
        self.acme.orders.remove_mut(name);
        self.acme.progress.remove_mut(name);
    }

    fn forget_all_progress(&mut self) {
        self.acme.orders = RedBlackTreeMapSync::new_sync();
        self.acme.progress = RedBlackTreeMapSync::new_sync();
    }

    /// Takes the account of a backup, if there is none: the one that is there has orders and certificates.
    pub(super) fn bring_back_acme(&mut self, account: Option<Arc<AcmeAccount>>) {
        let Some(account) = account.filter(|_| self.acme.account.is_none()) else {
            return;
        };
        let revision = self.revision.next();
        self.acme.account = Some(Arc::new(AcmeAccount {
            revision,
            ..AcmeAccount::clone(&account)
        }));
        self.count(Outcome::Changed);
    }
}

fn object() -> String {
    "the ACME account".to_owned()
}
