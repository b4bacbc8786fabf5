//! The connection to a node: to the first one that responds, and to the next one if that stops responding. Each call has a
//! time limit, and each failure becomes a [`CtlError`].

use std::{
    future::Future,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, future::join_all, stream::FuturesUnordered};
use tonic::{
    Response, Status, Streaming,
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};
use weldr_proto::v1::{
    AddServerRequest, AddServerResponse, ApplyRequest, ApplyResponse, BackupRequest,
    BackupResponse, CreateCertificateRequest, CreateCertificateResponse, CreateInviteRequest,
    CreateInviteResponse, CreateListenerRequest, CreateListenerResponse, CreatePoolRequest,
    CreatePoolResponse, CreateRuleRequest, CreateRuleResponse, CreateTokenRequest,
    CreateTokenResponse, DeleteAcmeAccountRequest, DeleteAcmeAccountResponse,
    DeleteCertificateRequest, DeleteCertificateResponse, DeleteListenerRequest,
    DeleteListenerResponse, DeletePoolRequest, DeletePoolResponse, DeleteRuleRequest,
    DeleteRuleResponse, ExplainRouteRequest, ExplainRouteResponse, ExportRequest, ExportResponse,
    GetAcmeAccountRequest, GetAcmeAccountResponse, GetCertificateRequest, GetCertificateResponse,
    GetClusterRequest, GetClusterResponse, GetHistoryRequest, GetHistoryResponse,
    GetListenerRequest, GetListenerResponse, GetObjectStatsRequest, GetObjectStatsResponse,
    GetPoolRequest, GetPoolResponse, GetServerRequest, GetServerResponse, GetStatsRequest,
    GetStatsResponse, ListCertificatesRequest, ListCertificatesResponse, ListHealthRequest,
    ListHealthResponse, ListInvitesRequest, ListInvitesResponse, ListListenersRequest,
    ListListenersResponse, ListPoolsRequest, ListPoolsResponse, ListRulesRequest,
    ListRulesResponse, ListServersRequest, ListServersResponse, ListTlsPoliciesRequest,
    ListTlsPoliciesResponse, ListTokensRequest, ListTokensResponse, MoveRuleRequest,
    MoveRuleResponse, RemoveNodeRequest, RemoveNodeResponse, RemoveServerRequest,
    RemoveServerResponse, RenewCertificateRequest, RenewCertificateResponse, RestoreRequest,
    RestoreResponse, RevokeInviteRequest, RevokeInviteResponse, RevokeTokenRequest,
    RevokeTokenResponse, RollbackRequest, RollbackResponse, RotateNodeKeyRequest,
    RotateNodeKeyResponse, SetAcmeAccountRequest, SetAcmeAccountResponse, StreamStatsRequest,
    StreamStatsResponse, TransferLeadershipRequest, TransferLeadershipResponse,
    UpdateCertificateRequest, UpdateCertificateResponse, UpdateListenerRequest,
    UpdateListenerResponse, UpdatePoolRequest, UpdatePoolResponse, UpdateRuleRequest,
    UpdateRuleResponse, UpdateServerRequest, UpdateServerResponse, WatchObjectsRequest,
    WatchObjectsResponse, WatchServersRequest, WatchServersResponse, WhoAmIRequest, WhoAmIResponse,
    access_client::AccessClient, certificates_client::CertificatesClient,
    cluster_client::ClusterClient, management_client::ManagementClient,
    observation_client::ObservationClient, routing_client::RoutingClient,
};

use crate::{
    error::{CtlError, Obstacle},
    target::{Bearer, Target},
};

/// The maximum size of a response. One with ten thousand servers has about 5 MB; tonic's default limit is 4 MiB.
const MAX_RESPONSE_BYTES: usize = 256 * 1024 * 1024;

/// The interval of keep-alive probes on an idle connection, by which a stream detects a node that is lost.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// The interval and the time limit of keep-alive probes if there are other nodes to try: a node that accepts connections and
/// does nothing else, because it is stopped or its machine is, does not use up the timeout of the call.
const KEEPALIVE_OF_SEVERAL: (Duration, Duration) =
    (Duration::from_millis(500), Duration::from_secs(1));

/// How long an endpoint may take to respond before the next one is tried beside it.
const HEAD_START: Duration = Duration::from_millis(150);

/// The time limit for asking the other endpoints which cluster they belong to.
const SECOND_LOOK: Duration = Duration::from_secs(1);

