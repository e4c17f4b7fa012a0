//! What is found, and in which order.
#![allow(clippy::expect_used)]

mod common;

use common::{content, contents, file, in_order, name, node, number, words};
use skein_index::{Index, Limits, MAX_PREFIX_WORDS, MAX_SOURCES_PER_CONTENT};
use skein_proto::{Ask, FileMeta, Filter, MediaTags, Query};

/// An index in which alice publishes the files.
fn index_of(files: impl IntoIterator<Item = FileMeta>) -> Index {
    let mut index = Index::new(Limits::default());
    index.set_owner(node(1), &name("alice"));
    index.publish(&node(1), files);
    index
}

/// The numbers of the contents that are found, in their order.
fn found(index: &Index, text: &str) -> Vec<u64> {
    let found = index.search(&words(text), 100);
    let mut numbers: Vec<u64> = found.iter().map(|found| number(&found.file)).collect();
    numbers.dedup();
    numbers
}

/// The numbers in the order of their contents.
fn by_content<const N: usize>(mut numbers: [u64; N]) -> [u64; N] {
    numbers.sort_by_key(|number| content(*number));
    numbers
}

#[test]
fn all_words_must_match_wherever_they_stand() {
    let index = index_of([file(1, "Music/Some Band/Halo.mp3"), file(2, "Music/Other/Halo.mp3")]);
    assert_eq!(found(&index, "halo band "), [1]);
    assert_eq!(found(&index, "halo music "), by_content([1, 2]));
    assert_eq!(found(&index, "halo nothing "), [] as [u64; 0]);
}

#[test]
fn words_of_different_owners_are_not_mixed() {
    let mut index = index_of([file(1, "alpha/song.mp3")]);
    index.set_owner(node(2), &name("bob"));
    index.publish(&node(2), [file(1, "beta/song.mp3")]);

    assert_eq!(found(&index, "alpha beta "), [] as [u64; 0]);
    let both = index.search(&words("song "), 10);
    assert_eq!(both.len(), 2);
    let only = index.search(&words("beta song "), 10);
    assert_eq!(only.len(), 1);
    assert_eq!((only[0].owner, only[0].file.path.as_str()), (node(2), "beta/song.mp3"));
}

#[test]
fn any_character_of_a_script_without_spaces_is_found() {
    let index = index_of([file(1, "東京都.txt"), file(2, "เพลง.txt")]);
    for text in ["東", "京", "都", "東京", "京都", "東京都", "都 京"] {
        assert_eq!(found(&index, text), [1], "{text}");
    }
    for text in ["เ", "ล", "ง", "เพ", "ลง", "เพลง"] {
        assert_eq!(found(&index, text), [2], "{text}");
    }
    assert_eq!(found(&index, "京東"), [] as [u64; 0]);
}

#[test]
fn whole_words_come_before_begun_ones() {
    let index = index_of([file(1, "songs.mp3"), file(2, "a much longer song.mp3")]);
    assert_eq!(found(&index, "song"), [2, 1]);
}

#[test]
fn a_match_in_the_file_name_comes_before_one_in_a_folder() {
    let index = index_of([file(1, "halo/a.mp3"), file(2, "music/halo and more.mp3")]);
    assert_eq!(found(&index, "halo "), [2, 1]);
}

#[test]
fn a_beginning_counts_as_in_the_file_name_if_any_word_there_has_it() {
    let index = index_of([file(1, "songs/sonx.mp3"), file(2, "x/sonnet.mp3")]);
    assert_eq!(found(&index, "son"), [1, 2]);
}

#[test]
fn what_others_offer_takes_no_place_in_a_search_among_the_files_of_a_user() {
    let mut index = index_of((10..50).map(|i| file(i, "other.mp3")));
    index.publish(&node(1), [file(2, "halo and more.mp3")]);
    index.set_owner(node(2), &name("bob"));
    index.publish(&node(2), [file(1, "halo.mp3")]);

    let mut query = words("halo ");
    query.filter.owner = Some(name("alice"));
    assert_eq!(contents(&index.search(&query, 1)), [content(2)]);
}

