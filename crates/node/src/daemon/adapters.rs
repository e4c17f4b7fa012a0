//! What transfers need of the rest of the daemon: the overlay to find sources with, the credential
//! to show.

use super::clock::unix_now;
use super::conduct::Conduct;
use super::driver::{Driver, SearchUpdate};
use super::search::sources_of;
use crate::api::types::Source;
use crate::home::Home;
use crate::transfer::{Membership, SourceFinder};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rand::RngExt;
use skein_overlay::Input;
use skein_proto::directory::DirectoryKey;
use skein_proto::{
    Ask, ContentId, CredentialError, Filter, NodeId, Query, QueryId, SignedCredential, UnixTime,
    Username,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// Different contents that are enough: one more than can be found, or else the search would be over
/// with the first source, and nobody but this node's parent would be asked.
const CONTENTS_WANTED: u16 = 2;

/// How long a search for sources may take; the overlay ends its searches earlier.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a search may take to tell what a content is called, once its sources are known.
const NAME_PATIENCE: Duration = Duration::from_secs(2);

/// How long the directory may take to name more sources, once a search has found some.
const LISTED_PATIENCE: Duration = Duration::from_millis(500);

/// Finds sources: in the directory, and by searching the overlay for the content.
pub(super) struct OverlaySearch {
    pub(super) driver: Driver,
    pub(super) me: NodeId,
}

impl OverlaySearch {
    /// Everybody who offers it, with the name that the first one gives it. The directory knows who
    /// has it, a search what it is called: once the first has answered, the second is not waited
    /// for much longer.
    pub(super) async fn offers(&self, content: ContentId) -> (Option<String>, Vec<Source>) {
        let search = self.search(content);
        tokio::pin!(search);
        tokio::select! {
            listed = self.listed(content) => {
                let found = if listed.is_empty() {
                    search.await
                } else {
                    timeout(NAME_PATIENCE, search).await.unwrap_or_default()
                };
                (found.0, joined(listed, found.1))
            }
            found = &mut search => {
                let listed = timeout(LISTED_PATIENCE, self.listed(content)).await;
                (found.0, joined(listed.unwrap_or_default(), found.1))
            }
        }
    }

    /// Those who have it, as the directory knows.
    async fn listed(&self, content: ContentId) -> Vec<Source> {
        let Some(answer) = self.driver.find(DirectoryKey::Content(content)).await else {
            return Vec::new();
        };
        let others = answer.sources.into_iter().filter(|source| source.node != self.me);
        others
            .map(|source| Source {
                node: source.node,
                name: source.name,
                addresses: source.addresses,
                parent: source.parent.map_or(source.node, |parent| parent.node),
            })
            .collect()
    }

    /// Those whom a search finds, and the name that the first one gives it.
    async fn search(&self, content: ContentId) -> (Option<String>, Vec<Source>) {
        let query = Query { ask: Ask::Content(content), filter: Filter::default() };
        let id = QueryId::from_bytes(rand::rng().random());
        let mut updates = self.driver.search(id, query, CONTENTS_WANTED).await;
        let mut name = None;
        let mut sources: Vec<Source> = Vec::new();
        let collect = async {
            while let Some(update) = updates.next().await {
                let SearchUpdate::Hits(groups) = update else { break };
                for (found, file, source) in groups.into_iter().flat_map(sources_of) {
                    let known = sources.iter().any(|known| known.node == source.node);
                    if found == content && source.node != self.me && !known {
                        name.get_or_insert_with(|| file.path.file_name().to_owned());
                        sources.push(source);
                    }
                }
            }
        };
        // What has come by then is what there is.
        let _ = timeout(PATIENCE, collect).await;
        (name, sources)
    }
}

/// Both, each node once; what a search found is the later word about where a node is.
fn joined(listed: Vec<Source>, mut found: Vec<Source>) -> Vec<Source> {
    for source in listed {
        if !found.iter().any(|known| known.node == source.node) {
            found.push(source);
        }
    }
    found
}

impl SourceFinder for OverlaySearch {
    fn find<'a>(&'a self, content: &'a ContentId) -> BoxFuture<'a, Vec<Source>> {
        async move {
            let listed = self.listed(*content).await;
            if listed.is_empty() { self.search(*content).await.1 } else { listed }
        }
        .boxed()
    }

    fn serving(&self, content: ContentId, serving: bool) {
        let driver = self.driver.clone();
        tokio::spawn(async move { driver.input(Input::Serving { content, serving }).await });
    }
}

/// This node's credential and the network that it belongs to. Clones are the same.
#[derive(Clone)]
pub(super) struct Member {
    login_key: NodeId,
    credential: Arc<watch::Sender<Option<SignedCredential>>>,
    conduct: Conduct,
}

impl Member {
    /// A member of the network with this login key, by what its data folder holds.
    pub(super) fn new(home: &Home, login_key: NodeId, me: NodeId) -> Self {
        let stored = home.credential().unwrap_or_else(|error| {
            tracing::warn!(%error, "the credential cannot be read; log in again");
            None
        });
        let own = stored.filter(|stored| match stored.check(&login_key, &me, unix_now()) {
            // It can be renewed, and whoever it is shown to sees its end as well.
            Ok(_) | Err(CredentialError::Expired) => true,
            Err(error) => {
                tracing::warn!(%error, "the credential is no good; log in again");
                false
            }
        });
        Self { login_key, credential: Arc::new(watch::Sender::new(own)), conduct: Conduct::new() }
    }

    /// What transfers and the overlay tell each other about peers.
    pub(super) fn conduct(&self) -> Conduct {
        self.conduct.clone()
    }

    /// A fresh credential came.
    pub(super) fn renewed(&self, credential: SignedCredential) {
        self.credential.send_replace(Some(credential));
    }

    /// The credential, also one that has expired, and all that come after it.
    pub(super) fn watch(&self) -> watch::Receiver<Option<SignedCredential>> {
        self.credential.subscribe()
    }
}

impl Membership for Member {
    fn credential(&self) -> Option<SignedCredential> {
        let held = self.credential.borrow();
        held.clone().filter(|held| unix_now() < held.unverified().expires)
    }

    fn login_key(&self) -> Option<NodeId> {
        Some(self.login_key)
    }

    fn now(&self) -> UnixTime {
        unix_now()
    }

    fn rank(&self, member: &Username) -> u32 {
        self.conduct.rank(member)
    }

    fn verified(&self, source: &NodeId, name: &Username, bytes: u64) {
        self.conduct.verified(*source, name, bytes);
    }

    fn wrong_bytes(&self, source: &NodeId, name: &Username) {
        self.conduct.wrong_bytes(*source, name);
    }

    fn failed(&self, source: &NodeId) {
        self.conduct.failed(*source);
    }

    fn answered(&self, source: &NodeId) {
        self.conduct.answered(source);
    }

    fn waits_for(&self, source: &NodeId) {
        self.conduct.waits_for(*source);
    }
}
