//! How values are written on the command line: sizes, times, rates, extensions.

use bytesize::ByteSize;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use skein_node::config::{RELAY_RATE, RELAY_SLOTS, RELAY_SLOTS_PER_NAME, TcpPorts};
use skein_proto::{BoundedString, ContentId};
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::{Bound, RangeBounds};
use std::str::FromStr;
use std::time::Duration;

/// Reads a size: `700`, `64k`, `10MB` (10,000,000 bytes), `1.5GiB`.
pub fn size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let starts_with_digit = text.starts_with(|c: char| c.is_ascii_digit());
    match text.parse::<ByteSize>() {
        Ok(size) if starts_with_digit => Ok(size.as_u64()),
        _ => Err("a size is a number with a unit, such as 700, 64KB, 10MB or 1.5GiB".to_owned()),
    }
}

/// Reads a playing time in seconds: `90`, `3:05`, `1:02:03`, `90s`, `3m 5s`.
pub fn seconds(text: &str) -> Result<u32, String> {
    let text = text.trim();
    let wrong =
        || "a time is written as 90, 3:05, 1:02:03 or 3m5s, and is under 100 years".to_owned();
    if let Ok(secs) = text.parse::<u32>() {
        return Ok(secs);
    }
    let secs = if text.contains(':') {
        clock(text).ok_or_else(wrong)?
    } else {
        humantime::parse_duration(text).map(|time: Duration| time.as_secs()).map_err(|_| wrong())?
    };
    u32::try_from(secs).map_err(|_| wrong())
}

/// `minutes:seconds` or `hours:minutes:seconds`; all but the first part are under 60.
fn clock(text: &str) -> Option<u64> {
    let parts: Vec<u64> = text.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let (first, rest) = parts.split_first()?;
    let is_right = matches!(rest.len(), 1 | 2) && rest.iter().all(|part| *part < 60);
    let fold = |sum: u64, part: &u64| sum.checked_mul(60)?.checked_add(*part);
    if is_right { rest.iter().try_fold(*first, fold) } else { None }
}

/// Reads a bitrate in kbit/s: `192`, `192k`, `192kbps`.
pub fn bitrate(text: &str) -> Result<u32, String> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches("bit/s").trim_end_matches("bps").trim_end_matches('k');
    digits.trim_end().parse().map_err(|_| "a bitrate is a number of kbit/s, such as 192".to_owned())
}

/// Reads one word, as a search has it.
pub fn word(text: &str) -> Result<String, String> {
    let word = text.trim();
    if !word.chars().any(char::is_alphanumeric) {
        return Err("give one word of letters or digits".to_owned());
    }
    match word.split_whitespace().nth(1) {
        Some(_) => Err("give one word; another with another --without".to_owned()),
        None => Ok(word.to_owned()),
    }
}

/// Reads an extension, with or without its dot: `flac`, `.flac`.
pub fn extension(text: &str) -> Result<BoundedString<16>, String> {
    let bare = text.trim().trim_start_matches("*.").trim_start_matches('.');
    let is_one = !bare.is_empty() && !bare.contains(['/', '\\', '.', ' ']);
    let wrong = || "an extension has 1 to 16 letters or digits, such as flac".to_owned();
    if is_one { BoundedString::new(bare).map_err(|_| wrong()) } else { Err(wrong()) }
}

/// Reads a whole number of `range`; what is wrong is answered with the range and an example.
pub fn whole<T>(
    range: impl RangeBounds<T> + Clone + Send + Sync + 'static,
    example: T,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: FromStr + Display + PartialOrd + Clone + Send + Sync + 'static,
{
    move |text| {
        let number = text.trim().parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| match (range.start_bound(), range.end_bound()) {
            (Bound::Included(least), Bound::Included(most)) => {
                format!("give a whole number from {least} to {most}, such as {example}")
            }
            (Bound::Included(least), _) => {
                format!("give a whole number of at least {least}, such as {example}")
            }
            _ => format!("give a whole number, such as {example}"),
        })
    }
}

/// Reads how many sessions a relay carries: what the settings allow.
pub fn relay_slots() -> impl TypedValueParser<Value = u32> {
    whole(RELAY_SLOTS, 100)
}

/// Reads how many of them one name may have.
pub fn relay_slots_per_name() -> impl TypedValueParser<Value = u32> {
    whole(RELAY_SLOTS_PER_NAME, 8)
}

/// Reads bytes a second of a relay: `500000`, `500KB`, `2MB`.
pub fn relay_rate(text: &str) -> Result<u32, String> {
    let rate = size(text)?;
    let fits = u32::try_from(rate).ok().filter(|rate| RELAY_RATE.contains(rate));
    fits.ok_or_else(|| {
        "bytes a second are from 1 to 4294967295; --slots 0 ends relaying".to_owned()
    })
}

/// Reads the id of a download.
pub fn download_id(text: &str) -> Result<u64, String> {
    let wrong = |_| "the id is the number in the first column of `skein downloads`".to_owned();
    text.trim().parse().map_err(wrong)
}

/// Reads the id of an offer of somebody else.
pub fn offer_id(text: &str) -> Result<u64, String> {
    let wrong = |_| "the id is the number in the first column of `skein inbox`".to_owned();
    text.trim().parse().map_err(wrong)
}

