//! Certificates in tables, and what TLS policies contain.

use std::fmt::Write as _;

use prost_types::Timestamp;
use weldr_proto::{
    v1::{Certificate, TlsPolicyContents},
    words,
};

use super::{
    figures,
    style::{Paint, Tint},
    table::{self, Cell, Column},
};

const COLUMNS: [Column; 8] = [
    table::words("CERTIFICATE"),
    table::words("NAMES"),
    table::words("EXPIRES"),
    table::words("RENEWED"),
    table::words("KEY"),
    table::words("SOURCE"),
    table::words("USED BY"),
    table::words("LAST ERROR"),
];

/// How many names and users a line of a table has.
const IN_LINE: usize = 3;
/// From how many days before its end on a certificate is to be replaced.
const SOON: i64 = 30;
const DAY: i64 = 24 * 60 * 60;

/// One line for each certificate.
pub(crate) fn list(certificates: &[Certificate], now: Timestamp, paint: Paint) -> String {
    let rows = certificates.iter().map(|certificate| {
        let error = match certificate.last_error.as_str() {
            "" => figures::NONE.into(),
            error => Cell::tinted(error, Some(Tint::Bad)),
        };
        vec![
            certificate.name.as_str().into(),
            names(certificate).into(),
            Cell::tinted(expiry(certificate, now), tint(certificate, now)),
            renewal(certificate).into(),
            certificate.key_type.as_str().into(),
            words::certificate_source(certificate.source).into(),
            some_of(&certificate.used_by).into(),
            error,
        ]
    });
    table::render(&COLUMNS, rows.collect(), paint)
}

/// The names of a certificate; of many, the first ones and how many more.
pub(crate) fn names(certificate: &Certificate) -> String {
    some_of(&certificate.dns_names)
}

fn some_of(all: &[String]) -> String {
    if all.is_empty() {
        return figures::NONE.to_owned();
    }
    let mut text = all[..all.len().min(IN_LINE)].join(", ");
    if all.len() > IN_LINE {
        // Writing to a string cannot fail.
        _ = write!(text, " and {} more", all.len() - IN_LINE);
    }
    text
}

/// The whole days that a certificate is still valid; negative if it has expired.
pub(crate) fn days_left(certificate: &Certificate, now: Timestamp) -> Option<i64> {
    let left = certificate.not_after.as_ref()?.seconds - now.seconds;
    Some(left.div_euclid(DAY))
}

/// The last day of a certificate, and how long that is from now.
pub(crate) fn expiry(certificate: &Certificate, now: Timestamp) -> String {
    let (Some(left), Some(end)) = (days_left(certificate, now), certificate.not_after) else {
        return figures::NONE.to_owned();
    };
    let day: String = figures::instant(end).chars().take(10).collect();
    match left {
        ..0 => format!("{day}: expired"),
        0..=SOON if certificate.acme.is_none() => {
            format!("{day} (in {left} days: replace it)")
        }
        _ => format!("{day} (in {left} days)"),
    }
}

/// When a certificate that is obtained by ACME is renewed, or what is done about it.
fn renewal(certificate: &Certificate) -> String {
    let Some(acme) = &certificate.acme else {
        return figures::NONE.to_owned();
    };
    let minute = |at| -> String { figures::instant(at).chars().take(16).collect() };
    match (&acme.retry_at, acme.ordering, &acme.next_renewal) {
        (Some(at), ..) => format!("tried again {}", minute(*at)),
        (None, true, _) => "ordered".to_owned(),
        (None, false, Some(at)) => minute(*at),
        (None, false, None) => "soon".to_owned(),
    }
}

fn tint(certificate: &Certificate, now: Timestamp) -> Option<Tint> {
    match days_left(certificate, now)? {
        ..0 => Some(Tint::Bad),
        0..=SOON if certificate.acme.is_none() => Some(Tint::Leaving),
        _ => None,
    }
}

/// All details of a certificate.
pub(crate) fn card(certificate: &Certificate, now: Timestamp, paint: Paint) -> String {
    let mut text = format!("{}\n", paint.text(&certificate.name, Some(Tint::Head)));
    let mut line = |name: &str, value: String| {
        // Writing to a string cannot fail.
        _ = writeln!(text, "  {name:<16}{value}");
    };
    let all = |values: &[String]| match values {
        [] => figures::NONE.to_owned(),
        values => values.join(", "),
    };
    line("names", all(&certificate.dns_names));
    line(
        "valid from",
        certificate
            .not_before
            .map_or_else(|| figures::NONE.to_owned(), figures::instant),
    );
    let expires = expiry(certificate, now);
    line("expires", paint.text(expires, tint(certificate, now)));
    line("key", certificate.key_type.clone());
    if !certificate.fingerprint.is_empty() {
        line("SHA-256", certificate.fingerprint.clone());
    }
    line("source", words::certificate_source(certificate.source));
    if let Some(acme) = &certificate.acme {
        line("wanted for", all(&acme.domains));
        line("renewed", renewal(certificate));
        if !acme.renewal_by.is_empty() {
            line("renewed by", acme.renewal_by.clone());
        }
        if !acme.explanation.is_empty() {
            line("explanation", acme.explanation.clone());
        }
        if acme.failures > 0 {
            line("failures", acme.failures.to_string());
        }
    }
    line("used by", all(&certificate.used_by));
    if !certificate.last_error.is_empty() {
        line(
            "last error",
            paint.text(&certificate.last_error, Some(Tint::Bad)),
        );
    }
    line("revision", certificate.revision.to_string());
    text + &certificate.chain
}

