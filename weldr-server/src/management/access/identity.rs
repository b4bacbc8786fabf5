//! By which credential a caller is known.

use std::{fs, sync::Arc};

use http::{HeaderMap, header};
use rustix::process::geteuid;

use crate::{
    cluster,
    model::{Credential, Principal, PrincipalName, Principals, Role, Timestamp},
};

use super::{
    Token,
    caller::{Caller, Identity, Peer, Permissions, UnixPeer},
};

/// The scheme of the `Authorization` field.
const SCHEME: &str = "bearer";

/// Finds out who calls.
#[derive(Debug, Clone)]
pub(in crate::management) struct Authenticator {
    cluster: cluster::Handle,
    /// Whether callers by TCP need a credential.
    authentication: bool,
    /// The name of the user that this process runs as.
    own_user: Arc<str>,
}

/// Why a caller is not known. The texts are for the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::management) enum NoCredential {
    /// There is none.
    #[error(
        "a token is required: create one with `weldrctl token create` on the machine of a node, and give it in \
         WELDR_TOKEN, with --token-file, or in the field `Authorization: Bearer TOKEN`"
    )]
    Missing,
    /// The field is not one token.
    #[error("the Authorization field is not accepted: {0}")]
    Malformed(String),
    /// There is no principal with this token.
    #[error(
        "the token is not known: it was revoked, or it is of another cluster; an administrator can create another one \
         with `weldrctl token create`"
    )]
    Unknown,
    /// The token was valid.
    #[error("the token has expired: an administrator can revoke it and create another one")]
    Expired,
    /// There is no principal with this certificate.
    #[error(
        "the certificate ({names}) is of no principal; an administrator can create one with \
         `weldrctl token create NAME --subject SUBJECT --role ROLE`"
    )]
    UnknownCertificate {
        /// The names in it.
        names: String,
    },
    /// A process of another user has connected to the Unix socket.
    #[error(
        "user {uid} may not use this socket without a token: only root and the user of the node may"
    )]
    OtherUser {
        /// The user.
        uid: u32,
    },
}

impl NoCredential {
    /// Whether it may be an attempt to guess a token.
    pub(super) fn is_attempt(&self) -> bool {
        match self {
            Self::Unknown | Self::Expired | Self::Malformed(_) => true,
            // A certificate cannot be guessed: it was verified.
            Self::Missing | Self::OtherUser { .. } | Self::UnknownCertificate { .. } => false,
        }
    }
}

impl Authenticator {
    pub(in crate::management) fn new(cluster: cluster::Handle, authentication: bool) -> Self {
        Self {
            cluster,
            authentication,
            own_user: own_user().into(),
        }
    }

    /// The principals that this node knows.
    pub(super) fn principals(&self) -> Principals {
        self.cluster.current().principals.clone()
    }

    /// The handle of the cluster, whose changes end streams.
    pub(super) fn cluster(&self) -> &cluster::Handle {
        &self.cluster
    }

    /// Finds out who has sent a request with these headers.
    pub(super) fn identify(
        &self,
        peer: &Peer,
        headers: &HeaderMap,
    ) -> Result<Caller, NoCredential> {
        // A credential that is given counts, also where none is needed.
        if let Some(token) = token_of(headers)? {
            return self.holder_of(&token, peer);
        }
        if let Peer::Tcp(_, Some(names)) = peer
            && let Some(caller) = self.owner_of(names, peer)
        {
            return Ok(caller);
        }
        match peer {
            Peer::Unix(unix) if unix.is_trusted => Ok(self.local(*unix, peer)),
            Peer::Unix(UnixPeer { uid, .. }) => Err(NoCredential::OtherUser { uid: *uid }),
            Peer::Tcp(..) if !self.authentication => Ok(self.anonymous(peer)),
            Peer::Tcp(_, Some(names)) => {
                let names = names.join(", ");
                Err(NoCredential::UnknownCertificate { names })
            }
            Peer::Tcp(_, None) => Err(NoCredential::Missing),
        }
    }

