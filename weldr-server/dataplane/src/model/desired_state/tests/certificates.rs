//! Certificates, and what names them.

use super::{objects::*, *};
use crate::model::{
    CertificateSpec, Der, KeyType, ListenerPatch, ListenerProtocol, ListenerTls, ListenerTlsPatch,
    PoolProtocol, PoolTls, PoolTlsPatch, Sealed, SealingKeyId, Target,
};

fn certificate(name: &str) -> CertificateName {
    name.parse().unwrap()
}

/// A certificate whose chain and sealed key are these bytes.
fn spec(chain: u8, key: u8) -> CertificateSpec {
    let id = SealingKeyId::of_digest(&[key; 32]);
    CertificateSpec {
        chain: vec![Der::new([chain; 10])],
        key: Sealed::new(id, [key; 40]).unwrap(),
        names: vec![format!("{chain}.example")],
        not_before: Timestamp(0),
        not_after: Timestamp(SECOND),
        key_type: KeyType::P256,
        fingerprint: format!("{chain:064x}"),
        source: crate::model::CertificateSource::Uploaded,
    }
}

fn add_certificate(name: &str, chain: u8) -> Command {
    Command::AddCertificate {
        certificate: certificate(name),
        spec: Box::new(spec(chain, 1)),
    }
}

fn set_certificate(name: &str, chain: u8, key: u8, expected: Option<u64>) -> Command {
    Command::UpdateCertificate {
        certificate: certificate(name),
        spec: Box::new(spec(chain, key)),
        expected: expected.map(Revision),
    }
}

fn remove_certificate(name: &str) -> Command {
    Command::RemoveCertificate {
        certificate: certificate(name),
        expected: None,
    }
}

fn https(certificates: &[&str]) -> ListenerSpec {
    ListenerSpec {
        address: Some("0.0.0.0:443".parse().unwrap()),
        protocol: ListenerProtocol::Https,
        certificates: certificates.iter().map(|name| certificate(name)).collect(),
        ..ListenerSpec::default()
    }
}

fn add_https(certificates: &[&str]) -> Command {
    Command::AddListener {
        listener: web(),
        spec: Box::new(https(certificates)),
    }
}

fn set_listener(name: &str, patch: ListenerPatch) -> Command {
    Command::UpdateListener {
        listener: name.parse().unwrap(),
        patch: Box::new(patch),
        expected: None,
    }
}

fn named(certificates: &[&str]) -> ListenerPatch {
    let names = certificates.iter().map(|name| certificate(name));
    ListenerPatch {
        certificates: Some(names.collect()),
        ..ListenerPatch::default()
    }
}

fn client_certificate(name: Option<&str>) -> Command {
    Command::UpdatePool {
        pool: default_pool(),
        patch: PoolPatch {
            protocol: Some(PoolProtocol::Https),
            tls: PoolTlsPatch {
                client_certificate: Some(name.map(certificate)),
                ..PoolTlsPatch::default()
            },
            ..PoolPatch::default()
        },
        expected: None,
    }
}

/// The certificates `shop` and `blog`, and a listener with the first one.
fn with_listener() -> DesiredState {
    after([
        add_certificate("shop", 1),
        add_certificate("blog", 2),
        add_https(&["shop"]),
    ])
}

#[test]
fn adding_again_changes_nothing_and_another_certificate_is_named() {
    let mut state = with_listener();
    // Sealed, the same key is other bytes.
    let again = Command::AddCertificate {
        certificate: certificate("shop"),
        spec: Box::new(spec(1, 9)),
    };
    assert_eq!(applied(&mut state, again), (Outcome::Unchanged, 3));
    let refused = state.apply(add_certificate("shop", 2)).unwrap_err();
    let Rejection::Present {
        object,
        differences,
    } = refused
    else {
        panic!("{refused:?}")
    };
    assert_eq!(object, "certificate shop");
    let names: Vec<_> = differences.iter().map(|setting| &*setting.name).collect();
    assert_eq!(names, ["fingerprint", "names"]);
}