/// A client of the management API.
#[derive(Debug)]
pub(crate) struct Client {
    target: Target,
    timeout: Duration,
    /// The node in use, and its index in the endpoints.
    node: Mutex<(usize, Channel)>,
}

/// Makes a method for each unary call: it takes the request and returns the response or an error.
macro_rules! unary {
    ($([$service:ident] $($name:ident($request:ty) -> $response:ty;)*)*) => {
        impl Client {
            $($(pub(crate) async fn $name(&self, request: $request) -> Result<$response, CtlError> {
                self.of_any(async |channel| {
                    let mut grpc = $service::with_interceptor(channel, self.target.bearer()).max_decoding_message_size(MAX_RESPONSE_BYTES);
                    grpc.$name(request.clone()).await
                }).await
            })*)*
        }
    };
}

unary! {
    [ManagementClient]
    add_server(AddServerRequest) -> AddServerResponse;
    update_server(UpdateServerRequest) -> UpdateServerResponse;
    remove_server(RemoveServerRequest) -> RemoveServerResponse;
    get_server(GetServerRequest) -> GetServerResponse;
    list_servers(ListServersRequest) -> ListServersResponse;
    get_stats(GetStatsRequest) -> GetStatsResponse;
    get_pool(GetPoolRequest) -> GetPoolResponse;
    update_pool(UpdatePoolRequest) -> UpdatePoolResponse;
    [RoutingClient]
    create_pool(CreatePoolRequest) -> CreatePoolResponse;
    delete_pool(DeletePoolRequest) -> DeletePoolResponse;
    list_pools(ListPoolsRequest) -> ListPoolsResponse;
    create_listener(CreateListenerRequest) -> CreateListenerResponse;
    update_listener(UpdateListenerRequest) -> UpdateListenerResponse;
    delete_listener(DeleteListenerRequest) -> DeleteListenerResponse;
    get_listener(GetListenerRequest) -> GetListenerResponse;
    list_listeners(ListListenersRequest) -> ListListenersResponse;
    create_rule(CreateRuleRequest) -> CreateRuleResponse;
    update_rule(UpdateRuleRequest) -> UpdateRuleResponse;
    delete_rule(DeleteRuleRequest) -> DeleteRuleResponse;
    move_rule(MoveRuleRequest) -> MoveRuleResponse;
    list_rules(ListRulesRequest) -> ListRulesResponse;
    apply(ApplyRequest) -> ApplyResponse;
    export(ExportRequest) -> ExportResponse;
    explain_route(ExplainRouteRequest) -> ExplainRouteResponse;
    [CertificatesClient]
    create_certificate(CreateCertificateRequest) -> CreateCertificateResponse;
    update_certificate(UpdateCertificateRequest) -> UpdateCertificateResponse;
    delete_certificate(DeleteCertificateRequest) -> DeleteCertificateResponse;
    get_certificate(GetCertificateRequest) -> GetCertificateResponse;
    list_certificates(ListCertificatesRequest) -> ListCertificatesResponse;
    renew_certificate(RenewCertificateRequest) -> RenewCertificateResponse;
    list_tls_policies(ListTlsPoliciesRequest) -> ListTlsPoliciesResponse;
    set_acme_account(SetAcmeAccountRequest) -> SetAcmeAccountResponse;
    get_acme_account(GetAcmeAccountRequest) -> GetAcmeAccountResponse;
    delete_acme_account(DeleteAcmeAccountRequest) -> DeleteAcmeAccountResponse;
    [ClusterClient]
    get_cluster(GetClusterRequest) -> GetClusterResponse;
    remove_node(RemoveNodeRequest) -> RemoveNodeResponse;
    transfer_leadership(TransferLeadershipRequest) -> TransferLeadershipResponse;
    create_invite(CreateInviteRequest) -> CreateInviteResponse;
    list_invites(ListInvitesRequest) -> ListInvitesResponse;
    revoke_invite(RevokeInviteRequest) -> RevokeInviteResponse;
    rotate_node_key(RotateNodeKeyRequest) -> RotateNodeKeyResponse;
    list_health(ListHealthRequest) -> ListHealthResponse;
    get_history(GetHistoryRequest) -> GetHistoryResponse;
    rollback(RollbackRequest) -> RollbackResponse;
    backup(BackupRequest) -> BackupResponse;
    restore(RestoreRequest) -> RestoreResponse;
    [ObservationClient]
    get_object_stats(GetObjectStatsRequest) -> GetObjectStatsResponse;
    [AccessClient]
    create_token(CreateTokenRequest) -> CreateTokenResponse;
    list_tokens(ListTokensRequest) -> ListTokensResponse;
    revoke_token(RevokeTokenRequest) -> RevokeTokenResponse;
    who_am_i(WhoAmIRequest) -> WhoAmIResponse;
}

