//! The caller's side: slots, an offer with the first packet of a dial, the dial over the relay, an
//! answer.

use super::Sessions;
use super::answer::{Answered, Asking};
use super::error::SessionError;
use super::hello::{self, Own, Theirs};
use super::keep::Keeper;
use super::paths::Paths;
use super::peer::PeerSession;
use super::slots::NearSlots;
use crate::daemon::clock::unix_now;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use skein_net::paths::Side;
use skein_net::session::FirstPacket;
use skein_net::{CloseReason, Connection, DialError};
use skein_overlay::FoundNode;
use skein_proto::session::{
    KeySeal, NatKind, OFFER_LIFE, Offer, OfferRefusal, RelayEnd, SessionOffer,
};
use skein_proto::{BoundedVec, NodeId, SessionId, Signed, Username};
use std::sync::Arc;
use std::time::Duration;

/// How long a session holds whose callee has not shown its credential itself.
const HELLO_DUE: Duration = Duration::from_secs(30);

/// How the name of a callee is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Naming {
    /// The directory has shown its credential.
    Proven,
    /// Somebody says so: it has to show its credential itself.
    Claimed,
}

/// A dial over a session.
struct Dial {
    outcome: BoxFuture<'static, Result<Connection, DialError>>,
    /// Its first packet, if that is to go with the offer.
    first: Option<FirstPacket>,
}

/// What is needed once there is a connection.
struct Call {
    own: Own,
    node: NodeId,
    name: Option<Username>,
    paths: Arc<Paths>,
}

impl Sessions {
    /// Calls a node over relays.
    pub(super) async fn call(
        &self,
        found: &FoundNode,
        naming: Naming,
        mut slots: NearSlots,
    ) -> Result<Arc<PeerSession>, SessionError> {
        let mut own = self.own()?;
        let session = SessionId::from_bytes(rand::random());
        own.session = Some(session);
        slots.ready().await;
        let near = slots.take_all(&found.node);
        let (whereabouts, moves) = self.known_whereabouts();
        own.nat = whereabouts.nat;
        let endpoint = &self.inner.parts.endpoint;
        let seal = self.seal_for(&found.node).ok_or(SessionError::Unproven)?;
        let paths = Arc::new(Paths::new(endpoint.open_session(), moves));
        self.may_be_direct(&paths, (session, found.node), Side::Caller);
        near.iter().for_each(|near| {
            paths.add(Arc::clone(near), None);
        });
        let mut dial = match paths.use_best() {
            Some(_) => Some(self.dial_early(found.node, &paths).await?),
            None => None,
        };
        let first = dial.as_ref().and_then(|dial| dial.first.clone());
        let offer = Offer {
            session,
            from: endpoint.node_id(),
            to: found.node,
            expires: unix_now().plus(OFFER_LIFE),
            nat: own.nat,
            candidates: whereabouts.candidates,
            relays: BoundedVec::truncated(near.iter().filter_map(|near| near.for_far_end(&seal))),
            first: BoundedVec::truncated(first.map_or_else(Vec::new, FirstPacket::into_bytes)),
        };
        let message = SessionOffer {
            offer: Signed::new(offer.clone(), &self.inner.parts.key),
            credential: own.credential.clone(),
            at: found.parent.as_ref().map_or(found.node, |parent| parent.node),
        };
        let mut asking = Some(self.ask(offer, message));
        let name = (naming == Naming::Proven).then(|| found.name.clone());
        let mut call = Call { own, node: found.node, name, paths };
        let mut later = Vec::new();
        let mut nat = NatKind::Unknown;
        loop {
            let connected = async {
                match &mut dial {
                    Some(dial) => (&mut dial.outcome).await,
                    None => std::future::pending().await,
                }
            };
            let answered = async {
                match &mut asking {
                    Some(asking) => asking.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                connected = connected => match connected {
                    Ok(connection) => {
                        return self.connected(call, connection, nat, (asking, later)).await;
                    }
                    // Without the first packet it begins anew when there is an answer.
                    Err(DialError::Unreachable { .. }) if asking.is_some() => dial = None,
                    Err(error) => return Err(error.into()),
                },
                answered = answered => {
                    asking = None;
                    let answered = answered?;
                    nat = answered.answer.nat;
                    later = self.take_answer(&call.paths, &answered, (&slots, &seal)).await?;
                    call.name = Some(answered.name);
                    dial = Some(self.dial_again(call.node, &call.paths, dial));
                }
            }
        }
    }

    /// Begins to dial the peer of a session, and holds back the first packet for whoever carries it.
    async fn dial_early(&self, node: NodeId, paths: &Arc<Paths>) -> Result<Dial, DialError> {
        let held = paths.session().hold_first();
        let mut outcome = self.dial(node, paths);
        tokio::select! {
            first = held => Ok(Dial { outcome, first: first.ok() }),
            // The peer has dialled meanwhile.
            connected = &mut outcome => {
                let connection = connected?;
                Ok(Dial { outcome: async { Ok(connection) }.boxed(), first: None })
            }
        }
    }

    /// There is an answer and no connection: whoever carried the first packet may have lost it, or
    /// the peer made nothing of it.
    fn dial_again(&self, node: NodeId, paths: &Arc<Paths>, dial: Option<Dial>) -> Dial {
        match dial {
            Some(dial) => {
                if let Some(first) = &dial.first {
                    paths.session().send_first(first);
                }
                dial
            }
            None => Dial { outcome: self.dial(node, paths), first: None },
        }
    }

    fn dial(
        &self,
        node: NodeId,
        paths: &Paths,
    ) -> BoxFuture<'static, Result<Connection, DialError>> {
        let (endpoint, address) = (self.inner.parts.endpoint.clone(), paths.session().address());
        async move { endpoint.connect(node, &[address]).await }.boxed()
    }