#[test]
fn setting_replaces_the_certificate_or_what_its_key_is_sealed_with() {
    let mut state = with_listener();
    let missing = state
        .apply(set_certificate("none", 1, 1, None))
        .unwrap_err();
    assert!(matches!(missing, Rejection::NoSuchCertificate { .. }));
    let same = set_certificate("shop", 1, 1, None);
    assert_eq!(applied(&mut state, same), (Outcome::Unchanged, 3));
    let sealed_anew = set_certificate("shop", 1, 2, Some(1));
    assert_eq!(applied(&mut state, sealed_anew), (Outcome::Changed, 4));
    let late = state
        .apply(set_certificate("shop", 3, 2, Some(3)))
        .unwrap_err();
    assert!(matches!(late, Rejection::Changed { .. }), "{late}");
    let other = set_certificate("shop", 3, 2, Some(4));
    assert_eq!(applied(&mut state, other), (Outcome::Changed, 5));
    let shop = state.certificate(&certificate("shop")).unwrap();
    assert_eq!((&*shop.spec, shop.revision), (&spec(3, 2), Revision(5)));
    let blog = state.certificate(&certificate("blog")).unwrap();
    assert_eq!(blog.revision, Revision(2));
}

#[test]
fn a_certificate_that_is_named_stays() {
    let mut state = with_listener();
    applied(&mut state, client_certificate(Some("blog")));
    let before = state.clone();
    for (name, by) in [("shop", "listener web"), ("blog", "pool default")] {
        let refused = state.apply(remove_certificate(name)).unwrap_err();
        let in_use = Rejection::CertificateInUse {
            certificate: certificate(name),
            by: vec![by.to_owned()],
        };
        assert_eq!(refused, in_use);
        let refused = state
            .apply(batch(vec![remove_certificate(name)]))
            .unwrap_err();
        assert_eq!(refused, in_use);
    }
    assert_eq!(state, before);
    let missing = state.apply(remove_certificate("none")).unwrap_err();
    assert!(matches!(missing, Rejection::NoSuchCertificate { .. }));
    applied(&mut state, set_listener("web", named(&["blog"])));
    assert_eq!(
        applied(&mut state, remove_certificate("shop")).0,
        Outcome::Removed
    );
    // In one change, in any order.
    let both = batch(vec![
        remove_certificate("blog"),
        client_certificate(None),
        Command::RemoveListener {
            listener: web(),
            drain_deadline: Duration::ZERO,
            expected: None,
        },
    ]);
    assert_eq!(applied(&mut state, both).0, Outcome::Changed);
    assert!(state.certificates.is_empty());
}

#[test]
fn what_names_a_certificate_needs_it() {
    let mut state = with_listener();
    let before = state.clone();
    for (command, object) in [
        (
            set_listener("web", named(&["shop", "none"])),
            "listener web",
        ),
        (
            set_listener("default", named(&["none"])),
            "listener default",
        ),
        (client_certificate(Some("none")), "pool default"),
        (
            Command::AddPool {
                pool: pool("api"),
                settings: Box::new(PoolSettings {
                    protocol: PoolProtocol::Https,
                    tls: PoolTls {
                        client_certificate: Some(certificate("none")),
                        ..PoolTls::default()
                    },
                    ..PoolSettings::default()
                }),
            },
            "pool api",
        ),
        (
            Command::AddListener {
                listener: "other".parse().unwrap(),
                spec: Box::new(https(&["none"])),
            },
            "listener other",
        ),
    ] {
        let missing = Rejection::MissingCertificate {
            object: object.to_owned(),
            certificate: certificate("none"),
        };
        assert_eq!(state.apply(command.clone()).unwrap_err(), missing);
        assert_eq!(state.apply(batch(vec![command])).unwrap_err(), missing);
    }
    assert_eq!(state, before);
    // Added by a later change of the same batch.
    let together = batch(vec![
        set_listener("web", named(&["new"])),
        add_certificate("new", 7),
    ]);
    assert_eq!(applied(&mut state, together).0, Outcome::Changed);
}

