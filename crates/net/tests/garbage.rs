//! Whatever strangers send to the port does no harm.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::*;
use proptest::prelude::*;
use skein_net::simnet::{Network, SimSocket};
use skein_net::{DatagramSocket, Transmit};
use std::net::SocketAddr;

fn send(from: &SimSocket, destination: SocketAddr, contents: &[u8]) {
    let transmit = Transmit { destination, ecn: None, contents, segment_size: None, src_ip: None };
    from.try_send(&transmit).unwrap();
}

/// Datagrams of every kind: noise, and what looks like QUIC's long and short headers.
fn datagram() -> impl Strategy<Value = Vec<u8>> {
    let noise = proptest::collection::vec(any::<u8>(), 0..1_400);
    let initial = (any::<u8>(), proptest::collection::vec(any::<u8>(), 1_195..1_300))
        .prop_map(|(first, rest)| [&[0xc0 | first, 0, 0, 0, 1], &rest[..]].concat());
    let short = (any::<u8>(), proptest::collection::vec(any::<u8>(), 20..100))
        .prop_map(|(first, rest)| [&[0x40 | (first & 0x3f)], &rest[..]].concat());
    prop_oneof![noise, initial, short]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn garbage_at_the_port_disturbs_nobody(garbage in proptest::collection::vec(datagram(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let network = Network::new(1);
            let alice = on(&network, 1, Default::default());
            let bob = on(&network, 2, Default::default());
            let (dialled, accepted) = connected(&alice, &bob).await;
            let noisy = network.socket(([10, 0, 0, 66], 1).into(), Default::default()).unwrap();
            for datagram in &garbage {
                send(&noisy, address(&bob), datagram);
            }
            stream_between(&dialled, &accepted).await;
            let ours = garbage.iter().filter(|d| d.first().is_some_and(|b| b & 0xc0 == 0)).count();
            // What was sent before the stream's first byte was received before it.
            let counted = bob.stats().datagrams_unknown + bob.relay().usage().foreign;
            assert_eq!(counted, ours as u64);
            assert_eq!(bob.stats().handshakes_accepted, 1);
        });
    }
}

#[tokio::test]
async fn garbage_at_a_real_port_is_counted_and_forgotten() {
    let (alice, bob) = (bind(1), bind(2));
    let noisy = tokio::net::UdpSocket::bind(loopback()).await.unwrap();
    for length in [1, 20, 300, 1_200] {
        noisy.send_to(&vec![0x3f; length], address(&bob)).await.unwrap();
        noisy.send_to(&vec![0xff; length], address(&bob)).await.unwrap();
        noisy.send_to(&vec![0x41; length], address(&bob)).await.unwrap();
    }
    let (dialled, accepted) = connected(&alice, &bob).await;
    stream_between(&dialled, &accepted).await;
    assert_eq!(bob.stats().datagrams_unknown, 4);
}
