//! What is fuzzed, as plain functions: cargo-fuzz calls them with whatever it invents, and the
//! test `fuzz_regressions` with the inputs that are kept in `regressions/`.
//!
//! Each one shows more than that nothing panics: what was accepted must survive being written
//! and read again.

use bytes::BytesMut;
use skein_index::text::{ParsedQuery, fold, record_words, words};
use skein_index::{Index, Limits};
use skein_net::paths::frame::{LENGTH, LONGEST, ProbeFrame, ProbeKey, Side, Window};
use skein_net::relay::frame::{Frame, data_slot, run_length};
use skein_net::session::{FirstPacket, MAX_FIRST, MIN_FIRST};
use skein_net::tunnel::probe::UdpProbe;
use skein_net::tunnel::wire;
use skein_proto::codec::{decode, decode_statement, encode, encode_statement};
use skein_proto::evidence::{Evidence, Receipt, Voucher};
use skein_proto::{
    Ask, BoundedString, ContentId, Decoded, FileMeta, FilePath, Filter, Kind, NodeId, Query,
    SignedCredential, Ticket, UnixTime, Username,
};

/// Frames, one behind the other, as they come out of a stream.
pub fn frame(mut data: &[u8]) {
    while let Ok(Some((decoded, used))) = decode(data) {
        if let Decoded::Message(message) = decoded {
            let again = encode(&message).expect("what was read is within its limit");
            let reread = decode(&again).expect("what was written is sound");
            assert_eq!(reread, Some((Decoded::Message(message), again.len())));
        }
        data = &data[used..];
    }
}

/// Signed statements: a credential, a receipt, a voucher.
pub fn statement(data: &[u8]) {
    let login = NodeId::from_bytes([1; 32]);
    if let Ok(credential) = decode_statement::<SignedCredential>(data) {
        let bearer = credential.unverified().node;
        assert!(credential.check(&login, &bearer, UnixTime(0)).is_err(), "nobody signed it");
        let again = encode_statement(&credential);
        assert_eq!(decode_statement(&again), Ok(credential));
    }
    if let Ok(evidence) = decode_statement::<Evidence<Receipt>>(data) {
        assert!(evidence.verify(&login).is_err(), "nobody signed it");
    }
    if let Ok(evidence) = decode_statement::<Evidence<Voucher>>(data) {
        assert!(evidence.verify(&login).is_err(), "nobody signed it");
    }
}

/// Network tickets, as somebody pastes them.
pub fn ticket(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(ticket) = text.parse::<Ticket>() {
        assert_eq!(ticket.to_string().parse(), Ok(ticket));
    }
}

/// User names, as somebody types them.
pub fn username(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(name) = Username::parse(text) {
        assert_eq!(Username::parse(name.as_str()), Ok(name.clone()), "normal forms are fixed");
        assert!(!name.skeleton().is_empty());
        let wire = encode_statement(&name);
        assert_eq!(decode_statement(&wire), Ok(name));
    }
}

/// Paths of shared files, ids and kinds.
pub fn file_path(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(path) = FilePath::new(text) {
        let whole = std::path::Path::new(path.as_str());
        let plain = |part| matches!(part, std::path::Component::Normal(_));
        assert!(whole.components().all(plain), "it could leave its folder: {path:?}");
        assert!(!path.file_name().is_empty());
        let _ = Kind::from_extension(path.extension().unwrap_or_default());
        let wire = encode_statement(&path);
        assert_eq!(decode_statement(&wire), Ok(path));
    }
    let _ = (text.parse::<NodeId>(), text.parse::<ContentId>(), text.parse::<Kind>());
}

