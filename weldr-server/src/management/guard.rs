//! Which requests are accepted, whoever sends them.
//!
//! A web page that an operator visits can send requests to the management port, through the operator's browser, and where
//! authentication is off, everybody may call:
//!
//! * **Cross-site requests.** A page may send a `POST` with a plain body to any address, without permission.
//!   The browser adds `Origin`, which a page cannot change: a request whose `Origin` is not
//!   the host and port of the request is refused. `Sec-Fetch-Site`, which newer browsers add to every request, has to be
//!   of the same origin as well; only a link to a page may be on another site. curl, `weldrctl` and gRPC clients send
//!   neither.
//! * **DNS rebinding.** The owner of `evil.example` may let that name resolve to 127.0.0.1 later;
//!   then requests of its pages have the same origin. But their host is still `evil.example`: the host of a request must be
//!   an IP address or localhost, which DNS cannot change, or a name that the node is configured with.
//! * **Through the data path.** The address of the management API may be a server of another Weldr, by mistake or under
//!   a name that was not recognized. Then clients of that Weldr could connect to it. Weldr adds itself to `Via`: a
//!   request that came through a Weldr is refused.
//!
//! All rules hold for gRPC as well, because a page can send requests that look like gRPC over HTTP/1.1.

use http::{HeaderMap, Method, Uri, header, uri::Authority};

use super::{error::Error, tls::Tls};

/// What the name of each Weldr in `Via` begins with.
const PRODUCT: &[u8] = b"weldr";

/// The names under which a listener may be called, besides IP addresses and localhost.
#[derive(Debug, Clone, Default)]
pub(super) struct Hosts {
    names: Vec<String>,
    /// The names in its certificate are names of the listener.
    tls: Option<Tls>,
}

impl Hosts {
    /// Names are compared without regard to case.
    pub(super) fn new(names: impl IntoIterator<Item = String>, tls: Option<Tls>) -> Self {
        let names = names.into_iter();
        let names = names.map(|name| name.to_ascii_lowercase()).collect();
        Self { names, tls }
    }

    /// Whether the host is an IP address, `localhost` or a name below it, which DNS cannot redirect, or one of the names.
    fn accept(&self, authority: &Authority) -> bool {
        let host = authority.host();
        let ip = host.trim_start_matches('[').trim_end_matches(']');
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        ip.parse::<std::net::IpAddr>().is_ok()
            || name == "localhost"
            || name.ends_with(".localhost")
            || self.names.contains(&name)
            || self.tls.as_ref().is_some_and(|tls| {
                let names = tls.names();
                names.iter().any(|of| of.eq_ignore_ascii_case(&name))
            })
    }
}

/// Accepts or refuses a request by its origin, its host and the proxies that it came through. `hosts` is `None` where no
/// name leads to: a Unix socket.
pub(super) fn admit(
    method: &Method,
    headers: &HeaderMap,
    uri: &Uri,
    hosts: Option<&Hosts>,
) -> Result<(), Error> {
    if came_through_weldr(headers) {
        return Err(Error::Proxied);
    }
    let asked = Asked::of(headers, uri);
    if let Some(hosts) = hosts {
        match &asked {
            Asked::Nobody => {}
            Asked::Host(host) if hosts.accept(host) => {}
            Asked::Host(host) => {
                let host = host.to_string();
                return Err(Error::ForeignHost { host });
            }
            Asked::Unreadable => {
                let host = text(headers, &header::HOST);
                return Err(Error::ForeignHost { host });
            }
        }
    }
    if is_of_another_site(method, headers) {
        return Err(Error::CrossSite);
    }
    if !headers.contains_key(header::ORIGIN) {
        return Ok(());
    }
    let origin = only(headers, &header::ORIGIN).and_then(|origin| origin.parse().ok());
    match (origin, asked) {
        (Some(origin), Asked::Host(host)) if is_of(&origin, &host) => Ok(()),
        _ => Err(Error::ForeignOrigin {
            origin: text(headers, &header::ORIGIN),
        }),
    }
}

/// Whether a browser says that a page of another origin sends the request. A link that is followed is none: its result is
/// shown to the operator, not to the page.
fn is_of_another_site(method: &Method, headers: &HeaderMap) -> bool {
    let value = |name: &str| headers.get(name).map(http::HeaderValue::as_bytes);
    match value("sec-fetch-site") {
        None | Some(b"same-origin" | b"none") => false,
        Some(_) => {
            let is_link = matches!(*method, Method::GET | Method::HEAD)
                && value("sec-fetch-mode") == Some(b"navigate")
                && value("sec-fetch-dest") == Some(b"document");
            !is_link
        }
    }
}

/// Whether a Weldr is among those that `Via` names: `1.1 weldr-1a2b3c4d`.
fn came_through_weldr(headers: &HeaderMap) -> bool {
    headers.get_all(header::VIA).iter().any(|via| {
        let elements = via.as_bytes().split(|&byte| byte == b',');
        elements.into_iter().any(|element| {
            let mut words = element
                .split(u8::is_ascii_whitespace)
                .filter(|word| !word.is_empty());
            let name = words.nth(1).unwrap_or_default();
            let begin = name.get(..PRODUCT.len()).unwrap_or_default();
            begin.eq_ignore_ascii_case(PRODUCT)
        })
    })
}

/// The host of a request.
enum Asked {
    /// There is none, which HTTP/1.0 allows and no browser sends.
    Nobody,
    Host(Authority),
    /// The field is not one valid host.
    Unreadable,
}

impl Asked {
    fn of(headers: &HeaderMap, uri: &Uri) -> Self {
        if let Some(authority) = uri.authority() {
            return Self::Host(authority.clone());
        }
        if !headers.contains_key(header::HOST) {
            return Self::Nobody;
        }
        let host = only(headers, &header::HOST).and_then(|host| host.parse().ok());
        host.map_or(Self::Unreadable, Self::Host)
    }
}

