//! The calls about certificates. A private key is in memory only until it is sealed.

use std::sync::Arc;

use weldr_proto::v1;
use zeroize::Zeroizing;

use crate::{
    certificates::{self, Accepted},
    management::{convert, error::Error},
    model::{
        AcmeRequest, Certificate, CertificateName, CertificateSpec, Command, DesiredState, Invalid,
        Outcome, Sealed, Timestamp, TlsPolicy,
    },
};

use super::{ApiCaller, Operations, acme::acme_request};

impl Operations {
    pub(in crate::management) async fn create_certificate(
        &self,
        caller: ApiCaller,
        request: v1::CreateCertificateRequest,
    ) -> Result<v1::CreateCertificateResponse, Error> {
        let given = Given {
            certificate: request.certificate,
            private_key: Zeroizing::new(request.private_key),
            force: request.force,
            acme: request.acme,
        };
        let (name, accepted) = accepted(&request.name, &given)?;
        let warnings = accepted.warnings();
        let spec = Box::new(self.spec(&name, accepted).await?);
        let command = Command::AddCertificate {
            certificate: name.clone(),
            spec,
        };
        let (applied, _) = self.write(caller, command).await?;
        let (revision, certificate) = self.present(&name)?;
        Ok(v1::CreateCertificateResponse {
            revision,
            certificate: Some(certificate),
            created: applied.outcome == Outcome::Created,
            warnings,
        })
    }

    pub(in crate::management) async fn update_certificate(
        &self,
        caller: ApiCaller,
        request: v1::UpdateCertificateRequest,
    ) -> Result<v1::UpdateCertificateResponse, Error> {
        let given = Given {
            certificate: request.certificate,
            private_key: Zeroizing::new(request.private_key),
            force: request.force,
            acme: request.acme,
        };
        let (name, accepted) = accepted(&request.name, &given)?;
        // Nothing is sealed for a certificate that is not there.
        self.context.cluster.current().certificate(&name)?;
        let warnings = accepted.warnings();
        let spec = Box::new(self.spec(&name, accepted).await?);
        let command = Command::UpdateCertificate {
            certificate: name.clone(),
            spec,
            expected: convert::expected_revision(request.expected_revision),
        };
        self.write(caller, command).await?;
        let (revision, certificate) = self.present(&name)?;
        Ok(v1::UpdateCertificateResponse {
            revision,
            certificate: Some(certificate),
            warnings,
        })
    }

    pub(in crate::management) async fn delete_certificate(
        &self,
        caller: ApiCaller,
        request: v1::DeleteCertificateRequest,
    ) -> Result<v1::DeleteCertificateResponse, Error> {
        let command = Command::RemoveCertificate {
            certificate: convert::new_name(&request.name)?,
            expected: convert::expected_revision(request.expected_revision),
        };
        let (_, snapshot) = self.write(caller, command).await?;
        Ok(v1::DeleteCertificateResponse {
            revision: snapshot.revision.0,
        })
    }

    pub(in crate::management) async fn get_certificate(
        &self,
        request: v1::GetCertificateRequest,
    ) -> Result<v1::GetCertificateResponse, Error> {
        let name: CertificateName = convert::new_name(&request.name)?;
        let state = self.state(request.stale).await?;
        let certificate = Arc::clone(state.certificate(&name)?);
        let mut shown = self.shown_certificate(&state, &name, &certificate);
        shown.chain = certificates::pem(&certificate.spec.chain);
        Ok(v1::GetCertificateResponse {
            revision: state.revision.0,
            certificate: Some(shown),
        })
    }

    pub(in crate::management) async fn list_certificates(
        &self,
        request: v1::ListCertificatesRequest,
    ) -> Result<v1::ListCertificatesResponse, Error> {
        let state = self.state(request.stale).await?;
        let mut uses = state.uses_of_certificates();
        let shown = state.certificates.iter().map(|(name, certificate)| {
            let used_by = uses.remove(name).unwrap_or_default();
            self.shown(&state, name, certificate, used_by)
        });
        Ok(v1::ListCertificatesResponse {
            revision: state.revision.0,
            certificates: shown.collect(),
        })
    }