/// Reads the id of an offer of one's own.
pub fn sent_id(text: &str) -> Result<u64, String> {
    let wrong = |_| "the id is the number in the first column of `skein inbox --sent`".to_owned();
    text.trim().parse().map_err(wrong)
}

/// Reads the number of a wish.
pub fn wish_number(text: &str) -> Result<u64, String> {
    let wrong = |_| "the number is the one in the first column of `skein wish list`".to_owned();
    text.trim().parse().map_err(wrong)
}

/// Reads an address to listen on: an IP address with a port.
pub fn listen_address(text: &str) -> Result<SocketAddr, String> {
    text.trim().parse().map_err(|_| {
        "an address to listen on is an IP address with a port, such as 0.0.0.0:4701, [::]:4701 or \
         127.0.0.1:0 (any free port)"
            .to_owned()
    })
}

/// Reads a length of time: `90s`, `10m`, `1h 30m`, `7days`.
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text.trim())
        .map_err(|_| "a time is a number with a unit, such as 90s, 10m, 1h or 7days".to_owned())
}

/// What `skein get` is asked to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A number of the last search.
    Number(u32),
    /// A content, wherever it is.
    Content(ContentId),
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let bare = text.strip_prefix('#').unwrap_or(text);
        if let Ok(content) = bare.parse::<ContentId>() {
            return Ok(Self::Content(content));
        }
        match bare.parse::<u32>() {
            Ok(number) if number > 0 => Ok(Self::Number(number)),
            _ => Err("give the number of a hit of the last `skein search`, or a content id (64 \
                      hexadecimal digits)"
                .to_owned()),
        }
    }
}

/// Where TCP is taken.
pub fn tcp_ports() -> impl TypedValueParser<Value = TcpPorts> {
    PossibleValuesParser::new(["auto", "same-port", "off"]).try_map(|word| word.parse::<TcpPorts>())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn wrong_values_are_answered_with_right_ones() {
        assert_eq!(download_id("3"), Ok(3));
        assert!(download_id("x").unwrap_err().contains("skein downloads"));
        assert!(listen_address("127.0.0.1:0").is_ok());
        assert!(listen_address("4701").unwrap_err().contains("0.0.0.0:4701"));
        assert_eq!(duration("1h 30m"), Ok(Duration::from_secs(5_400)));
        assert!(duration("foo").unwrap_err().contains("7days"));
    }

    #[test]
    fn a_number_that_is_none_is_answered_with_its_range_and_an_example() {
        let (pings, hits) = (whole(1_u32.., 5), whole(1..=1_000_u16, 50));
        assert_eq!((pings("3"), hits(" 1000 ")), (Ok(3), Ok(1_000)));
        for wrong in ["x", "0", "-1", "", "1.5", "99999999999"] {
            assert!(pings(wrong).unwrap_err().contains("at least 1, such as 5"), "{wrong:?}");
            assert!(hits(wrong).unwrap_err().contains("from 1 to 1000, such as 50"), "{wrong:?}");
        }
        assert_eq!(whole(.., 7_u32)("x").unwrap_err(), "give a whole number, such as 7");
        assert!(sent_id("x").unwrap_err().contains("--sent"));
        assert!(!offer_id("x").unwrap_err().contains("--sent"));
        assert!(wish_number("x").unwrap_err().contains("skein wish list"));
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(size("700"), Ok(700));
        assert_eq!(size("10MB"), Ok(10_000_000));
        assert_eq!(size("10 mb"), Ok(10_000_000));
        assert_eq!(size("64k"), Ok(64_000));
        assert_eq!(size("1.5GiB"), Ok(1_610_612_736));
        for wrong in ["", "MB", "-5", "10 apples", "1..5MB", "."] {
            assert!(size(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        assert_eq!(seconds("90"), Ok(90));
        assert_eq!(seconds("3:05"), Ok(185));
        assert_eq!(seconds("1:02:03"), Ok(3_723));
        assert_eq!(seconds("3m 5s"), Ok(185));
        assert_eq!(seconds("2h"), Ok(7_200));
        for wrong in
            ["", ":", "1:60", "1:2:3:4", "soon", "-4", "9999999999", "99999999999999999999:1"]
        {
            assert!(seconds(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn bitrates_may_have_their_unit() {
        for text in ["192", "192k", "192kbps", "192 kbit/s"] {
            assert_eq!(bitrate(text), Ok(192), "{text:?}");
        }
        assert!(bitrate("fast").is_err());
    }

    #[test]
    fn extensions_may_have_their_dot() {
        for text in ["flac", ".flac", "*.flac"] {
            assert_eq!(extension(text).unwrap().as_str(), "flac");
        }
        for wrong in ["", ".", "a/b", "tar.gz", "averyveryverylongone"] {
            assert!(extension(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_wanted_thing_is_a_number_or_a_content() {
        assert_eq!("7".parse(), Ok(Wanted::Number(7)));
        assert_eq!("#7".parse(), Ok(Wanted::Number(7)));
        let content = ContentId::from_bytes([7; 32]);
        assert_eq!(content.to_string().parse(), Ok(Wanted::Content(content)));
        for wrong in ["", "0", "-1", "seven", "abcdef"] {
            assert!(wrong.parse::<Wanted>().is_err(), "{wrong:?}");
        }
    }
}
