//! `weldr --demo`: three servers in this process, which are added through the management API.

use std::{
    convert::Infallible,
    error::Error,
    future,
    net::{Ipv4Addr, SocketAddr},
};

use bytes::Bytes;
use http::{Request, Response, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinSet};
use weldr_proto::v1::{AddServerRequest, management_client::ManagementClient};

use crate::{node::Node, telemetry};

const NAMES: [&str; 3] = ["Alpha", "Bravo", "Charlie"];

/// The servers of the demonstration. They stop when this is dropped.
#[derive(Debug)]
pub struct Demo(#[expect(dead_code, reason = "held for its drop")] JoinSet<()>);

/// Starts the servers, adds them to the pool of `node`, and prints commands to try.
pub async fn run(node: &Node) -> Result<Demo, Box<dyn Error + Send + Sync>> {
    let mut servers = JoinSet::new();
    let management = node.management_address();
    let mut client = ManagementClient::connect(format!("http://{management}")).await?;
    let mut addresses = Vec::new();
    for name in NAMES {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?.to_string();
        servers.spawn(serve(name, listener));
        client
            .add_server(AddServerRequest {
                address: address.clone(),
                ..Default::default()
            })
            .await?;
        addresses.push(address);
    }
    print_what_to_try(node, &addresses);
    Ok(Demo(servers))
}

fn print_what_to_try(node: &Node, servers: &[String]) {
    let management = node.management_address();
    let proxy = node.proxy_addresses().first().map(reached_at);
    let proxy = proxy.unwrap_or_default();
    let https = node.https_addresses().first().map(reached_at);
    let (also, try_https) = https.map_or_else(Default::default, |https| {
        let also = format!(" and https://{https} (with a certificate that nobody vouches for)");
        (also, format!("  curl --insecure https://{https}\n"))
    });
    let first = servers.first().map_or("", String::as_str);
    let servers = servers.join(", ");
    let removed = first.replace(':', "/");
    telemetry::print_aside(format!(
        "weldr proxies http://{proxy}{also} to three servers: {servers}\n\
         The management API is at http://{management}. Nothing is stored on disk. Ctrl-C stops weldr.\n\
         \n\
         Try:\n  \
           curl http://{proxy}\n\
         {try_https}  \
           curl http://{management}/servers\n  \
           curl -X DELETE http://{management}/servers/{removed}\n"
    ));
}

/// The address as a client of this machine writes it.
fn reached_at(address: &SocketAddr) -> String {
    let host = if address.ip().is_unspecified() {
        "localhost".to_owned()
    } else {
        address.ip().to_string()
    };
    format!("{host}:{}", address.port())
}

async fn serve(name: &'static str, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                let greet = service_fn(move |request| future::ready(Ok::<_, Infallible>(greet(name, &request))));
                connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), greet));
            },
            Some(ended) = connections.join_next() => {
                if let Ok(Err(error)) = ended {
                    tracing::debug!(%error, "connection of a demo server ended");
                }
            }
        }
    }
}

fn greet(name: &str, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let text = format!(
        "Hello from {name}: {} {}\n",
        request.method(),
        request.uri().path()
    );
    let mut response = Response::new(Full::from(text));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, http::HeaderValue::from_static("text/plain"));
    response
}
