//! `skein search`.

use crate::context::{self, Context};
use crate::failure::Failure;
use crate::ui::live::LiveList;
use crate::ui::paint::Paint;
use crate::ui::{format, progress};
use crate::value;
use clap::Args;
use futures_util::StreamExt as _;
use indicatif::ProgressBar;
use skein_node::account::lost_name;
use skein_node::api::types::{ContentHit, Identity, SearchEvent, SearchReport, StartSearch};
use skein_proto::query::{Filter, StopReason};
use skein_proto::{BoundedString, ContentId, Kind, Username};
use std::collections::BTreeMap;

/// Looks for files by words.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein search moonlight sonata            all words must match; case and accents do not matter
  skein search sonata --kind audio --min-bitrate 192 --min-duration 3:00
  skein search atlas --ext pdf --max-size 50MB --owner alice
  skein search '\"clair de lune\"' --without live   words in quotes follow each other
  skein search --more                      what comes behind the last search's results
  skein search linux iso --json | jq -r 'select(.event == \"hit\").name'
Fetch a hit by its number with `skein get NUMBER`; -v shows content ids, paths and owners.")]
pub struct SearchArgs {
    /// What to look for: words, or a content id. The last word may be a beginning, and so is each
    /// with a * behind it
    #[arg(required_unless_present = "more", value_name = "WORDS")]
    words: Vec<String>,
    /// Only what does not have this word; may be given several times
    #[arg(long, value_name = "WORD", value_parser = value::word)]
    without: Vec<String>,
    /// Go on with the last search, with what it has not shown yet
    #[arg(long, conflicts_with_all = [
        "words", "without", "kind", "ext", "min_size", "max_size", "min_bitrate", "min_duration",
        "max_duration", "owner",
    ])]
    more: bool,
    #[command(flatten)]
    conditions: Conditions,
    /// Stop after so many different files, 1 to 1000 [default: 100]
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true, value_parser = value::whole(1..=1_000_u16, 50))]
    limit: Option<u16>,
}

/// What else must hold of a file.
#[derive(Debug, Args)]
pub struct Conditions {
    /// Only this kind: audio, video, image, document, archive, software or other
    #[arg(long)]
    kind: Option<Kind>,
    /// Only this extension, such as flac
    #[arg(long, value_name = "EXT", value_parser = value::extension)]
    ext: Option<BoundedString<16>>,
    /// At least this large, such as 10MB or 1.5GiB
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true, value_parser = value::size)]
    min_size: Option<u64>,
    /// At most this large
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true, value_parser = value::size)]
    max_size: Option<u64>,
    /// At least this bitrate in kbit/s
    #[arg(long, value_name = "KBPS", allow_negative_numbers = true, value_parser = value::bitrate)]
    min_bitrate: Option<u32>,
    /// At least this playing time, such as 90, 3:05 or 3m5s
    #[arg(long, value_name = "TIME", allow_negative_numbers = true, value_parser = value::seconds)]
    min_duration: Option<u32>,
    /// At most this playing time
    #[arg(long, value_name = "TIME", allow_negative_numbers = true, value_parser = value::seconds)]
    max_duration: Option<u32>,
    /// Only what this user shares
    #[arg(long, value_name = "NAME")]
    owner: Option<Username>,
}

impl Conditions {
    /// The filter that they make.
    ///
    /// # Errors
    /// Two conditions exclude each other.
    pub fn filter(self) -> Result<Filter, Failure> {
        let crossed = |what: &str| {
            Failure::input(format!("--min-{what} is over --max-{what}: nothing can match both"))
        };
        if matches!((self.min_size, self.max_size), (Some(min), Some(max)) if min > max) {
            return Err(crossed("size"));
        }
        if matches!((self.min_duration, self.max_duration), (Some(min), Some(max)) if min > max) {
            return Err(crossed("duration"));
        }
        Ok(Filter {
            kind: self.kind,
            extension: self.ext,
            min_size: self.min_size,
            max_size: self.max_size,
            min_bitrate_kbps: self.min_bitrate,
            min_duration_secs: self.min_duration,
            max_duration_secs: self.max_duration,
            owner: self.owner,
        })
    }
}

