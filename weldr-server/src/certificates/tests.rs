//! A table of certificates and keys, most of them bad. Those that `rcgen` cannot make are files of OpenSSL.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P384_SHA384,
    PKCS_ED25519, SanType, date_time_ymd,
};

use super::*;
use crate::model::SealingKeyId;

/// In January 2027.
const NOW: Timestamp = Timestamp(1_800_000_000_000);

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("fixtures/", $name))
    };
}

/// Somebody who issues certificates, and its own one.
struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pem: String,
}

fn params(common: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, common);
    params.use_authority_key_identifier_extension = true;
    params
}

impl Authority {
    fn new(common: &str, issuer: Option<&Self>) -> Self {
        let mut params = params(common, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = match issuer {
            Some(issuer) => issuer.sign(&params, &key),
            None => params.self_signed(&key).unwrap().pem(),
        };
        Self { params, key, pem }
    }

    fn sign(&self, params: &CertificateParams, key: &KeyPair) -> String {
        let issuer = Issuer::from_params(&self.params, &self.key);
        params.signed_by(key, &issuer).unwrap().pem()
    }
}

/// A root, an authority below it, and a certificate below that.
struct Pki {
    root: Authority,
    middle: Authority,
    leaf: String,
    key: KeyPair,
}

impl Pki {
    fn new() -> Self {
        let root = Authority::new("root", None);
        let middle = Authority::new("middle", Some(&root));
        let key = KeyPair::generate().unwrap();
        let leaf = middle.sign(&params("shop", &["shop.example", "*.Shop.example"]), &key);
        Self {
            root,
            middle,
            leaf,
            key,
        }
    }

    fn key(&self) -> String {
        self.key.serialize_pem()
    }

