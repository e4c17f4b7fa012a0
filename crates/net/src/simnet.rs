//! A network in memory, for tests of whole nodes in virtual time.
//!
//! Under a tokio runtime of one thread whose clock is paused, time jumps to the next event as
//! soon as every task waits: minutes of a network's life take milliseconds. Loss and jitter come
//! from a seed. (The keys that TLS draws are still random; they change no length and no time.)
//!
//! A datagram passes the sender's line and then the receiver's. Each has a delay, a loss and a
//! rate in either direction, and in front of a line with a rate there is a queue that drops what
//! does not fit, as routers do. Addresses are the caller's to choose, and who knows one can send to
//! it, unless there is a router with address translation between the two ([`Network::nat`]).

mod line;
mod nat;
mod receive;
mod socket;
mod state;
#[cfg(test)]
mod tests;

pub use line::LinkProfile;
pub use nat::{NatKind, Realm};
pub use socket::SimSocket;

use nat::Nat;
use state::{Port, State};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a line carries at most, with the headers of IP and UDP: that of Ethernet. A larger packet is
/// lost without a word, as on paths that filter ICMP.
pub const MTU: usize = 1_500;

/// What became of the datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NetworkStats {
    /// Sent by any socket.
    pub sent: u64,
    /// Received by a socket.
    pub delivered: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Lost since a line was cut, or nobody listens at the address.
    pub unreachable: u64,
    /// Lost since a queue or an inbox was full.
    pub overflowed: u64,
    /// Lost since they were longer than [`MTU`], or than [`Network::narrow`] says.
    pub too_large: u64,
}

/// A network in memory. Clones are the same network.
#[derive(Clone, Debug)]
pub struct Network {
    state: Arc<Mutex<State>>,
}

impl Network {
    /// A network without sockets. The same seed gives the same losses to the same datagrams.
    pub fn new(seed: u64) -> Self {
        Self { state: Arc::new(Mutex::new(State::new(seed))) }
    }

    /// Opens a socket. It closes when it is dropped.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`] if there is one at this address.
    pub fn socket(&self, address: SocketAddr, profile: LinkProfile) -> io::Result<Arc<SimSocket>> {
        self.socket_in(Realm::INTERNET, address, profile)
    }

    /// The same behind a router; see [`Network::nat`].
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`] if there is one at this address, in whatever realm.
    pub fn socket_in(
        &self,
        realm: Realm,
        address: SocketAddr,
        profile: LinkProfile,
    ) -> io::Result<Arc<SimSocket>> {
        let mut state = self.lock();
        if state.ports.contains_key(&address) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        state.ports.insert(address, Port::new(realm, profile));
        Ok(Arc::new(SimSocket { network: self.clone(), address, timer: Mutex::new(None) }))
    }

    /// Puts up a router with address translation. `outside` is its address in the realm `parent`,
    /// another router's or the internet; a mapping that nothing was sent through for `timeout` is
    /// gone. The realm behind it is returned; its own hosts reach each other directly, and not by
    /// the outside address.
    pub fn nat(&self, kind: NatKind, outside: IpAddr, parent: Realm, timeout: Duration) -> Realm {
        let mut state = self.lock();
        let realm = Realm(u32::try_from(state.nats.len()).unwrap_or(u32::MAX).saturating_add(1));
        state.nats.insert(realm, Nat::new(kind, outside, parent, timeout));
        realm
    }

    /// Lets a router forget its mappings, as when it is started again: what is behind it gets new
    /// ports.
    pub fn forget_mappings(&self, behind: Realm) {
        if let Some(nat) = self.lock().nats.get_mut(&behind) {
            nat.forget();
        }
    }

    /// From now on, what a socket sends that begins with this byte is lost: so a relay can go on
    /// answering for itself and let nothing through.
    pub fn mute(&self, address: SocketAddr, first_byte: u8) {
        self.lock().muted.insert((address, first_byte));
    }

    /// Sends a datagram as the socket at `from` would if it were not muted.
    pub fn inject(&self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let reader = self.lock().pass(from, to, None, bytes);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Cuts the line of an address: from now on nothing gets in or out, not even what is on its
    /// way to it. The sockets at both ends see nothing of it.
    pub fn cut(&self, address: SocketAddr) {
        let mut state = self.lock();
        state.cut.insert(address);
        if let Some(port) = state.ports.get_mut(&address) {
            let dropped = port.inbox.len() as u64;
            port.inbox.clear();
            state.stats.unreachable += dropped;
        }
    }

    /// Mends a line that was cut.
    pub fn heal(&self, address: SocketAddr) {
        self.lock().cut.remove(&address);
    }

    /// Lets nothing pass from one socket to another, either way; what they exchange with others
    /// passes. Addresses are those of the sockets, whatever routers make of them.
    pub fn block(&self, one: SocketAddr, other: SocketAddr) {
        self.lock().blocked.extend([(one, other), (other, one)]);
    }

    /// Lets it pass again.
    pub fn unblock(&self, one: SocketAddr, other: SocketAddr) {
        self.lock().blocked.retain(|pair| *pair != (one, other) && *pair != (other, one));
    }

    /// From now on, what passes from one socket to another, either way, is this long at most, with the
    /// headers of IP and UDP. Addresses are those of the sockets.
    pub fn narrow(&self, one: SocketAddr, other: SocketAddr, mtu: usize) {
        self.lock().narrow.extend([((one, other), mtu), ((other, one), mtu)]);
    }

    /// From now on, what passes from one socket to another, either way, takes so much longer than their
    /// lines do. Addresses are those of the sockets.
    pub fn lengthen(&self, one: SocketAddr, other: SocketAddr, by: Duration) {
        self.lock().longer.extend([((one, other), by), ((other, one), by)]);
    }

    /// Carries a socket into another realm, where it has another address. The socket itself sees
    /// nothing of it, as one that is bound to all addresses of a machine. What is on its way to the
    /// old address is lost.
    ///
    /// # Panics
    /// If there is no such socket, or one at the new address: the test is wrong.
    pub fn move_to(&self, socket: SocketAddr, realm: Realm, address: SocketAddr) {
        let mut state = self.lock();
        let now_at = *state.moved.get(&socket).unwrap_or(&socket);
        assert!(!state.ports.contains_key(&address), "{address} is taken");
        let port = state.ports.remove(&now_at);
        let Some(mut port) = port else { panic!("no socket at {socket}") };
        port.realm = realm;
        port.inbox.clear();
        state.ports.insert(address, port);
        state.moved.insert(socket, address);
    }

    /// Changes what the line of an address is like, for what is sent from now on.
    pub fn set_profile(&self, address: SocketAddr, profile: LinkProfile) {
        if let Some(port) = self.lock().ports.get_mut(&address) {
            port.profile = profile;
        }
    }

    /// What became of the datagrams so far.
    pub fn stats(&self) -> NetworkStats {
        self.lock().stats
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A test that panicked elsewhere has failed already; what it left is still consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