impl SearchArgs {
    /// What to ask the daemon.
    ///
    /// # Errors
    /// There is no word, or two conditions exclude each other.
    fn request(self) -> Result<StartSearch, Failure> {
        if self.more {
            return Ok(StartSearch { limit: self.limit, more: true, ..StartSearch::default() });
        }
        let filter = self.conditions.filter()?;
        // In front, so that the last word stays the one that may be a beginning.
        let mut words: String = self.without.iter().map(|word| format!("-\"{word}\" ")).collect();
        words.push_str(&joined(&self.words)?);
        Ok(StartSearch { words, filter, limit: self.limit, more: false })
    }
}

/// The words as one text.
///
/// # Errors
/// There is nothing in them to look for.
pub fn joined(words: &[String]) -> Result<String, Failure> {
    let words = words.join(" ");
    if !words.chars().any(char::is_alphanumeric) {
        return Err(Failure::input("a search needs at least one word of letters or digits"));
    }
    Ok(words)
}

/// Searches, and prints the hits as they come.
///
/// # Errors
/// The daemon does not run or answer, or cannot search now.
pub fn run(context: &Context, args: SearchArgs) -> Result<(), Failure> {
    let request = args.request()?;
    let asked = Asked::of(&request);
    context::block_on(async {
        let client = context.client()?;
        let identity = client.status().await?.identity;
        if identity.name.is_none() {
            return Err(no_name(context, &identity));
        }
        let mut events = client.search(&request).await?;
        let mut output = Output::new(context);
        while let Some(event) = events.next().await {
            let Ok(event) = event else { break };
            if context.ui.json {
                context.ui.value(&event)?;
            }
            match event {
                SearchEvent::Hit(hit) => output.hit(*hit)?,
                SearchEvent::Done(report) => return output.done(&report, &asked),
                // An event of a newer daemon; with --json it has been printed as it is.
                _ => {}
            }
        }
        output.spinner.finish_and_clear();
        Err(Failure::failed(format!(
            "the daemon went away in the middle of the search: see its log, and start it with \
             `skein{} up`",
            context.data_dir_words()
        )))
    })
}

/// What was asked for, as far as that decides what to advise when nothing comes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    /// Words, perhaps with conditions.
    Words { filtered: bool },
    /// Words, of what this user shares.
    Owner(Username),
    /// One content.
    Content,
    /// More of the last search.
    More,
}

impl Asked {
    fn of(request: &StartSearch) -> Self {
        let StartSearch { words, filter, more, .. } = request;
        match &filter.owner {
            _ if *more => Self::More,
            _ if words.trim().parse::<ContentId>().is_ok() => Self::Content,
            Some(owner) => Self::Owner(owner.clone()),
            None => Self::Words { filtered: *filter != Filter::default() },
        }
    }

    /// What to say where everybody was asked and nothing came.
    fn in_vain(&self, skein: &str) -> String {
        match self {
            Self::Words { filtered: false } => {
                "Nothing found: try fewer or shorter words.".to_owned()
            }
            Self::Words { filtered: true } => {
                "Nothing found: try fewer or shorter words, or without filters.".to_owned()
            }
            Self::Owner(owner) => format!(
                "Nothing found: @{owner} shares nothing like that, or is not there; \
                 `{skein} find @{owner}` tells whether they are."
            ),
            Self::Content => format!(
                "Nobody who is there now shares this content: `{skein} wish add CONTENT-ID` tells \
                 you as soon as somebody does."
            ),
            Self::More => "There is no more than what was shown.".to_owned(),
        }
    }
}

