//! When this supernode speaks of itself, and what it says.

use rand::{Rng, RngExt};
use skein_proto::membership::{Announcement, MAX_LIFETIME, SupernodeRecord, SupernodeState};
use skein_proto::rumour::News;
use skein_proto::supernode::Load;
use skein_proto::{BoundedVec, Instant, KeyPair, Rumour, Signed, SignedCredential, UnixTime};
use std::net::SocketAddr;
use std::time::Duration;

/// How often a supernode of a small network says that it is there.
const PERIOD: Duration = Duration::from_secs(10 * 60);

/// Supernodes of a small network. In a larger one everybody speaks less often, so that what a
/// supernode has to listen to does not grow beyond two records a second; deaths are told by others.
const SMALL: usize = 1_000;

/// The longest pause, however large the network.
const LONGEST_PERIOD: Duration = Duration::from_secs(60 * 60);

/// A record is good for so many periods: two of them may get lost.
const PERIODS: u32 = 3;

/// The shortest pause between two records. Others ignore what comes faster, see
/// [`MIN_SPACING_SECS`].
const SPACING: Duration = Duration::from_secs(30);

/// Seconds between two records of a supernode below which the second is ignored, unless its state
/// is another or somebody suspects it: what one name can make all others pass on is bounded.
pub(crate) const MIN_SPACING_SECS: u64 = 10;

/// Pause after a change of the load before it is told, where there are a hundred supernodes or more.
const LOAD_PAUSE: Duration = Duration::from_secs(60);

/// The same in a small network, for each other supernode: each has to listen to all of them, and a
/// new supernode that fills up in seconds must not count as empty for a minute.
const LOAD_PAUSE_EACH: Duration = Duration::from_millis(600);

/// The shortest of these pauses: others ignore what comes faster than [`MIN_SPACING_SECS`].
const LEAST_LOAD_PAUSE: Duration = Duration::from_secs(12);

/// Percent by which the load must differ from the last word for a new one, where there are many
/// supernodes: what each of them has not told yet is of random sign, and a record goes to all.
const LOAD_STEP: u8 = 25;

/// The same in a smaller network: so many supernodes make a percent. Where there are nine, the others
/// become 8 percent fuller when one dies, and it is by that that they see that it is missed.
const MEMBERS_A_PERCENT: usize = 20;

/// The least of these steps: six children of 150.
const LEAST_LOAD_STEP: u8 = 4;

/// How often a supernode looks whether it knows an address of its own by now.
const UNREADY_PAUSE: Duration = Duration::from_secs(1);

/// The pause after a change of the load in a network of that size.
pub(crate) fn load_pause(members: usize) -> Duration {
    let members = u32::try_from(members).unwrap_or(u32::MAX);
    LOAD_PAUSE_EACH.saturating_mul(members).clamp(LEAST_LOAD_PAUSE, LOAD_PAUSE)
}

/// By how many percent the load must change in a network of that size to be told.
fn load_step(members: usize) -> u8 {
    let step = u8::try_from(members / MEMBERS_A_PERCENT).unwrap_or(LOAD_STEP);
    step.clamp(LEAST_LOAD_STEP, LOAD_STEP)
}

/// How often each supernode of a network of that size says that it is there.
pub(crate) fn period(members: usize) -> Duration {
    let scale = u32::try_from(members / SMALL).unwrap_or(u32::MAX).max(1);
    PERIOD.saturating_mul(scale).min(LONGEST_PERIOD)
}

/// When this supernode speaks of itself, and what it says.
#[derive(Debug)]
pub(crate) struct Announcer {
    since: UnixTime,
    state: SupernodeState,
    /// The version of the last record; none may be older.
    version: u64,
    last: Option<Box<(Instant, SupernodeRecord)>>,
    due: Instant,
    doubted: bool,
    urgent: bool,
}

impl Default for Announcer {
    fn default() -> Self {
        Self {
            since: UnixTime(0),
            state: SupernodeState::Serving,
            version: 0,
            last: None,
            due: Instant::START,
            doubted: false,
            urgent: false,
        }
    }
}

impl Announcer {
    /// This node has become a supernode.
    pub(crate) fn start(&mut self, state: SupernodeState, now: (Instant, UnixTime)) {
        self.since = now.1;
        self.state = state;
        self.last = None;
        self.due = now.0;
    }

    /// It takes on something else from now on.
    pub(crate) fn set_state(&mut self, state: SupernodeState, now: Instant) {
        if self.state != state {
            self.state = state;
            self.due = now;
        }
    }

    /// Somebody spoke of this node with this version, or doubts it: the next record must be newer,
    /// and come now.
    pub(crate) fn outdo(&mut self, version: u64, now: Instant) {
        if version >= self.version {
            self.version = version;
            self.due = now;
            self.doubted = true;
        }
    }

    /// Whether somebody doubted this node before its last record, so that all must hear of it.
    pub(crate) fn is_urgent(&self) -> bool {
        self.urgent
    }

    /// There is nothing to be said yet.
    pub(crate) fn put_off(&mut self, now: Instant) {
        self.due = now + UNREADY_PAUSE;
    }

    /// Whether somebody doubts the present record, or one of an earlier life that this node does
    /// not remember. Nobody can doubt what was not said yet: whoever had this node outdo a version
    /// of the far future would silence it, since nobody believes a record of the future.
    pub(crate) fn is_present(&self, version: u64, now: UnixTime) -> bool {
        version == self.version || (version > self.version && version <= now.0)
    }

