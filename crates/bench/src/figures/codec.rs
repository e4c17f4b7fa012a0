//! What our wire format costs beside plain bincode: framing, bounds on everything, text that is
//! checked for characters that would fool a screen.

use crate::corpus::Corpus;
use crate::figure::{Figure, Outcome, Run};
use crate::statistics::median;
use crate::usage::Stopwatch;
use anyhow::{Context as _, Result, ensure};
use futures_util::FutureExt as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use skein_proto::{
    BoundedVec, Credential, Decoded, HitGroup, KeyPair, Message, Owner, QueryId, Signed, UnixTime,
    Username, codec, message, pack,
};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// The most CPU that our codec may take, of plain bincode's: what is checked must cost less than a
/// fifth of what has to be done anyway.
const BAR: f64 = 1.2;

/// The figure.
pub const FIGURE: Figure = Figure {
    name: "codec",
    what: "encoding and decoding Publish and Hits, against plain bincode of unbounded structs with \
           the same values",
    bar: "<= 1.2 x the CPU of plain bincode",
    measure: |run| measure(run).boxed(),
};

/// Records of the publication: some dozen full messages.
const RECORDS: u64 = 10_000;

/// Records of the hits, in groups of [`GROUP`] of one owner.
const HITS: u64 = 5_000;

/// Files that one owner has among the hits.
const GROUP: usize = 4;

/// Rounds of each, by turns.
const ROUNDS: usize = 15;

async fn measure(run: &Run) -> Result<Outcome> {
    let messages: Vec<Message> = publications()
        .into_iter()
        .map(Message::from)
        .chain(hits()?.into_iter().map(Message::from))
        .collect();
    let plain: Vec<Plain> = messages.iter().map(Plain::of).collect::<Result<_>>()?;
    // What is compared is one round through encoder and decoder, with the same bytes in between.
    let bytes: usize =
        plain.iter().map(|value| value.encode().map(|it| it.len())).sum::<Result<_>>()?;
    let ours: usize =
        messages.iter().map(|it| codec::encode(it).map(|it| it.len())).sum::<Result<_, _>>()?;
    ensure!(ours == bytes + messages.len() * codec::HEADER_BYTES, "the same values differ");
    let repeats = run.size(20, 4);
    run.say(format_args!(
        "{} messages of {:.1} KiB on average, {repeats} times in each of {ROUNDS} rounds, by turns",
        messages.len(),
        bytes as f64 / messages.len() as f64 / 1024.0
    ));
    let (mut our_rounds, mut plain_rounds) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        our_rounds.push(time(repeats, &messages, round_trip)?);
        plain_rounds.push(time(repeats, &plain, Plain::round_trip)?);
    }
    let ratio = median(our_rounds.iter().zip(&plain_rounds).map(|(ours, plain)| ours / plain));
    let each = |rounds: Vec<f64>| median(rounds) / (repeats * messages.len()) as f64;
    let (ours, plain) = (each(our_rounds), each(plain_rounds));
    run.say(format_args!("plain bincode: {:.0} messages a second", 1.0 / plain));
    let rate = 1.0 / ours;
    let megabytes = bytes as f64 / messages.len() as f64 * rate / 1e6;
    Ok(Outcome {
        figure: format!(
            "{rate:.0} messages a CPU second ({megabytes:.0} MB) there and back, {ratio:.2} x the \
             CPU of plain bincode"
        ),
        holds: ratio <= BAR,
        values: vec![
            ("messages_per_cpu_second", rate),
            ("plain_messages_per_cpu_second", 1.0 / plain),
            ("ratio", ratio),
        ],
    })
}

fn time<T>(repeats: usize, values: &[T], work: impl Fn(&T) -> Result<()>) -> Result<f64> {
    let watch = Stopwatch::start();
    for _ in 0..repeats {
        values.iter().try_for_each(&work)?;
    }
    Ok(watch.spent().cpu)
}

fn round_trip(message: &Message) -> Result<()> {
    let frame = codec::encode(message)?;
    let (decoded, _) = codec::decode(&frame)?.context("a frame is cut off")?;
    ensure!(matches!(decoded, Decoded::Message(_)), "a message is not known");
    std::hint::black_box(decoded);
    Ok(())
}

fn publications() -> Vec<message::Publish> {
    let mut add: VecDeque<_> = Corpus::new(1).records(RECORDS).collect();
    let mut messages = Vec::new();
    while !add.is_empty() {
        let sequence = messages.len() as u64 + 1;
        messages.push(pack::take_publish(&mut VecDeque::new(), &mut add, sequence, sequence == 1));
    }
    messages
}

