//! Disks that vanish, fill up or lose things.

use super::{Place, announced, content, eventually, files, kill, paths, problem};
use crate::library::LibraryError;

#[tokio::test]
async fn a_vanished_share_is_withdrawn_and_comes_back_without_hashing() {
    let place = Place::new();
    place.write("a/one", "one");
    place.write("two", "two");
    let library = place.shared().await;
    let mut changes = library.changes();

    std::fs::rename(place.share(), place.root().join("away")).unwrap();
    place.scan(&library).await;
    assert!(problem(&library, &place.share()).unwrap().contains("cannot be read"));
    assert_eq!(announced(&mut changes).removed.len(), 2);
    assert_eq!(files(&library).await, []);
    assert_eq!(library.locate(&content("one")).await.unwrap(), None);
    assert_eq!(library.shares()[0].files, 2, "what was known is kept");

    std::fs::rename(place.root().join("away"), place.share()).unwrap();
    place.scan(&library).await;
    assert_eq!(problem(&library, &place.share()), None);
    assert_eq!(announced(&mut changes).added.len(), 2);
    assert_eq!(paths(&library).await, ["music/a/one", "music/two"]);
    assert_eq!(library.stats().files_hashed, 2);
    library.close().await;
}

#[tokio::test]
async fn a_share_that_became_a_link_is_not_followed() {
    let place = Place::new();
    place.write("one", "one");
    let library = place.shared().await;

    std::fs::rename(place.share(), place.root().join("away")).unwrap();
    std::os::unix::fs::symlink(place.root().join("away"), place.share()).unwrap();
    place.scan(&library).await;

    assert!(problem(&library, &place.share()).is_some());
    assert_eq!(files(&library).await, []);
    library.close().await;
}

#[tokio::test]
async fn an_empty_folder_on_another_disk_is_a_disk_that_is_not_mounted() {
    let place = Place::new();
    place.write("one", "one");
    let library = place.shared().await;
    // As if the files had been seen on a disk that was mounted here.
    let share = library.shares_now()[&place.share()].entry.clone();
    share.state().device += 1;
    place.rename("one", "../one");

    place.scan(&library).await;
    assert!(problem(&library, &place.share()).unwrap().contains("mounted"));
    assert_eq!(files(&library).await, []);

    std::fs::rename(place.root().join("one"), place.at("one")).unwrap();
    place.scan(&library).await;
    assert_eq!(paths(&library).await, ["music/one"]);
    assert_eq!(library.stats().files_hashed, 1);
    library.close().await;
}

#[tokio::test]
async fn an_emptied_folder_on_the_same_disk_is_believed() {
    let place = Place::new();
    place.write("one", "one");
    let library = place.shared().await;

    std::fs::remove_file(place.at("one")).unwrap();
    place.scan(&library).await;

    assert_eq!(problem(&library, &place.share()), None);
    assert_eq!((files(&library).await, library.status().files), (vec![], 0));
    library.close().await;
}

#[tokio::test]
async fn a_full_disk_stops_the_scan_and_is_said_until_there_is_room() {
    let place = Place::new();
    place.write("large", vec![1; 40_000]);
    let library = place.open().await;
    // Nothing can be written below a file, whoever tries.
    let tmp = place.data().join("outboards/tmp");
    std::fs::remove_dir(&tmp).unwrap();
    std::fs::write(&tmp, "").unwrap();
    library.add_share(&place.share()).await.unwrap();
    place.scan(&library).await;
    assert!(problem(&library, &place.share()).unwrap().contains("hash tree"));
    assert_eq!(files(&library).await, []);
    assert!(library.stats().store_failures > 0);

    std::fs::remove_file(&tmp).unwrap();
    std::fs::create_dir(&tmp).unwrap();
    place.scan(&library).await;

    assert_eq!(problem(&library, &place.share()), None);
    assert_eq!(paths(&library).await, ["music/large"]);
    library.close().await;
}

