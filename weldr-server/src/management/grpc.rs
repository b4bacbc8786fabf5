//! The services of the management API over gRPC: each method passes its request to [`Operations`].

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};
use tracing::debug;
use weldr_proto::v1::{
    self, access_server::Access, certificates_server::Certificates, cluster_server::Cluster,
    management_server::Management, observation_server::Observation, routing_server::Routing,
};

use super::{
    access::Caller,
    error::Error,
    operations::{ApiCaller, Operations, ResponseStream, WRITE_TIMEOUT},
};

/// The service.
#[derive(Debug, Clone)]
pub(super) struct GrpcService(pub(super) Arc<Operations>);

type StatusStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Calls an operation with a request, and makes a response of its result.
macro_rules! respond {
    ($request:ident, $caller:ident => $result:expr) => {{
        let $caller = caller_of(&$request)?;
        let known = $caller.caller.clone();
        let $request = $request.into_inner();
        to_status(&known, $result).map(Response::new)
    }};
}

#[tonic::async_trait]
impl Management for GrpcService {
    async fn add_server(
        &self,
        request: Request<v1::AddServerRequest>,
    ) -> Result<Response<v1::AddServerResponse>, Status> {
        respond!(request, caller => self.0.add_server(caller, request).await)
    }

    async fn update_server(
        &self,
        request: Request<v1::UpdateServerRequest>,
    ) -> Result<Response<v1::UpdateServerResponse>, Status> {
        respond!(request, caller => self.0.update_server(caller, request).await)
    }

    async fn remove_server(
        &self,
        request: Request<v1::RemoveServerRequest>,
    ) -> Result<Response<v1::RemoveServerResponse>, Status> {
        respond!(request, caller => self.0.remove_server(caller, request).await)
    }

    async fn get_server(
        &self,
        request: Request<v1::GetServerRequest>,
    ) -> Result<Response<v1::GetServerResponse>, Status> {
        respond!(request, caller => self.0.get_server(&request).await)
    }

    async fn list_servers(
        &self,
        request: Request<v1::ListServersRequest>,
    ) -> Result<Response<v1::ListServersResponse>, Status> {
        respond!(request, caller => self.0.list_servers(&request).await)
    }

    type WatchServersStream = StatusStream<v1::WatchServersResponse>;

    async fn watch_servers(
        &self,
        request: Request<v1::WatchServersRequest>,
    ) -> Result<Response<Self::WatchServersStream>, Status> {
        respond!(request, caller => self.0.watch_servers(&request).map(statuses))
    }

    async fn get_stats(
        &self,
        request: Request<v1::GetStatsRequest>,
    ) -> Result<Response<v1::GetStatsResponse>, Status> {
        respond!(request, caller => self.0.get_stats(&request))
    }

    type StreamStatsStream = StatusStream<v1::StreamStatsResponse>;

    async fn stream_stats(
        &self,
        request: Request<v1::StreamStatsRequest>,
    ) -> Result<Response<Self::StreamStatsStream>, Status> {
        respond!(request, caller => Arc::clone(&self.0).stream_stats(request).map(statuses))
    }

    async fn get_pool(
        &self,
        request: Request<v1::GetPoolRequest>,
    ) -> Result<Response<v1::GetPoolResponse>, Status> {
        respond!(request, caller => self.0.get_pool(&request).await)
    }

    async fn update_pool(
        &self,
        request: Request<v1::UpdatePoolRequest>,
    ) -> Result<Response<v1::UpdatePoolResponse>, Status> {
        respond!(request, caller => self.0.update_pool(caller, request).await)
    }
}

#[tonic::async_trait]
impl Cluster for GrpcService {
    async fn get_cluster(
        &self,
        request: Request<v1::GetClusterRequest>,
    ) -> Result<Response<v1::GetClusterResponse>, Status> {
        let caller = caller_of(&request)?.caller;
        to_status(&caller, self.0.get_cluster().await).map(Response::new)
    }

    async fn remove_node(
        &self,
        request: Request<v1::RemoveNodeRequest>,
    ) -> Result<Response<v1::RemoveNodeResponse>, Status> {
        respond!(request, caller => self.0.remove_node(caller, request).await)
    }

