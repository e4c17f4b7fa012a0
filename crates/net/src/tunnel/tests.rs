//! Hostile clients, and UDP that comes and goes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::config::EndpointConfig;
use crate::connection::Connection;
use crate::endpoint::Endpoint;
use crate::socket::{RecvMeta, Transmit, UdpSocket, WritePoller};
use crate::stream::Stream;
use crate::tls::{self, SERVER_NAME};
use rustls::pki_types::ServerName;
use skein_proto::message::Probe;
use skein_proto::{KeyPair, Message};
use std::io::{self, IoSliceMut};
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

fn key(seed: u8) -> KeyPair {
    KeyPair::from_seed(&[seed; 32])
}

fn loopback() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn bind(seed: u8, config: EndpointConfig) -> Endpoint {
    Endpoint::bind(&key(seed), loopback(), config).unwrap()
}

/// A tunnel as somebody opens one who writes his own program.
async fn open(to: &Endpoint) -> io::Result<TlsStream<TcpStream>> {
    open_from(Ipv4Addr::LOCALHOST, to).await
}

/// The same, from one of this machine's addresses.
async fn open_from(from: Ipv4Addr, to: &Endpoint) -> io::Result<TlsStream<TcpStream>> {
    let identity = Identity::new(&key(66)).unwrap();
    let (mut config, _) = tls::expecting(&identity.client().unwrap(), to.node_id());
    config.alpn_protocols = vec![ALPN.to_vec()];
    let name = ServerName::try_from(SERVER_NAME).unwrap();
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    let tcp = socket.connect(to.local_addr().unwrap()).await?;
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

/// Waits until the other side has ended it.
async fn ended(mut stream: impl AsyncReadExt + Unpin) {
    let mut rest = [0; 1_024];
    while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
}

async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let all = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(timeout(Duration::from_secs(60), all).await.is_ok(), "{what}");
}

#[tokio::test]
async fn whoever_announces_too_much_is_let_go() {
    let endpoint = bind(1, EndpointConfig::default());
    let mut tunnel = open(&endpoint).await.unwrap();
    tunnel.write_all(&[0xff, 0xff, 1, 2, 3]).await.unwrap();
    ended(tunnel).await;
    eventually("it is counted", || endpoint.stats().tunnels_misused == 1).await;
    eventually("its place is free", || endpoint.stats().tunnels_incoming_live == 0).await;
}

#[tokio::test]
async fn garbage_in_a_tunnel_is_dropped_as_garbage_of_udp_is_and_reaches_nobody_else() {
    let endpoint = bind(1, EndpointConfig::default());
    let mut tunnel = open(&endpoint).await.unwrap();
    let mut bytes = Vec::new();
    for first in 0..=255_u8 {
        wire::write(&[first; 100], &mut bytes);
        wire::write(&probe::UdpProbe::Probe([first; 16]).encode(), &mut bytes);
    }
    tunnel.write_all(&bytes).await.unwrap();
    eventually("all are taken up", || endpoint.stats().tunnel_datagrams_in == 512).await;
    assert_eq!(endpoint.stats().datagrams_out, 0, "nothing goes out over UDP");
    assert_eq!(endpoint.stats().tunnels_incoming_live, 1);
}

#[tokio::test]
async fn what_is_no_tls_is_no_tunnel() {
    let endpoint = bind(1, EndpointConfig::default());
    let mut tcp = TcpStream::connect(endpoint.local_addr().unwrap()).await.unwrap();
    tcp.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    ended(tcp).await;
    eventually("it is counted", || endpoint.stats().tunnels_failed == 1).await;
}

#[tokio::test]
async fn there_are_no_more_tunnels_than_are_allowed() {
    let endpoint = bind(1, EndpointConfig::default().max_tunnels(2));
    let (_one, other) = (open(&endpoint).await.unwrap(), open(&endpoint).await.unwrap());
    eventually("both are open", || endpoint.stats().tunnels_incoming_live == 2).await;
    assert!(open(&endpoint).await.is_err());
    assert_eq!(endpoint.stats().tunnels_refused_full, 1);
    drop(other);
    eventually("a place is free", || endpoint.stats().tunnels_incoming_live == 1).await;
    open(&endpoint).await.unwrap();
}

