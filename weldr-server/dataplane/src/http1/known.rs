//! The field names that a proxy handles.

/// The fields that a proxy handles. Each name is looked up once, when its line is parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// Any other field: forwarded unchanged.
    Other,
    Accept,
    Authorization,
    /// `Client-Cert` or `Client-Cert-Chain` (RFC 9440).
    ClientCertificate,
    Connection,
    ContentLength,
    Cookie,
    Date,
    Expect,
    Forwarded,
    /// `Content_Length` or `Transfer_Encoding`: some servers read it as the field that frames a message.
    FramingTwin,
    Host,
    Http2Settings,
    KeepAlive,
    MaxForwards,
    ProxyAuthorization,
    /// A field in which a proxy tells a server who the client is or what it asked for, besides those that have a variant
    /// of their own: any other name that begins with `X-Forwarded`, and the names in [`PROXY_CLAIMS`].
    ProxyClaim,
    /// The name of such a field with `_` in the place of a `-`, as in `X_Forwarded_For`. CGI and WSGI servers read both
    /// as one field.
    ProxyClaimTwin,
    ProxyConnection,
    Referer,
    Te,
    Traceparent,
    Tracestate,
    Trailer,
    TransferEncoding,
    Upgrade,
    UserAgent,
    Via,
    XForwardedFor,
    XForwardedHost,
    XForwardedProto,
    XRequestId,
}

/// The names that have a variant of their own, in lower case.
const NAMES: [(&[u8], Known); 29] = [
    (b"accept", Known::Accept),
    (b"authorization", Known::Authorization),
    (b"client-cert", Known::ClientCertificate),
    (b"client-cert-chain", Known::ClientCertificate),
    (b"connection", Known::Connection),
    (b"content-length", Known::ContentLength),
    (b"cookie", Known::Cookie),
    (b"date", Known::Date),
    (b"expect", Known::Expect),
    (b"forwarded", Known::Forwarded),
    (b"host", Known::Host),
    (b"http2-settings", Known::Http2Settings),
    (b"keep-alive", Known::KeepAlive),
    (b"max-forwards", Known::MaxForwards),
    (b"proxy-authorization", Known::ProxyAuthorization),
    (b"proxy-connection", Known::ProxyConnection),
    (b"referer", Known::Referer),
    (b"te", Known::Te),
    (b"traceparent", Known::Traceparent),
    (b"tracestate", Known::Tracestate),
    (b"trailer", Known::Trailer),
    (b"transfer-encoding", Known::TransferEncoding),
    (b"upgrade", Known::Upgrade),
    (b"user-agent", Known::UserAgent),
    (b"via", Known::Via),
    (b"x-forwarded-for", Known::XForwardedFor),
    (b"x-forwarded-host", Known::XForwardedHost),
    (b"x-forwarded-proto", Known::XForwardedProto),
    (b"x-request-id", Known::XRequestId),
];

/// The names of [`Known::ProxyClaim`] that do not begin with `X-Forwarded`, in lower case: the client's address, its
/// certificate, or the scheme, host and target that it asked for. The list is that of `docs/forwarding.md`.
const PROXY_CLAIMS: [&[u8]; 24] = [
    b"cf-connecting-ip",
    b"cf-connecting-ipv6",
    b"client-ip",
    b"fastly-client-ip",
    b"front-end-https",
    b"proxy-client-ip",
    b"true-client-ip",
    b"wl-proxy-client-ip",
    b"x-client-ip",
    b"x-cluster-client-ip",
    b"x-envoy-external-address",
    b"x-host",
    b"x-original-forwarded-for",
    b"x-original-host",
    b"x-original-proto",
    b"x-original-url",
    b"x-proxyuser-ip",
    b"x-real-ip",
    b"x-real-port",
    b"x-remote-addr",
    b"x-remote-ip",
    b"x-rewrite-url",
    b"x-scheme",
    b"x-url-scheme",
];

/// What the other names of [`Known::ProxyClaim`] begin with, in lower case.
const PROXY_CLAIM_PREFIX: &[u8] = b"x-forwarded";

const LONGEST_NAME: usize = 24;

/// A name of at most [`LONGEST_NAME`] bytes as words, which are compared faster than letters: its first eight bytes, its
/// last eight, and for long names those between them. Words overlap, and with the length they tell the name.
///
/// The bytes are folded: letters are in lower case. A token has no two bytes that are folded to one, but for letters,
/// and `^` and `~`, which are in none of the names. `_` becomes DEL, which no other byte of a token becomes.
#[derive(Debug, Clone, Copy)]
struct NameKey {
    words: [u64; 3],
    length: usize,
}

