//! The proof of the shared secret, and TLS.

use std::{fmt::Write as _, fs, io, path::Path};

use ring::hmac;
use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};
use uuid::Uuid;

use crate::cluster::{error::OpenError, options::TlsFiles};

/// The length of the shortest secret that is accepted, in bytes without surrounding white space. Whoever sees a proof can
/// try secrets without asking anybody.
pub(in crate::cluster) const SHORTEST_SECRET: usize = 16;

/// The shared secret, as a key.
#[derive(Debug, Clone)]
pub(in crate::cluster) struct Secret(hmac::Key);

impl Secret {
    /// The key from the content of a secret file, without surrounding white space.
    ///
    /// # Errors
    /// Refuses a secret that is shorter than [`SHORTEST_SECRET`].
    pub(in crate::cluster) fn of_file(path: &Path) -> Result<Self, OpenError> {
        let text = read(path)?;
        let length = text.trim_ascii().len();
        if length < SHORTEST_SECRET {
            let path = path.to_owned();
            return Err(OpenError::ShortSecret { path, length });
        }
        Ok(Self::new(&text))
    }

    /// The key from a secret, without surrounding white space. An empty one is the key of a node without a secret, which
    /// proves nothing.
    pub(in crate::cluster) fn new(text: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, text.trim_ascii()))
    }

    /// A proof of the secret that is valid for calls from `sender` to `target` only.
    pub(in crate::cluster) fn proof(
        &self,
        cluster: Option<Uuid>,
        sender: u64,
        target: u64,
    ) -> String {
        to_hex(hmac::sign(&self.0, &claim(cluster, sender, target)).as_ref())
    }

    /// Whether `proof` is valid. Takes the same time for a wrong proof as for a right one.
    pub(in crate::cluster) fn is_proven_by(
        &self,
        proof: &str,
        cluster: Option<Uuid>,
        sender: u64,
        target: u64,
    ) -> bool {
        let Some(tag) = from_hex(proof) else {
            return false;
        };
        hmac::verify(&self.0, &claim(cluster, sender, target), &tag).is_ok()
    }
}

fn claim(cluster: Option<Uuid>, sender: u64, target: u64) -> Vec<u8> {
    let cluster = cluster.map(|cluster| cluster.to_string());
    let cluster = cluster.unwrap_or_default();
    format!("weldr-raft-v1\0{cluster}\0{sender}\0{target}\0").into_bytes()
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

/// Mutual TLS: both sides show a certificate that the same authority signed.
#[derive(Debug, Clone)]
pub(in crate::cluster) struct Tls {
    pub(in crate::cluster) server: ServerTlsConfig,
    pub(in crate::cluster) client: ClientTlsConfig,
}

impl Tls {
    pub(in crate::cluster) fn load(files: &TlsFiles) -> Result<Self, OpenError> {
        let identity = Identity::from_pem(read(&files.cert)?, read(&files.key)?);
        let ca = Certificate::from_pem(read(&files.ca)?);
        let server = ServerTlsConfig::new()
            .identity(identity.clone())
            .client_ca_root(ca.clone());
        let client = ClientTlsConfig::new().identity(identity).ca_certificate(ca);
        Ok(Self { server, client })
    }
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

    #[test]
    fn a_proof_holds_for_its_cluster_its_sender_and_its_target() {
        let (secret, cluster) = (Secret::new(b"s3cret\n"), Some(Uuid::new_v4()));
        let proof = secret.proof(cluster, 1, 2);
        assert!(secret.is_proven_by(&proof, cluster, 1, 2));
        assert!(Secret::new(b"  s3cret").is_proven_by(&proof, cluster, 1, 2));
        for (other, cluster, sender, target) in [
            (secret.clone(), Some(Uuid::new_v4()), 1, 2),
            (secret.clone(), None, 1, 2),
            (secret.clone(), cluster, 3, 2),
            (secret.clone(), cluster, 2, 1),
            (Secret::new(b""), cluster, 1, 2),
            (Secret::new(b"other"), cluster, 1, 2),
        ] {
            assert!(!other.is_proven_by(&proof, cluster, sender, target));
        }
        let other_digit = if proof.ends_with('0') { "1" } else { "0" };
        let altered = format!("{}{other_digit}", &proof[..proof.len() - 1]);
        for proof in ["", "0", "zz", &proof[2..], &altered] {
            assert!(!secret.is_proven_by(proof, cluster, 1, 2), "{proof}");
        }
    }

    #[test]
    fn an_empty_or_short_secret_file_is_refused_in_one_sentence() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        for (text, length) in [("", 0), (" \n\n", 0), ("fifteen bytes..\n", 15)] {
            fs::write(&path, text).unwrap();
            let refused = Secret::of_file(&path).unwrap_err().to_string();
            assert!(refused.contains(&format!("{length} bytes")), "{refused}");
            assert!(refused.contains("at least 16"), "{refused}");
            assert!(!refused.contains('\n'), "{refused}");
        }
        fs::write(&path, "sixteen bytes...\n").unwrap();
        assert!(Secret::of_file(&path).is_ok());
    }
}
