//! The notice that a node's process has died, which the guard of its virtual addresses sends to the other nodes.
//!
//! It is a line on a connection of its own to the port for other nodes. Calls of nodes begin with other bytes. The proof is the token of the dead leader's term: the leader has told the other nodes its digest, and has
//! given the token to the guard and to nobody else. It is not secret any more when it is sent, because it proves nothing
//! but a death that has happened.

use std::{fmt, io, net::SocketAddr, str::FromStr, time::Duration};

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    time::{self, Instant},
};
use uuid::Uuid;

use super::secret::{from_hex, to_hex};

/// The first word of a notice. It differs in its first byte from HTTP/2 (`PRI`) and from TLS (0x16).
const MAGIC: &str = "weldr-death-1";
/// The first byte of a notice.
pub(in crate::cluster) const FIRST_BYTE: u8 = b'w';
/// The maximum length of a notice, in bytes.
const LONGEST: u64 = 256;
/// The time limit of one attempt to tell a node.
const ATTEMPT: Duration = Duration::from_millis(250);
/// The pause after an attempt that failed.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a node is told that does not answer: after that it notices by itself.
const LONGEST_TELLING: Duration = Duration::from_secs(2);
/// The answer to a notice that was received.
const HEARD: &[u8] = b"heard\n";

/// A proof that a process leads in a term, which is given away when it is dead.
pub(in crate::cluster) type Token = [u8; 32];

/// Says that the process is dead that led in a term, and that it holds nothing any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cluster) struct DeathNotice {
    pub(in crate::cluster) cluster: Uuid,
    pub(in crate::cluster) node: u64,
    pub(in crate::cluster) term: u64,
    pub(in crate::cluster) token: Token,
}

impl fmt::Display for DeathNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cluster, node, term) = (self.cluster, self.node, self.term);
        write!(f, "{MAGIC} {cluster} {node} {term} {}", to_hex(&self.token))
    }
}

impl FromStr for DeathNotice {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let words: Vec<&str> = text.trim_end().split(' ').collect();
        let [MAGIC, cluster, node, term, token] = words[..] else {
            return Err(());
        };
        Ok(Self {
            cluster: cluster.parse().map_err(drop)?,
            node: node.parse().map_err(drop)?,
            term: term.parse().map_err(drop)?,
            token: from_hex(token)
                .and_then(|token| token.try_into().ok())
                .ok_or(())?,
        })
    }
}

/// What the guard of a leader is given: what to tell when the leader is dead, and to whom.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::cluster) struct LastWords {
    pub(in crate::cluster) notice: String,
    pub(in crate::cluster) to: Vec<SocketAddr>,
}

/// Tells the other nodes what `last_words` says, which come from [`Handle::last_words`](crate::cluster::Handle::last_words).
/// The process that they are about must be dead, and everything that it held must be released. Returns when each node
/// has heard it or does not answer.
pub async fn tell_of_death(last_words: String) {
    let last_words: LastWords = match serde_json::from_str(&last_words) {
        Ok(last_words) => last_words,
        Err(error) => return tracing::error!(%error, "the last words cannot be parsed"),
    };
    tell_all(&last_words.notice, &last_words.to).await;
}

/// Tells all nodes at `to` at the same time, and returns how many have heard it.
pub(in crate::cluster) async fn tell_all(notice: &str, to: &[SocketAddr]) -> usize {
    let told = join_all(to.iter().map(|to| tell_until_heard(notice, *to))).await;
    told.into_iter().filter(|heard| *heard).count()
}

async fn tell_until_heard(notice: &str, to: SocketAddr) -> bool {
    let deadline = Instant::now() + LONGEST_TELLING;
    loop {
        match time::timeout(ATTEMPT, tell(notice, to)).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => tracing::debug!(%to, %error, "a node is not told of the death"),
            Err(_) => tracing::debug!(%to, "a node does not answer to the notice of the death"),
        }
        if Instant::now() >= deadline {
            return false;
        }
        time::sleep(PAUSE).await;
    }
}

async fn tell(notice: &str, to: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    stream.write_all(format!("{notice}\n").as_bytes()).await?;
    let mut heard = [0; HEARD.len()];
    stream.read_exact(&mut heard).await?;
    Ok(())
}

/// Reads the notice that comes on `stream`, and answers it. `None` if it is none.
pub(in crate::cluster) async fn receive(mut stream: TcpStream) -> Option<DeathNotice> {
    let mut line = String::new();
    let mut reader = BufReader::new((&mut stream).take(LONGEST));
    reader.read_line(&mut line).await.ok()?;
    let notice = line.parse().ok()?;
    // Whoever gets no answer says it again.
    let _ = stream.write_all(HEARD).await;
    Some(notice)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice() -> DeathNotice {
        DeathNotice {
            cluster: Uuid::from_u128(7),
            node: u64::MAX,
            term: u64::MAX,
            token: [0xa5; 32],
        }
    }

    #[test]
    fn a_notice_survives_its_text_and_fits_into_the_limit() {
        let text = notice().to_string();
        assert_eq!(text.parse(), Ok(notice()));
        assert_eq!(text.as_bytes()[0], FIRST_BYTE);
        assert!(u64::try_from(text.len()).unwrap() < LONGEST, "{text}");
        for broken in ["", "weldr-death-1", &text[1..], &text[..text.len() - 1]] {
            assert_eq!(broken.parse::<DeathNotice>(), Err(()), "{broken}");
        }
    }
}
