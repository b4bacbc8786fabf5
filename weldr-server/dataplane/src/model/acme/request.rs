//! What operators want of a certificate that is obtained by ACME.

use serde::{Deserialize, Serialize};

use crate::model::{Invalid, KeyType};

/// What operators want of a certificate that is obtained by ACME.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AcmeRequest {
    /// The DNS names, in lower case, without wildcards: those need a change of the DNS, which Weldr does not make.
    pub domains: Vec<String>,
    /// The kind of its key: P-256 or P-384.
    pub key_type: KeyType,
}

impl AcmeRequest {
    /// How many domains a certificate may have: as many as the largest authorities accept.
    pub const MOST_DOMAINS: usize = 100;
    /// The longest domain, and the longest part of one, in bytes.
    const LONGEST_DOMAIN: usize = 253;
    const LONGEST_LABEL: usize = 63;

    /// Accepts a request with domains that a challenge of ours can prove, and with a key that we make.
    ///
    /// # Errors
    /// Names the field, its value and what is accepted.
    pub fn validate(&self) -> Result<(), Invalid> {
        if !(1..=Self::MOST_DOMAINS).contains(&self.domains.len()) {
            let accepted = format!("1 to {} DNS names", Self::MOST_DOMAINS);
            return Err(Invalid::new("domains", self.domains.len(), accepted));
        }
        for (place, domain) in self.domains.iter().enumerate() {
            self.domain(place, domain)?;
        }
        if !matches!(self.key_type, KeyType::P256 | KeyType::P384) {
            let accepted = "ECDSA P-256 or ECDSA P-384";
            return Err(Invalid::new("key_type", self.key_type, accepted));
        }
        Ok(())
    }

    fn domain(&self, place: usize, domain: &str) -> Result<(), Invalid> {
        let refused = |accepted: &str| Err(Invalid::new("domains", domain, accepted));
        if domain.starts_with("*.") {
            return refused(
                "a name without a wildcard, which can only be proven by a change of the DNS: upload such a certificate",
            );
        }
        if domain.parse::<std::net::IpAddr>().is_ok() {
            return refused("a DNS name, not an address");
        }
        if self.domains[..place]
            .iter()
            .any(|earlier| earlier == domain)
        {
            return refused("each name once");
        }
        let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let is_label = |label: &str| {
            (1..=Self::LONGEST_LABEL).contains(&label.len())
                && label.chars().all(is_allowed)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if domain.len() > Self::LONGEST_DOMAIN || !domain.split('.').all(is_label) {
            return refused("a DNS name in ASCII, such as www.example.com");
        }
        Ok(())
    }

    /// Whether a certificate with `names` and a key of `key_type` is what is wanted.
    pub fn is_met_by(&self, names: &[String], key_type: KeyType) -> bool {
        self.key_type == key_type && self.domains.iter().all(|domain| names.contains(domain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(domains: &[&str]) -> AcmeRequest {
        AcmeRequest {
            domains: domains.iter().map(|&domain| domain.to_owned()).collect(),
            key_type: KeyType::P256,
        }
    }

    #[test]
    fn only_names_that_a_challenge_can_prove_are_accepted() {
        let long = format!("{}.example.com", "a".repeat(64));
        for refused in [
            &[] as &[&str],
            &["*.example.com"],
            &["192.0.2.1"],
            &["a.example.com", "a.example.com"],
            &["Shop.example.com"],
            &["shop..example.com"],
            &["-shop.example.com"],
            &["shop_.example.com"],
            &["bücher.example"],
            &[&long],
            &[""],
        ] {
            assert!(request(refused).validate().is_err(), "{refused:?}");
        }
        for accepted in [
            &["example.com", "www.example.com"] as &[&str],
            &["xn--bcher-kva.example"],
            &["localhost"],
        ] {
            assert_eq!(request(accepted).validate(), Ok(()), "{accepted:?}");
        }
        let rsa = AcmeRequest {
            key_type: KeyType::Rsa(2048),
            ..request(&["a.example.com"])
        };
        assert_eq!(rsa.validate().unwrap_err().field, "key_type");
    }

    #[test]
    fn a_request_is_met_by_all_of_its_names_and_its_kind_of_key() {
        let wanted = request(&["a.example.com", "b.example.com"]);
        let names = |names: &[&str]| request(names).domains;
        let both = names(&["b.example.com", "a.example.com"]);
        assert!(wanted.is_met_by(&both, KeyType::P256));
        assert!(!wanted.is_met_by(&both, KeyType::P384));
        assert!(!wanted.is_met_by(&names(&["a.example.com"]), KeyType::P256));
    }
}
