//! What listeners and pools speak, and how they speak TLS.

use weldr_proto::v1;

use crate::{
    certificates::{authorities, pem},
    model::{
        CaBundle, CertificateName, ClientAuth, Invalid, ListenerProtocol, ListenerTls,
        ListenerTlsPatch, PoolProtocol, PoolTls, PoolTlsPatch, TlsPolicy,
    },
};

use super::Violations;

/// What `given` says that clients speak.
pub(in crate::management) fn listener_protocol(
    given: i32,
) -> Result<Option<ListenerProtocol>, Invalid> {
    match v1::ListenerProtocol::try_from(given) {
        Ok(v1::ListenerProtocol::Unspecified) => Ok(None),
        Ok(v1::ListenerProtocol::Http) => Ok(Some(ListenerProtocol::Http)),
        Ok(v1::ListenerProtocol::Https) => Ok(Some(ListenerProtocol::Https)),
        Err(_) => {
            let accepted = "LISTENER_PROTOCOL_HTTP or LISTENER_PROTOCOL_HTTPS";
            Err(Invalid::new("protocol", given, accepted))
        }
    }
}

pub(super) fn proto_listener_protocol(protocol: ListenerProtocol) -> i32 {
    match protocol {
        ListenerProtocol::Http => v1::ListenerProtocol::Http.into(),
        ListenerProtocol::Https => v1::ListenerProtocol::Https.into(),
    }
}

/// The names of certificates of a listener.
pub(in crate::management) fn certificate_names(
    given: &[String],
) -> Result<Vec<CertificateName>, Invalid> {
    let names = given.iter().map(|name| name.parse());
    let names: Result<_, Invalid> = names.collect();
    names.map_err(|invalid| invalid.named("certificates"))
}

pub(super) fn proto_certificate_names(names: &[CertificateName]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

/// The settings of TLS that `given` sets.
pub(in crate::management) fn listener_tls(
    given: &v1::ListenerTls,
    violations: &mut Violations,
) -> ListenerTlsPatch {
    let mut found = Violations::default();
    let client_ca = given.client_ca.as_deref();
    let patch = ListenerTlsPatch {
        policy: found.take(tls_policy(given.policy)).flatten(),
        strict_sni: given.strict_sni,
        session_resumption: given.session_resumption,
        client_auth: found.take(client_auth(given.client_auth)).flatten(),
        client_ca: client_ca.and_then(|text| found.take(authorities("client_ca", text))),
        forward_client_certificate: given.forward_client_certificate,
    };
    violations.add_within("tls", found);
    patch
}

fn tls_policy(given: i32) -> Result<Option<TlsPolicy>, Invalid> {
    match v1::TlsPolicy::try_from(given) {
        Ok(v1::TlsPolicy::Unspecified) => Ok(None),
        Ok(v1::TlsPolicy::Modern) => Ok(Some(TlsPolicy::Modern)),
        Ok(v1::TlsPolicy::Intermediate) => Ok(Some(TlsPolicy::Intermediate)),
        Err(_) => {
            let accepted = "TLS_POLICY_MODERN or TLS_POLICY_INTERMEDIATE";
            Err(Invalid::new("policy", given, accepted))
        }
    }
}

fn client_auth(given: i32) -> Result<Option<ClientAuth>, Invalid> {
    match v1::ClientAuth::try_from(given) {
        Ok(v1::ClientAuth::Unspecified) => Ok(None),
        Ok(v1::ClientAuth::Off) => Ok(Some(ClientAuth::Off)),
        Ok(v1::ClientAuth::Optional) => Ok(Some(ClientAuth::Optional)),
        Ok(v1::ClientAuth::Required) => Ok(Some(ClientAuth::Required)),
        Err(_) => {
            let accepted = "CLIENT_AUTH_OFF, CLIENT_AUTH_OPTIONAL or CLIENT_AUTH_REQUIRED";
            Err(Invalid::new("client_auth", given, accepted))
        }
    }
}

pub(super) fn proto_listener_tls(tls: &ListenerTls) -> v1::ListenerTls {
    let policy = match tls.policy {
        TlsPolicy::Modern => v1::TlsPolicy::Modern,
        TlsPolicy::Intermediate => v1::TlsPolicy::Intermediate,
    };
    let client_auth = match tls.client_auth {
        ClientAuth::Off => v1::ClientAuth::Off,
        ClientAuth::Optional => v1::ClientAuth::Optional,
        ClientAuth::Required => v1::ClientAuth::Required,
    };
    v1::ListenerTls {
        policy: policy.into(),
        strict_sni: Some(tls.strict_sni),
        session_resumption: Some(tls.session_resumption),
        client_auth: client_auth.into(),
        client_ca: proto_authorities(&tls.client_ca),
        forward_client_certificate: Some(tls.forward_client_certificate),
    }
}

/// Authorities in PEM; `None` if there are none.
fn proto_authorities(authorities: &CaBundle) -> Option<String> {
    (!authorities.is_empty()).then(|| pem(authorities.certificates()))
}

/// What `given` says that is spoken to servers.
pub(super) fn pool_protocol(given: i32) -> Result<Option<PoolProtocol>, Invalid> {
    match v1::PoolProtocol::try_from(given) {
        Ok(v1::PoolProtocol::Unspecified) => Ok(None),
        Ok(v1::PoolProtocol::Http1) => Ok(Some(PoolProtocol::Http1)),
        Ok(v1::PoolProtocol::Https) => Ok(Some(PoolProtocol::Https)),
        Err(_) => {
            let accepted = "POOL_PROTOCOL_HTTP1 or POOL_PROTOCOL_HTTPS";
            Err(Invalid::new("protocol", given, accepted))
        }
    }
}

pub(super) fn proto_pool_protocol(protocol: PoolProtocol) -> i32 {
    match protocol {
        PoolProtocol::Http1 => v1::PoolProtocol::Http1.into(),
        PoolProtocol::Https => v1::PoolProtocol::Https.into(),
    }
}

/// The settings of TLS that `given` sets.
pub(super) fn pool_tls(given: v1::PoolTls, violations: &mut Violations) -> PoolTlsPatch {
    let mut found = Violations::default();
    let verify_ca = given.verify_ca.as_deref();
    let client_certificate = given.client_certificate.map(|name| match name.as_str() {
        "" => Ok(None),
        name => name
            .parse()
            .map(Some)
            .map_err(|invalid: Invalid| invalid.named("client_certificate")),
    });
    let patch = PoolTlsPatch {
        server_name: given
            .server_name
            .map(|name| (!name.is_empty()).then_some(name)),
        verify_ca: verify_ca.and_then(|text| found.take(authorities("verify_ca", text))),
        client_certificate: found.take(client_certificate.transpose()).flatten(),
        insecure: given.insecure,
    };
    violations.add_within("tls", found);
    patch
}

pub(super) fn proto_pool_tls(tls: &PoolTls) -> v1::PoolTls {
    let client_certificate = tls.client_certificate.as_ref();
    v1::PoolTls {
        server_name: tls.server_name.clone(),
        verify_ca: proto_authorities(&tls.verify_ca),
        client_certificate: client_certificate.map(ToString::to_string),
        insecure: Some(tls.insecure),
    }
}
