//! Which changes are accepted, whatever way they come: a call, a backup, an earlier revision, or the log. Pure.
//!
//! [`DesiredState::apply`](super::DesiredState::apply) and [`DesiredState::bring_back`](super::DesiredState::bring_back)
//! refuse what is refused here. Only what a change sets is validated, so a server that an earlier version accepted can
//! still be drained and removed.

use std::{net::SocketAddr, time::Duration};

use super::{
    CheckOverride, Command, HealthCheck, Invalid, ListenerName, ListenerPatch, ListenerSpec,
    PoolName, PoolPatch, PoolSettings, Priority, Role, RuleSpec, ServerSpec, Target, Weight,
    in_range, listener::validate_default, listener_address, listener_tls::certificate_names,
    server_address,
};

/// The longest deadline of a removal, which is also the longest of a pool.
pub const LONGEST_DRAIN: Duration = Duration::from_hours(24);

impl Command {
    /// Accepts the command when each value that it sets is in its range.
    ///
    /// # Errors
    /// Names the field, its value and what is accepted.
    pub fn validate(&self) -> Result<(), Invalid> {
        match self {
            Self::AddServer { address, spec, .. } => {
                canonical(*address)?;
                spec.validate()
            }
            Self::UpdateServer { patch, .. } => {
                patch.weight.map_or(Ok(()), Weight::validate)?;
                let check = patch.check.as_ref();
                check.map_or(Ok(()), |check| check.validate("check"))
            }
            Self::BeginRemoval {
                deadline: Some(deadline),
                ..
            } => in_range("deadline", *deadline, Duration::ZERO..=LONGEST_DRAIN).map(drop),
            Self::UpdatePool { patch, .. } => patch.validate(),
            Self::CreatePrincipal {
                name,
                role,
                pools,
                credential,
                ..
            } => {
                name.validate()?;
                pools_of(*role, pools)?;
                credential.validate()
            }
            Self::RevokePrincipal { name } => name.validate(),
            Self::AddPool { settings, .. } => settings
                .validate_whole()
                .map_err(|invalid| invalid.within("settings")),
            Self::AddListener { listener, spec } => listener_spec(listener, spec),
            Self::UpdateListener {
                listener, patch, ..
            } => patch.validate(listener),
            Self::RemoveListener { drain_deadline, .. } => in_range(
                "drain_deadline",
                *drain_deadline,
                Duration::ZERO..=LONGEST_DRAIN,
            )
            .map(drop),
            Self::AddRule { priority, spec, .. } => {
                priority.map_or(Ok(()), Priority::validate)?;
                spec.validate()
            }
            Self::UpdateRule { spec, .. } => spec.validate(),
            Self::MoveRule { to, .. } => to
                .validate()
                .map_err(|invalid| invalid.named("to_priority")),
            Self::AddCertificate { certificate, spec }
            | Self::UpdateCertificate {
                certificate, spec, ..
            } => {
                certificate.validate()?;
                spec.validate()
            }
            Self::SetAcmeAccount { settings, .. } => settings.validate(),
            Self::Acme(step) => step.validate(),
            Self::Apply { changes, .. } => all(changes),
            Self::BeginRemoval { deadline: None, .. }
            | Self::EndRemoval { .. }
            | Self::RemovePool { .. }
            | Self::RemoveRule { .. }
            | Self::RemoveCertificate { .. }
            | Self::RemoveAcmeAccount { .. }
            | Self::RenewCertificate { .. }
            | Self::RotateTickets { .. }
            | Self::RotateStickiness { .. } => Ok(()),
        }
    }
}

fn all(changes: &[Command]) -> Result<(), Invalid> {
    if changes.len() > Command::MOST_CHANGES {
        let accepted = format!("at most {} changes", Command::MOST_CHANGES);
        return Err(Invalid::new("changes", changes.len(), accepted));
    }
    for command in changes {
        if matches!(command, Command::Apply { .. }) {
            return Err(Invalid::new("changes", "apply", "single changes"));
        }
        command.validate()?;
    }
    Ok(())
}

/// Only the listener `default` has no address: it listens where the option `--listen` of each node says.
fn listener_spec(name: &ListenerName, spec: &ListenerSpec) -> Result<(), Invalid> {
    spec.validate()?;
    match spec.address {
        None if *name != ListenerName::default() => Err(Invalid::new(
            "address",
            "",
            "the address to listen on, such as 0.0.0.0:80",
        )),
        Some(address) if *name == ListenerName::default() => Err(has_no_address(address)),
        _ => Ok(()),
    }
}

