//! What is judged: Weldr as a process, and other proxies that are installed.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
};

use tokio::net::TcpStream;

use super::Measure;
use crate::{
    process::{self, Process, Program},
    wait,
};

/// A proxy that runs before `origin`.
#[derive(Debug)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// By which measure it is judged.
    pub measure: Measure,
    _process: Process,
}

/// Why a proxy cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// It is not installed.
    #[error("{0} is not installed")]
    NotInstalled(String),
    /// Nobody has written a configuration for it.
    #[error("there is no configuration for {0}: say weldr, haproxy or nginx")]
    Unknown(String),
}

impl Peer {
    /// Starts the proxy `name` before `origin`.
    pub async fn start(name: &str, origin: SocketAddr) -> Result<Self, PeerError> {
        match name {
            "weldr" => Ok(Self::weldr(origin).await),
            "haproxy" => Self::configured(name, origin, haproxy).await,
            "nginx" => Self::configured(name, origin, nginx).await,
            other => Err(PeerError::Unknown(other.to_owned())),
        }
    }

    async fn weldr(origin: SocketAddr) -> Self {
        let mut process = Program::weldr()
            .args(["--workers", "1", "--server", &origin.to_string()])
            .args(["--response-header-timeout", "1s"])
            .args(["--stream-idle-timeout", "1s"])
            // The checks would be requests of their own; a connection is none.
            .args(["--check-type", "tcp"])
            .start();
        let address = process.proxy_address().await;
        process.logs("healthy").await;
        Self {
            name: "weldr".into(),
            address,
            measure: Measure::Weldr,
            _process: process,
        }
    }

    async fn configured(
        name: &str,
        origin: SocketAddr,
        configuration: impl Fn(&Path, SocketAddr, SocketAddr) -> String,
    ) -> Result<Self, PeerError> {
        let path = process::installed(name);
        let path = path.ok_or_else(|| PeerError::NotInstalled(name.to_owned()))?;
        let address = free_address();
        let program = Program::at(name, &path);
        let file = program.directory().join("configuration");
        let text = configuration(program.directory(), address, origin);
        std::fs::write(&file, text).expect("a directory of our own");
        let flag = if name == "nginx" { "-c" } else { "-f" };
        let process = program.arg(flag).arg(file).start();
        wait::until(
            format!("{name} to listen"),
            async || match TcpStream::connect(address).await {
                Ok(_) => Ok(()),
                Err(error) => Err(format!("{error}: {}", process.stderr())),
            },
        )
        .await;
        Ok(Self {
            name: name.to_owned(),
            address,
            measure: Measure::Peer,
            _process: process,
        })
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("a bound socket")
}

fn haproxy(_directory: &Path, listen: SocketAddr, origin: SocketAddr) -> String {
    format!(
        "global
  nbthread 1
defaults
  mode http
  timeout client 10s
  timeout server 1s
  timeout connect 2s
  option http-keep-alive
  http-reuse always
frontend f
  bind {listen}
  option forwardfor
  default_backend b
backend b
  server s {origin}
"
    )
}

fn nginx(directory: &Path, listen: SocketAddr, origin: SocketAddr) -> String {
    let directory = directory.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("  {kind}_temp_path {directory}/{kind};\n"))
        .concat();
    format!(
        "worker_processes 1;
daemon off;
master_process off;
pid {directory}/pid;
error_log {directory}/error;
events {{ }}
http {{
  access_log off;
{temporary}  upstream o {{ server {origin}; keepalive 64; }}
  server {{
    listen {listen};
    location / {{
      proxy_pass http://o;
      proxy_http_version 1.1;
      proxy_request_buffering off;
      proxy_read_timeout 1s;
      proxy_set_header Connection \"\";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }}
  }}
}}
"
    )
}
