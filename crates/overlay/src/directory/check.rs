//! Whether a record may be believed.
//!
//! The cheap checks come first: a signature costs a hundred times as much as all of them.

use crate::core::Core;
use crate::io::Now;
use skein_proto::credential::CLOCK_SKEW;
use skein_proto::directory::{Loss, Presence, Shared, SourceClaim};
use skein_proto::{Credential, CredentialError, UnixTime};
use std::time::Duration;

/// How long a node is taken to be there after its last word: long enough for a node to say so
/// twice an hour and no more, short enough that one whose parent died with it is not dialled for
/// a day.
pub(super) const PRESENCE_LIFE: Duration = Duration::from_secs(60 * 60);

/// How long a claim to have a content is good for. A source that has gone stays in the directory
/// for no longer; a node with 100 files spends 1 B/s on saying it again in time.
pub(super) const CLAIM_LIFE: Duration = Duration::from_secs(6 * 60 * 60);

/// The longest lifetimes that are accepted: twice what this version asks for, so that a later one
/// may ask for more.
const MAX_PRESENCE_LIFE: Duration = Duration::from_secs(2 * 60 * 60);
const MAX_CLAIM_LIFE: Duration = Duration::from_secs(12 * 60 * 60);

/// Why a record is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is not signed by whom it must be: whoever made it up is at fault.
    Forged,
    /// It is too old, from the future, or wants to live too long: somebody's clock may be wrong.
    Untimely,
}

impl Fault {
    /// Counts a refused record.
    pub(super) fn count(self, core: &mut Core) {
        match self {
            Self::Forged => core.counters.directory_forged += 1,
            Self::Untimely => core.counters.directory_refused_untimely += 1,
        }
    }
}

/// Whether this network's login service says that this node has this name.
pub(super) fn credential(
    core: &Core,
    credential: &Shared<Credential>,
    now: Now,
) -> Result<(), Fault> {
    let bearer = credential.unverified().node;
    match credential.check(&core.config.login_key, &bearer, now.unix) {
        Ok(_) => Ok(()),
        Err(CredentialError::Expired | CredentialError::NotYetValid) => Err(Fault::Untimely),
        Err(_) => Err(Fault::Forged),
    }
}

/// Whether a statement of the owner of a credential is not from the future, does not want to live
/// for too long, and ends with the credential at the latest: what was said under one that is not
/// renewed must not outlive it.
fn timely(
    owner: &Shared<Credential>,
    (issued, expires): (UnixTime, UnixTime),
    longest: Duration,
    now: Now,
) -> Result<(), Fault> {
    let sound = issued <= now.unix.plus(CLOCK_SKEW)
        && expires.since(issued) <= longest
        && expires <= owner.unverified().expires;
    if sound { Ok(()) } else { Err(Fault::Untimely) }
}

/// Whether the owner of a credential said where it is. One that has expired still tells when the
/// node was last seen.
pub(super) fn presence(
    owner: &Shared<Credential>,
    presence: &Shared<Presence>,
    now: Now,
) -> Result<(), Fault> {
    let said = presence.unverified();
    timely(owner, (said.issued, said.expires), MAX_PRESENCE_LIFE, now)?;
    presence.verify(&owner.unverified().node).map_err(|_| Fault::Forged)?;
    Ok(())
}

/// Whether the parent that a presence names has lost the node since.
pub(super) fn loss(
    owner: &Shared<Credential>,
    presence: &Shared<Presence>,
    loss: &Shared<Loss>,
    now: Now,
) -> Result<(), Fault> {
    let (said, lost) = (presence.unverified(), loss.unverified());
    if lost.node != owner.unverified().node {
        return Err(Fault::Forged);
    }
    if lost.at < said.issued || lost.at > now.unix.plus(CLOCK_SKEW) {
        return Err(Fault::Untimely);
    }
    let parent = said.parent.as_ref().ok_or(Fault::Forged)?;
    loss.verify(&parent.node).map_err(|_| Fault::Forged)?;
    Ok(())
}

/// Whether the owner of a credential claims to have a content.
pub(super) fn claim(
    owner: &Shared<Credential>,
    claim: &Shared<SourceClaim>,
    now: Now,
) -> Result<(), Fault> {
    let said = claim.unverified();
    timely(owner, (said.issued, said.expires), MAX_CLAIM_LIFE, now)?;
    if now.unix >= said.expires {
        return Err(Fault::Untimely);
    }
    claim.verify(&owner.unverified().node).map_err(|_| Fault::Forged)?;
    Ok(())
}