/// Of the addresses of this machine, Linux lets a program use all of 127.0.0.0/8.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn who_has_taken_all_tunnels_makes_room_for_another_network_and_nobody_else_does() {
    let endpoint = bind(1, EndpointConfig::default().max_tunnels(2));
    let live = |what| eventually(what, || endpoint.stats().tunnels_incoming_live == 2);
    let [one, other, third] = [0, 1, 2].map(|network| Ipv4Addr::new(127, 0, network, 1));
    let first = open_from(one, &endpoint).await.unwrap();
    eventually("the first is open", || endpoint.stats().tunnels_incoming_live == 1).await;
    let second = open_from(one, &endpoint).await.unwrap();
    live("both are open").await;

    let elsewhere = open_from(other, &endpoint).await.unwrap();
    ended(second).await;
    live("the newest has made room").await;
    assert!(open_from(third, &endpoint).await.is_err(), "each network has one");
    assert_eq!((endpoint.stats().tunnels_made_room, endpoint.stats().tunnels_refused_full), (1, 1));
    let mut both = [first, elsewhere];
    for (n, tunnel) in (1..).zip(&mut both) {
        let mut bytes = Vec::new();
        wire::write(&[1; 100], &mut bytes);
        tunnel.write_all(&bytes).await.unwrap();
        eventually("it carries", || endpoint.stats().tunnel_datagrams_in == n).await;
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn handshakes_that_nobody_finishes_make_room_for_those_of_others() {
    let endpoint = bind(1, EndpointConfig::default().max_pending_handshakes(2));
    let address = endpoint.local_addr().unwrap();
    let _first = TcpStream::connect(address).await.unwrap();
    let second = TcpStream::connect(address).await.unwrap();
    let _opened = open_from(Ipv4Addr::new(127, 0, 1, 1), &endpoint).await.unwrap();
    ended(second).await;
    assert_eq!(endpoint.stats().tunnels_made_room, 1);
}

#[tokio::test]
async fn an_address_begins_no_more_tunnels_than_its_rate() {
    let endpoint = bind(1, EndpointConfig::default().handshake_rate(2, 1));
    // Two at once, and one more with each second that it takes.
    let (begun, mut held) = (std::time::Instant::now(), Vec::new());
    let until_refused = async {
        let mut refused = 0;
        while refused == 0 {
            let (one, two, three) = tokio::join!(open(&endpoint), open(&endpoint), open(&endpoint));
            for opened in [one, two, three] {
                refused += u64::from(opened.is_err());
                held.extend(opened);
            }
        }
        refused
    };
    let refused = timeout(Duration::from_secs(60), until_refused).await.expect("the rate is over");
    assert_eq!(endpoint.stats().tunnels_refused_rate, refused);
    assert!(held.len() as u64 <= 2 + begun.elapsed().as_secs(), "{} tunnels", held.len());
}

/// The system's socket behind a router that can be told to drop everything, or everything but probes.
#[derive(Debug)]
struct Router {
    socket: Arc<UdpSocket>,
    blocks: AtomicBool,
    passes_probes: AtomicBool,
}

impl DatagramSocket for Router {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let passes = !self.blocks.load(Ordering::Relaxed)
            || (self.passes_probes.load(Ordering::Relaxed)
                && probe::UdpProbe::decode(transmit.contents).is_some());
        if passes { self.socket.try_send(transmit) } else { Ok(()) }
    }

    fn write_poller(self: Arc<Self>) -> Pin<Box<dyn WritePoller>> {
        Arc::clone(&self.socket).write_poller()
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.socket.poll_recv(cx, buffers, meta)
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }
}

fn quick() -> EndpointConfig {
    EndpointConfig::dial_only().keep_alive(Duration::from_millis(100)).tunnel_timing(Timing {
        first_probe: Duration::from_millis(100),
        last_probe: Duration::from_millis(200),
        trial: Duration::from_millis(500),
        linger: Duration::from_millis(200),
        ..Timing::default()
    })
}

fn behind_a_router(seed: u8) -> (Endpoint, Arc<Router>) {
    let socket = Arc::new(UdpSocket::bind(loopback(), 65_536).unwrap());
    let router = Arc::new(Router {
        socket,
        blocks: AtomicBool::new(true),
        passes_probes: AtomicBool::new(false),
    });
    let base = Base { socket: Arc::clone(&router) as _, has_udp: true, listeners: Vec::new() };
    (Endpoint::over(&key(seed), base, quick()).unwrap(), router)
}

async fn connected(dialler: &Endpoint, endpoint: &Endpoint) -> (Connection, Connection) {
    let address = [endpoint.local_addr().unwrap()];
    let dialled = dialler.connect(endpoint.node_id(), &address);
    let (dialled, accepted) = tokio::join!(dialled, endpoint.accept());
    (dialled.unwrap(), accepted.unwrap())
}

