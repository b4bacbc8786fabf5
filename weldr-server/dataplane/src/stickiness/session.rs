//! What the cookies of a request mean, and which cookie its response sets.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::model::{PoolName, Stickiness};

use super::{
    SessionKeys,
    cookies::{all, cookie, sets},
    keys::Named,
};

/// A cookie is renewed when one part in so many of its time is over.
const PARTS: u64 = 4;

/// A pool whose requests stick.
#[derive(Debug, PartialEq, Eq)]
pub struct StickyPool {
    pool: PoolName,
    cookie: String,
    application_cookie: Option<String>,
    duration: Duration,
}

/// The parts of a request of which sessions know.
#[derive(Debug, Clone, Copy)]
pub struct SessionRequest {
    /// When it came.
    pub at: SystemTime,
    /// Whether it came over TLS.
    pub is_secure: bool,
}

/// A request to a sticky pool.
#[derive(Debug)]
pub struct Session {
    pool: Arc<StickyPool>,
    keys: Arc<SessionKeys>,
    request: SessionRequest,
    /// What its cookie says, if that counts.
    named: Option<Named>,
    has_cookie: bool,
    has_application_cookie: bool,
}

impl StickyPool {
    /// The pool of that name; `None` if its requests do not stick.
    pub fn new(pool: &PoolName, stickiness: &Stickiness) -> Option<Self> {
        Some(Self {
            pool: pool.clone(),
            cookie: stickiness.cookie.clone()?,
            application_cookie: stickiness.application_cookie.clone(),
            duration: stickiness.duration,
        })
    }

    /// The session of a request with these Cookie fields.
    pub fn session<'c>(
        self: &Arc<Self>,
        keys: &Arc<SessionKeys>,
        fields: impl Iterator<Item = &'c [u8]>,
        request: SessionRequest,
    ) -> Session {
        let mut session = Session {
            pool: Arc::clone(self),
            keys: Arc::clone(keys),
            request,
            named: None,
            has_cookie: false,
            has_application_cookie: false,
        };
        for field in fields {
            for value in all(field, &self.cookie) {
                session.has_cookie = true;
                let named = || keys.open(&self.pool, value);
                session.named = session.named.or_else(named);
            }
            let application = self.application_cookie.as_deref();
            session.has_application_cookie |=
                application.is_some_and(|name| cookie(field, name).is_some());
        }
        let counts = self.application_cookie.is_none() || session.has_application_cookie;
        let age = session.named.map(|named| session.age(named));
        if !counts || age.is_some_and(|age| age > self.duration.as_secs()) {
            session.named = None;
        }
        session
    }
}

impl Session {
    /// The server that the session has; `None`: it begins.
    pub fn server(&self) -> Option<SocketAddr> {
        self.named.map(|named| named.server)
    }

    /// The name of the cookie, if the request has one, which is not for the server.
    pub fn cookie_to_remove(&self) -> Option<&str> {
        self.has_cookie.then_some(self.pool.cookie.as_str())
    }

