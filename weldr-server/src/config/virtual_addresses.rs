//! The options of the virtual addresses.

use std::{
    ffi::OsString,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use super::ConfigError;
use crate::{
    args::Options,
    model::{Invalid, OnLostQuorum, VirtualAddress},
};

/// The maximum number of addresses of a node.
const MOST: usize = 64;
/// The maximum length of the name of an interface: `IFNAMSIZ` without the terminating byte.
const LONGEST_NAME: usize = 15;

/// The addresses that a node holds while it leads the cluster, and how it does so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualAddresses {
    /// The addresses, at least one.
    pub addresses: Vec<VirtualAddress>,
    /// The network interface to which they are added.
    pub interface: String,
    /// The program that adds and removes them, instead of netlink.
    pub hook: Option<PathBuf>,
    /// What the holder does when it loses the quorum.
    pub on_lost_quorum: OnLostQuorum,
    /// The command that runs `vip::guard`, which removes them if this process cannot.
    pub guard: Option<Vec<OsString>>,
}

impl VirtualAddresses {
    pub(super) fn from_options(options: &Options) -> Result<Option<Self>, ConfigError> {
        let (given, interface) = (options.vip.iter().flatten(), options.vip_interface.clone());
        let addresses = given
            .map(|text| text.parse())
            .collect::<Result<Vec<_>, Invalid>>()?;
        let contradiction = match (addresses.is_empty(), interface) {
            (false, Some(interface)) => {
                return Ok(Some(Self {
                    addresses,
                    interface,
                    hook: options.vip_hook.clone(),
                    on_lost_quorum: options.vip_on_lost_quorum.unwrap_or_default(),
                    guard: None,
                }));
            }
            (true, None) if options.vip_hook.is_none() && options.vip_on_lost_quorum.is_none() => {
                return Ok(None);
            }
            (true, _) => {
                "vip_interface, vip_hook or vip_on_lost_quorum is given, but vip is not: give the address to hold, for example --vip 10.0.0.100/24"
            }
            (false, None) => {
                "vip is given, but vip_interface is not: give the network interface to which the address is added"
            }
        };
        Err(ConfigError::Contradiction(contradiction))
    }

    pub(super) fn validate(&self, listen: &[SocketAddr]) -> Result<(), ConfigError> {
        let name = self.interface.as_str();
        let is_name = (1..=LONGEST_NAME).contains(&name.len())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'/')
            && !matches!(name, "." | "..");
        if !is_name {
            let accepted = "the name of a network interface, for example eth0";
            return Err(Invalid::new("vip_interface", name, accepted).into());
        }
        if !(1..=MOST).contains(&self.addresses.len()) {
            let accepted = format!("from 1 to {MOST} addresses");
            return Err(Invalid::new("vip", self.addresses.len(), accepted).into());
        }
        for (at, address) in self.addresses.iter().enumerate() {
            if self.addresses[..at]
                .iter()
                .any(|other| other.ip() == address.ip())
            {
                return Err(Invalid::new("vip", address, "each address once").into());
            }
            if !listen
                .iter()
                .any(|listen| serves(listen.ip(), address.ip()))
            {
                let all = if address.ip().is_ipv4() {
                    "0.0.0.0"
                } else {
                    "[::]"
                };
                let accepted = format!(
                    "an address on which weldr accepts requests as soon as it is there: give --listen {all}:PORT too"
                );
                return Err(Invalid::new("vip", address, accepted).into());
            }
        }
        Ok(())
    }

    pub(super) fn texts(&self) -> Vec<String> {
        self.addresses.iter().map(ToString::to_string).collect()
    }
}

/// Whether a listener on `listen` accepts connections to `address`, which is not always there: only a listener on all
/// addresses does.
fn serves(listen: IpAddr, address: IpAddr) -> bool {
    listen.is_unspecified() && listen.is_ipv4() == address.is_ipv4()
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn config(text: &str) -> Result<Config, ConfigError> {
        Config::from_options(&toml::from_str(text).unwrap())
    }

    #[test]
    fn addresses_and_interface_are_read() {
        let text = "vip = ['10.0.0.100/24', '2001:db8::100/64']\nlisten = ['0.0.0.0:80', '[::]:80']\nvip_interface = 'eth0'\nvip_hook = '/bin/move'";
        let config = config(text).unwrap();
        let vip = config.vip.clone().unwrap();
        assert_eq!(vip.texts(), ["10.0.0.100/24", "2001:db8::100/64"]);
        assert_eq!(
            (vip.interface.as_str(), vip.hook),
            ("eth0", Some("/bin/move".into()))
        );
        let printed = toml::to_string(&Options::from(&config)).unwrap();
        let read = Config::from_options(&toml::from_str(&printed).unwrap()).unwrap();
        assert_eq!(read, config);
    }

    #[test]
    fn is_off_by_default() {
        assert_eq!(config("").unwrap().vip, None);
        assert_eq!(config("vip = []").unwrap().vip, None);
    }

    #[test]
    fn addresses_and_interface_are_required_together() {
        for text in [
            "vip = ['10.0.0.100/24']",
            "vip_interface = 'eth0'",
            "vip_hook = '/bin/true'",
        ] {
            let refused = config(text);
            assert!(
                matches!(refused, Err(ConfigError::Contradiction(_))),
                "{text}: {refused:?}"
            );
        }
    }

    #[test]
    fn an_error_names_its_option() {
        for (vip, interface, listen, option) in [
            ("'10.0.0.100'", "eth0", "0.0.0.0:80", "vip"),
            (
                "'10.0.0.100/24', '10.0.0.100/32'",
                "eth0",
                "0.0.0.0:80",
                "vip",
            ),
            ("'10.0.0.100/24'", "eth0", "10.0.0.100:80", "vip"),
            ("'10.0.0.100/24'", "eth0", "[::]:80", "vip"),
            ("'2001:db8::100/64'", "eth0", "0.0.0.0:80", "vip"),
            ("'10.0.0.100/24'", "", "0.0.0.0:80", "vip_interface"),
            ("'10.0.0.100/24'", "eth/0", "0.0.0.0:80", "vip_interface"),
            (
                "'10.0.0.100/24'",
                "a-name-too-long-0",
                "0.0.0.0:80",
                "vip_interface",
            ),
        ] {
            let text =
                format!("vip = [{vip}]\nvip_interface = '{interface}'\nlisten = ['{listen}']");
            match config(&text) {
                Err(ConfigError::Invalid(invalid)) => assert_eq!(invalid.field, option, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }
}
