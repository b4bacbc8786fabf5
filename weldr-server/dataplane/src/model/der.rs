//! Certificates in DER, the form in which the state has them. Pure: what is in them is read elsewhere.

use std::{fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use super::Invalid;

/// One certificate in DER; in JSON, in Base64. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Der(Arc<[u8]>);

impl Der {
    /// A certificate of these bytes.
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Without the bytes: they would fill a log line and say nothing to its reader.
impl fmt::Debug for Der {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Der({} bytes)", self.0.len())
    }
}

impl TryFrom<String> for Der {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        let bytes = STANDARD.decode(&text);
        let bytes = bytes.map_err(|_| Invalid::new("certificate", &text, "Base64"))?;
        Ok(Self::new(bytes))
    }
}

impl From<Der> for String {
    fn from(der: Der) -> Self {
        STANDARD.encode(&der.0)
    }
}

/// The certificates of authorities, against which the certificate of a client or of a server is verified. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CaBundle(Arc<[Der]>);

impl CaBundle {
    /// How many certificates a bundle may have: more than the roots of any operating system.
    pub const MOST: usize = 500;
    /// The most bytes that they may have together.
    pub const MOST_BYTES: usize = 512 * 1024;

    /// A bundle of these certificates.
    pub fn new(certificates: impl Into<Arc<[Der]>>) -> Self {
        Self(certificates.into())
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The certificates.
    pub fn certificates(&self) -> &[Der] {
        &self.0
    }

    /// Accepts a bundle that is not too large.
    ///
    /// # Errors
    /// Names `field`, and what is accepted.
    pub fn validate(&self, field: &str) -> Result<(), Invalid> {
        let bytes: usize = self.0.iter().map(|der| der.bytes().len()).sum();
        if self.0.len() <= Self::MOST && bytes <= Self::MOST_BYTES {
            return Ok(());
        }
        let given = format!("{} certificates of {bytes} bytes", self.0.len());
        let (most, kibibytes) = (Self::MOST, Self::MOST_BYTES / 1024);
        let accepted = format!("at most {most} certificates, of {kibibytes} KiB together");
        Err(Invalid::new(field, given, accepted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_comes_back_from_json_as_it_was() {
        let bundle = CaBundle::new([Der::new([1, 2, 3]), Der::new([0xff; 5])]);
        let json = serde_json::to_string(&bundle).unwrap();
        assert_eq!(json, r#"["AQID","//////8="]"#);
        assert_eq!(serde_json::from_str::<CaBundle>(&json).unwrap(), bundle);
        assert!(serde_json::from_str::<Der>(r#""?""#).is_err());
        assert_eq!(format!("{:?}", bundle.certificates()[0]), "Der(3 bytes)");
    }

    #[test]
    fn a_bundle_that_is_too_large_is_refused() {
        let many = |count| CaBundle::new(vec![Der::new([0; 1000]); count]);
        assert!(many(500).validate("ca").is_ok());
        assert_eq!(many(501).validate("ca").unwrap_err().field, "ca");
        let long = CaBundle::new([Der::new(vec![0; CaBundle::MOST_BYTES + 1])]);
        assert!(long.validate("ca").is_err());
    }
}
