//! What was seen, for people.

use std::{collections::BTreeMap, fmt::Write as _};

/// The error types of RFC 9209, section 2.3.
pub const PROXY_ERRORS: &[&str] = &[
    "dns_timeout",
    "dns_error",
    "destination_not_found",
    "destination_unavailable",
    "destination_ip_prohibited",
    "destination_ip_unroutable",
    "connection_refused",
    "connection_terminated",
    "connection_timeout",
    "connection_read_timeout",
    "connection_write_timeout",
    "connection_limit_reached",
    "tls_protocol_error",
    "tls_certificate_error",
    "tls_alert_received",
    "http_request_error",
    "http_request_denied",
    "http_response_incomplete",
    "http_response_header_section_size",
    "http_response_header_size",
    "http_response_body_size",
    "http_response_trailer_section_size",
    "http_response_trailer_size",
    "http_response_transfer_coding",
    "http_response_content_coding",
    "http_response_timeout",
    "http_upgrade_failed",
    "http_protocol_error",
    "proxy_internal_response",
    "proxy_internal_error",
    "proxy_configuration_error",
    "proxy_loop_detected",
];

/// The error that a `Proxy-Status` of Weldr names, when it is one of RFC 9209.
pub fn proxy_error(status: &str) -> Option<&str> {
    let named = status.strip_prefix("weldr; error=")?;
    let named = named.split(';').next()?.trim();
    PROXY_ERRORS.contains(&named).then_some(named)
}

/// What became of one case.
#[derive(Debug)]
pub struct Verdict {
    /// The table of the case.
    pub table: &'static str,
    /// The case.
    pub name: String,
    /// The rule that it is judged by.
    pub rule: String,
    /// What was sent: by the client, or by the server.
    pub bytes: Vec<u8>,
    /// What had to come of it.
    pub required: String,
    /// What came of it.
    pub observed: String,
    /// What was wrong with that; nothing when the case passed.
    pub problems: Vec<String>,
}

impl Verdict {
    /// Whether the case passed.
    pub fn passed(&self) -> bool {
        self.problems.is_empty()
    }

    /// Whether the rule is Weldr's own, and so nobody else's.
    pub fn is_of_weldr_only(&self) -> bool {
        self.rule.starts_with("Weldr")
    }

    /// The case as a failure: bytes in, required, observed.
    pub fn failure(&self) -> String {
        format!(
            "{}: {} [{}]\n    sent:     {}\n    required: {}\n    observed: {}\n    wrong:    {}\n",
            self.table,
            self.name,
            self.rule,
            super::recorder::shortened(&self.bytes),
            self.required,
            self.observed,
            self.problems.join("; ")
        )
    }
}

/// How many cases of each table passed, and which did not.
pub fn summary(verdicts: &[Verdict]) -> String {
    let mut tables: BTreeMap<_, (usize, usize)> = BTreeMap::new();
    for verdict in verdicts {
        let (passed, all) = tables.entry(verdict.table).or_default();
        *passed += usize::from(verdict.passed());
        *all += 1;
    }
    let mut text = String::new();
    for (table, (passed, all)) in &tables {
        let _infallible = writeln!(text, "{table:<20} {passed:>4} of {all:>4}");
    }
    let passed = verdicts.iter().filter(|verdict| verdict.passed()).count();
    let _infallible = writeln!(text, "{:<20} {passed:>4} of {:>4}\n", "all", verdicts.len());
    for verdict in verdicts.iter().filter(|verdict| !verdict.passed()) {
        text += &verdict.failure();
    }
    text
}
