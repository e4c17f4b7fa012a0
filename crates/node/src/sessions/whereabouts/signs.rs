//! Signs that this node is seen elsewhere, while nothing is sent that would show it by itself.

use skein_net::{Connection, Endpoint};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;

/// How often somebody at the other end of a connection is asked where this node is seen, while there
/// are sessions: the router may have begun to map in another way (it was started again, or the line
/// has another address), and in a pause nothing has an answer to wait for. It is half of the time
/// after which a router may forget a mapping (RFC 4787, section 4.3), and costs two packets of some
/// 60 bytes.
const PAUSE: Duration = Duration::from_secs(15);

/// Looks for such signs.
#[derive(Debug)]
pub(super) struct Signs {
    due: Instant,
    /// Where the one on this connection saw it the last time.
    seen: Option<(usize, SocketAddr)>,
}

impl Signs {
    pub(super) fn new(now: Instant) -> Self {
        Self { due: now + PAUSE, seen: None }
    }

    /// When it is to be asked next.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// It was not asked, since nobody wants to know.
    pub(super) fn pass(&mut self, now: Instant) {
        self.due = now + PAUSE;
    }

    /// Asks one, the same as the last time if it is there. Answers whether this node is seen elsewhere
    /// than then, or, the first time, elsewhere than is `known`.
    pub(super) async fn ask(&mut self, endpoint: &Endpoint, known: &[SocketAddr]) -> bool {
        let last = self.seen.map(|(id, _)| id);
        let connections = endpoint.connections();
        let sees =
            |connection: &&Connection| !connection.is_over_tcp() && !connection.is_over_session();
        let mut all = connections.iter().filter(sees);
        let same = all.clone().find(|connection| Some(connection.id()) == last);
        let elsewhere = match same.or_else(|| all.next()) {
            Some(connection) => match connection.observe().await {
                Some(at) => self.saw(connection.id(), at, known),
                None => false,
            },
            None => false,
        };
        self.due = Instant::now() + PAUSE;
        elsewhere
    }

    fn saw(&mut self, connection: usize, at: SocketAddr, known: &[SocketAddr]) -> bool {
        match self.seen.replace((connection, at)) {
            Some((same, before)) if same == connection => before != at,
            // A router may show another port to each: what was not seen by this one says nothing
            // unless it was seen by nobody.
            _ => !known.contains(&at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    #[test]
    fn a_node_is_elsewhere_when_the_same_one_sees_it_elsewhere() {
        let mut signs = Signs::new(Instant::now());
        assert!(!signs.saw(1, at(5), &[at(5), at(6)]), "as it is known");
        assert!(!signs.saw(1, at(5), &[]));
        assert!(signs.saw(1, at(7), &[at(5)]));
        assert!(!signs.saw(1, at(7), &[at(5)]), "once");
    }

    #[test]
    fn another_one_that_sees_it_at_a_known_place_is_no_sign() {
        let mut signs = Signs::new(Instant::now());
        assert!(!signs.saw(1, at(5), &[at(5), at(6)]));
        assert!(!signs.saw(2, at(6), &[at(5), at(6)]), "a port for each");
        assert!(signs.saw(3, at(8), &[at(5), at(6)]));
    }
}
