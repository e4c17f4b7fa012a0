//! Direct paths between peers behind routers of every kind, in virtual time.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::punch::*;
use skein_net::paths::Mapping;
use skein_net::simnet::NatKind;
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
