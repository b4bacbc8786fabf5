//! The settings of health checks.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Invalid, in_range};

/// A complete health check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// The type of the check.
    pub kind: CheckKind,
    /// From the end of one check to the begin of the next.
    pub interval: Duration,
    /// The time limit for one check.
    pub timeout: Duration,
    /// Checks in a row that must pass to make an unhealthy server healthy.
    pub healthy_threshold: u32,
    /// Checks in a row that must fail to make a server unhealthy.
    pub unhealthy_threshold: u32,
    /// The port to check; `None`: the port of the traffic.
    pub port: Option<u16>,
    /// For how long after a server was added, or its checks were resumed, failures do not make it unhealthy unless it was
    /// healthy before.
    #[serde(default)]
    pub grace: Duration,
    /// Whether a new server receives requests before its first check has ended.
    #[serde(default)]
    pub begins_healthy: bool,
}

/// TCP, because an HTTP check with an assumed path would fail on healthy servers.
impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            kind: CheckKind::Tcp,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            healthy_threshold: 2,
            unhealthy_threshold: 3,
            port: None,
            grace: Duration::ZERO,
            begins_healthy: false,
        }
    }
}

impl HealthCheck {
    /// Accepts the check when each setting is in its range.
    pub fn validate(&self) -> Result<(), Invalid> {
        const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
        const LONGEST_INTERVAL: Duration = Duration::from_hours(1);
        const SHORTEST_TIMEOUT: Duration = Duration::from_millis(10);
        const LONGEST_TIMEOUT: Duration = Duration::from_mins(1);
        const LONGEST_GRACE: Duration = Duration::from_hours(24);
        in_range(
            "interval",
            self.interval,
            SHORTEST_INTERVAL..=LONGEST_INTERVAL,
        )?;
        in_range("timeout", self.timeout, SHORTEST_TIMEOUT..=LONGEST_TIMEOUT)?;
        for (field, threshold) in [
            ("healthy_threshold", self.healthy_threshold),
            ("unhealthy_threshold", self.unhealthy_threshold),
        ] {
            if !(1..=100).contains(&threshold) {
                let accepted = "a whole number from 1 to 100";
                return Err(Invalid::new(field, threshold, accepted));
            }
        }
        in_range("grace", self.grace, Duration::ZERO..=LONGEST_GRACE)?;
        if self.port == Some(0) {
            return Err(Invalid::new("port", 0, "a port from 1 to 65535"));
        }
        match &self.kind {
            CheckKind::Tcp => Ok(()),
            CheckKind::Http(http) => http.validate().map_err(|invalid| invalid.within("http")),
        }
    }
}

/// The type of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckKind {
    /// Opens a connection and closes it.
    Tcp,
    /// Requests a path and compares the status of the response.
    Http(HttpCheck),
}

impl fmt::Display for CheckKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp => f.write_str("tcp"),
            Self::Http(http) => http.fmt(f),
        }
    }
}

impl fmt::Display for HttpCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            expected_status,
            host,
            method,
            body,
        } = self;
        f.write_str("http ")?;
        if *method != CheckMethod::default() {
            write!(f, "{} ", method.as_str())?;
        }
        write!(f, "{path} expecting {expected_status}")?;
        if let Some(body) = body {
            write!(f, " with {body:?} in the body")?;
        }
        host.as_ref()
            .map_or(Ok(()), |host| write!(f, " as host {host}"))
    }
}

/// A request of HTTP/1.1 whose response is compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpCheck {
    /// The request-target, in origin-form.
    pub path: String,
    /// The statuses that pass.
    pub expected_status: ExpectedStatus,
    /// The Host field; `None`: the address that is checked.
    pub host: Option<String>,
    /// The method.
    #[serde(default)]
    pub method: CheckMethod,
    /// What the body must contain, within its first [`SEARCHED_BODY`](Self::SEARCHED_BODY) bytes; `None`: anything.
    #[serde(default)]
    pub body: Option<String>,
}

/// The method of a check.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum CheckMethod {
    /// The response has a body.
    #[default]
    Get,
    /// It has none.
    Head,
    /// Asks what the server can do.
    Options,
}

impl CheckMethod {
    /// The method as it is in a request.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
        }
    }
}

