//! The directory: where the nodes of a name are, and who has a content.
//!
//! What is kept there is signed by its owner, so that whoever keeps it can withhold it but not
//! change it. A statement does not name its signer: it stands beside the owner's credential, whose
//! node must have signed it, and an Ed25519 signature belongs to one key only.

use crate::bounded::BoundedVec;
use crate::codec::encoded_len;
use crate::credential::Credential;
use crate::id::{ContentId, NodeId, QueryId};
use crate::key::{KeyPair, Signed, Statement};
use crate::message::MessageKind;
use crate::name::Username;
use crate::supernode::SupernodeEntry;
use crate::time::UnixTime;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::SocketAddr;
use std::ops::Deref;

/// A signed statement that many places hold at once, and that is copied by its address.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shared<T>(Signed<T>);

impl<T> Shared<T> {
    /// Puts a signed statement where copies cost nothing.
    pub const fn new(signed: Signed<T>) -> Self {
        Self(signed)
    }
}

impl<T: Statement> Shared<T> {
    /// Signs a statement.
    pub fn sign(statement: T, key: &KeyPair) -> Self {
        Self(Signed::new(statement, key))
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T> From<Signed<T>> for Shared<T> {
    fn from(signed: Signed<T>) -> Self {
        Self(signed)
    }
}

impl<T> Deref for Shared<T> {
    type Target = Signed<T>;

    fn deref(&self) -> &Signed<T> {
        &self.0
    }
}

/// A node and where it listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Contact {
    /// Who it is.
    pub node: NodeId,
    /// Where it listens.
    pub addresses: BoundedVec<SocketAddr, 4>,
}

/// "I am here", or "I am gone": signed by the node that it is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Presence {
    /// When it was signed. Of two, the later one holds.
    pub issued: UnixTime,
    /// Until when the node is taken to be there, unless it says something else.
    pub expires: UnixTime,
    /// Whether it is there; a node that ends says that it is not.
    pub online: bool,
    /// Where to try, the likeliest first.
    pub addresses: BoundedVec<SocketAddr, 8>,
    /// The supernode that it is attached to; a supernode has none.
    pub parent: Option<Contact>,
}

impl Statement for Presence {
    const CONTEXT: &'static str = "skein presence 1";
}

/// "My child went without a word": signed by the parent that the child's [`Presence`] names, and
/// believed of no other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Loss {
    /// The child.
    pub node: NodeId,
    /// Since when. A presence that was signed later is not touched by it.
    pub at: UnixTime,
}

impl Statement for Loss {
    const CONTEXT: &'static str = "skein loss 1";
}

/// How much of a content a source has. What stands later wins over an earlier one that was signed
/// in the same second, so that all who hold both agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SourceState {
    /// Some of it: it is being downloaded, and what is verified is served.
    Partial,
    /// All of it.
    Complete,
    /// Nothing any more. It is kept as long as the claim that it takes back would have been, so
    /// that nobody can bring that one up again.
    Withdrawn,
}

/// "I have this content": signed by the node that has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SourceClaim {
    /// Which content.
    pub content: ContentId,
    /// How much of it.
    pub state: SourceState,
    /// When it was signed. Of two, the later one holds.
    pub issued: UnixTime,
    /// From when on it is worthless.
    pub expires: UnixTime,
}

impl Statement for SourceClaim {
    const CONTEXT: &'static str = "skein source 1";
}

/// What is looked up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DirectoryKey {
    /// The nodes of a user.
    Name(Username),
    /// Those who have a content.
    Content(ContentId),
}

/// A node of a user, under the user's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Shows whose node it is.
    pub credential: Shared<Credential>,
    /// Signed by that node.
    pub presence: Shared<Presence>,
    /// Signed by the parent that the presence names, when it has lost the node.
    pub loss: Option<Shared<Loss>>,
}

/// What one owner has of the contents in question: the owner is said once for all of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SourceRecords {
    /// Shows who the owner is.
    pub credential: Shared<Credential>,
    /// Where the owner was when it last said so; signed by it.
    pub presence: Option<Shared<Presence>>,
    /// What it has; each signed by it.
    pub claims: BoundedVec<Shared<SourceClaim>, 64>,
}

/// What a node wants its parent to put into the directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announce {
    /// Where the node is, when that has changed or is about to expire.
    pub presence: Option<Shared<Presence>>,
    /// Contents of which it has become a source, is one still, or is one no more.
    pub claims: BoundedVec<Shared<SourceClaim>, 64>,
}

/// Records for the supernode that their keys belong to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put {
    /// Nodes, each under the name of its user.
    pub nodes: BoundedVec<NodeRecord, 256>,
    /// Sources, each under its content.
    pub sources: BoundedVec<SourceRecords, 256>,
}

/// Looks up a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Find {
    /// Names the answer; drawn at random by whoever asks.
    pub id: QueryId,
    /// What is looked up.
    pub key: DirectoryKey,
}

/// How a look-up went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindOutcome {
    /// This is what those who keep the key have; it may be nothing.
    Answered,
    /// The key belongs to others, which are named.
    Elsewhere,
    /// The asker has asked for too much lately.
    OverBudget,
    /// None of those who keep the key answered.
    Unreachable,
    /// The sender is no supernode, or not the asker's parent.
    NotAttached,
    /// Those who keep the key have come to keep it a moment ago and are still fetching what the
    /// others have: what is here may not be all.
    Fetching,
}

