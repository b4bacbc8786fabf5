//! The cookies in a field (RFC 6265, sections 4.1.1 and 4.2.1).

/// The value of the first cookie of that name in a Cookie field; letter case matters.
pub fn cookie<'c>(cookies: &'c [u8], name: &str) -> Option<&'c [u8]> {
    all(cookies, name).next()
}

/// The values of all cookies of that name.
pub(super) fn all<'c>(cookies: &'c [u8], name: &str) -> impl Iterator<Item = &'c [u8]> {
    pairs(cookies).filter_map(move |pair| value_of(pair, name))
}

/// The Cookie field without the cookies of that name; the others stay as they came. `None`: there is no other.
pub fn without_cookie(cookies: &[u8], name: &str) -> Option<Vec<u8>> {
    let others: Vec<&[u8]> = pairs(cookies)
        .filter(|pair| value_of(pair, name).is_none() && !pair.is_empty())
        .collect();
    (!others.is_empty()).then(|| others.join(&b"; "[..]))
}

/// Whether a Set-Cookie field sets the cookie of that name.
pub(super) fn sets(field: &[u8], name: &str) -> bool {
    let pair = pairs(field).next();
    pair.is_some_and(|pair| value_of(pair, name).is_some())
}

fn pairs(field: &[u8]) -> impl Iterator<Item = &[u8]> {
    field.split(|&byte| byte == b';').map(<[u8]>::trim_ascii)
}

fn value_of<'c>(pair: &'c [u8], name: &str) -> Option<&'c [u8]> {
    pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let found = |cookies: &str| cookie(cookies.as_bytes(), "SID").map(<[u8]>::to_vec);
        for (cookies, value) in [
            ("SID=1", Some("1")),
            ("a=b; SID=1; SID=2", Some("1")),
            ("a=b;SID=x=y", Some("x=y")),
            ("SID=", Some("")),
            ("XSID=1; SIDX=2; sid=3; SID", None),
            ("", None),
        ] {
            assert_eq!(
                found(cookies).as_deref(),
                value.map(str::as_bytes),
                "{cookies}"
            );
        }
    }

    #[test]
    fn the_other_cookies_stay() {
        for (cookies, others) in [
            ("SRV=1", None),
            ("SRV=1; SRV=2;", None),
            ("a=b; SRV=1; c=\"d e\"", Some("a=b; c=\"d e\"")),
            ("a=b;SRV=1;c", Some("a=b; c")),
            ("srv=1; SRVX=2", Some("srv=1; SRVX=2")),
        ] {
            let left = without_cookie(cookies.as_bytes(), "SRV");
            assert_eq!(left.as_deref(), others.map(str::as_bytes), "{cookies}");
        }
    }

    #[test]
    fn a_response_sets_the_cookie_that_its_field_begins_with() {
        assert!(sets(b"SID=1; Path=/", "SID"));
        assert!(sets(b" SID=", "SID"));
        assert!(!sets(b"a=1; SID=2", "SID"));
        assert!(!sets(b"SID", "SID"));
    }
}
