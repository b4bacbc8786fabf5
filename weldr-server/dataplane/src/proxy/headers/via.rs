//! The `Via` field, and detecting loops with it: RFC 9110, section 7.6.3. Pure.

use super::{lines::write_list, refusal::Refusal};
use crate::{
    http1::{Field, Known, Version, elements},
    policy::Pseudonym,
};

/// The maximum number of Weldr nodes in the Via fields of a request. It also ends a loop through a proxy that changes or
/// removes pseudonyms.
const MOST_NODES: usize = 10;

/// Appends the Via field of a message that was received in this version, with `name` as the last recipient.
pub(super) fn write_via(
    out: &mut Vec<u8>,
    head: &[u8],
    fields: &[Field],
    received: Version,
    name: &[u8],
) {
    let protocol: &[u8] = match received {
        Version::Http10 => b"1.0 ",
        Version::Http11 => b"1.1 ",
    };
    write_list(
        out,
        b"Via: ",
        head,
        fields,
        Known::Via,
        &[protocol, name, b"\r\n"],
    );
}

/// Refuses a request that has been through this node, whose pseudonym is `own`, or through too many nodes.
pub(super) fn refuse_loop(head: &[u8], fields: &[Field], own: &Pseudonym) -> Result<(), Refusal> {
    let mut nodes = 0;
    for field in fields.iter().filter(|field| field.known == Known::Via) {
        for name in elements(field.value.of(head)).filter_map(received_by) {
            if name.eq_ignore_ascii_case(own.as_str().as_bytes()) {
                return Err(Refusal::Loop);
            }
            nodes += usize::from(is_node(name));
        }
    }
    if nodes < MOST_NODES {
        Ok(())
    } else {
        Err(Refusal::TooManyNodes { limit: MOST_NODES })
    }
}

/// The host or pseudonym in `received-protocol RWS received-by [ RWS comment ]`. A comma in a comment makes a piece of
/// the comment an element, which can at most hide a name or add one that the comment contains.
fn received_by(element: &[u8]) -> Option<&[u8]> {
    let mut words = element
        .split(|byte| matches!(byte, b' ' | b'\t'))
        .filter(|word| !word.is_empty());
    words.nth(1)
}

/// Whether `name` is the pseudonym of any Weldr node.
fn is_node(name: &[u8]) -> bool {
    let product = Pseudonym::PRODUCT.as_bytes();
    let Some((begin, rest)) = name.split_at_checked(product.len()) else {
        return false;
    };
    begin.eq_ignore_ascii_case(product) && matches!(rest.first(), None | Some(b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{HeadLimits, parse_fields};

    fn judged(lines: &str) -> Result<(), Refusal> {
        let head = format!("{lines}\r\n");
        let limits = HeadLimits {
            bytes: 4096,
            fields: 30,
        };
        let mut fields = Vec::new();
        parse_fields(head.as_bytes(), 0, limits, &mut fields).unwrap();
        refuse_loop(head.as_bytes(), &fields, &Pseudonym::new(0x1a2b_3c4d))
    }

    #[test]
    fn a_request_that_was_at_this_node_is_refused() {
        for lines in [
            "Via: 1.1 weldr-1a2b3c4d\r\n",
            "Via: 1.0 a, HTTP/1.1 \t WELDR-1A2B3C4D (a, b), 1.1 c\r\n",
            "Via: 1.1 a\r\nVia: 2 weldr-1a2b3c4d\r\n",
        ] {
            assert_eq!(judged(lines), Err(Refusal::Loop), "{lines}");
        }
        for lines in [
            "",
            "Via: \r\n",
            "Via: 1.1 weldr\r\n",
            "Via: 1.1 weldr-1a2b3c4e, 1.1 weldr-1a2b3c4\r\n",
            "Via: weldr-1a2b3c4d\r\n",
            "X-Via: 1.1 weldr-1a2b3c4d\r\n",
        ] {
            assert_eq!(judged(lines), Ok(()), "{lines}");
        }
    }

    #[test]
    fn the_number_of_nodes_is_limited() {
        let through = |nodes: usize| {
            let line = |node| format!("Via: 1.1 weldr-{node:08x}, 1.1 varnish, 1.1 weldrs\r\n");
            (0..nodes).map(line).collect::<String>()
        };
        assert_eq!(judged(&through(9)), Ok(()));
        assert_eq!(
            judged(&through(10)),
            Err(Refusal::TooManyNodes { limit: 10 })
        );
        assert_eq!(
            judged(&"Via: 1.1 Weldr\r\n".repeat(10)),
            Err(Refusal::TooManyNodes { limit: 10 })
        );
    }
}
