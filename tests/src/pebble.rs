//! Pebble, a certificate authority for tests, and its DNS server, which says that every name is on this machine.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
};

use serde_json::json;

use crate::{
    print,
    process::{Process, Program, installed},
    tls::Authority,
    wait,
};

/// A running authority.
#[derive(Debug)]
pub struct Pebble {
    authority: Process,
    _names: Process,
    port: u16,
    ca: String,
}

/// How it is run.
#[derive(Debug, Clone)]
pub struct PebbleOptions {
    /// Where it expects HTTP-01.
    pub http: u16,
    /// Where it expects TLS-ALPN-01.
    pub tls: u16,
    /// An account outside of ACME that it demands: its identifier and HMAC key.
    pub external_account: Option<(&'static str, &'static str)>,
    /// How long it waits before it looks at a challenge, in seconds.
    pub sleep: u16,
}

impl Pebble {
    /// Starts it; `None`, and a sentence, if it is not installed.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(options: &PebbleOptions) -> Option<Self> {
        let (Some(pebble), Some(names)) = (installed("pebble"), installed("pebble-challtestsrv"))
        else {
            print::line(format_args!("skipped: pebble is not installed"));
            return None;
        };
        let [port, management, dns, dns_management] = free_ports();
        let local = |port: u16| format!("127.0.0.1:{port}");
        let names = Program::at("pebble-challtestsrv", &names)
            .args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""])
            .args(["-http01", "", "-https01", "", "-tlsalpn01", ""])
            .args(["-dns01", &local(dns), "-management", &local(dns_management)])
            .start();
        let authority = Authority::new();
        let program = Program::at("pebble", &pebble);
        authority
            .issue(&["127.0.0.1"])
            .write_to(program.directory());
        let mut config = json!({
            "listenAddress": local(port),
            "managementListenAddress": local(management),
            "certificate": "cert.pem",
            "privateKey": "key.pem",
            "httpPort": options.http,
            "tlsPort": options.tls,
        });
        if let Some((id, key)) = options.external_account {
            config["externalAccountBindingRequired"] = json!(true);
            config["externalAccountMACKeys"] = json!({ id: key });
        }
        let path = program.directory().join("config.json");
        fs::write(&path, json!({ "pebble": config }).to_string()).expect("a file");
        let program = match options.sleep {
            0 => program.env("PEBBLE_VA_NOSLEEP", "1"),
            seconds => program.env("PEBBLE_VA_SLEEPTIME", &seconds.to_string()),
        };
        let authority_process = program
            .args(["-config", "config.json", "-dnsserver", &local(dns)])
            .start();
        let started = Self {
            authority: authority_process,
            _names: names,
            port,
            ca: authority.pem().to_owned(),
        };
        started.accepts().await;
        Some(started)
    }

    /// The URL of its directory.
    pub fn directory(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.port)
    }

    /// The authority of its own certificate, in PEM.
    pub fn ca(&self) -> &str {
        &self.ca
    }

    /// How many orders it has made: it refuses some requests on purpose, which are repeated.
    pub fn orders(&self) -> usize {
        let log = self.authority.stdout() + &self.authority.stderr();
        log.matches("Added order ").count()
    }

    async fn accepts(&self) {
        let address = (Ipv4Addr::LOCALHOST, self.port);
        wait::until("pebble to accept connections", async || {
            tokio::net::TcpStream::connect(address).await
        })
        .await;
    }
}

/// Ports at which nothing listens now: Pebble takes none that it could choose itself. Its DNS server needs one also for UDP.
fn free_ports<const N: usize>() -> [u16; N] {
    let bound = [(); N].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port"));
    bound.map(|listener| listener.local_addr().expect("an address").port())
}