#[test]
fn a_listener_that_becomes_plain_has_no_certificates_and_default_keeps_them() {
    let mut state = with_listener();
    let strict = ListenerPatch {
        tls: ListenerTlsPatch {
            strict_sni: Some(true),
            ..ListenerTlsPatch::default()
        },
        ..ListenerPatch::default()
    };
    applied(&mut state, set_listener("web", strict.clone()));
    let empty = state.apply(set_listener("web", named(&[]))).unwrap_err();
    assert!(matches!(empty, Rejection::Invalid { field, .. } if field == "certificates"));
    let plain = ListenerPatch {
        protocol: Some(ListenerProtocol::Http),
        ..ListenerPatch::default()
    };
    applied(&mut state, set_listener("web", plain.clone()));
    let web = &state.listener(&web()).unwrap().spec;
    assert_eq!(
        (web.certificates.len(), &web.tls),
        (0, &ListenerTls::default())
    );
    let refused = state
        .apply(set_listener("web", strict.clone()))
        .unwrap_err();
    assert!(matches!(refused, Rejection::Invalid { field, .. } if field == "tls"));
    let of_default = ListenerPatch {
        certificates: named(&["shop"]).certificates,
        ..strict
    };
    applied(&mut state, set_listener("default", of_default));
    assert_eq!(
        applied(&mut state, set_listener("default", plain)).0,
        Outcome::Unchanged
    );
    let default = state.listener(&ListenerName::default()).unwrap();
    assert_eq!(default.spec.certificates, [certificate("shop")]);
    assert!(default.spec.tls.strict_sni);
}

#[test]
fn bringing_back_keeps_the_key_of_the_same_certificate() {
    let mut state = with_listener();
    applied(&mut state, set_certificate("shop", 1, 2, None));
    applied(&mut state, set_certificate("blog", 5, 2, None));
    let target = Target {
        certificates: [
            (certificate("shop"), Some(spec(1, 1).into())),
            (certificate("blog"), Some(spec(2, 1).into())),
            (certificate("new"), Some(spec(6, 1).into())),
        ]
        .into(),
        ..Target::default()
    };
    state.bring_back(target, Timestamp(SECOND)).unwrap();
    let of = |name: &str| state.certificate(&certificate(name)).unwrap().spec.clone();
    assert_eq!(*of("shop"), spec(1, 2), "it was sealed anew since");
    assert_eq!(*of("blog"), spec(2, 1));
    assert_eq!(*of("new"), spec(6, 1));
    let gone = |name| Target {
        certificates: [(certificate(name), None)].into(),
        ..Target::default()
    };
    let refused = state
        .bring_back(gone("shop"), Timestamp(SECOND))
        .unwrap_err();
    assert!(matches!(refused, Rejection::CertificateInUse { .. }));
    state.bring_back(gone("new"), Timestamp(SECOND)).unwrap();
    assert!(state.certificate(&certificate("new")).is_err());
}

#[test]
fn a_certificate_with_a_value_out_of_its_range_is_refused() {
    let refused = |change: &dyn Fn(&mut CertificateSpec)| {
        let mut spec = spec(1, 1);
        change(&mut spec);
        let command = Command::AddCertificate {
            certificate: certificate("shop"),
            spec: Box::new(spec),
        };
        match after([]).apply(command).unwrap_err() {
            Rejection::Invalid { field, .. } => field,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(&|spec| spec.chain.clear()), "chain");
    let long = |spec: &mut CertificateSpec| spec.chain = vec![Der::new([0]); 11];
    assert_eq!(refused(&long), "chain");
    let large = |spec: &mut CertificateSpec| spec.chain = vec![Der::new(vec![0; 65_537])];
    assert_eq!(refused(&large), "chain");
    assert_eq!(refused(&|spec| spec.names = vec!["a".repeat(254)]), "names");
    assert_eq!(refused(&|spec| spec.fingerprint.clear()), "fingerprint");
    let name = serde_json::from_str::<CertificateName>(r#""a b""#).unwrap();
    let command = Command::AddCertificate {
        certificate: name,
        spec: Box::new(spec(1, 1)),
    };
    assert!(after([]).apply(command).is_err());
}

/// Adding one and replacing one touch that one, whatever else is there.
#[test]
fn a_change_of_one_of_many_certificates_touches_only_that_one() {
    let mut state = after([]);
    for n in 0..1000 {
        let command = add_certificate(&format!("c{n}"), 1);
        state.apply(command).unwrap();
    }
    let before = state.clone();
    state.apply(set_certificate("c500", 2, 1, None)).unwrap();
    assert_eq!(
        state.take_touched().certificates,
        [certificate("c500")].into()
    );
    let mut others = before.certificates.iter().zip(state.certificates.iter());
    let is_shared = others.all(|((name, before), (_, after))| {
        *name == certificate("c500") || std::sync::Arc::ptr_eq(before, after)
    });
    assert!(is_shared);
}