/// What each policy contains.
pub(crate) fn policies(policies: &[TlsPolicyContents], paint: Paint) -> String {
    let texts = policies.iter().map(|policy| {
        let mut text = format!("{}\n", paint.text(&policy.name, Some(Tint::Head)));
        for (name, values) in [
            ("versions", &policy.versions),
            ("cipher suites", &policy.suites),
            ("key exchanges", &policy.key_exchanges),
        ] {
            for (index, value) in values.iter().enumerate() {
                let name = if index == 0 { name } else { "" };
                // Writing to a string cannot fail.
                _ = writeln!(text, "  {name:<16}{value}");
            }
        }
        text
    });
    texts.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use weldr_proto::v1::CertificateSource;

    use super::*;

    const NOW: Timestamp = Timestamp {
        seconds: 1_800_000_000,
        nanos: 0,
    };

    fn certificate(name: &str, days: i64) -> Certificate {
        Certificate {
            name: name.to_owned(),
            dns_names: vec![format!("{name}.example"), format!("*.{name}.example")],
            not_after: Some(Timestamp {
                seconds: NOW.seconds + days * DAY,
                nanos: 0,
            }),
            key_type: "ECDSA P-256".to_owned(),
            source: CertificateSource::Uploaded.into(),
            ..Certificate::default()
        }
    }

    #[test]
    fn the_list_says_when_each_certificate_expires() {
        let used = Certificate {
            used_by: ["listener a", "listener b", "listener c", "pool d"]
                .map(str::to_owned)
                .into(),
            ..certificate("shop", 31)
        };
        let broken = Certificate {
            last_error: "the key is lost".to_owned(),
            dns_names: vec![],
            ..certificate("old", -1)
        };
        let all = [used, certificate("blog", 30), broken];
        assert_eq!(
            list(&all, NOW, Paint::PLAIN),
            "\
CERTIFICATE  NAMES                         EXPIRES                              RENEWED  KEY          SOURCE    USED BY                                        LAST ERROR
shop         shop.example, *.shop.example  2027-02-15 (in 31 days)              -        ECDSA P-256  uploaded  listener a, listener b, listener c and 1 more  -
blog         blog.example, *.blog.example  2027-02-14 (in 30 days: replace it)  -        ECDSA P-256  uploaded  -                                              -
old          -                             2027-01-14: expired                  -        ECDSA P-256  uploaded  -                                              the key is lost
"
        );
        let coloured = list(&all, NOW, Paint::COLOURED);
        for words in [
            "\x1b[33m2027-02-14",
            "\x1b[31m2027-01-14",
            "\x1b[31mthe key",
        ] {
            assert!(coloured.contains(words), "{coloured}");
        }
    }

    #[test]
    fn a_certificate_tells_all_of_itself() {
        let shop = Certificate {
            fingerprint: "ab".repeat(32),
            revision: 7,
            chain: "-----BEGIN CERTIFICATE-----\n".to_owned(),
            ..certificate("shop", 90)
        };
        let text = card(&shop, NOW, Paint::PLAIN);
        assert!(
            text.starts_with("shop\n  names           shop.example, *.shop.example\n"),
            "{text}"
        );
        assert!(
            text.ends_with("  revision        7\n-----BEGIN CERTIFICATE-----\n"),
            "{text}"
        );
        assert!(!text.contains("last error"));
    }

    #[test]
    fn a_policy_is_shown_with_one_value_a_line() {
        let policy = TlsPolicyContents {
            name: "modern".to_owned(),
            versions: vec!["TLSv1.3".to_owned()],
            suites: vec!["A".to_owned(), "B".to_owned()],
            key_exchanges: vec!["C".to_owned()],
        };
        assert_eq!(
            policies(&[policy], Paint::PLAIN),
            "modern\n  versions        TLSv1.3\n  cipher suites   A\n                  B\n  key exchanges   C\n"
        );
    }
}
