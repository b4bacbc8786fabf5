//! Servers that misbehave at random.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use fastrand::Rng;

use crate::{
    http1::{Framing, Request},
    origin::{Conversation, Origin},
};

/// A server that responds to most requests with their target, and does to the others what servers do.
pub(super) fn fickle(seed: u64) -> Origin {
    let rng = Arc::new(Mutex::new(Rng::with_seed(seed)));
    Origin::script(move |conversation| {
        let mut locked = rng.lock().unwrap_or_else(PoisonError::into_inner);
        let own = Rng::with_seed(locked.u64(..));
        drop(locked);
        converse(conversation, own)
    })
}

async fn converse(mut conversation: Conversation, mut rng: Rng) {
    while let Some(head) = conversation.head().await {
        let fields = &head.fields;
        if fields.has("upgrade") {
            return switch(conversation, &mut rng).await;
        }
        if fields.has("expect") {
            conversation.write("HTTP/1.1 100 Continue\r\n\r\n").await;
        }
        let Some(body) = body(&mut conversation, fields).await else {
            return;
        };
        let request = Request {
            method: head.line[0].clone(),
            target: head.line[1].clone(),
            version: head.line[2].clone(),
            fields: head.fields,
            framing: Framing::None,
            body,
            trailers: crate::http1::Fields::default(),
            raw_head: head.raw,
        };
        if !response(&mut conversation, &request, &mut rng).await {
            break;
        }
    }
    if rng.u8(..4) == 0 {
        conversation.reset();
    }
}

async fn body(conversation: &mut Conversation, fields: &crate::http1::Fields) -> Option<Vec<u8>> {
    if let Some(length) = fields.get("content-length") {
        return conversation.bytes(length.parse().ok()?).await;
    }
    let mut body = Vec::new();
    if fields.has("transfer-encoding") {
        loop {
            let chunk = conversation.chunk().await?;
            if chunk.is_empty() {
                break;
            }
            body.extend(chunk);
        }
    }
    Some(body)
}

/// Accepts an upgrade and says all that is said once more, or refuses it.
async fn switch(mut conversation: Conversation, rng: &mut Rng) {
    if rng.u8(..4) == 0 {
        conversation
            .write("HTTP/1.1 403 No\r\nContent-Length: 7\r\nConnection: close\r\n\r\nrefused")
            .await;
        return;
    }
    let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    conversation.write(head).await;
    let said = conversation.until_end().await;
    conversation.write(said).await;
}

/// Whether the connection goes on.
async fn response(conversation: &mut Conversation, request: &Request, rng: &mut Rng) -> bool {
    let body = format!("{} {}", request.target, request.body.len());
    let is_head = request.method == "HEAD";
    let shown = if is_head { "" } else { &body };
    let length = body.len();
    let whole = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{shown}");
    let chunks = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
    let chunks = if is_head { "" } else { &chunks };
    let chunked = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
    match rng.u32(..1000) {
        0..650 => conversation.write(whole).await,
        650..800 => conversation.write(chunked).await,
        800..850 => {
            let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
            conversation.write(format!("{hints}{whole}")).await;
        }
        850..900 => {
            conversation.write(whole).await;
            return false;
        }
        900..920 => {
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
            conversation.write(format!("{head}{shown}")).await;
            return false;
        }
        920..940 => {
            let cut = rng.usize(..chunked.len());
            conversation.write(&chunked.as_bytes()[..cut]).await;
            return false;
        }
        940..955 => {
            let cut = rng.usize(..whole.len());
            conversation.write(&whole.as_bytes()[..cut]).await;
            return false;
        }
        955..965 => {
            conversation
                .write(format!(
                    "{whole}HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray"
                ))
                .await;
        }
        965..975 => {
            conversation.write("SSH-2.0-nonsense\r\n\r\n").await;
            return false;
        }
        975..985 => {
            conversation
                .write(format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{shown}"
                ))
                .await;
        }
        985..990 => {
            tokio::time::sleep(Duration::from_millis(50)).await;
            conversation.write(whole).await;
        }
        990..992 => {
            tokio::time::sleep(Duration::from_millis(500)).await;
            return false;
        }
        _ => return false,
    }
    true
}
