//! The ACME account, and how far certificates are.

use super::*;
use crate::model::{
    AcmeFailure, AcmeOrder, AcmeRegistration, AcmeRequest, AcmeSettings, AcmeStep, CaBundle,
    CertificateSource, CertificateSpec, ChallengePreference, Der, KeyType, Renewal, RenewalBy,
    Sealed, SealingKeyId,
};

fn name() -> CertificateName {
    "shop".parse().unwrap()
}

fn sealed(byte: u8) -> Sealed {
    Sealed::new(SealingKeyId::of_digest(&[byte; 32]), [byte; 40]).unwrap()
}

fn settings(directory: &str) -> AcmeSettings {
    AcmeSettings {
        directory: format!("https://{directory}/dir"),
        contacts: Vec::new(),
        challenge: ChallengePreference::Auto,
        external_account: None,
        ca: CaBundle::default(),
    }
}

fn set_account(directory: &str) -> Command {
    Command::SetAcmeAccount {
        settings: Box::new(settings(directory)),
        expected: None,
    }
}

fn request(domain: &str) -> AcmeRequest {
    AcmeRequest {
        domains: vec![domain.to_owned()],
        key_type: KeyType::P256,
    }
}

fn add() -> Command {
    Command::AddCertificate {
        certificate: name(),
        spec: Box::new(CertificateSpec::requested(request("a.example"), sealed(1))),
    }
}

fn step(step: AcmeStep) -> Command {
    Command::Acme(Box::new(step))
}

fn ordered(of: u64, url: &str) -> Command {
    step(AcmeStep::Ordered {
        certificate: name(),
        of: Revision(of),
        order: AcmeOrder {
            url: format!("https://ca/{url}"),
            key: sealed(2),
            challenges: Vec::new(),
        },
    })
}

fn issued_spec() -> CertificateSpec {
    CertificateSpec {
        chain: vec![Der::new([7; 10])],
        fingerprint: format!("{:064x}", 7),
        source: CertificateSource::Uploaded,
        ..CertificateSpec::requested(request("a.example"), sealed(2))
    }
}

fn issued(url: &str) -> Command {
    step(AcmeStep::Issued {
        certificate: name(),
        order: format!("https://ca/{url}"),
        spec: Box::new(issued_spec()),
    })
}

fn failed(of: u64, keeps_order: bool) -> Command {
    step(AcmeStep::Failed {
        certificate: name(),
        of: Revision(of),
        failure: failure(),
        keeps_order,
    })
}

fn failure() -> AcmeFailure {
    AcmeFailure {
        message: "no".to_owned(),
        at: Timestamp(1),
        retry_at: Timestamp(2),
        failures: 1,
    }
}

fn planned(of: u64, at: u64) -> Command {
    step(AcmeStep::Planned {
        certificate: name(),
        of: Revision(of),
        renewal: Renewal {
            at: Timestamp(at),
            by: RenewalBy::Lifetime,
            explanation: None,
        },
    })
}

fn renew() -> Command {
    Command::RenewCertificate {
        certificate: name(),
        at: Timestamp(5),
        expected: None,
    }
}

fn registered(of: u64) -> Command {
    step(AcmeStep::Registered {
        of: Revision(of),
        registration: AcmeRegistration {
            url: "https://ca/account".to_owned(),
            credentials: sealed(3),
            contacts: Vec::new(),
        },
    })
}

fn outcome(state: &mut DesiredState, command: Command) -> Outcome {
    let applied = state.apply(command);
    applied.unwrap_or_else(|error| panic!("{error}")).outcome
}

/// A state with an account of revision 1 and a certificate of revision 2.
fn with_certificate() -> DesiredState {
    let mut state = DesiredState::new(PoolSettings::default());
    assert_eq!(outcome(&mut state, set_account("ca")), Outcome::Created);
    assert_eq!(outcome(&mut state, add()), Outcome::Created);
    state
}

#[test]
fn a_certificate_is_requested_ordered_and_issued() {
    let mut state = with_certificate();
    let before = state.certificate(&name()).unwrap().spec.clone();
    assert!(!before.is_issued());
    assert_eq!(outcome(&mut state, add()), Outcome::Unchanged);
    assert_eq!(outcome(&mut state, ordered(2, "1")), Outcome::Changed);
    assert_eq!(outcome(&mut state, issued("1")), Outcome::Changed);
    let after = &state.certificate(&name()).unwrap().spec;
    assert!(after.is_issued());
    assert_eq!(after.source, before.source);
    assert_eq!(after.key, sealed(2));
    assert!(state.acme.orders.is_empty() && state.acme.progress.is_empty());
}

#[test]
fn what_was_overtaken_changes_nothing() {
    let mut state = with_certificate();
    for late in [
        ordered(1, "1"),
        failed(1, false),
        planned(1, 9),
        issued("1"),
        registered(9),
    ] {
        assert_eq!(
            outcome(&mut state, late.clone()),
            Outcome::Unchanged,
            "{late:?}"
        );
    }
    outcome(&mut state, ordered(2, "1"));
    // Another leader, which has ordered at the same time.
    assert_eq!(outcome(&mut state, ordered(2, "2")), Outcome::Unchanged);
    assert_eq!(outcome(&mut state, issued("2")), Outcome::Unchanged);
    // An operator wants another one.
    let other = CertificateSpec::requested(request("b.example"), sealed(1));
    let update = Command::UpdateCertificate {
        certificate: name(),
        spec: Box::new(other),
        expected: None,
    };
    assert_eq!(outcome(&mut state, update), Outcome::Changed);
    assert_eq!(outcome(&mut state, issued("1")), Outcome::Unchanged);
    assert!(state.acme.orders.is_empty());
}

