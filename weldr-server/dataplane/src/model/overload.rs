//! How a pool protects its servers: which of them are ejected, how many requests each gets, and how it starts.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Invalid, in_range};

/// When a server is taken out of the rounds because its responses fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OutlierEjection {
    /// Requests in a row that must fail: with 502, 503 or 504, without a response, or by a timeout. 0: no ejection.
    pub failures: u32,
    /// How long the first ejection lasts. The next ones last longer by the same time each.
    pub time: Duration,
    /// The longest that an ejection lasts.
    pub longest: Duration,
    /// At most this share of the servers of the pool is ejected at once, in percent. One server may always be, unless it
    /// is the only one.
    pub share_percent: u32,
}

impl Default for OutlierEjection {
    fn default() -> Self {
        Self {
            failures: 0,
            time: Duration::from_secs(30),
            longest: Duration::from_mins(5),
            share_percent: 10,
        }
    }
}

/// Changes of an ejection; `None` leaves a setting as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OutlierPatch {
    /// Requests in a row that must fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failures: Option<u32>,
    /// How long the first ejection lasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Duration>,
    /// The longest that an ejection lasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest: Option<Duration>,
    /// The share of the servers that may be ejected, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_percent: Option<u32>,
}

/// The changes that make any ejection this one.
impl From<OutlierEjection> for OutlierPatch {
    fn from(settings: OutlierEjection) -> Self {
        Self {
            failures: Some(settings.failures),
            time: Some(settings.time),
            longest: Some(settings.longest),
            share_percent: Some(settings.share_percent),
        }
    }
}

impl OutlierPatch {
    pub(super) fn applied_to(self, settings: OutlierEjection) -> OutlierEjection {
        OutlierEjection {
            failures: self.failures.unwrap_or(settings.failures),
            time: self.time.unwrap_or(settings.time),
            longest: self.longest.unwrap_or(settings.longest),
            share_percent: self.share_percent.unwrap_or(settings.share_percent),
        }
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl OutlierEjection {
    pub(super) fn validate(self) -> Result<(), Invalid> {
        const RANGE: std::ops::RangeInclusive<Duration> =
            Duration::from_millis(100)..=Duration::from_hours(24);
        whole("failures", self.failures, 0, 1000)?;
        in_range("time", self.time, RANGE)?;
        in_range("longest", self.longest, RANGE)?;
        whole("share_percent", self.share_percent, 1, 100)
    }
}

/// How many requests of one node run on each server, and how many may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestLimit {
    /// Requests of one node that run on one server at a time; 0: any number.
    pub requests: u32,
    /// Requests of one node that wait for a server of the pool; more get 503 at once.
    pub queue: u32,
    /// How long a request waits. Then it gets 503.
    pub queue_timeout: Duration,
}

impl Default for RequestLimit {
    fn default() -> Self {
        Self {
            requests: 0,
            queue: 1000,
            queue_timeout: Duration::from_secs(10),
        }
    }
}

/// Changes of a limit; `None` leaves a setting as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestLimitPatch {
    /// Requests that run on one server at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u32>,
    /// Requests that wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<u32>,
    /// How long a request waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_timeout: Option<Duration>,
}

/// The changes that make any limit this one.
impl From<RequestLimit> for RequestLimitPatch {
    fn from(settings: RequestLimit) -> Self {
        Self {
            requests: Some(settings.requests),
            queue: Some(settings.queue),
            queue_timeout: Some(settings.queue_timeout),
        }
    }
}

