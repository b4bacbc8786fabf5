//! Which values of ACME the desired state accepts. What an authority has sent is checked like what an operator has.

use super::{
    AcmeAccount, AcmeChallenge, AcmeFailure, AcmeOrder, AcmeRegistration, AcmeSettings, AcmeStep,
    Renewal,
};
use crate::model::{AcmeRequest, Invalid};

/// The longest URL, in bytes.
const LONGEST_URL: usize = 2048;
/// How many mail addresses there may be, and how long each.
const MOST_CONTACTS: usize = 10;
const LONGEST_CONTACT: usize = 254;
/// The longest identifier of an account outside of ACME, in bytes.
const LONGEST_KEY_ID: usize = 1024;
/// The longest token and the longest proof, in bytes: both are far shorter.
const LONGEST_TOKEN: usize = 512;
const LONGEST_PROOF: usize = 1024;

impl AcmeSettings {
    /// Accepts settings with a directory and contacts of the right form.
    ///
    /// # Errors
    /// Names the field, its value and what is accepted.
    pub fn validate(&self) -> Result<(), Invalid> {
        url("directory", &self.directory)?;
        if self.contacts.len() > MOST_CONTACTS {
            let accepted = format!("at most {MOST_CONTACTS} mail addresses");
            return Err(Invalid::new("contacts", self.contacts.len(), accepted));
        }
        self.contacts.iter().try_for_each(|contact| mail(contact))?;
        if let Some(account) = &self.external_account
            && !(account.key_id.len() <= LONGEST_KEY_ID && is_visible(&account.key_id))
        {
            let accepted = "the identifier that the authority gave, in visible ASCII";
            return Err(Invalid::new(
                "external_account.key_id",
                &account.key_id,
                accepted,
            ));
        }
        self.ca.validate("ca")
    }
}

impl AcmeAccount {
    /// Accepts an account of which each part is accepted.
    pub(in crate::model) fn validate(&self) -> Result<(), Invalid> {
        self.settings.validate()?;
        self.registration
            .as_ref()
            .map_or(Ok(()), AcmeRegistration::validate)?;
        self.failure.as_ref().map_or(Ok(()), AcmeFailure::validate)
    }
}

impl AcmeStep {
    pub(in crate::model) fn validate(&self) -> Result<(), Invalid> {
        match self {
            Self::Registered { registration, .. } => registration.validate(),
            Self::NotRegistered { failure, .. } | Self::Failed { failure, .. } => {
                failure.validate()
            }
            Self::Ordered {
                certificate, order, ..
            } => {
                certificate.validate()?;
                order.validate()
            }
            Self::Issued {
                certificate,
                order,
                spec,
            } => {
                certificate.validate()?;
                url("order", order)?;
                spec.validate_issued()
            }
            Self::Planned { renewal, .. } => match &renewal.explanation {
                Some(explanation) => url(EXPLANATION, explanation),
                None => Ok(()),
            },
        }
    }
}

const EXPLANATION: &str = "explanation";

impl Renewal {
    /// Whether the URL of an explanation is accepted.
    pub fn accepts_explanation(given: &str) -> bool {
        url(EXPLANATION, given).is_ok()
    }
}

impl AcmeRegistration {
    fn validate(&self) -> Result<(), Invalid> {
        url("account", &self.url)
    }
}

impl AcmeFailure {
    /// The longest message, in bytes.
    pub const LONGEST_MESSAGE: usize = 2048;

    fn validate(&self) -> Result<(), Invalid> {
        if self.message.len() <= Self::LONGEST_MESSAGE {
            return Ok(());
        }
        let accepted = format!("at most {} bytes", Self::LONGEST_MESSAGE);
        Err(Invalid::new("message", self.message.len(), accepted))
    }
}

impl AcmeOrder {
    fn validate(&self) -> Result<(), Invalid> {
        url("order", &self.url)?;
        let most = AcmeRequest::MOST_DOMAINS;
        if self.challenges.len() > most {
            let accepted = format!("at most {most} challenges");
            return Err(Invalid::new("challenges", self.challenges.len(), accepted));
        }
        self.challenges.iter().try_for_each(AcmeChallenge::validate)
    }
}