/// Whether a page of `origin` was loaded from `host`.
fn is_of(origin: &Uri, host: &Authority) -> bool {
    let default_port = match origin.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => return false,
    };
    let port = |authority: &Authority| authority.port_u16().unwrap_or(default_port);
    origin
        .authority()
        .is_some_and(|of| of.host().eq_ignore_ascii_case(host.host()) && port(of) == port(host))
}

/// The value of a field that occurs once.
fn only<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// The beginning of a field's value, for an error.
fn text(headers: &HeaderMap, name: &header::HeaderName) -> String {
    let values = headers.get_all(name).iter();
    let text: Vec<_> = values
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect();
    text.join(", ").chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(names: &[&str], fields: &[(&str, &str)]) -> Result<(), Error> {
        ask_with(&Method::POST, names, fields)
    }

    fn ask_with(method: &Method, names: &[&str], fields: &[(&str, &str)]) -> Result<(), Error> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name: header::HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        let hosts = Hosts::new(names.iter().map(|name| (*name).to_owned()), None);
        admit(
            method,
            &headers,
            &Uri::from_static("/servers"),
            Some(&hosts),
        )
    }

    #[test]
    fn only_names_that_dns_cannot_redirect_are_asked() {
        for host in [
            "127.0.0.1:8687",
            "127.0.0.1",
            "[::1]:8687",
            "localhost",
            "LOCALHOST:8687",
            "localhost.:8687",
            "weldr.localhost:8687",
            "10.0.0.1",
        ] {
            assert!(ask(&[], &[("host", host)]).is_ok(), "{host}");
        }
        for host in [
            "evil.example:8687",
            "localhost.evil.example",
            "notlocalhost",
            "127.0.0.1.evil.example",
            "",
            "a b",
        ] {
            let refused = ask(&[], &[("host", host)]);
            assert!(matches!(refused, Err(Error::ForeignHost { .. })), "{host}");
        }
        let names = ["LB.example"];
        for host in ["lb.example:8687", "lb.EXAMPLE", "lb.example."] {
            assert!(ask(&names, &[("host", host)]).is_ok(), "{host}");
        }
        assert!(ask(&names, &[("host", "x.lb.example")]).is_err());
        assert!(ask(&[], &[]).is_ok(), "HTTP/1.0 needs no host");
        let two = [("host", "localhost"), ("host", "evil.example")];
        assert!(ask(&[], &two).is_err(), "two hosts are no host");
    }

    #[test]
    fn the_authority_of_the_target_goes_before_the_host_field() {
        let uri = Uri::from_static("http://evil.example/servers");
        let headers = HeaderMap::from_iter([(header::HOST, "localhost".parse().unwrap())]);
        assert!(admit(&Method::GET, &headers, &uri, Some(&Hosts::default())).is_err());
    }

    #[test]
    fn requests_through_a_weldr_are_refused() {
        for via in ["1.1 weldr-1a2b3c4d", "1.0 a, 1.1 Weldr (x)", "1.1 weldr"] {
            let refused = ask(&[], &[("host", "localhost"), ("via", via)]);
            assert!(matches!(refused, Err(Error::Proxied)), "{via}");
        }
        for via in ["1.1 varnish", "weldr", ""] {
            assert!(
                ask(&[], &[("host", "localhost"), ("via", via)]).is_ok(),
                "{via}"
            );
        }
        let lines = [("via", "1.1 a"), ("via", "1.1 weldr")];
        assert!(ask(&[], &lines).is_err());
    }

    #[test]
    fn a_page_may_ask_only_where_it_came_from() {
        for (origin, host) in [
            ("http://localhost:8687", "localhost:8687"),
            ("http://LocalHost:8687", "localhost:8687"),
            ("http://127.0.0.1", "127.0.0.1:80"),
            ("https://[::1]", "[::1]:443"),
        ] {
            let fields = [("origin", origin), ("host", host)];
            assert!(ask(&[], &fields).is_ok(), "{origin} {host}");
        }
        for origin in [
            "null",
            "http://evil.example",
            "http://localhost",
            "http://localhost:3000",
            "http://127.0.0.1:8687",
            "ftp://localhost:8687",
            "localhost:8687",
            "",
        ] {
            let refused = ask(&[], &[("origin", origin), ("host", "localhost:8687")]);
            assert!(
                matches!(refused, Err(Error::ForeignOrigin { .. })),
                "{origin}"
            );
        }
        let two = [
            ("host", "localhost"),
            ("origin", "http://localhost"),
            ("origin", "http://evil.example"),
        ];
        assert!(ask(&[], &two).is_err(), "two origins are none");
        assert!(
            ask(&[], &[("origin", "http://a.example")]).is_err(),
            "no host to compare with"
        );
    }

    #[test]
    fn a_page_of_another_site_may_only_link_here() {
        let host = ("host", "localhost");
        for (site, is_accepted) in [
            ("none", true),
            ("same-origin", true),
            ("same-site", false),
            ("cross-site", false),
            ("", false),
            ("anything", false),
        ] {
            let asked = ask_with(&Method::GET, &[], &[host, ("sec-fetch-site", site)]);
            assert_eq!(asked.is_ok(), is_accepted, "{site}");
        }
        let link = [
            host,
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ];
        assert!(ask_with(&Method::GET, &[], &link).is_ok());
        let form = ask_with(&Method::POST, &[], &link);
        assert!(matches!(form, Err(Error::CrossSite)));
        let frame = [link[0], link[1], link[2], ("sec-fetch-dest", "iframe")];
        assert!(ask_with(&Method::GET, &[], &frame).is_err());
    }
}