impl FromStr for CheckMethod {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let all = [Self::Get, Self::Head, Self::Options];
        all.into_iter()
            .find(|method| method.as_str() == text)
            .ok_or_else(|| Invalid::new("method", text, "GET, HEAD or OPTIONS"))
    }
}

impl Default for HttpCheck {
    fn default() -> Self {
        Self {
            path: "/".to_owned(),
            expected_status: ExpectedStatus::default(),
            host: None,
            method: CheckMethod::default(),
            body: None,
        }
    }
}

impl HttpCheck {
    /// How many bytes of a body are searched.
    pub const SEARCHED_BODY: usize = 64 * 1024;

    fn validate(&self) -> Result<(), Invalid> {
        let visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if !self.path.starts_with('/') || !visible(&self.path) || self.path.len() > 2048 {
            return Err(Invalid::new(
                "path",
                &self.path,
                "a path that begins with `/`, of at most 2048 visible ASCII characters",
            ));
        }
        if let Some(body) = &self.body
            && (body.is_empty() || body.len() > 1024 || self.method == CheckMethod::Head)
        {
            let accepted = "1 to 1024 bytes that the body contains, and another method than HEAD";
            return Err(Invalid::new("body", body, accepted));
        }
        match &self.host {
            Some(host) if !visible(host) || host.is_empty() || host.len() > 255 => Err(
                Invalid::new("host", host, "a host name, with or without `:port`"),
            ),
            _ => Ok(()),
        }
    }
}

/// Settings that override those of another check; `None` inherits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckOverride {
    /// The type of the check.
    pub kind: Option<CheckKind>,
    /// From the end of one check to the begin of the next.
    pub interval: Option<Duration>,
    /// The time limit for one check.
    pub timeout: Option<Duration>,
    /// Checks in a row that must pass to make an unhealthy server healthy.
    pub healthy_threshold: Option<u32>,
    /// Checks in a row that must fail to make a server unhealthy.
    pub unhealthy_threshold: Option<u32>,
    /// `Some(None)`: the port of the traffic.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "super::present"
    )]
    pub port: Option<Option<u16>>,
    /// For how long after the begin failures do not make a server unhealthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace: Option<Duration>,
    /// Whether a new server receives requests before its first check has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begins_healthy: Option<bool>,
}

impl CheckOverride {
    /// `base` with these overrides.
    #[must_use]
    pub fn resolve(&self, base: &HealthCheck) -> HealthCheck {
        HealthCheck {
            kind: self.kind.clone().unwrap_or_else(|| base.kind.clone()),
            interval: self.interval.unwrap_or(base.interval),
            timeout: self.timeout.unwrap_or(base.timeout),
            healthy_threshold: self.healthy_threshold.unwrap_or(base.healthy_threshold),
            unhealthy_threshold: self.unhealthy_threshold.unwrap_or(base.unhealthy_threshold),
            port: self.port.unwrap_or(base.port),
            grace: self.grace.unwrap_or(base.grace),
            begins_healthy: self.begins_healthy.unwrap_or(base.begins_healthy),
        }
    }

    /// The overrides that make any check `check`.
    #[must_use]
    pub fn to(check: &HealthCheck) -> Self {
        let HealthCheck {
            kind,
            interval,
            timeout,
            healthy_threshold,
            unhealthy_threshold,
            port,
            grace,
            begins_healthy,
        } = check.clone();
        Self {
            kind: Some(kind),
            interval: Some(interval),
            timeout: Some(timeout),
            healthy_threshold: Some(healthy_threshold),
            unhealthy_threshold: Some(unhealthy_threshold),
            port: Some(port),
            grace: Some(grace),
            begins_healthy: Some(begins_healthy),
        }
    }

