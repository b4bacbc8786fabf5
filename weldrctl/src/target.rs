//! Which nodes are called, and how the caller proves who it is: from options, environment variables and contexts.

use std::{
    env, fmt, fs,
    net::IpAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::Interceptor,
    transport::{Certificate, ClientTlsConfig, Identity, Uri},
};

use crate::{
    args::{DEFAULT_ENDPOINT, GlobalOptions},
    contexts::{Context, Contexts},
    error::CtlError,
    output,
};

/// The environment variable that contains a token.
const TOKEN: &str = "WELDR_TOKEN";
/// The permission bits of a file that others may read.
const OTHERS: u32 = 0o077;

/// What is called, and as whom.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    endpoints: Vec<String>,
    bearer: Bearer,
    tls: ClientTlsConfig,
}

impl Target {
    /// The target that options, environment variables and the context ask for, in this order.
    pub(crate) fn of(options: &GlobalOptions) -> Result<Self, CtlError> {
        let context = context_of(options)?;
        let endpoints = first_of(&options.endpoint, &context.endpoint);
        let endpoints = if endpoints.is_empty() {
            vec![DEFAULT_ENDPOINT.to_owned()]
        } else {
            endpoints.to_vec()
        };
        let bearer = Bearer(token_of(options, &context)?);
        if bearer.0.is_some() && !options.plaintext_token {
            refuse_plaintext(&endpoints)?;
        }
        let tls = tls_of(options, &context)?;
        Ok(Self {
            endpoints,
            bearer,
            tls,
        })
    }

    /// The endpoints, at least one.
    pub(crate) fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// What adds the token to each call.
    pub(crate) fn bearer(&self) -> Bearer {
        self.bearer.clone()
    }

    /// The TLS of an endpoint, if it has TLS.
    pub(crate) fn tls(&self, endpoint: &str) -> Option<ClientTlsConfig> {
        endpoint.starts_with("https:").then(|| self.tls.clone())
    }
}

/// Adds the token to a call.
#[derive(Clone)]
pub(crate) struct Bearer(Option<MetadataValue<Ascii>>);

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bearer").field(&self.0.is_some()).finish()
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request
                .metadata_mut()
                .insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// The context to use: the one that is asked for, else the current one, unless an endpoint is given. The token of a context is
/// not sent to another endpoint than its own, unless the context is asked for.
fn context_of(options: &GlobalOptions) -> Result<Context, CtlError> {
    if let Some(name) = &options.context {
        return Contexts::load()?.get(name).cloned();
    }
    if !options.endpoint.is_empty() {
        return Ok(Context::default());
    }
    let contexts = Contexts::load()?;
    match &contexts.current {
        Some(name) => contexts.get(name).cloned(),
        None => Ok(Context::default()),
    }
}

fn first_of<'a, T>(one: &'a [T], other: &'a [T]) -> &'a [T] {
    if one.is_empty() { other } else { one }
}

fn token_of(
    options: &GlobalOptions,
    context: &Context,
) -> Result<Option<MetadataValue<Ascii>>, CtlError> {
    if let Some(file) = &options.token_file {
        return token_in(file).map(Some);
    }
    match env::var(TOKEN) {
        Ok(token) if !token.trim().is_empty() => return header(&token, TOKEN).map(Some),
        Ok(_) | Err(env::VarError::NotPresent) => {}
        Err(env::VarError::NotUnicode(_)) => return Err(no_token(TOKEN)),
    }
    context.token_file.as_deref().map(token_in).transpose()
}

fn token_in(file: &Path) -> Result<MetadataValue<Ascii>, CtlError> {
    let failed = |source| CtlError::File {
        what: "read the token in",
        file: file.display().to_string(),
        source: Box::new(source),
    };
    let mode = fs::metadata(file).map_err(failed)?.permissions().mode();
    if mode & OTHERS != 0 {
        output::complain(&format!(
            "warning: other users of this machine may use the token in {0}; to keep it from them: chmod 600 {0}",
            file.display()
        ));
    }
    let token = fs::read_to_string(file).map_err(failed)?;
    header(&token, &file.display().to_string())
}

