//! Principals are created and revoked, and nothing else brings one back.

use super::*;
use crate::model::{Credential, Principal, Role, Target};

fn token(id: &str) -> Credential {
    Credential::Token {
        id: id.to_owned(),
        sha256: "ab".repeat(32),
        expires: None,
    }
}

fn create(name: &str, credential: Credential) -> Command {
    Command::CreatePrincipal {
        name: name.parse().unwrap(),
        role: Role::Operator,
        pools: vec![default_pool()],
        credential,
        at: Timestamp(7),
    }
}

fn revoke(name: &str) -> Command {
    Command::RevokePrincipal {
        name: name.parse().unwrap(),
    }
}

#[test]
fn a_principal_is_there_from_its_creation_to_its_revocation() {
    let mut state = after([]);
    assert_eq!(
        applied(&mut state, create("deploy", token("00000001"))),
        (Outcome::Created, 1)
    );
    let principal = Principal::clone(&state.principals[&"deploy".parse().unwrap()]);
    assert_eq!(principal.revision, Revision(1));
    assert!(principal.may_change(&default_pool()));
    assert!(!principal.may_change(&other_pool()));
    assert_eq!(applied(&mut state, revoke("deploy")), (Outcome::Removed, 2));
    assert!(state.principals.is_empty());
    let gone = refused(&state, revoke("deploy"));
    assert!(matches!(gone, Rejection::NoSuchPrincipal { .. }));
}

#[test]
fn a_name_and_a_credential_belong_to_one_principal() {
    let certificate = || Credential::Certificate {
        subject: "ops.example".to_owned(),
    };
    let state = after([
        create("deploy", token("00000001")),
        create("ops", certificate()),
    ]);
    for command in [
        create("deploy", token("00000002")),
        create("other", token("00000001")),
        create("other", certificate()),
    ] {
        let exists = refused(&state, command);
        assert!(
            matches!(exists, Rejection::PrincipalExists { .. }),
            "{exists:?}"
        );
    }
}

#[test]
fn values_out_of_range_are_refused() {
    let state = after([]);
    let role = |role, pools| Command::CreatePrincipal {
        name: "a".parse().unwrap(),
        role,
        pools,
        credential: token("00000001"),
        at: Timestamp(1),
    };
    let subject = |subject: &str| Credential::Certificate {
        subject: subject.to_owned(),
    };
    for (command, field) in [
        (create("a", token("x")), "token.id"),
        (create("a", token("0000000A")), "token.id"),
        (create("a", subject("")), "subject"),
        (create("a", subject("a\nb")), "subject"),
        (create("a", subject(&"x".repeat(257))), "subject"),
        (role(Role::Viewer, vec![default_pool()]), "pools"),
    ] {
        match refused(&state, command) {
            Rejection::Invalid { field: name, .. } => assert_eq!(name, field),
            other => panic!("{other}"),
        }
    }
    let unhashed = Credential::Token {
        id: "00000001".to_owned(),
        sha256: "not a digest, but perhaps a secret".to_owned(),
        expires: None,
    };
    let refusal = refused(&state, create("a", unhashed)).to_string();
    assert!(!refusal.contains("perhaps a secret"), "{refusal}");
}

#[test]
fn there_are_only_so_many() {
    let state = after((0..DesiredState::MOST_PRINCIPALS).map(|n| {
        let id = format!("{n:08}");
        create(&format!("p{n}"), token(&id))
    }));
    let full = refused(&state, create("one-more", token("zzzzzzzz")));
    assert!(matches!(full, Rejection::TooManyPrincipals { limit: 1000 }));
}

#[test]
fn what_brings_back_an_earlier_state_leaves_principals_alone() {
    let mut state = after([
        create("deploy", token("00000001")),
        add(1, weighing(1)),
        revoke("deploy"),
        create("ci", token("00000002")),
    ]);
    let before = state.principals.clone();
    let key = (default_pool(), address(1));
    let target = Target {
        servers: [(key, None)].into(),
        ..Target::default()
    };
    state.bring_back(target, Timestamp(9)).unwrap();
    assert_eq!(state.principals, before);
}
