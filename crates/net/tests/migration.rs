//! Sessions whose paths change under them, in virtual time: nothing is lost, and little is waited
//! for.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::punch::*;
use skein_net::Endpoint;
use skein_net::paths::{Candidate, CandidateKind, PathClass};
use skein_net::simnet::{LinkProfile, NatKind, Network, Realm};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const CONE: Place = Place::Behind(NatKind::PortRestricted);
const MAPPING: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(2);
const SECOND: Duration = Duration::from_secs(1);

/// Over the relay.
const ROUND_TRIP: Duration = Duration::from_millis(80);

/// Two of these lines make a round trip of 40 ms between the ends, and of 80 ms over the relay.
fn line() -> LinkProfile {
    LinkProfile::default().latency(Duration::from_millis(10)).rate(4_000_000)
}

#[tokio::test(start_paused = true)]
async fn a_transfer_moves_to_the_direct_path_without_losing_a_byte_or_two_round_trips() {
    let mut meeting = Meeting::on_lines([CONE, CONE], line(), MAPPING).await;
    let (dialled, accepted) = meeting.connect().await;
    let sending = tokio::spawn(transfer(dialled.clone(), accepted, 12_000));
    sleep(SECOND).await;
    assert!(meeting.relay.relay().usage().bytes > 1_000_000, "it begins over the relay");
    meeting.punch();
    assert!(meeting.becomes_direct(SOON).await);
    sleep(SECOND / 10).await;
    let relayed = meeting.relay.relay().usage().bytes;
    assert!(!sending.is_finished());
    let longest = sending.await.expect("received");
    eprintln!("figure stall_ms {}", longest.as_millis());
    eprintln!("figure round_trip_ms {}", ROUND_TRIP.as_millis());
    assert!(longest <= 2 * ROUND_TRIP, "nothing came for {longest:?}");
    let later = meeting.relay.relay().usage().bytes - relayed;
    assert!(later < 50_000, "{later} bytes went over the relay after that");
    assert!(!dialled.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_direct_path_that_is_narrower_than_the_relays_is_not_taken_and_nothing_stalls() {
    let mut meeting = Meeting::on_lines([Place::Public, Place::Public], line(), MAPPING).await;
    let [near, far] = [0, 1].map(|end| common::address(&meeting.ends[end].endpoint));
    meeting.network.narrow(near, far, 1_400);
    let (dialled, accepted) = meeting.connect().await;
    let sending = tokio::spawn(transfer(dialled.clone(), accepted, 12_000));
    sleep(SECOND).await;
    meeting.punch();
    let longest = sending.await.expect("received");
    assert!(longest <= 2 * ROUND_TRIP, "nothing came for {longest:?}");
    assert_eq!(meeting.state(0).direct, None);
    assert!(meeting.network.stats().too_large > 0, "it was tried");
}

/// An end on a line of IPv6 and one of IPv4: the relay takes both.
#[tokio::test(start_paused = true)]
async fn what_passes_a_relay_over_ipv4_passes_a_direct_path_over_ipv6() {
    let network = Network::new(5);
    let ends = [1, 2].map(|which: u8| {
        let address = SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, which.into()], 4_701));
        let socket = network.socket(address, line()).expect("free");
        let config = skein_net::EndpointConfig::default();
        let endpoint = Endpoint::with_socket(&common::key(which), socket, config);
        (endpoint.expect("bound"), Realm::INTERNET)
    });
    let mut meeting = Meeting::of(network, ends, line()).await;
    let (dialled, accepted) = meeting.connect().await;
    let sending = tokio::spawn(transfer(dialled, accepted, 12_000));
    sleep(SECOND).await;
    meeting.punch();
    assert!(meeting.becomes_direct(SOON).await);
    assert_eq!(meeting.state(0).class, Some(PathClass::Ipv6));
    let longest = sending.await.expect("received");
    assert!(longest <= 2 * ROUND_TRIP, "nothing came for {longest:?}");
}

#[tokio::test(start_paused = true)]
async fn a_direct_path_that_dies_is_left_for_the_relay_within_a_second_and_taken_again() {
    let mut meeting = Meeting::on_lines([CONE, Place::Public], line(), MAPPING).await;
    let (dialled, accepted) = meeting.connect().await;
    meeting.punch();
    assert!(meeting.becomes_direct(SOON).await);
    let sending = tokio::spawn(transfer(dialled.clone(), accepted.clone(), 20_000));
    sleep(SECOND).await;

    let far = common::address(&meeting.ends[1].endpoint);
    let near = common::address(&meeting.ends[0].endpoint);
    meeting.network.block(near, far);
    let relayed = |state: &skein_net::paths::PathState| state.direct.is_none();
    assert!(meeting.reaches(0, SECOND, relayed).await, "{:?}", meeting.state(0));
    assert!(meeting.reaches(1, SECOND, relayed).await, "{:?}", meeting.state(1));
    sleep(SECOND).await;
    meeting.network.unblock(near, far);
    assert!(meeting.becomes_direct(SECOND * 40).await);
    let longest = sending.await.expect("received");
    assert!(longest < SECOND, "nothing came for {longest:?}");
}

