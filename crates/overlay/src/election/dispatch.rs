//! Hands what comes in to whom it concerns.

use crate::io::Now;
use crate::overlay::Overlay;
use skein_proto::election::{DialBackOutcome, DialBackReply};
use skein_proto::{Message, NodeId};

impl Overlay {
    pub(crate) fn on_election_message(&mut self, peer: NodeId, message: Message, now: Now) {
        match message {
            Message::Candidacy(_) if !self.may_ask(&peer, now) => {}
            Message::Candidacy(candidacy) => self.on_candidacy(peer, candidacy, now),
            Message::Invite(invite) => self.on_invite(peer, invite, now),
            Message::InviteReply(reply) => self.on_invite_reply(peer, reply, now),
            Message::Standing(standing) => self.on_standing(peer, standing, now),
            Message::Redirect(redirect) => self.on_redirect(peer, &redirect, now),
            Message::DialBackRequest(request) => {
                let may = self.core.is_member_super(&peer, now.unix);
                // Whoever only says of itself that it is a supernode uses up nobody's dials.
                let is_known =
                    self.core.membership.get(&peer).is_some() || self.neighbours.is_linked(&peer);
                let Some(office) = &mut self.election.office else { return };
                if may && is_known {
                    office.dial_backs.on_request(&mut self.core, peer, &request, now.instant);
                } else {
                    self.core.counters.dial_backs_refused += 1;
                    let outcome = DialBackOutcome::Refused;
                    let reply = DialBackReply { number: request.number, outcome };
                    self.core.send(peer, reply);
                }
            }
            Message::DialBackReply(reply) => {
                if let Some(office) = &mut self.election.office {
                    office.dial_backs.on_reply(&mut self.core, peer, &reply, now);
                }
            }
            _ => {}
        }
    }

    /// A dial-back of this node is over.
    pub(crate) fn on_dialled_back(&mut self, dial: u64, reached: bool, now: Now) {
        if let Some(office) = &mut self.election.office {
            office.dial_backs.on_dialled(&mut self.core, dial, reached, now);
        }
    }

    /// A message of the election reached nobody.
    pub(crate) fn on_election_failed(&mut self, peer: NodeId, message: &Message, now: Now) {
        if let (Message::DialBackRequest(request), Some(office)) =
            (message, &mut self.election.office)
        {
            office.dial_backs.on_undelivered(&mut self.core, peer, request, now);
        }
    }
}