    /// Speaks sooner if what it said last does not hold any more.
    pub(crate) fn review(&mut self, load: Load, addresses: &[SocketAddr], members: usize) {
        let Some((at, last)) = self.last.as_deref() else { return };
        // A record has room for four.
        let told = addresses.len().min(BoundedVec::<SocketAddr, 4>::LIMIT);
        if last.addresses[..] != addresses[..told] {
            self.due = self.due.min(*at + SPACING);
        }
        let differs = last.load.percent().abs_diff(load.percent()) >= load_step(members)
            || last.load.accepting != load.accepting;
        if differs {
            self.due = self.due.min(*at + load_pause(members));
        }
    }

    /// The credential is another one.
    pub(crate) fn on_credential(&mut self, now: Instant, rng: &mut impl Rng) {
        // Everybody's ran out at the same time, maybe, when the login service was away.
        self.due = self.due.min(now + LOAD_PAUSE.mul_f64(rng.random()));
    }

    pub(crate) fn is_due(&self, now: Instant) -> bool {
        now >= self.due
    }

    pub(crate) fn next_wakeup(&self) -> Instant {
        self.due
    }

    /// The next word.
    pub(crate) fn announce(
        &mut self,
        (key, credential): (&KeyPair, &SignedCredential),
        (load, addresses): (Load, &[SocketAddr]),
        members: usize,
        (now, unix): (Instant, UnixTime),
        rng: &mut impl Rng,
    ) -> Rumour {
        let period = period(members);
        // Several changes of state within a second have made the versions run ahead of the clock.
        let repeats = self.last.as_ref().is_some_and(|last| last.1.state == self.state);
        let least = if repeats && !self.doubted { MIN_SPACING_SECS } else { 1 };
        self.version = unix.0.max(self.version.saturating_add(least));
        self.due = now + period.mul_f64(rng.random_range(0.75..1.25));
        let lifetime = (period * PERIODS).min(MAX_LIFETIME).as_secs();
        let record = SupernodeRecord {
            node: key.node_id(),
            addresses: BoundedVec::truncated(addresses.iter().copied()),
            load,
            since: self.since,
            issued: UnixTime(self.version),
            lifetime_secs: u32::try_from(lifetime).unwrap_or(u32::MAX),
            state: self.state,
        };
        self.urgent = std::mem::take(&mut self.doubted);
        self.last = Some(Box::new((now, record.clone())));
        let record = Signed::new(record, key);
        Rumour::new(News::Announcement(Announcement { record, credential: credential.clone() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use skein_proto::{Credential, Username};

    #[test]
    fn nobody_doubts_what_a_supernode_has_not_said_yet() {
        let mut announcer = Announcer { version: 100, ..Announcer::default() };
        let now = UnixTime(120);
        assert!(announcer.is_present(100, now));
        assert!(announcer.is_present(110, now), "of an earlier life");
        assert!(!announcer.is_present(99, now) && !announcer.is_present(121, now));
        assert!(!announcer.is_present(u64::MAX, now));
        announcer.version = 130;
        assert!(announcer.is_present(130, now), "its clock was set back");
    }

    #[test]
    fn where_few_take_the_children_of_one_that_died_they_say_so() {
        for others in [2, 8, 12, 16] {
            // All were filled to two thirds, and those of the one that died go to the others.
            assert!(usize::from(load_step(others)) <= 67 / others, "{others}");
        }
        assert_eq!((load_step(0), load_step(200), load_step(usize::MAX)), (4, 10, 25));
    }

    #[test]
    fn a_small_network_hears_sooner_how_full_its_supernodes_are() {
        assert_eq!(load_pause(2), LEAST_LOAD_PAUSE);
        assert_eq!(load_pause(50), Duration::from_secs(30));
        assert_eq!(load_pause(100), LOAD_PAUSE);
        assert_eq!(load_pause(usize::MAX), LOAD_PAUSE);
        assert!(LEAST_LOAD_PAUSE.as_secs() > MIN_SPACING_SECS);
    }

    #[test]
    fn what_follows_changes_of_state_in_haste_is_not_ignored_by_others() {
        let key = KeyPair::from_seed(&[1; 32]);
        let (node, name) = (key.node_id(), Username::parse("anna").expect("a name"));
        let (issued, expires, registered) = (UnixTime(0), UnixTime(1_000), UnixTime(0));
        let credential = Signed::new(Credential { name, node, issued, expires, registered }, &key);
        let mut rng = StdRng::seed_from_u64(1);
        let mut announcer = Announcer::default();
        let mut said = |announcer: &mut Announcer, secs: u64| {
            let now = (Instant::START + Duration::from_secs(secs), UnixTime(100 + secs));
            let of = (Load::default(), &[][..]);
            announcer.announce((&key, &credential), of, 3, now, &mut rng);
            announcer.version
        };
        for state in [SupernodeState::Warming, SupernodeState::Serving, SupernodeState::Warming] {
            announcer.set_state(state, Instant::START);
            said(&mut announcer, 0);
        }
        announcer.set_state(SupernodeState::Serving, Instant::START);
        let last = said(&mut announcer, 0);
        assert_eq!(last, 103, "each is another version");
        let next = said(&mut announcer, LEAST_LOAD_PAUSE.as_secs());
        assert!(next >= last + MIN_SPACING_SECS, "{next}");
    }

    #[test]
    fn a_larger_network_speaks_less_often_each() {
        assert_eq!(period(1), PERIOD);
        assert_eq!(period(950), PERIOD);
        assert_eq!(period(3_000), PERIOD * 3);
        assert_eq!(period(1_000_000), LONGEST_PERIOD);
        assert!(LONGEST_PERIOD * PERIODS <= MAX_LIFETIME);
    }
}