/// Supernodes answer only to members: there is nothing to wait for.
fn no_name(context: &Context, identity: &Identity) -> Failure {
    let lost = context.home().ok().and_then(|home| lost_name(&home, identity.node).ok().flatten());
    Failure::failed(match lost {
        Some(lost) => format!(
            "the credential of @{lost} belongs to another node key, and only members can search: \
             run `skein login {lost}`"
        ),
        None => "this node has no name yet, and only members can search: take one with `skein \
                 register NAME`"
            .to_owned(),
    })
}

/// What a search that asked nobody ends with; to have found nothing would be something else.
fn not_attached(context: &Context) -> Failure {
    Failure::failed(format!(
        "the search was not made: this node is not attached to a supernode; `skein{} status` says \
         why",
        context.data_dir_words()
    ))
}

/// Where the hits go: a list that changes in place on a terminal, and one line a content at the
/// end elsewhere, so that what is piped on is grouped too.
struct Output<'a> {
    context: &'a Context,
    live: Option<LiveList>,
    shown: BTreeMap<u32, usize>,
    waiting: BTreeMap<u32, ContentHit>,
    spinner: ProgressBar,
}

impl<'a> Output<'a> {
    fn new(context: &'a Context) -> Self {
        // With -v a hit takes several lines, which cannot be rewritten.
        let live = (context.ui.can_rewrite() && !context.ui.details).then(LiveList::new);
        let spinner = progress::spinner(&context.ui, "searching…");
        Self { context, live, shown: BTreeMap::new(), waiting: BTreeMap::new(), spinner }
    }

    fn hit(&mut self, hit: ContentHit) -> Result<(), Failure> {
        if self.context.ui.json {
            return Ok(());
        }
        let Some(list) = &mut self.live else {
            self.waiting.insert(hit.number, hit);
            return Ok(());
        };
        // The list itself shows now that something goes on.
        self.spinner.finish_and_clear();
        let line = hit_line(&hit, self.context.ui.out);
        if let Some(index) = self.shown.get(&hit.number) {
            return list.update(*index, &line);
        }
        self.shown.insert(hit.number, self.shown.len());
        list.push(&line)
    }

    fn done(self, report: &SearchReport, asked: &Asked) -> Result<(), Failure> {
        self.spinner.finish_and_clear();
        if report.contents == 0 && report.coverage.stopped == StopReason::NotAttached {
            return Err(not_attached(self.context));
        }
        if self.context.ui.json {
            return Ok(());
        }
        let paint = self.context.ui.out;
        for hit in self.waiting.values() {
            self.context.ui.line(hit_line(hit, paint))?;
            if self.context.ui.details {
                self.context.ui.line(hit_details(hit, paint))?;
            }
        }
        let skein = format!("skein{}", self.context.data_dir_words());
        self.context.ui.note(summary(report, asked, &skein, self.context.ui.err));
        Ok(())
    }
}

/// A hit on one line: number, name, size, kind, tags, sources.
pub fn hit_line(hit: &ContentHit, paint: Paint) -> String {
    let mut parts = vec![paint.strong(&hit.name), format::bytes(hit.size), hit.kind.to_string()];
    if let Some(tags) = hit.tags.as_deref().map(format::tags).filter(|tags| !tags.is_empty()) {
        parts.push(paint.faint(tags));
    }
    let mut owners: Vec<String> =
        hit.sources.iter().map(|source| format!("@{}", source.name)).collect();
    owners.sort_unstable();
    owners.dedup();
    let others = owners.len().saturating_sub(3);
    owners.truncate(3);
    let mut from = paint.name(owners.join(" "));
    if others > 0 {
        from.push_str(&format!(" +{others}"));
    }
    parts.push(from);
    format!("{}  {}", paint.key(format!("{:>3}", hit.number)), parts.join("  "))
}

/// What `-v` adds: the content id, and for each source its path's owner, address and parent.
fn hit_details(hit: &ContentHit, paint: Paint) -> String {
    let mut lines = vec![
        format!("     {} {}", paint.faint("content"), hit.content),
        format!("     {} {}", paint.faint("path   "), hit.path),
    ];
    for source in &hit.sources {
        let address = source.addresses.first().map(|address| format!(" at {address}"));
        lines.push(format!(
            "     {} {}{}, attached to {}",
            paint.faint("source "),
            paint.name(format!("@{}", source.name)),
            address.unwrap_or_default(),
            source.parent.short()
        ));
    }
    lines.join("\n")
}