    /// Takes in an answer before there is a connection. Answers which of the callee's slots the
    /// session is to bind in its own time.
    async fn take_answer(
        &self,
        paths: &Paths,
        answered: &Answered,
        (slots, seal): (&NearSlots, &KeySeal),
    ) -> Result<Vec<RelayEnd>, SessionError> {
        let answer = &answered.answer;
        answered.tell(paths, false);
        let later = self.join(paths, answer.relays.to_vec(), seal).await;
        if paths.use_best().is_none() {
            return Err(match slots.refusal {
                Some(refusal) if later.is_empty() => SessionError::NoRelay(refusal),
                _ => SessionError::Refused(OfferRefusal::NoPath),
            });
        }
        answered.meet(paths);
        Ok(later)
    }

    /// Binds this end of the callee's slots where there is no other. Answers those that the session
    /// is to bind in its own time.
    async fn join(&self, paths: &Paths, theirs: Vec<RelayEnd>, seal: &KeySeal) -> Vec<RelayEnd> {
        if paths.has_any() {
            return theirs;
        }
        let endpoint = &self.inner.parts.endpoint;
        let prove = async |end| self.ends_of(end, seal).await.prove_one(endpoint).await;
        let ends = theirs.iter().map(prove);
        for (near, end) in join_all(ends).await.into_iter().zip(&theirs) {
            if let Some(near) = near {
                paths.add(near, Some(Duration::from_micros(end.rtt_us.into())));
            }
        }
        Vec::new()
    }

    async fn connected(
        &self,
        call: Call,
        connection: Connection,
        nat: NatKind,
        (asking, later): (Option<Asking>, Vec<RelayEnd>),
    ) -> Result<Arc<PeerSession>, SessionError> {
        let Call { own, name, paths, .. } = call;
        if connection.remote_address() != paths.session().address() {
            // The peer may have dialled meanwhile, or another call of this node's: then its session is
            // the one.
            return self.session_over(connection).await;
        }
        let login_key = &self.inner.parts.login_key;
        let (stream, theirs) = match name {
            // What the peer says of itself is known; that it is the peer, the connection has shown.
            // How long its name holds, it is about to say.
            Some(name) => {
                let expires = unix_now().plus(HELLO_DUE);
                (hello::say(&connection, &own).await?, Theirs { name, nat, expires })
            }
            None => {
                let said = hello::introduce(&connection, &own, login_key, unix_now()).await;
                said.inspect_err(|error| {
                    if matches!(error, SessionError::Unproven) {
                        connection.close(CloseReason::NotAllowed);
                    }
                })?
            }
        };
        let session = self.enter(PeerSession::new(theirs, &own, connection, Some(paths)))?;
        session.begin_keeping();
        let keeper = Keeper::new(self.clone(), Arc::clone(&session), stream);
        tokio::spawn(keeper.run(later, asking));
        Ok(session)
    }
}
