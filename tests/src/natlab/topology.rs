//! Who is where: machines, cables, routers.

use super::host::{Host, Running, Service};
use super::nat::Kind;
use super::space;
use crate::process::Process;
use futures_util::future::join_all;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
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
        Self::build_in(Net::default(), supernodes, kinds).await
    }

    /// The same with IPv6 as well: for every machine on the internet, and, without translation, for
    /// every host behind a single router that lets UDP out. That lets nothing in over IPv6 but what
    /// belongs to something that went out.
    pub async fn build_dual(supernodes: usize, kinds: &[Kind]) -> Self {
        Self::build_in(Net { has_v6: true, ..Net::default() }, supernodes, kinds).await
    }

    async fn build_in(mut net: Net, supernodes: usize, kinds: &[Kind]) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the lab");
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
        let login = Service::start("login", &login_at, folder.path()).await;
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

    /// Starts the first two hosts as supernodes and the others as ordinary nodes, and waits until
    /// these are attached to both.
    ///
    /// # Panics
    /// If one is not within [`PATIENCE`](crate::PATIENCE).
    pub async fn attached(&self) -> (Vec<Running>, Vec<Running>) {
        let (geese, others) = self.hosts().split_at(2);
        let supernodes = join_all(geese.iter().map(|host| host.up(&["--role", "super"]))).await;
        let nodes = join_all(others.iter().map(|host| host.up(&["--role", "ordinary"]))).await;
        join_all(nodes.iter().map(|node| async {
            node.until("has a parent and a standby", |status| {
                status.attachment.parent.is_some() && status.attachment.standby.is_some()
            })
            .await
        }))
        .await;
        (supernodes, nodes)
    }

    /// Takes a host's addresses of one version of IP, 4 or 6, away.
    ///
    /// # Panics
    /// If that is refused.
    pub fn without_ip(&self, version: u8, host: &str) {
        let _ = space::run(&format!("ip -n {host} -{version} addr flush dev eth0 scope global"));
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

/// The router in the middle, for IPv6.
const INTERNET_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 1);

/// What is to be built.
#[derive(Debug, Default)]
struct Net {
    /// Whether there is IPv6, too.
    has_v6: bool,
    publics: u16,
    privates: u8,
    machines: Vec<String>,
    /// Cables, as `ip` reads them, and who forwards.
    links: String,
    /// What is done on the machines.
    steps: String,
    /// How what is routed between them finds those behind routers.
    far: Vec<String>,
}

impl Net {
    /// A machine on the internet.
    fn public(&mut self, name: &str) -> Vec<IpAddr> {
        let addresses = self.plug_in(name, "eth0");
        self.at(name, &["link set lo up"]);
        addresses
    }

    /// A host behind its router.
    fn host(&mut self, name: &str, kind: Kind) {
        let Some(rules) = kind.router() else {
            self.public(name);
            return;
        };
        let outer = format!("{name}-r");
        let outside = self.plug_in(&outer, "wan");
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
        if let [_, IpAddr::V6(outside)] = outside[..]
            && kind.has_udp()
            && kind != Kind::Double
        {
            self.route_v6(name, &inner, outside);
        }
        self.at(name, &["link set lo up"]);
        self.rules(name, kind.host());
    }

    /// Connects a machine to the internet, and answers with its addresses there.
    fn plug_in(&mut self, name: &str, device: &str) -> Vec<IpAddr> {
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
        let mut addresses = vec![IpAddr::from(address)];
        if self.has_v6 {
            let v6 = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 1, self.publics);
            self.allow_v6(name);
            self.at(name, &v6_lines(v6, device, INTERNET_V6));
            addresses.push(v6.into());
        }
        addresses
    }

    /// Where it is switched off for new namespaces, it is switched on in this one.
    fn allow_v6(&mut self, name: &str) {
        let switch = "/proc/sys/net/ipv6/conf/all/disable_ipv6";
        let _ = writeln!(self.steps, "ip netns exec {name} sh -c 'echo 0 > {switch}'");
    }

    /// Gives a host addresses of IPv6, and a router between it and the internet, which is at
    /// `outside` there.
    fn route_v6(&mut self, name: &str, router: &str, outside: Ipv6Addr) {
        let number = self.privates.into();
        let net = |host| Ipv6Addr::new(0x2001, 2, 0, number, 0, 0, 0, host);
        let inside = net(1);
        let lines = v6_lines(net(2), "eth0", inside);
        self.allow_v6(name);
        self.at(router, &[&format!("addr add {inside}/64 dev lan nodad")]);
        self.at(name, &lines);
        self.far.push(format!("route add {}/64 via {outside}", net(0)));
        self.rules(
            router,
            "table ip6 flt { chain forward { type filter hook forward priority 0; \
             iifname wan ct state new drop; }; }",
        );
        let forwarding = "/proc/sys/net/ipv6/conf/all/forwarding";
        let _ = writeln!(self.steps, "ip netns exec {router} sh -c 'echo 1 > {forwarding}'");
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

    fn at(&mut self, name: &str, lines: &[impl AsRef<str>]) {
        self.steps.push_str(&ip_lines(name, lines));
    }

    fn script(&self) -> String {
        let mut script = format!(
            "ip -b - <<'END'\nlink set lo up\nlink add br0 type bridge\nlink set br0 up\nEND\n{}",
            self.machines_and_cables()
        );
        if self.has_v6 {
            // What is in the middle is a router for IPv6.
            script.push_str("echo 0 > /proc/sys/net/ipv6/conf/all/disable_ipv6\n");
            script.push_str("echo 1 > /proc/sys/net/ipv6/conf/all/forwarding\n");
            let _ = write!(script, "ip -b - <<'END'\naddr add {INTERNET_V6}/64 dev br0 nodad\n");
            self.far.iter().for_each(|line| {
                let _ = writeln!(script, "{line}");
            });
            script.push_str("END\n");
        }
        script
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

/// Gives a machine an address of IPv6 and its way out.
fn v6_lines(address: Ipv6Addr, device: &str, router: Ipv6Addr) -> Vec<String> {
    let address = format!("addr add {address}/64 dev {device} nodad");
    vec![address, format!("route add ::/0 via {router} dev {device}")]
}

fn ip_lines(machine: &str, lines: &[impl AsRef<str>]) -> String {
    let lines: Vec<&str> = lines.iter().map(AsRef::as_ref).collect();
    format!("ip -n {machine} -b - <<'END'\n{}\nEND\n", lines.join("\n"))
}

fn rule_lines(machine: &str, rules: &str) -> String {
    format!("ip netns exec {machine} nft -f - <<'END'\n{}\nEND\n", rules.trim_end())
}