#[test]
fn a_failure_keeps_the_order_only_if_it_can_be_gone_on_with() {
    let mut state = with_certificate();
    outcome(&mut state, ordered(2, "1"));
    outcome(&mut state, failed(2, true));
    assert_eq!(state.acme.orders.size(), 1);
    outcome(&mut state, failed(2, false));
    assert_eq!(state.acme.orders.size(), 0);
    let progress = state.acme.progress.get(&name()).unwrap();
    assert_eq!(progress.failure, Some(failure()));
    assert_eq!(outcome(&mut state, renew()), Outcome::Changed);
    assert_eq!(state.acme.progress.get(&name()).unwrap().failure, None);
}

/// A leader that has asked the authority before an operator wanted a renewal does not put that off.
#[test]
fn a_renewal_that_an_operator_wants_is_not_put_off() {
    let mut state = with_certificate();
    let at = |state: &DesiredState| {
        let progress = state.acme.progress.get(&name()).unwrap();
        progress.renewal.as_ref().unwrap().at
    };
    outcome(&mut state, planned(2, 90));
    assert_eq!(at(&state), Timestamp(90));
    outcome(&mut state, renew());
    outcome(&mut state, planned(2, 91));
    assert_eq!(at(&state), Timestamp(5));
}

#[test]
fn an_account_is_needed_and_stays_while_it_is_used() {
    let mut state = DesiredState::new(PoolSettings::default());
    assert_eq!(state.apply(add()), Err(Rejection::NoAcmeAccount));
    let mut state = with_certificate();
    let remove = || Command::RemoveAcmeAccount { expected: None };
    let by = vec!["certificate shop".to_owned()];
    assert_eq!(
        state.apply(remove()),
        Err(Rejection::AcmeAccountInUse { by })
    );
    let uploaded = Command::UpdateCertificate {
        certificate: name(),
        spec: Box::new(issued_spec()),
        expected: None,
    };
    outcome(&mut state, uploaded);
    let certificate = name();
    assert_eq!(
        state.apply(renew()),
        Err(Rejection::NotByAcme { certificate })
    );
    assert_eq!(outcome(&mut state, remove()), Outcome::Removed);
    assert_eq!(state.apply(remove()), Err(Rejection::NoAcmeAccount));
}

#[test]
fn another_directory_is_another_account_and_other_contacts_are_not() {
    let mut state = with_certificate();
    assert_eq!(outcome(&mut state, registered(1)), Outcome::Changed);
    outcome(&mut state, ordered(2, "1"));
    assert_eq!(outcome(&mut state, set_account("ca")), Outcome::Unchanged);
    let contacts = AcmeSettings {
        contacts: vec!["ops@example.com".to_owned()],
        ..settings("ca")
    };
    let update = Command::SetAcmeAccount {
        settings: Box::new(contacts),
        expected: None,
    };
    outcome(&mut state, update);
    let is_registered = |state: &DesiredState| {
        let account = state.acme.account.as_ref().unwrap();
        account.registration.is_some()
    };
    assert!(is_registered(&state) && !state.acme.orders.is_empty());
    outcome(&mut state, set_account("other"));
    assert!(!is_registered(&state) && state.acme.orders.is_empty());
}

/// The authority has issued it, whatever operators take back.
#[test]
fn an_issued_certificate_is_no_change_to_take_back() {
    let mut state = with_certificate();
    outcome(&mut state, ordered(2, "1"));
    outcome(&mut state, issued("1"));
    assert!(state.take_touched().certificates.is_empty());
}

/// It may be for the same names, so that only who issued it differs.
#[test]
fn a_certificate_that_was_uploaded_is_ordered_at_once_when_acme_takes_over() {
    let mut state = DesiredState::new(PoolSettings::default());
    outcome(&mut state, set_account("ca"));
    let spec = Box::new(issued_spec());
    let certificate = name();
    outcome(&mut state, Command::AddCertificate { certificate, spec });
    let update = Command::UpdateCertificate {
        certificate: name(),
        spec: Box::new(CertificateSpec {
            source: CertificateSource::Acme(request("a.example")),
            ..issued_spec()
        }),
        expected: None,
    };
    assert_eq!(outcome(&mut state, update), Outcome::Changed);
    let progress = state.acme.progress.get(&name()).unwrap();
    assert_eq!(progress.renewal.as_ref().unwrap().at, Timestamp(0));
    // What ACME has issued is not ordered again by itself.
    outcome(&mut state, ordered(3, "1"));
    outcome(&mut state, issued("1"));
    assert!(state.acme.progress.is_empty());
}

#[test]
fn an_operator_who_asks_again_does_not_wait_for_the_next_try_of_the_account() {
    let mut state = with_certificate();
    let fail = |state: &mut DesiredState| {
        let step = step(AcmeStep::NotRegistered {
            of: Revision(1),
            failure: failure(),
        });
        assert_eq!(outcome(state, step), Outcome::Changed);
    };
    let has_failed = |state: &DesiredState| {
        let account = state.acme.account.as_ref().unwrap();
        account.failure.is_some()
    };
    fail(&mut state);
    assert_eq!(outcome(&mut state, set_account("ca")), Outcome::Changed);
    assert!(!has_failed(&state));
    assert_eq!(outcome(&mut state, set_account("ca")), Outcome::Unchanged);
    fail(&mut state);
    outcome(&mut state, renew());
    assert!(!has_failed(&state));
}
