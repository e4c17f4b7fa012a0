//! What a scan finds, and what it need not read.

use super::{Place, content, eventually, files, in_time, kill, paths, problem, quick, watching};
use crate::api::types::DaemonEvent;
use crate::library::{LibraryError, ShareError};
use lofty::config::WriteOptions;
use lofty::tag::{Accessor, Tag, TagExt, TagType};
use skein_proto::Kind;
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

#[tokio::test]
async fn a_scan_finds_exactly_what_is_there() {
    let place = Place::new();
    place.write("one.mp3", "one");
    place.write("band/album/two.flac", "two");
    place.write("band/notes.txt", "notes");
    place.write("band-b/three.mp3", "three");
    place.write(".hidden/secret", "secret");
    place.write("band/.DS_Store", "rubbish");
    place.write("band/empty", "");
    place.write("film.mkv.skein-part", "half a film");
    std::fs::write(place.root().join("outside"), "outside").unwrap();
    symlink(place.root(), place.at("up")).unwrap();
    symlink(place.root().join("outside"), place.at("outside")).unwrap();
    symlink(place.at("gone"), place.at("dangling")).unwrap();

    let library = place.shared().await;

    let expected = ["band-b/three.mp3", "band/album/two.flac", "band/notes.txt", "one.mp3"];
    assert_eq!(paths(&library).await, expected.map(|path| format!("music/{path}")));
    let status = library.status();
    assert_eq!((status.shares, status.files, status.bytes), (1, 4, 3 + 3 + 5 + 5));
    let song = &files(&library).await.into_iter().find(|it| it.content == content("one")).unwrap();
    assert_eq!((song.size, song.kind), (3, Kind::Audio));
    assert_eq!(problem(&library, &place.share()), None);
    library.close().await;
}

#[tokio::test]
async fn what_cannot_be_published_is_counted_and_named() {
    let place = Place::new();
    place.write("good", "good");
    place.write("back\\slash", "bad");
    let deep = format!("{}/{}/{}/file", "d".repeat(200), "e".repeat(200), "f".repeat(200));
    place.write(&deep, "deep");

    let library = place.shared().await;

    assert_eq!(paths(&library).await, ["music/good"]);
    assert_eq!(library.shares()[0].unreadable, 2);
    let lines = library.shares()[0].unreadable_examples.clone();
    assert!(lines.iter().any(|line| line.contains("back\\slash")), "{lines:?}");
    library.close().await;
}

#[tokio::test]
async fn what_has_not_changed_is_not_read_again() {
    let place = Place::new();
    place.write("a/one", "one");
    place.write("two", "two");
    let library = place.shared().await;
    assert_eq!(library.stats().files_hashed, 2);
    place.scan(&library).await;
    assert_eq!(library.stats().files_hashed, 2);
    library.close().await;

    let library = place.open().await;
    place.scan(&library).await;

    assert_eq!(library.stats().files_hashed, 0);
    assert_eq!(paths(&library).await, ["music/a/one", "music/two"]);
    library.close().await;
}

#[tokio::test]
async fn what_was_moved_is_not_read_again() {
    let place = Place::new();
    place.write("b/one", "one");
    place.write("b/deep/two", vec![2; 50_000]);
    place.write("three", "three");
    let library = place.shared().await;
    let mut changes = library.changes();

    place.rename("b", "a");
    place.rename("three", "a/drei");
    place.scan(&library).await;

    assert_eq!(paths(&library).await, ["music/a/deep/two", "music/a/drei", "music/a/one"]);
    assert_eq!(library.stats().files_hashed, 3);
    assert_eq!(library.stats().files_moved, 3);
    assert_eq!(library.status().files, 3);
    assert_eq!(super::announced(&mut changes).removed, [], "nothing was gone in between");
    let located = library.locate(&content(vec![2; 50_000])).await.unwrap().unwrap();
    assert_eq!(located.path, place.at("a/deep/two"));
    located.open().unwrap();
    library.close().await;
}

#[tokio::test]
async fn a_file_and_a_folder_can_take_each_others_place() {
    let place = Place::new();
    place.write("x", "a file");
    place.write("y/inner", "in a folder");
    let library = place.shared().await;

    std::fs::remove_file(place.at("x")).unwrap();
    std::fs::remove_dir_all(place.at("y")).unwrap();
    place.write("x/inner", "now in a folder");
    place.write("y", "now a file");
    place.scan(&library).await;

    assert_eq!(paths(&library).await, ["music/x/inner", "music/y"]);
    assert_eq!(library.status().files, 2);
    library.close().await;
}

