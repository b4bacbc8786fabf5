//! The calls about the ACME account, and certificates that are obtained with it. The key of an external account is in memory
//! only until it is sealed.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use weldr_proto::v1;
use zeroize::Zeroizing;

use crate::{
    certificates::{authorities, new_key},
    management::{convert, error::Error},
    model::{
        AcmeAccount, AcmeRequest, AcmeSettings, CertificateName, CertificateSource,
        CertificateSpec, ChallengePreference, Command, DesiredState, ExternalAccount, Invalid,
        KeyType, Rejection, Timestamp,
    },
};

use super::{ApiCaller, Operations};

/// The field of a request with an HMAC key.
const EXTERNAL_KEY: &str = "external_key";

impl Operations {
    pub(in crate::management) async fn set_acme_account(
        &self,
        caller: ApiCaller,
        request: v1::SetAcmeAccountRequest,
    ) -> Result<v1::SetAcmeAccountResponse, Error> {
        let key = Zeroizing::new(request.external_key);
        if !request.agree_to_terms {
            let accepted = "true: ACME is used only under the terms of service of the authority (--agree-to-terms)";
            return Err(Invalid::new("agree_to_terms", false, accepted).into());
        }
        let settings = AcmeSettings {
            directory: request.directory,
            contacts: request.contacts,
            challenge: challenge(&request.challenge)?,
            external_account: None,
            ca: authorities("ca", &request.ca)?,
        };
        settings.validate()?;
        let external_account = self
            .external_account(&request.external_key_id, &key)
            .await?;
        let command = Command::SetAcmeAccount {
            settings: Box::new(AcmeSettings {
                external_account,
                ..settings
            }),
            expected: convert::expected_revision(request.expected_revision),
        };
        self.write(caller, command).await?;
        let state = self.context.cluster.current();
        let account = state.acme.account.as_ref().ok_or(Error::Overtaken)?;
        Ok(v1::SetAcmeAccountResponse {
            revision: state.revision.0,
            account: Some(convert::acme_account(account)),
        })
    }

    pub(in crate::management) async fn get_acme_account(
        &self,
        request: v1::GetAcmeAccountRequest,
    ) -> Result<v1::GetAcmeAccountResponse, Error> {
        let state = self.state(request.stale).await?;
        let account = state.acme.account.as_ref();
        let account = account.ok_or(Rejection::NoAcmeAccount)?;
        Ok(v1::GetAcmeAccountResponse {
            revision: state.revision.0,
            account: Some(convert::acme_account(account)),
        })
    }

    pub(in crate::management) async fn delete_acme_account(
        &self,
        caller: ApiCaller,
        request: v1::DeleteAcmeAccountRequest,
    ) -> Result<v1::DeleteAcmeAccountResponse, Error> {
        let command = Command::RemoveAcmeAccount {
            expected: convert::expected_revision(request.expected_revision),
        };
        let (_, snapshot) = self.write(caller, command).await?;
        Ok(v1::DeleteAcmeAccountResponse {
            revision: snapshot.revision.0,
        })
    }

    pub(in crate::management) async fn renew_certificate(
        &self,
        caller: ApiCaller,
        request: v1::RenewCertificateRequest,
    ) -> Result<v1::RenewCertificateResponse, Error> {
        let command = Command::RenewCertificate {
            certificate: convert::new_name(&request.name)?,
            at: Timestamp::now(),
            expected: convert::expected_revision(request.expected_revision),
        };
        let (_, snapshot) = self.write(caller, command).await?;
        Ok(v1::RenewCertificateResponse {
            revision: snapshot.revision.0,
        })
    }

    /// A certificate that is to be obtained by ACME. The one that is there is used until then.
    pub(super) async fn requested(
        &self,
        name: &CertificateName,
        request: AcmeRequest,
    ) -> Result<CertificateSpec, Error> {
        let state = self.context.cluster.current();
        if state.acme.account.is_none() {
            return Err(Rejection::NoAcmeAccount.into());
        }
        if let Some(present) = state.certificates.get(name) {
            let present = CertificateSpec::clone(&present.spec);
            if present.is_issued() || present.request() == Some(&request) {
                return Ok(CertificateSpec {
                    source: CertificateSource::Acme(request),
                    ..present
                });
            }
        }
        let key = new_key(request.key_type)?;
        let secrets = self.context.cluster.secrets();
        let key = secrets.seal(&CertificateSpec::purpose(name), &key).await?;
        Ok(CertificateSpec::requested(request, key))
    }

    /// The external account of a request. Its key may be left out when the identifier stays the same, and one that is given again
    /// is not another account.
    async fn external_account(
        &self,
        key_id: &str,
        key: &str,
    ) -> Result<Option<ExternalAccount>, Error> {
        if key_id.is_empty() {
            if key.is_empty() {
                return Ok(None);
            }
            let accepted = "the identifier that the authority gave with the key";
            return Err(Invalid::new("external_key_id", "", accepted).into());
        }
        let secrets = self.context.cluster.secrets();
        let state = self.context.cluster.current();
        let present = external_account_of(&state).filter(|present| present.key_id == key_id);
        if key.is_empty() {
            let accepted = "the HMAC key that the authority gave with the identifier";
            let missing = || Invalid::new(EXTERNAL_KEY, "", accepted);
            return Ok(Some(present.cloned().ok_or_else(missing)?));
        }
        // What is not accepted is not repeated: it may be a key all the same.
        let decoded = URL_SAFE_NO_PAD.decode(key.trim().trim_end_matches('='));
        let decoded = decoded.map(Zeroizing::new).map_err(|_| {
            Invalid::new(EXTERNAL_KEY, "(hidden)", "the HMAC key in Base64 for URLs")
        })?;
        if let Some(present) = present
            && let Ok(opened) = secrets.open(ExternalAccount::PURPOSE, &present.key)
            && opened == decoded
        {
            return Ok(Some(present.clone()));
        }
        Ok(Some(ExternalAccount {
            key_id: key_id.to_owned(),
            key: secrets.seal(ExternalAccount::PURPOSE, &decoded).await?,
        }))
    }
}

fn external_account_of(state: &DesiredState) -> Option<&ExternalAccount> {
    let account: &AcmeAccount = state.acme.account.as_ref()?;
    account.settings.external_account.as_ref()
}

fn challenge(given: &str) -> Result<ChallengePreference, Invalid> {
    if given.is_empty() {
        return Ok(ChallengePreference::default());
    }
    let mut known = ChallengePreference::ALL.into_iter();
    let found = known.find(|preference| preference.as_str() == given);
    found.ok_or_else(|| Invalid::new("challenge", given, "auto, http-01 or tls-alpn-01"))
}

/// What a call wants of a certificate that is obtained by ACME. Names are compared without regard to case, and may end with a
/// point.
pub(super) fn acme_request(given: &v1::AcmeRequest) -> Result<AcmeRequest, Invalid> {
    let domains = given.domains.iter();
    let domains = domains.map(|domain| {
        let domain = domain.strip_suffix('.').unwrap_or(domain);
        domain.to_ascii_lowercase()
    });
    let key_type = match given.key_type.as_str() {
        "" | "p256" => KeyType::P256,
        "p384" => KeyType::P384,
        other => return Err(Invalid::new("acme.key_type", other, "p256 or p384")),
    };
    let request = AcmeRequest {
        domains: domains.collect(),
        key_type,
    };
    request
        .validate()
        .map_err(|invalid| invalid.within("acme"))?;
    Ok(request)
}
