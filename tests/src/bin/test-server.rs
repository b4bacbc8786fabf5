//! A small server to put behind Weldr: try it out, test it, load it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::Parser;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::{
    net::TcpListener,
    runtime,
    signal::unix::{SignalKind, signal},
    time,
};
use weldr_tests::{
    complain,
    greeter::{Greeter, PATHS},
    say,
    serve::{self, Handler},
};

/// How long running requests may go on after a signal.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_mins(1);

/// After an error of `accept`, such as too many open files.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(50);

/// A small server to put behind Weldr.
#[derive(Debug, Parser)]
#[command(version, after_help = PATHS)]
struct Args {
    /// Where to listen: a port on 127.0.0.1, or an address such as `[::1]:12345`.
    #[arg(value_name = "PORT|IP:PORT", default_value = "12345", value_parser = parse_address)]
    address: SocketAddr,
}

fn parse_address(given: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = given.parse::<u16>() {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    given.parse().map_err(|_| {
        "expected a port from 0 to 65535, or an address such as 127.0.0.1:12345".into()
    })
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("cannot listen on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("the system refused a runtime, a signal handler or an address")]
    System(#[from] std::io::Error),
}

fn main() -> ExitCode {
    match run(Args::parse().address) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let cause = std::error::Error::source(&failure).map(|cause| format!(": {cause}"));
            complain!("test-server: {failure}{}", cause.unwrap_or_default());
            ExitCode::FAILURE
        }
    }
}

fn run(address: SocketAddr) -> Result<(), Failure> {
    let runtime = runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(address))
}

async fn serve(address: SocketAddr) -> Result<(), Failure> {
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| Failure::Listen { address, source })?;
    say!("test-server listening on http://{}", listener.local_addr()?);

    let greeter = Arc::new(Greeter::default());
    let handler = serve::handler(move |request| {
        let greeter = Arc::clone(&greeter);
        async move { greeter.greet(request).await }
    });
    let connections = GracefulShutdown::new();
    tokio::select! {
        () = accept(&listener, &handler, &connections) => {}
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
    }
    drop(listener);
    tokio::select! {
        () = connections.shutdown() => {}
        () = time::sleep(SHUTDOWN_TIMEOUT) => {}
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
    }
    Ok(())
}

async fn accept(listener: &TcpListener, handler: &Handler, connections: &GracefulShutdown) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Without it a response in two writes waits for the client's delayed acknowledgement.
                let _refused = stream.set_nodelay(true);
                let connection = serve::connection(stream, Arc::clone(handler));
                let connection = connections.watch(connection);
                tokio::spawn(async move {
                    // A client that goes away is none of our business.
                    let _ended = connection.await;
                });
            }
            Err(_) => time::sleep(PAUSE_AFTER_ERROR).await,
        }
    }
}