#[tokio::test]
async fn a_killed_scan_goes_on_where_it_was() {
    const FILES: usize = 2500;
    let place = Place::new();
    for number in 0..FILES {
        place.write(&format!("{}/{number}", number % 7), number.to_string());
    }
    let library = place.open().await;
    let mut changes = library.changes();
    library.add_share(&place.share()).await.unwrap();
    let stored = in_time(changes.recv()).await.unwrap().added.len();
    assert!(stored > 0 && stored < FILES);
    kill(library).await;

    let library = place.open().await;
    place.scan(&library).await;

    assert!(library.stats().files_hashed <= (FILES - stored) as u64);
    assert_eq!(files(&library).await.len(), FILES);
    assert_eq!(library.status().files, FILES as u64);
    library.close().await;
}

#[tokio::test]
async fn many_small_files_are_all_found() {
    const FILES: usize = 2000;
    let place = Place::new();
    for number in 0..FILES {
        place.write(&format!("{}/{number}.txt", number / 100), format!("number {number}"));
    }
    let library = place.open().await;
    let mut events = library.events();
    library.add_share(&place.share()).await.unwrap();

    let done = loop {
        match in_time(events.recv()).await.unwrap() {
            DaemonEvent::ScanDone { share } => break share,
            DaemonEvent::Scan { share } => assert!(share.scan.is_some()),
            other => panic!("{other:?}"),
        }
    };

    assert_eq!((done.files, done.scan, done.unreadable), (FILES as u64, None, 0));
    let found = files(&library).await;
    assert_eq!(found.len(), FILES);
    assert!(found.is_sorted_by_key(|file| file.content));
    library.close().await;
}

#[tokio::test]
async fn a_file_that_is_being_written_is_left_for_later() {
    let place = Place::new();
    let now = SystemTime::now();
    let hour = Duration::from_secs(3600);
    for (name, time) in [("old", now - 2 * hour), ("fresh", now), ("future", now + 2 * hour)] {
        place.write(name, name);
        let file = std::fs::File::options().append(true).open(place.at(name)).unwrap();
        file.set_modified(time).unwrap();
    }
    let library = place.open_with(quick().with_settle(hour)).await;
    library.add_share(&place.share()).await.unwrap();
    place.scan(&library).await;
    assert_eq!(paths(&library).await, ["music/future", "music/old"]);
    assert!(library.stats().files_deferred > 0);
    assert_eq!(library.shares()[0].waiting_files, 1);

    let file = std::fs::File::options().append(true).open(place.at("fresh")).unwrap();
    file.set_modified(now - 2 * hour).unwrap();
    place.scan(&library).await;

    assert_eq!(paths(&library).await, ["music/fresh", "music/future", "music/old"]);
    assert_eq!(library.shares()[0].waiting_files, 0);
    library.close().await;
}

#[tokio::test]
async fn media_files_are_published_with_their_tags() {
    let place = Place::new();
    place.write("song.wav", wav(3));
    place.write("broken.flac", b"fLaC\x80\xff\xff\xff");
    let mut tag = Tag::new(TagType::Id3v2);
    tag.set_artist("Some Band".to_owned());
    tag.set_title("Some Song".to_owned());
    tag.set_album("  Some\nAlbum ".to_owned());
    tag.save_to_path(place.at("song.wav"), WriteOptions::default()).unwrap();

    let library = place.shared().await;

    let files = files(&library).await;
    let song = files.iter().find(|file| file.path.file_name() == "song.wav").unwrap();
    let tags = song.tags.as_deref().unwrap();
    assert_eq!(tags.artist.as_deref(), Some("Some Band"));
    assert_eq!(tags.title.as_deref(), Some("Some Song"));
    assert_eq!(tags.album.as_deref(), Some("SomeAlbum"));
    assert_eq!(tags.bitrate_kbps, Some(64));
    assert_eq!(tags.duration_secs, Some(3));
    let broken = files.iter().find(|file| file.path.file_name() == "broken.flac").unwrap();
    assert_eq!(broken.tags, None);
    assert_eq!(library.stats().tag_failures, 1);
    library.close().await;
}

/// Some seconds of silence: 8,000 samples a second of 8 bits.
fn wav(seconds: u32) -> Vec<u8> {
    let data = vec![128; seconds as usize * 8000];
    let mut wav = b"RIFF".to_vec();
    wav.extend((36 + data.len() as u32).to_le_bytes());
    wav.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    wav.extend(8000_u32.to_le_bytes());
    wav.extend(8000_u32.to_le_bytes());
    wav.extend(b"\x01\0\x08\0data");
    wav.extend((data.len() as u32).to_le_bytes());
    wav.extend(data);
    wav
}

