//! Certificates, as operators see them.

use weldr_proto::v1;

use crate::model::{Certificate, CertificateName, CertificateSource, TlsPolicy};

use super::proto_timestamp;

/// A certificate without its chain, and without its key.
pub(in crate::management) fn certificate(
    name: &CertificateName,
    certificate: &Certificate,
    used_by: Vec<String>,
    last_error: String,
) -> v1::Certificate {
    let spec = &certificate.spec;
    let source = match spec.source {
        CertificateSource::Uploaded => v1::CertificateSource::Uploaded,
    };
    v1::Certificate {
        name: name.to_string(),
        dns_names: spec.names.clone(),
        not_before: Some(proto_timestamp(spec.not_before)),
        not_after: Some(proto_timestamp(spec.not_after)),
        key_type: spec.key_type.to_string(),
        fingerprint: spec.fingerprint.clone(),
        source: source.into(),
        used_by,
        last_error,
        revision: certificate.revision.0,
        chain: String::new(),
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