    fn holder_of(&self, token: &Token, peer: &Peer) -> Result<Caller, NoCredential> {
        let principals = self.principals();
        let (name, principal) = holder(&principals, token, Timestamp::now())?;
        let identity = Identity::Token(name.clone());
        Ok(self.principal(identity, name, principal, peer))
    }

    /// The principal of a certificate with these names. The certificate was verified when the connection began.
    fn owner_of(&self, names: &[String], peer: &Peer) -> Option<Caller> {
        let principals = self.principals();
        let (name, principal) = owner(&principals, names)?;
        let identity = Identity::Certificate(name.clone());
        Some(self.principal(identity, name, principal, peer))
    }

    fn principal(
        &self,
        identity: Identity,
        name: &PrincipalName,
        principal: &Principal,
        peer: &Peer,
    ) -> Caller {
        let expires = match &principal.credential {
            Credential::Token { expires, .. } => *expires,
            Credential::Certificate { .. } => None,
        };
        Caller::new(Permissions {
            identity,
            peer: peer.clone(),
            role: principal.role,
            pools: principal.pools.clone(),
            expires,
            principal: Some((name.clone(), principal.revision)),
            authentication: self.authentication,
        })
    }

    fn anonymous(&self, peer: &Peer) -> Caller {
        self.administrator(Identity::Anonymous(peer.ip()), peer)
    }

    fn local(&self, unix: UnixPeer, peer: &Peer) -> Caller {
        let user = if unix.uid == 0 {
            "root"
        } else {
            &*self.own_user
        };
        self.administrator(Identity::Unix(user.to_owned()), peer)
    }

    fn administrator(&self, identity: Identity, peer: &Peer) -> Caller {
        Caller::new(Permissions {
            identity,
            peer: peer.clone(),
            role: Role::Admin,
            pools: Vec::new(),
            expires: None,
            principal: None,
            authentication: self.authentication,
        })
    }
}

/// The token of a request, if it has one.
fn token_of(headers: &HeaderMap) -> Result<Option<Token>, NoCredential> {
    let malformed = |why: &str| NoCredential::Malformed(why.to_owned());
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let field = match (fields.next(), fields.next()) {
        (None, _) => return Ok(None),
        (Some(field), None) => field,
        (Some(_), Some(_)) => return Err(malformed("there is more than one")),
    };
    let expected = || malformed("`Bearer TOKEN` is expected");
    let text = field.to_str().map_err(|_| expected())?;
    let (scheme, token) = text.split_once(' ').ok_or_else(expected)?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return Err(expected());
    }
    let token = Token::parse(token.trim());
    token
        .map(Some)
        .map_err(|no_token| malformed(&no_token.to_string()))
}

/// The principal of a certificate with these names. The first name that one has decides.
fn owner<'a>(
    principals: &'a Principals,
    names: &[String],
) -> Option<(&'a PrincipalName, &'a Principal)> {
    let of_name = |name: &String| {
        let principal = principals.iter().find(|(_, principal)| {
            matches!(&principal.credential, Credential::Certificate { subject } if subject == name)
        });
        principal.map(|(name, principal)| (name, &**principal))
    };
    names.iter().find_map(of_name)
}

/// The principal that holds `token` at the date `now`.
fn holder<'a>(
    principals: &'a Principals,
    token: &Token,
    now: Timestamp,
) -> Result<(&'a PrincipalName, &'a Principal), NoCredential> {
    let of_token = principals.iter().find(|(_, principal)| {
        matches!(&principal.credential, Credential::Token { id, .. } if id == token.id())
    });
    let (name, principal) = of_token.ok_or(NoCredential::Unknown)?;
    match &principal.credential {
        Credential::Token {
            sha256, expires, ..
        } if token.has_digest(sha256) => match expires {
            Some(expires) if *expires <= now => Err(NoCredential::Expired),
            _ => Ok((name, principal)),
        },
        _ => Err(NoCredential::Unknown),
    }
}

/// Where the names of users are.
const USERS: &str = "/etc/passwd";