/// The last lines: how much was found, how complete that is, and what to do next.
fn summary(report: &SearchReport, asked: &Asked, skein: &str, paint: Paint) -> String {
    let coverage = &report.coverage;
    let first = report.first_hit_ms.map(|ms| format!(", first after {}", format::millis(ms)));
    let (reached, known) = (coverage.supernodes_asked, coverage.supernodes_known);
    let stopped = match coverage.stopped {
        // Some of those known are gone, or are asked by others.
        StopReason::Exhausted if reached < known => "everyone within reach was asked",
        _ => report.stopped.as_str(),
    };
    let text = format!(
        "{} from {} in {}{}; {reached} of {} asked, {} covered; stopped: {stopped}",
        format::count(report.contents.into(), "file", "files"),
        format::count(report.sources.into(), "source", "sources"),
        format::millis(report.took_ms),
        first.unwrap_or_default(),
        format::count(known.into(), "supernode", "supernodes"),
        format::count(coverage.nodes_covered.into(), "node", "nodes"),
    );
    let text = paint.faint(text);
    let hint = match (report.contents, coverage.stopped) {
        (_, StopReason::NotAttached) => {
            format!("This node is not attached to a supernode any more: `{skein} status` says why.")
        }
        (0, StopReason::Exhausted) => asked.in_vain(skein),
        (0, _) => format!("Nothing found so far: try again, `{skein} status` says how it stands."),
        (_, StopReason::Enough) => format!(
            "Fetch one with `{skein} get NUMBER`; `{skein} search --more` shows more of them."
        ),
        _ => format!("Fetch one with `{skein} get NUMBER`."),
    };
    format!("{text}\n{hint}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser as _;
    use skein_node::api::types::Source;
    use skein_proto::query::Coverage;
    use skein_proto::{MediaTags, NodeId};

    fn request(words: &[&str]) -> Result<StartSearch, Failure> {
        let cli = Cli::try_parse_from(["skein", "search"].iter().chain(words)).unwrap();
        let Command::Search(args) = cli.command else { panic!("another command") };
        args.request()
    }

    fn hit(owners: &[&str]) -> ContentHit {
        let source = |owner: &&str| Source {
            node: NodeId::from_bytes([1; 32]),
            name: Username::parse(owner).unwrap(),
            addresses: vec![([127, 0, 0, 1], 4701).into()],
            parent: NodeId::from_bytes([2; 32]),
        };
        ContentHit {
            number: 7,
            content: ContentId::from_bytes([3; 32]),
            name: "Low Tide.flac".to_owned(),
            path: "Music/Low Tide.flac".to_owned(),
            size: 2_097_152,
            kind: Kind::Audio,
            tags: Some(Box::new(MediaTags { duration_secs: Some(65), ..MediaTags::default() })),
            sources: owners.iter().map(source).collect(),
        }
    }

    fn report(contents: u32, stopped: StopReason) -> SearchReport {
        SearchReport {
            contents,
            sources: contents,
            first_hit_ms: (contents > 0).then_some(12),
            took_ms: 340,
            coverage: Coverage {
                supernodes_asked: 3,
                supernodes_known: 3,
                nodes_covered: 11,
                stopped,
            },
            stopped: stopped.in_words().to_owned(),
        }
    }

    #[test]
    fn filters_become_conditions() {
        let request = request(&[
            "low",
            "tide",
            "--kind",
            "Audio",
            "--ext",
            ".flac",
            "--min-size",
            "1MB",
            "--owner",
            "@Alice",
            "--min-duration",
            "1:00",
            "--min-bitrate",
            "192k",
            "--limit",
            "5",
        ])
        .unwrap();
        assert_eq!(request.words, "low tide");
        assert_eq!(request.limit, Some(5));
        let filter = request.filter;
        assert_eq!(filter.kind, Some(Kind::Audio));
        assert_eq!(filter.extension.as_deref(), Some("flac"));
        assert_eq!((filter.min_size, filter.max_size), (Some(1_000_000), None));
        assert_eq!((filter.min_bitrate_kbps, filter.min_duration_secs), (Some(192), Some(60)));
        assert_eq!(filter.owner.unwrap().as_str(), "alice");
    }

    #[test]
    fn excluded_words_stand_in_front_and_more_of_a_search_needs_no_words() {
        let wanted = request(&["low", "ti", "--without", "live", "--without", "demo"]).unwrap();
        assert_eq!(wanted.words, "-\"live\" -\"demo\" low ti");
        let more = request(&["--more", "--limit", "5"]).unwrap();
        assert_eq!((more.more, more.limit, more.words.as_str()), (true, Some(5), ""));
        let parse = |words: &[&str]| Cli::try_parse_from(["skein", "search"].iter().chain(words));
        assert!(parse(&["--more", "song"]).is_err() && parse(&["--more", "--ext", "mp3"]).is_err());
        assert!(parse(&[]).is_err());
    }

    #[test]
    fn what_cannot_match_is_wrong_input() {
        for words in [
            &["x", "--min-size", "2MB", "--max-size", "1MB"][..],
            &["x", "--min-duration", "2:00", "--max-duration", "1:00"],
            &["?!"],
        ] {
            assert_eq!(request(words).unwrap_err().exit_code(), 2, "{words:?}");
        }
    }

    #[test]
    fn a_hit_is_one_line_however_many_offer_it() {
        let line = hit_line(&hit(&["alice", "bob"]), Paint::PLAIN);
        assert_eq!(line, "  7  Low Tide.flac  2.0 MiB  audio  1:05  @alice @bob");
        let line = hit_line(&hit(&["ann", "ben", "cleo", "dora", "ann"]), Paint::PLAIN);
        assert!(line.ends_with("@ann @ben @cleo +1"), "{line}");
        let painted = hit_line(&hit(&["alice", "bob"]), Paint::COLOR);
        assert_eq!(
            console::strip_ansi_codes(&painted),
            hit_line(&hit(&["alice", "bob"]), Paint::PLAIN)
        );
    }

    #[test]
    fn a_search_without_hits_ends_with_a_hint() {
        let words = Asked::Words { filtered: false };
        let told =
            |contents, stopped| summary(&report(contents, stopped), &words, "skein", Paint::PLAIN);
        let text = told(0, StopReason::Exhausted);
        assert!(text.starts_with("0 files from 0 sources in 340 ms; 3 of 3 supernodes"), "{text}");
        assert!(text.contains("try fewer") && !text.contains("filters"), "{text}");
        let text = told(0, StopReason::TimedOut);
        assert!(text.contains("skein status") && !text.contains("fewer"), "{text}");
        let text = told(2, StopReason::Exhausted);
        assert!(text.contains("first after 12 ms") && text.contains("skein get"), "{text}");
    }

    #[test]
    fn what_to_do_after_a_search_in_vain_depends_on_what_was_asked_for() {
        let content = ContentId::from_bytes([3; 32]).to_string();
        for (words, advice) in [
            (&["tide"][..], "try fewer or shorter words."),
            (&["tide", "--ext", "ogg"], "without filters"),
            (&["tide", "--owner", "zoe"], "`skein find @zoe`"),
            (&[content.as_str()], "`skein wish add CONTENT-ID`"),
            (&["--more"], "no more than what was shown"),
        ] {
            let asked = Asked::of(&request(words).unwrap());
            let text = summary(&report(0, StopReason::Exhausted), &asked, "skein", Paint::PLAIN);
            assert!(text.contains(advice), "{words:?}: {text}");
            assert_eq!(
                text.contains("fewer"),
                advice.contains("fewer") || advice.contains("filters")
            );
        }
    }
}
