//! The connection to one node: each call bounded in time, each failure turned into a [`CtlError`].

use std::{
    future::Future,
    time::{Duration, Instant},
};

use tonic::{
    Response, Status, Streaming,
    transport::{Channel, Endpoint},
};
use weldr_proto::v1::{
    AddServerRequest, AddServerResponse, GetPoolRequest, GetPoolResponse, GetServerRequest,
    GetServerResponse, GetStatsRequest, GetStatsResponse, ListServersRequest, ListServersResponse,
    RemoveServerRequest, RemoveServerResponse, StreamStatsRequest, StreamStatsResponse,
    UpdatePoolRequest, UpdatePoolResponse, UpdateServerRequest, UpdateServerResponse,
    WatchServersRequest, WatchServersResponse, management_client::ManagementClient,
};

use crate::{
    args::GlobalOptions,
    error::{CtlError, Obstacle},
};

/// An answer with ten thousand servers is about 5 MB; tonic's own limit is 4.
const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;

/// How often a quiet connection is probed, so that a stream notices a node that went away without a word.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// A client of the management API.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    grpc: ManagementClient<Channel>,
    endpoint: String,
    timeout: Duration,
}

/// One method a unary call: the request in, the answer or the reason why there is none out.
macro_rules! unary {
    ($($name:ident($request:ty) -> $answer:ty;)*) => {
        impl Client {
            $(pub(crate) async fn $name(&self, request: $request) -> Result<$answer, CtlError> {
                let mut grpc = self.grpc.clone();
                self.bounded(grpc.$name(request)).await
            })*
        }
    };
}

unary! {
    add_server(AddServerRequest) -> AddServerResponse;
    update_server(UpdateServerRequest) -> UpdateServerResponse;
    remove_server(RemoveServerRequest) -> RemoveServerResponse;
    get_server(GetServerRequest) -> GetServerResponse;
    list_servers(ListServersRequest) -> ListServersResponse;
    get_stats(GetStatsRequest) -> GetStatsResponse;
    get_pool(GetPoolRequest) -> GetPoolResponse;
    update_pool(UpdatePoolRequest) -> UpdatePoolResponse;
}

impl Client {
    /// Connects to the endpoint of the options, within their timeout.
    pub(crate) async fn connect(options: &GlobalOptions) -> Result<Self, CtlError> {
        let endpoint = options.endpoint.as_str();
        let timeout = options.timeout;
        let dial = Endpoint::from_shared(endpoint.to_owned())
            .map_err(|source| CtlError::network(endpoint, timeout, Box::new(source)))?
            .user_agent(concat!("weldrctl/", env!("CARGO_PKG_VERSION")))
            .map_err(|source| CtlError::network(endpoint, timeout, Box::new(source)))?
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .keep_alive_while_idle(true);
        let channel = tokio::time::timeout(timeout, dial.connect())
            .await
            .map_err(|_elapsed| no_answer(endpoint, timeout))?
            .map_err(|source| CtlError::network(endpoint, timeout, Box::new(source)))?;
        Ok(Self {
            grpc: ManagementClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES),
            endpoint: endpoint.to_owned(),
            timeout,
        })
    }

    /// The endpoint, for what is shown of it.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The servers of a pool and their changes. Its beginning is bounded in time, its length is not.
    pub(crate) async fn watch_servers(
        &self,
        request: WatchServersRequest,
    ) -> Result<Updates<WatchServersResponse>, CtlError> {
        let mut grpc = self.grpc.clone();
        self.stream(grpc.watch_servers(request)).await
    }

    /// Statistics again and again. The beginning is bounded in time, the length is not.
    pub(crate) async fn stream_stats(
        &self,
        request: StreamStatsRequest,
    ) -> Result<Updates<StreamStatsResponse>, CtlError> {
        let mut grpc = self.grpc.clone();
        self.stream(grpc.stream_stats(request)).await
    }

    async fn bounded<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, CtlError> {
        tokio::time::timeout(self.timeout, call)
            .await
            .map_err(|_elapsed| no_answer(&self.endpoint, self.timeout))?
            .map(Response::into_inner)
            .map_err(|status| CtlError::from_status(&self.endpoint, self.timeout, status))
    }

    async fn stream<T>(
        &self,
        call: impl Future<Output = Result<Response<Streaming<T>>, Status>>,
    ) -> Result<Updates<T>, CtlError> {
        let begun = Instant::now();
        let stream = self.bounded(call).await?;
        Ok(Updates {
            stream,
            endpoint: self.endpoint.clone(),
            timeout: self.timeout,
            first_within: Some(self.timeout.saturating_sub(begun.elapsed())),
        })
    }
}

/// The messages of a stream that has no end of its own.
#[derive(Debug)]
pub(crate) struct Updates<T> {
    stream: Streaming<T>,
    endpoint: String,
    timeout: Duration,
    /// What is left of the timeout for the first message; `None` after it came.
    first_within: Option<Duration>,
}

impl<T> Updates<T> {
    /// The next message. The end of the stream is an error: weldr went away.
    ///
    /// May be dropped before it is ready: no message is lost by it.
    pub(crate) async fn next(&mut self) -> Result<T, CtlError> {
        let message = match self.first_within {
            Some(left) => tokio::time::timeout(left, self.stream.message())
                .await
                .map_err(|_elapsed| no_answer(&self.endpoint, self.timeout))?,
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

fn no_answer(endpoint: &str, timeout: Duration) -> CtlError {
    CtlError::Unreachable {
        endpoint: endpoint.to_owned(),
        why: Obstacle::NoAnswer(timeout),
        source: None,
    }
}