    async fn create_invite(
        &self,
        request: Request<v1::CreateInviteRequest>,
    ) -> Result<Response<v1::CreateInviteResponse>, Status> {
        respond!(request, caller => self.0.create_invite(caller, request).await)
    }

    async fn list_invites(
        &self,
        request: Request<v1::ListInvitesRequest>,
    ) -> Result<Response<v1::ListInvitesResponse>, Status> {
        let caller = caller_of(&request)?.caller;
        to_status(&caller, self.0.list_invites().await).map(Response::new)
    }

    async fn revoke_invite(
        &self,
        request: Request<v1::RevokeInviteRequest>,
    ) -> Result<Response<v1::RevokeInviteResponse>, Status> {
        respond!(request, caller => self.0.revoke_invite(caller, request).await)
    }

    async fn rotate_node_key(
        &self,
        request: Request<v1::RotateNodeKeyRequest>,
    ) -> Result<Response<v1::RotateNodeKeyResponse>, Status> {
        respond!(request, caller => self.0.rotate_node_key(caller, request).await)
    }

    async fn transfer_leadership(
        &self,
        request: Request<v1::TransferLeadershipRequest>,
    ) -> Result<Response<v1::TransferLeadershipResponse>, Status> {
        respond!(request, caller => self.0.transfer_leadership(caller, request).await)
    }

    async fn list_health(
        &self,
        request: Request<v1::ListHealthRequest>,
    ) -> Result<Response<v1::ListHealthResponse>, Status> {
        respond!(request, caller => self.0.list_health(request).await)
    }

    async fn get_history(
        &self,
        request: Request<v1::GetHistoryRequest>,
    ) -> Result<Response<v1::GetHistoryResponse>, Status> {
        respond!(request, caller => self.0.get_history(request).await)
    }

    async fn rollback(
        &self,
        request: Request<v1::RollbackRequest>,
    ) -> Result<Response<v1::RollbackResponse>, Status> {
        respond!(request, caller => self.0.rollback(caller, request).await)
    }

    async fn backup(
        &self,
        request: Request<v1::BackupRequest>,
    ) -> Result<Response<v1::BackupResponse>, Status> {
        let caller = caller_of(&request)?.caller;
        let backup = self.0.backup(request.into_inner());
        to_status(&caller, backup.await).map(Response::new)
    }

    async fn restore(
        &self,
        request: Request<v1::RestoreRequest>,
    ) -> Result<Response<v1::RestoreResponse>, Status> {
        respond!(request, caller => self.0.restore(caller, request).await)
    }
}

#[tonic::async_trait]
impl Access for GrpcService {
    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        respond!(request, caller => self.0.create_token(caller, request).await)
    }

    async fn list_tokens(
        &self,
        request: Request<v1::ListTokensRequest>,
    ) -> Result<Response<v1::ListTokensResponse>, Status> {
        respond!(request, caller => self.0.list_tokens(&request).await)
    }

    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        respond!(request, caller => self.0.revoke_token(caller, &request).await)
    }

    async fn who_am_i(
        &self,
        request: Request<v1::WhoAmIRequest>,
    ) -> Result<Response<v1::WhoAmIResponse>, Status> {
        let caller = caller_of(&request)?.caller;
        Ok(Response::new(self.0.who_am_i(&caller)))
    }
}

#[tonic::async_trait]
impl Routing for GrpcService {
    async fn create_pool(
        &self,
        request: Request<v1::CreatePoolRequest>,
    ) -> Result<Response<v1::CreatePoolResponse>, Status> {
        respond!(request, caller => self.0.create_pool(caller, request).await)
    }

    async fn delete_pool(
        &self,
        request: Request<v1::DeletePoolRequest>,
    ) -> Result<Response<v1::DeletePoolResponse>, Status> {
        respond!(request, caller => self.0.delete_pool(caller, request).await)
    }

    async fn list_pools(
        &self,
        request: Request<v1::ListPoolsRequest>,
    ) -> Result<Response<v1::ListPoolsResponse>, Status> {
        respond!(request, caller => self.0.list_pools(request).await)
    }

    async fn create_listener(
        &self,
        request: Request<v1::CreateListenerRequest>,
    ) -> Result<Response<v1::CreateListenerResponse>, Status> {
        respond!(request, caller => self.0.create_listener(caller, request).await)
    }

