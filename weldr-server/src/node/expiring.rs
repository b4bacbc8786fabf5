//! Warns of certificates that expire soon. The leader does, so that a cluster says it once.

use std::time::{Duration, Instant};

use tokio::time;
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::Handle,
    model::{CertificateName, DesiredState, Timestamp},
    warnings::Repeats,
};

/// From how long before its end on a certificate is warned of.
const SOON: Duration = Duration::from_hours(30 * 24);
/// How often it is looked.
const LOOK: Duration = Duration::from_mins(10);
/// How often each certificate is warned of, and how many of them in that time.
const REPEAT: Duration = Duration::from_hours(24);
const MOST: usize = 1000;

/// Warns until `stop`.
pub(super) fn start(cluster: &Handle, stop: &CancellationToken) {
    let warn = warn(cluster.clone());
    tokio::spawn(stop.clone().run_until_cancelled_owned(warn));
}

async fn warn(cluster: Handle) {
    let mut repeats = Repeats::new(REPEAT, MOST);
    loop {
        if cluster.leads() {
            for (name, left) in expiring(&cluster.current(), Timestamp::now()) {
                if repeats.occurred(&name, Instant::now()).is_some() {
                    let days = left.as_secs() / (24 * 60 * 60);
                    tracing::warn!(certificate = %name, days, "a certificate expires soon: replace it");
                }
            }
        }
        time::sleep(LOOK).await;
    }
}

/// The certificates that expire soon or have expired, and how long each is still valid. One that is obtained by ACME is one of
/// them only if that fails: it is renewed by itself.
fn expiring(state: &DesiredState, now: Timestamp) -> Vec<(CertificateName, Duration)> {
    let certificates = state.certificates.iter();
    certificates
        .filter(|(name, certificate)| {
            let progress = state.acme.progress.get(*name);
            let fails = progress.is_some_and(|progress| progress.failure.is_some());
            certificate.spec.is_issued() && (certificate.spec.request().is_none() || fails)
        })
        .map(|(name, certificate)| (name.clone(), certificate.spec.not_after.remaining(now)))
        .filter(|(_, left)| *left <= SOON)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::model::{
        AcmeFailure, AcmeProgress, AcmeRequest, Certificate, CertificateSource, CertificateSpec,
        Der, KeyType, PoolSettings, Revision, Sealed,
    };

    use super::*;

    const DAY: u64 = 24 * 60 * 60 * 1000;

    #[test]
    fn only_certificates_that_nobody_will_renew_in_time_are_warned_of() {
        let request = AcmeRequest {
            domains: vec!["a.example".to_owned()],
            key_type: KeyType::P256,
        };
        let key = Sealed::new("0123456789abcdef".parse().unwrap(), [0; 60]).unwrap();
        let waiting = CertificateSpec::requested(request, key);
        let issued = |days: u64, source: &CertificateSource| CertificateSpec {
            chain: vec![Der::new([1])],
            not_after: Timestamp(days * DAY),
            source: source.clone(),
            ..waiting.clone()
        };
        let (uploaded, acme) = (&CertificateSource::Uploaded, &waiting.source);
        let mut state = DesiredState::new(PoolSettings::default());
        for (name, spec) in [
            ("acme", issued(20, acme)),
            ("failing", issued(20, acme)),
            ("late", issued(41, uploaded)),
            ("over", issued(9, uploaded)),
            ("soon", issued(40, uploaded)),
            ("waiting", waiting.clone()),
        ] {
            let certificate = Certificate {
                spec: Arc::new(spec),
                revision: Revision(1),
            };
            let name = name.parse().unwrap();
            state.certificates.insert_mut(name, Arc::new(certificate));
        }
        let failing = AcmeProgress {
            failure: Some(AcmeFailure {
                message: String::new(),
                at: Timestamp(0),
                retry_at: Timestamp(0),
                failures: 1,
            }),
            renewal: None,
        };
        let name = "failing".parse().unwrap();
        state.acme.progress.insert_mut(name, Arc::new(failing));
        let found = expiring(&state, Timestamp(10 * DAY));
        let found: Vec<_> = found
            .iter()
            .map(|(name, left)| (name.as_str(), left.as_secs() * 1000 / DAY))
            .collect();
        assert_eq!(found, [("failing", 10), ("over", 0), ("soon", 30)]);
    }
}
