//! A supernode with 200,000 files of its children in its index: while they are published and
//! afterwards, what a search finds is what a look at every file says.

#![allow(clippy::expect_used)]

use futures_util::future::{join, join_all};
use skein_node::api::types::ContentHit;
use skein_proto::ContentId;
use skein_proto::query::StopReason;
use skein_tests::node::SEARCH_AGAIN;
use skein_tests::{Network, Node, within_patience};
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

const OWNERS: [&str; 4] = ["anna", "bert", "carl", "dora"];

/// Folders of each owner, which are shared one after the other, and files of each.
const SHELVES: u32 = 5;
const FILES: u32 = 10_000;

/// Files of an owner whose names have the same number of a part.
const PART: u32 = 3_000;

/// Of so many files of an owner one is the same, under the same name, as one of each other owner.
const COMMON_EVERY: u32 = 100;

/// How often a figure is looked at that no event tells of.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

const FIRST: [&str; 7] = ["amber", "birch", "cedar", "dune", "ember", "fjord", "grove"];
const SECOND: [&str; 11] = [
    "heron", "ibis", "jackdaw", "kestrel", "lapwing", "merlin", "nightjar", "osprey", "plover",
    "quail", "raven",
];
const ENDINGS: [&str; 4] = ["mp3", "txt", "jpg", "zip"];

/// A file, as whoever looks at every one of them sees it.
#[derive(Clone, Copy)]
struct Shared {
    owner: &'static str,
    number: u32,
    content: ContentId,
}

impl Shared {
    /// What stands in the file of this number, which is not the same for any two. Some are longer.
    fn text(number: u32) -> String {
        format!("{number}{}", ".".repeat(number as usize % 50))
    }

    fn bytes(self) -> usize {
        Self::text(self.number).len()
    }

    /// The words of its name that are not numbers.
    fn names(self) -> [&'static str; 4] {
        let at = self.number as usize;
        let is_common = self.number.is_multiple_of(COMMON_EVERY);
        [
            FIRST[at % FIRST.len()],
            SECOND[at / FIRST.len() % SECOND.len()],
            if is_common { "everybody" } else { self.owner },
            ENDINGS[at / (FIRST.len() * SECOND.len()) % ENDINGS.len()],
        ]
    }

    fn path(self) -> String {
        let [first, second, whose, ending] = self.names();
        let (number, shelf, part) = (self.number, self.number / FILES, self.number / PART);
        format!("shelf{shelf}/{first} {second} {whose} p{part} no{number}.{ending}")
    }
}

/// Words that a file must have, read once for all files.
struct Words {
    names: Vec<String>,
    numbers: Range<u32>,
}

impl Words {
    fn new(text: &str) -> Self {
        let mut words = Self { names: Vec::new(), numbers: 0..u32::MAX };
        for word in text.split_whitespace() {
            let number = |name: &str| word.strip_prefix(name).and_then(|it| it.parse().ok());
            if let Some(shelf) = number("shelf") {
                words.within(shelf, FILES);
            } else if let Some(only) = number("no") {
                words.within(only, 1);
            } else if let Some(part) = number("p") {
                words.within(part, PART);
            } else {
                words.names.push(word.to_owned());
            }
        }
        words
    }

    fn within(&mut self, part: u32, of: u32) {
        let Range { start, end } = self.numbers;
        self.numbers = start.max(part * of)..end.min((part + 1) * of);
    }

    fn are_in(&self, file: Shared) -> bool {
        self.numbers.contains(&file.number) && {
            let names = file.names();
            self.names.iter().all(|name| names.contains(&name.as_str()))
        }
    }
}

fn shelf(root: &Path, number: u32) -> PathBuf {
    root.join(format!("shelf{number}"))
}