/// The value of the `authorization` field. `of` names where the token is from.
fn header(token: &str, of: &str) -> Result<MetadataValue<Ascii>, CtlError> {
    let token = token.trim();
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    if token.is_empty() || !token.chars().all(plain) {
        return Err(no_token(of));
    }
    let mut value: MetadataValue<Ascii> = format!("Bearer {token}")
        .parse()
        .map_err(|_invalid| no_token(of))?;
    value.set_sensitive(true);
    Ok(value)
}

fn no_token(of: &str) -> CtlError {
    CtlError::Usage(format!(
        "there is no token in {of}: a token begins with weldr_ and is one line"
    ))
}

/// Refuses to send a token to another machine without TLS.
fn refuse_plaintext(endpoints: &[String]) -> Result<(), CtlError> {
    let readable = endpoints.iter().find(|endpoint| {
        let uri: Option<Uri> = endpoint.parse().ok();
        let is_plain = endpoint.starts_with("http:");
        is_plain && !uri.is_some_and(|uri| uri.host().is_some_and(is_this_machine))
    });
    match readable {
        None => Ok(()),
        Some(endpoint) => Err(CtlError::Usage(format!(
            "the token is not sent to {endpoint}, because everybody on the way could read it: use https://, or allow it with \
             --plaintext-token"
        ))),
    }
}

fn is_this_machine(host: &str) -> bool {
    let ip = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = |ip: IpAddr| ip.to_canonical().is_loopback();
    host == "localhost" || ip.parse().is_ok_and(is_loopback)
}

fn tls_of(options: &GlobalOptions, context: &Context) -> Result<ClientTlsConfig, CtlError> {
    let ca = options.ca.as_ref().or(context.ca.as_ref());
    let tls = match ca {
        Some(ca) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem(ca)?)),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    let cert = options.client_cert.as_ref();
    let key = options.client_key.as_ref();
    let (cert, key) = match (cert, key) {
        (None, None) => (context.client_cert.as_ref(), context.client_key.as_ref()),
        given => given,
    };
    match (cert, key) {
        (None, None) => Ok(tls),
        (Some(cert), Some(key)) => Ok(tls.identity(Identity::from_pem(pem(cert)?, pem(key)?))),
        _ => Err(CtlError::Usage(
            "--client-cert and --client-key belong together".to_owned(),
        )),
    }
}

fn pem(file: &PathBuf) -> Result<Vec<u8>, CtlError> {
    fs::read(file).map_err(|source| CtlError::File {
        what: "read",
        file: file.display().to_string(),
        source: Box::new(source),
    })
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::expect_used,
        reason = "a test may stop at what it did not expect"
    )]

    use super::*;

    #[test]
    fn a_token_is_sent_where_nobody_can_read_it() {
        let refused = |endpoint: &str| refuse_plaintext(&[endpoint.to_owned()]).is_err();
        for endpoint in [
            "http://127.0.0.1:8687",
            "http://[::1]:8687",
            "http://localhost:8687",
            "https://lb.example:8687",
            "unix:/run/weldr.sock",
        ] {
            assert!(!refused(endpoint), "{endpoint}");
        }
        for endpoint in [
            "http://lb.example:8687",
            "http://10.0.0.1:8687",
            "http://localhost.evil.example:8687",
            "http://127.0.0.1.evil.example:8687",
        ] {
            assert!(refused(endpoint), "{endpoint}");
        }
        let both = ["https://a:1", "http://b:1"].map(str::to_owned);
        assert!(refuse_plaintext(&both).is_err(), "one is enough");
    }

    #[test]
    fn a_token_is_one_word_and_is_not_shown() {
        let value = header(" weldr_abc_def\n", "file").expect("a token");
        assert_eq!(value.to_str().ok(), Some("Bearer weldr_abc_def"));
        let shown = format!("{:?} {value:?}", Bearer(Some(value.clone())));
        assert!(!shown.contains("abc"), "{shown}");
        for text in ["", "\n", "a b", "a\nb", "weldr_\u{e9}"] {
            let error = header(text, "the file").expect_err(text);
            assert!(error.sentence().contains("the file"), "{text}");
        }
    }
}