impl AcmeChallenge {
    /// Accepts a challenge whose token and proof can be in a path and in a response (RFC 8555, section 8.1).
    ///
    /// # Errors
    /// Names the field, its value and what is accepted.
    pub fn validate(&self) -> Result<(), Invalid> {
        let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let token = &self.token;
        if !(1..=LONGEST_TOKEN).contains(&token.len()) || !token.chars().all(is_base64) {
            return Err(Invalid::new("token", token, "Base64 for URLs"));
        }
        let proof = &self.key_authorization;
        let thumbprint = proof.strip_prefix(token.as_str());
        let thumbprint = thumbprint.and_then(|rest| rest.strip_prefix('.'));
        match thumbprint {
            Some(thumbprint)
                if proof.len() <= LONGEST_PROOF && thumbprint.chars().all(is_base64) =>
            {
                Ok(())
            }
            _ => {
                let accepted = "the token, a point and the digest of a key";
                Err(Invalid::new("key_authorization", proof, accepted))
            }
        }
    }
}

/// A URL that is called, or shown.
fn url(field: &str, given: &str) -> Result<(), Invalid> {
    let authority = given.strip_prefix("https://");
    let authority = authority.and_then(|rest| rest.split(['/', '?', '#']).next());
    match authority {
        Some(authority)
            if is_authority(authority) && given.len() <= LONGEST_URL && is_visible(given) =>
        {
            Ok(())
        }
        _ => {
            let accepted =
                "a URL with https, such as https://acme-v02.api.letsencrypt.org/directory";
            Err(Invalid::new(field, given, accepted))
        }
    }
}

/// A host, with a port that there can be, and without a name and a password, which would be shown to everybody.
fn is_authority(authority: &str) -> bool {
    let behind_ip = authority.rfind(']').map_or(0, |end| end + 1);
    let host = match authority[behind_ip..].split_once(':') {
        Some((_, port)) if port.parse::<u16>().is_err() => return false,
        Some((rest, _)) => behind_ip + rest.len(),
        None => authority.len(),
    };
    host > 0 && !authority.contains('@')
}

fn mail(given: &str) -> Result<(), Invalid> {
    let is_mail = given.split_once('@').is_some_and(|(name, domain)| {
        !name.is_empty() && !domain.is_empty() && !domain.contains('@')
    });
    // Characters that RFC 6068 gives a meaning in a `mailto` URL.
    let is_plain = !given.contains(['?', ',', '%', ':']);
    if is_mail && is_plain && given.len() <= LONGEST_CONTACT && is_visible(given) {
        return Ok(());
    }
    Err(Invalid::new(
        "contacts",
        given,
        "a mail address, such as ops@example.com",
    ))
}

fn is_visible(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ChallengeKind;

    fn settings() -> AcmeSettings {
        AcmeSettings {
            directory: "https://ca.example/dir".to_owned(),
            contacts: vec!["ops@example.com".to_owned()],
            challenge: crate::model::ChallengePreference::Auto,
            external_account: None,
            ca: crate::model::CaBundle::default(),
        }
    }

    #[test]
    fn a_directory_is_called_only_by_https() {
        assert_eq!(settings().validate(), Ok(()));
        for directory in [
            "",
            "http://ca.example/dir",
            "https://",
            "https:///dir",
            "https://ca.example/a b",
            "ca.example",
            "https://user:word@ca.example/dir",
            "https://ca.example:99999/dir",
            "https://:443/dir",
        ] {
            let settings = AcmeSettings {
                directory: directory.to_owned(),
                ..settings()
            };
            assert_eq!(
                settings.validate().unwrap_err().field,
                "directory",
                "{directory}"
            );
        }
    }

    #[test]
    fn a_contact_is_one_mail_address() {
        for contact in [
            "",
            "ops",
            "@example.com",
            "ops@",
            "a@b@c",
            "a@b?cc=c@d",
            "a@b,c@d",
        ] {
            let settings = AcmeSettings {
                contacts: vec![contact.to_owned()],
                ..settings()
            };
            assert_eq!(
                settings.validate().unwrap_err().field,
                "contacts",
                "{contact}"
            );
        }
    }

    /// The authority chooses the token, and Weldr has it in a path and in a response.
    #[test]
    fn a_token_is_nothing_but_base64() {
        let challenge = |token: &str, proof: &str| AcmeChallenge {
            domain: "a.example".to_owned(),
            kind: ChallengeKind::Http01,
            token: token.to_owned(),
            key_authorization: proof.to_owned(),
        };
        assert_eq!(challenge("a-B_9", "a-B_9.x").validate(), Ok(()));
        for (token, proof) in [
            ("", ".x"),
            ("../x", "../x.x"),
            ("a\r\n", "a\r\n.x"),
            ("a", "b.x"),
            ("a", "a"),
            ("a", "a.x\r\n"),
        ] {
            assert!(challenge(token, proof).validate().is_err(), "{token:?}");
        }
    }
}