    async fn update_listener(
        &self,
        request: Request<v1::UpdateListenerRequest>,
    ) -> Result<Response<v1::UpdateListenerResponse>, Status> {
        respond!(request, caller => self.0.update_listener(caller, request).await)
    }

    async fn delete_listener(
        &self,
        request: Request<v1::DeleteListenerRequest>,
    ) -> Result<Response<v1::DeleteListenerResponse>, Status> {
        respond!(request, caller => self.0.delete_listener(caller, request).await)
    }

    async fn get_listener(
        &self,
        request: Request<v1::GetListenerRequest>,
    ) -> Result<Response<v1::GetListenerResponse>, Status> {
        respond!(request, caller => self.0.get_listener(request).await)
    }

    async fn list_listeners(
        &self,
        request: Request<v1::ListListenersRequest>,
    ) -> Result<Response<v1::ListListenersResponse>, Status> {
        respond!(request, caller => self.0.list_listeners(request).await)
    }

    async fn create_rule(
        &self,
        request: Request<v1::CreateRuleRequest>,
    ) -> Result<Response<v1::CreateRuleResponse>, Status> {
        respond!(request, caller => self.0.create_rule(caller, request).await)
    }

    async fn update_rule(
        &self,
        request: Request<v1::UpdateRuleRequest>,
    ) -> Result<Response<v1::UpdateRuleResponse>, Status> {
        respond!(request, caller => self.0.update_rule(caller, request).await)
    }

    async fn delete_rule(
        &self,
        request: Request<v1::DeleteRuleRequest>,
    ) -> Result<Response<v1::DeleteRuleResponse>, Status> {
        respond!(request, caller => self.0.delete_rule(caller, request).await)
    }

    async fn move_rule(
        &self,
        request: Request<v1::MoveRuleRequest>,
    ) -> Result<Response<v1::MoveRuleResponse>, Status> {
        respond!(request, caller => self.0.move_rule(caller, request).await)
    }

    async fn list_rules(
        &self,
        request: Request<v1::ListRulesRequest>,
    ) -> Result<Response<v1::ListRulesResponse>, Status> {
        respond!(request, caller => self.0.list_rules(request).await)
    }

    async fn apply(
        &self,
        request: Request<v1::ApplyRequest>,
    ) -> Result<Response<v1::ApplyResponse>, Status> {
        respond!(request, caller => self.0.apply(caller, request).await)
    }

    async fn export(
        &self,
        request: Request<v1::ExportRequest>,
    ) -> Result<Response<v1::ExportResponse>, Status> {
        respond!(request, caller => self.0.export(request).await)
    }

    async fn explain_route(
        &self,
        request: Request<v1::ExplainRouteRequest>,
    ) -> Result<Response<v1::ExplainRouteResponse>, Status> {
        respond!(request, caller => self.0.explain_route(&request))
    }
}

#[tonic::async_trait]
impl Observation for GrpcService {
    async fn get_object_stats(
        &self,
        request: Request<v1::GetObjectStatsRequest>,
    ) -> Result<Response<v1::GetObjectStatsResponse>, Status> {
        respond!(request, caller => self.0.get_object_stats(&request))
    }

    type WatchObjectsStream = StatusStream<v1::WatchObjectsResponse>;

    async fn watch_objects(
        &self,
        request: Request<v1::WatchObjectsRequest>,
    ) -> Result<Response<Self::WatchObjectsStream>, Status> {
        respond!(request, caller => {
            self.0.watch_objects(&caller.caller, request).await.map(statuses)
        })
    }
}

#[tonic::async_trait]
impl Certificates for GrpcService {
    async fn create_certificate(
        &self,
        request: Request<v1::CreateCertificateRequest>,
    ) -> Result<Response<v1::CreateCertificateResponse>, Status> {
        respond!(request, caller => self.0.create_certificate(caller, request).await)
    }

    async fn update_certificate(
        &self,
        request: Request<v1::UpdateCertificateRequest>,
    ) -> Result<Response<v1::UpdateCertificateResponse>, Status> {
        respond!(request, caller => self.0.update_certificate(caller, request).await)
    }

