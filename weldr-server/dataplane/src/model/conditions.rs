//! Which requests a rule is for.

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Invalid;

/// The conditions of a rule. All must hold; of the values of one condition, one must match. A condition without values
/// holds for every request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Conditions {
    /// The host that the request is for, without its port: a name or an address, or `*.example.com` for all names below
    /// `example.com`. Letter case does not matter.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// The path in normal form: see [`PathPattern`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// The method. Letter case matters (RFC 9110, section 9.1).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Header fields. Each entry is a condition of its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<NamedValues>,
    /// Query parameters. Each entry is a condition of its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<NamedValues>,
    /// The network of the client's address: that of the connection, or the forwarded one if the peer is a trusted proxy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<IpNet>,
}

/// Values of a field or parameter, of which one must match. In a value, `*` stands for any number of characters and `?` for
/// one. Without values, the field must be present.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedValues {
    /// The name. For a field, letter case does not matter.
    pub name: String,
    /// The values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// How a path pattern matches. In its text, `*` stands for any number of characters, `/` included, and `?` for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathPattern<'a> {
    /// This path alone.
    Exact(&'a str),
    /// All paths that begin so: the text was followed by one `*`.
    Prefix(&'a str),
    /// Has `*` or `?` elsewhere.
    Glob(&'a str),
}

impl<'a> From<&'a str> for PathPattern<'a> {
    fn from(text: &'a str) -> Self {
        match text.strip_suffix('*') {
            Some(prefix) if !prefix.contains(['*', '?']) => Self::Prefix(prefix),
            None if !text.contains(['*', '?']) => Self::Exact(text),
            _ => Self::Glob(text),
        }
    }
}

impl Conditions {
    /// How many values each condition may have, and how many fields and parameters a rule may look at.
    pub const MOST_VALUES: usize = 100;
    /// The longest value, in bytes.
    pub const LONGEST_VALUE: usize = 1024;

    /// Whether they hold for every request.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Accepts the conditions when each value can match something.
    ///
    /// # Errors
    /// Names the field, its value and what is accepted.
    pub fn validate(&self) -> Result<(), Invalid> {
        each(
            "hosts",
            &self.hosts,
            is_host_pattern,
            "a host name, an IPv4 address, an IPv6 address in brackets, or `*.` and a host name; no port. For all hosts, give \
             none",
        )?;
        each("paths", &self.paths, is_path_pattern, PATH_ACCEPTED)?;
        each("methods", &self.methods, is_token, "a method such as GET")?;
        named(
            "headers",
            &self.headers,
            is_token,
            "the name of a header field",
        )?;
        named(
            "query",
            &self.query,
            is_visible,
            "the name of a query parameter",
        )?;
        few("sources", self.sources.len())
    }
}

const PATH_ACCEPTED: &str = "a path in normal form that begins with `/` or `*`, such as /v1/*: no `?` for a query but for one \
     character, no dot segments, and percent-encoding only where a path needs it";

impl fmt::Display for NamedValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.values.join("|"))
    }
}

fn few(field: &str, count: usize) -> Result<(), Invalid> {
    if count <= Conditions::MOST_VALUES {
        return Ok(());
    }
    let accepted = format!("at most {} values", Conditions::MOST_VALUES);
    Err(Invalid::new(field, format!("{count} values"), accepted))
}

/// Refuses a value of more than `longest` bytes. What else is wrong with it says less.
pub(super) fn not_too_long(field: &str, value: &str, longest: usize) -> Result<(), Invalid> {
    if value.len() <= longest {
        return Ok(());
    }
    let accepted = format!("at most {longest} bytes; this has {}", value.len());
    Err(Invalid::new(field, value, accepted))
}

fn each(
    field: &str,
    values: &[String],
    accepts: impl Fn(&str) -> bool,
    accepted: &str,
) -> Result<(), Invalid> {
    few(field, values.len())?;
    for value in values {
        not_too_long(field, value, Conditions::LONGEST_VALUE)?;
    }
    match values.iter().find(|value| !accepts(value)) {
        Some(value) => Err(Invalid::new(field, value, accepted)),
        None => Ok(()),
    }
}

fn named(
    field: &str,
    all: &[NamedValues],
    accepts_name: impl Fn(&str) -> bool,
    accepted: &str,
) -> Result<(), Invalid> {
    few(field, all.len())?;
    for NamedValues { name, values } in all {
        not_too_long(&format!("{field}.name"), name, Conditions::LONGEST_VALUE)?;
        if !accepts_name(name) {
            return Err(Invalid::new(format!("{field}.name"), name, accepted));
        }
        let accepted = "visible characters and spaces";
        each(&format!("{field}.values"), values, is_text, accepted)?;
    }
    Ok(())
}

/// `token` of RFC 9110, section 5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    let is_tchar = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !text.is_empty() && text.chars().all(is_tchar)
}

fn is_visible(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic())
}

fn is_text(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_graphic() || c == ' ')
}

/// A name, an IPv4 address, an IPv6 address in brackets, or `*.` and a name.
fn is_host_pattern(text: &str) -> bool {
    if let Some(ip) = text.strip_prefix('[') {
        let ip = ip.strip_suffix(']');
        return ip.is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok());
    }
    let is_inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let is_label =
        |label: &str| !label.is_empty() && label.len() <= 63 && label.chars().all(is_inner);
    let name = text.strip_prefix("*.").unwrap_or(text);
    name.len() <= 253 && name.split('.').all(is_label)
}

/// A host with or without a port.
pub(super) fn is_authority(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (text, "80"),
    };
    let is_ipv6 = host.starts_with('[') && host.ends_with(']');
    is_host_pattern(host)
        && !host.starts_with("*.")
        && (is_ipv6 || !host.contains(':'))
        && port.parse::<u16>().is_ok()
}

fn is_path_pattern(text: &str) -> bool {
    let is_dot_segment = |segment: &str| matches!(segment, "." | "..");
    text.starts_with(['/', '*'])
        && text
            .chars()
            .all(|c| c.is_ascii_graphic() && c != '#' && c != '\\')
        && !text.split('/').any(is_dot_segment)
        && text.split('%').skip(1).all(is_needed_escape)
}

/// Whether what follows a `%` encodes, in upper case, a byte that may not stand in a path unencoded.
fn is_needed_escape(after: &str) -> bool {
    let Some(digits) = after.get(..2) else {
        return false;
    };
    let is_upper = |c: char| c.is_ascii_digit() || ('A'..='F').contains(&c);
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    digits.chars().all(is_upper)
        && u8::from_str_radix(digits, 16).is_ok_and(|byte| !is_unreserved(byte))
}

#[cfg(test)]
mod tests;
