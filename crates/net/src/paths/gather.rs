//! Where this node may be reached: what its interfaces say, its routers, and those who see it.

use super::candidate::{Candidate, CandidateKind, is_private, tidy};
use super::frame::{Body, ProbeKey, Side};
use super::machine::Families;
use super::nat::Mapping;
use super::prober::Prober;
use crate::connection::Connection;
use crate::endpoint::Endpoint;
use crate::relay::frame::SlotNumber;
use crate::session::{Probing, Sessions, is_virtual};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// Connections of one address family over which it is asked where the node is seen: two tell the kind
/// of its router, a third the step of its ports; one more may be silent.
const OBSERVERS: usize = 4;

/// Answers that tell the kind of a router.
const ENOUGH: usize = 2;

/// How long an answer is waited for, and after that once more. A session does not wait for it: it
/// begins over a relay.
const PATIENCE: Duration = Duration::from_millis(300);

/// When there are enough answers, the others get as long again as these took, and this at least.
const LEAST_REST: Duration = Duration::from_millis(50);

/// Where a node may be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gathered {
    /// At most [`MAX_CANDIDATES`](super::MAX_CANDIDATES), the likeliest first.
    pub candidates: Vec<Candidate>,
    /// What stands between it and others.
    pub mapping: Mapping,
}

/// The connections over which to ask where this node is seen, those first that are to be asked first.
///
/// Whoever is asked can name any address, and what he names is told to peers, who probe it. So those
/// whom this node has chosen itself are asked (`near`), and `others` only where there are fewer than
/// two of them. Those at public addresses are asked if there are any: who is in the same private
/// network sees the node on this side of its router. Both hold for IPv4 and for IPv6 separately.
pub fn observers(near: &[Connection], others: &[Connection]) -> Vec<Connection> {
    let all: Vec<&Connection> = near.iter().chain(others).collect();
    let mut choice = Vec::new();
    for (at, connection) in all.iter().enumerate() {
        if sees(connection) {
            let ip = connection.remote_address().ip().to_canonical();
            choice.push(Choice { at, ip, near: at < near.len() });
        }
    }
    choose(&choice).into_iter().filter_map(|at| all.get(at).map(|it| (*it).clone())).collect()
}

/// Whether it says something of this node's UDP port.
fn sees(connection: &Connection) -> bool {
    connection.observer().is_some() && !connection.is_over_tcp()
}

/// Who may be asked: which one, where it is, and whether this node has chosen it.
#[derive(Clone, Copy, Debug)]
struct Choice {
    at: usize,
    ip: IpAddr,
    near: bool,
}

fn choose(all: &[Choice]) -> Vec<usize> {
    let mut chosen = Vec::new();
    for is_v4 in [true, false] {
        let family = || all.iter().filter(move |one| one.ip.is_ipv4() == is_v4);
        let private = family().all(|one| is_private(one.ip));
        let of = |near: bool| {
            family().filter(move |one| one.near == near && is_private(one.ip) == private)
        };
        let others = if of(true).count() < ENOUGH { OBSERVERS } else { 0 };
        chosen.extend(of(true).chain(of(false).take(others)).take(OBSERVERS).map(|one| one.at));
    }
    chosen
}

/// Addresses of the machine's own that are named, of IPv4 and of IPv6.
const LOCAL_OF_VERSION: usize = 8;

