//! From options to a configuration.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};

use super::{Cluster, ClusterTls, Config, ConfigError, Storage, VirtualAddresses, file};
use crate::{
    args::{CheckType, Options},
    model::{CheckKind, HttpCheck, Invalid, server_address},
};

/// The port of the demonstration for HTTPS.
const HTTPS_PORT: u16 = 8443;

impl Config {
    /// Makes a configuration of the options from the command line and the environment, and of the file at `path`,
    /// which they override. Blocking: takes up to 5 s where the disk does not respond.
    pub fn load(options: Options, path: Option<&Path>) -> Result<Self, ConfigError> {
        let file = path.map(read_file).transpose()?.unwrap_or_default();
        Self::from_options(&options.over(file))
    }

    /// Makes a configuration of `options`, with defaults for those that are not given.
    pub fn from_options(options: &Options) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        each_listener_once(options)?;
        config.set_fields(options);
        config.servers = canonical(config.servers);
        config.rest = !options.no_rest.unwrap_or(!config.rest);
        config.storage = storage(options, config.demo)?.unwrap_or(config.storage);
        config.pool.check.kind = check_kind(options)?.unwrap_or(config.pool.check.kind);
        config.cluster = cluster(options)?;
        config.vip = VirtualAddresses::from_options(options)?;
        if config.is_witness() && options.listen.is_none() {
            config.listen.clear();
        }
        let chooses_addresses = options.listen.is_some() || options.listen_https.is_some();
        if config.demo && !chooses_addresses && !config.is_witness() {
            config.listen_https = vec![(Ipv4Addr::UNSPECIFIED, HTTPS_PORT).into()];
        }
        config.validate()?;
        Ok(config)
    }
}

/// Of two addresses of a listener, one would have no effect.
fn each_listener_once(options: &Options) -> Result<(), Invalid> {
    let given = options.listener_address.iter().flatten();
    let given: Vec<_> = given.collect();
    for (index, address) in given.iter().enumerate() {
        if given[..index]
            .iter()
            .any(|earlier| earlier.name == address.name)
        {
            let value = String::from((*address).clone());
            return Err(Invalid::new(
                "listener_address",
                value,
                "each listener once",
            ));
        }
    }
    Ok(())
}

fn cluster(options: &Options) -> Result<Option<Cluster>, ConfigError> {
    let tls = match (
        &options.cluster_cert,
        &options.cluster_key,
        &options.cluster_ca,
    ) {
        (None, None, None) => None,
        (Some(cert), Some(key), Some(ca)) => Some(ClusterTls {
            cert: cert.clone(),
            key: key.clone(),
            ca: ca.clone(),
        }),
        _ => {
            return Err(ConfigError::Contradiction(
                "cluster_cert, cluster_key and cluster_ca are needed together: give all of them, or none",
            ));
        }
    };
    let Some(listen) = options.cluster else {
        let others = options.join.is_some()
            || options.recover_from_lost_majority == Some(true)
            || options.found_cluster == Some(true)
            || options.witness == Some(true)
            || options.cluster_advertise.is_some()
            || options.cluster_secret_file.is_some()
            || options.join_token_file.is_some()
            || tls.is_some();
        if others {
            return Err(ConfigError::Contradiction(
                "cluster is missing: join, found_cluster, witness, cluster_advertise, cluster_secret_file and the cluster \
                 certificates need an address on which this node accepts connections of other nodes, for example --cluster 10.0.0.1:8688",
            ));
        }
        return Ok(None);
    };
    let found = options.found_cluster.unwrap_or(false);
    if found && options.join.as_ref().is_some_and(|join| !join.is_empty()) {
        return Err(ConfigError::Contradiction(
            "found_cluster and join contradict each other: found_cluster is for the first node of a new cluster, and join \
             for every other one",
        ));
    }
    if options.join_token.is_some() && options.join_token_file.is_some() {
        return Err(ConfigError::Contradiction(
            "join_token and join_token_file contradict each other: give one of them",
        ));
    }
    let accept_previous = options.cluster_accept_previous_protocol.unwrap_or(false);
    if accept_previous && options.cluster_secret_file.is_none() {
        return Err(ConfigError::Contradiction(
            "cluster_accept_previous_protocol needs cluster_secret_file: members of version 0.1.0 prove the secret",
        ));
    }
    Ok(Some(Cluster {
        accept_previous,
        found,
        recover: options.recover_from_lost_majority.unwrap_or(false),
        witness: options.witness.unwrap_or(false),
        listen,
        advertise: options.cluster_advertise,
        join: options.join.clone().unwrap_or_default(),
        join_token: options.join_token.clone(),
        join_token_file: options.join_token_file.clone(),
        secret_file: options.cluster_secret_file.clone(),
        tls,
    }))
}

fn read_file(path: &Path) -> Result<Options, ConfigError> {
    let text = file::read(path)?;
    let options: Options = toml::from_str(&text).map_err(|mut source| {
        let before = source.span().and_then(|span| text.get(..span.start));
        // With its input, the error would print the line over several lines. The log needs one sentence.
        source.set_input(None);
        ConfigError::Malformed {
            path: path.to_owned(),
            line: 1 + before.unwrap_or_default().matches('\n').count(),
            source: Box::new(source),
        }
    })?;
    if options.ephemeral == Some(true) && options.data_dir.is_some() {
        return Err(ConfigError::Contradiction(
            "the configuration file contains both `ephemeral = true` and `data_dir`: remove one of them",
        ));
    }
    Ok(options)
}

/// Where the pool is stored, if an option says it.
fn storage(options: &Options, demo: bool) -> Result<Option<Storage>, ConfigError> {
    match &options.data_dir {
        Some(_) if demo => Err(ConfigError::Contradiction(
            "demo keeps nothing on disk, so data_dir has no effect: remove one of the two options",
        )),
        _ if demo || options.ephemeral == Some(true) => Ok(Some(Storage::Ephemeral)),
        directory => Ok(directory.clone().map(Storage::Directory)),
    }
}

/// The type of the check, if an option says it. The options of an HTTP check imply HTTP.
fn check_kind(options: &Options) -> Result<Option<CheckKind>, ConfigError> {
    match options.check_type {
        Some(CheckType::Tcp) if options.asks_http() => Err(ConfigError::Contradiction(
            "check_type is tcp, but check_path, check_expect and check_host are options of http checks",
        )),
        Some(CheckType::Tcp) => Ok(Some(CheckKind::Tcp)),
        None if !options.asks_http() => Ok(None),
        Some(CheckType::Http) | None => Ok(Some(CheckKind::Http(http_check(options)?))),
    }
}

fn http_check(options: &Options) -> Result<HttpCheck, Invalid> {
    let mut http = HttpCheck::default();
    if let Some(path) = &options.check_path {
        http.path.clone_from(path);
    }
    if let Some(expect) = &options.check_expect {
        http.expected_status = expect
            .parse()
            .map_err(|invalid: Invalid| invalid.named("check_expect"))?;
    }
    http.host.clone_from(&options.check_host);
    Ok(http)
}

/// Addresses in their canonical form. [`Config::validate`] refuses those that cannot be a server's.
fn canonical(servers: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let servers = servers.into_iter();
    servers
        .map(|given| server_address(given).unwrap_or(given))
        .collect()
}
