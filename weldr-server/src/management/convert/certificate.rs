//! Certificates, as operators see them.

use weldr_proto::v1;

use crate::{
    certificates::pem,
    model::{
        Acme, AcmeAccount, AcmeRequest, Certificate, CertificateName, CertificateSource, RenewalBy,
        TlsPolicy,
    },
};

use super::proto_timestamp;

/// A certificate without its chain, and without its key. `error`: why this node cannot use it.
pub(in crate::management) fn certificate(
    name: &CertificateName,
    certificate: &Certificate,
    acme: &Acme,
    used_by: Vec<String>,
    error: String,
) -> v1::Certificate {
    let spec = &certificate.spec;
    let source = match spec.source {
        CertificateSource::Uploaded => v1::CertificateSource::Uploaded,
        CertificateSource::Acme(_) => v1::CertificateSource::Acme,
    };
    let date = |at| spec.is_issued().then(|| proto_timestamp(at));
    let progress = acme.progress.get(name);
    let failure = progress.and_then(|progress| progress.failure.as_ref());
    let failure = failure.map(|failure| failure.message.clone());
    let failure = failure.or_else(|| spec.request().and_then(|_| unregistered(acme)));
    v1::Certificate {
        name: name.to_string(),
        dns_names: spec.names.clone(),
        not_before: date(spec.not_before),
        not_after: date(spec.not_after),
        key_type: spec.key_type.to_string(),
        fingerprint: spec.fingerprint.clone(),
        source: source.into(),
        used_by,
        last_error: [error]
            .into_iter()
            .chain(failure)
            .filter(|error| !error.is_empty())
            .collect::<Vec<_>>()
            .join("; "),
        revision: certificate.revision.0,
        chain: String::new(),
        acme: spec
            .request()
            .map(|request| acme_progress(request, name, acme)),
    }
}

/// Why there is no account with which a certificate could be obtained.
fn unregistered(acme: &Acme) -> Option<String> {
    let account = acme.account.as_ref()?;
    let failure = account.failure.as_ref()?;
    let why = format!("the ACME account is not registered: {}", failure.message);
    account.registration.is_none().then_some(why)
}

fn acme_progress(request: &AcmeRequest, name: &CertificateName, acme: &Acme) -> v1::AcmeProgress {
    let progress = acme.progress.get(name);
    let renewal = progress.and_then(|progress| progress.renewal.as_ref());
    let failure = progress.and_then(|progress| progress.failure.as_ref());
    let renewal_by = renewal.map(|renewal| match renewal.by {
        RenewalBy::Lifetime => "lifetime",
        RenewalBy::Authority => "authority",
        RenewalBy::Operator => "operator",
    });
    let explanation = renewal.and_then(|renewal| renewal.explanation.clone());
    v1::AcmeProgress {
        domains: request.domains.clone(),
        ordering: acme.orders.contains_key(name),
        next_renewal: renewal.map(|renewal| proto_timestamp(renewal.at)),
        renewal_by: renewal_by.unwrap_or_default().to_owned(),
        explanation: explanation.unwrap_or_default(),
        failures: failure.map_or(0, |failure| failure.failures),
        retry_at: failure.map(|failure| proto_timestamp(failure.retry_at)),
    }
}

/// The account for ACME, without its keys.
pub(in crate::management) fn acme_account(account: &AcmeAccount) -> v1::AcmeAccount {
    let settings = &account.settings;
    let external = settings.external_account.as_ref();
    let registration = account.registration.as_ref();
    let failure = account.failure.as_ref();
    v1::AcmeAccount {
        directory: settings.directory.clone(),
        contacts: settings.contacts.clone(),
        challenge: settings.challenge.as_str().to_owned(),
        external_key_id: external
            .map(|external| external.key_id.clone())
            .unwrap_or_default(),
        ca: pem(settings.ca.certificates()),
        url: registration
            .map(|registration| registration.url.clone())
            .unwrap_or_default(),
        last_error: failure
            .map(|failure| failure.message.clone())
            .unwrap_or_default(),
        retry_at: failure.map(|failure| proto_timestamp(failure.retry_at)),
        revision: account.revision.0,
    }
}

/// What a policy contains.
pub(in crate::management) fn tls_policy_contents(policy: TlsPolicy) -> v1::TlsPolicyContents {
    let contents = policy.contents();
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    v1::TlsPolicyContents {
        name: policy.as_str().to_owned(),
        versions: owned(contents.versions),
        suites: owned(contents.suites),
        key_exchanges: owned(contents.key_exchanges),
    }
}
