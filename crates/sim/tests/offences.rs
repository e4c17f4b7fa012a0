//! Offences that are proven, told as stories.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use common::*;
use skein_overlay::Input;
use skein_proto::evidence::{EvidenceRecord, Vouched, Voucher};
use skein_proto::misconduct::{Misconduct, Proof};
use skein_proto::{BoundedVec, NodeId, Signed, UnixTime, Username};
use skein_sim::Network;
use skein_sim::population::settle;

const LIAR: u8 = 7;

fn reputation(network: &Network, asked: NodeId, name: &Username) -> u16 {
    network.overlay(asked).unwrap().reputation_of(name)
}

/// A neighbour of `victim` vouches for more time than the day has had.
fn lie(network: &mut Network, victim: NodeId) -> Username {
    let puppet = neighbour(network, victim, LIAR);
    let number = network.number(&victim).expect("a node of this network");
    let signed = network.time().unix;
    let voucher = Voucher {
        parent: puppet,
        child: Username::parse(&format!("node{number}")).unwrap(),
        day: signed.day(),
        connected_secs: u32::try_from(UnixTime::DAY).unwrap() + 1,
        signed,
    };
    network.say(puppet, victim, Vouched { voucher: Signed::new(voucher, &key(LIAR)) });
    let liar = network.honest_credential(&key(LIAR), 900 + u32::from(LIAR));
    liar.unverified().name.clone()
}

#[test]
fn a_proven_offence_is_told_to_other_supernodes_and_survives_a_crash() {
    let mut network = network();
    let (supers, ..) = settle(&mut network, 2, 0);
    network.run_for(seconds(60));
    let liar = lie(&mut network, supers[0]);
    network.run_for(seconds(30));
    for node in &supers {
        assert_eq!(reputation(&network, *node, &liar), 0, "{node}");
    }
    for node in &supers {
        network.kill(*node);
    }
    network.run_for(seconds(60));
    for node in &supers {
        network.restart(*node);
    }
    network.run_for(seconds(1));
    for node in &supers {
        assert_eq!(reputation(&network, *node, &liar), 0, "a restart does not acquit");
        assert_eq!(counters(&network, *node).offences_proven, 0, "nor is it told again");
    }
}

#[test]
fn a_kept_proof_that_proves_nothing_harms_nobody() {
    let mut network = network();
    let (supers, ..) = settle(&mut network, 1, 0);
    let honest = network.honest_credential(&key(LIAR), 900);
    let signed = network.time().unix;
    let voucher = Voucher {
        parent: key(LIAR).node_id(),
        child: Username::parse("node0").unwrap(),
        day: signed.day(),
        connected_secs: 1,
        signed,
    };
    let what = Misconduct::ImpossibleVoucher(Signed::new(voucher, &key(LIAR)));
    let name = honest.unverified().name.clone();
    let proofs = BoundedVec::truncated([Proof { what, signer: honest }]);
    let record = EvidenceRecord { proofs, ..EvidenceRecord::default() };
    network.feed(supers[0], Input::Evidence(Box::new(record)));
    assert_eq!(reputation(&network, supers[0], &name), 10);
    assert_eq!(counters(&network, supers[0]).accusations_refused, 1);
}
