//! What a case of a table means.

use std::fmt;

use super::{
    table::{self, Block},
    wire::Message,
};

/// The tables of requests: a name, and the text.
pub const REQUEST_TABLES: &[(&str, &str)] = &[
    (
        "request line",
        include_str!("../../tables/requests/request-line.txt"),
    ),
    ("target", include_str!("../../tables/requests/target.txt")),
    ("Host", include_str!("../../tables/requests/host.txt")),
    ("fields", include_str!("../../tables/requests/fields.txt")),
    (
        "Content-Length",
        include_str!("../../tables/requests/content-length.txt"),
    ),
    (
        "Transfer-Encoding",
        include_str!("../../tables/requests/transfer-encoding.txt"),
    ),
    ("chunks", include_str!("../../tables/requests/chunks.txt")),
    (
        "trailers",
        include_str!("../../tables/requests/trailers.txt"),
    ),
    (
        "forwarding",
        include_str!("../../tables/requests/forwarding.txt"),
    ),
    (
        "connection",
        include_str!("../../tables/requests/connection.txt"),
    ),
    ("limits", include_str!("../../tables/requests/limits.txt")),
];

/// The tables of responses: a name, and the text.
pub const RESPONSE_TABLES: &[(&str, &str)] = &[
    (
        "status line",
        include_str!("../../tables/responses/status-line.txt"),
    ),
    ("fields", include_str!("../../tables/responses/fields.txt")),
    (
        "framing",
        include_str!("../../tables/responses/framing.txt"),
    ),
    ("chunks", include_str!("../../tables/responses/chunks.txt")),
    (
        "no body",
        include_str!("../../tables/responses/no-body.txt"),
    ),
    (
        "interim",
        include_str!("../../tables/responses/interim.txt"),
    ),
    ("end", include_str!("../../tables/responses/end.txt")),
    ("stray", include_str!("../../tables/responses/stray.txt")),
];

/// Something that must be so besides.
#[derive(Debug, Clone)]
pub struct Check {
    /// As it is written.
    pub text: String,
    subject: Subject,
    name: String,
    value: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    StartLine,
    Field,
    NoField,
    Trailer,
    NoTrailer,
    Body,
    Lacks,
    Discard,
}

impl Check {
    fn parse(text: &str) -> Self {
        let (subject, rest) = match text.split_once(": ") {
            None if text == "discard" => (Subject::Discard, ""),
            None if text == "body:" => (Subject::Body, ""),
            Some(("line", rest)) => (Subject::StartLine, rest),
            Some(("field", rest)) => (Subject::Field, rest),
            Some(("no field", rest)) => (Subject::NoField, rest),
            Some(("trailer", rest)) => (Subject::Trailer, rest),
            Some(("no trailer", rest)) => (Subject::NoTrailer, rest),
            Some(("body", rest)) => (Subject::Body, rest),
            Some(("lacks", rest)) => (Subject::Lacks, rest),
            _ => panic!("a check that is not known: {text}"),
        };
        let (name, value) = match subject {
            Subject::Field | Subject::Trailer => rest.split_once(':').expect("a name and a value"),
            Subject::NoField | Subject::NoTrailer => (rest, ""),
            _ => ("", rest),
        };
        Self {
            text: text.to_owned(),
            subject,
            name: name.to_owned(),
            value: table::unescape(value.trim_matches(' ')),
        }
    }

    /// Whether the server's connection must not be used again.
    pub fn is_discard(&self) -> bool {
        self.subject == Subject::Discard
    }

    /// Whether it is about everything that comes, not about the last message only.
    pub fn is_of_all(&self) -> bool {
        matches!(self.subject, Subject::NoField | Subject::Lacks)
    }

    /// Whether `message` is as it must be.
    pub fn holds(&self, message: &Message) -> bool {
        let joined = |fields: &crate::http1::Fields| {
            let of_name =
                |(name, _): &&(Vec<u8>, Vec<u8>)| name.eq_ignore_ascii_case(self.name.as_bytes());
            let values: Vec<_> = fields.0.iter().filter(of_name).collect();
            let values: Vec<_> = values
                .into_iter()
                .map(|(_, value)| value.as_slice())
                .collect();
            (!values.is_empty()).then(|| values.join(&b", "[..]))
        };
        let is = |value: Option<Vec<u8>>| value.is_some_and(|value| matches(&self.value, &value));
        match self.subject {
            Subject::StartLine => matches(&self.value, &message.start.join(&b' ')),
            Subject::Field => is(joined(&message.fields)),
            Subject::NoField => joined(&message.fields).is_none(),
            Subject::Trailer => is(joined(&message.trailers)),
            Subject::NoTrailer => joined(&message.trailers).is_none(),
            Subject::Body => message.body == self.value,
            Subject::Lacks => {
                let values = message.fields.0.iter().map(|(_, value)| value);
                let mut all = message.start.iter().chain(values);
                !all.any(|text| contains(text, &self.value))
            }
            Subject::Discard => true,
        }
    }
}

