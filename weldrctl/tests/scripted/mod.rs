//! A management server that follows a script, for responses that a real weldr cannot be made to send.
//!
//! The port of an address selects the behaviour: 9408 gets no response, 9409 is there with other settings, 9500 and above become
//! unhealthy, and all others become healthy when they are watched. A watch of the pool `silent` sends nothing.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use prost_types::Timestamp;
use tokio_stream::{
    Stream, StreamExt as _,
    wrappers::{IntervalStream, TcpListenerStream},
};
use tonic::{Code, Request, Response, Status, transport::Server as Transport};
use tonic_types::{ErrorDetails, StatusExt as _};
use weldr_proto::v1::{
    AddServerRequest, AddServerResponse, AdminState, Balancing, GetPoolRequest, GetPoolResponse,
    GetServerRequest, GetServerResponse, GetStatsRequest, GetStatsResponse, Health, HealthCheck,
    HealthReason, HealthState, HttpCheck, ListServersRequest, ListServersResponse, Outcomes, Pool,
    PoolSettings, PoolState, RemoveServerRequest, RemoveServerResponse, Server, ServerChange,
    Stats, StreamStatsRequest, StreamStatsResponse, UpdatePoolRequest, UpdatePoolResponse,
    UpdateServerRequest, UpdateServerResponse, WatchServersRequest, WatchServersResponse,
    health_check::Type,
    management_server::{Management, ManagementServer},
    server_change::Kind,
    watch_servers_response::Event,
};

/// A running server. Its thread ends with the process.
pub(crate) struct Script {
    pub(crate) endpoint: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    revision: u64,
    servers: BTreeMap<String, Server>,
    settings: PoolSettings,
    aborts: usize,
    looks_before_gone: usize,
}

impl Script {
    pub(crate) fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State {
            settings: settings(),
            ..State::default()
        }));
        let service = ManagementServer::new(Node(Arc::clone(&state)));
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                Transport::builder()
                    .add_service(service)
                    .serve_with_incoming(TcpListenerStream::new(listener))
                    .await
                    .unwrap();
            });
        });
        Self { endpoint, state }
    }

    /// Makes the next updates of servers `ABORTED`.
    pub(crate) fn abort_next_updates(&self, count: usize) {
        self.state.lock().unwrap().aborts = count;
    }

    /// The path and the status codes that a server overrides.
    pub(crate) fn check_of(&self, address: &str) -> Option<(String, String)> {
        let state = self.state.lock().unwrap();
        match state
            .servers
            .get(address)?
            .check
            .as_ref()?
            .r#type
            .as_ref()?
        {
            Type::Http(http) => Some((http.path.clone(), http.expected_status.clone())),
            Type::Tcp(_) => None,
        }
    }
}

fn settings() -> PoolSettings {
    PoolSettings {
        check: Some(HealthCheck {
            r#type: Some(Type::Http(HttpCheck {
                path: "/".to_owned(),
                expected_status: "200-299".to_owned(),
                host: String::new(),
                ..HttpCheck::default()
            })),
            ..HealthCheck::default()
        }),
        balancing: Balancing::RoundRobin.into(),
        fail_open: Some(true),
        ..PoolSettings::default()
    }
}

fn health(state: HealthState, reason: HealthReason, description: &str) -> Health {
    Health {
        state: state.into(),
        reason: reason.into(),
        description: description.to_owned(),
        since: Some(Timestamp::default()),
    }
}

/// The health of a server.
fn checked(server: &Server) -> Server {
    let address: SocketAddr = server.address.parse().unwrap();
    let health = if address.port() < 9500 {
        health(HealthState::Healthy, HealthReason::ChecksPassed, "")
    } else {
        health(
            HealthState::Unhealthy,
            HealthReason::ConnectionRefused,
            "connection refused (3 checks failed in a row)",
        )
    };
    Server {
        health: Some(health),
        ..server.clone()
    }
}

struct Node(Arc<Mutex<State>>);

