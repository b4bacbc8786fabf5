//! Machines on a switch, made of network namespaces: what needs addresses that move and frames that are seen.
//!
//! Only root can make them, and only where the kernel and `ip` (iproute2) do. A test asks for a [`Lan`] and says
//! that it was skipped when there is none.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    net::{IpAddr, Ipv6Addr},
    os::fd::AsFd as _,
    process::{self, Command},
    sync::{
        Arc, Barrier, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::{
    net::{
        AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, recv, socket_with,
        sockopt::{Timeout, set_socket_timeout},
    },
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

/// An Ethernet address.
pub type Mac = [u8; 6];

/// Numbers the networks of this process.
static NETWORKS: AtomicU32 = AtomicU32::new(0);
/// How often somebody who watches looks again.
const LOOK: Duration = Duration::from_millis(1);

/// A network namespace; gone when dropped, with the interfaces in it.
#[derive(Debug)]
pub struct Namespace(String);

impl Namespace {
    fn new(name: String) -> Result<Self, String> {
        ip(&["netns", "add", &name])?;
        let namespace = Self(name);
        namespace.ip(&["link", "set", "lo", "up"]);
        Ok(namespace)
    }

    /// Its name, as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Runs `ip` for this namespace, and gives what it prints.
    ///
    /// # Panics
    /// When `ip` fails.
    pub fn ip(&self, args: &[&str]) -> String {
        let args = [&["-n", &self.0], args].concat();
        ip(&args).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Runs `work` on a thread whose sockets are in this namespace.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let place = self.open();
        thread::spawn(move || {
            enter(&place);
            work()
        })
    }

    fn open(&self) -> File {
        File::open(format!("/run/netns/{}", self.0)).expect("a network namespace")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = ip(&["netns", "delete", &self.0]);
    }
}

fn enter(place: &File) {
    let kind = Some(LinkNameSpaceType::Network);
    move_into_link_name_space(place.as_fd(), kind).expect("enter a network namespace");
}

fn ip(args: &[&str]) -> Result<String, String> {
    let what = format!("ip {}", args.join(" "));
    let output = Command::new("ip").args(args).output();
    let output = output.map_err(|error| format!("{what}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let stderr = String::from_utf8_lossy(&output.stderr);
        Err(format!("{what}: {}", stderr.trim()))
    }
}

/// A switch and the machines on it.
#[derive(Debug)]
pub struct Lan {
    name: String,
    switch: Namespace,
}

/// A machine: a namespace whose interface [`Host::INTERFACE`] is on the switch.
#[derive(Debug)]
pub struct Host {
    namespace: Namespace,
    mac: Mac,
    /// Its port on the switch.
    port: String,
}

impl Lan {
    /// A network without machines; `None`, after saying so past the capture of the test runner, when this
    /// process cannot make one.
    pub fn new() -> Option<Self> {
        let number = NETWORKS.fetch_add(1, Ordering::Relaxed);
        let name = format!("weldr-{}-{number}", process::id());
        let test = thread::current().name().unwrap_or("a test").to_owned();
        match Namespace::new(format!("{name}-switch")) {
            Ok(switch) => {
                switch.ip(&["link", "add", "br0", "type", "bridge"]);
                switch.ip(&["link", "set", "br0", "up"]);
                Some(Self { name, switch })
            }
            Err(error) => {
                let _ = writeln!(
                    io::stderr(),
                    "{test}: SKIPPED, it needs root and network namespaces: {error}"
                );
                None
            }
        }
    }

    /// Adds the machine `10.0.0.NUMBER`, `fd00::NUMBER`.
    pub fn host(&self, number: u8) -> Host {
        let namespace = Namespace::new(format!("{}-{number}", self.name)).expect("a namespace");
        let port = format!("port{number}");
        let mac: Mac = [0x02, 0, 0, 0, 0, number];
        let switch = self.switch.name();
        let address = mac.map(|byte| format!("{byte:02x}")).join(":");
        namespace.ip(&[
            "link",
            "add",
            Host::INTERFACE,
            "address",
            &address,
            "type",
            "veth",
            "peer",
            "name",
            &port,
            "netns",
            switch,
        ]);
        self.switch
            .ip(&["link", "set", &port, "master", "br0", "up"]);
        namespace.ip(&["link", "set", Host::INTERFACE, "up"]);
        let host = Host {
            namespace,
            mac,
            port,
        };
        host.add_address(&format!("10.0.0.{number}/24"));
        host.add_address(&format!("fd00::{number}/64"));
        host
    }

    /// Records who claims `ip` on the switch, from now on: each frame on every port that it passes.
    pub fn sniff(&self, ip: IpAddr) -> Watcher<Vec<Claim>> {
        sniff(&self.switch, ip)
    }

    /// Records which of `hosts` have `ip`, from now on.
    pub fn watch(&self, hosts: &[&Host], ip: IpAddr) -> Watcher<Sightings> {
        let places: Vec<_> = hosts.iter().map(|host| host.namespace.open()).collect();
        Watcher::start(move |sightings: &Mutex<Sightings>, is_over| {
            let has = |index: usize| {
                enter(&places[index]);
                has_address(ip)
            };
            lock(sightings).last = vec![None; places.len()];
            while !is_over() {
                let mut holders = (0..places.len()).filter(|&index| has(index));
                let (first, second) = (holders.next(), holders.next());
                // The second look at the first makes sure that it had the address when the other was looked at.
                let both = second.is_some() && first.is_some_and(has);
                let mut sightings = lock(sightings);
                sightings.overlaps += u64::from(both);
                for holder in [first, second].into_iter().flatten() {
                    sightings.last[holder] = Some(Instant::now());
                }
                drop(sightings);
                thread::sleep(LOOK);
            }
        })
    }

    /// Lets the switch forward nothing from or to `host`, whose link stays up; or forward it again.
    pub fn isolate(&self, host: &Host, isolated: bool) {
        let port = ["link", "set", &host.port];
        let args = if isolated {
            &["nomaster"][..]
        } else {
            &["master", "br0"]
        };
        self.switch.ip(&[&port, args].concat());
    }

    /// Cuts `host` off the switch, or connects it again. Without a connection, the interface of the host has no link.
    pub fn connect(&self, host: &Host, connected: bool) {
        let state = if connected { "up" } else { "down" };
        self.switch.ip(&["link", "set", &host.port, state]);
    }
}

impl Host {
    /// Its interface on the switch.
    pub const INTERFACE: &str = "eth0";

    /// Its namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The Ethernet address of its interface.
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// Adds an address for good.
    pub fn add_address(&self, address: &str) {
        let mut args = vec!["address", "add", address, "dev", Self::INTERFACE];
        if address.contains(':') {
            args.push("nodad");
        }
        self.namespace.ip(&args);
    }

    /// Adds an interface on the same switch, which is up and has no address.
    pub fn second_interface(&self, lan: &Lan) {
        let (port, switch) = (format!("{}b", self.port), lan.switch.name());
        let mac = self.mac.map(|byte| format!("{byte:02x}")).join(":");
        let mac = mac.replacen("02:00", "02:01", 1);
        let link = ["link", "add", "eth1", "address", &mac, "type", "veth"];
        let peer = ["peer", "name", &port, "netns", switch];
        self.namespace.ip(&[&link[..], &peer].concat());
        lan.switch
            .ip(&["link", "set", &port, "master", "br0", "up"]);
        self.namespace.ip(&["link", "set", "eth1", "up"]);
    }

    /// Loses all that this machine sends to `other`, which is not told: it goes to an Ethernet address that nobody has.
    pub fn lose_what_goes_to(&self, other: &Self) {
        let nobody = ["lladdr", "02:00:00:00:ff:ff", "nud", "permanent"];
        let to = ["neighbour", "replace", &other.ip(), "dev", Self::INTERFACE];
        self.namespace.ip(&[&to[..], &nobody].concat());
    }

    /// Ends [`lose_what_goes_to`](Self::lose_what_goes_to).
    pub fn reach_again(&self, other: &Self) {
        self.namespace
            .ip(&["neighbour", "delete", &other.ip(), "dev", Self::INTERFACE]);
    }

    fn ip(&self) -> String {
        format!("10.0.0.{}", self.mac[5])
    }

    /// Lets `record` run on this machine until the watcher is told to end, which its second argument tells.
    pub fn record<T: Clone + Default + Send + 'static>(
        &self,
        record: impl FnOnce(&Mutex<T>, &dyn Fn() -> bool) + Send + 'static,
    ) -> Watcher<T> {
        let place = self.namespace.open();
        Watcher::start(move |seen, is_over| {
            enter(&place);
            record(seen, is_over);
        })
    }

    /// Whether it has `ip`.
    pub fn has(&self, ip: IpAddr) -> bool {
        let looked = self.namespace.run(move || has_address(ip)).join();
        looked.expect("the look does not panic")
    }

    /// Records who claims `ip` where this machine hears it, from now on: each frame once.
    pub fn sniff(&self, ip: IpAddr) -> Watcher<Vec<Claim>> {
        sniff(&self.namespace, ip)
    }

    /// Where it believes `ip` to be.
    pub fn neighbour(&self, ip: IpAddr) -> Option<Mac> {
        let shown = self.namespace.ip(&["neighbour", "show", &ip.to_string()]);
        let mut words = shown.split_whitespace();
        words.find(|word| *word == "lladdr")?;
        let mut mac = Mac::default();
        for (byte, text) in mac.iter_mut().zip(words.next()?.split(':')) {
            *byte = u8::from_str_radix(text, 16).ok()?;
        }
        Some(mac)
    }
}

/// Whether the namespace of this thread has `ip`, by the tables of the kernel.
fn has_address(ip: IpAddr) -> bool {
    let read = |table: &str| {
        fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap_or_default()
    };
    match ip {
        IpAddr::V4(ip) => {
            let (trie, leaf) = (read("fib_trie"), format!("|-- {ip}"));
            let mut lines = trie.lines().map(str::trim);
            lines.any(|line| line == leaf)
                && lines.next().is_some_and(|line| line.contains("host LOCAL"))
        }
        IpAddr::V6(ip) => {
            let digits = u128::from(ip);
            read("if_inet6").contains(&format!("{digits:032x}"))
        }
    }
}

/// A frame that says that `ip` is at `mac`: ARP, or a neighbour advertisement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// When it was seen.
    pub at: Instant,
    /// Which address.
    pub ip: IpAddr,
    /// Who says so.
    pub mac: Mac,
    /// The ARP operation, 1 a request and 2 a reply; or the `ICMPv6` type 136.
    pub kind: u8,
    /// It goes to everybody.
    pub to_all: bool,
}

fn sniff(place: &Namespace, ip: IpAddr) -> Watcher<Vec<Claim>> {
    // ETH_P_ALL: frames of every protocol.
    let all = Protocol::from_raw(u32::from(3_u16.to_be()).try_into().expect("not 0"));
    let place = place.open();
    let listening = Arc::new(Barrier::new(2));
    let begun = Arc::clone(&listening);
    let watcher = Watcher::start(move |claims: &Mutex<Vec<Claim>>, is_over| {
        enter(&place);
        let (family, kind) = (AddressFamily::PACKET, SocketType::RAW);
        let socket = socket_with(family, kind, SocketFlags::CLOEXEC, Some(all));
        let socket = socket.expect("a packet socket");
        let patience = Some(Duration::from_millis(20));
        set_socket_timeout(&socket, Timeout::Recv, patience).expect("a timeout");
        begun.wait();
        let mut frame = [0; 2048];
        while !is_over() {
            let Ok((read, _)) = recv(&socket, &mut frame[..], RecvFlags::empty()) else {
                continue;
            };
            let claim = claim(&frame[..read]).filter(|claim| claim.ip == ip);
            lock(claims).extend(claim);
        }
    });
    listening.wait();
    watcher
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn claim(frame: &[u8]) -> Option<Claim> {
    let to_all = frame.first()? & 1 == 1;
    let found = |ip, mac: &[u8], kind| {
        Some(Claim {
            at: Instant::now(),
            ip,
            mac: mac.try_into().ok()?,
            kind,
            to_all,
        })
    };
    match frame.get(12..14)? {
        [0x08, 0x06] => {
            let sender: [u8; 4] = frame.get(28..32)?.try_into().ok()?;
            found(sender.into(), frame.get(22..28)?, *frame.get(21)?)
        }
        [0x86, 0xdd] if frame.get(20) == Some(&58) && frame.get(54) == Some(&136) => {
            let target: [u8; 16] = frame.get(62..78)?.try_into().ok()?;
            found(Ipv6Addr::from(target).into(), frame.get(6..12)?, 136)
        }
        _ => None,
    }
}

/// What [`Lan::watch`] saw.
#[derive(Debug, Clone, Default)]
pub struct Sightings {
    /// How often two hosts had the address at once.
    pub overlaps: u64,
    /// When each was last seen with it.
    pub last: Vec<Option<Instant>>,
}

/// A thread that records until it is told to end.
#[derive(Debug)]
pub struct Watcher<T> {
    over: Arc<AtomicBool>,
    seen: Arc<Mutex<T>>,
    thread: JoinHandle<()>,
}

impl<T: Clone + Default + Send + 'static> Watcher<T> {
    fn start(record: impl FnOnce(&Mutex<T>, &dyn Fn() -> bool) + Send + 'static) -> Self {
        let (over, seen) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<T>>::default());
        let (told, notes) = (Arc::clone(&over), Arc::clone(&seen));
        let thread = thread::spawn(move || record(&notes, &|| told.load(Ordering::Relaxed)));
        Self { over, seen, thread }
    }

    /// What it has recorded so far.
    pub fn so_far(&self) -> T {
        lock(&self.seen).clone()
    }

    /// Ends it, and gives what it has recorded.
    pub fn finish(self) -> T {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().expect("a watcher that does not panic");
        lock(&self.seen).clone()
    }
}