impl Endpoint {
    /// Where this node may be reached, asked of itself, its router and these [`observers`]. It takes
    /// a round trip to the nearest two of them, and as long again if others are silent; 600 ms if
    /// all are, or all but one.
    pub async fn gather(&self, observers: &[Connection]) -> Gathered {
        // Apart, so that quick answers over the one version do not cut off slow ones over the other.
        let asked = |is_v4: bool| {
            let of_version =
                move |one: &&Connection| sees(one) && one.remote_address().is_ipv4() == is_v4;
            answers(observers.iter().filter(of_version).map(Connection::observe))
        };
        let (mut over_v4, mut over_v6) = tokio::join!(asked(true), asked(false));
        // Over one version nobody sees where this node is with the other.
        over_v4.retain(SocketAddr::is_ipv4);
        over_v6.retain(SocketAddr::is_ipv6);
        let observed = [over_v4, over_v6].concat();
        let mut own = self.own_addresses();
        // First those that this machine sends from into the internet: that is where its network is,
        // and not one of its virtual machines.
        let out = crate::everywhere::sources();
        own.sort_by_key(|ip| !out.contains(ip));
        let port = self.local_addr().map_or(0, |address| address.port());
        let of_kind = |kind| move |address| Candidate { address, kind };
        // A machine may have dozens of IPv6 addresses, which must not take the room of the others.
        let of_version =
            |is_v4: bool| own.iter().filter(move |ip| ip.is_ipv4() == is_v4).take(LOCAL_OF_VERSION);
        let local = of_version(true).chain(of_version(false)).map(|ip| SocketAddr::new(*ip, port));
        let mut candidates: Vec<Candidate> = local.map(of_kind(CandidateKind::Local)).collect();
        candidates.extend(self.mapped_address().map(of_kind(CandidateKind::Mapped)));
        let mut mapping = Mapping::Unknown;
        // IPv4 first: it is what routers translate.
        for is_v4 in [true, false] {
            let family = observed.iter().filter(|at| at.is_ipv4() == is_v4);
            let family: Vec<SocketAddr> = family.copied().collect();
            let of_family = Mapping::of(&family, &own, port);
            if mapping == Mapping::Unknown {
                mapping = of_family;
            }
            let predicted = of_family.predict(&family);
            candidates.extend(family.into_iter().map(of_kind(CandidateKind::Observed)));
            candidates.extend(predicted.into_iter().map(of_kind(CandidateKind::Predicted)));
        }
        tidy(&mut candidates);
        Gathered { candidates, mapping }
    }

    pub(crate) fn families(&self) -> Families {
        self.local_addr().map_or(Families::Both, Families::of)
    }
}

/// The end of a connection that says where it sees the other end, and asks where it is seen. Both
/// ends draw number and key from the connection's TLS secrets (RFC 5705), so nobody else can make
/// a node answer.
pub(crate) fn observer(
    quic: &quinn::Connection,
    dialler: bool,
    sessions: &Arc<Sessions>,
) -> Option<Probing> {
    if is_virtual(&quic.remote_address()) {
        // Its packets come along many paths; its session knows where it is seen.
        return None;
    }
    let mut secret = [0; 40];
    quic.export_keying_material(&mut secret, b"EXPORTER-skein-observe", b"").ok()?;
    let (number, key) = secret.split_first_chunk()?;
    let number = SlotNumber::new(u64::from_be_bytes(*number));
    let key = ProbeKey::from_bytes(key.try_into().ok()?);
    let side = if dialler { Side::Caller } else { Side::Callee };
    let prober = Arc::new(Prober::of_connection(number, key, side));
    Some(Probing::new(Arc::clone(sessions), prober))
}

/// What was answered, in the order in which it was asked; without those who were silent for clearly
/// longer than the others.
async fn answers<F: Future<Output = Option<SocketAddr>>>(
    asked: impl Iterator<Item = F>,
) -> Vec<SocketAddr> {
    let began = Instant::now();
    let numbered = asked.enumerate().map(|(at, asked)| async move { (at, asked.await) });
    let mut asked: FuturesUnordered<_> = numbered.collect();
    let mut answers = BTreeMap::new();
    let mut until = None;
    loop {
        let answer = match until {
            Some(until) => timeout_at(until, asked.next()).await.ok().flatten(),
            None => asked.next().await,
        };
        let Some((at, answer)) = answer else { break };
        answers.extend(answer.map(|answer| (at, answer)));
        if until.is_none() && answers.len() >= ENOUGH {
            until = Some(Instant::now() + began.elapsed().max(LEAST_REST));
        }
    }
    answers.into_values().collect()
}

