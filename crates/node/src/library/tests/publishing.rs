//! What is announced, paged and found.

use super::{Place, announced, content, files, paths};
use crate::library::LibraryError;
use bao_tree::ChunkRanges;
use bao_tree::io::sync::encode_ranges_validated;
use skein_proto::FileMeta;

#[tokio::test]
async fn copies_are_published_once_and_withdrawn_with_the_last_one() {
    let place = Place::new();
    place.write("a", "same");
    place.write("b/copy", "same");
    place.write("other", "other");
    let library = place.open().await;
    let mut changes = library.changes();
    library.add_share(&place.share()).await.unwrap();
    place.scan(&library).await;
    let first = announced(&mut changes);
    assert_eq!(first.added.iter().filter(|it| it.content == content("same")).count(), 1);
    assert_eq!(paths(&library).await, ["music/a", "music/other"]);
    assert_eq!(library.status().files, 3);

    std::fs::remove_file(place.at("a")).unwrap();
    place.scan(&library).await;
    let second = announced(&mut changes);
    assert_eq!(second.removed, []);
    assert_eq!(second.added.len(), 1, "it goes on under its other path");
    assert_eq!(second.added[0].path.as_str(), "music/b/copy");

    std::fs::remove_file(place.at("b/copy")).unwrap();
    place.scan(&library).await;
    let third = announced(&mut changes);
    assert_eq!((third.added, third.removed), (vec![], vec![content("same")]));
    assert_eq!(paths(&library).await, ["music/other"]);
    library.close().await;
}

#[tokio::test]
async fn a_changed_file_is_another_content() {
    let place = Place::new();
    place.write("file", "before");
    let library = place.shared().await;
    let mut changes = library.changes();

    place.write("file", "after that");
    place.scan(&library).await;

    let change = announced(&mut changes);
    assert_eq!(change.removed, [content("before")]);
    assert_eq!(change.added.len(), 1);
    assert_eq!(change.added[0].content, content("after that"));
    assert_eq!((library.status().files, library.status().bytes), (1, 10));
    library.close().await;
}

#[tokio::test]
async fn a_file_that_was_only_touched_stays_published() {
    let place = Place::new();
    place.write("file", "bytes");
    let library = place.shared().await;
    let mut changes = library.changes();

    let file = std::fs::File::options().append(true).open(place.at("file")).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    place.scan(&library).await;

    assert_eq!(library.stats().files_hashed, 2);
    assert_eq!(announced(&mut changes), Default::default());
    assert!(library.locate(&content("bytes")).await.unwrap().is_some());
    library.close().await;
}

#[tokio::test]
async fn paging_covers_everything_once_while_changes_come() {
    const STABLE: usize = 300;
    let place = Place::new();
    for number in 0..STABLE {
        place.write(&format!("stable/{number}"), format!("stable {number}"));
    }
    let library = place.shared().await;

    let mut seen: Vec<FileMeta> = Vec::new();
    for round in 0.. {
        let page = library.files_after(seen.last().map(|it| it.content), 10).await.unwrap();
        if page.is_empty() {
            break;
        }
        seen.extend(page);
        place.write(&format!("coming/{round}"), format!("coming {round}"));
        if let Some(before) = u32::checked_sub(round, 2) {
            std::fs::remove_file(place.at(&format!("coming/{before}"))).unwrap();
        }
        place.scan(&library).await;
    }

    assert!(seen.is_sorted_by(|a, b| a.content < b.content));
    let stable = seen.iter().filter(|it| it.path.as_str().starts_with("music/stable/")).count();
    assert_eq!(stable, STABLE);
    library.close().await;
}

#[tokio::test]
async fn a_located_file_can_be_sent_with_proof() {
    let place = Place::new();
    let large: Vec<u8> = (0..100_000_u32).map(|at| (at / 3) as u8).collect();
    place.write("large", &large);
    place.write("small", "small");
    let library = place.shared().await;

    for bytes in [&large[..], b"small"] {
        let located = library.locate(&content(bytes)).await.unwrap().unwrap();
        assert_eq!(located.size, bytes.len() as u64);
        assert_eq!(located.outboard.is_some(), bytes.len() > 16 * 1024);
        let (file, outboard) = located.open().unwrap();
        let mut sent = Vec::new();
        encode_ranges_validated(&file, &outboard, &ChunkRanges::all(), &mut sent).unwrap();
        assert!(sent.len() >= bytes.len());
    }
    assert_eq!(library.locate(&content("never seen")).await.unwrap(), None);
    library.close().await;
}

#[tokio::test]
async fn a_hash_tree_goes_with_the_last_copy() {
    let place = Place::new();
    let bytes = vec![7; 40_000];
    place.write("a", &bytes);
    place.write("b", &bytes);
    let library = place.shared().await;
    let tree = library.locate(&content(&bytes)).await.unwrap().unwrap().outboard.unwrap();

    std::fs::remove_file(place.at("a")).unwrap();
    place.scan(&library).await;
    assert!(tree.exists());
    std::fs::remove_file(place.at("b")).unwrap();
    place.scan(&library).await;

    assert!(!tree.exists());
    library.close().await;
}

#[tokio::test]
async fn what_has_changed_or_become_a_link_is_not_given_away() {
    let place = Place::new();
    place.write("changed", "before");
    place.write("linked", "linked");
    place.write("folder/inner", "inner");
    let library = place.shared().await;

    place.write("changed", "after that");
    place.rename("linked", "../outside");
    std::os::unix::fs::symlink(place.root().join("outside"), place.at("linked")).unwrap();
    place.rename("folder", "../elsewhere");
    std::os::unix::fs::symlink(place.root().join("elsewhere"), place.at("folder")).unwrap();

    for gone in ["before", "linked", "inner"] {
        assert_eq!(library.locate(&content(gone)).await.unwrap(), None, "{gone}");
    }
    assert_eq!(library.stats().stale_files, 3);
    library.close().await;
}

#[tokio::test]
async fn asking_for_a_changed_file_has_it_scanned_again() {
    let place = Place::new();
    place.write("folder/file", "before");
    let library =
        place.open_with(super::quick().with_quiet(std::time::Duration::from_millis(1))).await;
    library.add_share(&place.share()).await.unwrap();
    place.scan(&library).await;
    let mut changes = library.changes();

    place.write("folder/file", "after that");
    assert_eq!(library.locate(&content("before")).await.unwrap(), None);

    let change = super::in_time(changes.recv()).await.unwrap();
    assert_eq!(change.removed, [content("before")]);
    assert_eq!(change.added[0].content, content("after that"));
    assert_eq!(library.stats().scans, 1, "only its folder was scanned");
    library.close().await;
}

#[tokio::test]
async fn a_removed_share_is_withdrawn_and_can_be_added_again() {
    let place = Place::new();
    place.write("one", "one");
    place.write("large", vec![1; 40_000]);
    let library = place.shared().await;
    let mut changes = library.changes();

    library.remove_share(&place.share()).await.unwrap();

    assert_eq!(announced(&mut changes).removed.len(), 2);
    assert_eq!(files(&library).await, []);
    assert_eq!(library.shares(), []);
    assert!(matches!(library.remove_share(&place.share()).await, Err(LibraryError::NotShared(_))));
    let share = library.add_share(&place.share()).await.unwrap();
    assert_eq!(share.name, "music");
    place.scan(&library).await;
    assert_eq!(paths(&library).await, ["music/large", "music/one"]);
    assert!(library.locate(&content(vec![1; 40_000])).await.unwrap().is_some());
    library.close().await;
}