/// Whether `value` is `pattern`, in which `*` stands for anything.
fn matches(pattern: &[u8], value: &[u8]) -> bool {
    let Some(star) = pattern.iter().position(|&byte| byte == b'*') else {
        return pattern == value;
    };
    let (before, after) = (&pattern[..star], &pattern[star + 1..]);
    let Some(rest) = value.strip_prefix(before) else {
        return false;
    };
    (0..=rest.len()).any(|skipped| matches(after, &rest[skipped..]))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// What may come of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A response of one of these statuses, then the end; nothing reaches the server.
    Refused(Vec<u16>),
    /// The same, but for a beginning that may have reached the server: never a whole request.
    Broken(Vec<u16>),
    /// This many requests reach the server and get a response; then one is refused, if that is said.
    Forwarded(usize, Option<Vec<u16>>),
    /// A response of one of these statuses by the proxy itself, which may go on.
    Responded(Vec<u16>),
}

impl Outcome {
    /// How many final responses the client waits for.
    pub fn responses(&self) -> usize {
        match self {
            Self::Forwarded(count, refused) => count + usize::from(refused.is_some()),
            Self::Refused(_) | Self::Broken(_) | Self::Responded(_) => 1,
        }
    }

    fn parse(text: &str) -> Self {
        let words: Vec<_> = text.split_whitespace().collect();
        match words[..] {
            ["refused", statuses] => Self::Refused(parse_statuses(statuses)),
            ["broken", statuses] => Self::Broken(parse_statuses(statuses)),
            ["responded", statuses] => Self::Responded(parse_statuses(statuses)),
            ["forwarded"] => Self::Forwarded(1, None),
            ["forwarded", count] => Self::Forwarded(count.parse().expect("a count"), None),
            ["forwarded", count, "then", "refused", statuses] => {
                let statuses = parse_statuses(statuses);
                Self::Forwarded(count.parse().expect("a count"), Some(statuses))
            }
            _ => panic!("an outcome that is not known: {text}"),
        }
    }
}

fn parse_statuses(text: &str) -> Vec<u16> {
    let parse = |status: &str| status.parse().expect("a status");
    text.split('|').map(parse).collect()
}

/// A request and what must come of it.
#[derive(Debug)]
pub struct RequestCase {
    /// What it is about.
    pub name: String,
    /// Which rule requires it.
    pub rule: String,
    /// The bytes of the client.
    pub send: Vec<u8>,
    /// Whether the client says after them that no more will come.
    pub finishes: bool,
    /// What must come of them: one of these.
    pub required: Vec<Outcome>,
    /// What the RFCs permit besides.
    pub permitted: Vec<Outcome>,
    /// What must be so of the first request that reaches the server.
    pub checks: Vec<Check>,
    /// The required as it is written.
    pub requirement: String,
}

impl RequestCase {
    fn new(block: Block) -> Self {
        let mut case = Self {
            name: block.name,
            rule: block.rule,
            send: Vec::new(),
            finishes: false,
            required: Vec::new(),
            permitted: Vec::new(),
            checks: Vec::new(),
            requirement: requirement(&block.lines),
        };
        for (sign, text) in &block.lines {
            match sign {
                '>' => case.send.extend(table::bytes_of_line(text)),
                '!' if text == "finish" => case.finishes = true,
                '=' => case.required.extend(text.split(" or ").map(Outcome::parse)),
                '~' => case
                    .permitted
                    .extend(text.split(" or ").map(Outcome::parse)),
                '+' => case.checks.push(Check::parse(text)),
                _ => panic!("{}: a line {sign} {text}", case.name),
            }
        }
        assert!(!case.required.is_empty(), "{}: nothing required", case.name);
        case
    }
}

/// What the server does after it has read a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Sends bytes.
    Send(Vec<u8>),
    /// Waits until the client has what it waits for.
    WhenResponded,
    /// Says that nothing more will come.
    Close,
    /// Closes with RST.
    Reset,
    /// Does nothing until the proxy closes.
    Stall,
}

/// What a client may see of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum View {
    /// Interim responses and a final one of these statuses, whole.
    Whole(Vec<u16>),
    /// Any number of interim responses and a final one of this status, whole.
    AfterAny(u16),
    /// A response of this status, visibly not whole.
    Cut(u16),
    /// A response of the proxy, which explains that the server failed.
    Failed(Vec<u16>),
}

