//! From an order to a certificate. An order is replicated before its first challenge is answered, so each step can be the first
//! one of the next leader.

use std::time::Duration;

use instant_acme::{
    AuthorizationState, AuthorizationStatus, ChallengeStatus, ChallengeType, Identifier, NewOrder,
    Order, OrderStatus, RetryPolicy,
};
use rustls::pki_types::CertificateDer;

use super::{
    account::Authority,
    error::{AcmeError, words},
};
use crate::{
    certificates::{accept_issued, new_key, signing_request},
    cluster::Handle,
    model::{
        AcmeChallenge, AcmeOrder, AcmeStep, Certificate, CertificateName, CertificateSpec,
        ChallengeKind, Command, Sealed, Timestamp,
    },
};

/// How the authority is asked how far it is.
const POLLS: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(250))
    .backoff(1.5)
    .timeout(Duration::from_mins(1));
/// How long the other nodes are waited for, which all have to know a challenge: nobody knows which of them the authority asks.
const EVERYWHERE: Duration = Duration::from_secs(10);
/// How long a node needs at most to give its listeners what it has applied.
const SETTLING: Duration = Duration::from_millis(300);

/// A certificate that is being obtained.
pub(super) struct Wanted<'a> {
    pub(super) cluster: &'a Handle,
    pub(super) name: &'a CertificateName,
    pub(super) certificate: &'a Certificate,
}

impl Wanted<'_> {
    /// Orders the certificate. What `replaces` is told to the authority as replaced, if it takes that.
    pub(super) async fn order(
        &self,
        authority: &Authority,
        kind: ChallengeKind,
        is_replacement: bool,
    ) -> Result<(), AcmeError> {
        let Some(request) = self.certificate.spec.request() else {
            return Ok(());
        };
        let domains = request.domains.iter().cloned();
        let identifiers: Vec<_> = domains.map(Identifier::Dns).collect();
        let mut order = self
            .new_order(authority, &identifiers, is_replacement)
            .await?;
        let challenges = challenges(&mut order, kind).await?;
        let order = AcmeOrder {
            url: order.url().to_owned(),
            key: self.key().await?,
            challenges,
        };
        self.propose(AcmeStep::Ordered {
            certificate: self.name.clone(),
            of: self.certificate.revision,
            order,
        })
        .await
    }

    async fn new_order(
        &self,
        authority: &Authority,
        identifiers: &[Identifier],
        is_replacement: bool,
    ) -> Result<Order, AcmeError> {
        let order = NewOrder::new(identifiers);
        let chain = self.certificate.spec.chain.first();
        if let Some(der) = chain.filter(|_| is_replacement)
            && let Ok(id) = (&CertificateDer::from(der.bytes())).try_into()
        {
            let ordered = authority.account.new_order(&order.replaces(id)).await;
            match ordered.map_err(AcmeError::from) {
                Err(error) if error.is_about_replacement() => {}
                ordered => return ordered,
            }
        }
        Ok(authority
            .account
            .new_order(&NewOrder::new(identifiers))
            .await?)
    }

    /// The private key of the certificate that will come: a new one each time. One that was never issued has one already.
    async fn key(&self) -> Result<Sealed, AcmeError> {
        let spec = &self.certificate.spec;
        let Some(request) = spec.request().filter(|_| spec.is_issued()) else {
            return Ok(spec.key.clone());
        };
        let key = new_key(request.key_type)?;
        let purpose = CertificateSpec::purpose(self.name);
        Ok(self.cluster.secrets().seal(&purpose, &key).await?)
    }

    /// Goes on with an order, to the end if the authority does.
    pub(super) async fn go_on(
        &self,
        authority: &Authority,
        replicated: &AcmeOrder,
    ) -> Result<(), AcmeError> {
        let mut order = authority.account.order(replicated.url.clone()).await?;
        if order.state().status == OrderStatus::Pending {
            self.wait_for_others().await;
            answer(&mut order, replicated).await?;
            let polled = order.poll_ready(&POLLS).await;
            if order.state().status != OrderStatus::Invalid {
                polled?;
            }
        }
        if order.state().status == OrderStatus::Invalid {
            return Err(why_invalid(&mut order).await);
        }
        let purpose = CertificateSpec::purpose(self.name);
        let key = self.cluster.secrets().open(&purpose, &replicated.key)?;
        if order.state().status == OrderStatus::Ready {
            let Some(request) = self.certificate.spec.request() else {
                return Ok(());
            };
            let csr = signing_request(&request.domains, &key)?;
            order.finalize_csr(&csr).await?;
        }
        let chain = order.poll_certificate(&POLLS).await?;
        let accepted = accept_issued(&chain, &key, Timestamp::now());
        let spec = accepted
            .map_err(AcmeError::Chain)?
            .with_key(replicated.key.clone());
        let request = self.certificate.spec.request();
        if !request.is_some_and(|request| request.is_met_by(&spec.names, spec.key_type)) {
            return Err(AcmeError::OtherNames);
        }
        let not_after = humantime::format_rfc3339_seconds(spec.not_after.into());
        let expires = not_after.to_string();
        self.propose(AcmeStep::Issued {
            certificate: self.name.clone(),
            order: replicated.url.clone(),
            spec: Box::new(spec),
        })
        .await?;
        tracing::info!(certificate = %self.name, expires, "a certificate was obtained by acme");
        Ok(())
    }

    async fn wait_for_others(&self) {
        let revision = self.cluster.current().revision;
        let without = self.cluster.without(revision, EVERYWHERE).await;
        if !without.is_empty() {
            // One that is down is not asked by the authority either, if it is behind the same address.
            tracing::debug!(certificate = %self.name, ?without, "nodes do not know a challenge of acme");
        }
        tokio::time::sleep(SETTLING).await;
    }

    pub(super) async fn propose(&self, step: AcmeStep) -> Result<(), AcmeError> {
        let command = Command::Acme(Box::new(step));
        self.cluster.propose(command).await?;
        Ok(())
    }
}