/// A byte multiplied by this is that byte eight times.
const EACH: u64 = 0x0101_0101_0101_0101;

/// The bit that makes a capital letter a small one, in each byte.
const LOWER: u64 = 0x20 * EACH;

impl NameKey {
    const fn of(name: &[u8]) -> Self {
        let (mut first, mut last, mut middle) = (0, 0, 0);
        if let (Some(begin), Some(end)) = (name.first_chunk::<8>(), name.last_chunk::<8>()) {
            first = u64::from_le_bytes(*begin);
            last = u64::from_le_bytes(*end);
            if name.len() > 16
                && let Some((_, rest)) = name.split_at_checked(8)
                && let Some(between) = rest.first_chunk()
            {
                middle = u64::from_le_bytes(*between);
            }
        } else if let (Some(begin), Some(end)) = (name.first_chunk::<4>(), name.last_chunk::<4>()) {
            first = u32::from_le_bytes(*begin) as u64;
            last = u32::from_le_bytes(*end) as u64;
        } else {
            let mut rest = name;
            while let [byte, others @ ..] = rest {
                first = first << 8 | *byte as u64;
                rest = others;
            }
        }
        Self {
            words: [first | LOWER, last | LOWER, middle | LOWER],
            length: name.len(),
        }
    }

    /// Whether there is an underscore in the name, a token.
    const fn has_underscore(self) -> bool {
        let [first, last, middle] = self.words;
        // Adding one to a byte of ASCII sets its high bit when it is DEL, and never carries into the next byte.
        ((first + EACH) | (last + EACH) | (middle + EACH)) & (0x80 * EACH) != 0
    }

    const fn is(self, other: Self) -> bool {
        self.words[0] == other.words[0]
            && self.words[1] == other.words[1]
            && self.words[2] == other.words[2]
            && self.length == other.length
    }

    /// Where the name is in [`TABLE`], if it is there and `spread` is [`SPREAD`].
    #[expect(clippy::cast_possible_truncation, reason = "it is below PLACES")]
    const fn place(self, spread: u64) -> usize {
        let [first, last, _] = self.words;
        let mixed = (first ^ last.rotate_left(29)).wrapping_mul(spread);
        (mixed >> (u64::BITS - PLACES.ilog2())) as usize
    }
}

/// How many names there are.
const COUNT: usize = NAMES.len() + PROXY_CLAIMS.len();

/// How many places [`TABLE`] has: a power of two.
const PLACES: usize = 256;

/// A factor that gives each name a place of its own. One number in a hundred does.
const SPREAD: u64 = spread();

/// All names, each at its place: a name is compared with one or none.
static TABLE: [Option<(NameKey, Known)>; PLACES] = table();

/// The name number `at`. Does not compile when a name is too long.
const fn name(at: usize) -> (NameKey, Known) {
    let (name, known) = if at < NAMES.len() {
        NAMES[at]
    } else {
        (PROXY_CLAIMS[at - NAMES.len()], Known::ProxyClaim)
    };
    assert!(name.len() <= LONGEST_NAME, "a name is too long");
    (NameKey::of(name), known)
}

/// Tries one number after another.
const fn spread() -> u64 {
    let mut spread = 1_u64;
    loop {
        // Odd numbers in no order: the steps of a linear congruential generator.
        spread = spread
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814e);
        let mut is_taken = [false; PLACES];
        let mut at = 0;
        while at < COUNT {
            let place = name(at).0.place(spread);
            if is_taken[place] {
                break;
            }
            is_taken[place] = true;
            at += 1;
        }
        if at == COUNT {
            return spread;
        }
    }
}

const fn table() -> [Option<(NameKey, Known)>; PLACES] {
    let mut table = [None; PLACES];
    let mut at = 0;
    while at < COUNT {
        let (key, known) = name(at);
        table[key.place(SPREAD)] = Some((key, known));
        at += 1;
    }
    table
}

impl Known {
    /// The field that has this name, a token.
    pub(crate) fn of(name: &[u8]) -> Self {
        if name.len() > LONGEST_NAME {
            return Self::of_long(name);
        }
        let key = NameKey::of(name);
        if key.has_underscore() {
            return Self::of_twin(name);
        }
        match &TABLE[key.place(SPREAD)] {
            Some((found, known)) if found.is(key) => *known,
            _ if is_proxy_claim(name) => Self::ProxyClaim,
            _ => Self::Other,
        }
    }