    fn chain(&self) -> String {
        format!("{}{}", self.leaf, self.middle.pem)
    }
}

fn self_signed(params: &CertificateParams, key: &KeyPair) -> String {
    params.self_signed(key).unwrap().pem()
}

/// The field and the value of the one thing that is wrong.
fn refused(certificate: &str, key: &str) -> (String, String) {
    let mut wrong = accept(certificate, key, NOW, false).unwrap_err();
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    let Invalid { field, value, .. } = wrong.remove(0);
    (field, value)
}

fn assert_refused(certificate: &str, key: &str, field: &str, words: &str) {
    let (told, value) = refused(certificate, key);
    assert_eq!(told, field, "{value}");
    assert!(value.contains(words), "{value:?} without {words:?}");
}

#[test]
fn a_chain_and_its_key_are_accepted() {
    let pki = Pki::new();
    let with_root = pki.chain() + &pki.root.pem;
    for chain in [pki.chain(), with_root.clone()] {
        let accepted = accept(&chain, &pki.key(), NOW, false).unwrap();
        assert_eq!(accepted.warnings, [""; 0]);
        assert_eq!(accepted.names, ["shop.example", "*.shop.example"]);
        assert_eq!(accepted.key_type, KeyType::P256);
        assert_eq!(accepted.private_key(), pki.key.serialize_der());
    }
    let accepted = accept(&with_root, &pki.key(), NOW, false).unwrap();
    let sealed = Sealed::new(SealingKeyId::of_digest(&[7; 32]), [0; 40]).unwrap();
    let spec = accepted.with_key(sealed);
    assert_eq!(spec.validate(), Ok(()));
    assert_eq!(spec.chain.len(), 3);
    assert_eq!(spec.fingerprint, fingerprint(spec.chain[0].bytes()));
    assert_eq!(pem(&spec.chain), with_root.replace('\r', ""));
}

/// Many put both into one file.
#[test]
fn the_key_may_be_in_the_same_text() {
    let pki = Pki::new();
    let both = pki.key() + &pki.chain();
    assert!(accept(&both, &both, NOW, false).is_ok());
}

#[test]
fn each_supported_kind_of_key_is_accepted() {
    let made = |algorithm| {
        let key = KeyPair::generate_for(algorithm).unwrap();
        (
            self_signed(&params("a", &["a.example"]), &key),
            key.serialize_pem(),
        )
    };
    let fixed = |certificate: &str, key: &str| (certificate.to_owned(), key.to_owned());
    for ((certificate, key), kind, words) in [
        (made(&PKCS_ECDSA_P384_SHA384), KeyType::P384, "ECDSA P-384"),
        (made(&PKCS_ED25519), KeyType::Ed25519, "Ed25519"),
        (
            fixed(fixture!("rsa-2048.crt"), fixture!("rsa-2048.key")),
            KeyType::Rsa(2048),
            "RSA 2048",
        ),
        (
            fixed(fixture!("rsa-2048.crt"), fixture!("rsa-2048-pkcs1.key")),
            KeyType::Rsa(2048),
            "RSA 2048",
        ),
        (
            fixed(fixture!("p-384.crt"), fixture!("p-384-sec1.key")),
            KeyType::P384,
            "ECDSA P-384",
        ),
    ] {
        let accepted = accept(&certificate, &key, NOW, false).unwrap();
        assert_eq!(accepted.key_type, kind);
        assert_eq!(accepted.key_type.to_string(), words);
        let again = rustls_pki_types::PrivateKeyDer::try_from(accepted.private_key());
        assert!(rustls::crypto::ring::sign::any_supported_type(&again.unwrap()).is_ok());
    }
}

#[test]
fn a_certificate_with_a_key_of_another_kind_is_refused() {
    for (certificate, words) in [
        (fixture!("rsa-1024.crt"), "RSA with 1024 bits"),
        (fixture!("rsa-8192.crt"), "RSA with 8192 bits"),
        (fixture!("p-521.crt"), "another curve"),
    ] {
        let key = fixture!("rsa-2048.key");
        assert_refused(certificate, key, "certificate", words);
    }
    let key = fixture!("rsa-1024.key");
    let certificate = fixture!("rsa-2048.crt");
    assert_refused(certificate, key, "private_key", "of another kind");
}

#[test]
fn a_key_that_belongs_to_something_else_is_refused() {
    let (pki, other) = (Pki::new(), Pki::new());
    assert_refused(&pki.chain(), &other.key(), "private_key", "CN=shop");
    let reversed = format!("{}{}", pki.middle.pem, pki.leaf);
    let words = "number 2 belongs to the private key";
    assert_refused(&reversed, &pki.key(), "certificate", words);
}

#[test]
fn a_chain_that_is_not_one_is_refused() {
    let (pki, other) = (Pki::new(), Pki::new());
    let chain = |parts: &[&String]| parts.iter().map(|part| part.as_str()).collect::<String>();
    let (leaf, middle, root) = (&pki.leaf, &pki.middle.pem, &pki.root.pem);
    for (parts, words) in [
        (vec![leaf, root, middle], "number 1 is issued by number 3"),
        (
            vec![leaf, root],
            "incomplete: number 1 is issued by CN=middle",
        ),
        (vec![leaf, leaf], "incomplete"),
        // The name is the same, and the key is another.
        (vec![leaf, &other.middle.pem], "incomplete"),
        (vec![leaf, middle, &other.root.pem], "incomplete: number 2"),
    ] {
        assert_refused(&chain(&parts), &pki.key(), "certificate", words);
    }
    let alone = accept(leaf, &pki.key(), NOW, false).unwrap();
    assert_eq!(alone.warnings.len(), 1);
    assert!(alone.warnings[0].contains("CN=middle"));
    let key = KeyPair::generate().unwrap();
    let own = self_signed(&params("a", &["a.example"]), &key);
    let own = accept(&own, &key.serialize_pem(), NOW, false).unwrap();
    assert_eq!(own.warnings, [""; 0]);
}

#[test]
fn a_chain_that_is_too_long_is_refused() {
    let pki = Pki::new();
    let long = pki.chain() + &pki.root.pem.repeat(8);
    // The root is issued by itself.
    assert!(accept(&long, &pki.key(), NOW, false).is_ok());
    let longer = long + &pki.root.pem;
    assert_refused(&longer, &pki.key(), "certificate", "11 certificates");
    let mut large = params("a", &["a.example"]);
    let names = (0..3000).map(|n| SanType::DnsName(format!("n{n}.a.example").try_into().unwrap()));
    large.subject_alt_names.extend(names);
    let key = KeyPair::generate().unwrap();
    let large = self_signed(&large, &key);
    let chain = large.repeat(2);
    assert_refused(
        &chain,
        &key.serialize_pem(),
        "certificate",
        "2 certificates of",
    );
    let huge = "x".repeat((1 << 20) + 1);
    let wrong = accept(&huge, &huge, NOW, false).unwrap_err();
    assert_eq!(wrong.len(), 2);
    assert!(wrong.iter().all(|wrong| wrong.value == "1048577 bytes"));
}

#[test]
fn a_certificate_out_of_date_needs_force() {
    let key = KeyPair::generate().unwrap();
    let dated = |begin: i32, end: i32| {
        let mut params = params("a", &["a.example"]);
        params.not_before = date_time_ymd(begin, 1, 1);
        params.not_after = date_time_ymd(end, 1, 1);
        self_signed(&params, &key)
    };
    for (certificate, words) in [
        (dated(2020, 2026), "has expired at 2026-01-01T00:00:00Z"),
        (
            dated(2028, 2030),
            "is not valid before 2028-01-01T00:00:00Z",
        ),
    ] {
        let key = key.serialize_pem();
        assert_refused(&certificate, &key, "certificate", words);
        let forced = accept(&certificate, &key, NOW, true).unwrap();
        assert_eq!(forced.warnings.len(), 1);
        assert!(forced.warnings[0].contains(words), "{:?}", forced.warnings);
    }
    // The last second counts.
    let certificate = dated(2020, 2026);
    let last = Timestamp(1_767_225_600_000);
    assert!(accept(&certificate, &key.serialize_pem(), last, false).is_ok());
    // An authority expires as well.
    let mut pki = Pki::new();
    pki.middle.params.not_after = date_time_ymd(2026, 1, 1);
    pki.middle.pem = pki.root.sign(&pki.middle.params, &pki.middle.key);
    assert_refused(
        &pki.chain(),
        &pki.key(),
        "certificate",
        "number 2, of CN=middle, has expired",
    );
}

#[test]
fn a_certificate_without_a_dns_name_needs_force() {
    let key = KeyPair::generate().unwrap();
    let mut address = params("a.example", &[]);
    address.subject_alt_names = vec![
        SanType::IpAddress([10, 0, 0, 1].into()),
        SanType::DnsName("a.*.example".try_into().unwrap()),
    ];
    for params in [params("a.example", &[]), address] {
        let certificate = self_signed(&params, &key);
        let key = key.serialize_pem();
        assert_refused(&certificate, &key, "certificate", "no DNS name");
        let forced = accept(&certificate, &key, NOW, true).unwrap();
        assert_eq!((forced.names.len(), forced.warnings.len()), (0, 1));
    }
}

#[test]
fn what_is_no_certificate_is_called_by_its_name() {
    let der = String::from_utf8_lossy(include_bytes!("fixtures/p-384.der"));
    let pkcs12 = String::from_utf8_lossy(include_bytes!("fixtures/p-384.p12"));
    let key = fixture!("rsa-2048.key");
    let certificate = fixture!("rsa-2048.crt");
    let garbled = certificate.replace("MII", "M!I");
    let cut = &certificate[..certificate.len() / 2];
    let no_certificate = pem_of("CERTIFICATE", b"\x30\x03abc");
    for (text, words) in [
        ("", "empty"),
        (" \n", "empty"),
        ("hello", "no certificate"),
        (&*der, "DER"),
        (&*pkcs12, "PKCS #12"),
        (fixture!("p-384.p7b"), "PKCS #7"),
        (key, "a private key"),
        (&garbled, "damaged PEM"),
        (cut, "damaged PEM"),
        (&no_certificate, "number 1 is no certificate"),
        (
            "-----BEGIN CERTIFICATE REQUEST-----\n",
            "a certificate request",
        ),
        ("-----BEGIN SOMETHING-----\n", "no certificate"),
    ] {
        assert_refused(text, key, "certificate", words);
    }
}

#[test]
fn what_is_no_key_is_called_by_its_name() {
    let der = KeyPair::generate().unwrap().serialize_der();
    let der = String::from_utf8_lossy(&der);
    let pkcs12 = String::from_utf8_lossy(include_bytes!("fixtures/p-384.p12"));
    let key = fixture!("rsa-2048.key");
    let certificate = fixture!("rsa-2048.crt");
    let garbled = key.replace("MII", "M!I");
    let not_a_key = pem_of("PRIVATE KEY", b"\x30\x03abc");
    let two = key.repeat(2);
    for (text, words) in [
        ("", "empty"),
        ("hello", "no private key"),
        (&*der, "DER"),
        (&*pkcs12, "PKCS #12"),
        (certificate, "a certificate"),
        (fixture!("encrypted.key"), "encrypted"),
        (fixture!("encrypted-traditional.key"), "encrypted"),
        (&garbled, "damaged PEM"),
        (&key[..key.len() / 2], "damaged PEM"),
        (&not_a_key, "unreadable"),
        (&two, "several private keys"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\n", "OpenSSH"),
        ("-----BEGIN PUBLIC KEY-----\n", "a public key"),
    ] {
        assert_refused(certificate, text, "private_key", words);
    }
}

/// Both files may be wrong, and no sentence has a part of a key in it.
#[test]
fn everything_that_is_wrong_is_told_and_nothing_of_the_key() {
    let key = fixture!("rsa-2048.key");
    let lines: Vec<&str> = key.lines().filter(|line| !line.starts_with('-')).collect();
    let garbled = key.replace("MII", "M!I");
    let wrong = accept("", "", NOW, false).unwrap_err();
    let fields: Vec<_> = wrong.iter().map(|wrong| wrong.field.as_str()).collect();
    assert_eq!(fields, ["certificate", "private_key"]);
    for (certificate, private_key) in [(key, key), (&garbled, &garbled), (key, ""), (key, &garbled)]
    {
        let wrong = accept(certificate, private_key, NOW, false).unwrap_err();
        let told = format!("{wrong:?}");
        assert!(!lines.iter().any(|line| told.contains(line)), "{told}");
        assert!(!told.contains("M!I"), "{told}");
    }
    let pki = Pki::new();
    let accepted = accept(&pki.chain(), &pki.key(), NOW, false).unwrap();
    assert!(format!("{accepted:?}").contains("PrivateKey(hidden)"));
}

#[test]
fn authorities_are_read_from_pem() {
    let pki = Pki::new();
    let text = format!("a comment\n{}{}", pki.root.pem, pki.middle.pem);
    let bundle = authorities("client_ca", &text).unwrap();
    assert_eq!(bundle.certificates().len(), 2);
    let again = authorities("client_ca", &pem(bundle.certificates())).unwrap();
    assert_eq!(again, bundle);
    assert!(authorities("client_ca", " ").unwrap().is_empty());
    for text in ["hello", &pki.key(), &pem_of("CERTIFICATE", b"\x30\x03abc")] {
        assert_eq!(
            authorities("client_ca", text).unwrap_err().field,
            "client_ca"
        );
    }
}