#[tokio::test]
async fn a_lost_or_damaged_hash_tree_is_made_again() {
    let place = Place::new();
    let bytes = vec![9; 70_000];
    place.write("large", &bytes);
    let library = place.shared().await;
    let located = library.locate(&content(&bytes)).await.unwrap().unwrap();
    let tree = located.outboard.clone().unwrap();

    std::fs::write(&tree, "short").unwrap();
    assert!(located.open().is_err());
    assert_eq!(library.locate(&content(&bytes)).await.unwrap(), None);
    place.scan(&library).await;

    let located = library.locate(&content(&bytes)).await.unwrap().unwrap();
    located.open().unwrap();
    assert_eq!(library.stats().files_hashed, 2);
    assert_eq!(library.status().files, 1);
    library.close().await;
}

#[tokio::test]
async fn hash_trees_that_a_killed_process_left_are_removed() {
    let place = Place::new();
    place.write("large", vec![1; 40_000]);
    let library = place.shared().await;
    let tree = library.locate(&content(vec![1; 40_000])).await.unwrap().unwrap().outboard.unwrap();
    library.close().await;
    let orphan = place.data().join("outboards/ab").join(format!("{}.obao4", "0".repeat(62)));
    std::fs::create_dir_all(orphan.parent().unwrap()).unwrap();
    std::fs::write(&orphan, "orphan").unwrap();

    let library = place.open().await;
    assert!(orphan.exists(), "an orderly end leaves no orphans, so none are looked for");
    kill(library).await;
    let library = place.open().await;

    eventually(|| !orphan.exists()).await;
    assert!(tree.exists());
    library.close().await;
}

#[tokio::test]
async fn a_closed_library_says_so() {
    let place = Place::new();
    let library = place.shared().await;
    library.close().await;
    assert!(matches!(library.add_share(&place.share()).await, Err(LibraryError::Closed)));
    assert!(matches!(library.rescan(&place.share()).await, Err(LibraryError::Closed)));
    assert!(library.files_after(None, 10).await.is_err());
}

#[tokio::test]
async fn a_damaged_database_is_named_with_what_to_do() {
    let place = Place::new();
    let file = place.data().join("library.db");
    std::fs::write(&file, "this is no database".repeat(100)).unwrap();
    let error = crate::library::Library::open(&place.data(), super::quick()).await.unwrap_err();
    assert!(matches!(error, LibraryError::Damaged { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&*file.to_string_lossy()) && text.contains("move it away"), "{text}");
}

#[tokio::test]
async fn a_database_that_cannot_be_opened_is_named() {
    let place = Place::new();
    let file = place.data().join("library.db");
    std::fs::create_dir(&file).unwrap();
    let error = crate::library::Library::open(&place.data(), super::quick()).await.unwrap_err();
    assert!(matches!(error, LibraryError::Unusable { .. }), "{error:?}");
    assert!(error.to_string().contains(&*file.to_string_lossy()), "{error}");
}

#[tokio::test]
async fn a_share_that_cannot_be_taken_back_stays_listed_and_can_be_taken_back_later() {
    let place = Place::new();
    place.write("one", "one");
    let library = place.shared().await;
    let store = &library.inner.core.store;
    let fail = "CREATE TRIGGER fail BEFORE UPDATE ON shares BEGIN SELECT RAISE(ABORT, 'full'); END";
    sqlx::query(fail).execute(&mut *store.lock().await.unwrap()).await.unwrap();

    library.remove_share(&place.share()).await.unwrap_err();
    assert_eq!(library.shares().len(), 1);
    assert_eq!(paths(&library).await, ["music/one"]);
    place.scan(&library).await;

    sqlx::query("DROP TRIGGER fail").execute(&mut *store.lock().await.unwrap()).await.unwrap();
    library.remove_share(&place.share()).await.unwrap();
    assert_eq!((library.shares().len(), files(&library).await), (0, vec![]));
    library.close().await;
}

#[tokio::test]
async fn what_was_taken_back_is_not_published_by_a_scan_that_ends_later() {
    let place = Place::new();
    place.write("one", "one");
    let library = place.shared().await;
    let store = &library.inner.core.store;
    let share = library.shares_now()[&place.share()].entry.id;
    store.mark_removed(share).await.unwrap();
    store.set_online(share, true).await.unwrap();
    assert_eq!(files(&library).await, []);
    library.close().await;
}
