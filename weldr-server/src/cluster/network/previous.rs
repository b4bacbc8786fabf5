//! The protocol of version 0.1.0, for the time of an upgrade: a header proves the secret, and TLS is used only with certificates
//! of the operators. Whoever sees the header can replay it, so it is spoken only where an operator asks for it, and only with
//! members of which the membership has no key.

use std::{fs, io, path::Path};

use http::HeaderMap;
use ring::hmac;

use crate::cluster::error::OpenError;

use super::secret::{Claim, from_hex, to_hex};

/// The header with the proof.
pub(in crate::cluster) const PROOF: &str = "weldr-proof";

/// The secret, as version 0.1.0 reads it: the whole file, without white space around it.
#[derive(Debug, Clone)]
pub(in crate::cluster) struct PreviousSecret(hmac::Key);

impl PreviousSecret {
    pub(in crate::cluster) fn of_file(path: &Path) -> Result<Self, OpenError> {
        let text = fs::read(path).map_err(|source: io::Error| OpenError::ClusterFile {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, text.trim_ascii())))
    }

    /// The proof for calls with this claim.
    pub(in crate::cluster) fn proof(&self, claim: Claim) -> String {
        to_hex(hmac::sign(&self.0, &proven(claim)).as_ref())
    }

    /// Whether the headers of a call have it.
    pub(in crate::cluster) fn is_proven_by(&self, headers: &HeaderMap, claim: Claim) -> bool {
        let proof = headers.get(PROOF).and_then(|proof| proof.to_str().ok());
        let tag = proof.and_then(from_hex);
        tag.is_some_and(|tag| hmac::verify(&self.0, &proven(claim), &tag).is_ok())
    }
}

fn proven(claim: Claim) -> Vec<u8> {
    let Claim {
        cluster,
        sender,
        target,
    } = claim;
    let cluster = cluster.map(|cluster| cluster.to_string());
    let cluster = cluster.unwrap_or_default();
    format!("weldr-raft-v1\0{cluster}\0{sender}\0{target}\0").into_bytes()
}