async fn say_something(near: &mut Stream, far: &mut Stream) {
    let probe = Message::from(Probe);
    near.sender.send(&probe).await.unwrap();
    assert_eq!(far.receiver.recv_within(Duration::from_secs(60)).await, Ok(Some(probe.clone())));
    far.sender.send(&probe).await.unwrap();
    assert_eq!(near.receiver.recv_within(Duration::from_secs(60)).await, Ok(Some(probe)));
}

#[tokio::test]
async fn a_connection_leaves_the_tunnel_when_udp_works_again_and_nothing_is_lost() {
    let endpoint = bind(1, EndpointConfig::default());
    let (dialler, router) = behind_a_router(2);
    let (dialled, accepted) = connected(&dialler, &endpoint).await;
    assert_eq!(dialler.udp_state(), UdpState::Blocked);
    assert!(dialled.is_over_tcp() && accepted.is_over_tcp());
    let mut near = dialled.open_stream().await.unwrap();
    near.sender.send(&Probe.into()).await.unwrap();
    let mut far = accepted.accept_stream().await.unwrap();
    assert_eq!(far.receiver.recv().await, Ok(Some(Probe.into())));

    router.blocks.store(false, Ordering::Relaxed);
    eventually("it goes over UDP", || !dialled.is_over_tcp() && !accepted.is_over_tcp()).await;
    eventually("the tunnel is gone", || endpoint.stats().tunnels_incoming_live == 0).await;
    say_something(&mut near, &mut far).await;
    assert_eq!(dialler.udp_state(), UdpState::Works);
    assert_eq!(dialler.stats().tunnels_left_for_udp, 1);
    assert_eq!(accepted.remote_address(), dialler.local_addr().unwrap());
}

#[tokio::test]
async fn a_tunnel_is_taken_up_again_where_probes_pass_and_nothing_else_does() {
    let endpoint = bind(1, EndpointConfig::default());
    let (dialler, router) = behind_a_router(2);
    let (dialled, accepted) = connected(&dialler, &endpoint).await;
    router.passes_probes.store(true, Ordering::Relaxed);
    eventually("a probe is answered", || endpoint.stats().tunnel_probes_answered > 0).await;
    router.passes_probes.store(false, Ordering::Relaxed);

    let mut near = dialled.open_stream().await.unwrap();
    near.sender.send(&Probe.into()).await.unwrap();
    let mut far = accepted.accept_stream().await.unwrap();
    assert_eq!(far.receiver.recv().await, Ok(Some(Probe.into())));
    say_something(&mut near, &mut far).await;
}

#[tokio::test]
async fn a_probe_of_a_stranger_is_not_answered() {
    let endpoint = bind(1, EndpointConfig::default());
    let _tunnel = open(&endpoint).await.unwrap();
    eventually("it is open", || endpoint.stats().tunnels_incoming_live == 1).await;
    let socket = tokio::net::UdpSocket::bind(loopback()).await.unwrap();
    let probe = probe::UdpProbe::Probe([7; 16]).encode();
    socket.send_to(&probe, endpoint.local_addr().unwrap()).await.unwrap();
    eventually("it is counted", || endpoint.stats().datagrams_unknown == 1).await;
    assert_eq!(endpoint.stats().tunnel_probes_answered, 0);
}

#[tokio::test]
async fn a_tunnel_stays_when_a_stranger_names_its_address_as_his_own() {
    let endpoint = bind(1, EndpointConfig::default());
    let dialler = bind(2, EndpointConfig::dial_only().udp(false));
    let (dialled, accepted) = connected(&dialler, &endpoint).await;
    let address = [endpoint.local_addr().unwrap()];
    let stranger = dialler.connect(key(3).node_id(), &address).await;
    assert!(stranger.is_err(), "{stranger:?}");

    let mut near = dialled.open_stream().await.unwrap();
    near.sender.send(&Probe.into()).await.unwrap();
    let mut far = accepted.accept_stream().await.unwrap();
    assert_eq!(far.receiver.recv().await, Ok(Some(Probe.into())));
    say_something(&mut near, &mut far).await;
    assert_eq!(endpoint.stats().tunnels_accepted, 1, "through the tunnel that was there");
}