#[test]
fn a_shorter_file_name_comes_before_a_longer_one() {
    let index = index_of([file(1, "x/halo remix.mp3"), file(2, "a long folder/halo.mp3")]);
    assert_eq!(found(&index, "halo "), [2, 1]);
}

#[test]
fn more_sources_come_before_fewer_and_then_the_content_decides() {
    let files = [file(1, "halo.mp3"), file(2, "halo.mp3"), file(3, "halo.mp3")];
    let mut index = index_of(files.clone());
    index.set_owner(node(2), &name("bob"));
    index.publish(&node(2), files.into_iter().skip(2));
    let [first, second] = by_content([1, 2]);
    assert_eq!(found(&index, "halo"), [3, first, second]);
}

#[test]
fn the_limit_counts_contents_and_each_comes_with_its_sources() {
    let mut index = Index::new(Limits::default());
    for owner in 0..100 {
        index.set_owner(node(owner), &name("alice"));
        index.publish(&node(owner), (0..10).map(|i| file(i, "halo.mp3")));
    }
    let found = index.search(&words("halo"), 3);
    assert_eq!(contents(&found), in_order(0..10)[..3]);
    assert_eq!(found.len(), 3 * MAX_SOURCES_PER_CONTENT);
    let owners: Vec<_> = found[..MAX_SOURCES_PER_CONTENT].iter().map(|f| f.owner).collect();
    assert_eq!(owners, (0..32).map(node).collect::<Vec<_>>());
    assert_eq!(index.search(&words("halo"), 0), []);
}

#[test]
fn an_index_can_be_shared_by_threads() {
    fn is_shareable<T: Send + Sync>(_: &T) {}
    is_shareable(&index_of([]));
}

#[test]
fn a_content_is_found_by_its_id() {
    let index = index_of([file(1, "a.mp3"), file(2, "b.mp3")]);
    let ask = |number| Query { ask: Ask::Content(content(number)), filter: Filter::default() };
    assert_eq!(index.search(&ask(2), 10)[0].file, file(2, "b.mp3"));
    assert_eq!(index.search(&ask(3), 10), []);
}

#[test]
fn without_words_only_the_files_of_a_user_can_be_listed() {
    let mut index = index_of([file(1, "a.mp3"), file(2, "b.txt")]);
    index.set_owner(node(2), &name("bob"));
    index.set_owner(node(3), &name("alice"));
    index.publish(&node(2), [file(3, "c.mp3")]);
    index.publish(&node(3), [file(4, "d.mp3")]);

    assert_eq!(index.search(&words(" * "), 10), []);
    let mut browse = words("");
    browse.filter.kind = Some(skein_proto::Kind::Audio);
    assert_eq!(index.search(&browse, 10), []);
    browse.filter.owner = Some(name("alice"));
    assert_eq!(contents(&index.search(&browse, 10)), in_order([1, 4]));
    browse.filter.owner = Some(name("nobody"));
    assert_eq!(index.search(&browse, 10), []);
}

#[test]
fn an_owner_can_be_renamed() {
    let mut index = index_of([file(1, "a.mp3")]);
    index.set_owner(node(1), &name("carol"));
    let mut browse = words("");
    browse.filter.owner = Some(name("alice"));
    assert_eq!(index.search(&browse, 10), []);
    browse.filter.owner = Some(name("carol"));
    assert_eq!(index.search(&browse, 10).len(), 1);
    assert_eq!(index.owners(), 1);
}

#[test]
fn hostile_queries_find_what_they_ask_or_nothing() {
    let index = index_of((0..100).map(|i| file(i, &format!("folder {i}/some file {i}.mp3"))));
    let many_words = "ab ".repeat(85);
    for text in ["*", "* * * *", "a", "(", "\u{301}", "'", "\u{3099}\u{3099}", &many_words] {
        assert_eq!(found(&index, text), [] as [u64; 0], "{text:?}");
    }
    assert_eq!(found(&index, "f* s* m* f* s* m*").len(), 100);
    assert_eq!(found(&index, &format!("{} ", "x".repeat(250))), [] as [u64; 0]);
    assert_eq!(found(&index, &"\u{fdfa}".repeat(85)), [] as [u64; 0]);
    assert_eq!(index.prefixes_cut(), 0);
}

