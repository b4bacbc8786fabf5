//! Why a step fails, and in which words operators read it.

use std::fmt::Write as _;

use crate::{
    certificates::RequestError,
    cluster::ProposeError,
    model::{ChallengeKind, Invalid},
    secrets::SecretsError,
};

/// Why a step fails.
#[derive(Debug, thiserror::Error)]
pub(super) enum AcmeError {
    #[error("the authority refused, or could not be asked")]
    Authority(#[source] Box<instant_acme::Error>),
    #[error("a secret cannot be sealed or opened")]
    Secrets(#[from] SecretsError),
    #[error("the step cannot be replicated")]
    Propose(#[from] ProposeError),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("the credentials of the account cannot be read or written")]
    Credentials(#[source] serde_json::Error),
    #[error("TLS to the authority cannot be set up")]
    Tls(#[source] rustls::Error),
    #[error("the authority sent what is not accepted")]
    Sent(#[source] Invalid),
    #[error("the authority offers no {} for {domain}: it offers {offered}", kind.as_str())]
    NoChallenge {
        domain: String,
        kind: ChallengeKind,
        offered: String,
    },
    #[error("{domain}: {detail}")]
    NotProven { domain: String, detail: String },
    #[error("the authority gave the order up")]
    GivenUp,
    #[error("the certificate that was issued cannot be used: {}", Invalid::sentences(.0))]
    Chain(Vec<Invalid>),
    #[error("the certificate that was issued is not for all of the domains")]
    OtherNames,
}

/// A type of error that RFC 8555 names.
const TYPES: &str = "urn:ietf:params:acme:error:";

impl From<instant_acme::Error> for AcmeError {
    fn from(error: instant_acme::Error) -> Self {
        Self::Authority(Box::new(error))
    }
}

impl AcmeError {
    /// The words for operators: those of the authority, where it has said something.
    pub(super) fn message(&self) -> String {
        if let Some(problem) = self.problem() {
            return words(problem);
        }
        let mut message = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            // A library that shows its cause as well says the same twice.
            let text = error.to_string();
            if !message.ends_with(&text) {
                let _ = write!(message, ": {text}");
            }
            cause = error.source();
        }
        message
    }

    /// Whether the order that is under way can be gone on with later.
    pub(super) fn keeps_order(&self) -> bool {
        match self {
            Self::Authority(error) => match &**error {
                instant_acme::Error::Api(problem) => {
                    is_of(problem, "rateLimited") || is_of(problem, "serverInternal")
                }
                // It could not be asked, or is not ready with the order.
                _ => true,
            },
            Self::Secrets(_) | Self::Propose(_) | Self::Tls(_) | Self::Credentials(_) => true,
            _ => false,
        }
    }

    /// Whether the authority says that there were too many orders.
    pub(super) fn is_limit(&self) -> bool {
        self.problem()
            .is_some_and(|problem| is_of(problem, "rateLimited"))
    }

    /// Whether the authority does not want an order to replace a certificate: it was replaced before, or is unknown to it.
    pub(super) fn is_about_replacement(&self) -> bool {
        match self {
            Self::Authority(error) => match &**error {
                instant_acme::Error::Api(problem) => {
                    is_of(problem, "alreadyReplaced") || is_of(problem, "malformed")
                }
                instant_acme::Error::Unsupported(_) | instant_acme::Error::Other(_) => true,
                _ => false,
            },
            _ => false,
        }
    }

    fn problem(&self) -> Option<&instant_acme::Problem> {
        match self {
            Self::Authority(error) => match &**error {
                instant_acme::Error::Api(problem) => Some(problem),
                _ => None,
            },
            _ => None,
        }
    }
}

fn is_of(problem: &instant_acme::Problem, kind: &str) -> bool {
    let given = problem.r#type.as_deref();
    given.and_then(|given| given.strip_prefix(TYPES)) == Some(kind)
}

/// What the authority says of a problem.
pub(super) fn words(problem: &instant_acme::Problem) -> String {
    let mut words = problem.detail.clone().unwrap_or_default();
    for sub in &problem.subproblems {
        let separator = if words.is_empty() { "" } else { "; " };
        let _ = write!(
            words,
            "{separator}{}",
            sub.detail.as_deref().unwrap_or("no detail")
        );
    }
    if let Some(kind) = &problem.r#type {
        let kind = kind.strip_prefix(TYPES).unwrap_or(kind);
        let _ = write!(words, " ({kind})");
    }
    // It ends in a table in a terminal.
    let words: String = words.chars().filter(|c| !is_harmful(*c)).collect();
    words.trim().to_owned()
}

/// Whether a terminal does something else with a character than to show it: also change the direction of the text.
fn is_harmful(c: char) -> bool {
    let turns =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(json: &str) -> AcmeError {
        let problem: instant_acme::Problem = serde_json::from_str(json).unwrap();
        instant_acme::Error::Api(problem).into()
    }

    #[test]
    fn operators_read_the_words_of_the_authority() {
        let limited = problem(
            r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many new\u001b[31m\u202e orders"}"#,
        );
        assert_eq!(limited.message(), "too many new[31m orders (rateLimited)");
        assert!(limited.is_limit() && limited.keeps_order());
        let several = problem(
            r#"{"type":"urn:ietf:params:acme:error:malformed","subproblems":[{"detail":"one"},{"detail":"two"}]}"#,
        );
        assert_eq!(several.message(), "one; two (malformed)");
        assert!(!several.is_limit() && !several.keeps_order());
    }

    #[test]
    fn a_cause_is_told_once() {
        let refused = std::io::Error::other("connection refused");
        let error = instant_acme::Error::Other(Box::new(refused));
        let message = AcmeError::from(error).message();
        assert_eq!(
            message,
            "the authority refused, or could not be asked: connection refused"
        );
    }
}