#[tokio::test]
async fn a_tunnel_that_breaks_while_udp_is_tried_is_used_again() {
    let endpoint = bind(1, EndpointConfig::default());
    let (dialler, router) = behind_a_router(2);
    let (dialled, accepted) = connected(&dialler, &endpoint).await;
    let mut near = dialled.open_stream().await.unwrap();
    near.sender.send(&Probe.into()).await.unwrap();
    let mut far = accepted.accept_stream().await.unwrap();
    assert_eq!(far.receiver.recv().await, Ok(Some(Probe.into())));

    let pipe = |of: &Endpoint| {
        let tunnels = of.shared().tunnels.clone().unwrap();
        let first = tunnels.by_address.iter().next().map(|pipe| Arc::clone(&pipe));
        first.unwrap()
    };
    let (outgoing, incoming) = (pipe(&dialler), pipe(&endpoint));
    // Nothing else passes, however late it is seen that they are answered.
    router.passes_probes.store(true, Ordering::Relaxed);
    eventually("UDP is tried", || outgoing.over_udp.load(Ordering::Relaxed)).await;
    router.passes_probes.store(false, Ordering::Relaxed);
    incoming.stop.cancel();
    say_something(&mut near, &mut far).await;
    assert!(dialled.is_over_tcp() && accepted.is_over_tcp());
}

#[tokio::test]
async fn a_datagram_of_a_stranger_says_nothing_of_udp() {
    let endpoint = bind(1, EndpointConfig::default());
    let socket = tokio::net::UdpSocket::bind(loopback()).await.unwrap();
    for first in [0x01, 0x40, 0xc0] {
        socket.send_to(&[first; 100], endpoint.local_addr().unwrap()).await.unwrap();
    }
    eventually("they have come", || endpoint.stats().datagrams_in == 3).await;
    assert_eq!(endpoint.udp_state(), UdpState::Unknown);
}

#[tokio::test]
async fn a_tunnel_that_carries_no_connection_is_let_go_and_another_stays() {
    // Longer than the slowest machine takes for the handshake of QUIC through the tunnel.
    let unused = Duration::from_secs(10);
    let timing = Timing { unused, ..Timing::default() };
    let endpoint = bind(1, EndpointConfig::default().tunnel_timing(timing));
    let dialler = bind(2, EndpointConfig::dial_only().udp(false));
    let (dialled, accepted) = connected(&dialler, &endpoint).await;
    let (mut idle, mut noise) = tokio::io::split(open(&endpoint).await.unwrap());
    let keep_alive = async {
        while noise.write_all(&[0, 0, 0, 1, 0x3f]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let gone = async {
        let mut rest = [0; 1_024];
        while idle.read(&mut rest).await.is_ok_and(|read| read > 0) {}
    };
    let gone = timeout(Duration::from_secs(60), async {
        tokio::select! { () = gone => {}, () = keep_alive => {} }
    });
    assert!(gone.await.is_ok(), "it is let go");
    // The one that carries a connection was opened first, so that it has been looked at, too.
    eventually("it is counted", || endpoint.stats().tunnels_unused == 1).await;
    assert_eq!(endpoint.stats().tunnels_incoming_live, 1);
    assert!(!dialled.is_closed() && accepted.is_over_tcp());
}

#[tokio::test]
async fn a_tunnel_to_a_relay_that_was_named_lasts_as_long_as_it_is_needed() {
    let endpoint = bind(1, EndpointConfig::default());
    let dialler = bind(2, EndpointConfig::dial_only().udp(false));
    let (node, address) = (endpoint.node_id(), endpoint.local_addr().unwrap());
    let leads_there = || dialler.shared().tunnels.as_ref().unwrap().carries(address);
    let one = dialler.prepare(node, address).await.expect("a way");
    let other = dialler.prepare(node, address).await.expect("the same");
    drop(one);
    assert!(leads_there(), "the other one needs it");
    drop(other);
    assert!(!leads_there(), "nobody needs it");

    let way = dialler.prepare(node, address).await.expect("a way");
    let (dialled, _accepted) = connected(&dialler, &endpoint).await;
    drop(way);
    assert!(leads_there(), "a connection goes through it");
    assert!(!dialled.is_closed());
}

#[tokio::test]
async fn no_tunnel_goes_where_no_relay_can_be() {
    let dialler = bind(2, EndpointConfig::dial_only().udp(false));
    let node = key(1).node_id();
    for refused in ["127.0.0.1:22", "10.255.254.253:4700", "224.0.0.1:4700", "192.0.2.1:6"] {
        assert!(dialler.prepare(node, refused.parse().unwrap()).await.is_none(), "{refused}");
    }
    assert_eq!(dialler.stats().tunnels_refused_named, 4);
    assert_eq!(dialler.stats().tunnels_dialled, 0);
}

#[test]
fn virtual_addresses_are_told_from_real_ones_and_from_each_other() {
    let (one, other) = (virtual_address(), virtual_address());
    assert!(is_virtual(&one) && is_virtual(&other) && one != other);
    assert!(!is_virtual(&"[fd5e:1a00::1]:4701".parse().unwrap()));
    assert!(!is_virtual(&"192.0.2.1:4701".parse().unwrap()));
}
