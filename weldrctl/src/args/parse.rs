//! Words of the command line to values; each error says what would be accepted.

use std::{net::SocketAddr, time::Duration};

use tonic::transport::Endpoint;

pub(crate) const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:8687";
const DEFAULT_PORT: &str = "8687";

/// Far beyond what any setting accepts, and near enough to be added to a clock.
const LONGEST: Duration = Duration::from_hours(365 * 24);

/// `http://host:port`, `https://host:port`, `host:port`, `host` with weldr's own port, or `unix:PATH`.
pub(super) fn endpoint(text: &str) -> Result<String, String> {
    const ACCEPTED: &str = "http://host:port, https://host:port, host:port or unix:PATH, for example http://127.0.0.1:8687";
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() {
            return Err(format!("expected {ACCEPTED}"));
        }
        return Ok(format!("unix:{path}"));
    }
    let url = match text.split_once("://") {
        None => {
            // In `[::1]` the colons are the address's own.
            let host_end = text.rfind(']').unwrap_or(0);
            if text.get(host_end..).is_some_and(|rest| rest.contains(':')) {
                format!("http://{text}")
            } else {
                format!("http://{text}:{DEFAULT_PORT}")
            }
        }
        Some(("http" | "https", _)) => text.to_owned(),
        Some((scheme, _)) => {
            return Err(format!("{scheme} is not served; expected {ACCEPTED}"));
        }
    };
    let uri = Endpoint::from_shared(url.clone())
        .map_err(|_invalid| format!("expected {ACCEPTED}"))?
        .uri()
        .clone();
    let valid = uri.authority().is_some_and(|authority| {
        let host = authority.host();
        let rest = authority.as_str().strip_prefix(host);
        // Without a port, that of the scheme.
        let port = rest.map(|rest| rest.strip_prefix(':').unwrap_or("80"));
        !host.is_empty() && port.is_some_and(|port| port.parse::<u16>().is_ok())
    });
    if !valid || !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(format!("expected {ACCEPTED}"));
    }
    Ok(url.trim_end_matches('/').to_owned())
}

/// The text of a file; an empty name has none.
pub(super) fn text_of_file(path: &str) -> Result<String, String> {
    if path.is_empty() {
        return Ok(String::new());
    }
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    // What is not text is no PEM, and the node says what it is instead.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// `ip:port`, `[ip]:port` for IPv6.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_invalid| {
        "expected ip:port, for example 10.0.0.7:8080 or [fd00::7]:8080; host names are not resolved"
            .to_owned()
    })
}

/// A time with its unit; 0 needs none.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let duration = humantime::parse_duration(text)
        .map_err(|error| format!("{error}; expected a time such as 500ms, 30s or 1m30s"))?;
    if duration > LONGEST {
        return Err("expected a time of at most a year".to_owned());
    }
    Ok(duration)
}

/// A time above 0.
pub(super) fn positive(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("expected a time above 0, such as 500ms or 5s".to_owned()),
        above => Ok(above),
    }
}

/// A time of days, hours and so on, up to ten years.
pub(super) fn lifetime(text: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_hours(10 * 365 * 24);
    let expected = "expected a time such as 12h, 90d or 1y, of at most ten years";
    match humantime::parse_duration(text) {
        Ok(time) if !time.is_zero() && time <= LONGEST => Ok(time),
        _ => Err(expected.to_owned()),
    }
}

/// A time, or `off` for 0.
pub(super) fn duration_or_off(text: &str) -> Result<Duration, String> {
    match text {
        "off" => Ok(Duration::ZERO),
        _ => duration(text),
    }
}

/// `Name: value`, or a name alone.
pub(super) fn field(text: &str) -> Result<(String, Option<String>), String> {
    pair(text, ':', "Name: value")
}

/// `name=value`, or a name alone.
pub(super) fn parameter(text: &str) -> Result<(String, Option<String>), String> {
    pair(text, '=', "name=value")
}

fn pair(text: &str, separator: char, form: &str) -> Result<(String, Option<String>), String> {
    let (name, value) = match text.split_once(separator) {
        Some((name, value)) => (name, Some(value.trim().to_owned())),
        None => (text, None),
    };
    match name.trim() {
        "" => Err(format!("expected {form}, or a name alone")),
        name => Ok((name.to_owned(), value)),
    }
}

/// `Name: value`.
pub(super) fn whole_field(text: &str) -> Result<(String, String), String> {
    match field(text)? {
        (name, Some(value)) => Ok((name, value)),
        (_, None) => Err("expected 'Name: value'".to_owned()),
    }
}

/// `pool` or `pool=weight`.
pub(super) fn weighted(text: &str) -> Result<(String, u32), String> {
    let (name, weight) = match text.split_once('=') {
        Some((name, weight)) => (name, weight),
        None => (text, "1"),
    };
    match weight.parse() {
        Ok(weight) if !name.is_empty() => Ok((name.to_owned(), weight)),
        _ => Err("expected a pool, or pools with weights such as blue=90,green=10".to_owned()),
    }
}

/// `/old=/new`; the new beginning may be empty.
pub(super) fn replacement(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((old, new)) if !old.is_empty() => Ok((old.to_owned(), new.to_owned())),
        _ => Err("expected two beginnings of a path, such as /old=/new".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::expect_used,
        reason = "a test may stop at what it did not expect"
    )]

    use super::*;

    #[test]
    fn endpoints_are_urls_or_hosts() {
        for (text, url) in [
            ("http://127.0.0.1:8687", "http://127.0.0.1:8687"),
            ("http://weldr:8687/", "http://weldr:8687"),
            ("127.0.0.1:9000", "http://127.0.0.1:9000"),
            ("[::1]:9000", "http://[::1]:9000"),
            ("[::1]", "http://[::1]:8687"),
            ("weldr", "http://weldr:8687"),
            ("https://weldr:8687/", "https://weldr:8687"),
            ("unix:/run/weldr.sock", "unix:/run/weldr.sock"),
            ("unix:///run/weldr.sock", "unix:/run/weldr.sock"),
            (
                "unix:weldr-data/management.sock",
                "unix:weldr-data/management.sock",
            ),
        ] {
            assert_eq!(endpoint(text).as_deref(), Ok(url), "{text}");
        }
        for text in [
            "",
            "ftp://x",
            "unix:",
            "https://",
            "http://",
            "a b",
            "http://weldr/path",
            "weldr:99999",
            "weldr:",
            "user@weldr:80",
        ] {
            let error = endpoint(text).expect_err(text);
            assert!(error.contains("http://127.0.0.1:8687"), "{text}: {error}");
        }
    }

    #[test]
    fn addresses_are_ip_and_port() {
        assert_eq!(
            address("[::1]:80").map(|address| address.to_string()),
            Ok("[::1]:80".to_owned())
        );
        for text in ["localhost:80", "127.0.0.1", "::1:80", "127.0.0.1:70000", ""] {
            let error = address(text).expect_err(text);
            assert!(error.contains("ip:port"), "{text}: {error}");
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert!(duration("5").is_err());
        assert!(duration("-5s").is_err());
        assert!(duration("99999999999999999s").is_err());
        assert!(positive("0").is_err());
        assert!(positive("0s").is_err());
        assert_eq!(duration_or_off("off"), Ok(Duration::ZERO));
    }
}
