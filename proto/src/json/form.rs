//! How values of messages are written as JSON and read from it, where the messages themselves are the JSON.

use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error as _};

use super::Seconds;
use crate::v1;

/// A duration as a number of seconds.
pub mod seconds {
    use super::*;

    /// Writes the number, or `null`.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(
        duration: &Option<prost_types::Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        duration.map(Seconds).serialize(serializer)
    }

    /// Reads a number that is not negative, or `null`.
    ///
    /// # Errors
    /// The value is not one.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<prost_types::Duration>, D::Error> {
        let seconds = Option::<Seconds>::deserialize(deserializer)?;
        Ok(seconds.map(|Seconds(duration)| duration))
    }
}

/// A time as RFC 3339.
pub mod time {
    use super::*;

    /// Writes the time, or `null`.
    ///
    /// # Errors
    /// Those of the serializer.
    #[allow(clippy::ref_option, reason = "serde calls it so")]
    pub fn serialize<S: Serializer>(
        time: &Option<prost_types::Timestamp>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        super::super::time(*time).serialize(serializer)
    }

    /// Reads a time, or `null`.
    ///
    /// # Errors
    /// The value is not one.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<prost_types::Timestamp>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else {
            return Ok(None);
        };
        let time = humantime::parse_rfc3339(&text).map_err(D::Error::custom)?;
        Ok(Some(time.into()))
    }
}

/// Declares the module with which serde writes and reads an enumeration as a word; what is not set is `null`.
macro_rules! word {
    ($name:ident, $enum:ty, $prefix:literal, $accepted:literal) => {
        #[doc = concat!("The words of [`", stringify!($enum), "`].")]
        pub mod $name {
            use super::*;

            /// Writes the word, or `null`.
            ///
            /// # Errors
            /// Those of the serializer.
            #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
            pub fn serialize<S: Serializer>(value: &i32, serializer: S) -> Result<S::Ok, S::Error> {
                let word = <$enum>::try_from(*value).ok().filter(|_| *value != 0);
                let word = word.and_then(|value| value.as_str_name().strip_prefix($prefix));
                word.map(str::to_ascii_lowercase).serialize(serializer)
            }

            /// Reads a word, or `null`.
            ///
            /// # Errors
            /// There is no such word.
            pub fn deserialize<'de, D: Deserializer<'de>>(
                deserializer: D,
            ) -> Result<i32, D::Error> {
                let Some(word) = Option::<String>::deserialize(deserializer)? else {
                    return Ok(0);
                };
                parse(&word).ok_or_else(|| {
                    D::Error::custom(format!("{word:?} is not accepted: {}", $accepted))
                })
            }

            /// The value of a word.
            pub fn parse(word: &str) -> Option<i32> {
                let is_lower = !word.contains(|letter: char| letter.is_ascii_uppercase());
                let name = format!("{}{}", $prefix, word.to_ascii_uppercase());
                let value = <$enum>::from_str_name(&name).map(i32::from)?;
                (is_lower && value != 0).then_some(value)
            }
        }
    };
}

word!(
    listener_protocol,
    v1::ListenerProtocol,
    "LISTENER_PROTOCOL_",
    "http or https"
);
word!(
    tls_policy,
    v1::TlsPolicy,
    "TLS_POLICY_",
    "modern or intermediate"
);
word!(
    client_auth,
    v1::ClientAuth,
    "CLIENT_AUTH_",
    "off, optional or required"
);
word!(
    pool_protocol,
    v1::PoolProtocol,
    "POOL_PROTOCOL_",
    "http1 or https"
);
word!(
    certificate_source,
    v1::CertificateSource,
    "CERTIFICATE_SOURCE_",
    "uploaded"
);
word!(
    desync_mode,
    v1::DesyncMode,
    "DESYNC_MODE_",
    "strict or monitor"
);
word!(
    forwarded_headers,
    v1::ForwardedHeaders,
    "FORWARDED_HEADERS_",
    "append, replace or off"
);
word!(
    send_proxy_protocol,
    v1::SendProxyProtocol,
    "SEND_PROXY_PROTOCOL_",
    "off, v1 or v2"
);
word!(
    bind_state,
    v1::BindState,
    "BIND_STATE_",
    "bound, in_use, no_permission, no_such_address, failed, pending or not_served"
);
word!(
    admin_state,
    v1::AdminState,
    "ADMIN_STATE_",
    "ready, drain or maintenance"
);
word!(
    balancing,
    v1::Balancing,
    "BALANCING_",
    "round_robin, weighted_round_robin or least_requests"
);
word!(
    configuration_change,
    v1::configuration_change::Kind,
    "KIND_",
    "added, changed or removed"
);