#[tokio::test]
async fn a_folder_that_cannot_be_shared_is_refused_with_the_reason() {
    let place = Place::new();
    place.write("inner/file", "file");
    let library = place.shared().await;
    let refused = async |path: std::path::PathBuf| match library.add_share(&path).await {
        Err(LibraryError::Unshareable(error)) => error,
        other => panic!("{}: {other:?}", path.display()),
    };

    assert!(matches!(refused(place.share()).await, ShareError::Already(_)));
    assert!(matches!(refused(place.at("inner/../inner")).await, ShareError::Inside { .. }));
    assert!(matches!(refused(place.root()).await, ShareError::Over { .. }));
    assert!(matches!(refused(place.at("inner/file")).await, ShareError::NotAFolder(_)));
    assert!(matches!(refused(place.at("missing")).await, ShareError::Unreadable { .. }));
    assert!(matches!(refused("/".into()).await, ShareError::Root(_)));
    assert!(matches!(refused(place.data()).await, ShareError::DataFolder(_)));
    assert!(matches!(refused(place.data().join("outboards")).await, ShareError::DataFolder(_)));
    assert_eq!(library.shares().len(), 1);
    library.close().await;
}

#[tokio::test]
async fn two_folders_of_one_name_are_published_under_two() {
    let place = Place::new();
    place.write("one", "one");
    let other = place.root().join("other/music");
    std::fs::create_dir_all(&other).unwrap();
    std::fs::write(other.join("two"), "two").unwrap();
    let library = place.shared().await;

    library.add_share(&other).await.unwrap();
    library.rescan(&other).await.unwrap();

    assert_eq!(paths(&library).await, ["music (2)/two", "music/one"]);
    library.close().await;
}

#[tokio::test]
async fn the_nodes_own_folder_is_left_out_of_a_share_around_it() {
    let place = Place::new();
    std::fs::write(place.root().join("file"), "file").unwrap();
    let library = place.open().await;

    library.add_share(&place.root()).await.unwrap();
    library.rescan(&place.root()).await.unwrap();

    let paths = paths(&library).await;
    assert_eq!(paths.len(), 1, "{paths:?}");
    library.close().await;
}

#[tokio::test]
async fn what_people_have_sent_is_left_out_of_the_share_around_it() {
    let place = Place::new();
    place.write("song", "song");
    let inbox = place.at("inbox");
    // It is not there when the library opens, and not named by its real path.
    let link = place.root().join("link");
    symlink(place.share(), &link).unwrap();
    let library = place.open_with(watching().with_private(link.join("inbox"))).await;
    library.add_share(&place.share()).await.unwrap();
    place.scan(&library).await;

    place.write("inbox/deep/letter", "letter");
    place.write("other", "other");
    eventually(|| library.status().files == 2).await;
    place.scan(&library).await;
    assert_eq!(paths(&library).await, ["music/other", "music/song"]);
    assert_eq!(library.locate(&content("letter")).await.unwrap(), None);
    for folder in [inbox.clone(), inbox.join("deep")] {
        let refused = library.add_share(&folder).await.unwrap_err();
        assert!(matches!(refused, LibraryError::Unshareable(ShareError::Private(_))), "{refused}");
    }
    library.close().await;
}

#[tokio::test]
async fn what_was_shared_before_people_sent_files_there_is_withdrawn() {
    let place = Place::new();
    place.write("song", "song");
    place.write("inbox/letter", "letter");
    let library = place.shared().await;
    assert_eq!(files(&library).await.len(), 2);
    library.close().await;

    let library = place.open_with(quick().with_private(place.at("inbox"))).await;
    place.scan(&library).await;
    assert_eq!(paths(&library).await, ["music/song"]);
    library.close().await;
}

#[tokio::test]
async fn the_data_folder_of_another_node_or_of_a_login_service_is_left_out() {
    let place = Place::new();
    place.write("song", "song");
    place.write("alice/node.key", "a secret");
    place.write("alice/people/history", "a letter");
    place.write("service/login.key", "another one");
    let library = place.shared().await;
    assert_eq!(paths(&library).await, ["music/song"]);
    library.close().await;
    let library = place.open().await;
    for folder in ["alice", "alice/people", "service"] {
        let refused = library.add_share(&place.at(folder)).await.unwrap_err();
        let why = LibraryError::Unshareable(ShareError::DataFolder(place.at(folder)));
        assert_eq!(refused.to_string(), why.to_string());
    }
    library.close().await;
}
