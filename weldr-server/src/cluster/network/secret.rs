//! The shared secret of a cluster, and its proof on a channel.

use std::{fmt::Write as _, fs, io, path::Path};

use ring::hmac;
use uuid::Uuid;

use crate::cluster::error::OpenError;

use super::channel::Binding;

/// The length of the shortest secret that is accepted, in bytes without surrounding white space. Whoever sees a proof can
/// try secrets without asking anybody.
pub(in crate::cluster) const SHORTEST_SECRET: usize = 16;

/// The shared secret, as a key. While it is rotated there are two: proofs are made with both, and either is accepted.
#[derive(Debug, Clone)]
pub(in crate::cluster) struct Secret {
    new: hmac::Key,
    old: Option<hmac::Key>,
}

/// What a proof says about the nodes at both ends of a channel.
#[derive(Debug, Clone, Copy)]
pub(in crate::cluster) struct Claim {
    /// The cluster of the sender; `None` from a node that is about to join one.
    pub(in crate::cluster) cluster: Option<Uuid>,
    pub(in crate::cluster) sender: u64,
    /// 0 from a node that does not know which node it calls.
    pub(in crate::cluster) target: u64,
}

/// Which side of a channel gives a proof. A proof of one side is none of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cluster) enum Side {
    Caller,
    Answerer,
}

impl Secret {
    /// The key from the content of a secret file. Each line is a secret, without surrounding white space; the second is the
    /// one that is being replaced.
    ///
    /// # Errors
    /// Refuses a secret that is shorter than [`SHORTEST_SECRET`], and more than two.
    pub(in crate::cluster) fn of_file(path: &Path) -> Result<Self, OpenError> {
        let text = read(path)?;
        let mut lines: Vec<&[u8]> = text
            .split(|byte| *byte == b'\n')
            .map(<[u8]>::trim_ascii)
            .filter(|line| !line.is_empty())
            .collect();
        if lines.is_empty() {
            lines.push(b"");
        }
        if lines.len() > 2 {
            return Err(OpenError::ManySecrets {
                path: path.to_owned(),
                found: lines.len(),
            });
        }
        if let Some(short) = lines.iter().find(|line| line.len() < SHORTEST_SECRET) {
            let (path, length) = (path.to_owned(), short.len());
            return Err(OpenError::ShortSecret { path, length });
        }
        Ok(Self::new(lines[0], lines.get(1).copied()))
    }

    fn new(new: &[u8], old: Option<&[u8]>) -> Self {
        let key = |secret: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, secret);
        Self {
            new: key(new),
            old: old.map(key),
        }
    }

    /// A proof of the secret that is valid for `claim` on the channel with this binding only. While there are two secrets, both
    /// proofs with a comma between them, because the other side may have only one of the two.
    pub(in crate::cluster) fn proof(&self, side: Side, claim: Claim, channel: &Binding) -> String {
        let proven = proven(side, claim, channel);
        let proofs: Vec<_> = self
            .keys()
            .map(|key| to_hex(hmac::sign(key, &proven).as_ref()))
            .collect();
        proofs.join(",")
    }

    /// Whether `proof` is valid. Takes the same time for a wrong proof as for a right one.
    pub(in crate::cluster) fn is_proven_by(
        &self,
        proof: &str,
        side: Side,
        claim: Claim,
        channel: &Binding,
    ) -> bool {
        let proven = proven(side, claim, channel);
        let is_valid = |tag: &[u8]| {
            let mut keys = self.keys();
            keys.any(|key| hmac::verify(key, &proven, tag).is_ok())
        };
        let mut tags = proof.split(',').take(2).filter_map(from_hex);
        tags.any(|tag| is_valid(&tag))
    }

    fn keys(&self) -> impl Iterator<Item = &hmac::Key> {
        std::iter::once(&self.new).chain(&self.old)
    }
}

/// What is authenticated. Every part has a fixed length or no zero byte in it.
fn proven(side: Side, claim: Claim, channel: &Binding) -> Vec<u8> {
    let Claim {
        cluster,
        sender,
        target,
    } = claim;
    let side = match side {
        Side::Caller => "caller",
        Side::Answerer => "answerer",
    };
    let cluster = cluster.map(|cluster| cluster.to_string());
    let cluster = cluster.unwrap_or_default();
    let mut proven = format!("weldr-node-v2\0{side}\0{cluster}\0{sender}\0{target}\0").into_bytes();
    proven.extend_from_slice(channel);
    proven
}

