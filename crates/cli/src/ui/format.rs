//! Numbers as people read them.

use bytesize::ByteSize;
use skein_proto::{MediaTags, NodeId, Username};
use std::time::Duration;

/// A number of bytes, such as `24.0 MiB`.
pub fn bytes(count: u64) -> String {
    ByteSize(count).display().iec().to_string()
}

/// A number of bytes a second, such as `3.2 MiB/s`.
pub fn rate(bytes_per_second: u64) -> String {
    format!("{}/s", bytes(bytes_per_second))
}

/// A number of bytes a second that somebody has chosen, in the largest unit of which it is a whole
/// number: `500 kB/s` and not `488.3 KiB/s`.
pub fn chosen_rate(bytes_per_second: u64) -> String {
    let units = [
        (1 << 30, "GiB"),
        (1_000_000_000, "GB"),
        (1 << 20, "MiB"),
        (1_000_000, "MB"),
        (1 << 10, "KiB"),
        (1_000, "kB"),
    ];
    let is_whole = |&(unit, _): &(u64, &str)| {
        bytes_per_second >= unit && bytes_per_second.is_multiple_of(unit)
    };
    let (unit, name) = units.into_iter().find(is_whole).unwrap_or((1, "B"));
    format!("{} {name}/s", thousands(bytes_per_second / unit))
}

/// A number with its thing in the singular or the plural.
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(number), if number == 1 { one } else { many })
}

/// A whole number with its thousands apart, such as `50,000`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A length of time in whole seconds, such as `2h 5m 3s`; the two largest units suffice.
pub fn elapsed(secs: u64) -> String {
    let text = humantime::format_duration(Duration::from_secs(secs)).to_string();
    let parts: Vec<&str> = text.split(' ').take(2).collect();
    parts.join(" ")
}

/// A playing time, such as `4:05` or `1:02:03`.
pub fn playing_time(secs: u32) -> String {
    let (hours, minutes, seconds) = (secs / 3600, secs / 60 % 60, secs % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

/// Milliseconds as people feel them: `35 ms`, then `1.2 s`, then minutes.
pub fn millis(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        // One decimal, in whole numbers: 1,250 ms are 1.2 s.
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        _ => elapsed(ms / 1_000),
    }
}

/// A round trip, given in microseconds.
pub fn round_trip(us: u64) -> String {
    if us < 1_000 {
        format!("{us} µs")
    } else if us < 10_000 {
        format!("{}.{} ms", us / 1_000, us % 1_000 / 100)
    } else {
        millis(us / 1_000)
    }
}

/// The time until a moment in seconds since 1970, or that it has passed.
pub fn until(moment: u64, now: u64) -> String {
    match moment.checked_sub(now) {
        Some(left) if left > 0 => format!("in {}", elapsed(left)),
        _ => "expired".to_owned(),
    }
}

/// A node for people: by its name if it has one, else by the start of its id.
pub fn who(name: Option<&Username>, node: &NodeId) -> String {
    name.map_or_else(|| node.short(), |name| format!("@{name}"))
}

/// The tags that fit into a line: artist and title, playing time, bitrate.
pub fn tags(tags: &MediaTags) -> String {
    let artist = tags.artist.as_deref();
    let title = tags.title.as_deref();
    let song = match (artist, title) {
        (Some(artist), Some(title)) => Some(format!("{artist} – {title}")),
        (Some(only), None) | (None, Some(only)) => Some(only.to_owned()),
        (None, None) => None,
    };
    let time = tags.duration_secs.map(playing_time);
    let bitrate = tags.bitrate_kbps.map(|rate| format!("{rate} kbit/s"));
    let parts: Vec<String> = [song, time, bitrate].into_iter().flatten().collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_proto::BoundedString;

    #[test]
    fn numbers_read_well() {
        assert_eq!(bytes(25_165_824), "24.0 MiB");
        assert_eq!(bytes(7), "7 B");
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(count(1, "file", "files"), "1 file");
        assert_eq!(count(2_000, "file", "files"), "2,000 files");
    }

    #[test]
    fn a_rate_that_was_chosen_is_shown_as_it_was_written() {
        for (bytes, text) in [
            (500_000, "500 kB/s"),
            (1_000_000, "1 MB/s"),
            (1_500_000, "1,500 kB/s"),
            (2 << 20, "2 MiB/s"),
            (64 << 10, "64 KiB/s"),
            (7, "7 B/s"),
            (1_234, "1,234 B/s"),
            (12_500_000, "12,500 kB/s"),
            (1_200, "1,200 B/s"),
            (4_294_967_295, "4,294,967,295 B/s"),
        ] {
            assert_eq!(chosen_rate(bytes), text);
        }
    }

    #[test]
    fn times_read_well() {
        assert_eq!(elapsed(0), "0s");
        assert_eq!(elapsed(3 * 3600 + 62), "3h 1m");
        assert_eq!(playing_time(65), "1:05");
        assert_eq!(playing_time(3_723), "1:02:03");
        assert_eq!(millis(999), "999 ms");
        assert_eq!(millis(1_250), "1.2 s");
        assert_eq!(millis(61_000), "1m 1s");
        assert_eq!(round_trip(730), "730 µs");
        assert_eq!(round_trip(2_340), "2.3 ms");
        assert_eq!(round_trip(45_000), "45 ms");
    }

    #[test]
    fn a_credential_that_ran_out_says_so() {
        assert_eq!(until(100, 40), "in 1m");
        assert_eq!(until(40, 40), "expired");
        assert_eq!(until(0, 40), "expired");
    }

    #[test]
    fn tags_are_joined_as_far_as_they_are_there() {
        let mut song = MediaTags::default();
        assert_eq!(tags(&song), "");
        song.title = Some(BoundedString::truncated("Low Tide"));
        song.duration_secs = Some(62);
        assert_eq!(tags(&song), "Low Tide, 1:02");
        song.artist = Some(BoundedString::truncated("The Reeds"));
        assert_eq!(tags(&song), "The Reeds – Low Tide, 1:02");
    }
}
