//! Whether the requests of a client keep going to the same server of a pool.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Invalid, conditions::is_token, in_range};

/// How the requests of a session are recognised, which keep going to the server that got the first of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stickiness {
    /// The name of the cookie in which Weldr tells a client which server it has; `None`: requests do not stick.
    pub cookie: Option<String>,
    /// The cookie of the application that makes a session: only requests with it stick. `None`: each client has a session.
    pub application_cookie: Option<String>,
    /// How long a session lasts after its last request, less at most a quarter: a cookie is renewed when a quarter of its time is over.
    pub duration: Duration,
}

impl Default for Stickiness {
    fn default() -> Self {
        Self {
            cookie: None,
            application_cookie: None,
            duration: Duration::from_hours(24),
        }
    }
}

/// Changes of a stickiness; `None` leaves a setting as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StickinessPatch {
    /// `Some(None)` turns it off, and removes the application's cookie unless that is set as well.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "super::present"
    )]
    pub cookie: Option<Option<String>>,
    /// `Some(None)`: each client has a session.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "super::present"
    )]
    pub application_cookie: Option<Option<String>>,
    /// How long a session lasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<Duration>,
}

/// The changes that make any stickiness this one.
impl From<Stickiness> for StickinessPatch {
    fn from(settings: Stickiness) -> Self {
        Self {
            cookie: Some(settings.cookie),
            application_cookie: Some(settings.application_cookie),
            duration: Some(settings.duration),
        }
    }
}

impl StickinessPatch {
    pub(super) fn applied_to(&self, settings: &Stickiness) -> Stickiness {
        let before = match self.cookie {
            Some(None) => &None,
            Some(Some(_)) | None => &settings.application_cookie,
        };
        let or = |change: &Option<Option<String>>, before: &Option<String>| {
            change.clone().unwrap_or_else(|| before.clone())
        };
        Stickiness {
            cookie: or(&self.cookie, &settings.cookie),
            application_cookie: or(&self.application_cookie, before),
            duration: self.duration.unwrap_or(settings.duration),
        }
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Stickiness {
    /// The longest duration, which is also how long a secret for cookies is kept after its epoch.
    pub const LONGEST: Duration = Duration::from_hours(24 * 7);

    pub(super) fn validate(&self) -> Result<(), Invalid> {
        for (field, name) in [
            ("cookie", &self.cookie),
            ("application_cookie", &self.application_cookie),
        ] {
            name.as_deref()
                .map_or(Ok(()), |name| is_name(field, name))?;
        }
        let range = Duration::from_secs(1)..=Self::LONGEST;
        in_range("duration", self.duration, range).map(drop)
    }

    /// Accepts cookies that fit together.
    pub(super) fn validate_cookies(&self) -> Result<(), Invalid> {
        let Some(name) = &self.application_cookie else {
            return Ok(());
        };
        let accepted = match &self.cookie {
            None => "nothing without a `cookie`, which follows it",
            Some(cookie) if cookie == name => "a name other than that of `cookie`",
            Some(_) => return Ok(()),
        };
        Err(Invalid::new("application_cookie", name, accepted))
    }
}

fn is_name(field: &str, name: &str) -> Result<(), Invalid> {
    const LONGEST: usize = 128;
    if name.len() <= LONGEST && is_token(name) {
        return Ok(());
    }
    let accepted = "the name of a cookie: at most 128 letters, digits or any of !#$%&'*+-.^_`|~";
    Err(Invalid::new(field, name, accepted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sticky(cookie: Option<&str>, application: Option<&str>) -> Stickiness {
        Stickiness {
            cookie: cookie.map(str::to_owned),
            application_cookie: application.map(str::to_owned),
            ..Stickiness::default()
        }
    }

    #[test]
    fn each_setting_has_a_range() {
        let with = |duration| Stickiness {
            duration,
            ..sticky(Some("SRV"), Some("SID"))
        };
        for accepted in [
            sticky(None, None),
            sticky(Some("SRV"), None),
            with(Duration::from_secs(1)),
            with(Stickiness::LONGEST),
        ] {
            assert_eq!(accepted.validate(), Ok(()));
        }
        let long = "a".repeat(129);
        for (refused, field) in [
            (sticky(Some(""), None), "cookie"),
            (sticky(Some("a b"), None), "cookie"),
            (sticky(Some("a=b"), None), "cookie"),
            (sticky(Some("a;b"), None), "cookie"),
            (sticky(Some("a\r\nb"), None), "cookie"),
            (sticky(Some(&long), None), "cookie"),
            (sticky(Some("SRV"), Some("a,b")), "application_cookie"),
            (with(Duration::from_millis(999)), "duration"),
            (
                with(Stickiness::LONGEST + Duration::from_secs(1)),
                "duration",
            ),
        ] {
            assert_eq!(refused.validate().unwrap_err().field, field, "{refused:?}");
        }
    }

    #[test]
    fn the_cookie_of_the_application_is_another_beside_that_of_weldr() {
        for (settings, accepted) in [
            (sticky(Some("SRV"), Some("SID")), true),
            (sticky(Some("SRV"), Some("SRV")), false),
            (sticky(None, Some("SID")), false),
        ] {
            assert_eq!(
                settings.validate_cookies().is_ok(),
                accepted,
                "{settings:?}"
            );
        }
    }

    #[test]
    fn turning_it_off_leaves_no_cookie_of_the_application() {
        let on = sticky(Some("SRV"), Some("SID"));
        let off = StickinessPatch {
            cookie: Some(None),
            ..StickinessPatch::default()
        };
        assert_eq!(off.applied_to(&on), sticky(None, None));
        let renamed = StickinessPatch {
            cookie: Some(Some("B".to_owned())),
            ..StickinessPatch::default()
        };
        assert_eq!(renamed.applied_to(&on), sticky(Some("B"), Some("SID")));
        assert_eq!(StickinessPatch::default().applied_to(&on), on);
        assert_eq!(
            StickinessPatch::from(on.clone()).applied_to(&off.applied_to(&on)),
            on
        );
    }
}