    pub(in crate::management) fn list_tls_policies(&self) -> v1::ListTlsPoliciesResponse {
        let policies = TlsPolicy::ALL.into_iter();
        v1::ListTlsPoliciesResponse {
            revision: self.snapshot().revision.0,
            policies: policies.map(convert::tls_policy_contents).collect(),
        }
    }

    async fn spec(
        &self,
        name: &CertificateName,
        content: Content,
    ) -> Result<CertificateSpec, Error> {
        let accepted = match content {
            Content::Uploaded(accepted) => accepted,
            Content::Requested(request) => return self.requested(name, request).await,
        };
        let secrets = self.context.cluster.secrets();
        let purpose = CertificateSpec::purpose(name);
        let sealed = secrets.seal(&purpose, accepted.private_key()).await?;
        Ok(accepted.with_key(sealed))
    }

    /// A certificate after a change of it.
    fn present(&self, name: &CertificateName) -> Result<(u64, v1::Certificate), Error> {
        let state = self.context.cluster.current();
        let certificate = state.certificates.get(name).ok_or(Error::Overtaken)?;
        let shown = self.shown_certificate(&state, name, certificate);
        Ok((state.revision.0, shown))
    }

    fn shown_certificate(
        &self,
        state: &DesiredState,
        name: &CertificateName,
        certificate: &Certificate,
    ) -> v1::Certificate {
        let used_by = state.uses_of_certificates().remove(name);
        self.shown(state, name, certificate, used_by.unwrap_or_default())
    }

    fn shown(
        &self,
        state: &DesiredState,
        name: &CertificateName,
        certificate: &Certificate,
        used_by: Vec<String>,
    ) -> v1::Certificate {
        let error = self.error_of_key(name, &certificate.spec.key);
        convert::certificate(name, certificate, &state.acme, used_by, error)
    }

    /// Why this node cannot open the key of a certificate; empty if it can.
    fn error_of_key(&self, name: &CertificateName, key: &Sealed) -> String {
        let purpose = CertificateSpec::purpose(name);
        let opened = self.context.cluster.secrets().open(&purpose, key);
        opened
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    }
}

/// How many things that are wrong are told at once: gRPC sends an error in a header of limited size.
const MOST_VIOLATIONS: usize = 4;

/// What a call gives of a certificate: it is uploaded or requested.
struct Given {
    certificate: String,
    private_key: Zeroizing<String>,
    force: bool,
    acme: Option<v1::AcmeRequest>,
}

/// The content of a certificate to add or to set.
enum Content {
    Uploaded(Box<Accepted>),
    Requested(AcmeRequest),
}

impl Content {
    fn warnings(&self) -> Vec<String> {
        match self {
            Self::Uploaded(accepted) => accepted.warnings.clone(),
            Self::Requested(_) => Vec::new(),
        }
    }
}

/// The name and the content of a certificate to add or to set.
fn accepted(name: &str, given: &Given) -> Result<(CertificateName, Content), Error> {
    match (convert::new_name(name), content(given)) {
        (Ok(name), Ok(content)) => Ok((name, content)),
        // Not by `Violations`, which shortens what it repeats: these say what is wrong, and their length is bounded.
        (name, content) => {
            let wrong = content.err().into_iter().flatten();
            let wrong = name.err().into_iter().chain(wrong);
            Err(Error::Invalid(wrong.take(MOST_VIOLATIONS).collect()))
        }
    }
}

fn content(given: &Given) -> Result<Content, Vec<Invalid>> {
    let (certificate, private_key) = (&given.certificate, &given.private_key);
    let Some(acme) = &given.acme else {
        let accepted =
            certificates::accept(certificate, private_key, Timestamp::now(), given.force)?;
        return Ok(Content::Uploaded(Box::new(accepted)));
    };
    if !certificate.is_empty() || !private_key.is_empty() {
        let accepted = "either a certificate with its private key, or acme";
        return Err(vec![Invalid::new("acme", "beside a certificate", accepted)]);
    }
    let request = acme_request(acme).map_err(|invalid| vec![invalid])?;
    Ok(Content::Requested(request))
}
