//! The little library of the demo: some forty files of several sorts, the same in every run, spread
//! over the nodes as shelves.

use super::media::{self, Tags};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

/// The word that the demo searches for: something on every shelf has it in its name.
pub const WORD: &str = "north";

/// How many shelves there are: one for each ordinary node.
pub const SHELVES: usize = 8;

/// The large file: 24 MiB are 1,536 verified chunk groups, enough for two sources to share.
pub const RECORDING_BYTES: u32 = 24 * 1024 * 1024;

/// The name of the large file.
pub const RECORDING: &str = "Wild Geese Going North.wav";

const RECORDING_TAGS: Tags<'_> =
    Tags { artist: "Estuary Field Recordings", title: "Wild Geese Going North", album: "October" };

/// A song: shelf, artist, title, seconds.
const SONGS: [(usize, &str, &str, u16); 17] = [
    (0, "The Reed Beds", "North Wind Waltz", 3),
    (0, "The Reed Beds", "A Barge for Two", 2),
    (0, "Low Tide Quartet", "Mudlark", 2),
    (1, "Low Tide Quartet", "Letters from the North Shore", 3),
    (1, "Marsh and Meadow", "Heron Standing", 2),
    (2, "Marsh and Meadow", "True North", 3),
    (2, "Paper Lanterns", "Ferry at Dusk", 2),
    (3, "Paper Lanterns", "Sleeper Train North", 3),
    (3, "The Tin Whistlers", "Rain on the Ropewalk", 2),
    (4, "The Tin Whistlers", "North Quay Reel", 2),
    (4, "Harbour Lights Band", "Salt on the Windows", 3),
    (5, "Harbour Lights Band", "Magnetic North", 3),
    (5, "Slow Weather", "Fog Signal", 2),
    (6, "Slow Weather", "Cold Front from the North", 2),
    (6, "Kelp Forest", "Under the Pier", 3),
    (7, "Kelp Forest", "North Sea Lullaby", 3),
    // A copy of what shelf 0 has: one content with two sources.
    (7, "The Reed Beds", "North Wind Waltz", 3),
];

/// A picture: shelf, name.
const PICTURES: [(usize, &str); 9] = [
    (0, "Sunrise over the Saltmarsh"),
    (1, "North Lighthouse at Night"),
    (2, "Barnacle Geese on the Sand"),
    (3, "Old Harbour Crane"),
    (4, "Storm Coming from the North"),
    (5, "Reeds in Winter"),
    (6, "Ferry Landing"),
    (7, "The Last Light of October"),
    // A copy, as above.
    (2, "North Lighthouse at Night"),
];

/// A text: shelf, name with extension, content.
const TEXTS: [(usize, &str, &str); 13] = [
    (0, "Tide Table.csv", "day,high,low\nMonday,04:12,10:31\nTuesday,05:02,11:20\n"),
    (
        1,
        "Recipe for Bramble Jam.md",
        "# Bramble jam\n\nA kilo of brambles, as much sugar, a lemon.\n",
    ),
    (
        1,
        "How to Tie a Bowline.txt",
        "The rabbit comes out of the hole, round the tree, and back.\n",
    ),
    (2, "Bird Log North Hide.csv", "date,bird,count\n10-03,greylag,140\n10-04,brent,62\n"),
    (
        3,
        "Notes on the North Road.md",
        "# The north road\n\nPast the mill, keep the water to the left.\n",
    ),
    (3, "Seed List.txt", "Kale, leek, broad bean, marigold, thyme.\n"),
    (4, "Knitting Pattern Mittens.md", "# Mittens\n\nCast on 44, rib for a hand's breadth.\n"),
    (5, "Ship Log of the North Star.txt", "Wind west, light. Six knots. All well.\n"),
    (
        5,
        "Poem About Rain.txt",
        "It knocked so softly on the boat\nthat no one thought to let it in.\n",
    ),
    (6, "Allotment Plan.csv", "bed,spring,autumn\n1,peas,garlic\n2,beets,kale\n"),
    (
        6,
        "Map Notes North Channel.md",
        "# North channel\n\nMarked by withies; dry two hours each side.\n",
    ),
    (7, "Bread With Rye.md", "# Rye bread\n\nThe sourdough decides, the clock only guesses.\n"),
    (7, "Star Names.txt", "Vega, Deneb, Altair: the summer triangle.\n"),
];

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Fills a folder with what belongs on a shelf, 0 to 7. The large recording lies on those shelves
/// that are told so.
///
/// # Errors
/// The folder cannot be written.
pub fn fill(shelf: usize, with_recording: bool, dir: &Path) -> io::Result<Written> {
    let mut written = Written::default();
    for (seed, (_, artist, title, seconds)) in
        (0u8..).zip(SONGS).filter(|(_, (on, ..))| *on == shelf)
    {
        let tags = Tags { artist, title, album: "Songs of the Shore" };
        // A copy is the same in every byte, so its seed is that of the first with its title.
        let seed =
            (0u8..).zip(SONGS).find(|(_, song)| song.2 == title).map_or(seed, |(seed, _)| seed);
        written.add(&dir.join("Music").join(artist).join(format!("{title}.wav")), |file| {
            media::write_tune(file, tags, seed, seconds)
        })?;
    }
    for (seed, (_, name)) in (0u8..).zip(PICTURES).filter(|(_, (on, _))| *on == shelf) {
        let seed =
            (0u8..).zip(PICTURES).find(|(_, other)| other.1 == name).map_or(seed, |(seed, _)| seed);
        written.add(&dir.join("Pictures").join(format!("{name}.bmp")), |file| {
            media::write_picture(file, seed)
        })?;
    }
    for (_, name, text) in TEXTS.into_iter().filter(|(on, ..)| *on == shelf) {
        written.add(&dir.join("Notes").join(name), |file| file.write_all(text.as_bytes()))?;
    }
    if with_recording {
        written.add(&recording_path(dir), |file| {
            media::write_wind(file, RECORDING_TAGS, RECORDING_BYTES)
        })?;
    }
    Ok(written)
}

