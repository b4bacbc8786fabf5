//! The account at the authority.

use std::sync::Arc;

use instant_acme::{Account, AccountCredentials, ExternalAccountKey, NewAccount};
use rustls::{RootCertStore, pki_types::CertificateDer};
use zeroize::Zeroizing;

use super::{client::Client, error::AcmeError};
use crate::{
    certificates::system_authorities,
    model::{AcmeAccount, AcmeRegistration, AcmeSettings, ExternalAccount},
    secrets::Secrets,
};

/// The account, ready for calls.
#[derive(Clone)]
pub(super) struct Authority {
    pub(super) account: Account,
    pub(super) client: Client,
}

/// The client for the authority of `settings`.
pub(super) fn client(settings: &AcmeSettings) -> Result<Client, AcmeError> {
    let roots = if settings.ca.is_empty() {
        system_authorities()
    } else {
        let mut roots = RootCertStore::empty();
        for authority in settings.ca.certificates() {
            let added = roots.add(CertificateDer::from(authority.bytes()));
            added.map_err(AcmeError::Tls)?;
        }
        Arc::new(roots)
    };
    Client::new(roots).map_err(AcmeError::Tls)
}

/// The contacts as the authority wants them.
fn contacts(settings: &AcmeSettings) -> Vec<String> {
    let contacts = settings.contacts.iter();
    contacts
        .map(|contact| format!("mailto:{contact}"))
        .collect()
}

/// Registers the account of `settings`.
pub(super) async fn register(
    settings: &AcmeSettings,
    client: &Client,
    secrets: &Secrets,
) -> Result<AcmeRegistration, AcmeError> {
    let contacts = contacts(settings);
    let contacts: Vec<&str> = contacts.iter().map(String::as_str).collect();
    let wanted = NewAccount {
        contact: &contacts,
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let external = match &settings.external_account {
        Some(external) => {
            let key = secrets.open(ExternalAccount::PURPOSE, &external.key)?;
            Some(ExternalAccountKey::new(external.key_id.clone(), &key))
        }
        None => None,
    };
    let (account, credentials) = Account::builder_with_http(Box::new(client.clone()))
        .create(&wanted, settings.directory.clone(), external.as_ref())
        .await?;
    let credentials = serde_json::to_vec(&credentials).map_err(AcmeError::Credentials)?;
    let credentials = Zeroizing::new(credentials);
    Ok(AcmeRegistration {
        url: account.id().to_owned(),
        credentials: secrets
            .seal(AcmeRegistration::PURPOSE, &credentials)
            .await?,
        contacts: settings.contacts.clone(),
    })
}

/// The account of `registration`, with the authority's directory of today.
pub(super) async fn open(
    registration: &AcmeRegistration,
    client: &Client,
    secrets: &Secrets,
) -> Result<Authority, AcmeError> {
    let credentials = secrets.open(AcmeRegistration::PURPOSE, &registration.credentials)?;
    let credentials: AccountCredentials =
        serde_json::from_slice(&credentials).map_err(AcmeError::Credentials)?;
    let account = Account::builder_with_http(Box::new(client.clone()))
        .from_credentials(credentials)
        .await?;
    Ok(Authority {
        account,
        client: client.clone(),
    })
}

/// Tells the authority the contacts of `account`. Returns what it knows then.
pub(super) async fn update(
    account: &AcmeAccount,
    registration: &AcmeRegistration,
    authority: &Authority,
) -> Result<AcmeRegistration, AcmeError> {
    let contacts = contacts(&account.settings);
    let contacts: Vec<&str> = contacts.iter().map(String::as_str).collect();
    authority.account.update_contacts(&contacts).await?;
    Ok(AcmeRegistration {
        contacts: account.settings.contacts.clone(),
        ..registration.clone()
    })
}