    /// [`Self::of`] a name with underscores: what some server might take it for.
    #[cold]
    fn of_twin(name: &[u8]) -> Self {
        let hyphens: Vec<u8> = name
            .iter()
            .map(|&byte| if byte == b'_' { b'-' } else { byte })
            .collect();
        let twin = Self::of(&hyphens);
        if matches!(twin, Self::ContentLength | Self::TransferEncoding) {
            Self::FramingTwin
        } else if twin.is_of_proxies() {
            Self::ProxyClaimTwin
        } else {
            Self::Other
        }
    }

    /// [`Self::of`] a name that is longer than all that are listed.
    #[cold]
    fn of_long(name: &[u8]) -> Self {
        if name.contains(&b'_') {
            Self::of_twin(name)
        } else if is_proxy_claim(name) {
            Self::ProxyClaim
        } else {
            Self::Other
        }
    }

    /// Whether a proxy tells a server in it who the client is or what it asked for.
    pub(crate) fn is_of_proxies(self) -> bool {
        matches!(
            self,
            Self::ClientCertificate
                | Self::Forwarded
                | Self::ProxyClaim
                | Self::ProxyClaimTwin
                | Self::XForwardedFor
                | Self::XForwardedHost
                | Self::XForwardedProto
        )
    }
}

/// Whether a name begins with [`PROXY_CLAIM_PREFIX`].
fn is_proxy_claim(name: &[u8]) -> bool {
    let begin = name.get(..PROXY_CLAIM_PREFIX.len());
    begin.is_some_and(|begin| begin.eq_ignore_ascii_case(PROXY_CLAIM_PREFIX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_found_by_its_length() {
        let claims = PROXY_CLAIMS.map(|name| (name, Known::ProxyClaim));
        for (name, known) in NAMES.into_iter().chain(claims) {
            assert_eq!(Known::of(name), known);
            assert_eq!(Known::of(&name.to_ascii_uppercase()), known);
        }
        for other in [
            &b""[..],
            b"x-other",
            b"hos",
            b"tf",
            b"hosu",
            b"content.length",
            b"content^length",
            b"x-real-ip-of-mine",
            b"my-x-forwarded-for",
            b"x-forwarde",
            b"upgrade-insecure-requests",
        ] {
            assert_eq!(Known::of(other), Known::Other, "{other:?}");
        }
        assert_eq!(Known::of(&[b'a'; 200]), Known::Other);
    }

    #[test]
    fn what_begins_like_the_fields_of_proxies_is_one() {
        for name in [
            &b"x-forwarded"[..],
            b"X-Forwarded-Port",
            b"x-forwardedfor",
            b"X-Forwarded-Client-Certificate",
            b"x-forwarded-0123456789012345678901234567890",
        ] {
            assert_eq!(Known::of(name), Known::ProxyClaim, "{name:?}");
        }
    }

    #[test]
    fn underscores_are_read_as_hyphens() {
        for (name, known) in [
            (&b"content_length"[..], Known::FramingTwin),
            (b"Transfer_Encoding", Known::FramingTwin),
            (b"X_Forwarded_For", Known::ProxyClaimTwin),
            (b"x-forwarded_proto", Known::ProxyClaimTwin),
            (b"X_REAL-IP", Known::ProxyClaimTwin),
            (b"Client_Cert", Known::ProxyClaimTwin),
            (b"X_Forwarded-Something-That-Is-Long", Known::ProxyClaimTwin),
            (b"X-Forwarded-Something-That-Is_Long", Known::ProxyClaimTwin),
            (b"user_agent", Known::Other),
            (b"_", Known::Other),
            (b"x_other", Known::Other),
            (b"a-name-that-is-longer-than-all_others", Known::Other),
            (b"a_name-that-is-longer-than-all_others", Known::Other),
        ] {
            assert_eq!(Known::of(name), known, "{name:?}");
        }
    }

    /// The fold is exact for tokens, which is all that a name may be.
    #[test]
    fn no_other_token_is_taken_for_a_name() {
        let is_token = |byte: &u8| super::super::is_token(&[*byte]);
        for (name, known) in NAMES {
            for at in 0..name.len() {
                for byte in (0..=u8::MAX).filter(is_token) {
                    let mut other = name.to_vec();
                    other[at] = byte;
                    // Two names have this variant.
                    if known == Known::ClientCertificate {
                        continue;
                    }
                    let is_same = other.eq_ignore_ascii_case(name);
                    assert_eq!(Known::of(&other) == known, is_same, "{other:?}");
                }
            }
        }
    }
}
