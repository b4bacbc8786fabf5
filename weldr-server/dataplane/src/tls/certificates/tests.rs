use rustls::SignatureScheme;

use super::*;
use crate::tls::test_peer::SelfSigned;

const SCHEMES: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256];

fn certificate(names: &[&str]) -> ServerCertificate {
    SelfSigned::new("any.example").for_server(names)
}

fn is(chosen: Option<Arc<CertifiedKey>>, expected: &ServerCertificate) -> bool {
    chosen.is_some_and(|chosen| Arc::ptr_eq(&chosen, &expected.key))
}

#[test]
fn the_exact_name_is_preferred_to_a_wildcard_and_that_to_the_first() {
    let first = certificate(&["first.example"]);
    let wildcard = certificate(&["*.example.com", "example.com"]);
    let exact = certificate(&["shop.example.com"]);
    let table = CertificateTable::new([&first, &wildcard, &exact]);
    let of = |name| table.choose(name, false, SCHEMES);
    for (name, expected) in [
        (Some("shop.example.com"), &exact),
        (Some("blog.example.com"), &wildcard),
        (Some("example.com"), &wildcard),
        (Some("a.b.example.com"), &first),
        (Some("other.example"), &first),
        (Some("com"), &first),
        (None, &first),
    ] {
        assert!(is(of(name), expected), "{name:?}");
    }
    let strict = |name| table.choose(name, true, SCHEMES);
    assert!(is(strict(Some("blog.example.com")), &wildcard));
    assert!(strict(Some("other.example")).is_none() && strict(None).is_none());
    assert!(
        CertificateTable::default()
            .choose(None, false, SCHEMES)
            .is_none()
    );
}

#[test]
fn of_several_certificates_for_a_name_the_client_gets_one_that_it_understands() {
    let (first, second) = (certificate(&["a.example"]), certificate(&["a.example"]));
    let table = CertificateTable::new([&first, &second]);
    assert!(is(table.choose(Some("a.example"), false, SCHEMES), &first));
    let others = [SignatureScheme::ED25519];
    assert!(table.choose(Some("a.example"), false, &others).is_none());
}
