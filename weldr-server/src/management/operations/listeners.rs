//! The calls about listeners.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time;
use weldr_proto::{json::form, raft::v1::ListenerReport, v1};

use crate::{
    management::{
        convert::{self, Violations},
        error::Error,
    },
    model::{
        Command, DesiredState, ListenerName, ListenerPatch, ListenerSpec, ListenerTls, Outcome,
        PolicyPatch, Revision, Timestamp, parse_listener_address,
    },
};

use super::{ApiCaller, Operations};

/// How long a call that opens a listener waits for the nodes to open it.
const OPENING_TIMEOUT: Duration = Duration::from_secs(2);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(50);
/// How long running requests may go on when a removal does not say.
const DRAIN_DEADLINE: Duration = Duration::from_secs(30);

/// What each node says of each listener.
type OnNodes = BTreeMap<String, Vec<v1::ListenerOnNode>>;

impl Operations {
    pub(in crate::management) async fn create_listener(
        &self,
        caller: ApiCaller,
        request: v1::CreateListenerRequest,
    ) -> Result<v1::CreateListenerResponse, Error> {
        let mut violations = Violations::default();
        let name = violations.take(convert::new_name(&request.name));
        let address = violations.take(parse_listener_address(&request.address));
        let route = request.default_route.map(convert::route).transpose();
        let route = violations.take(route.map_err(|invalid| invalid.within("default_route")));
        let policy = convert::listener_policy(request.policy.unwrap_or_default(), &mut violations);
        let protocol = violations.take(convert::listener_protocol(request.protocol));
        let certificates = violations.take(convert::certificate_names(&request.certificates));
        let tls = convert::listener_tls(&request.tls.unwrap_or_default(), &mut violations);
        let (name, (address, route)) = violations.settle(name.zip(address.zip(route)))?;
        let name: ListenerName = name;
        self.context.accepts_listener(&name, address)?;
        let spec = Box::new(ListenerSpec {
            address: Some(address),
            default_route: route.unwrap_or_default(),
            policy,
            protocol: protocol.flatten().unwrap_or_default(),
            certificates: certificates.unwrap_or_default(),
            tls: tls.applied_to(&ListenerTls::default()),
        });
        let command = Command::AddListener {
            listener: name.clone(),
            spec,
        };
        let (applied, _) = self.write(caller, command).await?;
        let listener = self.opened(&name, applied.revision).await?;
        Ok(v1::CreateListenerResponse {
            revision: applied.revision.0,
            listener: Some(listener),
            created: applied.outcome == Outcome::Created,
        })
    }

    pub(in crate::management) async fn update_listener(
        &self,
        caller: ApiCaller,
        request: v1::UpdateListenerRequest,
    ) -> Result<v1::UpdateListenerResponse, Error> {
        let mut violations = Violations::default();
        let name = violations.take(request.name.parse::<ListenerName>());
        let address = match request.address.as_str() {
            "" => None,
            text => violations.take(parse_listener_address(text)),
        };
        let route = request.default_route.map(convert::route).transpose();
        let route = violations.take(route.map_err(|invalid| invalid.within("default_route")));
        let set = convert::listener_policy(request.policy.unwrap_or_default(), &mut violations);
        let protocol = violations.take(convert::listener_protocol(request.protocol));
        let certificates = request.certificates;
        let certificates = certificates.map(|given| convert::certificate_names(&given.names));
        let certificates = violations.take(certificates.transpose());
        let tls = convert::listener_tls(&request.tls.unwrap_or_default(), &mut violations);
        let patch = Box::new(ListenerPatch {
            address,
            default_route: route.flatten(),
            policy: PolicyPatch {
                set,
                unset: request.unset,
            },
            protocol: protocol.flatten(),
            certificates: certificates.flatten(),
            tls,
        });
        let name = violations.settle(name)?;
        if let Some(address) = patch.address {
            self.context.accepts_listener(&name, address)?;
        }
        let command = Command::UpdateListener {
            listener: name.clone(),
            patch,
            expected: convert::expected_revision(request.expected_revision),
        };
        let (applied, _) = self.write(caller, command).await?;
        let listener = self.opened(&name, applied.revision).await?;
        Ok(v1::UpdateListenerResponse {
            revision: applied.revision.0,
            listener: Some(listener),
        })
    }

