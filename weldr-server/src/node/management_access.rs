//! Where the management API of a node listens, with which certificates and under which names.

use super::StartError;
use crate::{config::Config, management, threads};

/// The TLS of the management port, if it has any.
pub(super) async fn load_certificates(
    config: &Config,
) -> Result<Option<management::Tls>, StartError> {
    let (Some(cert), Some(key)) = (&config.management_tls_cert, &config.management_tls_key) else {
        return Ok(None);
    };
    let files = management::TlsFiles {
        cert: cert.clone(),
        key: key.clone(),
        client_ca: config.management_client_ca.clone(),
    };
    let load = || management::Tls::load(files);
    Ok(Some(threads::run("weldr-certificates", load).await??))
}

/// The Unix socket of the management API, if there is one. A node that was not told where it is starts without it where it
/// cannot be, for example because the path is too long for a socket.
pub(super) fn bind_socket(
    config: &Config,
) -> Result<Option<management::LocalListener>, management::LocalBindError> {
    let Some((path, is_configured)) = config.management_socket() else {
        return Ok(None);
    };
    match management::bind_local(&path) {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if is_configured => Err(error),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(
                error,
                "there is no Unix socket for management: choose a path with --management-socket"
            );
            Ok(None)
        }
    }
}

/// The names under which the management API may be called: those of the configuration, and that of this machine, which no
/// stranger's page can have.
pub(super) fn names(config: &Config) -> Vec<String> {
    let machine = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let configured = config.management_hosts.iter().cloned();
    configured.chain([machine]).collect()
}

/// Says where the management API listens and who may call it.
pub(super) fn log(config: &Config, listeners: &management::Listeners) {
    let address = listeners.tcp.address();
    let socket = listeners
        .local
        .as_ref()
        .map(|local| local.path().display().to_string());
    let authentication = config.management_authentication();
    let tls = config.management_tls_cert.is_some();
    tracing::info!(%address, socket, rest = config.rest, tls, authentication, "management listening");
    if let Some(health) = &listeners.health {
        tracing::info!(address = %health.address(), "health listening");
    }
    if !authentication {
        tracing::info!(
            "management needs no token: every process of this machine may change the pool; --management-auth on requires one"
        );
    }
    if !tls && !address.ip().to_canonical().is_loopback() {
        tracing::warn!(
            %address,
            "management has no TLS: whoever is on the way can read tokens and change the pool (--management-insecure)"
        );
    }
}
