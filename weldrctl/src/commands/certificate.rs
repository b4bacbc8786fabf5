//! `certificate add`, `set`, `renew`, `get`, `list`, `remove`, and `tls policies`.

use std::{fs, path::Path};

use weldr_proto::v1::{
    AcmeRequest, Certificate, CreateCertificateRequest, DeleteCertificateRequest,
    GetCertificateRequest, ListCertificatesRequest, ListTlsPoliciesRequest,
    RenewCertificateRequest, UpdateCertificateRequest,
};

use super::Session;
use crate::{
    args::{
        CertificateAddArgs, CertificateCommand, CertificateContent, CertificateRemoveArgs,
        CertificateRenewArgs, CertificateSetArgs, TlsCommand,
    },
    error::{CtlError, Exit},
    output::{self, certificates, figures, json},
};

pub(super) async fn run(session: &Session, command: CertificateCommand) -> Result<Exit, CtlError> {
    match command {
        CertificateCommand::Add(args) => add(session, args).await,
        CertificateCommand::Set(args) => set(session, args).await,
        CertificateCommand::Renew(args) => renew(session, args).await,
        CertificateCommand::Get(args) => get(session, args.name).await,
        CertificateCommand::List => list(session).await,
        CertificateCommand::Remove(args) => remove(session, args).await,
    }
}

async fn add(session: &Session, args: CertificateAddArgs) -> Result<Exit, CtlError> {
    let given = given(args.content)?;
    let request = CreateCertificateRequest {
        name: args.name,
        certificate: given.certificate,
        private_key: given.private_key,
        force: given.force,
        acme: given.acme,
    };
    let response = session.client.create_certificate(request).await?;
    let certificate = response.certificate.unwrap_or_default();
    let outcome = if response.created {
        "added"
    } else {
        "was already there, nothing changed"
    };
    written(
        session,
        &certificate,
        response.revision,
        outcome,
        &response.warnings,
    )
}

async fn set(session: &Session, args: CertificateSetArgs) -> Result<Exit, CtlError> {
    let given = given(args.content)?;
    let request = UpdateCertificateRequest {
        name: args.name,
        certificate: given.certificate,
        private_key: given.private_key,
        force: given.force,
        acme: given.acme,
        expected_revision: args.condition.expected_revision.unwrap_or_default(),
    };
    let response = session.client.update_certificate(request).await?;
    let certificate = response.certificate.unwrap_or_default();
    written(
        session,
        &certificate,
        response.revision,
        "updated",
        &response.warnings,
    )
}

async fn renew(session: &Session, args: CertificateRenewArgs) -> Result<Exit, CtlError> {
    let request = RenewCertificateRequest {
        name: args.name.clone(),
        expected_revision: args.condition.expected_revision.unwrap_or_default(),
    };
    let revision = session.client.renew_certificate(request).await?.revision;
    let output = &session.output;
    if output.is_json() {
        output.document(&json::Made { revision })?;
    } else {
        output.text(&format!(
            "certificate {} will be renewed now, revision {revision}: see `weldrctl certificate list`\n",
            args.name
        ))?;
    }
    Ok(Exit::Done)
}

async fn get(session: &Session, name: String) -> Result<Exit, CtlError> {
    let stale = session.stale;
    let request = GetCertificateRequest { name, stale };
    let response = session.client.get_certificate(request).await?;
    let certificate = response.certificate.unwrap_or_default();
    let output = &session.output;
    if output.is_json() {
        output.document(&json::certificate(certificate, response.revision))?;
    } else {
        let text = certificates::card(&certificate, figures::now(), output.paint());
        output.text(&text)?;
    }
    Ok(Exit::Done)
}

async fn list(session: &Session) -> Result<Exit, CtlError> {
    let stale = session.stale;
    let request = ListCertificatesRequest { stale };
    let response = session.client.list_certificates(request).await?;
    let output = &session.output;
    if output.is_json() {
        output.document(&json::certificates(response))?;
    } else {
        let text = certificates::list(&response.certificates, figures::now(), output.paint());
        output.text(&text)?;
    }
    Ok(Exit::Done)
}