/// The answer to `Find`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Which question.
    pub id: QueryId,
    /// How it went.
    pub outcome: FindOutcome,
    /// The nodes of a name.
    pub nodes: BoundedVec<NodeRecord, 16>,
    /// Sources of a content, some of them drawn at random where there are many.
    pub sources: BoundedVec<SourceRecords, 32>,
    /// Whom to ask instead, as the sender sees it.
    pub holders: BoundedVec<SupernodeEntry, 3>,
}

impl Found {
    /// An answer without records.
    pub fn nothing(id: QueryId, outcome: FindOutcome) -> Self {
        Self {
            id,
            outcome,
            nodes: BoundedVec::default(),
            sources: BoundedVec::default(),
            holders: BoundedVec::default(),
        }
    }
}

/// Asks for all records whose keys lie on an arc of the ring. By a supernode that the arc has come
/// to belong to, to one that it belonged to before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArcWanted {
    /// The place before the arc.
    pub after: u128,
    /// The last place of the arc; the same as `after` for the whole ring.
    pub to: u128,
}

/// All records of an arc were sent before this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArcSent {
    /// As it was asked.
    pub after: u128,
    /// As it was asked.
    pub to: u128,
    /// How many records were sent.
    pub records: u32,
    /// Whether the sender has all of the arc, as far as it knows; it may still be fetching some.
    pub whole: bool,
}

/// Gathers records into messages that each fit.
#[derive(Debug, Default)]
pub struct PutPacker {
    done: Vec<Put>,
    nodes: Vec<NodeRecord>,
    sources: Vec<(SourceHead, Vec<Shared<SourceClaim>>)>,
    bytes: usize,
}

type SourceHead = (Shared<Credential>, Option<Shared<Presence>>);

/// What the records of a [`Put`] may take: what the counts of both lists leave.
const PUT_ROOM: usize = MessageKind::Put.limit() - 2 * 3;

impl PutPacker {
    /// Adds a node.
    pub fn node(&mut self, record: NodeRecord) {
        let bytes = encoded_len(&record);
        self.make_room(bytes);
        self.bytes += bytes;
        self.nodes.push(record);
    }

    /// Adds a source. One that has the same owner as the one before shares its credential.
    pub fn source(
        &mut self,
        credential: &Shared<Credential>,
        presence: Option<&Shared<Presence>>,
        claim: Shared<SourceClaim>,
    ) {
        let own = encoded_len(&claim);
        if let Some((head, claims)) = self.sources.last_mut()
            && head.0.is_same(credential)
            && claims.len() < BoundedVec::<SourceClaim, 64>::LIMIT
            && self.bytes + own <= PUT_ROOM
        {
            self.bytes += own;
            claims.push(claim);
            return;
        }
        let head = (credential.clone(), presence.cloned());
        // The list's count takes one byte: it is 64 at most.
        let bytes = encoded_len(&head) + 1 + own;
        self.make_room(bytes);
        self.bytes += bytes;
        self.sources.push((head, vec![claim]));
    }

    /// The messages.
    pub fn finish(mut self) -> Vec<Put> {
        self.flush();
        self.done
    }

    fn make_room(&mut self, bytes: usize) {
        let full = self.nodes.len() >= BoundedVec::<NodeRecord, 256>::LIMIT
            || self.sources.len() >= BoundedVec::<SourceRecords, 256>::LIMIT;
        if full || self.bytes + bytes > PUT_ROOM {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.bytes = 0;
        let nodes = BoundedVec::truncated(std::mem::take(&mut self.nodes));
        let sources = std::mem::take(&mut self.sources).into_iter().map(|(head, claims)| {
            let (credential, presence) = head;
            SourceRecords { credential, presence, claims: BoundedVec::truncated(claims) }
        });
        let put = Put { nodes, sources: BoundedVec::truncated(sources) };
        if !(put.nodes.is_empty() && put.sources.is_empty()) {
            self.done.push(put);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;
    use crate::key::KeyPair;
    use crate::message::Message;
    use crate::testing::largest_message;

    fn largest_record() -> NodeRecord {
        match largest_message(MessageKind::Put) {
            Message::Put(put) => put.nodes[0].clone(),
            other => panic!("not what was asked for: {other:?}"),
        }
    }

    fn claim(number: u32) -> Shared<SourceClaim> {
        let mut content = [0; 32];
        content[..4].copy_from_slice(&number.to_be_bytes());
        let claim = SourceClaim {
            content: ContentId::from_bytes(content),
            state: SourceState::Complete,
            issued: UnixTime(u64::MAX),
            expires: UnixTime(u64::MAX),
        };
        Signed::new(claim, &KeyPair::from_seed(&[1; 32])).into()
    }

    #[test]
    fn records_of_any_number_go_into_messages_that_fit() {
        let record = largest_record();
        let mut packer = PutPacker::default();
        for number in 0..2_000 {
            if number % 5 == 0 {
                packer.node(record.clone());
            }
            packer.source(&record.credential, Some(&record.presence), claim(number));
        }
        let puts = packer.finish();
        let mut found = (0, 0);
        for put in &puts {
            found.0 += put.nodes.len();
            found.1 += put.sources.iter().map(|group| group.claims.len()).sum::<usize>();
            codec::encode(&put.clone().into()).expect("within its limit");
        }
        assert_eq!(found, (400, 2_000));
        assert!(puts.len() < 12, "{} messages", puts.len());
    }

    #[test]
    fn an_owner_is_said_once_for_all_that_it_has() {
        let record = largest_record();
        let mut packer = PutPacker::default();
        for number in 0..64 {
            packer.source(&record.credential, None, claim(number));
        }
        let puts = packer.finish();
        assert_eq!((puts.len(), puts[0].sources.len()), (1, 1));
    }
}
