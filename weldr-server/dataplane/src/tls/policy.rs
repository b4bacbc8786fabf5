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