impl RequestLimitPatch {
    pub(super) fn applied_to(self, settings: RequestLimit) -> RequestLimit {
        RequestLimit {
            requests: self.requests.unwrap_or(settings.requests),
            queue: self.queue.unwrap_or(settings.queue),
            queue_timeout: self.queue_timeout.unwrap_or(settings.queue_timeout),
        }
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl RequestLimit {
    pub(super) fn validate(self) -> Result<(), Invalid> {
        whole("requests", self.requests, 0, 1_000_000)?;
        whole("queue", self.queue, 0, 1_000_000)?;
        let range = Duration::from_millis(10)..=Duration::from_hours(1);
        in_range("queue_timeout", self.queue_timeout, range).map(drop)
    }
}

fn whole(field: &str, value: u32, least: u32, most: u32) -> Result<(), Invalid> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    let accepted = format!("a whole number from {least} to {most}");
    Err(Invalid::new(field, value, accepted))
}

/// What decides, under consistent hashing, which server gets a request: requests with the same value go to the same server.
/// Requests without the value are distributed by the client's address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HashKey {
    /// The address of the client: the forwarded one if the peer is a trusted proxy.
    #[default]
    Client,
    /// A field of the request; its name in lower case.
    Header(String),
    /// A cookie of the request.
    Cookie(String),
    /// The path of the request, without the query.
    Path,
}

impl fmt::Display for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client => f.write_str("client"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Path => f.write_str("path"),
        }
    }
}

impl FromStr for HashKey {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        const LONGEST_NAME: usize = 128;
        let is_name = |name: &&str| name.len() <= LONGEST_NAME && super::conditions::is_token(name);
        let key = match text.split_once(':') {
            None if text == "client" => Some(Self::Client),
            None if text == "path" => Some(Self::Path),
            Some(("header", name)) => Some(name)
                .filter(is_name)
                .map(|name| Self::Header(name.to_ascii_lowercase())),
            Some(("cookie", name)) => Some(name)
                .filter(is_name)
                .map(|name| Self::Cookie(name.to_owned())),
            _ => None,
        };
        key.ok_or_else(|| {
            let accepted = "client, path, header:NAME or cookie:NAME";
            Invalid::new("hash_key", text, accepted)
        })
    }
}

impl TryFrom<String> for HashKey {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<HashKey> for String {
    fn from(key: HashKey) -> Self {
        key.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_key_is_read_as_it_is_written() {
        for text in ["client", "path", "header:x-user", "cookie:SID"] {
            assert_eq!(text.parse::<HashKey>().unwrap().to_string(), text);
        }
        let header: HashKey = "header:X-User".parse().unwrap();
        assert_eq!(header, HashKey::Header("x-user".to_owned()));
        for text in [
            "",
            "Client",
            "header",
            "header:",
            "header:a b",
            "cookie:a=b",
            "query:x",
        ] {
            let refused = text.parse::<HashKey>().unwrap_err();
            assert_eq!(
                (refused.field.as_str(), refused.value.as_str()),
                ("hash_key", text)
            );
        }
    }

    #[test]
    fn each_setting_of_an_ejection_has_a_range() {
        type Change = fn(&mut OutlierEjection);
        let changes: [(Change, &str); 5] = [
            (|ejection| ejection.failures = 1001, "failures"),
            (|ejection| ejection.time = Duration::ZERO, "time"),
            (|ejection| ejection.longest = Duration::MAX, "longest"),
            (|ejection| ejection.share_percent = 0, "share_percent"),
            (|ejection| ejection.share_percent = 101, "share_percent"),
        ];
        assert_eq!(OutlierEjection::default().validate(), Ok(()));
        for (change, field) in changes {
            let mut ejection = OutlierEjection::default();
            change(&mut ejection);
            assert_eq!(ejection.validate().unwrap_err().field, field);
        }
    }

    #[test]
    fn each_setting_of_a_limit_has_a_range() {
        type Change = fn(&mut RequestLimit);
        let changes: [(Change, &str); 3] = [
            (|limit| limit.requests = 1_000_001, "requests"),
            (|limit| limit.queue = 1_000_001, "queue"),
            (
                |limit| limit.queue_timeout = Duration::ZERO,
                "queue_timeout",
            ),
        ];
        assert_eq!(RequestLimit::default().validate(), Ok(()));
        for (change, field) in changes {
            let mut limit = RequestLimit::default();
            change(&mut limit);
            assert_eq!(limit.validate().unwrap_err().field, field);
        }
    }
}
