//! What becomes of a request: its action, and how messages are changed on the way.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Invalid, PoolName,
    conditions::{is_authority, is_token, not_too_long},
};

/// An action, with the changes of the messages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Who responds.
    pub action: Action,
    /// How the request and the response are changed.
    #[serde(default, skip_serializing_if = "MessageChanges::is_empty")]
    pub changes: MessageChanges,
}

/// Who responds to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A server of one of these pools.
    Forward(Vec<WeightedPool>),
    /// Weldr: the client shall ask elsewhere.
    Redirect(Redirect),
    /// Weldr.
    Respond(FixedResponse),
}

/// Forwards to the pool `default`.
impl Default for Action {
    fn default() -> Self {
        Self::Forward(vec![WeightedPool::default()])
    }
}

/// A pool with its share of the requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightedPool {
    /// The pool.
    pub pool: PoolName,
    /// Its share, 0 to 999, relative to the sum of all. With 0 it gets no requests; at least one pool has more.
    pub weight: u16,
}

impl Default for WeightedPool {
    fn default() -> Self {
        Self {
            pool: PoolName::default(),
            weight: 1,
        }
    }
}

/// A redirect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redirect {
    /// The Location, in which `{scheme}`, `{host}`, `{port}`, `{path}` and `{query}` stand for those of the request, and
    /// `{rest}` for what follows the prefix that matched.
    pub location: String,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// A response of Weldr's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixedResponse {
    /// 200 to 599.
    pub status: u16,
    /// The Content-Type.
    pub content_type: String,
    /// At most [`LONGEST_BODY`](Self::LONGEST_BODY) bytes.
    pub body: String,
}

impl FixedResponse {
    /// The longest body, in bytes.
    pub const LONGEST_BODY: usize = 16 * 1024;
}

/// How messages are changed on their way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MessageChanges {
    /// How the path of the request is changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_prefix: Option<PathPrefixChange>,
    /// The Host for the server; `None`: the client's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The fields of the request.
    #[serde(skip_serializing_if = "FieldChanges::is_empty")]
    pub request: FieldChanges,
    /// The fields of the response.
    #[serde(skip_serializing_if = "FieldChanges::is_empty")]
    pub response: FieldChanges,
}

impl MessageChanges {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Replaces the beginning of a path. A path that does not begin so is not changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathPrefixChange {
    /// The beginning, such as `/api`: whole segments.
    pub prefix: String,
    /// What takes its place; empty: nothing does.
    pub replacement: String,
}

/// Changes of the fields of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FieldChanges {
    /// Fields that are removed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
    /// Fields that are set, in place of all of that name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
}

impl FieldChanges {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Route {
    /// How many pools an action may name, and how many fields may be changed.
    pub const MOST_VALUES: usize = 100;
    /// The longest text of a value, in bytes.
    pub const LONGEST_VALUE: usize = 4096;

    /// Accepts the route when each value is in its range. Whether its pools exist is another question.
    ///
    /// # Errors
    /// Names the field, its value and what is accepted.
    pub fn validate(&self) -> Result<(), Invalid> {
        match &self.action {
            Action::Forward(pools) => forward(pools)?,
            Action::Redirect(redirect) => {
                let within = |invalid: Invalid| invalid.within("redirect");
                redirect.validate().map_err(within)?;
            }
            Action::Respond(response) => {
                let within = |invalid: Invalid| invalid.within("respond");
                response.validate().map_err(within)?;
            }
        }
        let within = |invalid: Invalid| invalid.within("changes");
        self.changes.validate().map_err(within)
    }

    /// The pools that it names.
    pub fn pools(&self) -> impl Iterator<Item = &PoolName> {
        let pools = match &self.action {
            Action::Forward(pools) => pools.as_slice(),
            Action::Redirect(_) | Action::Respond(_) => &[],
        };
        pools.iter().map(|weighted| &weighted.pool)
    }
}

fn forward(pools: &[WeightedPool]) -> Result<(), Invalid> {
    const MOST_WEIGHT: u16 = 999;
    if pools.is_empty() || pools.len() > Route::MOST_VALUES {
        let accepted = format!("1 to {} pools", Route::MOST_VALUES);
        return Err(Invalid::new(
            "forward",
            format!("{} pools", pools.len()),
            accepted,
        ));
    }
    let mut names = std::collections::BTreeSet::new();
    for WeightedPool { pool, weight } in pools {
        if *weight > MOST_WEIGHT {
            let accepted = format!("a weight from 0 to {MOST_WEIGHT}");
            return Err(Invalid::new("forward.weight", weight, accepted));
        }
        if !names.insert(pool) {
            return Err(Invalid::new("forward.pool", pool, "each pool once"));
        }
    }
    if pools.iter().all(|weighted| weighted.weight == 0) {
        let accepted = "at least one pool with a weight above 0";
        return Err(Invalid::new("forward.weight", 0, accepted));
    }
    Ok(())
}

impl Redirect {
    /// What may stand in braces in a location.
    pub const PLACEHOLDERS: [&str; 6] = ["scheme", "host", "port", "path", "query", "rest"];

