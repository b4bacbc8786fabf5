//! Changes of who may call the management API.

use std::sync::Arc;

use crate::model::{DesiredState, Outcome, Principal, PrincipalName, Rejection};

impl DesiredState {
    /// A name, an id of a token and a subject of a certificate each belong to one principal.
    pub(super) fn create_principal(
        &mut self,
        name: PrincipalName,
        principal: Principal,
    ) -> Result<Outcome, Rejection> {
        if self.principals.contains_key(&name) {
            let what = "principal of this name".into();
            return Err(Rejection::PrincipalExists { name, what });
        }
        let mut present = self.principals.iter();
        let same = present.find(|(_, present)| present.credential.is_same(&principal.credential));
        if let Some((name, _)) = same {
            let name = name.clone();
            let what = "principal with this credential".into();
            return Err(Rejection::PrincipalExists { name, what });
        }
        if self.principals.len() >= Self::MOST_PRINCIPALS {
            let limit = Self::MOST_PRINCIPALS;
            return Err(Rejection::TooManyPrincipals { limit });
        }
        Arc::make_mut(&mut self.principals).insert(name, Arc::new(principal));
        Ok(Outcome::Created)
    }

    pub(super) fn revoke_principal(&mut self, name: PrincipalName) -> Result<Outcome, Rejection> {
        if !self.principals.contains_key(&name) {
            return Err(Rejection::NoSuchPrincipal { name });
        }
        Arc::make_mut(&mut self.principals).remove(&name);
        Ok(Outcome::Removed)
    }
}