fn has_no_address(address: SocketAddr) -> Invalid {
    let accepted =
        "no address: the listener default listens where the option --listen of each node says";
    Invalid::new("address", address, accepted)
}

impl ListenerPatch {
    /// Accepts the patch when each setting that it sets is in its range, whatever the others are.
    fn validate(&self, name: &ListenerName) -> Result<(), Invalid> {
        if let Some(address) = self.address {
            listener_address(address)?;
            if *name == ListenerName::default() {
                return Err(has_no_address(address));
            }
        }
        self.default_route
            .as_ref()
            .map_or(Ok(()), validate_default)?;
        let within = |invalid: Invalid| invalid.within("policy");
        self.policy.validate_names()?;
        self.policy.set.validate().map_err(within)?;
        // Whether protocol, certificates and settings fit together is decided by all of them, when the patch is applied.
        self.certificates
            .as_deref()
            .map_or(Ok(()), certificate_names)
    }
}

impl Target {
    /// Accepts the target when each value that it sets is in its range.
    ///
    /// # Errors
    /// Names the field, its value and what is accepted.
    pub fn validate(&self) -> Result<(), Invalid> {
        for settings in self.settings.values().flatten() {
            settings
                .validate_whole()
                .map_err(|invalid| invalid.within("settings"))?;
        }
        for ((_, address), spec) in &self.servers {
            let Some(spec) = spec else { continue };
            let valid = canonical(*address).and_then(|()| spec.validate());
            valid.map_err(|invalid| invalid.within("servers"))?;
        }
        for (name, spec) in &self.certificates {
            let Some(spec) = spec else { continue };
            let valid = name.validate().and_then(|()| spec.validate());
            valid.map_err(|invalid| invalid.within("certificates"))?;
        }
        if let Some(account) = &self.acme_account {
            let valid = account.validate();
            valid.map_err(|invalid| invalid.within("acme_account"))?;
        }
        for (name, spec) in &self.listeners {
            let Some(spec) = spec else { continue };
            listener_spec(name, spec).map_err(|invalid| invalid.within("listeners"))?;
        }
        for ((_, priority), rule) in &self.rules {
            let Some(rule) = rule else { continue };
            let valid = priority
                .validate()
                .and_then(|()| RuleSpec::validate(&rule.spec));
            valid.map_err(|invalid| invalid.within("rules"))?;
        }
        Ok(())
    }
}

impl ServerSpec {
    fn validate(&self) -> Result<(), Invalid> {
        self.weight.validate()?;
        self.check.validate("check")
    }
}

impl PoolPatch {
    /// Accepts the patch when each setting that it sets is in its range, whatever the others are.
    fn validate(&self) -> Result<(), Invalid> {
        self.policy.validate_names()?;
        let settings = self.applied_to(&PoolSettings::default());
        settings
            .validate()
            .map_err(|invalid| invalid.within("settings"))
    }
}

impl CheckOverride {
    /// Accepts the overrides when each is in its range, whatever check they override.
    fn validate(&self, field: &str) -> Result<(), Invalid> {
        let check = self.resolve(&HealthCheck::default());
        check.validate().map_err(|invalid| invalid.within(field))
    }
}

/// The most pools that a principal may be limited to.
const MOST_POOLS: usize = 256;

/// Accepts the pools that a principal is limited to: only an operator can be.
fn pools_of(role: Role, pools: &[PoolName]) -> Result<(), Invalid> {
    if !pools.is_empty() && role != Role::Operator {
        let accepted = "none: only the role operator can be limited to pools";
        return Err(Invalid::new(
            "pools",
            format!("{} pools", pools.len()),
            accepted,
        ));
    }
    if pools.len() > MOST_POOLS {
        let accepted = format!("at most {MOST_POOLS} pools");
        return Err(Invalid::new(
            "pools",
            format!("{} pools", pools.len()),
            accepted,
        ));
    }
    for pool in pools {
        // What was read from a log or a request was not parsed as a name.
        pool.as_str().parse::<PoolName>()?;
    }
    Ok(())
}

