//! Copies the lines of a head, without some of them.

use crate::http1::{Field, Known, Version, elements};

/// Appends to `out` the lines of `fields` for which `kept` is true. Adjacent lines are copied at once.
pub(super) fn copy_lines(
    out: &mut Vec<u8>,
    head: &[u8],
    fields: &[Field],
    mut kept: impl FnMut(&Field) -> bool,
) {
    let mut run = 0..0;
    for field in fields {
        if !kept(field) {
            continue;
        }
        let line = field.line.range();
        if line.start != run.end {
            out.extend_from_slice(&head[run]);
            run = line.start..line.start;
        }
        run.end = line.end;
    }
    out.extend_from_slice(&head[run]);
}

/// Appends one field.
pub(super) fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends a list field: the elements that its lines in `fields` have, and `last`.
///
/// `begin` is the name with the colon and the space, and `last` includes the end of the line: appending few parts is faster
/// than appending many.
pub(super) fn write_list(
    out: &mut Vec<u8>,
    begin: &[u8],
    head: &[u8],
    fields: &[Field],
    known: Known,
    last: &[&[u8]],
) {
    out.extend_from_slice(begin);
    for field in fields.iter().filter(|field| field.known == known) {
        let value = field.value.of(head);
        if !value.is_empty() {
            out.extend_from_slice(value);
            out.extend_from_slice(b", ");
        }
    }
    for part in last {
        out.extend_from_slice(part);
    }
}

/// The options of the Connection fields of a message.
#[derive(Debug, Default)]
pub(in crate::proxy) struct ConnectionOptions<'h> {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
    /// The fields that Connection names, which are not forwarded; most messages name none.
    named: Vec<&'h [u8]>,
}

impl<'h> ConnectionOptions<'h> {
    pub(in crate::proxy) fn of(head: &'h [u8], fields: &[Field]) -> Self {
        let mut options = Self::default();
        let values = fields
            .iter()
            .filter(|field| field.known == Known::Connection)
            .map(|field| field.value.of(head));
        for option in values.flat_map(elements) {
            if option.eq_ignore_ascii_case(b"close") {
                options.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                options.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                options.upgrade = true;
            } else {
                options.named.push(option);
            }
        }
        options
    }

    /// Whether the connection closes after a message of this version with these options; HTTP/1.0 needs `keep-alive` to
    /// persist.
    pub(in crate::proxy) fn end_connection(&self, version: Version) -> bool {
        self.close || (version == Version::Http10 && !self.keep_alive)
    }

    /// Whether `field` is about this connection only. Framing and Host never are, whatever Connection names, because
    /// they define the message. Nor are the fields in which a proxy names the client: a client could remove them by naming
    /// them in Connection (RFC 9110, section 7.6.1).
    pub(super) fn ends_here(&self, head: &[u8], field: &Field) -> bool {
        match field.known {
            Known::Connection
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::Http2Settings
            | Known::Te
            | Known::TransferEncoding
            | Known::Upgrade
            | Known::FramingTwin => true,
            Known::ContentLength | Known::Host => false,
            known if known.is_of_proxies() => false,
            _ if self.named.is_empty() => false,
            _ => {
                let name = field.name.of(head);
                self.named
                    .iter()
                    .any(|named| named.eq_ignore_ascii_case(name))
            }
        }
    }
}
