//! The task of one session that drives its machine.

use super::candidate::{Candidate, PathClass};
use super::frame::{Body, ProbeKey, Side};
use super::machine::{Families, Input, Machine, Output, View};
use super::network::Surroundings;
use super::prober::{Arrived, Prober, QUEUE};
use crate::endpoint::Endpoint;
use crate::relay::frame::{HEADER, SlotNumber};
use crate::session::{Probing, Route, Session};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};

/// What both ends of a session have agreed on, and what this one wants.
#[derive(Clone, Debug)]
pub struct PathSettings {
    side: Side,
    number: SlotNumber,
    key: ProbeKey,
    loopback: bool,
}

impl PathSettings {
    /// Of this end of a session. `number` is 56 bits that both ends have, and `key` what only they
    /// have; neither may have been used for another session, nor for another [`Paths`].
    pub fn new(side: Side, number: SlotNumber, key: ProbeKey) -> Self {
        Self { side, number, key, loopback: false }
    }

    /// Whether to send probes to this machine itself, where the peer says that it is here. For
    /// tests: a peer could make a node knock at the ports of its own machine.
    #[must_use]
    pub fn loopback(mut self, wanted: bool) -> Self {
        self.loopback = wanted;
        self
    }
}

/// Which way a session goes at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathState {
    /// The peer's address, where packets go there directly; over the relay otherwise.
    pub direct: Option<SocketAddr>,
    /// What kind of direct path it is.
    pub class: Option<PathClass>,
    /// The smoothed round trip of the direct path.
    pub rtt: Option<Duration>,
    /// Where the peer sees this node on a direct path.
    pub observed: Option<SocketAddr>,
    /// Addresses are being probed that have not answered yet.
    pub punching: bool,
    /// A silence that the routers on these paths survive.
    pub keep_alive: Duration,
    /// When the way was changed last.
    pub changed: Instant,
    /// How often it was changed.
    pub changes: u64,
}

impl PathState {
    fn new(now: Instant) -> Self {
        Self {
            direct: None,
            class: None,
            rtt: None,
            observed: None,
            punching: false,
            keep_alive: super::keepalive::SAFE,
            changed: now,
            changes: 0,
        }
    }

    fn update(&mut self, view: View, now: Instant) -> bool {
        let before = *self;
        if view.direct != self.direct {
            self.changed = now;
            self.changes += 1;
        }
        self.direct = view.direct;
        self.class = view.direct.map(PathClass::of);
        self.rtt = view.rtt;
        self.observed = view.observed;
        self.punching = view.punching;
        self.keep_alive = view.keep_alive;
        *self != before
    }
}

/// What the owner of a session tells its task. Of each the last counts: a peer that makes the owner
/// say the same thing again and again fills no queue.
#[derive(Debug, Default)]
struct Orders {
    relay: watch::Sender<Option<Route>>,
    meet: watch::Sender<Vec<Candidate>>,
    moved: watch::Sender<Vec<IpAddr>>,
}

/// What the task hears of it.
struct Heard {
    relay: watch::Receiver<Option<Route>>,
    meet: watch::Receiver<Vec<Candidate>>,
    moved: watch::Receiver<Vec<IpAddr>>,
}

impl Orders {
    fn heard(&self) -> Heard {
        let Self { relay, meet, moved } = self;
        Heard { relay: relay.subscribe(), meet: meet.subscribe(), moved: moved.subscribe() }
    }
}

/// The paths of one session. They are looked after until this is dropped; the session then goes on
/// along the path that it has.
#[derive(Debug)]
pub struct Paths {
    orders: Orders,
    state: watch::Receiver<PathState>,
    _end: DropGuard,
}

impl Paths {
    /// Begins to look after the paths of a session. Must be called within a tokio runtime.
    pub fn start(endpoint: &Endpoint, session: Arc<Session>, settings: PathSettings) -> Self {
        let now = Instant::now();
        let (queue, arrivals) = mpsc::channel(QUEUE);
        let PathSettings { side, number, key, loopback } = settings;
        let prober = Arc::new(Prober::of_session(number, key, side, queue));
        let surroundings = Arc::clone(endpoint.surroundings());
        let keep_alive = surroundings.keep_alive().unwrap_or(super::keepalive::SAFE);
        let machine =
            Machine::new(now, endpoint.own_addresses(), endpoint.families(), loopback, keep_alive);
        let orders = Orders::default();
        let heard = orders.heard();
        let (publish, state) = watch::channel(PathState::new(now));
        let end = CancellationToken::new();
        let probing = session.probe_with(Arc::clone(&prober));
        let network = endpoint.watch_network();
        let relay = None;
        let driver =
            Driver { machine, session, prober, probing, relay, publish, keep_alive, surroundings };
        let ended = end.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = driver.run(arrivals, heard, network) => {}
                () = ended.cancelled() => {}
            }
        });
        Self { orders, state, _end: end.drop_guard() }
    }

    /// Takes packets from this relay's slot, too, and sends over it while there is no direct path.
    /// `None`: there is no relay, and a direct path is kept until there is another.
    /// Packets are still taken from the slot before, which the peer may not have left yet:
    /// [`Session::forget`] ends that. One that belongs to another session counts as none.
    pub fn relay_over(&self, relay: Option<Route>) {
        self.orders.relay.send_replace(relay);
    }

    /// Probes where the peer may be, as it says; again after either end has moved.
    pub fn meet(&self, candidates: Vec<Candidate>) {
        self.orders.meet.send_replace(candidates);
    }

    /// This machine has these addresses now: every path has to prove itself again. What the
    /// endpoint [notices](crate::Endpoint::watch_network) by itself needs no telling.
    pub fn moved(&self, addresses: Vec<IpAddr>) {
        self.orders.moved.send_replace(addresses);
    }

    /// Which way the session goes at present.
    pub fn state(&self) -> PathState {
        *self.state.borrow()
    }

    /// Tells of each change.
    pub fn watch(&self) -> watch::Receiver<PathState> {
        self.state.clone()
    }
}