/// The name of the user that this process runs as; its number if it has none. Directory services are not asked, because
/// they may take their time.
fn own_user() -> String {
    let uid = geteuid().as_raw();
    let users = fs::read_to_string(USERS).unwrap_or_default();
    user_name(&users, uid).unwrap_or_else(|| uid.to_string())
}

/// The name of a user by the lines of `/etc/passwd`.
fn user_name(users: &str, uid: u32) -> Option<String> {
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, number) = (fields.next()?, fields.next()?, fields.next()?);
        (number.parse() == Ok(uid)).then_some(name)
    })?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_plain = (1..=64).contains(&name.len()) && name.chars().all(allowed);
    is_plain.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::Revision;

    fn principals(token: &Token, expires: Option<u64>) -> Principals {
        let principal = Principal {
            role: Role::Viewer,
            pools: Vec::new(),
            credential: Credential::Token {
                id: token.id().to_owned(),
                sha256: token.sha256(),
                expires: expires.map(Timestamp),
            },
            created_at: Timestamp(1),
            revision: Revision(1),
        };
        let name = "deploy".parse().unwrap();
        Arc::new(BTreeMap::from([(name, Arc::new(principal))]))
    }

    #[test]
    fn a_token_is_known_until_it_expires() {
        let token = Token::generate().unwrap();
        let held = |expires, now| {
            let principals = principals(&token, expires);
            holder(&principals, &token, Timestamp(now)).map(|(name, _)| name.to_string())
        };
        assert_eq!(held(None, u64::MAX), Ok("deploy".to_owned()));
        assert_eq!(held(Some(10), 9), Ok("deploy".to_owned()));
        assert_eq!(held(Some(10), 10), Err(NoCredential::Expired));
        let other = Token::generate().unwrap();
        let known = principals(&token, None);
        let unknown = holder(&known, &other, Timestamp(1));
        assert_eq!(unknown.unwrap_err(), NoCredential::Unknown);
    }

    #[test]
    fn the_id_of_a_token_without_its_secret_is_not_known() {
        let token = Token::generate().unwrap();
        let other = Token::generate().unwrap();
        let known = principals(&token, Some(0));
        let mut stolen = BTreeMap::clone(&known);
        let principal = stolen.values_mut().next().unwrap();
        let principal = Arc::make_mut(principal);
        principal.credential = Credential::Token {
            id: other.id().to_owned(),
            sha256: token.sha256(),
            expires: Some(Timestamp(0)),
        };
        let stolen = Arc::new(stolen);
        let refused = holder(&stolen, &other, Timestamp(1)).unwrap_err();
        assert_eq!(refused, NoCredential::Unknown, "nor that it has expired");
    }

    #[test]
    fn users_have_names_or_numbers() {
        let users =
            "root:x:0:0:root:/root:/bin/sh\nweldr:x:999:999::/:\nbad\u{1b}:x:7:7::/:\nshort\n";
        assert_eq!(user_name(users, 999).as_deref(), Some("weldr"));
        assert_eq!(user_name(users, 0).as_deref(), Some("root"));
        assert_eq!(user_name(users, 7), None);
        assert_eq!(user_name(users, 8), None);
    }

    #[test]
    fn the_field_is_read_strictly() {
        let token = Token::generate().unwrap();
        let read = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, value.parse().unwrap());
            }
            token_of(&headers)
        };
        let bearer = format!("Bearer {}", token.text());
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[&bearer]), Ok(Some(token.clone())));
        let lower = bearer.replace("Bearer", "bearer");
        assert_eq!(read(&[&lower]), Ok(Some(token.clone())));
        for refused in [
            &["Bearer"] as &[&str],
            &["Basic dXNlcjpwYXNz"],
            &[&token.text()],
            &["Bearer weldr_x_y"],
            &[&bearer, &bearer],
            &[""],
        ] {
            let malformed = read(refused).unwrap_err();
            assert!(
                matches!(malformed, NoCredential::Malformed(_)),
                "{refused:?}"
            );
        }
    }
}
