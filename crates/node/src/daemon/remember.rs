//! Keeps on disk what the overlay wants to know at the next start: the cache of supernodes, the
//! evidence, and whether it is a supernode.

use crate::home::Home;
use skein_proto::evidence::EvidenceRecord;
use skein_proto::{Role, SupernodeEntry, UnixTime};
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The file that is there while this node is a supernode. It holds the time, in seconds since
/// 1970, at which it last was one.
const MARK: &str = "is-supernode";

/// How often that time is written. One that comes back is missed by the others for 75 s before it
/// is replaced, and looks whether it was by this clock: a quarter of a minute is fine enough for
/// that, and seldom enough for any disk.
const BEAT: Duration = Duration::from_secs(15);

/// What is to be on disk; `None` is left as it is.
#[derive(Clone, Debug, Default)]
struct Wanted {
    supernodes: Option<Vec<SupernodeEntry>>,
    evidence: Option<EvidenceRecord>,
    role: Option<Role>,
}

/// Writes what the overlay wants to know at the next start: one write at a time, and always the
/// latest state last. What is overtaken while a slow disk writes is not written at all.
#[derive(Debug)]
pub(crate) struct Memory {
    wanted: watch::Sender<Wanted>,
    writer: JoinHandle<()>,
}

impl Memory {
    /// Keeps what it is told in this folder. Must be called within a tokio runtime.
    pub(crate) fn start(home: Home) -> Self {
        let (wanted, mut changes) = watch::channel(Wanted::default());
        let writer = tokio::spawn(async move {
            loop {
                // After the last sender is gone this still yields what was set and not seen yet.
                let latest = match timeout(BEAT, changes.changed()).await {
                    Ok(Ok(())) => changes.borrow_and_update().clone(),
                    Ok(Err(_)) => break,
                    // Only how long it has been a supernode goes on.
                    Err(_) if changes.borrow().role != Some(Role::Super) => continue,
                    Err(_) => Wanted { role: Some(Role::Super), ..Wanted::default() },
                };
                let home = home.clone();
                // A panic in there is reported by the runtime.
                let _ = tokio::task::spawn_blocking(move || write(&home, &latest)).await;
            }
        });
        Self { wanted, writer }
    }

    /// Keeps these supernodes from now on.
    pub(crate) fn set(&self, entries: Vec<SupernodeEntry>) {
        self.wanted.send_modify(|wanted| wanted.supernodes = Some(entries));
    }

    /// Keeps this evidence from now on.
    pub(crate) fn set_evidence(&self, evidence: EvidenceRecord) {
        self.wanted.send_modify(|wanted| wanted.evidence = Some(evidence));
    }

    /// Keeps this role from now on.
    pub(crate) fn set_role(&self, role: Role) {
        self.wanted.send_modify(|wanted| wanted.role = Some(role));
    }

    /// Waits until what was set last is on disk.
    pub(crate) async fn close(self) {
        drop(self.wanted);
        // It ends in no other way than by the runtime's end.
        let _ = self.writer.await;
    }
}

/// Whether this node was a supernode when it last ran.
pub(crate) fn was_super(home: &Home) -> bool {
    home.dir().join(MARK).exists()
}

/// When this node was last a supernode, by its clock of then; `None` if that is not known.
pub(crate) fn last_super(home: &Home) -> Option<UnixTime> {
    let mark = std::fs::read_to_string(home.dir().join(MARK)).ok()?;
    mark.trim().parse().ok().map(UnixTime)
}

/// How long ago that was; `None` if it is not known.
pub(crate) fn away(last_super: Option<UnixTime>) -> Option<Duration> {
    let last = UNIX_EPOCH.checked_add(Duration::from_secs(last_super?.0))?;
    // A clock that was set back tells nothing.
    SystemTime::now().duration_since(last).ok()
}

fn write(home: &Home, wanted: &Wanted) {
    if let Some(entries) = &wanted.supernodes
        && let Err(error) = home.set_supernodes(entries)
    {
        tracing::warn!(%error, "the cache of supernodes was not written");
    }
    if let Some(evidence) = &wanted.evidence
        && let Err(error) = home.set_evidence(evidence)
    {
        tracing::warn!(%error, "the evidence was not written");
    }
    let mark = home.dir().join(MARK);
    let marked = match wanted.role {
        Some(Role::Super) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            std::fs::write(&mark, now.as_secs().to_string())
        }
        Some(Role::Ordinary) => match std::fs::remove_file(&mark) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        },
        None => Ok(()),
    };
    if let Err(error) = marked {
        tracing::warn!(%error, "the role was not put on record");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use skein_proto::{BoundedVec, NodeId};

    fn supernodes(count: u8) -> Vec<SupernodeEntry> {
        (0..count)
            .map(|number| SupernodeEntry {
                node: NodeId::from_bytes([number; 32]),
                addresses: BoundedVec::truncated([([192, 0, 2, number], 1).into()]),
                load_percent: 1,
                seen: UnixTime(1),
            })
            .collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_set_last_is_on_disk_when_it_is_closed() {
        let temp = tempfile::tempdir().unwrap();
        let home = Home::open(temp.path()).unwrap();
        let memory = Memory::start(home.clone());
        for count in (1..=100).rev() {
            memory.set(supernodes(count));
            tokio::task::yield_now().await;
        }
        memory.close().await;
        assert_eq!(home.supernodes().unwrap(), supernodes(1));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_role_is_on_record_until_the_next_one() {
        let temp = tempfile::tempdir().unwrap();
        let home = Home::open(temp.path()).unwrap();
        assert!(!was_super(&home));
        for role in [Role::Super, Role::Ordinary, Role::Super] {
            let memory = Memory::start(home.clone());
            memory.set_role(role);
            memory.close().await;
            assert_eq!(was_super(&home), role == Role::Super);
            let just_now =
                away(last_super(&home)).is_some_and(|away| away < Duration::from_secs(60));
            assert_eq!(just_now, role == Role::Super);
        }
    }

    #[test]
    fn when_it_was_last_a_supernode_is_known_whatever_the_clock_says_by_now() {
        let temp = tempfile::tempdir().unwrap();
        let home = Home::open(temp.path()).unwrap();
        for (mark, last) in [("7\n", Some(UnixTime(7))), ("", None), ("-1", None)] {
            std::fs::write(home.dir().join(MARK), mark).unwrap();
            assert_eq!(last_super(&home), last, "{mark:?}");
        }
        assert!(away(Some(UnixTime(7))).is_some());
        assert_eq!(away(Some(UnixTime(1 << 40))), None, "it lies ahead");
        assert_eq!(away(Some(UnixTime(u64::MAX))), None);
    }

    #[tokio::test(start_paused = true)]
    async fn how_long_a_supernode_has_been_one_is_written_on_and_on() {
        let temp = tempfile::tempdir().unwrap();
        let home = Home::open(temp.path()).unwrap();
        let mark = home.dir().join(MARK);
        let memory = Memory::start(home.clone());
        memory.set_role(Role::Super);
        for _ in 0..3 {
            tokio::time::sleep(BEAT + Duration::from_secs(1)).await;
            std::fs::remove_file(&mark).expect("it was written since");
        }
        memory.close().await;
    }
}
