//! Starts what is due, while this node leads.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio::{
    sync::Mutex,
    task::{Id, JoinError, JoinSet},
};

use super::{
    account::{self, Authority},
    delays,
    due::{self, AccountWork, CertificateWork},
    error::AcmeError,
    order::Wanted,
    pace::Pace,
};
use crate::{
    cluster::Handle,
    liveness::Tick,
    model::{
        AcmeAccount, AcmeOrder, AcmeProgress, AcmeRegistration, AcmeStep, Certificate,
        CertificateName, Command, DesiredState, RenewalBy, Revision, Timestamp,
    },
};

/// How many certificates are worked on at the same time.
const AT_ONCE: usize = 8;
/// How long orders pause when the authority says that there were too many, and not for how long.
const PAUSE: Duration = Duration::from_mins(15);
/// In this time a new leader asks the authority about all certificates whose renewal was planned by another one.
const FIRST_CHECKS: Duration = Duration::from_hours(6);

/// Obtains and renews certificates while this node leads. Runs until it is dropped.
pub async fn manage(cluster: Handle, tick: Tick) {
    let mut manager = Manager {
        context: Arc::new(Context {
            cluster,
            authority: Mutex::new(None),
        }),
        running: JoinSet::new(),
        subjects: HashMap::new(),
        pace: Pace::new(Instant::now()),
        paced: None,
        checks: BTreeMap::new(),
    };
    loop {
        tick.tick();
        manager.look();
        tokio::select! {
            () = Tick::due() => {}
            Some(ended) = manager.running.join_next_with_id() => manager.ended(ended),
        }
    }
}

/// What a task works on.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Subject {
    Account,
    Certificate(CertificateName),
}

/// What became of a task.
#[derive(Debug)]
enum Done {
    Nothing,
    /// The authority is asked again about a renewal after this time.
    Planned(Duration),
    /// No order is begun for this time.
    Limited(Duration),
}

struct Manager {
    context: Arc<Context>,
    running: JoinSet<Done>,
    subjects: HashMap<Id, Subject>,
    pace: Pace,
    /// The account whose orders are limited by it: another one has limits of its own.
    paced: Option<Revision>,
    /// When the authority is asked again about the renewal of a certificate.
    checks: BTreeMap<CertificateName, Instant>,
}

/// What all tasks share.
struct Context {
    cluster: Handle,
    /// The account that is open, and the revision of its settings.
    authority: Mutex<Option<(Revision, AcmeRegistration, Authority)>>,
}

impl Manager {
    fn look(&mut self) {
        if !self.context.cluster.leads() {
            self.running.abort_all();
            self.checks.clear();
            return;
        }
        let state = self.context.cluster.current();
        let Some(account) = &state.acme.account else {
            return;
        };
        self.look_at_account(account);
        if account.registration.is_some() {
            self.look_at_certificates(&state, account);
        }
    }

    fn look_at_account(&mut self, account: &Arc<AcmeAccount>) {
        let work = due::of_account(account, Timestamp::now());
        let Some(work) = work.filter(|_| !self.works_on(&Subject::Account)) else {
            return;
        };
        let (context, account) = (Arc::clone(&self.context), Arc::clone(account));
        let task = async move { context.account(&account, work).await };
        self.start(Subject::Account, task);
    }

    fn look_at_certificates(&mut self, state: &DesiredState, account: &Arc<AcmeAccount>) {
        let now = Timestamp::now();
        if self.paced != Some(account.revision) {
            self.paced = Some(account.revision);
            self.pace = Pace::new(Instant::now());
        }
        for (name, certificate) in &state.certificates {
            if self.running.len() >= AT_ONCE {
                return;
            }
            let subject = Subject::Certificate(name.clone());
            let order = state.acme.orders.get(name);
            let progress = state.acme.progress.get(name);
            let work = due::of_certificate(
                &certificate.spec,
                order.map(Arc::as_ref),
                progress.map(Arc::as_ref),
                now,
            );
            let is_free = !self.works_on(&subject);
            let work = work.or_else(|| self.check_of(name, certificate));
            let Some(work) = work.filter(|_| is_free) else {
                continue;
            };
            if work == CertificateWork::Order && !self.pace.take(Instant::now()) {
                continue;
            }
            let job = Job {
                context: Arc::clone(&self.context),
                account: Arc::clone(account),
                name: name.clone(),
                certificate: Arc::clone(certificate),
                order: order.cloned(),
                progress: progress.cloned(),
            };
            self.start(subject, job.run(work));
        }
    }

    /// Whether it is time to ask the authority again when a certificate is to be renewed.
    fn check_of(
        &mut self,
        name: &CertificateName,
        certificate: &Certificate,
    ) -> Option<CertificateWork> {
        if certificate.spec.request().is_none() || !certificate.spec.is_issued() {
            return None;
        }
        let now = Instant::now();
        let at = self.checks.get(name).copied().unwrap_or_else(|| {
            let at = now + FIRST_CHECKS.mul_f64(fastrand::f64());
            self.checks.insert(name.clone(), at);
            at
        });
        (at <= now).then_some(CertificateWork::Plan)
    }

    fn works_on(&self, subject: &Subject) -> bool {
        self.subjects.values().any(|worked| worked == subject)
    }

    fn start(&mut self, subject: Subject, task: impl Future<Output = Done> + Send + 'static) {
        let id = self.running.spawn(task).id();
        self.subjects.insert(id, subject);
    }

