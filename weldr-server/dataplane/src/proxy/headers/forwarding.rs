//! The fields that tell a server who the client is: `X-Forwarded-…` and `Forwarded` (RFC 7239).

use std::net::{IpAddr, SocketAddr};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    http1::{ClientAddress, Field, Known, forwarded_client, is_forwarded, is_token},
    policy::{ForwardedHeaders, HttpPolicy},
    proxy::text::write_ip,
};

use super::lines::{write_field, write_list};

/// `255.255.255.255`
const LONGEST_IPV4: usize = 15;

/// The other end of a client's connection.
#[derive(Debug)]
pub(in crate::proxy) struct Peer {
    /// Its address.
    pub(in crate::proxy) address: SocketAddr,
    /// Its element of `X-Forwarded-For`, with the end of the line.
    x_forwarded_for: Vec<u8>,
    /// The begin of its element of `Forwarded`: `for=` and the address.
    forwarded_for: Vec<u8>,
    treatment: Treatment,
    /// Whether it is in a network of trusted proxies.
    is_trusted: bool,
    pub(in crate::proxy) scheme: Scheme,
    /// The line with the certificate that it has shown, for servers; empty where it has shown none. `None`: the listener does not
    /// tell servers.
    certificate: Option<Box<[u8]>>,
}

/// How a client reached its listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    /// Its name in a URI.
    pub(in crate::proxy) fn name(self) -> &'static [u8] {
        match self {
            Self::Http => b"http",
            Self::Https => b"https",
        }
    }

    /// The port that a URI without one means.
    pub(in crate::proxy) fn default_port(self) -> &'static [u8] {
        match self {
            Self::Http => b"80",
            Self::Https => b"443",
        }
    }
}

/// How the fields of [`Known::is_of_proxies`] are handled, in which a peer tells who the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Treatment {
    /// They are forwarded, and the peer is added.
    Append,
    /// They are dropped, because an untrusted peer could name any client, and some are written anew.
    Replace,
    /// They are forwarded, and nothing is added.
    Pass,
}

impl Peer {
    pub(in crate::proxy) fn new(address: SocketAddr, scheme: Scheme, policy: &HttpPolicy) -> Self {
        let ip = address.ip().to_canonical();
        let quotes: (&[u8], &[u8]) = match ip {
            IpAddr::V4(_) => (b"", b""),
            IpAddr::V6(_) => (b"\"[", b"]\""),
        };
        let trusted = policy
            .trusted_proxies
            .iter()
            .any(|network| network.contains(&ip));
        let treatment = match policy.forwarded_headers {
            ForwardedHeaders::Off => Treatment::Pass,
            ForwardedHeaders::Append => Treatment::Append,
            ForwardedHeaders::Replace if trusted => Treatment::Append,
            ForwardedHeaders::Replace => Treatment::Replace,
        };
        let mut x_forwarded_for = Vec::with_capacity(LONGEST_IPV4 + 2);
        write_ip(&mut x_forwarded_for, ip);
        let forwarded_for = [b"for=", quotes.0, &x_forwarded_for, quotes.1].concat();
        x_forwarded_for.extend_from_slice(b"\r\n");
        Self {
            address,
            x_forwarded_for,
            forwarded_for,
            treatment,
            is_trusted: trusted,
            scheme,
            certificate: None,
        }
    }

    /// The same, of which servers are told the certificate (DER) that it has shown; `None`: it has shown none.
    pub(in crate::proxy) fn telling_certificate(self, certificate: Option<&[u8]>) -> Self {
        // RFC 9440, section 2.2: a byte sequence of RFC 8941.
        let line = certificate.map(|der| format!("Client-Cert: :{}:\r\n", STANDARD.encode(der)));
        let line = line.unwrap_or_default().into_bytes();
        Self {
            certificate: Some(line.into()),
            ..self
        }
    }

    /// Whether it is in a network of trusted proxies.
    pub(in crate::proxy) fn is_trusted(&self) -> bool {
        self.is_trusted
    }

    /// The client of a request, if this peer is a trusted proxy and names the client.
    pub(in crate::proxy) fn client(
        &self,
        head: &[u8],
        fields: &[Field],
        policy: &HttpPolicy,
    ) -> Option<ClientAddress> {
        if !self.is_trusted {
            return None;
        }
        let values = |known| {
            let lines = fields.iter().filter(move |field| field.known == known);
            lines.map(|field| field.value.of(head))
        };
        let (x_forwarded_for, forwarded) = (values(Known::XForwardedFor), values(Known::Forwarded));
        forwarded_client(x_forwarded_for, forwarded, &policy.trusted_proxies)
    }

    /// Whether the line of a field is not copied: the field is written anew, or dropped.
    ///
    /// A name with `_` in the place of `-` is dropped for trusted peers too: a proxy that does not treat it as the same
    /// field forwards what its client wrote.
    pub(super) fn replaces(&self, known: Known) -> bool {
        match known {
            Known::XForwardedFor | Known::Forwarded => self.treatment != Treatment::Pass,
            // Where servers are told of certificates, nobody else may tell them of one.
            Known::ProxyClaimTwin => {
                self.treatment != Treatment::Pass || self.certificate.is_some()
            }
            Known::ClientCertificate => {
                self.treatment == Treatment::Replace || self.certificate.is_some()
            }
            Known::XForwardedHost | Known::XForwardedProto | Known::ProxyClaim => {
                self.treatment == Treatment::Replace
            }
            _ => false,
        }
    }

    /// Appends the fields for a request to `host`.
    pub(super) fn write(&self, out: &mut Vec<u8>, head: &[u8], fields: &[Field], host: &[u8]) {
        if let Some(line) = &self.certificate {
            out.extend_from_slice(line);
        }
        let before = match self.treatment {
            Treatment::Pass => return,
            Treatment::Append => fields,
            Treatment::Replace => &[],
        };
        let has = |known| before.iter().any(|field| field.known == known);
        write_list(
            out,
            b"X-Forwarded-For: ",
            head,
            before,
            Known::XForwardedFor,
            &[&self.x_forwarded_for],
        );
        if !has(Known::XForwardedHost) {
            write_field(out, b"X-Forwarded-Host", host);
        }
        if !has(Known::XForwardedProto) {
            out.extend_from_slice(match self.scheme {
                Scheme::Http => b"X-Forwarded-Proto: http\r\n".as_slice(),
                Scheme::Https => b"X-Forwarded-Proto: https\r\n",
            });
        }
        let (before_host, after_host): (&[u8], &[u8]) = match (is_token(host), self.scheme) {
            (true, Scheme::Http) => (b";host=", b";proto=http\r\n"),
            (true, Scheme::Https) => (b";host=", b";proto=https\r\n"),
            (false, Scheme::Http) => (b";host=\"", b"\";proto=http\r\n"),
            (false, Scheme::Https) => (b";host=\"", b"\";proto=https\r\n"),
        };
        let element = [&self.forwarded_for, before_host, host, after_host];
        write_list(
            out,
            b"Forwarded: ",
            head,
            if is_well_formed(head, before) {
                before
            } else {
                &[]
            },
            Known::Forwarded,
            &element,
        );
    }
}

/// Whether an element can be appended to the lines of `Forwarded`: after an unclosed quote, the element would become a part of a value.
fn is_well_formed(head: &[u8], fields: &[Field]) -> bool {
    fields
        .iter()
        .filter(|field| field.known == Known::Forwarded)
        .all(|field| is_forwarded(field.value.of(head)))
}