/// Makes the files, and says what they are. A content is written once, for its first owner; the others
/// have it under names of their own, by links: the disk would be most of the test.
fn write_shelves(roots: &[PathBuf]) -> Vec<Shared> {
    for root in roots {
        for number in 0..SHELVES {
            std::fs::create_dir(shelf(root, number)).expect("the folder is new");
        }
    }
    let mut all = Vec::new();
    for number in 0..SHELVES * FILES {
        let text = Shared::text(number);
        let content = ContentId::from_bytes(*blake3::hash(text.as_bytes()).as_bytes());
        let mut first = None;
        for (owner, root) in OWNERS.iter().zip(roots) {
            let file = Shared { owner, number, content };
            let path = root.join(file.path());
            match &first {
                None => std::fs::write(&path, &text),
                Some(first) => std::fs::hard_link(first, &path),
            }
            .expect("the file can be made");
            first.get_or_insert(path);
            all.push(file);
        }
    }
    all
}

/// A content with one who has it.
type Source = (ContentId, String);

/// Searches as one node, whose results are compared with what a look at every file says.
struct Check<'a> {
    asker: &'a Node,
    files: &'a [Shared],
}

impl Check<'_> {
    fn expected(&self, wanted: impl Fn(Shared) -> bool) -> BTreeSet<Source> {
        self.files
            .iter()
            .filter(|it| wanted(**it))
            .map(|it| (it.content, it.owner.to_owned()))
            .collect()
    }

    /// How many there are of what is wanted, all of which, and nothing else, must be found.
    async fn of(&self, text: &str, more: &[&str], wanted: impl Fn(Shared) -> bool) -> usize {
        let expected = self.expected(wanted);
        let words = [&[text, "--limit", "1000"], more].concat();
        let found = self.asker.search(&words).await;
        // Not sooner, or the budget of a name is used up on a fast machine.
        tokio::time::sleep(SEARCH_AGAIN).await;
        let of_hit = |hit: &ContentHit| -> Vec<Source> {
            hit.sources.iter().map(|it| (hit.content, it.name.as_str().to_owned())).collect()
        };
        let sources: BTreeSet<Source> = found.hits.iter().flat_map(of_hit).collect();
        assert!(
            sources == expected,
            "{words:?}: {} found, {} there",
            sources.len(),
            expected.len()
        );
        assert_ne!(found.report.coverage.stopped, StopReason::TimedOut, "{words:?}");
        expected.len()
    }
}

/// While a shelf of each owner is published, the one before it is searched.
async fn publish(supernode: &Node, owners: &[(Node, PathBuf)], check: &Check<'_>) {
    let records = async || supernode.status().await.supernode.expect("it is one").records;
    let mut meanwhile = 0;
    for number in 0..SHELVES {
        let all = u64::from((number + 1) * FILES);
        let shared = owners.iter().map(async |(node, root)| {
            node.share(&shelf(root, number), all).await;
        });
        let searches = async {
            let Some(before) = number.checked_sub(1) else { return };
            let of_all = OWNERS.len() as u64;
            let (begun, done) = (u64::from(number * FILES) * of_all, all * of_all);
            let words = ["amber everybody", "cedar lapwing carl", "fjord jackdaw dora"];
            for words in words.iter().cycle() {
                while records().await == begun {
                    tokio::time::sleep(LOOK_INTERVAL).await;
                }
                if records().await == done {
                    return;
                }
                // A space behind the last word says that it is whole.
                let text = format!("shelf{before} {words} ");
                let words = Words::new(&text);
                assert!(check.of(&text, &[], |it| words.are_in(it)).await > 50);
                meanwhile += u32::from(records().await < done);
            }
        };
        join(join_all(shared), searches).await;
    }
    assert_eq!(records().await, 200_000);
    assert!(meanwhile > 0, "all searches were answered before or after the publishing");
}

