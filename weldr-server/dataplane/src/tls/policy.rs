//! Which versions and ciphers a listener accepts, by the name of a policy.

use rustls::{
    SupportedCipherSuite, SupportedProtocolVersion,
    crypto::aws_lc_rs::cipher_suite,
    version::{TLS12, TLS13},
};

use crate::model::TlsPolicy;

static ONLY_13: &[&SupportedProtocolVersion] = &[&TLS13];
static FROM_12: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// The versions of `policy`.
pub(super) fn versions(policy: TlsPolicy) -> &'static [&'static SupportedProtocolVersion] {
    match policy {
        TlsPolicy::Modern => ONLY_13,
        TlsPolicy::Intermediate => FROM_12,
    }
}

/// The cipher suites of `policy`, the preferred ones first. All have forward secrecy and authenticate what they encrypt.
pub(super) fn suites(policy: TlsPolicy) -> Vec<SupportedCipherSuite> {
    let mut suites = vec![
        cipher_suite::TLS13_AES_128_GCM_SHA256,
        cipher_suite::TLS13_AES_256_GCM_SHA384,
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    if policy == TlsPolicy::Intermediate {
        suites.extend([
            cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        ]);
    }
    suites
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::provider::provider;

    /// The name of a suite as rustls writes it has no underscore after `TLS`, for those of TLS 1.3.
    fn same(rustls: &str, registry: &str) -> bool {
        rustls.replace("TLS13_", "TLS_") == registry
    }

    #[test]
    fn operators_are_told_what_is_offered() {
        for policy in TlsPolicy::ALL {
            let told = policy.contents();
            let offered = suites(policy);
            assert_eq!(offered.len(), told.suites.len());
            for (offered, told) in offered.iter().zip(told.suites) {
                let name = format!("{:?}", offered.suite());
                assert!(same(&name, told), "{name} is told as {told}");
            }
            assert_eq!(versions(policy).len(), told.versions.len());
            let groups = &provider().kx_groups;
            assert_eq!(groups.len(), told.key_exchanges.len());
            for (group, told) in groups.iter().zip(told.key_exchanges) {
                let name = format!("{:?}", group.name());
                assert!(name.eq_ignore_ascii_case(told), "{name} is told as {told}");
            }
        }
    }
}
