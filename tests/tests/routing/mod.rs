//! Listeners and their rules, from a snapshot to the response.

use std::net::SocketAddr;

use weldr_tests::{http1::Response, origin::Origin, raw::Client, serve};

mod changes;
mod equivalents;
mod listeners;
mod policies;
mod table;

/// An origin whose body is its name and the target of the request as it came.
fn origin(name: &'static str) -> Origin {
    Origin::serve(move |request| async move {
        let target = request.uri().to_string();
        serve::response(200, format!("{name} {target}"))
    })
}

/// The response to `head`, whose lines end with `\n`, on a connection of its own.
async fn ask(address: SocketAddr, head: &str) -> Response {
    let mut client = Client::connect(address).await;
    let method = head.split(' ').next().unwrap().to_owned();
    let head = format!("{}\r\n\r\n", head.replace('\n', "\r\n"));
    client.exchange(&method, head).await
}

/// A response in a few words: its status, and its location or its body.
fn told(response: &Response) -> String {
    let status = response.status;
    let what = match response.fields.get("location") {
        Some(location) => location,
        None if status == 400 => String::new(),
        None => response.text(),
    };
    format!("{status} {what}").trim().to_owned()
}