/// Waits until the parts of which the index is made have been merged into one.
async fn calm(supernode: &Node) {
    within_patience("the parts of the calm index were never merged into one", async {
        while supernode.counted("skein_overlay_index_segments").await != 1 {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    })
    .await;
}

#[tokio::test]
async fn two_hundred_thousand_files_are_found_as_a_look_at_each_of_them_says() {
    let network = Network::start().await;
    let [supernode] = network.supernodes(["goose"], &[]).await;
    let roots = OWNERS.map(|owner| network.folder(&format!("of-{owner}"))).to_vec();
    let to_fill = roots.clone();
    let written = tokio::task::spawn_blocking(move || write_shelves(&to_fill));
    let [emil, frida] = network.nodes(["emil", "frida"]).await;
    let owners: Vec<_> = network.nodes(OWNERS).await.into_iter().zip(roots).collect();
    let files = written.await.expect("the files can be made");
    assert_eq!(files.len(), 200_000);
    publish(&supernode, &owners, &Check { asker: &emil, files: &files }).await;
    calm(&supernode).await;

    let check = Check { asker: &frida, files: &files };
    let of = async |text: &str, more: &[&str], wanted: &dyn Fn(Shared) -> bool| {
        check.of(text, more, wanted).await
    };
    let has = |text: &str| {
        let words = Words::new(text);
        move |file: Shared| words.are_in(file)
    };
    assert_eq!(of("no4711 anna ", &[], &has("no4711 anna")).await, 1);
    assert_eq!(of("no4700 ", &[], &has("no4700")).await, OWNERS.len());
    assert_eq!(of("amber birch ", &[], &has("amber birch")).await, 0);
    let many = "EVERYBODY amber ";
    assert!(of(many, &[], &has("everybody amber")).await > 200);
    let some = "cedar lapwing carl ";
    let is_some = &has(some);
    let zip = &has("zip");
    let audio = has("mp3");
    assert!(of(some, &[], is_some).await > 500);
    assert!(of(some, &["--ext", "zip"], &|it| is_some(it) && zip(it)).await > 100);
    assert!(of(some, &["--kind", "audio"], &|it| is_some(it) && audio(it)).await > 100);
    assert!(of(some, &["--min-size", "40"], &|it| is_some(it) && it.bytes() >= 40).await > 100);
    assert!(of(some, &["--max-size", "40"], &|it| is_some(it) && it.bytes() <= 40).await > 100);
    assert_eq!(of(some, &["--owner", "anna"], &|_| false).await, 0);
    let raven = has("grove raven p9");
    let of_dora = |it: Shared| it.owner == "dora" && raven(it);
    assert!(of("grove raven p9 ", &["--owner", "dora"], &of_dora).await > 30);
    assert!(of("\"plover bert\" p3 fjord ", &[], &has("fjord plover bert p3")).await > 30);
    assert_eq!(of("\"bert plover\" p3 ", &[], &|_| false).await, 0);
    let not_zip = |it: Shared| is_some(it) && !zip(it);
    assert!(of("cedar lapwing carl -zip ", &[], &not_zip).await > 400);
    assert!(of(some, &["--without", "zip"], &not_zip).await > 400);
    assert!(of("dune carl p5 jackd", &[], &has("dune jackdaw carl p5")).await > 30);

    // In pages: what was shown is not shown again, and nothing is left out.
    let mut shown = BTreeSet::new();
    let mut page = frida.search(&[some, "--limit", "100"]).await;
    while !page.hits.is_empty() {
        let first = shown.len() + 1;
        let numbers = page.hits.iter().map(|hit| hit.number as usize);
        assert!(numbers.eq(first..first + page.hits.len()), "{:?}", page.report);
        shown.extend(page.hits.iter().map(|hit| hit.content));
        page = frida.search(&["--more", "--limit", "100"]).await;
    }
    assert_eq!(shown, check.expected(is_some).into_iter().map(|(content, _)| content).collect());

    // An owner goes, with all that it has.
    let _ = owners[0].0.run(&["down"]).await.worked();
    supernode
        .until("forgets who has gone", |it| {
            it.supernode.as_ref().is_some_and(|own| own.records == 150_000)
        })
        .await;
    let common = has("everybody amber");
    let left = |it: Shared| it.owner != "anna" && common(it);
    assert!(of(many, &[], &left).await > 200);
    assert_eq!(of("anna ", &[], &|_| false).await, 0);
}