    /// The Set-Cookie field of a response of `server`, whose own fields of that name are `fields`; `None`: the client has the
    /// cookie already, or is in no session.
    pub fn set_cookie<'c>(
        &self,
        server: SocketAddr,
        mut fields: impl Iterator<Item = &'c [u8]>,
    ) -> Option<String> {
        let is_in_session = match self.pool.application_cookie.as_deref() {
            None => true,
            Some(name) => self.has_application_cookie || fields.any(|field| sets(field, name)),
        };
        let is_up_to_date =
            |named: Named| named.server == server && self.age(named) < self.renewed_after();
        if !is_in_session || self.named.is_some_and(is_up_to_date) {
            return None;
        }
        let at = seconds(self.request.at);
        let value = self.keys.seal(&self.pool.pool, Named { server, at })?;
        let name = &self.pool.cookie;
        let mut field = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax");
        // One that follows the application's cookie ends with the browser's session: the other cookie ends the session.
        if self.pool.application_cookie.is_none() {
            field.push_str("; Max-Age=");
            field.push_str(&self.pool.duration.as_secs().to_string());
        }
        if self.request.is_secure {
            field.push_str("; Secure");
        }
        Some(field)
    }

    /// How old a cookie is, in seconds. The clock of the node that made it may be ahead of ours.
    fn age(&self, named: Named) -> u64 {
        seconds(self.request.at).saturating_sub(named.at)
    }

    fn renewed_after(&self) -> u64 {
        self.pool.duration.as_secs().div_ceil(PARTS)
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EpochSecret;

    const DAY: u64 = 24 * 60 * 60;

    struct Bench {
        pool: Arc<StickyPool>,
        keys: Arc<SessionKeys>,
    }

    impl Bench {
        fn new(application: Option<&str>) -> Self {
            let stickiness = Stickiness {
                cookie: Some("SRV".to_owned()),
                application_cookie: application.map(str::to_owned),
                ..Stickiness::default()
            };
            let name: PoolName = "web".parse().unwrap();
            let secret = EpochSecret {
                number: 1,
                bytes: [7; 32],
            };
            Self {
                pool: Arc::new(StickyPool::new(&name, &stickiness).unwrap()),
                keys: Arc::new(SessionKeys::new(vec![secret])),
            }
        }

        fn session(&self, cookies: &[&str], at: u64) -> Session {
            let request = SessionRequest {
                at: UNIX_EPOCH + Duration::from_secs(at),
                is_secure: false,
            };
            let fields = cookies.iter().map(|field| field.as_bytes());
            self.pool.session(&self.keys, fields, request)
        }
    }

    fn server(number: u8) -> SocketAddr {
        ([10, 0, 0, number], 80).into()
    }

    /// The cookie as a client sends it back.
    fn sent_back(set: Option<String>) -> String {
        set.unwrap().split(';').next().unwrap().to_owned()
    }

    fn set(session: &Session, number: u8, fields: &[&str]) -> Option<String> {
        session.set_cookie(server(number), fields.iter().map(|field| field.as_bytes()))
    }

    #[test]
    fn a_session_begins_stays_and_moves() {
        let bench = Bench::new(None);
        let first = bench.session(&["a=b"], 1000);
        assert_eq!((first.server(), first.cookie_to_remove()), (None, None));
        let cookie = sent_back(set(&first, 1, &[]));
        let next = bench.session(&["a=b", &format!("c=d; {cookie}")], 1001);
        assert_eq!(next.server(), Some(server(1)));
        assert_eq!(next.cookie_to_remove(), Some("SRV"));
        assert_eq!(set(&next, 1, &[]), None, "it has that cookie");
        let moved = sent_back(set(&next, 2, &[]));
        assert_eq!(bench.session(&[&moved], 1002).server(), Some(server(2)));
    }

    #[test]
    fn a_cookie_is_renewed_when_a_quarter_of_its_time_is_over_and_ends_with_it() {
        let bench = Bench::new(None);
        let cookie = sent_back(set(&bench.session(&[], DAY), 1, &[]));
        for (later, renewed) in [
            (0, false),
            (DAY / 4 - 1, false),
            (DAY / 4, true),
            (DAY, true),
        ] {
            let session = bench.session(&[&cookie], DAY + later);
            assert_eq!(session.server(), Some(server(1)), "after {later}");
            assert_eq!(set(&session, 1, &[]).is_some(), renewed, "after {later}");
        }
        let over = bench.session(&[&cookie], 2 * DAY + 1);
        assert_eq!(over.server(), None);
        assert_eq!(over.cookie_to_remove(), Some("SRV"));
        // The clock of the node that made it is ahead.
        let ahead = bench.session(&[&cookie], 0);
        assert_eq!(ahead.server(), Some(server(1)));
    }

    #[test]
    fn a_forged_cookie_is_ignored_and_replaced_and_a_second_one_counts() {
        let bench = Bench::new(None);
        let cookie = sent_back(set(&bench.session(&[], 1000), 1, &[]));
        let forged = bench.session(&["SRV=AAAA"], 1000);
        assert_eq!(forged.server(), None);
        assert_eq!(forged.cookie_to_remove(), Some("SRV"));
        assert!(set(&forged, 1, &[]).is_some());
        let both = bench.session(&[&format!("SRV=AAAA; {cookie}")], 1000);
        assert_eq!(both.server(), Some(server(1)));
    }

    #[test]
    fn a_cookie_is_for_the_whole_site_and_not_for_scripts() {
        let bench = Bench::new(None);
        let plain = set(&bench.session(&[], 1000), 1, &[]).unwrap();
        let attributes = "; Path=/; HttpOnly; SameSite=Lax; Max-Age=86400";
        assert!(plain.ends_with(attributes), "{plain}");
        let request = SessionRequest {
            at: UNIX_EPOCH,
            is_secure: true,
        };
        let secure = bench.pool.session(&bench.keys, [].into_iter(), request);
        assert!(set(&secure, 1, &[]).unwrap().ends_with("; Secure"));
    }

    #[test]
    fn a_session_of_the_application_begins_and_ends_with_its_cookie() {
        let bench = Bench::new(Some("SID"));
        let without = bench.session(&[], 1000);
        assert_eq!(set(&without, 1, &["a=b; Path=/"]), None);
        let begun = set(&without, 1, &["a=b", "SID=1; HttpOnly"]).unwrap();
        assert!(!begun.contains("Max-Age"), "{begun}");
        let cookie = sent_back(Some(begun));
        let within = bench.session(&[&cookie, "SID=1"], 1001);
        assert_eq!(within.server(), Some(server(1)));
        assert_eq!(set(&within, 1, &[]), None);
        assert!(set(&within, 2, &[]).is_some(), "it moved");
        let ended = bench.session(&[&cookie], 1002);
        assert_eq!(ended.server(), None);
        assert_eq!(ended.cookie_to_remove(), Some("SRV"));
        let before = bench.session(&["SID=1"], 1003);
        assert!(
            set(&before, 1, &[]).is_some(),
            "it began before the pool stuck"
        );
    }
}
