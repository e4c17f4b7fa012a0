//! What is not shared, and may be fetched by one all the same.

use super::uploads::{ask, request};
use super::*;
use crate::transfer::Granted;
use skein_proto::fetch::FetchReply;
use tokio_util::sync::CancellationToken;

/// A file for one node of one name.
struct Only {
    content: ContentId,
    node: NodeId,
    name: Username,
    file: StoredFile,
}

impl Grants for Only {
    fn granted<'a>(
        &'a self,
        content: &'a ContentId,
        node: &'a NodeId,
        name: &'a Username,
    ) -> BoxFuture<'a, Option<Granted>> {
        let is_theirs = (content, node, name) == (&self.content, &self.node, &self.name);
        let file = self.file.clone();
        let granted =
            is_theirs.then(|| Granted { file, number: 1, gone: CancellationToken::new() });
        async move { granted }.boxed()
    }

    fn changed(&self, _number: u64) {}
}

#[tokio::test]
async fn what_was_granted_to_one_node_is_there_for_no_other() {
    let bytes = content_bytes(100 * KIB);
    let (bob, another) = (Node::new(2), Node::new(3));
    let shelf = Node::new(4);
    let content = shelf.share(&bytes);
    let file = shelf.store.files.lock().unwrap().get(&content).cloned().unwrap();
    let name = Username::parse("alice").unwrap();
    let only = Only { content, node: bob.key.node_id(), name, file };
    let setup = Setup { grants: Some(Arc::new(only)), ..Setup::default() };
    let server = Node::with(1, setup);
    let _serving = server.serve();

    // Of the same name, and asking by the content id that it knows.
    let (answer, _stream) = ask(&another, &server, request(&another, content, &[])).await;
    assert_eq!(answer, FetchReply::NotFound.into());
    let id = bob.start(content, vec![server.source()]).await;
    let download = bob.done(id).await;
    assert!(std::fs::read(&download.path).unwrap() == bytes);
    assert_eq!(server.transfers().upload_stats().not_found, 1);
}
