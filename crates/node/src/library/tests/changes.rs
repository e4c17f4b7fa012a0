//! Changes that the operating system reports.

use super::{Place, content, eventually, in_time, paths, problem, watching};
use crate::library::{Library, LibraryChange};
use std::sync::Arc;
use tokio::sync::broadcast;

/// Waits until everything that was announced comes to this.
async fn until(
    changes: &mut broadcast::Receiver<Arc<LibraryChange>>,
    mut done: impl FnMut(&LibraryChange) -> bool,
) {
    let mut all = LibraryChange::default();
    while !done(&all) {
        let change = in_time(changes.recv()).await.unwrap();
        all.added.extend(change.added.iter().cloned());
        all.removed.extend(change.removed.iter().copied());
    }
}

async fn watched(place: &Place) -> Library {
    let library = place.open_with(watching()).await;
    library.add_share(&place.share()).await.unwrap();
    place.scan(&library).await;
    assert_eq!(problem(&library, &place.share()), None);
    library
}

#[tokio::test]
async fn a_new_a_changed_and_a_deleted_file_are_noticed() {
    let place = Place::new();
    place.write("folder/stays", "stays");
    place.write("folder/changes", "before");
    place.write("folder/goes", "goes");
    let library = watched(&place).await;
    let scans = library.stats().scans;
    let mut changes = library.changes();

    place.write("folder/comes", "comes");
    place.write("folder/changes", "after that");
    std::fs::remove_file(place.at("folder/goes")).unwrap();

    let [comes, after] = ["comes", "after that"].map(content);
    until(&mut changes, |all| {
        let added = |content| all.added.iter().any(|file| file.content == content);
        let gone = ["before", "goes"].map(content);
        added(comes) && added(after) && gone.iter().all(|it| all.removed.contains(it))
    })
    .await;
    assert_eq!(
        paths(&library).await,
        ["music/folder/changes", "music/folder/comes", "music/folder/stays"]
    );
    assert_eq!(library.stats().scans, scans, "only the folder was scanned");
    library.close().await;
}

#[tokio::test]
async fn a_new_folder_is_noticed_with_all_that_is_in_it() {
    let place = Place::new();
    let library = watched(&place).await;
    let mut changes = library.changes();

    std::fs::create_dir_all(place.root().join("album/disc 1")).unwrap();
    std::fs::write(place.root().join("album/disc 1/song"), "song").unwrap();
    std::fs::rename(place.root().join("album"), place.at("album")).unwrap();
    until(&mut changes, |all| !all.added.is_empty()).await;
    assert_eq!(paths(&library).await, ["music/album/disc 1/song"]);

    place.write("album/disc 1/another", "another");
    until(&mut changes, |all| !all.added.is_empty()).await;
    assert_eq!(library.status().files, 2);
    library.close().await;
}

#[tokio::test]
async fn a_moved_folder_is_noticed_and_not_read_again() {
    let place = Place::new();
    place.write("old/a", "a");
    place.write("old/deep/b", "b");
    let library = watched(&place).await;
    let mut changes = library.changes();

    place.rename("old", "new");

    until(&mut changes, |all| all.added.len() >= 2).await;
    place.scan(&library).await;
    assert_eq!(paths(&library).await, ["music/new/a", "music/new/deep/b"]);
    assert_eq!(library.stats().files_hashed, 2);
    library.close().await;
}

#[tokio::test]
async fn a_folder_that_is_replaced_by_another_is_looked_at_wholly() {
    let place = Place::new();
    place.write("a/deep/file", "first");
    let library = watched(&place).await;
    let mut changes = library.changes();
    let other = place.root().join("other/deep");
    std::fs::create_dir_all(&other).unwrap();
    std::fs::write(other.join("file"), "second one").unwrap();

    place.rename("a", "../away");
    std::fs::rename(place.root().join("other"), place.at("a")).unwrap();

    until(&mut changes, |all| all.removed.contains(&content("first"))).await;
    place.scan(&library).await;
    assert!(library.locate(&content("second one")).await.unwrap().is_some());
    library.close().await;
}

#[tokio::test]
async fn a_watcher_that_fails_is_said_and_started_again_with_the_next_scan() {
    let place = Place::new();
    let library = watched(&place).await;
    let share = library.shares_now()[&place.share()].entry.clone();

    share.touched.watch_failed("no watches left".to_owned());
    eventually(|| problem(&library, &place.share()).is_some()).await;
    let said = problem(&library, &place.share()).unwrap();
    assert!(said.contains("every 10 minutes") && said.contains("no watches left"), "{said}");

    place.scan(&library).await;
    assert_eq!(problem(&library, &place.share()), None);
    let mut changes = library.changes();
    place.write("new", "new");
    until(&mut changes, |all| !all.added.is_empty()).await;
    library.close().await;
}

/// A user to whom no folder is closed sees nothing of it, and all is as in any other share.
#[tokio::test]
async fn a_closed_folder_does_not_keep_the_rest_from_being_watched() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.write("closed/file", "unseen");
    place.write("open/deep/file", "seen");
    let mode = |mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(place.at("closed"), mode).unwrap();
    };
    mode(0o000);
    let library = watched(&place).await;
    let mut changes = library.changes();

    place.write("open/deep/new", "new");
    until(&mut changes, |all| all.added.iter().any(|file| file.content == content("new"))).await;
    place.write("another/folder/file", "other");
    until(&mut changes, |all| all.added.iter().any(|file| file.content == content("other"))).await;
    assert_eq!(problem(&library, &place.share()), None);

    mode(0o755);
    eventually(|| library.status().files == 4).await;
    assert!(library.locate(&content("unseen")).await.unwrap().is_some());
    library.close().await;
}

#[tokio::test]
async fn changes_that_were_missed_are_found_by_a_scan_of_everything() {
    let place = Place::new();
    let library = place.open_with(watching().with_watch(false)).await;
    library.add_share(&place.share()).await.unwrap();
    place.scan(&library).await;
    let share = library.shares_now()[&place.share()].entry.clone();
    let mut changes = library.changes();

    place.write("deep/in/here", "bytes");
    share.touched.touch_all();

    until(&mut changes, |all| !all.added.is_empty()).await;
    library.close().await;
}
