//! Offers of sessions on their way through the supernodes, told as stories in virtual time.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use common::{child, counters, elsewhere, key, neighbour, network, seconds};
use skein_overlay::{Input, Output, SlotOutcome};
use skein_proto::message::{Bond, RoleSetting};
use skein_proto::session::{
    Answer, AskSlot, NatKind, Offer, OfferRefusal, SessionAnswer, SessionOffer, SessionRefused,
    SlotRefusal,
};
use skein_proto::{BoundedVec, KeyPair, Message, NodeId, SessionId, Signed};
use skein_sim::Network;
use skein_sim::population::settle;

/// A network in which a caller and a callee have different parents.
struct Scene {
    network: Network,
    caller: (KeyPair, NodeId),
    callee: (KeyPair, NodeId),
    /// The callee's parent at the beginning.
    at: NodeId,
    number: u8,
}

impl Scene {
    fn new() -> Self {
        let mut network = network();
        assert!(settle(&mut network, 4, 8).2);
        let mut added = Vec::new();
        for number in 100..112_u8 {
            let credential = network.honest_credential(&key(number), 800 + u32::from(number));
            let role = RoleSetting::Ordinary;
            added.push(network.add_node_with(role, Vec::new(), &key(number), credential));
        }
        assert!(network.run_until_all(&added, seconds(60)));
        network.run_for(seconds(20));
        let callee = elsewhere(&network, &added, added[0]);
        let at = added.iter().position(|node| *node == callee).unwrap();
        let callee = (key(100 + u8::try_from(at).unwrap()), callee);
        let caller = (key(100), added[0]);
        network.sessions.clear();
        let at = network.snapshot(callee.1).unwrap().parent.parent.unwrap();
        Self { network, caller, callee, at, number: 0 }
    }

    fn parent(&self, node: NodeId) -> NodeId {
        self.network.snapshot(node).unwrap().parent.parent.unwrap()
    }

    /// An offer of the caller to the callee, signed by whom it may.
    fn offer(&mut self, signer: &KeyPair) -> SessionOffer {
        self.number += 1;
        let offer = Offer {
            session: SessionId::from_bytes([self.number; 16]),
            from: self.caller.1,
            to: self.callee.1,
            expires: self.network.time().unix.plus(seconds(60)),
            nat: NatKind::Unknown,
            candidates: BoundedVec::default(),
            relays: BoundedVec::default(),
            first: BoundedVec::default(),
        };
        let credential = self.network.honest_credential(&self.caller.0, 900);
        SessionOffer { offer: Signed::new(offer, signer), credential, at: self.at }
    }

    fn call(&mut self, offer: SessionOffer) -> Vec<(NodeId, Output)> {
        let caller = self.caller.1;
        self.network.feed(caller, Input::OfferSession(Box::new(offer)));
        self.network.run_for(seconds(4));
        std::mem::take(&mut self.network.sessions)
    }

    fn answer(&self, offer: &SessionOffer) -> SessionAnswer {
        let offer = offer.offer.unverified();
        let answer = Answer {
            session: offer.session,
            from: offer.from,
            to: offer.to,
            expires: offer.expires,
            nat: NatKind::Unknown,
            candidates: BoundedVec::default(),
            bound: BoundedVec::default(),
            relays: BoundedVec::default(),
        };
        let credential = self.network.honest_credential(&self.callee.0, 901);
        SessionAnswer { answer: Signed::new(answer, &self.callee.0), credential }
    }
}

fn refusal(told: &[(NodeId, Output)]) -> Option<OfferRefusal> {
    match told {
        [(_, Output::SessionRefused(SessionRefused { reason, .. }))] => Some(*reason),
        _ => None,
    }
}

#[test]
fn an_offer_reaches_the_callee_through_both_parents_and_the_answer_comes_back() {
    let mut scene = Scene::new();
    let offer = scene.offer(&scene.caller.0.clone());
    let told = scene.call(offer.clone());
    let (caller, callee) = (scene.caller.1, scene.callee.1);
    assert_eq!(told, [(callee, Output::SessionOffered(Box::new(offer.clone())))]);

    let answer = scene.answer(&offer);
    let taken = Input::AnswerSession(Box::new(answer.clone()));
    scene.network.feed(callee, taken.clone());
    scene.network.feed(callee, taken);
    scene.network.run_for(seconds(4));
    let told = std::mem::take(&mut scene.network.sessions);
    assert_eq!(told, [(caller, Output::SessionAnswered(Box::new(answer)))], "once");
    assert_eq!(counters(&scene.network, callee).session_messages_unasked, 1);
}

#[test]
fn a_refusal_comes_back_as_an_answer_does() {
    let mut scene = Scene::new();
    let offer = scene.offer(&scene.caller.0.clone());
    let session = offer.offer.unverified().session;
    scene.call(offer);
    let refused = SessionRefused { session, reason: OfferRefusal::NotWilling };
    scene.network.feed(scene.callee.1, Input::RefuseSession(refused));
    scene.network.run_for(seconds(4));
    assert_eq!(refusal(&scene.network.sessions), Some(OfferRefusal::NotWilling));
}

#[test]
fn a_callee_that_is_not_there_is_refused_by_its_parent() {
    let mut scene = Scene::new();
    let mut offer = scene.offer(&scene.caller.0.clone());
    scene.network.kill(scene.callee.1);
    scene.network.run_for(seconds(60));
    assert_eq!(refusal(&scene.call(offer.clone())), Some(OfferRefusal::NotHere));
    offer = scene.offer(&scene.caller.0.clone());
    offer.at = key(77).node_id();
    assert_eq!(refusal(&scene.call(offer)), Some(OfferRefusal::NotHere), "no such supernode");
}