fn hits() -> Result<Vec<message::Hits>> {
    let login = KeyPair::from_seed(&[1; 32]);
    let files: Vec<_> = Corpus::new(2).records(HITS).collect();
    let groups = files
        .chunks(GROUP)
        .enumerate()
        .map(|(number, files)| {
            let mut seed = [0; 32];
            seed[..8].copy_from_slice(&(number as u64).to_be_bytes());
            let node = KeyPair::from_seed(&seed).node_id();
            let credential = Credential {
                name: Username::parse(&format!("owner{number}"))?,
                node,
                issued: UnixTime(1_800_000_000),
                expires: UnixTime(1_800_086_400),
                registered: UnixTime(1_700_000_000),
            };
            let owner = Owner {
                node,
                credential: Signed::new(credential, &login),
                addresses: BoundedVec::truncated([SocketAddr::from(([192, 0, 2, 1], 4_701))]),
                parent: login.node_id(),
            };
            Ok(HitGroup { owner, files: BoundedVec::truncated(files.iter().cloned()) })
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(pack::hits(QueryId::from_bytes([7; 16]), groups))
}

/// The same values in structs that bound nothing.
enum Plain {
    Publish(PlainPublish),
    Hits(PlainHits),
}

impl Plain {
    /// Reads what our encoder wrote: that both have the same layout makes them the same values.
    fn of(message: &Message) -> Result<Self> {
        let frame = codec::encode(message)?;
        let body = frame.get(codec::HEADER_BYTES..).unwrap_or_default();
        match message {
            Message::Publish(_) => Ok(Self::Publish(decode(body)?)),
            Message::Hits(_) => Ok(Self::Hits(decode(body)?)),
            _ => anyhow::bail!("only publications and hits are measured"),
        }
    }

    fn encode(&self) -> Result<Vec<u8>> {
        Ok(match self {
            Self::Publish(value) => encode(value)?,
            Self::Hits(value) => encode(value)?,
        })
    }

    fn round_trip(&self) -> Result<()> {
        match self {
            Self::Publish(value) => {
                drop(std::hint::black_box(decode::<PlainPublish>(&encode(value)?)?))
            }
            Self::Hits(value) => drop(std::hint::black_box(decode::<PlainHits>(&encode(value)?)?)),
        }
        Ok(())
    }
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    Ok(bincode::serde::encode_to_vec(value, bincode::config::standard())?)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let (value, used) = bincode::serde::decode_from_slice(bytes, bincode::config::standard())?;
    ensure!(used == bytes.len(), "bytes left over");
    Ok(value)
}

#[derive(Serialize, Deserialize)]
struct PlainPublish {
    sequence: u64,
    reset: bool,
    remove: Vec<[u8; 32]>,
    add: Vec<PlainFile>,
}

#[derive(Serialize, Deserialize)]
struct PlainFile {
    content: [u8; 32],
    size: u64,
    kind: u8,
    path: String,
    tags: Option<Box<PlainTags>>,
}

#[derive(Serialize, Deserialize)]
struct PlainTags {
    artist: Option<String>,
    title: Option<String>,
    album: Option<String>,
    bitrate_kbps: Option<u32>,
    duration_secs: Option<u32>,
}

#[derive(Serialize, Deserialize)]
struct PlainHits {
    id: [u8; 16],
    groups: Vec<PlainGroup>,
}

#[derive(Serialize, Deserialize)]
struct PlainGroup {
    owner: PlainOwner,
    files: Vec<PlainFile>,
}

#[derive(Serialize, Deserialize)]
struct PlainOwner {
    node: [u8; 32],
    name: String,
    owned: [u8; 32],
    issued: u64,
    expires: u64,
    registered: u64,
    signature: [[u8; 32]; 2],
    addresses: Vec<SocketAddr>,
    parent: [u8; 32],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_has_the_layout_of_our_messages() -> Result<()> {
        let publication = publications().into_iter().next().map(Message::from);
        let hits = hits()?.into_iter().next().map(Message::from);
        for message in [publication, hits] {
            let message = message.context("no message")?;
            let plain = Plain::of(&message)?;
            let ours = codec::encode(&message)?;
            assert_eq!(ours.get(codec::HEADER_BYTES..), Some(plain.encode()?.as_slice()));
            plain.round_trip()?;
            round_trip(&message)?;
        }
        Ok(())
    }
}
