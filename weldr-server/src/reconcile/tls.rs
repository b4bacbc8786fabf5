//! How listeners and pools of the desired state speak TLS on this node.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use rustls::RootCertStore;
use tokio::sync::watch;

use crate::{
    certificates::system_authorities,
    model::{
        CertificateName, DesiredState, ListenerName, ListenerProtocol, ListenerSpec, ListenerTls,
        PoolProtocol, PoolSettings,
    },
    secrets::Secrets,
    snapshot::PoolSecurity,
    tls::{CertificateTable, ClientTls, ServerCertificate, ServerTls, TicketSecrets},
};

use super::opened::OpenedCertificates;

/// What TLS needs of this node.
#[derive(Debug)]
pub struct TlsInputs {
    /// Opens the keys of certificates.
    pub secrets: Secrets,
    /// Makes the tickets of sessions.
    pub tickets: TicketSecrets,
    /// The certificate of the node's own options, for the default listener; `None`: it has no address for HTTPS.
    pub own: watch::Receiver<Option<Arc<ServerCertificate>>>,
}

impl TlsInputs {
    /// Those of a node without any certificate.
    #[cfg(test)]
    pub(super) fn without_certificates() -> Self {
        let secrets = Secrets::load(None);
        Self {
            secrets: secrets.expect("nothing is read"),
            tickets: TicketSecrets::default(),
            own: watch::channel(None).1,
        }
    }
}

/// How listeners and pools speak TLS.
#[derive(Debug)]
pub(super) struct TlsMaterial {
    /// The authorities of this system, read when the first pool needs them.
    system: OnceLock<Arc<RootCertStore>>,
    tickets: TicketSecrets,
    own: watch::Receiver<Option<Arc<ServerCertificate>>>,
    opened: OpenedCertificates,
    listeners: BTreeMap<ListenerName, TrackedTls>,
}

/// How a listener speaks TLS.
#[derive(Debug)]
struct TrackedTls {
    settings: ListenerTls,
    tls: Option<Arc<ServerTls>>,
    /// The certificates in its table, in their order.
    shown: Vec<Arc<ServerCertificate>>,
}

impl TlsMaterial {
    pub(super) fn new(inputs: TlsInputs) -> Self {
        Self {
            system: OnceLock::new(),
            tickets: inputs.tickets,
            own: inputs.own,
            opened: OpenedCertificates::new(inputs.secrets),
            listeners: BTreeMap::new(),
        }
    }

    /// Of a node without any certificate.
    #[cfg(test)]
    pub(super) fn without_certificates() -> Self {
        Self::new(TlsInputs::without_certificates())
    }

    /// Changes when sealing keys have come.
    pub(super) fn arrivals(&self) -> watch::Receiver<u64> {
        self.opened.arrivals()
    }

    /// Changes when the certificate of the node's own options does.
    pub(super) fn own_changes(&self) -> watch::Receiver<Option<Arc<ServerCertificate>>> {
        self.own.clone()
    }

    /// Tries again to open what could not be opened.
    pub(super) fn retry(&mut self) {
        self.opened.retry();
    }

    /// Forgets what `state` no longer has.
    pub(super) fn follow(&mut self, state: &DesiredState) {
        self.opened.follow(state);
        self.listeners
            .retain(|name, _| state.listeners.contains_key(name));
    }

    /// How the listener `name` with `spec` performs handshakes; `None`: it has no address for HTTPS, or its settings cannot be
    /// used. Certificates that changed are used by its next handshake, and the result is the same value as before.
    pub(super) fn of_listener(
        &mut self,
        state: &DesiredState,
        name: &ListenerName,
        spec: &ListenerSpec,
    ) -> Option<Arc<ServerTls>> {
        let own = self.own.borrow_and_update().clone();
        let own = own.filter(|_| *name == ListenerName::default());
        if spec.protocol != ListenerProtocol::Https && own.is_none() {
            self.listeners.remove(name);
            return None;
        }
        let desired = spec.certificates.iter();
        let desired = desired.filter_map(|certificate| self.opened.get(state, certificate));
        let shown: Vec<_> = desired.chain(own).collect();
        if let Some(tracked) = self.listeners.get_mut(name)
            && tracked.settings == spec.tls
        {
            if !is_same(&tracked.shown, &shown) {
                if let Some(tls) = &tracked.tls {
                    tls.set_certificates(table(&shown));
                }
                tracked.shown = shown;
            }
            return tracked.tls.clone();
        }
        let tls = ServerTls::new(&spec.tls, table(&shown), &self.tickets);
        let tls = tls.inspect_err(|error| {
            let error = error as &dyn std::error::Error;
            tracing::error!(listener = %name, error, "TLS of a listener cannot be used");
        });
        let tracked = TrackedTls {
            settings: spec.tls.clone(),
            tls: tls.ok(),
            shown,
        };
        let tls = tracked.tls.clone();
        self.listeners.insert(name.clone(), tracked);
        tls
    }

    /// How a pool with `settings` speaks to its servers, and which certificate it shows them.
    pub(super) fn of_pool(
        &mut self,
        state: &DesiredState,
        settings: &PoolSettings,
    ) -> PoolSecurity {
        if settings.protocol != PoolProtocol::Https {
            return PoolSecurity::Plain;
        }
        let certificate = match &settings.tls.client_certificate {
            None => None,
            Some(name) => {
                let Some(certificate) = self.client_certificate(state, name) else {
                    let why = format!("the client certificate {name} cannot be used on this node");
                    return PoolSecurity::Unusable(why.into());
                };
                Some(Arc::clone(&certificate.key))
            }
        };
        match ClientTls::new(&settings.tls, self.system(), certificate) {
            Ok(tls) => PoolSecurity::Tls(tls),
            Err(error) => {
                let why = error.to_string();
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "TLS cannot be spoken to the servers of a pool");
                PoolSecurity::Unusable(why.into())
            }
        }
    }

    /// The certificate that a pool shows to its servers.
    pub(super) fn client_certificate(
        &mut self,
        state: &DesiredState,
        name: &CertificateName,
    ) -> Option<Arc<ServerCertificate>> {
        self.opened.get(state, name)
    }

    fn system(&self) -> &Arc<RootCertStore> {
        self.system.get_or_init(system_authorities)
    }
}

fn table(shown: &[Arc<ServerCertificate>]) -> CertificateTable {
    CertificateTable::new(shown.iter().map(Arc::as_ref))
}

fn is_same(one: &[Arc<ServerCertificate>], other: &[Arc<ServerCertificate>]) -> bool {
    one.iter()
        .map(Arc::as_ptr)
        .eq(other.iter().map(Arc::as_ptr))
}
