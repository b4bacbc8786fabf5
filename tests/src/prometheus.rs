//! Prometheus, as it is installed on this machine.

use std::{
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
};

use crate::{
    print,
    process::{Process, Program, installed},
    wait,
};

/// A running Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    _process: Process,
    address: SocketAddr,
}

/// `promtool`; `None`, and a sentence, if it is not installed.
pub fn promtool() -> Option<Program> {
    let Some(path) = installed("promtool") else {
        print::line(format_args!("skipped: promtool is not installed"));
        return None;
    };
    Some(Program::at("promtool", &path))
}

impl Prometheus {
    /// Starts one that reads the metrics of these nodes every second; `None`, and a sentence, if it is not installed.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn reading(nodes: &[SocketAddr]) -> Option<Self> {
        let Some(path) = installed("prometheus") else {
            print::line(format_args!("skipped: prometheus is not installed"));
            return None;
        };
        // It takes no port that it could choose itself.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = port.local_addr().expect("an address");
        drop(port);
        let program = Program::at("prometheus", &path);
        let mut config =
            "global: { scrape_interval: 1s }\nscrape_configs:\n  - job_name: weldr\n    \
             static_configs:\n      - targets:\n"
                .to_owned();
        for node in nodes {
            let _ = writeln!(config, "          - {node}");
        }
        fs::write(program.directory().join("prometheus.yml"), config).expect("a file");
        let process = program
            .args(["--config.file", "prometheus.yml"])
            .args(["--storage.tsdb.path", "data"])
            .args(["--web.listen-address", &address.to_string()])
            .start();
        wait::until("prometheus to accept connections", async || {
            tokio::net::TcpStream::connect(address).await
        })
        .await;
        Some(Self {
            _process: process,
            address,
        })
    }

    /// The series that an expression gives now, one a line.
    ///
    /// # Errors
    /// What is wrong with the expression, or why there is no answer.
    pub async fn query(&self, expression: &str) -> Result<Vec<String>, String> {
        let promtool = promtool().ok_or("no promtool")?;
        let url = format!("http://{}", self.address);
        let finished = promtool
            .args(["query", "instant", &url, expression])
            .run()
            .await;
        if finished.code() != Some(0) {
            return Err(finished.stderr);
        }
        Ok(finished.stdout.lines().map(str::to_owned).collect())
    }
}
