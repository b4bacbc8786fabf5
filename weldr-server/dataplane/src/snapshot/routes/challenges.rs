//! Requests by which an ACME authority makes sure that a domain is served here (HTTP-01: RFC 8555, section 8.3).

use std::{collections::BTreeMap, sync::Arc};

use crate::model::{Acme, Action, ChallengeKind, FixedResponse, MessageChanges, Route};

use super::{RoutedRequest, route::CompiledRoute};

/// The begin of the path of such a request; the token follows.
const PREFIX: &[u8] = b"/.well-known/acme-challenge/";

/// The challenges that are under way. They come before all rules, which may send other requests elsewhere.
#[derive(Debug)]
pub struct HttpChallenges {
    by_token: BTreeMap<Box<[u8]>, Challenge>,
}

#[derive(Debug)]
struct Challenge {
    domain: Box<[u8]>,
    route: CompiledRoute,
}

impl HttpChallenges {
    /// Those of the orders that are under way; `None`: there is none.
    pub fn of(acme: &Acme) -> Option<Arc<Self>> {
        let challenges = acme.challenges();
        let by_token: BTreeMap<_, _> = challenges
            .filter(|challenge| challenge.kind == ChallengeKind::Http01)
            .map(|challenge| {
                let route = Route {
                    action: Action::Respond(FixedResponse {
                        status: 200,
                        content_type: "application/octet-stream".to_owned(),
                        body: challenge.key_authorization.clone(),
                    }),
                    changes: MessageChanges::default(),
                };
                let domain = challenge.domain.as_bytes().into();
                let route = CompiledRoute::from(&route);
                let token = challenge.token.as_bytes().into();
                (token, Challenge { domain, route })
            })
            .collect();
        (!by_token.is_empty()).then(|| Arc::new(Self { by_token }))
    }

    /// The response to `request`, if it is about one of them.
    pub(super) fn find(&self, request: &RoutedRequest<'_>) -> Option<&CompiledRoute> {
        let path = request.path.as_ref().ok()?;
        let token = path.normal().strip_prefix(PREFIX)?;
        let challenge = self.by_token.get(token)?;
        let host = request.host.as_ref().ok()?;
        (**host == *challenge.domain).then_some(&challenge.route)
    }
}
