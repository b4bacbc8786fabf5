//! What is to be done for an account or a certificate now. Pure.

use crate::model::{AcmeAccount, AcmeFailure, AcmeOrder, AcmeProgress, CertificateSpec, Timestamp};

/// What is to be done for the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AccountWork {
    /// The authority does not know it.
    Register,
    /// The authority has other contacts.
    Update,
}

/// What is to be done for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CertificateWork {
    /// It must be ordered.
    Order,
    /// The order that is under way must be gone on with.
    GoOn,
    /// When it is renewed is not known.
    Plan,
}

/// What is to be done for `account` at `now`.
pub(super) fn of_account(account: &AcmeAccount, now: Timestamp) -> Option<AccountWork> {
    if waits(account.failure.as_ref(), now) {
        return None;
    }
    match &account.registration {
        None => Some(AccountWork::Register),
        Some(registration) if registration.contacts != account.settings.contacts => {
            Some(AccountWork::Update)
        }
        Some(_) => None,
    }
}

/// What is to be done at `now` for a certificate that is obtained by ACME.
pub(super) fn of_certificate(
    spec: &CertificateSpec,
    order: Option<&AcmeOrder>,
    progress: Option<&AcmeProgress>,
    now: Timestamp,
) -> Option<CertificateWork> {
    let request = spec.request()?;
    if waits(progress.and_then(|progress| progress.failure.as_ref()), now) {
        return None;
    }
    if order.is_some() {
        return Some(CertificateWork::GoOn);
    }
    if !spec.is_issued() || !request.is_met_by(&spec.names, spec.key_type) {
        return Some(CertificateWork::Order);
    }
    match progress.and_then(|progress| progress.renewal.as_ref()) {
        None => Some(CertificateWork::Plan),
        Some(renewal) if renewal.at <= now => Some(CertificateWork::Order),
        Some(_) => None,
    }
}

fn waits(failure: Option<&AcmeFailure>, now: Timestamp) -> bool {
    failure.is_some_and(|failure| failure.retry_at > now)
}

#[cfg(test)]
mod tests {
    use crate::model::{
        AcmeRegistration, AcmeRequest, AcmeSettings, CaBundle, ChallengePreference, Der, KeyType,
        Renewal, RenewalBy, Revision, Sealed,
    };

    use super::*;

    const NOW: Timestamp = Timestamp(1000);

    fn sealed() -> Sealed {
        Sealed::new("0123456789abcdef".parse().unwrap(), [0; 60]).unwrap()
    }

    fn failure(retry_at: u64) -> AcmeFailure {
        AcmeFailure {
            message: "no".to_owned(),
            at: Timestamp(0),
            retry_at: Timestamp(retry_at),
            failures: 1,
        }
    }

    #[test]
    fn an_account_is_registered_and_then_kept_as_operators_want_it() {
        let contacts = vec!["a@example.com".to_owned()];
        let mut account = AcmeAccount {
            settings: AcmeSettings {
                directory: "https://ca.example/dir".to_owned(),
                contacts: contacts.clone(),
                challenge: ChallengePreference::Auto,
                external_account: None,
                ca: CaBundle::default(),
            },
            registration: None,
            failure: None,
            revision: Revision(1),
        };
        assert_eq!(of_account(&account, NOW), Some(AccountWork::Register));
        account.failure = Some(failure(1001));
        assert_eq!(of_account(&account, NOW), None);
        account.failure = Some(failure(1000));
        assert_eq!(of_account(&account, NOW), Some(AccountWork::Register));
        account.registration = Some(AcmeRegistration {
            url: "https://ca.example/1".to_owned(),
            credentials: sealed(),
            contacts,
        });
        assert_eq!(of_account(&account, NOW), None);
        account.settings.contacts.clear();
        assert_eq!(of_account(&account, NOW), Some(AccountWork::Update));
    }

    #[test]
    fn a_certificate_is_ordered_planned_and_renewed() {
        use CertificateWork::{GoOn, Order, Plan};

        let request = |domains: &[&str]| AcmeRequest {
            domains: domains.iter().map(|&domain| domain.to_owned()).collect(),
            key_type: KeyType::P256,
        };
        let waiting = CertificateSpec::requested(request(&["a.example"]), sealed());
        let issued = CertificateSpec {
            chain: vec![Der::new([1])],
            ..waiting.clone()
        };
        let other = CertificateSpec {
            source: crate::model::CertificateSource::Acme(request(&["a.example", "b.example"])),
            ..issued.clone()
        };
        let order = AcmeOrder {
            url: "https://ca.example/order".to_owned(),
            key: sealed(),
            challenges: Vec::new(),
        };
        let failed = |retry_at| AcmeProgress {
            renewal: None,
            failure: Some(failure(retry_at)),
        };
        let planned = |at| AcmeProgress {
            renewal: Some(Renewal {
                at: Timestamp(at),
                by: RenewalBy::Lifetime,
                explanation: None,
            }),
            failure: None,
        };
        for (spec, order, progress, expected) in [
            (&waiting, None, None, Some(Order)),
            (&waiting, None, Some(failed(1001)), None),
            (&waiting, None, Some(failed(1000)), Some(Order)),
            (&waiting, Some(&order), None, Some(GoOn)),
            (&waiting, Some(&order), Some(failed(1001)), None),
            (&issued, None, None, Some(Plan)),
            (&issued, None, Some(planned(1001)), None),
            (&issued, None, Some(planned(1000)), Some(Order)),
            (&issued, Some(&order), Some(planned(1001)), Some(GoOn)),
            (&other, None, Some(planned(1001)), Some(Order)),
        ] {
            let work = of_certificate(spec, order, progress.as_ref(), NOW);
            assert_eq!(work, expected, "{spec:?} {order:?} {progress:?}");
        }
        let uploaded = CertificateSpec {
            source: crate::model::CertificateSource::Uploaded,
            ..issued
        };
        assert_eq!(of_certificate(&uploaded, None, None, NOW), None);
    }
}
