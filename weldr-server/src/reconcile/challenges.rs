//! The challenges of ACME that are under way, as listeners answer them.

use std::{collections::BTreeMap, sync::Arc};

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::{
    certificates::{RequestError, challenge_certificate},
    model::{AcmeChallenge, AcmeOrder, ChallengeKind, DesiredState},
    snapshot::routes::HttpChallenges,
    tls::{KeyError, ServerTlsError, TlsChallenges, unverified_key},
};

/// Why a challenge cannot be answered by a handshake.
#[derive(Debug, thiserror::Error)]
enum ProofError {
    #[error(transparent)]
    Certificate(#[from] RequestError),
    #[error("the key of the certificate is not one")]
    NoKey,
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Tls(#[from] ServerTlsError),
}

/// The challenges, as they were followed last.
#[derive(Debug, Default)]
pub(super) struct Challenges {
    orders: Vec<Arc<AcmeOrder>>,
    /// For requests.
    pub(super) http: Option<Arc<HttpChallenges>>,
    /// For handshakes.
    pub(super) tls: Option<Arc<TlsChallenges>>,
}

impl Challenges {
    /// Follows the orders of `state`. Returns whether any has changed.
    pub(super) fn follow(&mut self, state: &DesiredState) -> bool {
        if self.orders.iter().eq(state.acme.orders.values()) {
            return false;
        }
        self.orders = state.acme.orders.values().cloned().collect();
        self.http = HttpChallenges::of(&state.acme);
        let challenges = state.acme.challenges();
        let by_handshake = challenges.filter(|it| it.kind == ChallengeKind::TlsAlpn01);
        self.tls = proofs(by_handshake).unwrap_or_else(|error| {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "challenges of acme cannot be answered by handshakes");
            None
        });
        true
    }
}

fn proofs<'a>(
    challenges: impl Iterator<Item = &'a AcmeChallenge>,
) -> Result<Option<Arc<TlsChallenges>>, ProofError> {
    let mut by_domain = BTreeMap::new();
    for challenge in challenges {
        let domain = &challenge.domain;
        let (certificate, key) = challenge_certificate(domain, &challenge.key_authorization)?;
        let key = PrivateKeyDer::try_from(key.as_slice()).map_err(|_| ProofError::NoKey)?;
        let chain = vec![CertificateDer::from(certificate)];
        let certified = unverified_key(chain, key.clone_key())?;
        by_domain.insert(domain.clone(), certified);
    }
    if by_domain.is_empty() {
        return Ok(None);
    }
    Ok(Some(TlsChallenges::new(by_domain)?))
}