pub(super) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = text.as_bytes().chunks(2);
    let bytes = pairs.map(|pair| match pair {
        [high, low] => u8::try_from(digit(*high)? << 4 | digit(*low)?).ok(),
        _ => None,
    });
    bytes.collect()
}

fn read(path: &Path) -> Result<Vec<u8>, OpenError> {
    fs::read(path).map_err(|source: io::Error| OpenError::ClusterFile {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Binding = [1; 32];
    const ELSEWHERE: Binding = [2; 32];

    #[test]
    fn a_proof_holds_for_its_channel_its_side_and_its_nodes() {
        let secret = Secret::new(b"open sesame, open sesame", None);
        let claim = Claim {
            cluster: Some(Uuid::new_v4()),
            sender: 1,
            target: 2,
        };
        let proof = secret.proof(Side::Caller, claim, &HERE);
        assert!(secret.is_proven_by(&proof, Side::Caller, claim, &HERE));
        let other = |cluster, sender, target| Claim {
            cluster,
            sender,
            target,
        };
        for (side, claim, channel) in [
            (Side::Answerer, claim, HERE),
            (Side::Caller, claim, ELSEWHERE),
            (Side::Caller, other(Some(Uuid::new_v4()), 1, 2), HERE),
            (Side::Caller, other(None, 1, 2), HERE),
            (Side::Caller, other(claim.cluster, 3, 2), HERE),
            (Side::Caller, other(claim.cluster, 2, 1), HERE),
        ] {
            assert!(!secret.is_proven_by(&proof, side, claim, &channel));
        }
        let wrong = Secret::new(b"open barley, open barley", None);
        assert!(!wrong.is_proven_by(&proof, Side::Caller, claim, &HERE));
        let other_digit = if proof.ends_with('0') { "1" } else { "0" };
        let altered = format!("{}{other_digit}", &proof[..proof.len() - 1]);
        for proof in ["", "0", "zz", &proof[2..], &altered] {
            assert!(!secret.is_proven_by(proof, Side::Caller, claim, &HERE));
        }
    }

    #[test]
    fn while_a_secret_is_rotated_both_are_accepted() {
        let claim = Claim {
            cluster: None,
            sender: 1,
            target: 0,
        };
        let (old, new) = (
            Secret::new(b"the old secret ..", None),
            Secret::new(b"the new secret ..", None),
        );
        let both = Secret::new(b"the new secret ..", Some(b"the old secret .."));
        let accepts = |by: &Secret, of: &Secret| {
            let proof = of.proof(Side::Caller, claim, &HERE);
            by.is_proven_by(&proof, Side::Caller, claim, &HERE)
        };
        for (by, of) in [(&both, &old), (&both, &new), (&new, &both), (&old, &both)] {
            assert!(accepts(by, of));
        }
        assert!(!accepts(&old, &new) && !accepts(&new, &old));
    }

    #[test]
    fn an_empty_or_short_secret_file_is_refused_in_one_sentence() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        for (text, length) in [
            ("", 0),
            (" \n\n", 0),
            ("fifteen bytes..\n", 15),
            ("sixteen bytes...\nfifteen bytes..\n", 15),
        ] {
            fs::write(&path, text).unwrap();
            let refused = Secret::of_file(&path).unwrap_err().to_string();
            assert!(refused.contains(&format!("{length} bytes")), "{refused}");
            assert!(refused.contains("at least 16"), "{refused}");
            assert!(!refused.contains('\n'), "{refused}");
        }
        for text in [
            "sixteen bytes...\n",
            "sixteen bytes...\r\nseventeen bytes..\r\n",
        ] {
            fs::write(&path, text).unwrap();
            assert!(Secret::of_file(&path).is_ok());
        }
        fs::write(&path, "sixteen bytes...\n".repeat(3)).unwrap();
        let refused = Secret::of_file(&path).unwrap_err().to_string();
        assert!(refused.contains("3 lines"), "{refused}");
    }
}