impl View {
    fn parse(text: &str) -> Self {
        if let Some(statuses) = text.strip_prefix("failed ") {
            return Self::Failed(parse_statuses(statuses));
        }
        if let Some(status) = text.strip_prefix("cut ") {
            return Self::Cut(status.parse().expect("a status"));
        }
        let parse = |status: &str| status.parse().expect("a status");
        if let Some(status) = text.strip_prefix("* ") {
            return Self::AfterAny(parse(status));
        }
        Self::Whole(text.split_whitespace().map(parse).collect())
    }
}

/// A response and what a client must see of it.
#[derive(Debug)]
pub struct ResponseCase {
    /// What it is about.
    pub name: String,
    /// Which rule requires it.
    pub rule: String,
    /// The request of the client.
    pub send: Vec<u8>,
    /// What the server does.
    pub script: Vec<Step>,
    /// What the client must see: one of these.
    pub required: Vec<View>,
    /// What the RFCs permit besides.
    pub permitted: Vec<View>,
    /// What must be so of the first response that has the status which is looked for.
    pub checks: Vec<Check>,
    /// The required as it is written.
    pub requirement: String,
}

impl ResponseCase {
    fn new(block: Block) -> Self {
        let mut case = Self {
            name: block.name,
            rule: block.rule,
            send: Vec::new(),
            script: Vec::new(),
            required: Vec::new(),
            permitted: Vec::new(),
            checks: Vec::new(),
            requirement: requirement(&block.lines),
        };
        for (sign, text) in &block.lines {
            match (sign, text.as_str()) {
                ('>', _) => case.send.extend(table::bytes_of_line(text)),
                ('<', _) => case.response(table::bytes_of_line(text)),
                ('!', "when responded") => case.script.push(Step::WhenResponded),
                ('!', "close") => case.script.push(Step::Close),
                ('!', "reset") => case.script.push(Step::Reset),
                ('!', "stall") => case.script.push(Step::Stall),
                ('=', _) => case.required.extend(text.split(" or ").map(View::parse)),
                ('~', _) => case.permitted.extend(text.split(" or ").map(View::parse)),
                ('+', _) => case.checks.push(Check::parse(text)),
                _ => panic!("{}: a line {sign} {text}", case.name),
            }
        }
        if case.send.is_empty() {
            case.send = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
        }
        assert!(!case.required.is_empty(), "{}: nothing required", case.name);
        case
    }

    fn response(&mut self, bytes: Vec<u8>) {
        match self.script.last_mut() {
            Some(Step::Send(sent)) => sent.extend(bytes),
            _ => self.script.push(Step::Send(bytes)),
        }
    }

    /// What the server sends first.
    pub fn sent(&self) -> &[u8] {
        match self.script.first() {
            Some(Step::Send(bytes)) => bytes,
            _ => b"",
        }
    }
}

fn requirement(lines: &[(char, String)]) -> String {
    let wanted = lines.iter().filter(|(sign, _)| matches!(sign, '=' | '+'));
    let texts: Vec<_> = wanted.map(|(_, text)| text.as_str()).collect();
    texts.join(", ")
}

/// All cases of requests, table by table.
pub fn requests() -> Vec<(&'static str, Vec<RequestCase>)> {
    let read = |&(name, text)| {
        let blocks = table::parse(text).into_iter();
        (name, blocks.map(RequestCase::new).collect())
    };
    REQUEST_TABLES.iter().map(read).collect()
}

/// All cases of responses, table by table.
pub fn responses() -> Vec<(&'static str, Vec<ResponseCase>)> {
    let read = |&(name, text)| {
        let blocks = table::parse(text).into_iter();
        (name, blocks.map(ResponseCase::new).collect())
    };
    RESPONSE_TABLES.iter().map(read).collect()
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        assert!(matches(b"1.1 *", b"1.1 weldr"));
        assert!(matches(b"*", b""));
        assert!(!matches(b"1.1 *", b"1.0 weldr"));
        assert!(!matches(b"a*a", b"a"));
        assert!(matches(b"*b*", b"abc"));
    }

    #[test]
    fn every_case_has_a_rule_and_a_name_of_its_own() {
        let mut names = std::collections::BTreeSet::new();
        for (table, cases) in requests() {
            for case in cases {
                assert!(!case.rule.is_empty(), "{}", case.name);
                assert!(names.insert((table, case.name.clone())), "{}", case.name);
            }
        }
        names.clear();
        for (table, cases) in responses() {
            for case in cases {
                assert!(!case.rule.is_empty(), "{}", case.name);
                assert!(names.insert((table, case.name.clone())), "{}", case.name);
            }
        }
    }
}
