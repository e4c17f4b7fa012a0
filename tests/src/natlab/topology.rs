//! Who is where: machines, cables, routers.

use super::host::{Host, Service};
use super::nat::Kind;
use super::space;
use crate::process::Process;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// The lab: a login service, and hosts behind what stands between them.
///
/// It owns the folder in which all of its nodes live: drop the nodes first.
#[derive(Debug)]
pub struct Lab {
    login: Service,
    hosts: Vec<Host>,
    folder: TempDir,
}

impl Lab {
    /// Builds the machines and starts the login service. There are `supernodes` public ones, and
    /// one host for each of `kinds`, which may repeat.
    pub async fn build(supernodes: usize, kinds: &[Kind]) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the lab");
        let mut net = Net::default();
        let login_at = net.public("login");
        let mut names: Vec<(String, Kind)> = Vec::new();
        for number in 0..supernodes {
            names.push((format!("goose{number}"), Kind::Public));
        }
        for (place, kind) in kinds.iter().enumerate() {
            let before = kinds[..place].iter().filter(|other| *other == kind).count();
            let number = if before == 0 { String::new() } else { (before + 1).to_string() };
            names.push((format!("{kind}{number}"), *kind));
        }
        for (name, kind) in &names {
            net.host(name, *kind);
        }
        let _ = space::run(&net.script());
        let login = Service::start("login", login_at, folder.path()).await;
        let host =
            |(name, kind): (String, Kind)| Host::new(&name, kind, folder.path(), login.ticket());
        let hosts = names.into_iter().map(host).collect();
        Self { login, hosts, folder }
    }

    /// The host with this name: `goose0` and so on, the name of its kind, and with a number from 2
    /// on for further ones of that kind.
    ///
    /// # Panics
    /// If there is none.
    pub fn host(&self, name: &str) -> &Host {
        let found = self.hosts.iter().find(|host| host.name() == name);
        found.unwrap_or_else(|| panic!("there is no host {name}"))
    }

    /// All hosts, the supernodes first.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The login service.
    pub fn login(&self) -> &Service {
        &self.login
    }

    /// Changes the network of a machine: each line is one that `ip -b` reads. The router of a host is
    /// the host's name with `-r` after it, its devices are `lan` and `wan`; a host has `eth0`.
    ///
    /// # Panics
    /// If a line is refused.
    pub fn ip(&self, machine: &str, lines: &[&str]) {
        let _ = space::run(&ip_lines(machine, lines));
    }

    /// Adds to the packet filter of a machine what `nft -f` reads.
    ///
    /// # Panics
    /// If it is refused.
    pub fn rules(&self, machine: &str, rules: &str) {
        let _ = space::run(&rule_lines(machine, rules));
    }

    /// How many packets one of the named counters in a machine's packet filter has seen.
    ///
    /// # Panics
    /// If there is no such counter.
    pub fn counted(&self, machine: &str, family_table_and_name: &str) -> u64 {
        let words = format!("ip netns exec {machine} nft list counter {family_table_and_name}");
        let said = space::run(&words);
        let number = said.split_once("packets ").and_then(|(_, rest)| rest.split(' ').next());
        number.and_then(|number| number.parse().ok()).expect("a counter says its packets")
    }

    /// A further router, which translates nothing, on a way of its own between two hosts: its ends
    /// are `left` and `right`, those of the hosts `vpn`, with the addresses `10.7.1.2` and
    /// `10.7.2.2`. The hosts have no addresses there and do not use it yet; see
    /// [`Lab::use_shortcut`].
    pub fn shortcut(&self, name: &str, left: &str, right: &str) {
        let mut net = Net::default();
        net.machine(name);
        for (end, host, number) in [("left", left, 1), ("right", right, 2)] {
            let _ = writeln!(
                net.links,
                "link add {end} netns {name} type veth peer name vpn netns {host}"
            );
            net.at(name, &[&format!("addr add 10.7.{number}.1/24 dev {end}")]);
            net.at(name, &[&format!("link set {end} up")]);
        }
        net.router(name, "");
        let _ = space::run(&net.machines_and_cables());
    }

    /// Lets the two hosts of a [`Lab::shortcut`] use it.
    pub fn use_shortcut(&self, left: &str, right: &str) {
        for (host, own, other) in [(left, 1, 2), (right, 2, 1)] {
            let address = format!("addr add 10.7.{own}.2/24 dev vpn");
            let route = format!("route add 10.7.{other}.0/24 via 10.7.{own}.1");
            self.ip(host, &[&address, "link set vpn up", &route]);
        }
    }

    /// Starts one of the lab's own programs on a machine; see the program `machine` of this crate.
    pub fn program(&self, machine: &str, program: &str, words: &[&str]) -> Process {
        let mut command = Command::new(program);
        command.args(words);
        let name = format!("{} of {machine}", words.first().unwrap_or(&program));
        let log = self.folder.path().join(format!("{machine}.program.log"));
        Process::spawn(&name, space::at(machine, &command), &log)
    }

    /// A folder in the lab's own, made if it is not there.
    pub fn folder(&self, name: &str) -> PathBuf {
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(&folder).expect("the folder can be made");
        folder
    }
}