    fn ended(&mut self, ended: Result<(Id, Done), JoinError>) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let subject = self.subjects.remove(&id);
        match (ended, subject) {
            (Ok((_, Done::Planned(again))), Some(Subject::Certificate(name))) => {
                self.checks.insert(name, Instant::now() + again);
            }
            (Ok((_, Done::Limited(pause))), _) => self.pace.pause(Instant::now() + pause),
            (Err(error), _) if error.is_panic() => {
                tracing::error!(%error, "a step of acme ended by a panic");
            }
            _ => {}
        }
    }
}

impl Context {
    async fn account(&self, account: &AcmeAccount, work: AccountWork) -> Done {
        match self.registered(account, work).await {
            Ok(registration) => {
                tracing::info!(account = registration.url, "the acme account is registered");
                let of = account.revision;
                self.note(AcmeStep::Registered { of, registration }).await;
                Done::Nothing
            }
            Err((error, retry_after)) => {
                let failures = account
                    .failure
                    .as_ref()
                    .map_or(0, |failure| failure.failures);
                let now = Timestamp::now();
                let failure =
                    delays::failed(error.message(), failures, retry_after, now, fastrand::f64());
                tracing::warn!(
                    error = failure.message,
                    "the acme account cannot be registered; trying again"
                );
                let of = account.revision;
                self.note(AcmeStep::NotRegistered { of, failure }).await;
                Done::Nothing
            }
        }
    }

    async fn registered(
        &self,
        account: &AcmeAccount,
        work: AccountWork,
    ) -> Result<AcmeRegistration, (AcmeError, Option<Duration>)> {
        let secrets = self.cluster.secrets();
        let client = account::client(&account.settings).map_err(|error| (error, None))?;
        let done = async {
            match (work, &account.registration) {
                (AccountWork::Update, Some(registration)) => {
                    let authority = account::open(registration, &client, &secrets).await?;
                    account::update(account, registration, &authority).await
                }
                _ => account::register(&account.settings, &client, &secrets).await,
            }
        };
        let retry_after = |error| (error, client.take_retry_after(SystemTime::now()));
        done.await.map_err(retry_after)
    }

    /// The account, opened once for each change of it.
    async fn authority(&self, account: &AcmeAccount) -> Result<Authority, AcmeError> {
        let Some(registration) = &account.registration else {
            return Err(AcmeError::GivenUp);
        };
        let mut opened = self.authority.lock().await;
        if let Some((revision, known, authority)) = &*opened
            && *revision == account.revision
            && known == registration
        {
            return Ok(authority.clone());
        }
        let client = account::client(&account.settings)?;
        let authority = account::open(registration, &client, &self.cluster.secrets()).await?;
        *opened = Some((account.revision, registration.clone(), authority.clone()));
        Ok(authority)
    }

    /// Replicates a step. Without it, the next look finds the same thing due.
    async fn note(&self, step: AcmeStep) {
        if let Err(error) = self.cluster.propose(Command::Acme(Box::new(step))).await {
            let error = &error as &dyn std::error::Error;
            tracing::debug!(error, "a step of acme is not replicated");
        }
    }
}

/// One step for a certificate.
struct Job {
    context: Arc<Context>,
    account: Arc<AcmeAccount>,
    name: CertificateName,
    certificate: Arc<Certificate>,
    order: Option<Arc<AcmeOrder>>,
    progress: Option<Arc<AcmeProgress>>,
}

impl Job {
    async fn run(self, work: CertificateWork) -> Done {
        let authority = match self.context.authority(&self.account).await {
            Ok(authority) => authority,
            Err(error) => return self.failed(&error, None).await,
        };
        match self.step(&authority, work).await {
            Ok(done) => done,
            Err(error) => {
                let retry_after = authority.client.take_retry_after(SystemTime::now());
                self.failed(&error, retry_after).await
            }
        }
    }

    async fn step(&self, authority: &Authority, work: CertificateWork) -> Result<Done, AcmeError> {
        let wanted = Wanted {
            cluster: &self.context.cluster,
            name: &self.name,
            certificate: &self.certificate,
        };
        let progress = self.progress.as_ref();
        let renewal = progress.and_then(|progress| progress.renewal.as_ref());
        match (work, &self.order) {
            (CertificateWork::Plan, _) => {
                let again = wanted.plan(authority, renewal).await?;
                return Ok(Done::Planned(again));
            }
            (CertificateWork::GoOn, Some(order)) => wanted.go_on(authority, order).await?,
            _ => {
                let kind = self.account.settings.challenge.kind(self.failures());
                let is_replacement =
                    renewal.is_some_and(|renewal| renewal.by == RenewalBy::Authority);
                wanted.order(authority, kind, is_replacement).await?;
                tracing::info!(certificate = %self.name, "a certificate was ordered by acme");
            }
        }
        Ok(Done::Nothing)
    }

    fn failures(&self) -> u32 {
        let progress = self.progress.as_ref();
        let failure = progress.and_then(|progress| progress.failure.as_ref());
        failure.map_or(0, |failure| failure.failures)
    }

    async fn failed(&self, error: &AcmeError, retry_after: Option<Duration>) -> Done {
        if matches!(error, AcmeError::Propose(_)) {
            // Another node leads, or will soon.
            return Done::Nothing;
        }
        let now = Timestamp::now();
        let message = error.message();
        let failure = delays::failed(message, self.failures(), retry_after, now, fastrand::f64());
        tracing::warn!(certificate = %self.name, error = failure.message, "a certificate cannot be obtained by acme; trying again");
        self.context
            .note(AcmeStep::Failed {
                certificate: self.name.clone(),
                of: self.certificate.revision,
                failure,
                keeps_order: error.keeps_order(),
            })
            .await;
        if error.is_limit() {
            return Done::Limited(retry_after.unwrap_or(PAUSE).min(delays::MOST_ASKED));
        }
        Done::Nothing
    }
}