    /// Whether nothing is overridden.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The text for operators: `interval 1s, port 9000`; `inherited` when nothing is overridden.
impl fmt::Display for CheckOverride {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let duration = |time: Duration| humantime::format_duration(time).to_string();
        let parts = [
            self.kind.as_ref().map(ToString::to_string),
            self.interval
                .map(|interval| format!("interval {}", duration(interval))),
            self.timeout
                .map(|timeout| format!("timeout {}", duration(timeout))),
            self.healthy_threshold
                .map(|threshold| format!("healthy_threshold {threshold}")),
            self.unhealthy_threshold
                .map(|threshold| format!("unhealthy_threshold {threshold}")),
            self.port.map(|port| {
                port.map_or("port of the traffic".to_owned(), |port| {
                    format!("port {port}")
                })
            }),
            self.grace.map(|grace| format!("grace {}", duration(grace))),
            self.begins_healthy
                .map(|begins| format!("begins_healthy {begins}")),
        ];
        let said: Vec<String> = parts.into_iter().flatten().collect();
        f.write_str(if said.is_empty() { "inherited" } else { "" })?;
        f.write_str(&said.join(", "))
    }
}

/// The statuses that pass a check: codes and ranges, as in `200-299,401`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ExpectedStatus(Vec<(u16, u16)>);

impl ExpectedStatus {
    /// Whether a check that gets a response with `status` passes.
    pub fn contains(&self, status: u16) -> bool {
        self.0
            .iter()
            .any(|&(first, last)| (first..=last).contains(&status))
    }
}

/// `200-399`, the usual default of load balancers.
impl Default for ExpectedStatus {
    fn default() -> Self {
        Self(vec![(200, 399)])
    }
}

impl fmt::Display for ExpectedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            if first == last {
                write!(f, "{first}")?;
            } else {
                write!(f, "{first}-{last}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for ExpectedStatus {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        const MOST_RANGES: usize = 32;
        let refuse = || {
            Invalid::new(
                "expected_status",
                text,
                "codes and ranges from 200 to 999, such as `200-299,401`",
            )
        };
        let code = |text: &str| match text.trim().parse() {
            Ok(code @ 200..=999) => Ok(code),
            _ => Err(refuse()),
        };
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let range = (code(first)?, code(last)?);
            if range.0 > range.1 || ranges.len() == MOST_RANGES {
                return Err(refuse());
            }
            ranges.push(range);
        }
        Ok(Self(ranges))
    }
}

impl TryFrom<String> for ExpectedStatus {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<ExpectedStatus> for String {
    fn from(expected: ExpectedStatus) -> Self {
        expected.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expected_status_keeps_codes_and_ranges() {
        let expected: ExpectedStatus = "200-299, 401".parse().unwrap();
        assert_eq!(expected.to_string(), "200-299,401");
        for (status, passes) in [
            (199, false),
            (200, true),
            (299, true),
            (300, false),
            (401, true),
        ] {
            assert_eq!(expected.contains(status), passes, "{status}");
        }
    }

    #[test]
    fn expected_status_names_what_it_refuses() {
        for text in [
            "", "abc", "200-", "300-200", "99", "1000", "200,,300", "100",
        ] {
            let refused = text.parse::<ExpectedStatus>().unwrap_err();
            assert_eq!(
                (refused.field.as_str(), refused.value.as_str()),
                ("expected_status", text)
            );
        }
    }

    #[test]
    fn an_override_replaces_only_what_it_names() {
        let base = HealthCheck::default();
        let check = CheckOverride {
            interval: Some(Duration::from_secs(1)),
            port: Some(Some(9000)),
            ..CheckOverride::default()
        };
        let resolved = check.resolve(&base);
        assert_eq!(resolved.interval, Duration::from_secs(1));
        assert_eq!(resolved.port, Some(9000));
        assert_eq!(resolved.timeout, base.timeout);
        assert_eq!(CheckOverride::default().resolve(&resolved), resolved);
    }

    #[test]
    fn a_check_out_of_range_names_its_field() {
        let mut check = HealthCheck {
            interval: Duration::ZERO,
            ..HealthCheck::default()
        };
        assert_eq!(check.validate().unwrap_err().field, "interval");
        check.interval = Duration::from_secs(1);
        check.unhealthy_threshold = 0;
        assert_eq!(check.validate().unwrap_err().field, "unhealthy_threshold");
        check.unhealthy_threshold = 1;
        check.kind = CheckKind::Http(HttpCheck {
            path: "health\r\n".into(),
            ..HttpCheck::default()
        });
        assert_eq!(check.validate().unwrap_err().field, "http.path");
    }
}