/// Accepts the address of one host, in the one form that it has. A zone or a flow means something on one node only.
fn canonical(given: SocketAddr) -> Result<(), Invalid> {
    let address = server_address(given)?;
    if address == given {
        return Ok(());
    }
    let accepted = format!("{address}, which is the same address in its usual form");
    Err(Invalid::new("address", given, accepted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        CheckKind, DesiredState, HttpCheck, PoolName, Rejection, Revision, Timestamp,
    };

    fn state() -> DesiredState {
        DesiredState::new(PoolSettings::default())
    }

    fn add(address: &str, check: CheckOverride) -> Command {
        Command::AddServer {
            pool: PoolName::default(),
            address: address.parse().unwrap(),
            spec: ServerSpec {
                check,
                ..ServerSpec::default()
            },
            expected: None,
            at: Timestamp(1),
        }
    }

    fn path(path: &str) -> CheckOverride {
        CheckOverride {
            kind: Some(CheckKind::Http(HttpCheck {
                path: path.to_owned(),
                ..HttpCheck::default()
            })),
            ..CheckOverride::default()
        }
    }

    fn every(interval: Duration) -> CheckOverride {
        CheckOverride {
            interval: Some(interval),
            ..CheckOverride::default()
        }
    }

    /// Each check that is refused, with the name of its field.
    fn refused_checks() -> Vec<(CheckOverride, &'static str)> {
        let port = CheckOverride {
            port: Some(Some(0)),
            ..CheckOverride::default()
        };
        vec![
            (every(Duration::ZERO), "check.interval"),
            (port, "check.port"),
            (path("/\r\nX: y"), "check.http.path"),
            (path("/\u{1b}[2J"), "check.http.path"),
            (path(&format!("/{}", "x".repeat(4096))), "check.http.path"),
        ]
    }

    fn field(applied: Result<super::super::Applied, Rejection>) -> String {
        match applied {
            Err(Rejection::Invalid { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_command_with_a_value_out_of_its_range_changes_nothing() {
        let mut state = state();
        let fine = || CheckOverride::default();
        for address in [
            "0.0.0.0:80",
            "[::]:80",
            "224.0.0.1:80",
            "[ff02::1]:80",
            "255.255.255.255:80",
            "10.0.0.1:0",
            "[::ffff:10.0.0.1]:80",
            "[fe80::1%1]:80",
        ] {
            let refused = state.apply(add(address, fine()));
            assert_eq!(field(refused), "address", "{address}");
        }
        for (check, name) in refused_checks() {
            let refused = state.apply(add("10.0.0.1:80", check.clone()));
            assert_eq!(field(refused), name);
            let patch = PoolPatch {
                check,
                ..PoolPatch::default()
            };
            let refused = state.apply(Command::UpdatePool {
                pool: PoolName::default(),
                patch,
                expected: None,
            });
            assert_eq!(field(refused), format!("settings.{name}"));
        }
        assert_eq!(state, self::state());
    }

    #[test]
    fn a_target_with_a_value_out_of_its_range_changes_nothing() {
        let mut state = state();
        let server = |address: &str, check| {
            let key = (PoolName::default(), address.parse().unwrap());
            let spec = ServerSpec {
                check,
                ..ServerSpec::default()
            };
            Target {
                servers: [(key, Some(spec))].into(),
                ..Target::default()
            }
        };
        let refused = state.bring_back(server("0.0.0.0:80", path("/")), Timestamp(1));
        assert_eq!(field(refused), "servers.address");
        for (check, name) in refused_checks() {
            let refused = state.bring_back(server("10.0.0.1:80", check.clone()), Timestamp(1));
            assert_eq!(field(refused), format!("servers.{name}"));
            let settings = PoolSettings {
                check: check.resolve(&HealthCheck::default()),
                ..PoolSettings::default()
            };
            let target = Target {
                settings: [(PoolName::default(), Some(settings))].into(),
                ..Target::default()
            };
            let refused = state.bring_back(target, Timestamp(1));
            assert_eq!(field(refused), format!("settings.{name}"));
        }
        assert_eq!(state, self::state());
    }

    #[test]
    fn a_weight_that_was_only_read_is_validated_too() {
        let weight = serde_json::from_str("60000").unwrap();
        let command = Command::UpdateServer {
            pool: PoolName::default(),
            address: "10.0.0.1:80".parse().unwrap(),
            patch: crate::model::ServerPatch {
                weight: Some(weight),
                ..Default::default()
            },
            expected: None,
            at: Timestamp(1),
        };
        assert_eq!(command.validate().unwrap_err().field, "weight");
    }

    /// What an earlier version accepted stays as it is until it is removed, which is accepted.
    #[test]
    fn a_server_that_an_earlier_version_accepted_can_be_removed() {
        let mut state = state();
        let old = add("0.0.0.0:80", every(Duration::ZERO));
        assert_eq!(state.apply_earlier(old).unwrap().revision, Revision(1));
        let removed = state.apply(Command::BeginRemoval {
            pool: PoolName::default(),
            address: "0.0.0.0:80".parse().unwrap(),
            id: None,
            deadline: Some(Duration::ZERO),
            expected: None,
            at: Timestamp(2),
        });
        assert_eq!(removed.unwrap().revision, Revision(2));
    }
}