#[test]
fn an_offer_that_the_caller_has_not_signed_gets_no_further_than_the_callees_parent() {
    let mut scene = Scene::new();
    let forged = scene.offer(&key(66));
    assert_eq!(refusal(&scene.call(forged)), Some(OfferRefusal::Unsound));
    let parent = scene.parent(scene.callee.1);
    assert_eq!(counters(&scene.network, parent).session_offers_unsound, 1);
}

#[test]
fn a_supernode_cannot_replay_an_offer() {
    let mut scene = Scene::new();
    let offer = scene.offer(&scene.caller.0.clone());
    assert_eq!(scene.call(offer.clone()).len(), 1);
    let parent = scene.parent(scene.callee.1);
    let replayer = neighbour(&mut scene.network, parent, 30);
    scene.network.say(replayer, parent, offer.clone());
    assert!(scene.network.sessions.is_empty(), "it is on its way already");
    scene.network.run_for(seconds(6 * 60 + 10));
    scene.network.say(replayer, parent, offer);
    assert!(scene.network.sessions.is_empty(), "it has expired");
}

#[test]
fn a_name_that_calls_without_end_is_stopped_by_its_parent() {
    let mut scene = Scene::new();
    let signer = scene.caller.0.clone();
    for _ in 0..40 {
        let offer = scene.offer(&signer);
        scene.network.feed(scene.caller.1, Input::OfferSession(Box::new(offer)));
    }
    scene.network.run_for(seconds(4));
    let told = std::mem::take(&mut scene.network.sessions);
    let offered = |(_, output): &&(NodeId, Output)| matches!(output, Output::SessionOffered(_));
    assert_eq!(told.iter().filter(offered).count(), 30);
    let parent = scene.parent(scene.caller.1);
    assert_eq!(counters(&scene.network, parent).session_offers_over_budget, 10);
}

#[test]
fn a_child_offers_in_nobody_elses_name() {
    let mut scene = Scene::new();
    let parent = scene.parent(scene.callee.1);
    let offer = scene.offer(&scene.caller.0.clone());
    let liar = child(&mut scene.network, parent, 31, Bond::Active);
    scene.network.say(liar, parent, offer);
    assert!(scene.network.sessions.is_empty());
    let heard = scene.network.heard(liar);
    let refused = |message: &Message| matches!(message, Message::SessionRefused(refused) if refused.reason == OfferRefusal::Unsound);
    assert!(heard.iter().any(|(_, message)| refused(message)), "{heard:?}");
}

#[test]
fn slots_come_from_the_parent_then_the_standby_and_then_from_nobody() {
    let mut scene = Scene::new();
    let caller = scene.caller.1;
    let ties = scene.network.snapshot(caller).unwrap().parent;
    let (parent, standby) = (ties.parent.unwrap(), ties.standby.unwrap());
    let mut besides = Vec::new();
    for (ask, expected) in [(1, Some(parent)), (2, Some(standby)), (3, None)] {
        let besides_those = besides.clone();
        scene.network.feed(caller, Input::AskSlot { ask, besides: besides_those, nth: 0 });
        scene.network.run_for(seconds(2));
        let told = std::mem::take(&mut scene.network.sessions);
        let relay = match &told[..] {
            [(_, Output::Slot { ask: of, outcome: SlotOutcome::Granted { relay, .. } })] => {
                assert_eq!(*of, ask);
                Some(*relay)
            }
            [(_, Output::Slot { outcome: SlotOutcome::NobodyToAsk, .. })] => None,
            other => panic!("{other:?}"),
        };
        assert_eq!(relay, expected);
        besides.extend(relay);
    }
}

#[test]
fn slots_of_two_supernodes_can_be_asked_for_at_once() {
    let mut scene = Scene::new();
    let caller = scene.caller.1;
    let ties = scene.network.snapshot(caller).unwrap().parent;
    for nth in 0..3 {
        let ask = nth as u64;
        scene.network.feed(caller, Input::AskSlot { ask, besides: Vec::new(), nth });
    }
    scene.network.run_for(seconds(2));
    let mut granted = Vec::new();
    for (_, output) in &scene.network.sessions {
        match output {
            Output::Slot { ask, outcome: SlotOutcome::Granted { relay, .. } } => {
                granted.push((*ask, *relay));
            }
            Output::Slot { ask: 2, outcome: SlotOutcome::NobodyToAsk } => {}
            other => panic!("{other:?}"),
        }
    }
    granted.sort_unstable_by_key(|(ask, _)| *ask);
    assert_eq!(granted, [(0, ties.parent.unwrap()), (1, ties.standby.unwrap())]);
}

#[test]
fn nobody_gets_a_slot_of_a_node_that_is_no_supernode_or_without_a_credential() {
    let mut scene = Scene::new();
    let parent = scene.parent(scene.caller.1);
    let hello = Network::greeting(skein_proto::Role::Ordinary, None);
    let guest = scene.network.add_greeting_puppet(&key(33), parent, hello);
    scene.network.heard(guest);
    scene.network.say(guest, parent, AskSlot { number: 5 });
    let heard = scene.network.heard(guest);
    let refused = heard.iter().any(|(_, message)| {
        matches!(message, Message::SlotReply(reply)
            if reply.number == 5 && reply.outcome == Err(SlotRefusal::NoCredential))
    });
    assert!(refused, "{heard:?}");
}