/// Text that becomes words, in records and in queries. The first byte says where a path ends and
/// a query begins: its last eight values stand for the lengths of the longest paths.
pub fn text(data: &[u8]) {
    let Some((split, rest)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let once = fold(text);
    assert_eq!(fold(&once), once, "folding is done after one time");
    for word in words(text) {
        assert!(!word.is_empty());
    }

    let split = match *split {
        near @ 248.. => FilePath::MAX_BYTES - usize::from(u8::MAX - near),
        bytes => usize::from(bytes),
    };
    let split = text.floor_char_boundary(split.min(text.len()));
    let (path, asked) = text.split_at(split);
    let Ok(path) = FilePath::new(path) else { return };
    let file = FileMeta {
        content: ContentId::from_bytes([0; 32]),
        size: 0,
        kind: Kind::Other,
        path,
        tags: None,
    };
    let owner = Username::parse("owner").expect("a name");
    let query = |text: &str| {
        let ask = Ask::Words(BoundedString::truncated(text));
        ParsedQuery::parse(&Query { ask, filter: Filter::default() })
    };
    if let Ok(query) = query(asked) {
        // An index that holds the file, and others beside it, finds of them just those that match, and
        // gives each back whole; also when what came apart has been merged.
        let (mut same, mut other) = (file.clone(), file.clone());
        same.content = ContentId::from_bytes([1; 32]);
        other.content = ContentId::from_bytes([2; 32]);
        if let Ok(path) = FilePath::new(asked) {
            other.path = path;
        }
        let files = [&file, &same, &other];
        let mut index = Index::new(Limits::default());
        let node = NodeId::from_bytes([1; 32]);
        index.set_owner(node, &owner);
        for file in files {
            index.publish(&node, [file.clone()]);
        }
        let mut expected = files.map(|file| query.matches(file, &owner).then_some(file));
        expected.sort_by_key(|file| file.map(|file| file.content));
        for is_merged in [false, true] {
            while is_merged && !index.maintain(1) {}
            let found = index.find(&query, files.len());
            let mut found = [0, 1, 2].map(|at| found.get(at).map(|found| &found.file));
            found.sort_by_key(|file| file.map(|file| file.content));
            assert_eq!(found, expected, "{query:?}");
        }
        index.remove_owner(&node);
        assert_eq!((index.words(), index.entries()), (0, 0));
    }
    // Whoever types a word of a file as the file has it finds the file.
    for word in record_words(&file) {
        let query = query(&word.text).expect("one word is not too many");
        assert!(query.matches(&file, &owner), "{:?} does not find {file:?}", word.text);
    }
}

/// What comes out of a tunnel: datagrams behind their lengths, and among them probes of UDP.
pub fn tunnel(data: &[u8]) {
    let mut come = BytesMut::from(data);
    while let Ok(Some(datagram)) = wire::read(&mut come) {
        let mut again = Vec::new();
        assert!(wire::write(&datagram, &mut again), "what was read can be written");
        assert_eq!(again[wire::PREFIX..], datagram[..]);
        if let Some(probe) = UdpProbe::decode(&datagram) {
            assert_eq!(UdpProbe::decode(&probe.encode()), Some(probe));
        }
    }
}

/// Frames between a relay and the ends of its slots.
pub fn relay(data: &[u8]) {
    if let Some(frame) = Frame::decode(data) {
        assert_eq!(frame.encode(), data, "a frame has one form");
    }
    for stride in [1, 9, data.len()] {
        if let Some(slot) = data_slot(data) {
            assert!(run_length(data, stride, slot) <= data.len());
        }
    }
}

/// The first packet of a handshake, which comes with an offer and is given to QUIC as if it had come
/// along a path.
pub fn first_packet(data: &[u8]) {
    if let Ok(first) = FirstPacket::new(data.to_vec()) {
        assert_eq!(first.as_bytes(), data, "as it came");
        assert!((MIN_FIRST..=MAX_FIRST).contains(&data.len()));
        assert_eq!(data[..5], [data[0], 0, 0, 0, 1], "the version that is spoken");
        assert_eq!(data[0] >> 4, 0b1100, "a long header, and the type of a first packet");
        // Nothing may stand behind it, and nothing may be missing: QUIC would take what stands
        // there for another packet.
        let longer = [data, &[0]].concat();
        assert!(FirstPacket::new(longer).is_err() && FirstPacket::new(data[1..].to_vec()).is_err());
    }
}

/// Probes and replies, as they come from anybody, and as they come from who has the key.
pub fn probe(data: &[u8]) {
    let key = ProbeKey::from_bytes([7; 32]);
    for side in [Side::Caller, Side::Callee] {
        let mut frames = vec![data.to_vec()];
        if let Some(proven) = data.get(..LENGTH - 16) {
            frames.push([proven, &key.proof(side, proven)].concat());
        }
        for mut bytes in frames {
            let Some(frame) = ProbeFrame::open(&bytes, &key, side) else { continue };
            assert_eq!(ProbeFrame::number(&bytes), Some(frame.number));
            assert_eq!(ProbeFrame::open(&bytes, &key, side.other()), None, "sent back");
            assert_eq!(ProbeFrame::open(&frame.seal(&key, side), &key, side), Some(frame));
            bytes.resize(LONGEST, 0xff);
            assert_eq!(ProbeFrame::open(&bytes, &key, side), Some(frame), "padded");
            bytes.push(0);
            assert_eq!(ProbeFrame::open(&bytes, &key, side), None, "longer");
        }
    }
    let mut window = Window::default();
    for transaction in data.chunks_exact(8).filter_map(|bytes| bytes.try_into().ok()) {
        let transaction = u64::from_be_bytes(transaction);
        window.admit(transaction);
        assert!(!window.admit(transaction), "a transaction passes once");
    }
}
