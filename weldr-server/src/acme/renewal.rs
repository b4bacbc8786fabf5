//! Asks the authority when a certificate is to be renewed (RFC 9773).

use std::time::Duration;

use rustls::pki_types::CertificateDer;

use super::{account::Authority, delays, error::AcmeError, order::Wanted};
use crate::model::{AcmeStep, Renewal, RenewalBy, Timestamp};

/// When the authority is asked again that does not say when, or cannot say.
const AGAIN: Duration = Duration::from_hours(6);
/// The shortest and the longest time until it is asked again, whatever it says.
const SOONEST: Duration = Duration::from_mins(1);
const LATEST: Duration = Duration::from_hours(24);

impl Wanted<'_> {
    /// Plans the renewal, if it is not planned as it should be. Returns after what time to ask again.
    pub(super) async fn plan(
        &self,
        authority: &Authority,
        planned: Option<&Renewal>,
    ) -> Result<Duration, AcmeError> {
        let (renewal, again) = match self.suggested(authority, planned).await {
            Some(suggested) => suggested,
            None if planned.is_some() => return Ok(AGAIN),
            None => (self.by_lifetime(), AGAIN),
        };
        if planned != Some(&renewal) {
            self.propose(AcmeStep::Planned {
                certificate: self.name.clone(),
                of: self.certificate.revision,
                renewal,
            })
            .await?;
        }
        Ok(again)
    }

    fn by_lifetime(&self) -> Renewal {
        let spec = &self.certificate.spec;
        Renewal {
            at: delays::by_lifetime(spec.not_before, spec.not_after, fastrand::f64()),
            by: RenewalBy::Lifetime,
            explanation: None,
        }
    }

    /// What the authority suggests; `None`: nothing, or it cannot be asked now.
    async fn suggested(
        &self,
        authority: &Authority,
        planned: Option<&Renewal>,
    ) -> Option<(Renewal, Duration)> {
        let der = self.certificate.spec.chain.first()?;
        let id = (&CertificateDer::from(der.bytes())).try_into().ok()?;
        let asked = authority.account.renewal_info(&id).await;
        let (info, again) = asked
            .inspect_err(|error| {
                let error = error as &dyn std::error::Error;
                tracing::debug!(certificate = %self.name, error, "the authority does not say when to renew");
            })
            .ok()?;
        let moment = |at: i64| Timestamp(u64::try_from(at).unwrap_or_default() * 1000);
        let window = (
            moment(info.suggested_window.start.unix_timestamp()),
            moment(info.suggested_window.end.unix_timestamp()),
        );
        let chosen = planned.filter(|planned| planned.by == RenewalBy::Authority);
        let renewal = Renewal {
            at: delays::by_authority(window, chosen.map(|chosen| chosen.at), fastrand::f64()),
            by: RenewalBy::Authority,
            explanation: info
                .explanation_url
                .filter(|url| Renewal::accepts_explanation(url)),
        };
        Some((renewal, again.clamp(SOONEST, LATEST)))
    }
}
