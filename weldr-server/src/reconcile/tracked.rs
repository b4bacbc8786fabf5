//! One server: its desired state, its health, its prober and its follow-up.

use std::{net::SocketAddr, sync::Arc};

use tokio::{sync::mpsc, time::Instant};

use crate::{
    clock::dates,
    health::{Check, HeadLimits, Observation, Prober},
    liveness::Tick,
    model::{Health, HealthCheck, HealthState, OwnAddresses, PoolSettings, Server, ServerId},
    snapshot::{LivePool, LiveServer, PoolSecurity, PoolView, ServerView},
};

use super::follow_up::{FollowUp, FollowUps, RunningFollowUp};

#[derive(Debug)]
pub(super) struct Tracked {
    view: Arc<ServerView>,
    /// The health from the checks. The view has the health that is reported.
    observed: Health,
    /// When `observed` came into its state, on a monotonic clock.
    observed_since: Instant,
    prober: Prober,
    /// Whether this node itself listens on its address. Then it is neither checked nor chosen.
    is_own: bool,
    /// Whether its sessions had their time to run out while it is removed.
    sessions_are_over: bool,
    running: Option<RunningFollowUp>,
}

/// What a pool wants of its servers.
#[derive(Debug, Clone, Copy)]
pub(super) struct PoolTerms<'p> {
    pub(super) settings: &'p PoolSettings,
    /// How it speaks to them.
    pub(super) security: &'p PoolSecurity,
}

impl<'p> From<&'p PoolView> for PoolTerms<'p> {
    fn from(view: &'p PoolView) -> Self {
        Self {
            settings: &view.settings,
            security: &view.security,
        }
    }
}

/// What the checks of all servers share.
#[derive(Debug)]
pub(super) struct Checks {
    /// Where this node itself listens: other nodes may have servers there.
    pub(super) own: OwnAddresses,
    /// How large the head of a response may be, for checks as for requests.
    pub(super) limits: HeadLimits,
    pub(super) observer: mpsc::Sender<Observation>,
    /// Stands for the tasks that check the servers.
    pub(super) tick: Tick,
}

impl Checks {
    fn is_own(&self, server: SocketAddr) -> bool {
        let Some(listener) = self.own.reached_by(server) else {
            return false;
        };
        tracing::warn!(
            %server,
            listener = %listener.address,
            "server is not used: this node itself listens on its address"
        );
        true
    }
}

impl Tracked {
    /// Starts to check a new server of `pool`, unless this node itself listens on its address.
    pub(super) fn start(
        pool: Arc<LivePool>,
        desired: &Arc<Server>,
        terms: PoolTerms<'_>,
        checks: &Checks,
    ) -> Self {
        let is_own = checks.is_own(desired.address);
        let (live, failures) = LiveServer::new(pool, desired.id, desired.address);
        let check = desired.spec.check.resolve(&terms.settings.check);
        let to_make = to_make(desired, terms, &check).filter(|_| !is_own);
        let prober = Prober::start(
            Arc::clone(&live),
            checks.limits,
            to_make,
            failures,
            checks.observer.clone(),
            &checks.tick,
        );
        let observed = if is_own {
            Health::own_address(dates::now())
        } else {
            let begins_healthy = check.begins_healthy && desired.wants_checks();
            Health::unchecked(dates::now(), begins_healthy)
        };
        if observed.state == HealthState::Healthy || !desired.wants_checks() {
            live.became_healthy();
        }
        let health = Health::of(desired, &observed);
        let view = Arc::new(ServerView {
            keeps_sessions: Health::keeps_sessions(desired, &observed),
            desired: Arc::clone(desired),
            health,
            check,
            live,
        });
        Self {
            view,
            observed,
            observed_since: Instant::now(),
            prober,
            is_own,
            sessions_are_over: false,
            running: None,
        }
    }

    pub(super) fn id(&self) -> ServerId {
        self.view.desired.id
    }

    pub(super) fn view(&self) -> &Arc<ServerView> {
        &self.view
    }

    /// Applies a change of the desired state or of the pool's settings.
    pub(super) fn follow(&mut self, desired: &Arc<Server>, terms: PoolTerms<'_>) {
        let check = desired.spec.check.resolve(&terms.settings.check);
        let to_make = to_make(desired, terms, &check).filter(|_| !self.is_own);
        self.prober.set_check(to_make);
        self.show(Arc::clone(desired), check);
    }

    /// Looks again whether this node itself listens on its address. Returns whether that is another answer.
    pub(super) fn follow_own_addresses(&mut self, terms: PoolTerms<'_>, checks: &Checks) -> bool {
        let desired = Arc::clone(&self.view.desired);
        let was_own = self.is_own;
        if checks.own.reached_by(desired.address).is_some() == was_own {
            return false;
        }
        self.is_own = !was_own && checks.is_own(desired.address);
        let observed = if self.is_own {
            Health::own_address(dates::now())
        } else {
            Health::initial(dates::now())
        };
        self.observe(observed);
        self.follow(&desired, terms);
        true
    }

    /// Applies a change of the observed health.
    pub(super) fn observe(&mut self, health: Health) {
        if health.state != self.observed.state {
            self.observed_since = Instant::now();
            if health.state == HealthState::Healthy {
                self.view.live.became_healthy();
            }
        }
        self.observed = health;
        self.show(Arc::clone(&self.view.desired), self.view.check.clone());
    }

    /// Sends requests of its sessions elsewhere from now on.
    pub(super) fn end_sessions(&mut self) {
        self.sessions_are_over = true;
        self.show(Arc::clone(&self.view.desired), self.view.check.clone());
    }

    fn show(&mut self, desired: Arc<Server>, check: HealthCheck) {
        let health = Health::of(&desired, &self.observed);
        let live: Arc<LiveServer> = Arc::clone(&self.view.live);
        let keeps_sessions = Health::keeps_sessions(&desired, &self.observed);
        self.view = Arc::new(ServerView {
            keeps_sessions: keeps_sessions && !self.sessions_are_over,
            desired,
            health,
            check,
            live,
        });
    }

    /// Starts or cancels the follow-up, after snapshot `version` was published.
    pub(super) fn follow_up(
        &mut self,
        follow_ups: &FollowUps,
        settings: &PoolSettings,
        version: u64,
    ) {
        let due = self.due(settings);
        if self.running.as_ref().map(RunningFollowUp::follow_up) != due {
            // The old follow-up is dropped first, because that withdraws its vote.
            self.running = None;
            self.running = due.map(|due| follow_ups.begin(due, &self.view, version));
        }
    }

    fn due(&self, settings: &PoolSettings) -> Option<FollowUp> {
        if let Some(removal) = self.view.desired.removal {
            let is_sticky = settings.stickiness.cookie.is_some();
            return Some(if is_sticky && self.view.keeps_sessions {
                FollowUp::EndSessions { removal }
            } else {
                FollowUp::EndRemoval
            });
        }
        let after = settings.deregister_after?;
        let unhealthy = self.view.health.state == HealthState::Unhealthy;
        unhealthy.then(|| FollowUp::Deregister {
            at: self.observed_since + after,
        })
    }
}

/// The check that is made of a server; `None` while none is wanted.
fn to_make(desired: &Server, terms: PoolTerms<'_>, check: &HealthCheck) -> Option<Check> {
    desired.wants_checks().then(|| Check {
        health: check.clone(),
        strict_responses: terms.settings.strict_responses,
        outlier: terms.settings.outlier,
        security: terms.security.clone(),
        proxy_protocol: terms
            .settings
            .policy
            .send_proxy_protocol
            .unwrap_or_default(),
    })
}
