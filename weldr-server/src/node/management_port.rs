//! The sockets of the management API: bound before the data directory is opened, but for the Unix socket in it.

use std::net::SocketAddr;

use crate::{
    cluster,
    config::Config,
    management::{self, Listener, Listeners, LocalBindError, LocalListener, ServeOptions, Tls},
    threads,
};

use super::StartError;

/// The TCP sockets, on which nothing is accepted yet.
pub(super) struct ManagementPort {
    tcp: Listener,
    health: Option<Listener>,
    tls: Option<Tls>,
}

impl ManagementPort {
    /// Binds the addresses, and reads the certificates.
    pub(super) async fn bind(config: &Config) -> Result<Self, StartError> {
        let tls = load(config).await?;
        let tcp = management::bind(config.management).await?;
        let health = match config.health_listen {
            Some(address) => Some(management::bind(address).await?),
            None => None,
        };
        Ok(Self { tcp, health, tls })
    }

    /// The address of the management API.
    pub(super) fn address(&self) -> SocketAddr {
        self.tcp.address()
    }

    /// The certificates, if there are any.
    pub(super) fn tls(&self) -> Option<Tls> {
        self.tls.clone()
    }

    /// All sockets.
    pub(super) fn with_socket(self, config: &Config) -> Result<Listeners, LocalBindError> {
        Ok(Listeners {
            tcp: self.tcp.with_tls(self.tls),
            local: socket(config)?,
            health: self.health,
        })
    }
}

/// How the API is served.
pub(super) fn options(config: &Config, max_connections: usize) -> ServeOptions {
    ServeOptions {
        rest: config.rest,
        max_connections,
        authentication: config.management_authentication(),
        hosts: names(config),
    }
}

/// Reads the certificates again. What cannot be used changes nothing.
pub(super) async fn reload(tls: Tls) {
    match threads::run("weldr-certificates", move || tls.reload()).await {
        Ok(Ok(())) => tracing::info!("the certificates of the management port were read again"),
        Ok(Err(error)) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(
                error,
                "the certificates of the management port stay as they are"
            );
        }
        Err(error) => {
            tracing::error!(%error, "the certificates of the management port are not read");
        }
    }
}

/// The TLS of the management port, if it has any.
async fn load(config: &Config) -> Result<Option<Tls>, StartError> {
    let (Some(cert), Some(key)) = (&config.management_tls_cert, &config.management_tls_key) else {
        return Ok(None);
    };
    let files = management::TlsFiles {
        cert: cert.clone(),
        key: key.clone(),
        client_ca: config.management_client_ca.clone(),
    };
    cluster::warn_of_wide_file(&files.key);
    let load = || Tls::load(files);
    Ok(Some(threads::run("weldr-certificates", load).await??))
}

/// The Unix socket of the management API, if there is one. A node that was not told where it is starts without it where it
/// cannot be, for example because the path is too long for a socket.
fn socket(config: &Config) -> Result<Option<LocalListener>, LocalBindError> {
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
fn names(config: &Config) -> Vec<String> {
    let machine = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let configured = config.management_hosts.iter().cloned();
    configured.chain([machine]).collect()
}

/// Says where the management API listens and who may call it.
pub(super) fn log(config: &Config, listeners: &Listeners, cluster: &cluster::Handle) {
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
    if authentication && listeners.local.is_none() && cluster.current().principals.is_empty() {
        tracing::warn!(
            "nobody can call the management API of this node: it knows no token yet, and has no Unix socket by which one can be \
             created; name one with --management-socket"
        );
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