impl Node {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

fn not_found(address: &str) -> Status {
    Status::not_found(format!("server {address} is not in pool default"))
}

type Updates<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Management for Node {
    type WatchServersStream = Updates<WatchServersResponse>;
    type StreamStatsStream = Updates<StreamStatsResponse>;

    async fn add_server(
        &self,
        request: Request<AddServerRequest>,
    ) -> Result<Response<AddServerResponse>, Status> {
        let request = request.into_inner();
        if request.address.ends_with(":9408") {
            return std::future::pending().await;
        }
        let mut state = self.state();
        if request.address.ends_with(":9409") {
            return Err(Status::already_exists(
                "server is there with other settings: weight is 1, not 2",
            ));
        }
        if let Some(weight) = request.weight.filter(|weight| *weight > 256) {
            let description = format!("{weight} is not accepted, 0 to 256 is");
            let details = ErrorDetails::with_bad_request_violation("weight", description);
            return Err(Status::with_error_details(
                Code::InvalidArgument,
                "the request is not valid",
                details,
            ));
        }
        if request.expected_revision != 0 && request.expected_revision != state.revision {
            return Err(Status::aborted("the servers of the pool have changed"));
        }
        let created = !state.servers.contains_key(&request.address);
        if created {
            state.revision += 1;
            let server = Server {
                id: state.revision,
                address: request.address.clone(),
                weight: request.weight.unwrap_or(1),
                admin_state: AdminState::Ready.into(),
                check: request.check,
                health: Some(health(HealthState::Initial, HealthReason::CheckPending, "")),
                revision: state.revision,
                ..Server::default()
            };
            state.servers.insert(request.address.clone(), server);
        }
        Ok(Response::new(AddServerResponse {
            revision: state.revision,
            server: state.servers.get(&request.address).cloned(),
            created,
        }))
    }

    async fn update_server(
        &self,
        request: Request<UpdateServerRequest>,
    ) -> Result<Response<UpdateServerResponse>, Status> {
        let request = request.into_inner();
        let mut state = self.state();
        if state.aborts > 0 {
            state.aborts -= 1;
            return Err(Status::aborted("the server has changed"));
        }
        state.revision += 1;
        let revision = state.revision;
        let server = state
            .servers
            .get_mut(&request.address)
            .ok_or_else(|| not_found(&request.address))?;
        server.check = request.check.or(server.check.take());
        Ok(Response::new(UpdateServerResponse {
            revision,
            server: Some(server.clone()),
        }))
    }

    async fn remove_server(
        &self,
        request: Request<RemoveServerRequest>,
    ) -> Result<Response<RemoveServerResponse>, Status> {
        let address = request.into_inner().address;
        let mut state = self.state();
        state.revision += 1;
        state.looks_before_gone = 2;
        let revision = state.revision;
        let server = state
            .servers
            .get_mut(&address)
            .ok_or_else(|| not_found(&address))?;
        server.removal_deadline = Some(Timestamp::default());
        server.health = Some(health(
            HealthState::Draining,
            HealthReason::RemovalInProgress,
            "it is being removed",
        ));
        Ok(Response::new(RemoveServerResponse {
            revision,
            server: Some(server.clone()),
            removed: false,
        }))
    }

    async fn get_server(
        &self,
        request: Request<GetServerRequest>,
    ) -> Result<Response<GetServerResponse>, Status> {
        let address = request.into_inner().address;
        let mut state = self.state();
        let server = state.servers.get(&address).cloned();
        let server = server.ok_or_else(|| not_found(&address))?;
        if server.removal_deadline.is_some() {
            state.looks_before_gone -= 1;
            if state.looks_before_gone == 0 {
                state.servers.remove(&address);
            }
        }
        Ok(Response::new(GetServerResponse {
            revision: state.revision,
            server: Some(server),
        }))
    }

    async fn list_servers(
        &self,
        _request: Request<ListServersRequest>,
    ) -> Result<Response<ListServersResponse>, Status> {
        let state = self.state();
        Ok(Response::new(ListServersResponse {
            revision: state.revision,
            servers: state.servers.values().cloned().collect(),
        }))
    }

    async fn watch_servers(
        &self,
        request: Request<WatchServersRequest>,
    ) -> Result<Response<Self::WatchServersStream>, Status> {
        if request.into_inner().pool == "silent" {
            return Ok(Response::new(Box::pin(tokio_stream::pending())));
        }
        let state = self.state();
        let revision = state.revision;
        let servers: Vec<Server> = state.servers.values().cloned().collect();
        let first = Event::State(PoolState {
            settings: Some(state.settings.clone()),
            servers: servers.clone(),
        });
        let changes = servers.into_iter().map(|server| {
            Event::Change(ServerChange {
                kind: Kind::Health.into(),
                server: Some(checked(&server)),
                at: Some(Timestamp::default()),
            })
        });
        let events: Vec<_> = std::iter::once(first)
            .chain(changes)
            .map(|event| {
                Ok(WatchServersResponse {
                    revision,
                    event: Some(event),
                })
            })
            .collect();
        // The stream of an empty pool ends, others stay open.
        let events = tokio_stream::iter(events);
        if state.servers.is_empty() {
            return Ok(Response::new(Box::pin(events)));
        }
        Ok(Response::new(Box::pin(
            events.chain(tokio_stream::pending()),
        )))
    }

    async fn get_stats(
        &self,
        _request: Request<GetStatsRequest>,
    ) -> Result<Response<GetStatsResponse>, Status> {
        Ok(Response::new(GetStatsResponse {
            revision: self.state().revision,
            stats: Some(Stats::default()),
        }))
    }

    async fn stream_stats(
        &self,
        request: Request<StreamStatsRequest>,
    ) -> Result<Response<Self::StreamStatsStream>, Status> {
        let interval = request.into_inner().interval.unwrap_or_default();
        let interval = Duration::try_from(interval).unwrap();
        // A hundred requests a second, by the clock of the samples.
        let mut second = 0_u32;
        let ticks = IntervalStream::new(tokio::time::interval(interval));
        let samples = ticks.map(move |_tick| {
            second += 1;
            Ok(StreamStatsResponse {
                revision: 1,
                stats: Some(Stats {
                    at: Some(Timestamp {
                        seconds: i64::from(second),
                        nanos: 0,
                    }),
                    client: Some(Outcomes {
                        success: u64::from(second) * 100,
                        failed: 0,
                    }),
                    ..Stats::default()
                }),
            })
        });
        Ok(Response::new(Box::pin(samples)))
    }

    async fn get_pool(
        &self,
        _request: Request<GetPoolRequest>,
    ) -> Result<Response<GetPoolResponse>, Status> {
        let state = self.state();
        Ok(Response::new(GetPoolResponse {
            revision: state.revision,
            pool: Some(Pool {
                name: "default".to_owned(),
                settings: Some(state.settings.clone()),
                ..Pool::default()
            }),
        }))
    }

    async fn update_pool(
        &self,
        request: Request<UpdatePoolRequest>,
    ) -> Result<Response<UpdatePoolResponse>, Status> {
        let mut state = self.state();
        let settings = request.into_inner().settings.unwrap_or_default();
        state.settings.check = settings.check.or(state.settings.check.take());
        Ok(Response::new(UpdatePoolResponse {
            revision: state.revision,
            pool: Some(Pool {
                name: "default".to_owned(),
                settings: Some(state.settings.clone()),
                ..Pool::default()
            }),
        }))
    }
}
