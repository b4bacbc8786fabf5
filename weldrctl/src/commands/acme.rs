//! `acme set`, `show` and `remove`.

use weldr_proto::v1::{
    AcmeAccount, DeleteAcmeAccountRequest, GetAcmeAccountRequest, SetAcmeAccountRequest,
};

use super::{Session, certificate::text};
use crate::{
    args::{AcmeCommand, AcmeRemoveArgs, AcmeSetArgs},
    error::{CtlError, Exit},
    output::{acme, json},
};

pub(super) async fn run(session: &Session, command: AcmeCommand) -> Result<Exit, CtlError> {
    match command {
        AcmeCommand::Set(args) => set(session, args).await,
        AcmeCommand::Show => show(session).await,
        AcmeCommand::Remove(args) => remove(session, args).await,
    }
}

async fn set(session: &Session, args: AcmeSetArgs) -> Result<Exit, CtlError> {
    let external_key = args.external_key_file.as_deref().map(text).transpose()?;
    let ca = args.directory_ca.as_deref().map(text).transpose()?;
    let request = SetAcmeAccountRequest {
        directory: args.directory,
        contacts: args.contacts,
        agree_to_terms: args.agree_to_terms,
        challenge: args.challenge,
        external_key_id: args.external_key_id,
        external_key: external_key.unwrap_or_default().trim().to_owned(),
        ca: ca.unwrap_or_default(),
        expected_revision: args.condition.expected_revision.unwrap_or_default(),
    };
    let response = session.client.set_acme_account(request).await?;
    shown(
        session,
        response.account.unwrap_or_default(),
        response.revision,
    )
}

async fn show(session: &Session) -> Result<Exit, CtlError> {
    let stale = session.stale;
    let request = GetAcmeAccountRequest { stale };
    let response = session.client.get_acme_account(request).await?;
    shown(
        session,
        response.account.unwrap_or_default(),
        response.revision,
    )
}

fn shown(session: &Session, account: AcmeAccount, revision: u64) -> Result<Exit, CtlError> {
    let output = &session.output;
    if output.is_json() {
        output.document(&json::acme_account(account, revision))?;
    } else {
        output.text(&acme::card(&account, output.paint()))?;
    }
    Ok(Exit::Done)
}

async fn remove(session: &Session, args: AcmeRemoveArgs) -> Result<Exit, CtlError> {
    let request = DeleteAcmeAccountRequest {
        expected_revision: args.condition.expected_revision.unwrap_or_default(),
    };
    let revision = session.client.delete_acme_account(request).await?.revision;
    super::removed(session, "the ACME account", revision)
}
