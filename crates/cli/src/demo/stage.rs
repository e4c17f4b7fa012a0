//! What the demo tells, as JSON lines or for people.

use crate::context::shell_quoted;
use crate::failure::Failure;
use crate::ui::paint::Paint;
use crate::ui::{Ui, format};
use serde::Serialize;
use skein_proto::{ContentId, NodeId};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Something that happened on the stage.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Scene {
    /// The demo begins.
    Opening {
        /// The temporary folder of everything.
        dir: PathBuf,
    },
    /// The login service takes requests.
    LoginServiceUp {
        /// Where.
        listen: SocketAddr,
        /// The network ticket.
        ticket: String,
        /// Milliseconds that it took.
        took_ms: u64,
    },
    /// A node is up, and has a name.
    NodeUp {
        /// Its name.
        name: String,
        /// Whether it is a supernode.
        is_super: bool,
        /// Who it is.
        node: NodeId,
        /// Its process.
        pid: u32,
        /// Its UDP address.
        listen: SocketAddr,
        /// Its local API.
        api: SocketAddr,
        /// Its data folder.
        data_dir: PathBuf,
    },
    /// All supernodes are linked to one another.
    SupernodesLinked {
        /// Their names.
        names: Vec<String>,
        /// Milliseconds since the first of them was started.
        took_ms: u64,
    },
    /// All ordinary nodes have a parent.
    AllAttached {
        /// Each with the supernode that it chose.
        parents: Vec<Tie>,
        /// Milliseconds since the first of them was started.
        took_ms: u64,
    },
    /// Everything that is shared can be found.
    AllPublished {
        /// Files.
        files: u64,
        /// Their bytes.
        bytes: u64,
        /// Milliseconds since the first folder was shared.
        took_ms: u64,
    },
    /// A search begins.
    Searching {
        /// Who asks.
        from: Tie,
        /// What for.
        words: String,
    },
    /// Something was found.
    Hit {
        /// Its number.
        number: u32,
        /// Its name.
        name: String,
        /// Its bytes.
        size: u64,
        /// Who has it.
        owners: Vec<Tie>,
        /// Whether all who have it are attached to other supernodes than the one who asks.
        from_elsewhere: bool,
    },
    /// Somebody else has what was found already.
    MoreSources {
        /// Its number.
        number: u32,
        /// Those who were not told before.
        owners: Vec<Tie>,
    },
    /// The search is over.
    SearchDone {
        /// Different contents found.
        contents: u32,
        /// How many of them were found at children of other supernodes only.
        from_elsewhere: u32,
        /// The supernodes whose children had hits.
        supernodes: Vec<String>,
        /// Milliseconds until the first hit.
        first_hit_ms: Option<u64>,
        /// Milliseconds until the end.
        took_ms: u64,
        /// Supernodes that were asked.
        supernodes_asked: u32,
    },
    /// A download is over.
    Downloaded {
        /// The file.
        path: PathBuf,
        /// Its bytes.
        size: u64,
        /// Who gave how much of it, by their own count.
        gave: Vec<Gift>,
        /// Milliseconds that it took.
        took_ms: u64,
    },
    /// The file was checked again, without the node that fetched it.
    Verified {
        /// Its content id, computed anew from the file.
        content: ContentId,
        /// The original that it was compared with.
        original: PathBuf,
        /// Bytes that were compared.
        compared: u64,
    },
    /// The network stays up for the user.
    Kept {
        /// Commands to try.
        commands: Vec<String>,
    },
    /// The demo is over, and all went as told.
    Done {
        /// Milliseconds since the beginning.
        took_ms: u64,
    },
}

/// A node and the supernode that it is attached to, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tie {
    /// The node.
    pub name: String,
    /// Its parent.
    pub parent: String,
}

/// What a source has sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gift {
    /// The source.
    pub name: String,
    /// Bytes of files that it has sent.
    pub bytes: u64,
}

/// Where it is told.
#[derive(Clone, Debug)]
pub struct Stage {
    /// How to print.
    pub ui: Ui,
}

impl Stage {
    /// Tells a scene.
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn tell(&self, scene: &Scene) -> Result<(), Failure> {
        if self.ui.json {
            return self.ui.value(scene);
        }
        // Of a quiet demo, what it came to is left.
        if self.ui.quiet && !matches!(scene, Scene::Kept { .. } | Scene::Done { .. }) {
            return Ok(());
        }
        match in_words(scene, self.ui.out) {
            Some(text) => self.ui.line(text),
            None => Ok(()),
        }
    }

    /// Begins an act with its title. Programs need none.
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn act(&self, number: u8, title: &str) -> Result<(), Failure> {
        self.aside(format!("\n{} {}", self.ui.out.key(number), self.ui.out.strong(title)))
    }

    /// Something for people only.
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn aside(&self, text: impl std::fmt::Display) -> Result<(), Failure> {
        if self.ui.json || self.ui.quiet { Ok(()) } else { self.ui.line(text) }
    }
}

