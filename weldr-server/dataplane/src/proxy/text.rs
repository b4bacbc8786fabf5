//! Numbers and addresses as text. For each request, so without the machinery of `write!`, which would cost more than all
//! else of a line of the access log.

use std::{
    io::Write as _,
    net::{IpAddr, SocketAddr},
};

/// Appends a number.
pub(super) fn write_decimal(out: &mut Vec<u8>, number: u64) {
    let digit = |number: u16| b'0' + (number % 10) as u8;
    // Most numbers of a request are that short, and so is what it takes to write them.
    match u16::try_from(number) {
        Ok(number @ 0..10) => out.push(digit(number)),
        Ok(number @ 10..100) => out.extend_from_slice(&[digit(number / 10), digit(number)]),
        Ok(number @ 100..1000) => {
            out.extend_from_slice(&[digit(number / 100), digit(number / 10), digit(number)]);
        }
        _ => out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
    }
}

/// Appends an address and its port, as its `Display` does.
pub(super) fn write_address(out: &mut Vec<u8>, address: SocketAddr) {
    if address.is_ipv4() {
        write_ip(out, address.ip());
        out.push(b':');
        write_decimal(out, address.port().into());
    } else {
        // Writing to a vector cannot fail.
        let _ = write!(out, "{address}");
    }
}

/// Appends an address, as its `Display` does.
pub(super) fn write_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            let [first, rest @ ..] = ip.octets();
            write_decimal(out, first.into());
            for octet in rest {
                out.push(b'.');
                write_decimal(out, octet.into());
            }
        }
        IpAddr::V6(ip) => {
            let _ = write!(out, "{ip}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers() {
        for number in [0, 7, 10, 99, 100, 999, 1000, 65_536, 1_234_567, u64::MAX] {
            assert_eq!(text(|out| write_decimal(out, number)), number.to_string());
        }
    }

    #[test]
    fn addresses() {
        for address in [
            "127.0.0.1:80",
            "255.10.0.1:65535",
            "[::1]:0",
            "[2001:db8::7]:443",
        ] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(text(|out| write_address(out, address)), address.to_string());
            assert_eq!(
                text(|out| write_ip(out, address.ip())),
                address.ip().to_string()
            );
        }
    }
}