/// Where the large recording is on a shelf that has it.
pub fn recording_path(dir: &Path) -> PathBuf {
    dir.join("Field Recordings").join(RECORDING)
}

impl Written {
    fn add(
        &mut self,
        path: &Path,
        write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    ) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = BufWriter::new(File::create(path)?);
        write(&mut file)?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        self.files += 1;
        self.bytes += file.metadata()?.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeMap;

    /// The files of all shelves but for the recording: name, and the contents that have it.
    fn all_files() -> Vec<(usize, String, blake3::Hash)> {
        let mut found = Vec::new();
        for shelf in 0..SHELVES {
            let temp = tempfile::tempdir().unwrap();
            let written = fill(shelf, false, temp.path()).unwrap();
            let mut folders = vec![temp.path().to_owned()];
            let before = found.len();
            while let Some(folder) = folders.pop() {
                for entry in fs::read_dir(folder).unwrap() {
                    let path = entry.unwrap().path();
                    if path.is_dir() {
                        folders.push(path);
                    } else {
                        let name = path.file_name().unwrap().to_string_lossy().into_owned();
                        found.push((shelf, name, blake3::hash(&fs::read(&path).unwrap())));
                    }
                }
            }
            assert_eq!(written.files as usize, found.len() - before);
        }
        found
    }

    #[test]
    fn every_shelf_has_something_with_the_word() {
        let files = all_files();
        assert!((35..=45).contains(&files.len()), "{} files", files.len());
        for shelf in 0..SHELVES {
            let has_word =
                |name: &str| name.to_lowercase().split([' ', '.']).any(|part| part == WORD);
            assert!(
                files.iter().any(|(on, name, _)| *on == shelf && has_word(name)),
                "shelf {shelf}"
            );
        }
    }

    #[test]
    fn copies_are_the_same_content_and_others_are_not() {
        let mut names: BTreeMap<String, Vec<blake3::Hash>> = BTreeMap::new();
        for (_, name, content) in all_files() {
            names.entry(name).or_default().push(content);
        }
        let copies: Vec<_> = names.values().filter(|contents| contents.len() > 1).collect();
        assert_eq!(copies.len(), 2);
        assert!(copies.iter().all(|contents| contents.windows(2).all(|two| two[0] == two[1])));
        let mut contents: Vec<_> = names.values().map(|contents| *contents[0].as_bytes()).collect();
        contents.sort_unstable();
        contents.dedup();
        assert_eq!(contents.len(), names.len());
    }

    #[test]
    fn the_recording_lies_where_it_was_told_to() {
        let temp = tempfile::tempdir().unwrap();
        let written = fill(0, true, temp.path()).unwrap();
        let size = fs::metadata(recording_path(temp.path())).unwrap().len();
        assert!(size > u64::from(RECORDING_BYTES) - 4 && written.bytes > size);
    }
}
