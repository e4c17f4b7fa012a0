//! Direct paths between peers behind routers of every kind, in virtual time.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::punch::*;
use skein_net::paths::Mapping;
use skein_net::simnet::{LinkProfile, NatKind};
use skein_net::{DatagramSocket, RecvMeta, Transmit};
use std::future::poll_fn;
use std::io::IoSliceMut;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(2);

/// Whether packets of both can get through, by what is known of such routers: everything but a
/// router with a port for each destination against one that minds the port (or has one, too), where
/// nothing can be guessed.
fn possible(one: Place, other: Place) -> bool {
    use NatKind::{PortRestricted, Symmetric, SymmetricRandom};
    let random = |place| place == Place::Behind(SymmetricRandom);
    let minds_port = |place| {
        matches!(place, Place::Behind(PortRestricted | Symmetric | SymmetricRandom) | Place::Double)
    };
    !(random(one) && minds_port(other) || random(other) && minds_port(one))
}

#[tokio::test(start_paused = true)]
async fn every_pair_that_can_meet_does_within_two_seconds_and_every_other_stays_on_the_relay() {
    let mut wrong = Vec::new();
    for one in PLACES {
        for other in PLACES {
            let mut meeting = Meeting::new([one, other]).await;
            let (dialled, accepted) = meeting.connect().await;
            meeting.punch();
            let direct = meeting.becomes_direct(SOON).await;
            if direct != possible(one, other) {
                wrong.push((one, other, direct));
            }
            let (mut near, mut far) = common::stream_between(&dialled, &accepted).await;
            far.sender.send(&common::probe_reply()).await.expect("sent");
            assert_eq!(near.receiver.recv().await, Ok(Some(common::probe_reply())));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(start_paused = true)]
async fn the_kind_of_router_is_known_from_those_who_see_the_node() {
    let expected = [
        Mapping::None,
        Mapping::EndpointIndependent,
        Mapping::EndpointIndependent,
        Mapping::EndpointIndependent,
        Mapping::Dependent { step: Some(1) },
        Mapping::Dependent { step: None },
        Mapping::EndpointIndependent,
    ];
    for (place, expected) in PLACES.into_iter().zip(expected) {
        let meeting = Meeting::new([place, Place::Public]).await;
        assert_eq!(meeting.ends[0].gathered.mapping, expected, "{place:?}");
    }
}

/// A frame as it travels: see the protocol, section 14.
fn probe_frame(key: &[u8; 32], by: &[u8], transaction: u64) -> Vec<u8> {
    let mut frame = (NUMBER.get() | 5 << 56).to_be_bytes().to_vec();
    frame.extend(transaction.to_be_bytes());
    frame.extend([0; 18]);
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(by).update(&frame);
    frame.extend(&hasher.finalize().as_bytes()[..16]);
    frame
}

#[tokio::test(start_paused = true)]
async fn forged_repeated_and_reflected_probes_are_counted_and_not_answered() {
    let mut meeting = Meeting::new([Place::Public, Place::Public]).await;
    meeting.punch();
    assert!(meeting.becomes_direct(SOON).await);
    let stranger = meeting
        .network
        .socket("198.51.100.66:6".parse().unwrap(), LinkProfile::default())
        .expect("free");
    let callee = common::address(&meeting.ends[1].endpoint);
    let before = meeting.ends[1].endpoint.stats();
    let genuine = probe_frame(&[42; 32], b"skein probe of the caller", 40);
    let mut longer = genuine.clone();
    longer.resize(1_501, 0);
    for frame in [
        probe_frame(&[43; 32], b"skein probe of the caller", 41),
        probe_frame(&[42; 32], b"skein probe of the callee", 42),
        genuine.clone(),
        genuine.clone(),
        genuine,
        longer,
    ] {
        let transmit = Transmit {
            destination: callee,
            ecn: None,
            contents: &frame,
            segment_size: None,
            src_ip: None,
        };
        stranger.try_send(&transmit).expect("sent");
    }
    let mut answers = 0;
    let mut bytes = [0; 2_000];
    let mut meta = [RecvMeta::default()];
    let received = async {
        loop {
            let mut buffers = [IoSliceMut::new(&mut bytes)];
            poll_fn(|cx| stranger.poll_recv(cx, &mut buffers, &mut meta)).await.expect("received");
            // A probe, since nobody has named that address: replies go to where they are answered.
            answers += usize::from(bytes[0] == 5);
            assert!(bytes[0] == 5 && meta[0].len <= 50, "no longer than what it answers");
        }
    };
    assert!(tokio::time::timeout(SOON, received).await.is_err());
    let after = meeting.ends[1].endpoint.stats();
    assert_eq!(answers, 1, "the genuine one, once");
    assert_eq!(after.probes_forged - before.probes_forged, 2);
    assert_eq!(after.probes_repeated - before.probes_repeated, 2);
    let to = meeting.state(1).direct;
    assert_eq!(to, Some(common::address(&meeting.ends[0].endpoint)), "the path is as it was");
}