/// The challenges of that kind of all domains that the authority does not take for proven.
async fn challenges(
    order: &mut Order,
    kind: ChallengeKind,
) -> Result<Vec<AcmeChallenge>, AcmeError> {
    let mut challenges = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let domain = domain_of(&authorization);
        let offered = offered_by(&authorization);
        let handle = authorization.challenge(type_of(kind));
        let handle = handle.ok_or_else(|| AcmeError::NoChallenge {
            domain: domain.clone(),
            kind,
            offered,
        })?;
        let challenge = AcmeChallenge {
            kind,
            token: handle.token.clone(),
            key_authorization: handle.key_authorization().as_str().to_owned(),
            domain,
        };
        challenge.validate().map_err(AcmeError::Sent)?;
        challenges.push(challenge);
    }
    Ok(challenges)
}

fn domain_of(authorization: &AuthorizationState) -> String {
    authorization.identifier().to_string().to_ascii_lowercase()
}

fn offered_by(authorization: &AuthorizationState) -> String {
    let offered = authorization.challenges.iter();
    let offered: Vec<String> = offered.map(|offer| name_of(&offer.r#type)).collect();
    offered.join(", ")
}

/// Tells the authority that the challenges can be looked at, unless it knows.
async fn answer(order: &mut Order, replicated: &AcmeOrder) -> Result<(), AcmeError> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        let domain = domain_of(&authorization);
        let challenges = &replicated.challenges;
        let Some(known) = challenges.iter().find(|known| known.domain == domain) else {
            continue;
        };
        let Some(mut handle) = authorization.challenge(type_of(known.kind)) else {
            continue;
        };
        if handle.status == ChallengeStatus::Pending {
            handle.set_ready().await?;
        }
    }
    Ok(())
}

/// Why the authority gave an order up: what it says of the challenges, which is more than what it says of the order.
async fn why_invalid(order: &mut Order) -> AcmeError {
    let of_order = order.state().error.clone();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let Ok(mut authorization) = authorization else {
            continue;
        };
        // What is there may be from before the challenge was looked at.
        if authorization.refresh().await.is_err() {
            continue;
        }
        let problem = authorization
            .challenges
            .iter()
            .find_map(|challenge| challenge.error.as_ref());
        if let Some(problem) = problem {
            return AcmeError::NotProven {
                domain: authorization.identifier().to_string(),
                detail: words(problem),
            };
        }
    }
    match of_order {
        Some(problem) => instant_acme::Error::Api(problem).into(),
        None => AcmeError::GivenUp,
    }
}

fn type_of(kind: ChallengeKind) -> ChallengeType {
    match kind {
        ChallengeKind::Http01 => ChallengeType::Http01,
        ChallengeKind::TlsAlpn01 => ChallengeType::TlsAlpn01,
    }
}

fn name_of(kind: &ChallengeType) -> String {
    match kind {
        ChallengeType::Http01 => "http-01".to_owned(),
        ChallengeType::Dns01 => "dns-01".to_owned(),
        ChallengeType::TlsAlpn01 => "tls-alpn-01".to_owned(),
        ChallengeType::Unknown(name) => name.clone(),
        _ => "another one".to_owned(),
    }
}