fn in_words(scene: &Scene, paint: Paint) -> Option<String> {
    let done = paint.good("✓");
    Some(match scene {
        Scene::Opening { dir } => format!(
            "{}\nReal processes, talking QUIC over 127.0.0.1; everything is in {}.",
            paint.strong("Skein: a whole network on this machine"),
            dir.display()
        ),
        Scene::LoginServiceUp { listen, took_ms, .. } => {
            format!("  {done} listening on {listen} after {}", format::millis(*took_ms))
        }
        // Eleven such lines say less than the drawing does.
        Scene::NodeUp { .. } => return None,
        Scene::SupernodesLinked { names, took_ms } => format!(
            "  {done} {} are up and linked to one another after {}",
            listed(names.iter().map(|name| paint.name(name))),
            format::millis(*took_ms)
        ),
        Scene::AllAttached { parents, took_ms } => format!(
            "  {done} {} nodes have registered a name and chosen a supernode after {}",
            parents.len(),
            format::millis(*took_ms)
        ),
        Scene::AllPublished { files, bytes, took_ms } => format!(
            "  {done} {} ({}) hashed, and their metadata published, in {}; the files stay where \
             they are",
            format::count(*files, "file", "files"),
            format::bytes(*bytes),
            format::millis(*took_ms)
        ),
        Scene::Searching { from, words } => format!(
            "  {} asks its supernode {} for {}\n  ({} found under {}, {} under another supernode, {} one \
             more who has it)",
            paint.name(&from.name),
            paint.name(&from.parent),
            paint.strong(format!("\"{words}\"")),
            paint.faint("·"),
            paint.name(&from.parent),
            paint.good("↷"),
            paint.faint("+"),
        ),
        Scene::Hit { number, name, size, owners, from_elsewhere } => hit(
            &HitLine { number: *number, name, size: *size, owners, far: *from_elsewhere },
            paint,
        ),
        Scene::SearchDone {
            contents,
            from_elsewhere,
            supernodes,
            first_hit_ms,
            took_ms,
            supernodes_asked,
        } => format!(
            "  {done} {} in {}{}; {} asked\n  {done} {from_elsewhere} of them came from children \
             of other supernodes ({})",
            format::count((*contents).into(), "file", "files"),
            format::millis(*took_ms),
            first_hit_ms
                .map(|ms| format!(", the first after {}", format::millis(ms)))
                .unwrap_or_default(),
            format::count((*supernodes_asked).into(), "supernode", "supernodes"),
            listed(supernodes.iter().map(|name| paint.name(name))),
        ),
        Scene::MoreSources { number, owners } => format!(
            "  {} {} {}  {}",
            paint.faint("+"),
            paint.key(format!("{number:>2}")),
            pad("is also shared by", 52),
            owners_in_words(owners, paint)
        ),
        Scene::Downloaded { size, gave, took_ms, .. } => {
            let gifts = gave.iter().map(|gift| {
                format!("{} from {}", format::bytes(gift.bytes), paint.name(&gift.name))
            });
            format!(
                "  {done} {} in {} ({}): {}",
                format::bytes(*size),
                format::millis(*took_ms),
                format::rate(size.saturating_mul(1_000) / (*took_ms).max(1)),
                listed(gifts)
            )
        }
        Scene::Verified { content, compared, .. } => format!(
            "  {done} BLAKE3, computed anew from the file: {}\n  {done} all {} bytes are those of \
             the original",
            paint.faint(content),
            format::thousands(*compared)
        ),
        Scene::Kept { commands } => {
            let lines: Vec<String> =
                commands.iter().map(|command| format!("  {}", paint.key(command))).collect();
            format!(
                "\n{}\n{}\n\n{}",
                paint.strong("The network stays up. Try, in another terminal:"),
                lines.join("\n"),
                "Ctrl-C ends it and clears everything away."
            )
        }
        Scene::Done { took_ms } => format!(
            "\n{} All as promised, in {}. A network of your own begins with {}.",
            done,
            format::millis(*took_ms),
            paint.key("skein login-server")
        ),
    })
}

struct HitLine<'a> {
    number: u32,
    name: &'a str,
    size: u64,
    owners: &'a [Tie],
    far: bool,
}

fn hit(hit: &HitLine<'_>, paint: Paint) -> String {
    let mark = if hit.far { paint.good("↷") } else { paint.faint("·") };
    format!(
        "  {mark} {} {}  {}",
        paint.key(format!("{:>2}", hit.number)),
        pad(&format!("{}, {}", hit.name, format::bytes(hit.size)), 52),
        owners_in_words(hit.owners, paint)
    )
}

fn owners_in_words(owners: &[Tie], paint: Paint) -> String {
    listed(
        owners
            .iter()
            .map(|tie| format!("{} (under {})", paint.name(&tie.name), paint.name(&tie.parent))),
    )
}

/// Fills up with blanks to `width` characters.
fn pad(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(console::measure_text_width(text));
    format!("{text}{}", " ".repeat(missing))
}

/// "a", "a and b", "a, b and c".
pub fn listed(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    match items.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

/// The command that does `words` on the node with this data folder.
pub fn command_for(program: &str, data_dir: &std::path::Path, words: &str) -> String {
    let data_dir = shell_quoted(&data_dir.to_string_lossy());
    format!("{} --data-dir {data_dir} {words}", shell_quoted(program))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_listed_as_people_do() {
        let list = |items: &[&str]| listed(items.iter().map(|&item| item.to_owned()));
        assert_eq!(list(&[]), "");
        assert_eq!(list(&["a"]), "a");
        assert_eq!(list(&["a", "b", "c"]), "a, b and c");
    }

    #[test]
    fn a_hit_says_who_has_it_and_under_which_supernode() {
        let scene = Scene::Hit {
            number: 3,
            name: "True North.wav".to_owned(),
            size: 66_150,
            owners: vec![Tie { name: "cedar".to_owned(), parent: "brant".to_owned() }],
            from_elsewhere: true,
        };
        let text = in_words(&scene, Paint::PLAIN).expect("hits are told");
        assert!(text.contains("True North.wav") && text.contains("cedar (under brant)"), "{text}");
        let painted = in_words(&scene, Paint::COLOR).expect("hits are told");
        assert_eq!(console::strip_ansi_codes(&painted), text);
    }

    #[test]
    fn commands_to_try_can_be_pasted() {
        let command = command_for("/opt/skein", std::path::Path::new("/tmp/a b"), "search north");
        assert_eq!(command, "/opt/skein --data-dir '/tmp/a b' search north");
    }
}
