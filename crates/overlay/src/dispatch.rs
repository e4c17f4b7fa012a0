//! Hands each message to whom it concerns.

use crate::branch::{ReplyTo, tell_end};
use crate::budget::Ask;
use crate::flood::Arrival;
use crate::io::Now;
use crate::overlay::Overlay;
use crate::sources::sources;
use skein_proto::message::{Bond, PartingReason, ProbeReply, Search};
use skein_proto::query::{Coverage, StopReason};
use skein_proto::{Message, NodeId, Role};

impl Overlay {
    pub(crate) fn on_message(&mut self, peer: NodeId, message: Message, now: Now) {
        if self.leaving {
            return;
        }
        let Some(known) = self.core.peers.get(&peer) else {
            // It was sent before the other side heard that this link is over.
            return;
        };
        if known.hello.is_none() && !matches!(message, Message::Hello(_)) {
            self.misbehaved(peer, now);
            return;
        }
        self.join.on_heard(&peer);
        match message {
            Message::Hello(hello) => {
                if self.may(&peer, Ask::Greeting, now) {
                    self.on_hello(peer, hello, now);
                } else {
                    // To ignore it would be to believe what it said before.
                    self.misbehaved(peer, now);
                }
            }
            Message::Probe(_) if !self.may_ask(&peer, now) => {}
            Message::Probe(_) => {
                let reply = ProbeReply { role: self.core.role, load: self.load() };
                self.core.send(peer, reply);
            }
            Message::ProbeReply(reply) => {
                self.join.on_probe_reply(&mut self.core, peer, &reply, now);
            }
            Message::Attach(attach) => {
                let refused = self.core.counters.children_refused_full;
                self.children.on_attach(&mut self.core, peer, attach, now);
                let is_full = self.core.counters.children_refused_full > refused;
                if let Some(office) = self.election.office.as_mut().filter(|_| is_full) {
                    office.on_refused(&mut self.core.counters, peer, now.instant);
                }
            }
            Message::AttachReply(reply) => {
                let change = self.join.on_attach_reply(&mut self.core, peer, &reply, now);
                self.on_parent_change(change, now);
            }
            Message::Detach(detach) => {
                if let PartingReason::MovedTo(parent) = detach.reason {
                    self.children.see_off(&mut self.core, peer, parent, now);
                } else {
                    self.children.remove(&peer);
                }
                self.lose_neighbour(&peer, now);
                if detach.reason == PartingReason::Demoted {
                    self.core.known.forget(&peer);
                }
                let change = self.join.on_link_lost(&mut self.core, peer, now);
                self.on_parent_change(change, now);
            }
            Message::Publish(mut publish) => {
                let is_child = self.children.bond(&peer) == Some(Bond::Active);
                if is_child {
                    self.children.stay_in_budget(&mut self.core, &peer, &mut publish, now.instant);
                }
                let added = if is_child { &publish.add[..] } else { &[] };
                let found = self.wished_for(&peer, added);
                if !self.children.on_publish(&mut self.core, peer, publish) {
                    self.misbehaved(peer, now);
                }
                self.push_matches(peer, found, now);
                self.tables.touch(now.instant);
            }
            Message::PublishAck(ack) => {
                let complete = self.publisher.on_ack(&mut self.core, peer, ack);
                self.on_published(complete, now);
            }
            Message::Search(search) => self.on_child_search(peer, search, now),
            Message::Flood(flood) => {
                let sources = sources!(self);
                self.floods.on_flood(&mut self.core, &sources, peer, flood, now);
            }
            Message::Hits(hits) => {
                let sources = sources!(self);
                let honest = match self.core.role {
                    Role::Super => self.floods.on_hits(&mut self.core, &sources, peer, hits, now),
                    Role::Ordinary => self.searches.on_hits(&mut self.core, peer, hits, now),
                };
                if !honest {
                    self.misbehaved(peer, now);
                }
            }
            Message::SearchDone(done) => {
                let sources = sources!(self);
                let honest = match self.core.role {
                    Role::Super => self.floods.on_done(&mut self.core, &sources, peer, done, now),
                    Role::Ordinary => self.searches.on_done(&mut self.core, peer, done, now),
                };
                if !honest {
                    self.misbehaved(peer, now);
                }
            }
            Message::CancelSearch(cancel) => {
                let sources = sources!(self);
                let from = ReplyTo::Peer(peer);
                self.floods.on_cancel(&mut self.core, &sources, from, cancel.id, now);
            }
            Message::SpendReport(report) => self.on_spend_report(peer, &report, now),
            Message::BudgetWanted(wanted) => self.on_budget_wanted(peer, wanted, now),
            Message::BudgetLeft(answer) => self.on_budget_left(peer, &answer, now),
            Message::WishUpdate(update) => {
                if !self.on_wish_update(peer, update, now) {
                    self.misbehaved(peer, now);
                }
            }
            Message::WishHit(hit) => {
                if !self.on_wish_hit(peer, hit, now) {
                    self.misbehaved(peer, now);
                }
            }
            Message::TableUpdate(update) => {
                if !self.tables.on_update(&mut self.core, peer, update, now.instant) {
                    self.misbehaved(peer, now);
                }
            }
            Message::Link(link) => {
                let load = self.load();
                self.neighbours.on_link(&mut self.core, peer, link, load, now);
            }
            Message::LinkReply(reply) => {
                self.neighbours.on_link_reply(&mut self.core, peer, &reply, now);
            }
            Message::Supernodes(list) => {
                if self.is_above(&peer) && self.may_ask(&peer, now) {
                    self.core.hear_of(&list.entries, false, now);
                }
            }
            Message::LoadUpdate(update) => {
                if self.is_above(&peer) && self.core.is_member_super(&peer, now.unix) {
                    self.core.proved(&peer, Some(update.load.percent()), now.unix);
                    self.join.on_load(&peer, update.load);
                }
            }
            Message::Gossip(_)
            | Message::GossipOffer(_)
            | Message::GossipWant(_)
            | Message::GossipDigest(_)
            | Message::GossipInventory(_) => self.on_gossip(peer, message, now),
            Message::Announce(_)
            | Message::Put(_)
            | Message::Find(_)
            | Message::Found(_)
            | Message::ArcWanted(_)
            | Message::ArcSent(_) => {
                if !self.on_directory_message(peer, message, now) {
                    self.misbehaved(peer, now);
                }
            }
            Message::Candidacy(_)
            | Message::Invite(_)
            | Message::InviteReply(_)
            | Message::DialBackRequest(_)
            | Message::DialBackReply(_)
            | Message::Standing(_)
            | Message::Redirect(_) => self.on_election_message(peer, message, now),
            Message::Vouched(vouched) => self.on_vouched(peer, vouched, now),
            Message::ShowEvidence(shown) => self.on_evidence_shown(peer, shown, now),
            Message::Accuse(accuse) => self.on_accused(peer, accuse, now),
            Message::AskSlot(_)
            | Message::SlotReply(_)
            | Message::ReleaseSlot(_)
            | Message::SessionOffer(_)
            | Message::SessionAnswer(_)
            | Message::SessionRefused(_) => {
                if !self.on_session_message(peer, message, now) {
                    self.misbehaved(peer, now);
                }
            }
            Message::SessionHello(_)
            | Message::SessionNews(_)
            | Message::SessionPing(_)
            | Message::SessionPong(_)
            | Message::GiveReceipt(_)
            | Message::OpenService(_)
            | Message::ServiceReply(_)
            | Message::ChatMessage(_)
            | Message::ChatReply(_)
            | Message::OfferFile(_)
            | Message::OfferNews(_)
            | Message::WithdrawOffer(_)
            | Message::LoginRequest(_)
            | Message::LoginReply(_)
            | Message::FetchRequest(_)
            | Message::FetchReply(_) => self.misbehaved(peer, now),
        }
    }

    fn on_child_search(&mut self, peer: NodeId, search: Search, now: Now) {
        let granted = match self.children.may_search(&mut self.core, &peer, now.instant) {
            Some(true) => Some(self.may_spend(&peer, now)),
            refused => refused,
        };
        match granted {
            Some(true) => {
                self.core.counters.searches_answered += 1;
                let arrival = Arrival {
                    reply_id: search.id,
                    id: search.id,
                    query: search.query,
                    wanted: search.wanted,
                    reply_to: ReplyTo::Peer(peer),
                };
                let sources = sources!(self);
                self.floods.begin(&mut self.core, &sources, arrival, now);
            }
            refused => {
                let stopped = if refused.is_some() {
                    self.core.counters.searches_over_budget += 1;
                    StopReason::OverBudget
                } else {
                    StopReason::NotAttached
                };
                let coverage = Coverage {
                    supernodes_asked: 0,
                    supernodes_known: 0,
                    nodes_covered: 0,
                    stopped,
                };
                tell_end(&mut self.core, ReplyTo::Peer(peer), search.id, coverage);
            }
        }
    }
}
