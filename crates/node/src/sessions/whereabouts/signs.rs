//! Signs that this node is seen elsewhere, while nothing is sent that would show it by itself.

use super::allowance::Allowance;
use skein_net::Connection;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;

/// How often somebody at the other end of a connection is asked where this node is seen, while there
/// are sessions: the router may have begun to map in another way (it was started again, or the line
/// has another address), and in a pause nothing has an answer to wait for. It is half of the time
/// after which a router may forget a mapping (RFC 4787, section 4.3), and costs two packets of some
/// 60 bytes.
const PAUSE: Duration = Duration::from_secs(15);

/// Signs that begin looks: so many at once, and one more after each pause. A router that is started
/// again gives one; somebody who says something else each time is believed no more often than this.
const SIGNS_AT_ONCE: u32 = 4;
const SIGN_EACH: Duration = Duration::from_secs(300);

/// Looks for such signs.
#[derive(Debug)]
pub(super) struct Signs {
    due: Instant,
    /// Where the one on this connection saw it the last time.
    seen: Option<(usize, SocketAddr)>,
    /// Who saw it elsewhere the last time that somebody did. He is asked no more while there are
    /// others: if it was so, they see it as well.
    cried: Option<usize>,
    allowance: Allowance,
}

impl Signs {
    pub(super) fn new(now: Instant) -> Self {
        let allowance = Allowance::new(SIGNS_AT_ONCE, SIGN_EACH);
        Self { due: now + PAUSE, seen: None, cried: None, allowance }
    }

    /// When it is to be asked next.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// It was not asked, since nobody wants to know.
    pub(super) fn pass(&mut self, now: Instant) {
        self.due = now + PAUSE;
    }

    /// Asks one of these, the same as the last time if it is there. Answers whether this node is seen
    /// elsewhere than then, or, the first time, elsewhere than is `known`.
    pub(super) async fn ask(&mut self, observers: &[Connection], known: &[SocketAddr]) -> bool {
        let ids: Vec<usize> = observers.iter().map(Connection::id).collect();
        let chosen = self.whom(&ids).and_then(|at| observers.get(at));
        let elsewhere = match chosen {
            Some(connection) => match connection.observe().await {
                Some(at) => self.saw(connection.id(), at, known),
                None => false,
            },
            None => false,
        };
        self.due = Instant::now() + PAUSE;
        elsewhere
    }

    /// Which of these connections is asked.
    fn whom(&self, ids: &[usize]) -> Option<usize> {
        let has_not_cried = |id: &usize| Some(*id) != self.cried;
        let last = self.seen.map(|(id, _)| id).filter(has_not_cried);
        let same = last.and_then(|last| ids.iter().position(|id| *id == last));
        same.or_else(|| ids.iter().position(has_not_cried)).or((!ids.is_empty()).then_some(0))
    }

    fn saw(&mut self, connection: usize, at: SocketAddr, known: &[SocketAddr]) -> bool {
        let elsewhere = match self.seen {
            Some((same, before)) if same == connection => before != at,
            // A router may show another port to each: what was not seen by this one says nothing
            // unless it was seen by nobody.
            _ => !known.contains(&at),
        };
        if elsewhere {
            self.cried = Some(connection);
            if !self.allowance.take(Instant::now()) {
                // If it is so, it will be seen again.
                return false;
            }
        }
        self.seen = Some((connection, at));
        elsewhere
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

    #[test]
    fn whoever_has_cried_is_asked_no_more_while_there_are_others() {
        let mut signs = Signs::new(Instant::now());
        assert_eq!(signs.whom(&[7, 8, 9]), Some(0));
        assert!(!signs.saw(8, at(5), &[at(5)]));
        assert_eq!(signs.whom(&[7, 8, 9]), Some(1), "the same as the last time");
        assert!(signs.saw(8, at(6), &[at(5)]));
        assert_eq!(signs.whom(&[7, 8, 9]), Some(0));
        assert_eq!(signs.whom(&[8, 9]), Some(1));
        assert_eq!(signs.whom(&[8]), Some(0), "there is nobody else");
        assert_eq!(signs.whom(&[]), None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_something_else_each_time_is_believed_a_few_times_an_hour() {
        let mut signs = Signs::new(Instant::now());
        let mut believed = 0;
        for port in 1..=240 {
            believed += u32::from(signs.saw(1, at(port), &[]));
            tokio::time::advance(PAUSE).await;
        }
        assert_eq!(believed, SIGNS_AT_ONCE + 11, "within an hour");
    }
}