#[test]
fn a_beginning_of_too_many_words_is_cut_and_counted_but_not_beside_a_whole_word() {
    let count = MAX_PREFIX_WORDS as u64 + 10;
    let mut index = index_of((0..count).map(|i| file(i, &format!("w{i:06}.mp3"))));
    while !index.maintain(usize::MAX) {}
    assert_eq!(index.segments(), 1);

    assert_eq!(contents(&index.search(&words("w0"), usize::MAX)).len(), MAX_PREFIX_WORDS);
    assert_eq!(index.prefixes_cut(), 1);
    assert_eq!(contents(&index.search(&words("mp3 w0"), usize::MAX)).len() as u64, count);
    assert_eq!(index.prefixes_cut(), 1);
}

#[test]
fn one_content_under_two_names_has_two_sources() {
    let mut index = Index::new(Limits::default());
    for (owner, path) in [(1, "heron.txt"), (2, "grey heron.txt")] {
        index.set_owner(node(owner), &name("alice"));
        index.publish(&node(owner), [file(9, path)]);
    }
    let owners: Vec<_> = index.search(&words("heron"), 100).iter().map(|it| it.owner).collect();
    assert_eq!(owners, [node(1), node(2)]);
}

#[test]
fn fifty_thousand_records_are_searched_and_forgotten() {
    let mut index = Index::new(Limits::default());
    let path = |i: u64| format!("Music/Artist {}/Album {}/{i:05} Title.mp3", i % 500, i % 5_000);
    for owner in 0..10_u8 {
        index.set_owner(node(owner), &name("alice"));
        let numbers = (0..5_000).map(|i| i + 5_000 * u64::from(owner));
        let files: Vec<_> = numbers.map(|i| file(i, &path(i))).collect();
        for batch in files.chunks(512) {
            let outcome = index.publish(&node(owner), batch.iter().cloned());
            assert_eq!(outcome.accepted, batch.len() as u64);
        }
    }
    assert_eq!(index.records(), 50_000);
    assert_eq!(found(&index, "title 43210 "), [43_210]);
    assert_eq!(found(&index, "artist 210 album mp3 4210").len(), 10);
    assert_eq!(contents(&index.search(&words("mp3 "), 50)).len(), 50);

    assert_eq!(index.remove_owner(&node(8)), 5_000);
    while index.has_leaving() {
        index.maintain(1_000);
    }
    assert_eq!(found(&index, "title 43210 "), [] as [u64; 0]);
    for owner in 0..10 {
        index.remove_owner(&node(owner));
    }
    while index.has_leaving() {
        index.maintain(1_000);
    }
    assert_eq!(index.memory_bytes(), Index::new(Limits::default()).memory_bytes());
}

#[test]
fn filters_for_duration_and_bitrate_leave_out_what_is_beyond_them_or_has_none() {
    let of = |number: u64, seconds: Option<u32>, kbps: Option<u32>| {
        let tags = MediaTags { duration_secs: seconds, bitrate_kbps: kbps, ..MediaTags::default() };
        FileMeta { tags: Some(Box::new(tags)), ..file(number, "halo.mp3") }
    };
    let index = index_of([
        of(1, Some(180), Some(128)),
        of(2, Some(240), Some(320)),
        of(3, Some(600), None),
        of(4, None, Some(192)),
        file(5, "halo.mp3"),
    ]);
    let found = |change: fn(&mut Filter)| {
        let mut query = words("halo ");
        change(&mut query.filter);
        contents(&index.search(&query, 10))
    };
    assert_eq!(found(|_| {}).len(), 5);
    assert_eq!(found(|it| it.min_duration_secs = Some(240)), in_order([2, 3]));
    assert_eq!(found(|it| it.max_duration_secs = Some(240)), in_order([1, 2]));
    assert_eq!(found(|it| it.min_bitrate_kbps = Some(192)), in_order([2, 4]));
    let both = |it: &mut Filter| {
        it.min_bitrate_kbps = Some(129);
        it.min_duration_secs = Some(1);
    };
    assert_eq!(found(both), [content(2)]);
    assert_eq!(found(|it| it.min_duration_secs = Some(601)), []);
}
