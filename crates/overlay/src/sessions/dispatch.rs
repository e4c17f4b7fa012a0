//! Where sessions meet the rest of the overlay.

use super::passages::{Hop, Stopped};
use crate::io::{Now, Output};
use crate::overlay::Overlay;
use skein_proto::session::{OFFER_LIFE, OfferRefusal, SessionAnswer, SessionOffer, SessionRefused};
use skein_proto::{Message, NodeId, Role, SessionId, Username};

impl Overlay {
    /// A message about sessions came. Answers whether it was by the rules.
    #[must_use]
    pub(crate) fn on_session_message(&mut self, peer: NodeId, message: Message, now: Now) -> bool {
        let from = Hop::Peer(peer);
        match message {
            Message::AskSlot(ask) => self.on_ask_slot(peer, ask, now),
            Message::SlotReply(reply) => self.on_slot_reply(peer, reply),
            Message::ReleaseSlot(release) => self.on_release(peer, release, now),
            Message::SessionOffer(offer) => self.on_offer(peer, offer, now),
            Message::SessionAnswer(answer) => self.on_answer(from, answer, now),
            Message::SessionRefused(refused) => self.on_refused(from, refused, now),
            _ => return false,
        }
        true
    }

    /// The user calls somebody.
    pub(crate) fn on_user_offer(&mut self, offer: SessionOffer, now: Now) {
        let ahead = match self.core.role {
            Role::Super => self.next_hop(&offer),
            Role::Ordinary => {
                self.join.parent().map(Hop::Peer).ok_or(OfferRefusal::ParentUnreachable)
            }
        };
        self.pass(Hop::User, ahead.map(|hop| (hop, None)), offer, now);
    }

    /// The user answers a caller.
    pub(crate) fn on_user_answer(&mut self, answer: SessionAnswer, now: Now) {
        self.on_answer(Hop::User, answer, now);
    }

    /// The user refuses a caller.
    pub(crate) fn on_user_refusal(&mut self, refused: SessionRefused, now: Now) {
        self.on_refused(Hop::User, refused, now);
    }

    fn on_offer(&mut self, peer: NodeId, offer: SessionOffer, now: Now) {
        let caller = offer.offer.unverified().from;
        let back = Hop::Peer(peer);
        let ahead = if self.core.role == Role::Ordinary {
            match self.is_above(&peer) && offer.offer.unverified().to == self.core.me {
                true => Ok((Hop::User, offer.credential.unverified().name.clone())),
                false => Err(OfferRefusal::NotHere),
            }
        } else if self.children.bond(&peer).is_some() && caller == peer {
            self.judge_child(&peer, now).and_then(|of| Ok((self.next_hop(&offer)?, of)))
        } else if self.core.is_member_super(&peer, now.unix) {
            self.judge(&offer, now).and_then(|of| match self.next_hop(&offer)? {
                // It has come far enough: nobody is sent round in circles.
                Hop::Peer(next) if self.children.bond(&next).is_none() => {
                    Err(OfferRefusal::NotHere)
                }
                next => Ok((next, of)),
            })
        } else {
            Err(OfferRefusal::Unsound)
        };
        self.pass(back, ahead.map(|(hop, of)| (hop, Some(of))), offer, now);
    }

    /// Where an offer goes from this supernode.
    fn next_hop(&self, offer: &SessionOffer) -> Result<Hop, OfferRefusal> {
        let (to, at) = (offer.offer.unverified().to, offer.at);
        if to == self.core.me {
            Ok(Hop::User)
        } else if self.children.bond(&to).is_some() {
            Ok(Hop::Peer(to))
        } else if at != self.core.me && self.core.membership.get(&at).is_some() {
            Ok(Hop::Peer(at))
        } else {
            Err(OfferRefusal::NotHere)
        }
    }

    /// The name whose offer it is, if a child may make one. Its link has proven who it is.
    fn judge_child(&mut self, child: &NodeId, now: Now) -> Result<Username, OfferRefusal> {
        let credential = self.core.peers.get(child).and_then(|it| it.valid_credential(now.unix));
        let name = credential.ok_or(OfferRefusal::Unsound)?.unverified().name.clone();
        if self.sessions.may_offer(&name, now.instant) {
            Ok(name)
        } else {
            self.core.counters.session_offers_over_budget += 1;
            Err(OfferRefusal::TooFast)
        }
    }