#[tokio::test(start_paused = true)]
async fn a_router_that_forgets_its_mappings_is_met_again() {
    for place in [CONE, Place::Behind(NatKind::Symmetric)] {
        let mut meeting = Meeting::on_lines([place, Place::Public], line(), MAPPING).await;
        let (dialled, accepted) = meeting.connect().await;
        meeting.punch();
        assert!(meeting.becomes_direct(SOON).await);
        let sending = tokio::spawn(transfer(accepted, dialled, 8_000));
        sleep(SECOND).await;
        let before = meeting.state(1).direct;
        meeting.network.forget_mappings(meeting.ends[0].realm);
        let longest = sending.await.expect("received");
        assert!(longest < SECOND, "{place:?}: nothing came for {longest:?}");
        assert!(meeting.becomes_direct(SECOND * 10).await);
        assert_ne!(meeting.state(1).direct, before, "its router has given it another port");
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_outlives_routers_that_forget_soon() {
    let short = Duration::from_secs(20);
    let mut meeting = Meeting::on_lines([CONE, CONE], line(), short).await;
    let (dialled, accepted) = meeting.connect().await;
    meeting.punch();
    assert!(meeting.becomes_direct(SOON).await);
    sleep(SECOND * 600).await;
    assert!(meeting.state(0).direct.is_some() && meeting.state(1).direct.is_some());
    assert_eq!(meeting.state(0).changes, 1);
    transfer(dialled, accepted, 100).await;
}

#[tokio::test(start_paused = true)]
async fn both_ends_may_move_to_other_networks_at_once() {
    let network = Network::new(5);
    let ends = [1, 2].map(|which| place(&network, which, CONE, line(), MAPPING));
    let mut meeting = Meeting::of(network, ends, line()).await;
    let (dialled, accepted) = meeting.connect().await;
    meeting.punch();
    assert!(meeting.becomes_direct(SOON).await);
    let before = [0, 1].map(|end| meeting.state(end).direct.unwrap());
    let sending = tokio::spawn(transfer(dialled, accepted, 16_000));
    sleep(SECOND).await;

    for (end, which) in meeting.ends.iter().zip([11, 12]) {
        let router = [203, 0, 113, which].into();
        let inside = meeting.network.nat(NatKind::PortRestricted, router, Realm::INTERNET, MAPPING);
        let address = SocketAddr::from(([192, 168, which, 2], 4_701));
        meeting.network.move_to(common::address(&end.endpoint), inside, address);
        end.paths.as_ref().unwrap().moved(vec![address.ip()]);
    }
    // Each gathers anew and tells the other, over whatever path there is.
    for end in 0..2 {
        let gathered = meeting.ends[end].endpoint.gather(&meeting.ends[end].observers).await;
        meeting.ends[1 - end].paths.as_ref().unwrap().meet(gathered.candidates);
    }
    let elsewhere = |old: SocketAddr| {
        move |state: &skein_net::paths::PathState| {
            state.direct.is_some_and(|new| new.ip() != old.ip())
        }
    };
    assert!(meeting.reaches(0, SECOND * 5, elsewhere(before[0])).await);
    assert!(meeting.reaches(1, SECOND * 5, elsewhere(before[1])).await);
    let longest = sending.await.expect("received");
    assert!(longest < SECOND, "nothing came for {longest:?}");
}

#[tokio::test(start_paused = true)]
async fn two_in_one_network_talk_inside_of_it() {
    let network = Network::new(5);
    let kind = NatKind::PortRestricted;
    let home = network.nat(kind, [203, 0, 113, 1].into(), Realm::INTERNET, MAPPING);
    let ends = [1, 2].map(|which| {
        let address = SocketAddr::from(([192, 168, 1, which], 4_701));
        let socket = network.socket_in(home, address, line()).expect("free");
        let config = skein_net::EndpointConfig::default();
        (Endpoint::with_socket(&common::key(which), socket, config).expect("bound"), home)
    });
    let mut meeting = Meeting::of(network, ends, line()).await;
    let (dialled, accepted) = meeting.connect().await;
    meeting.punch();
    assert!(meeting.becomes_direct(SOON).await);
    assert_eq!(meeting.state(0).class, Some(PathClass::Local));
    assert_eq!(meeting.state(0).direct, Some(common::address(&meeting.ends[1].endpoint)));
    assert!(meeting.started.elapsed() < SECOND / 5, "{:?}", meeting.started.elapsed());
    transfer(dialled, accepted, 100).await;
}

#[tokio::test(start_paused = true)]
async fn a_hostile_list_of_candidates_makes_a_node_knock_nowhere_for_long() {
    let mut meeting = Meeting::new([Place::Public, Place::Public]).await;
    let victims: Vec<Candidate> = (1..=200)
        .map(|port| Candidate {
            address: SocketAddr::from(([198, 51, 100, 200], port)),
            kind: CandidateKind::Observed,
        })
        .collect();
    meeting.ends[1].gathered.candidates = victims;
    let sent = meeting.ends[0].endpoint.stats().datagrams_out;
    let start = Instant::now();
    meeting.punch();
    sleep(SECOND * 60).await;
    let probes = meeting.ends[0].endpoint.stats().datagrams_out - sent;
    let seconds = start.elapsed().as_secs();
    assert!(probes < 24 * 9 + 2 * seconds + 20, "{probes} in {seconds} s");

    // To name them again and again brings about no more than it takes to name them.
    let (sent, start) = (meeting.ends[0].endpoint.stats().datagrams_out, Instant::now());
    for _ in 0..300 {
        meeting.name_again();
        sleep(SECOND * 2).await;
    }
    let probes = meeting.ends[0].endpoint.stats().datagrams_out - sent;
    let seconds = start.elapsed().as_secs();
    assert!(probes < 512 + 3 * seconds, "{probes} in {seconds} s");
}