/// What is to be built.
#[derive(Debug, Default)]
struct Net {
    publics: u16,
    privates: u8,
    machines: Vec<String>,
    /// Cables, as `ip` reads them, and who forwards.
    links: String,
    /// What is done on the machines.
    steps: String,
}

impl Net {
    /// A machine on the internet.
    fn public(&mut self, name: &str) -> Ipv4Addr {
        let address = self.plug_in(name, "eth0");
        self.at(name, &["link set eth0 up", "link set lo up"]);
        address
    }

    /// A host behind its router.
    fn host(&mut self, name: &str, kind: Kind) {
        let Some(rules) = kind.router() else {
            self.public(name);
            return;
        };
        let outer = format!("{name}-r");
        self.plug_in(&outer, "wan");
        self.router(&outer, &rules);
        let inner = match kind {
            Kind::Double => {
                let inner = format!("{name}-i");
                self.wire(&inner, "wan", &outer);
                self.router(&inner, &rules);
                inner
            }
            _ => outer,
        };
        self.wire(name, "eth0", &inner);
        self.at(name, &["link set lo up"]);
        self.rules(name, kind.host());
    }

    /// Connects a machine to the internet.
    fn plug_in(&mut self, name: &str, device: &str) -> Ipv4Addr {
        self.publics += 1;
        let [high, low] = (self.publics + 9).to_be_bytes();
        let address = Ipv4Addr::new(198, 18, high, low);
        let end = format!("p{}", self.publics);
        self.machine(name);
        let _ = writeln!(self.links, "link add {end} type veth peer name {device} netns {name}");
        let _ = writeln!(self.links, "link set {end} master br0 up");
        self.at(
            name,
            &[&format!("addr add {address}/16 dev {device}"), &format!("link set {device} up")],
        );
        address
    }

    /// Connects a machine to the inner side of a router, which is its way out.
    fn wire(&mut self, name: &str, device: &str, router: &str) {
        self.privates += 1;
        let net = format!("192.168.{}", self.privates);
        self.machine(name);
        let _ = writeln!(
            self.links,
            "link add lan netns {router} type veth peer name {device} netns {name}"
        );
        self.at(router, &[&format!("addr add {net}.1/24 dev lan"), "link set lan up"]);
        self.at(
            name,
            &[
                &format!("addr add {net}.2/24 dev {device}"),
                &format!("link set {device} up"),
                &format!("route add default via {net}.1"),
            ],
        );
    }

    fn machine(&mut self, name: &str) {
        if !self.machines.iter().any(|known| known == name) {
            self.machines.push(name.to_owned());
        }
    }

    fn router(&mut self, name: &str, rules: &str) {
        let _ = writeln!(
            self.steps,
            "ip netns exec {name} sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'"
        );
        self.rules(name, rules);
    }

    fn rules(&mut self, name: &str, rules: &str) {
        if !rules.is_empty() {
            self.steps.push_str(&rule_lines(name, rules));
        }
    }

    fn at(&mut self, name: &str, lines: &[&str]) {
        self.steps.push_str(&ip_lines(name, lines));
    }

    fn script(&self) -> String {
        format!(
            "ip -b - <<'END'\nlink set lo up\nlink add br0 type bridge\nlink set br0 up\nEND\n{}",
            self.machines_and_cables()
        )
    }

    fn machines_and_cables(&self) -> String {
        let machines: String =
            self.machines.iter().map(|name| format!("netns add {name}\n")).collect();
        format!(
            "ip -b - <<'END'\n{machines}END\nip -b - <<'END'\n{}END\n{}",
            self.links, self.steps
        )
    }
}

fn ip_lines(machine: &str, lines: &[&str]) -> String {
    format!("ip -n {machine} -b - <<'END'\n{}\nEND\n", lines.join("\n"))
}

fn rule_lines(machine: &str, rules: &str) -> String {
    format!("ip netns exec {machine} nft -f - <<'END'\n{}\nEND\n", rules.trim_end())
}
