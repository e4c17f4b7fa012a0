//! What a callee answers, checked.

use super::Sessions;
use super::direct;
use super::error::SessionError;
use super::paths::Paths;
use crate::daemon::clock::unix_now;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use skein_proto::credential::CLOCK_SKEW;
use skein_proto::session::{Answer, Offer, SessionAnswer, SessionOffer};
use skein_proto::{NodeId, Username};
use std::time::Duration;

/// An offer whose answer is waited for.
pub(super) type Asking = BoxFuture<'static, Result<Answered, SessionError>>;

/// The answer to an offer.
#[derive(Clone, Debug)]
pub(super) struct Answered {
    pub(super) answer: Answer,
    /// Whose node the callee is.
    pub(super) name: Username,
    /// The slots of the offer.
    offered: Vec<u64>,
}

impl Answered {
    /// Notes which of the offer's slots the callee has bound. The one in use stays if the session is
    /// `live` over it.
    pub(super) fn tell(&self, paths: &Paths, live: bool) {
        for (slot, far) in self.offered.iter().zip(&self.answer.bound) {
            match far {
                Some(far) => {
                    paths.far_bound(*slot, Duration::from_micros((*far).into()));
                }
                None if live => paths.drop_slot(*slot),
                None => paths.could_not_bind(*slot),
            }
        }
    }

    /// Looks for a direct path to where the callee says that it is.
    pub(super) fn meet(&self, paths: &Paths) {
        paths.expect(direct::heard(&self.answer.candidates));
    }
}

impl Sessions {
    /// Makes an offer. Until it is answered, the returned future has to be held.
    pub(super) fn ask(&self, offer: Offer, message: SessionOffer) -> Asking {
        let control = self.inner.control.clone();
        let login_key = self.inner.parts.login_key;
        async move { check(&login_key, &offer, control.offer(message).await?) }.boxed()
    }
}

fn check(
    login_key: &NodeId,
    offer: &Offer,
    reply: SessionAnswer,
) -> Result<Answered, SessionError> {
    let now = unix_now();
    let credential = reply.credential.check(login_key, &offer.to, now);
    let name = credential.map_err(|_| SessionError::Unproven)?.name.clone();
    let signed = reply.answer.verify(&offer.to).map_err(|_| SessionError::Unproven)?;
    let same = (signed.session, signed.from, signed.to) == (offer.session, offer.from, offer.to);
    if !same || now > signed.expires.plus(CLOCK_SKEW) {
        return Err(SessionError::Unproven);
    }
    let offered = offer.relays.iter().map(|end| end.slot).collect();
    Ok(Answered { answer: signed.clone(), name, offered })
}