    async fn delete_certificate(
        &self,
        request: Request<v1::DeleteCertificateRequest>,
    ) -> Result<Response<v1::DeleteCertificateResponse>, Status> {
        respond!(request, caller => self.0.delete_certificate(caller, request).await)
    }

    async fn get_certificate(
        &self,
        request: Request<v1::GetCertificateRequest>,
    ) -> Result<Response<v1::GetCertificateResponse>, Status> {
        respond!(request, caller => self.0.get_certificate(request).await)
    }

    async fn list_certificates(
        &self,
        request: Request<v1::ListCertificatesRequest>,
    ) -> Result<Response<v1::ListCertificatesResponse>, Status> {
        respond!(request, caller => self.0.list_certificates(request).await)
    }

    async fn renew_certificate(
        &self,
        request: Request<v1::RenewCertificateRequest>,
    ) -> Result<Response<v1::RenewCertificateResponse>, Status> {
        respond!(request, caller => self.0.renew_certificate(caller, request).await)
    }

    async fn set_acme_account(
        &self,
        request: Request<v1::SetAcmeAccountRequest>,
    ) -> Result<Response<v1::SetAcmeAccountResponse>, Status> {
        respond!(request, caller => self.0.set_acme_account(caller, request).await)
    }

    async fn get_acme_account(
        &self,
        request: Request<v1::GetAcmeAccountRequest>,
    ) -> Result<Response<v1::GetAcmeAccountResponse>, Status> {
        respond!(request, caller => self.0.get_acme_account(request).await)
    }

    async fn delete_acme_account(
        &self,
        request: Request<v1::DeleteAcmeAccountRequest>,
    ) -> Result<Response<v1::DeleteAcmeAccountResponse>, Status> {
        respond!(request, caller => self.0.delete_acme_account(caller, request).await)
    }

    async fn list_tls_policies(
        &self,
        request: Request<v1::ListTlsPoliciesRequest>,
    ) -> Result<Response<v1::ListTlsPoliciesResponse>, Status> {
        caller_of(&request)?;
        Ok(Response::new(self.0.list_tls_policies()))
    }
}

fn statuses<T: 'static>(responses: ResponseStream<T>) -> StatusStream<T> {
    Box::pin(responses.map(|response| response.map_err(Status::from)))
}

fn to_status<T>(caller: &Caller, result: Result<T, Error>) -> Result<T, Status> {
    result.map_err(|error| {
        let peer = &caller.permissions().peer;
        debug!(%caller, %peer, %error, "grpc call refused");
        Status::from(error)
    })
}

/// The caller that the gate has let through. No call is served without one.
fn caller_of<T>(request: &Request<T>) -> Result<ApiCaller, Status> {
    let caller = request.extensions().get::<Caller>().cloned();
    let caller = caller.ok_or_else(|| Status::internal("the caller was not authenticated"))?;
    let timeout = request.metadata().get("grpc-timeout");
    let timeout = timeout.and_then(|value| grpc_timeout(value.to_str().ok()?));
    Ok(ApiCaller {
        caller,
        timeout: timeout.unwrap_or(WRITE_TIMEOUT).min(WRITE_TIMEOUT),
    })
}

/// `TimeoutValue TimeoutUnit` of the gRPC protocol: at most eight digits and one of `HMSmun`.
fn grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(value * 3600)),
        "M" => Some(Duration::from_secs(value * 60)),
        "S" => Some(Duration::from_secs(value)),
        "m" => Some(Duration::from_millis(value)),
        "u" => Some(Duration::from_micros(value)),
        "n" => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deadline_of_a_call_is_read_or_ignored() {
        for (text, timeout) in [
            ("5S", Some(Duration::from_secs(5))),
            ("99999999H", Some(Duration::from_hours(99_999_999))),
            ("250m", Some(Duration::from_millis(250))),
            ("7u", Some(Duration::from_micros(7))),
            ("1n", Some(Duration::from_nanos(1))),
            ("2M", Some(Duration::from_mins(2))),
            ("", None),
            ("S", None),
            ("+5S", None),
            ("999999999S", None),
            ("5", None),
            ("5é", None),
        ] {
            assert_eq!(grpc_timeout(text), timeout, "{text}");
        }
    }
}