    pub(in crate::management) async fn delete_listener(
        &self,
        caller: ApiCaller,
        request: v1::DeleteListenerRequest,
    ) -> Result<v1::DeleteListenerResponse, Error> {
        let mut violations = Violations::default();
        let name = violations.take(convert::new_name(&request.name));
        let deadline = request.drain_deadline;
        let deadline = deadline.map(|given| convert::duration("drain_deadline", given));
        let deadline = violations.take(deadline.transpose());
        let (listener, deadline) = violations.settle(name.zip(deadline))?;
        let command = Command::RemoveListener {
            listener,
            drain_deadline: deadline.unwrap_or(DRAIN_DEADLINE),
            expected: convert::expected_revision(request.expected_revision),
        };
        let (applied, _) = self.write(caller, command).await?;
        Ok(v1::DeleteListenerResponse {
            revision: applied.revision.0,
        })
    }

    pub(in crate::management) async fn get_listener(
        &self,
        request: v1::GetListenerRequest,
    ) -> Result<v1::GetListenerResponse, Error> {
        let name = request.name.parse()?;
        let state = self.state(request.stale).await?;
        state.listener(&name)?;
        let (on_nodes, _) = self.on_nodes(state.revision).await;
        Ok(v1::GetListenerResponse {
            revision: state.revision.0,
            listener: Some(shown(&state, &name, on_nodes)?),
        })
    }

    pub(in crate::management) async fn list_listeners(
        &self,
        request: v1::ListListenersRequest,
    ) -> Result<v1::ListListenersResponse, Error> {
        let state = self.state(request.stale).await?;
        let (mut on_nodes, _) = self.on_nodes(state.revision).await;
        let listeners = state.listeners.iter().map(|(name, listener)| {
            let nodes = on_nodes.remove(name.as_str()).unwrap_or_default();
            convert::listener(name, listener, nodes)
        });
        Ok(v1::ListListenersResponse {
            revision: state.revision.0,
            listeners: listeners.collect(),
        })
    }

    /// The state for a read, as [`read`](Self::read) says.
    pub(super) async fn state(&self, stale: bool) -> Result<Arc<DesiredState>, Error> {
        self.read(stale).await?;
        Ok(self.context.cluster.current())
    }

    /// A listener after a change, when each node that responds has opened it or failed to, or after [`OPENING_TIMEOUT`].
    async fn opened(&self, name: &ListenerName, since: Revision) -> Result<v1::Listener, Error> {
        let deadline = time::Instant::now() + OPENING_TIMEOUT;
        loop {
            let (on_nodes, all_there) = self.on_nodes(since).await;
            let known = on_nodes.get(name.as_str()).map_or(&[][..], Vec::as_slice);
            let pending = v1::BindState::Pending;
            let is_settled =
                all_there && !known.iter().any(|node| node.state == i32::from(pending));
            if is_settled || time::Instant::now() >= deadline {
                let state = self.context.cluster.current();
                return shown(&state, name, on_nodes);
            }
            time::sleep(LOOK).await;
        }
    }

    /// What each node that responds says of its listeners, and whether all of those have applied revision `since`.
    async fn on_nodes(&self, since: Revision) -> (OnNodes, bool) {
        let Ok(status) = self.context.cluster.status().await else {
            return (OnNodes::new(), true);
        };
        let state = self.context.cluster.current();
        let mut on_nodes = OnNodes::new();
        let mut all_there = true;
        for node in status.nodes {
            let Some(report) = node.report else { continue };
            // A witness opens no listener.
            if report.witness {
                continue;
            }
            all_there &= report.revision >= since.0;
            for listener in report.listeners {
                let name = listener.name.parse::<ListenerName>().ok();
                let known = name.and_then(|name| state.listeners.get(&name));
                let is_current =
                    known.is_none_or(|known| listener.revision >= known.spec_revision.0);
                let reports = on_nodes.entry(listener.name.clone()).or_default();
                reports.push(on_node(&node.name, listener, is_current));
            }
        }
        (on_nodes, all_there)
    }
}

/// What a node says of a listener. `is_current`: of its present settings; until then the node has yet to follow them.
fn on_node(node: &str, report: ListenerReport, is_current: bool) -> v1::ListenerOnNode {
    let since = Timestamp(report.since);
    v1::ListenerOnNode {
        node: node.to_owned(),
        address: report.address,
        state: if is_current {
            form::bind_state::parse(&report.state).unwrap_or_default()
        } else {
            v1::BindState::Pending.into()
        },
        reason: report.reason,
        since: (report.since > 0).then(|| std::time::SystemTime::from(since).into()),
    }
}

fn shown(
    state: &DesiredState,
    name: &ListenerName,
    mut on_nodes: OnNodes,
) -> Result<v1::Listener, Error> {
    let listener = state.listeners.get(name).ok_or(Error::Overtaken)?;
    let nodes = on_nodes.remove(name.as_str()).unwrap_or_default();
    Ok(convert::listener(name, listener, nodes))
}