struct Driver {
    machine: Machine,
    session: Arc<Session>,
    prober: Arc<Prober>,
    probing: Probing,
    relay: Option<Route>,
    publish: watch::Sender<PathState>,
    /// What other sessions of the endpoint have been told.
    keep_alive: Duration,
    surroundings: Arc<Surroundings>,
}

impl Driver {
    async fn run(
        mut self,
        mut arrivals: mpsc::Receiver<Arrived>,
        mut orders: Heard,
        mut network: watch::Receiver<Vec<IpAddr>>,
    ) {
        let mut refused = 0;
        loop {
            let wake = self.machine.next_wakeup();
            let timer = async {
                match wake {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let session = Arc::clone(&self.session);
            tokio::select! {
                Some(arrived) = arrivals.recv() => self.on_arrival(arrived),
                Ok(()) = orders.relay.changed() => {
                    let relay = *orders.relay.borrow_and_update();
                    self.on_relay(relay);
                }
                Ok(()) = orders.meet.changed() => {
                    let candidates = orders.meet.borrow_and_update().clone();
                    self.machine.handle(Input::Candidates(candidates), Instant::now());
                }
                Ok(()) = orders.moved.changed() => {
                    let ours = orders.moved.borrow_and_update().clone();
                    self.machine.handle(Input::Moved(ours), Instant::now());
                }
                Ok(()) = network.changed() => {
                    let ours = network.borrow_and_update().clone();
                    self.machine.handle(Input::Moved(ours), Instant::now());
                }
                () = session.sends_again() => {}
                () = timer => {}
            }
            let now = Instant::now();
            let received = self.machine.view().direct.map(|direct| self.route(direct));
            let traffic = Input::Traffic {
                sent: self.session.sent(),
                received: received.map_or(0, |route| self.session.received(route)),
                width: HEADER + self.session.packet_size(),
            };
            self.machine.handle(traffic, now);
            self.machine.handle_timeout(now);
            while let Some(output) = self.machine.poll_output() {
                self.carry_out(output);
            }
            let view = self.machine.view();
            self.probing.count_refused(view.refused - refused);
            refused = view.refused;
            if view.keep_alive != self.keep_alive {
                self.keep_alive = view.keep_alive;
                self.surroundings.keeps_alive(view.keep_alive);
            }
            self.publish.send_if_modified(|state| state.update(view, now));
            if self.machine.is_idle() {
                self.session.tell_when_it_sends();
            }
        }
    }

    fn on_arrival(&mut self, arrived: Arrived) {
        let Arrived { from, frame, length } = arrived;
        let transaction = frame.transaction;
        let input = match frame.body {
            Body::Probe { in_use } => Input::Probe { from, transaction, in_use, length },
            Body::Reply { observed } => Input::Reply { from, transaction, observed, length },
        };
        self.machine.handle(input, Instant::now());
    }

    fn on_relay(&mut self, relay: Option<Route>) {
        self.relay = relay.filter(|relay| self.listen_to(*relay));
        if self.machine.view().direct.is_none() {
            self.send_over_relay();
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Probe { to, transaction, in_use, length } => {
                let bytes = self.prober.seal(transaction, Body::Probe { in_use });
                self.probing.send_padded(to, &bytes, length);
            }
            Output::Reply { to, transaction, length } => {
                let bytes = self.prober.seal(transaction, Body::Reply { observed: to });
                self.probing.send_padded(to, &bytes, length);
            }
            Output::Listen(address) => {
                self.session.listen(self.route(address));
            }
            Output::Forget(address) => self.session.forget(self.route(address)),
            Output::Use(Some(address)) => self.session.send_along(self.route(address)),
            Output::Use(None) => self.send_over_relay(),
        }
    }

    /// Takes packets from a relay's slot. Answers false if it is another session's.
    fn listen_to(&self, relay: Route) -> bool {
        let free = self.session.listen(relay);
        if !free {
            tracing::debug!(?relay, "this slot belongs to another session");
        }
        free
    }

    fn send_over_relay(&self) {
        if let Some(relay) = self.relay {
            self.session.send_along(relay);
        }
    }

    fn route(&self, to: SocketAddr) -> Route {
        Route { to, number: self.prober.number }
    }
}

impl Families {
    /// Of a socket that is bound to this address.
    pub(crate) fn of(bound: SocketAddr) -> Self {
        match bound.ip() {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(ip) if ip.is_unspecified() => Self::Both,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }
}
