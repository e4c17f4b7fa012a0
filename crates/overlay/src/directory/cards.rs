//! What a parent does for its children: it puts what they say into the directory, and says so when
//! one goes without a word.

use crate::bucket::TokenBucket;
use crate::children::Children;
use crate::core::Core;
use crate::io::Now;
use skein_proto::directory::{Announce, DirectoryKey, Loss, NodeRecord, Presence, Shared};
use skein_proto::message::Bond;
use skein_proto::{Credential, Instant, NodeId, SignedCredential};
use std::collections::{BTreeMap, BTreeSet};

use super::Holder;
use super::check;
use super::outbox::Hurry;
use super::queue::Parcel;

/// Presences of a child that are passed on: one each 10 s in the long run, and a few at once where
/// it moves to and fro. Each is sent to three holders, and uses up what this supernode may have
/// them do.
const PRESENCES: (u64, u64) = (1, 40);
const PRESENCE_COST: u64 = 10;

/// Claims in one message up to which each is put into the directory at once: somebody has shared a
/// file or two, and may tell others of it. More of them are a library.
const FEW_CLAIMS: usize = 4;

/// What a parent knows of a child: who it is, and where it last said that it is.
#[derive(Debug)]
struct Card {
    credential: Shared<Credential>,
    presence: Option<Shared<Presence>>,
    passed: TokenBucket,
}

/// The cards of all children that have said something; this supernode's own is among them.
#[derive(Debug, Default)]
pub(super) struct Cards {
    cards: BTreeMap<NodeId, Card>,
    /// Children whose presence came sooner than it may be passed on.
    waiting: BTreeSet<NodeId>,
}

impl Cards {
    /// What a child last said of itself.
    pub(super) fn record(&self, child: &NodeId) -> Option<NodeRecord> {
        let card = self.cards.get(child)?;
        let (credential, presence) = (card.credential.clone(), card.presence.clone()?);
        Some(NodeRecord { credential, presence, loss: None })
    }

    /// The card of a child, made anew or with its newest credential.
    fn hold(&mut self, child: NodeId, credential: &SignedCredential, now: Instant) -> &mut Card {
        let fresh = || Card {
            credential: credential.clone().into(),
            presence: None,
            passed: TokenBucket::new(PRESENCES.0, PRESENCES.1, now),
        };
        let card = self.cards.entry(child).or_insert_with(fresh);
        if *card.credential != *credential {
            card.credential = credential.clone().into();
        }
        card
    }
}

impl Holder {
    /// A child, or this node itself, says what it wants to have in the directory. Answers whether
    /// that was by the rules.
    #[must_use]
    pub(super) fn on_announce(
        &mut self,
        core: &mut Core,
        child: NodeId,
        announce: Announce,
        now: Now,
    ) -> bool {
        let own = child == core.me;
        let known = if own {
            core.credential.clone()
        } else {
            core.peers.get(&child).and_then(|peer| peer.valid_credential(now.unix)).cloned()
        };
        let Some(known) = known else { return true };
        let card = self.cards.hold(child, &known, now.instant);
        let credential = card.credential.clone();
        if let Some(presence) = announce.presence {
            let parent = presence.unverified().parent.as_ref().map(|parent| parent.node);
            match check::presence(&credential, &presence, now) {
                Err(check::Fault::Forged) => {
                    check::Fault::Forged.count(core);
                    return false;
                }
                Ok(()) if own || parent == Some(core.me) => {
                    card.presence = Some(presence.clone());
                    if card.passed.take_many(PRESENCE_COST, now.instant) {
                        self.cards.waiting.remove(&child);
                        let record =
                            NodeRecord { credential: credential.clone(), presence, loss: None };
                        self.publish_node(core, record, now);
                    } else {
                        core.counters.directory_over_budget += 1;
                        self.cards.waiting.insert(child);
                    }
                }
                // It may have been signed for the parent before.
                _ => check::Fault::Untimely.count(core),
            }
        }
        let presence = self.cards.cards.get(&child).and_then(|card| card.presence.clone());
        let is_library = announce.claims.len() > FEW_CLAIMS;
        let hurry = if is_library { Hurry::InBulk } else { Hurry::Soon };
        for claim in announce.claims {
            match check::claim(&credential, &claim, now) {
                Ok(()) => {
                    let key = DirectoryKey::Content(claim.unverified().content);
                    let parcel = Parcel::Source(credential.clone(), presence.clone(), claim);
                    self.publish(core, &key, (parcel, hurry), now);
                }
                Err(check::Fault::Forged) => {
                    check::Fault::Forged.count(core);
                    return false;
                }
                Err(fault) => fault.count(core),
            }
        }
        true
    }

    fn publish_node(&mut self, core: &mut Core, record: NodeRecord, now: Now) {
        let key = DirectoryKey::Name(record.credential.unverified().name.clone());
        self.publish(core, &key, (Parcel::Node(record), Hurry::Soon), now);
    }

    /// Passes on what had to wait: of each child its last word.
    pub(super) fn pass_waiting(&mut self, core: &mut Core, now: Now) {
        let may = |cards: &mut BTreeMap<NodeId, Card>, child: &NodeId| {
            let card = cards.get_mut(child);
            card.is_none_or(|card| card.passed.take_many(PRESENCE_COST, now.instant))
        };
        let Cards { cards, waiting } = &mut self.cards;
        let ready: Vec<NodeId> =
            waiting.iter().filter(|child| may(cards, child)).copied().collect();
        for child in ready {
            self.cards.waiting.remove(&child);
            if let Some(record) = self.cards.record(&child) {
                self.publish_node(core, record, now);
            }
        }
    }

    /// Puts all that children have said of themselves once more.
    pub(super) fn publish_cards(&mut self, core: &mut Core, now: Now) {
        let records: Vec<NodeRecord> = self
            .cards
            .cards
            .values()
            .filter_map(|card| {
                let credential = card.credential.clone();
                Some(NodeRecord { credential, presence: card.presence.clone()?, loss: None })
            })
            .collect();
        for record in records {
            self.publish_node(core, record, now);
        }
    }

    /// Says of children that are gone, and have not said so themselves, that they are lost. They
    /// may be with another parent by now: what they have said there is the later word.
    pub(super) fn miss_children(&mut self, core: &mut Core, children: &Children, now: Now) {
        let me = core.me;
        let gone = |node: &NodeId| *node != me && children.bond(node) != Some(Bond::Active);
        let gone: Vec<NodeId> = self.cards.cards.keys().copied().filter(gone).collect();
        for node in gone {
            let Some(card) = self.cards.cards.remove(&node) else { continue };
            let Some(presence) = card.presence.filter(|card| card.unverified().online) else {
                continue;
            };
            // The child's clock may be ahead of this one's.
            let at = now.unix.max(presence.unverified().issued);
            let loss = Some(Shared::sign(Loss { node, at }, &core.key));
            let record = NodeRecord { credential: card.credential, presence, loss };
            self.publish_node(core, record, now);
        }
    }
}