    /// Whether the location has what follows the prefix that matched.
    pub fn needs_rest(&self) -> bool {
        self.location.contains("{rest}")
    }

    fn validate(&self) -> Result<(), Invalid> {
        if !matches!(self.status, 301 | 302 | 303 | 307 | 308) {
            let accepted = "301, 302, 303, 307 or 308";
            return Err(Invalid::new("status", self.status, accepted));
        }
        let refused = |accepted: String| Err(Invalid::new("location", &self.location, accepted));
        let is_uri = |text: &str| text.chars().all(|c| c.is_ascii_graphic());
        not_too_long("location", &self.location, Route::LONGEST_VALUE)?;
        if self.location.is_empty() || !is_uri(&self.location) {
            return refused("a URL without spaces, such as https://{host}{path}".to_owned());
        }
        let mut rest = self.location.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, end)) = after.split_once('}') else {
                return refused("braces in pairs".to_owned());
            };
            if before.contains('}') || !Self::PLACEHOLDERS.contains(&name) {
                let known = Self::PLACEHOLDERS.map(|name| format!("{{{name}}}"));
                return refused(format!("only these placeholders: {}", known.join(" ")));
            }
            rest = end;
        }
        if rest.contains('}') {
            return refused("braces in pairs".to_owned());
        }
        Ok(())
    }
}

impl FixedResponse {
    fn validate(&self) -> Result<(), Invalid> {
        if !(200..=599).contains(&self.status) {
            return Err(Invalid::new(
                "status",
                self.status,
                "a status from 200 to 599",
            ));
        }
        not_too_long("content_type", &self.content_type, Route::LONGEST_VALUE)?;
        if !is_field_value(&self.content_type) {
            let accepted = "a media type such as text/plain";
            return Err(Invalid::new("content_type", &self.content_type, accepted));
        }
        let may_have_body = !matches!(self.status, 204 | 205 | 304);
        let longest = if may_have_body { Self::LONGEST_BODY } else { 0 };
        if self.body.len() > longest {
            let accepted = format!("at most {longest} bytes with status {}", self.status);
            return Err(Invalid::new("body", &self.body, accepted));
        }
        Ok(())
    }
}

impl MessageChanges {
    fn validate(&self) -> Result<(), Invalid> {
        if let Some(change) = &self.path_prefix {
            for (field, path, may_be_empty) in [
                ("path_prefix.prefix", &change.prefix, false),
                ("path_prefix.replacement", &change.replacement, true),
            ] {
                not_too_long(field, path, Route::LONGEST_VALUE)?;
                let is_path = path.starts_with('/') && is_plain_path(path);
                let is_absent = may_be_empty && path.is_empty();
                if !is_path && !is_absent {
                    let accepted = "a path that begins with `/`, without a query";
                    return Err(Invalid::new(field, path, accepted));
                }
            }
        }
        if let Some(host) = &self.host
            && !is_authority(host)
        {
            return Err(Invalid::new("host", host, "a host, with or without a port"));
        }
        let within = |invalid: Invalid| invalid.within("request");
        self.request.validate().map_err(within)?;
        let within = |invalid: Invalid| invalid.within("response");
        self.response.validate().map_err(within)
    }
}

impl FieldChanges {
    /// What decides where a message ends, which connection it is on, and which host it is for is not a rule's to change.
    const RESERVED: [&str; 11] = [
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
        "expect",
    ];

    /// The longest name of a field, in bytes.
    const LONGEST_NAME: usize = 256;

    fn validate(&self) -> Result<(), Invalid> {
        let count = self.remove.len() + self.set.len();
        if count > Route::MOST_VALUES {
            let accepted = format!("at most {} fields", Route::MOST_VALUES);
            return Err(Invalid::new("set", format!("{count} fields"), accepted));
        }
        for (change, name) in self
            .remove
            .iter()
            .map(|name| ("remove", name))
            .chain(self.set.keys().map(|name| ("set", name)))
        {
            let is_reserved = Self::RESERVED
                .iter()
                .any(|reserved| name.eq_ignore_ascii_case(reserved));
            not_too_long(change, name, Self::LONGEST_NAME)?;
            if is_reserved || !is_token(name) {
                let accepted =
                    "the name of a field that does not frame the message or name its host";
                return Err(Invalid::new(change, name, accepted));
            }
        }
        for (name, value) in &self.set {
            not_too_long(&format!("set.{name}"), value, Route::LONGEST_VALUE)?;
        }
        let refused = self.set.iter().find(|(_, value)| !is_field_value(value));
        if let Some((name, value)) = refused {
            let accepted = "visible characters, with spaces only between them";
            return Err(Invalid::new(format!("set.{name}"), value, accepted));
        }
        Ok(())
    }
}

/// What a field may hold without breaking a message (RFC 9110, section 5.5).
fn is_field_value(text: &str) -> bool {
    text.trim() == text && text.chars().all(|c| c.is_ascii_graphic() || c == ' ')
}

fn is_plain_path(path: &str) -> bool {
    path.chars()
        .all(|c| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '\\'))
        && !path.split('/').any(|segment| matches!(segment, "." | ".."))
}