    /// The name whose offer it is, if one that a supernode passes on is genuine, and within its
    /// name's budget.
    fn judge(&mut self, offer: &SessionOffer, now: Now) -> Result<Username, OfferRefusal> {
        let core = &mut self.core;
        // What cannot be delivered is not worth a look at its signatures.
        let claimed = offer.offer.unverified();
        let (caller, to, expires) = (claimed.from, claimed.to, claimed.expires);
        if to != core.me && self.children.bond(&to).is_none() {
            return Err(OfferRefusal::NotHere);
        }
        let in_time = now.unix < expires
            && expires <= now.unix.plus(OFFER_LIFE + skein_proto::credential::CLOCK_SKEW);
        let member = core.credentials.check(&offer.credential, &caller, now.unix).is_ok();
        if !in_time || !member || offer.offer.verify(&caller).is_err() {
            core.counters.session_offers_unsound += 1;
            return Err(OfferRefusal::Unsound);
        }
        let name = &offer.credential.unverified().name;
        if !self.sessions.may_offer(name, now.instant) {
            core.counters.session_offers_over_budget += 1;
            return Err(OfferRefusal::TooFast);
        }
        Ok(name.clone())
    }

    /// Sends an offer on, or a refusal back; `ahead` says where to, and whose offer it is.
    fn pass(
        &mut self,
        back: Hop,
        ahead: Result<(Hop, Option<Username>), OfferRefusal>,
        offer: SessionOffer,
        now: Now,
    ) {
        let session = offer.offer.unverified().session;
        let begun = ahead.and_then(|(ahead, of)| {
            let hops = (back, ahead);
            match self.sessions.passages.begin(session, of.as_ref(), hops, now.instant) {
                Ok(displaced) => {
                    if let Some((other, back)) = displaced {
                        self.core.counters.session_offers_displaced += 1;
                        self.refuse(back, other, OfferRefusal::Busy, now);
                    }
                    Ok(ahead)
                }
                Err(Stopped::Again) => Err(OfferRefusal::Unsound),
                Err(Stopped::Full) => {
                    self.core.counters.session_offers_over_limit += 1;
                    Err(OfferRefusal::Busy)
                }
            }
        });
        match begun {
            Ok(Hop::User) => {
                self.core.counters.session_offers_taken += 1;
                self.core.outputs.push_back(Output::SessionOffered(Box::new(offer)));
            }
            Ok(Hop::Peer(next)) => {
                self.core.counters.session_offers_passed += 1;
                self.tell(next, offer, now);
            }
            Err(reason) => self.refuse(back, session, reason, now),
        }
    }

    fn refuse(&mut self, back: Hop, session: SessionId, reason: OfferRefusal, now: Now) {
        self.core.counters.session_offers_refused += 1;
        self.give_back(back, SessionRefused { session, reason }, now);
    }

    fn on_answer(&mut self, from: Hop, answer: SessionAnswer, now: Now) {
        let session = answer.answer.unverified().session;
        match self.sessions.passages.end(&session, from, now.instant) {
            Some(Hop::User) => {
                self.core.outputs.push_back(Output::SessionAnswered(Box::new(answer)));
            }
            Some(Hop::Peer(back)) => self.tell(back, answer, now),
            None => self.core.counters.session_messages_unasked += 1,
        }
    }

    fn on_refused(&mut self, from: Hop, refused: SessionRefused, now: Now) {
        match self.sessions.passages.end(&refused.session, from, now.instant) {
            Some(back) => self.give_back(back, refused, now),
            None => self.core.counters.session_messages_unasked += 1,
        }
    }

    fn give_back(&mut self, back: Hop, refused: SessionRefused, now: Now) {
        match back {
            Hop::User => self.core.outputs.push_back(Output::SessionRefused(refused)),
            Hop::Peer(peer) => self.tell(peer, refused, now),
        }
    }

    /// Sends to a peer that is linked, or to a supernode that may not be.
    fn tell(&mut self, peer: NodeId, message: impl Into<Message>, now: Now) {
        if self.core.peers.contains_key(&peer) && self.children.bond(&peer).is_some() {
            self.core.send(peer, message);
        } else if self.core.role == Role::Super {
            self.core.deliver(peer, message, now);
        } else {
            self.core.send(peer, message);
        }
    }

    /// A message about sessions could not be delivered.
    pub(crate) fn on_session_failed(&mut self, peer: NodeId, message: &Message, now: Now) {
        if let Message::SessionOffer(offer) = message {
            let session = offer.offer.unverified().session;
            let reason = OfferRefusal::ParentUnreachable;
            if let Some(back) = self.sessions.passages.end(&session, Hop::Peer(peer), now.instant) {
                self.refuse(back, session, reason, now);
            }
        }
    }
}