impl Client {
    /// Connects to the first endpoint that responds. Each has the timeout. An endpoint that does not respond at once does not
    /// hold up the command: the next one is tried beside it after [`HEAD_START`].
    pub(crate) async fn connect(target: Target, timeout: Duration) -> Result<Self, CtlError> {
        let indices: Vec<usize> = (0..target.endpoints().len()).collect();
        let (index, channel) = race(&target, &indices, timeout).await?;
        Ok(Self {
            timeout,
            node: Mutex::new((index, channel)),
            target,
        })
    }

    /// The clusters of the other endpoints, for those that respond soon.
    pub(crate) async fn clusters_of_others(&self) -> Vec<(String, String)> {
        let (used, _) = self.node();
        let others = self.target.endpoints().iter().enumerate();
        let asked = others
            .filter(|(index, _)| *index != used)
            .map(async |(_, endpoint)| {
                let ask = async {
                    let channel = dial(&self.target, endpoint, SECOND_LOOK, KEEPALIVE_OF_SEVERAL)
                        .await
                        .ok()?;
                    let mut grpc = ClusterClient::with_interceptor(channel, self.target.bearer());
                    let answer = grpc.get_cluster(GetClusterRequest {}).await.ok()?;
                    Some((endpoint.clone(), answer.into_inner().cluster))
                };
                tokio::time::timeout(SECOND_LOOK, ask).await.ok()?
            });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// The endpoint in use.
    pub(crate) fn endpoint(&self) -> &str {
        &self.target.endpoints()[self.node().0]
    }

    fn node(&self) -> (usize, Channel) {
        let node = self.node.lock().unwrap_or_else(PoisonError::into_inner);
        node.clone()
    }

    /// The servers of a pool and their changes. The timeout is for the first message only.
    pub(crate) async fn watch_servers(
        &self,
        request: WatchServersRequest,
    ) -> Result<Updates<WatchServersResponse>, CtlError> {
        let mut grpc = self.management();
        self.stream(grpc.watch_servers(request)).await
    }

    /// All objects and their changes. The timeout is for the first message only.
    pub(crate) async fn watch_objects(
        &self,
        request: WatchObjectsRequest,
    ) -> Result<Updates<WatchObjectsResponse>, CtlError> {
        let (_, channel) = self.node();
        let mut grpc = ObservationClient::with_interceptor(channel, self.target.bearer())
            .max_decoding_message_size(MAX_RESPONSE_BYTES);
        self.stream(grpc.watch_objects(request)).await
    }

    /// Statistics at an interval. The timeout is for the first message only.
    pub(crate) async fn stream_stats(
        &self,
        request: StreamStatsRequest,
    ) -> Result<Updates<StreamStatsResponse>, CtlError> {
        let mut grpc = self.management();
        self.stream(grpc.stream_stats(request)).await
    }

    fn management(&self) -> ManagementClient<InterceptedService<Channel, Bearer>> {
        let (_, channel) = self.node();
        ManagementClient::with_interceptor(channel, self.target.bearer())
            .max_decoding_message_size(MAX_RESPONSE_BYTES)
    }

    /// The response of the node in use, or of the next one that responds. All calls of the API may be repeated.
    async fn of_any<T>(
        &self,
        call: impl AsyncFn(Channel) -> Result<Response<T>, Status>,
    ) -> Result<T, CtlError> {
        let (first, channel) = self.node();
        let response = self.bounded(first, call(channel)).await;
        let Err(CtlError::Unreachable { .. }) = &response else {
            return response;
        };
        let count = self.target.endpoints().len();
        let mut others: Vec<usize> = (1..count).map(|step| (first + step) % count).collect();
        while let Ok((index, channel)) = race(&self.target, &others, self.timeout).await {
            let next = self.bounded(index, call(channel.clone())).await;
            if !matches!(next, Err(CtlError::Unreachable { .. })) {
                *self.node.lock().unwrap_or_else(PoisonError::into_inner) = (index, channel);
                return next;
            }
            others.retain(|other| *other != index);
        }
        response
    }

    async fn bounded<T>(
        &self,
        node: usize,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, CtlError> {
        let endpoint = &self.target.endpoints()[node];
        tokio::time::timeout(self.timeout, call)
            .await
            .map_err(|_elapsed| no_response(endpoint, self.timeout))?
            .map(Response::into_inner)
            .map_err(|status| CtlError::from_status(endpoint, self.timeout, status))
    }

    async fn stream<T>(
        &self,
        call: impl Future<Output = Result<Response<Streaming<T>>, Status>>,
    ) -> Result<Updates<T>, CtlError> {
        let begun = Instant::now();
        let (node, _) = self.node();
        let stream = self.bounded(node, call).await?;
        Ok(Updates {
            stream,
            endpoint: self.endpoint().to_owned(),
            timeout: self.timeout,
            first_within: Some(self.timeout.saturating_sub(begun.elapsed())),
        })
    }
}

/// Connects to the first of these endpoints that responds. Each gets [`HEAD_START`] before the next one is tried beside it,
/// and the next one is tried at once when one fails. The error is that of the first in the list.
async fn race(
    target: &Target,
    indices: &[usize],
    timeout: Duration,
) -> Result<(usize, Channel), CtlError> {
    let endpoints = target.endpoints();
    let keepalive = match endpoints.len() {
        0 | 1 => (KEEPALIVE, KEEPALIVE),
        _ => KEEPALIVE_OF_SEVERAL,
    };
    let mut waiting = indices.iter().copied();
    let mut dials = FuturesUnordered::new();
    let mut errors: Vec<(usize, CtlError)> = Vec::new();
    loop {
        if let Some(index) = waiting.next() {
            dials.push(async move {
                (
                    index,
                    dial(target, &endpoints[index], timeout, keepalive).await,
                )
            });
        }
        let head_start = async {
            if waiting.len() == 0 {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(HEAD_START).await;
        };
        tokio::select! {
            dialled = dials.next() => match dialled {
                Some((index, Ok(channel))) => return Ok((index, channel)),
                Some((index, Err(error))) => errors.push((index, error)),
                None => break,
            },
            () = head_start => {}
        }
    }
    let order = |index: usize| indices.iter().position(|other| *other == index);
    errors.sort_by_key(|(index, _)| order(*index));
    let first = errors.into_iter().next().map(|(_, error)| error);
    Err(first.unwrap_or_else(|| CtlError::Usage("no endpoint is given".to_owned())))
}

/// A connection to one node.
async fn dial(
    target: &Target,
    endpoint: &str,
    timeout: Duration,
    (interval, limit): (Duration, Duration),
) -> Result<Channel, CtlError> {
    let failed = |source| CtlError::network(endpoint, timeout, Box::new(source));
    let dial = Endpoint::from_shared(endpoint.to_owned())
        .map_err(failed)?
        .user_agent(concat!("weldrctl/", env!("CARGO_PKG_VERSION")))
        .map_err(failed)?
        .http2_keep_alive_interval(interval)
        .keep_alive_timeout(limit)
        .keep_alive_while_idle(true);
    let dial = match target.tls(endpoint) {
        Some(tls) => dial.tls_config(tls).map_err(failed)?,
        None => dial,
    };
    tokio::time::timeout(timeout, dial.connect())
        .await
        .map_err(|_elapsed| no_response(endpoint, timeout))?
        .map_err(failed)
}

/// The messages of a stream that ends only if weldr stops.
#[derive(Debug)]
pub(crate) struct Updates<T> {
    stream: Streaming<T>,
    endpoint: String,
    timeout: Duration,
    /// The rest of the timeout for the first message; `None` after it was received.
    first_within: Option<Duration>,
}

impl<T> Updates<T> {
    /// The next message. The end of the stream is an error, because weldr has stopped.
    ///
    /// Cancel safe: no message is lost if the future is dropped.
    pub(crate) async fn next(&mut self) -> Result<T, CtlError> {
        let message = match self.first_within {
            Some(left) => tokio::time::timeout(left, self.stream.message())
                .await
                .map_err(|_elapsed| no_response(&self.endpoint, self.timeout))?,
            None => self.stream.message().await,
        };
        self.first_within = None;
        match message {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(CtlError::Unreachable {
                endpoint: self.endpoint.clone(),
                why: Obstacle::ConnectionLost,
                source: None,
            }),
            Err(status) => Err(CtlError::from_status(&self.endpoint, self.timeout, status)),
        }
    }
}

fn no_response(endpoint: &str, timeout: Duration) -> CtlError {
    CtlError::Unreachable {
        endpoint: endpoint.to_owned(),
        why: Obstacle::NoResponse(timeout),
        source: None,
    }
}