impl Connection {
    /// Where the peer sees this node. `None` if it does not answer.
    pub async fn observe(&self) -> Option<SocketAddr> {
        let probing = self.observer()?;
        for _ in 0..2 {
            let (transaction, reply) = probing.prober().await_reply()?;
            let probe = probing.prober().seal(transaction, Body::Probe { in_use: false });
            probing.send(self.remote_address(), &probe);
            if let Ok(Ok(observed)) = timeout(PATIENCE, reply).await {
                return Some(observed);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::future::{pending, ready};
    use tokio::time::sleep;

    /// Who is chosen of these: `+` is one that this node has chosen itself, `-` another.
    fn chosen<'a>(all: &[&'a str]) -> Vec<&'a str> {
        let choice = all.iter().enumerate().map(|(at, one)| {
            let (near, ip) = one.split_at(1);
            Choice { at, ip: ip.parse().unwrap(), near: near == "+" }
        });
        choose(&choice.collect::<Vec<_>>()).into_iter().map(|at| all[at]).collect()
    }

    #[test]
    fn two_that_the_node_has_chosen_itself_are_asked_and_nobody_else() {
        let all = ["+192.0.2.1", "+192.0.2.2", "-203.0.113.1", "-203.0.113.2"];
        assert_eq!(chosen(&all), ["+192.0.2.1", "+192.0.2.2"]);
        assert_eq!(chosen(&all[1..]), all[1..], "one is not enough");
        let many = ["+192.0.2.1"; 7];
        assert_eq!(chosen(&many).len(), OBSERVERS);
        assert!(chosen(&[]).is_empty());
    }

    #[test]
    fn who_is_in_a_private_network_is_asked_only_where_all_are() {
        assert_eq!(
            chosen(&["+192.168.1.7", "+192.0.2.1", "+192.0.2.2"]),
            ["+192.0.2.1", "+192.0.2.2"]
        );
        assert_eq!(chosen(&["+192.168.1.7", "-203.0.113.1"]), ["-203.0.113.1"]);
        assert_eq!(chosen(&["+192.168.1.7", "-10.0.0.1"]), ["+192.168.1.7", "-10.0.0.1"]);
    }

    #[test]
    fn both_address_families_are_chosen_for_separately() {
        let all =
            ["+192.0.2.1", "+192.0.2.2", "+2001:db8::1", "-2001:db8::2", "-192.0.2.3", "-fd00::1"];
        assert_eq!(chosen(&all), all[..4]);
    }

    fn at(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    async fn after(millis: u64, answer: Option<SocketAddr>) -> Option<SocketAddr> {
        sleep(Duration::from_millis(millis)).await;
        answer
    }

    #[tokio::test(start_paused = true)]
    async fn when_there_are_enough_answers_who_is_silent_is_not_waited_for() {
        let began = Instant::now();
        let asked = [after(160, Some(at(1))), after(600, None), after(80, Some(at(3)))];
        assert_eq!(answers(asked.into_iter()).await, [at(1), at(3)], "as they were asked");
        assert_eq!(began.elapsed(), Duration::from_millis(320));
    }

    #[tokio::test(start_paused = true)]
    async fn one_answer_alone_is_waited_with_and_a_third_one_has_its_time() {
        let asked = [after(600, None), after(80, Some(at(1)))];
        let began = Instant::now();
        assert_eq!(answers(asked.into_iter()).await, [at(1)]);
        assert_eq!(began.elapsed(), Duration::from_millis(600));
        let asked = [after(1, Some(at(1))), after(1, Some(at(2))), after(40, Some(at(3)))];
        assert_eq!(answers(asked.into_iter()).await, [at(1), at(2), at(3)]);
        assert!(answers([ready(None)].into_iter()).await.is_empty());
        let never = timeout(PATIENCE, answers([pending()].into_iter())).await;
        assert!(never.is_err(), "each has a limit of its own");
    }
}