async fn remove(session: &Session, args: CertificateRemoveArgs) -> Result<Exit, CtlError> {
    let request = DeleteCertificateRequest {
        name: args.name.clone(),
        expected_revision: args.condition.expected_revision.unwrap_or_default(),
    };
    let revision = session.client.delete_certificate(request).await?.revision;
    super::removed(session, &format!("certificate {}", args.name), revision)
}

/// `tls policies`.
pub(super) async fn tls(session: &Session, command: TlsCommand) -> Result<Exit, CtlError> {
    let TlsCommand::Policies = command;
    let request = ListTlsPoliciesRequest {};
    let response = session.client.list_tls_policies(request).await?;
    let output = &session.output;
    if output.is_json() {
        output.document(&json::tls_policies(response))?;
    } else {
        output.text(&certificates::policies(&response.policies, output.paint()))?;
    }
    Ok(Exit::Done)
}

/// Says what was written, and what is doubtful about it.
fn written(
    session: &Session,
    certificate: &Certificate,
    revision: u64,
    outcome: &str,
    warnings: &[String],
) -> Result<Exit, CtlError> {
    let output = &session.output;
    if output.is_json() {
        output.document(&json::certificate(certificate.clone(), revision))?;
    } else {
        let names = certificates::names(certificate);
        let then = if certificate.not_after.is_some() {
            let expires = certificates::expiry(certificate, figures::now());
            format!("expires {expires}")
        } else {
            "obtained by ACME soon: see `weldrctl certificate list`".to_owned()
        };
        output.text(&format!(
            "certificate {} {outcome}, revision {revision}: {names}, {then}\n",
            certificate.name
        ))?;
    }
    for warning in warnings {
        output::complain(&format!("warning: {warning}"));
    }
    Ok(Exit::Done)
}

/// What a command gives of a certificate.
#[derive(Default)]
struct Given {
    certificate: String,
    private_key: String,
    force: bool,
    acme: Option<AcmeRequest>,
}

fn given(content: CertificateContent) -> Result<Given, CtlError> {
    if content.acme {
        return Ok(Given {
            acme: Some(AcmeRequest {
                domains: content.domains,
                key_type: content.key_type.unwrap_or_default(),
            }),
            ..Given::default()
        });
    }
    let (Some(cert), Some(key)) = (&content.cert, &content.key) else {
        let usage = "give --cert and --key, or --acme and --domain";
        return Err(CtlError::Usage(usage.to_owned()));
    };
    let (certificate, private_key) = read(cert, key)?;
    Ok(Given {
        certificate,
        private_key,
        force: content.force,
        acme: None,
    })
}

/// The texts of both files. Whether they are what they should be is decided by the node, for all of its clients alike.
fn read(cert: &Path, path: &Path) -> Result<(String, String), CtlError> {
    let certificate = text(cert)?;
    let key = text(path)?;
    if let Some(mode) = mode_for_others(path) {
        output::complain(&format!(
            "warning: {} can be read by other users of this machine (mode {mode:o}): chmod 600 {0}",
            path.display()
        ));
    }
    Ok((certificate, key))
}

pub(super) fn text(path: &Path) -> Result<String, CtlError> {
    let bytes = fs::read(path);
    let unreadable = |error| CtlError::Usage(format!("{} cannot be read: {error}", path.display()));
    // What is not text is no PEM, and the node says what it is instead.
    Ok(String::from_utf8_lossy(&bytes.map_err(unreadable)?).into_owned())
}

/// The permissions of a file, if others than its owner may read it.
#[cfg(unix)]
fn mode_for_others(path: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt as _;

    /// Reading by the group and by all others.
    const OTHERS: u32 = 0o044;
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & OTHERS != 0).then_some(mode)
}

#[cfg(not(unix))]
fn mode_for_others(_path: &Path) -> Option<u32> {
    None
}
