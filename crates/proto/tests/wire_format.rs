//! The bytes on the wire stay what they are: a released message never changes.
//!
//! A message that was changed on purpose before it was released gets a new line here; the failing
//! test prints it.

use skein_proto::codec;
use skein_proto::message::MessageKind;
use skein_proto::testing::largest_message;

/// The BLAKE3 hash of the largest frame of each kind, its first 16 hexadecimal digits.
const FRAMES: &[(&str, usize, &str)] = &[
    ("Hello", 396, "e0e971fda03ac620"),
    ("Probe", 8, "22188673f84dd003"),
    ("ProbeReply", 34, "5a628b0d88e37ae1"),
    ("Attach", 9, "9712bb8bce8c67cf"),
    ("AttachReply", 3947, "9de8b25ea6948b17"),
    ("Detach", 41, "bc0484dfbd767cd0"),
    ("Publish", 15894, "574715f6c5393e8f"),
    ("PublishAck", 35, "c68b301644160a88"),
    ("Search", 443, "1c901690cfb16b93"),
    ("Flood", 6608, "819edaddfe18ab4b"),
    ("Hits", 65237, "85f3e93fce5a512c"),
    ("SearchDone", 65194, "9363ecce3c8bc567"),
    ("CancelSearch", 24, "1d399e6ac9472c26"),
    ("Link", 33, "c1c50a1442b76cd7"),
    ("LinkReply", 3971, "6b46e213879d29af"),
    ("Supernodes", 7881, "07ec4df62d911b3f"),
    ("LoadUpdate", 33, "b9f3101633546c1b"),
    ("Gossip", 21465, "32b64499da46d413"),
    ("GossipOffer", 9228, "2b88d2debc85ee4c"),
    ("GossipWant", 2316, "ab05470d0c7d0d3e"),
    ("GossipDigest", 1292, "f607bac529dbef77"),
    ("GossipInventory", 18703, "816da8f98efd5241"),
    ("TableUpdate", 32788, "0bfbebc5f6d682c8"),
    ("WishUpdate", 798, "aed67b07edf25898"),
    ("WishHit", 1462, "740bd3e46370ddd6"),
    ("SpendReport", 695, "72cea3239ed0b5fa"),
    ("BudgetWanted", 105, "e79d32a994ed2872"),
    ("BudgetLeft", 108, "e47fe26c4e5b9fc9"),
    ("Announce", 7728, "972e105a259a0e9f"),
    ("Put", 65507, "9d5260035513d6ff"),
    ("Find", 122, "c977efda03819ebd"),
    ("Found", 33581, "489b7f60fe8556ba"),
    ("ArcWanted", 42, "8b984b34fb9b8979"),
    ("ArcSent", 48, "a9e4d8c76e5808da"),
    ("Candidacy", 14, "bb348a47bbc399e6"),
    ("Invite", 12, "c6d53ba2303632c4"),
    ("InviteReply", 10, "12b1389e0a9da3b5"),
    ("DialBackRequest", 90, "aa8edffb28d41639"),
    ("DialBackReply", 18, "8dfb037d83827c4a"),
    ("Standing", 20, "6033b71f17d70296"),
    ("Redirect", 131, "be85af3f327d93a2"),
    ("Vouched", 220, "231d99ddf91552df"),
    ("ShowEvidence", 21013, "2fc205f6fe94f908"),
    ("Accuse", 653, "faf2e240fd65ca5f"),
    ("AskSlot", 17, "5e0db27fbf9873a2"),
    ("SlotReply", 184, "b658fe50bdc13fcc"),
    ("SessionOffer", 2635, "9533f03967463381"),
    ("SessionAnswer", 1387, "bfc23f6a8c490688"),
    ("SessionRefused", 25, "76b32a8d5d530b9c"),
    ("SessionHello", 246, "29bf31af777b3d36"),
    ("SessionNews", 515, "a62af1270db353b6"),
    ("SessionPing", 17, "ea7cda42c3e9c1f5"),
    ("SessionPong", 51, "651b2b0f70e5af4a"),
    ("ReleaseSlot", 17, "e13ff75fa37dd3d4"),
    ("LoginRequest", 431, "d468e6955790bced"),
    ("LoginReply", 24704, "566c51820d36ec92"),
    ("OpenService", 47, "2f4bbd6dae7fce06"),
    ("ServiceReply", 15, "b6af518902c70364"),
    ("ChatMessage", 4132, "88e6b720e08b3c22"),
    ("ChatReply", 26, "d8f2fb285a2fe548"),
    ("OfferFile", 826, "82d5c4ad3a652615"),
    ("OfferNews", 34, "73ad0194fbaae7c1"),
    ("WithdrawOffer", 24, "26a906366db0bbec"),
    ("FetchRequest", 1414, "b511a86674d238b4"),
    ("FetchReply", 1171, "3abd69d38ee7ea22"),
    ("GiveReceipt", 435, "872239ccc468274a"),
];

#[test]
fn frames_have_the_bytes_that_they_always_had() {
    let mut found = Vec::new();
    for kind in MessageKind::ALL {
        let frame = codec::encode(&largest_message(*kind)).expect("within its limit");
        let hash = blake3::hash(&frame).to_hex();
        found.push((kind.name(), frame.len(), hash[..16].to_owned()));
    }
    let known: Vec<_> =
        FRAMES.iter().map(|(name, length, hash)| (*name, *length, (*hash).to_owned())).collect();
    assert!(known == found, "the frames are now: {found:#?}");
}

#[test]
fn integers_texts_and_choices_are_encoded_as_documented() {
    use skein_proto::{BoundedString, BoundedVec, Kind};
    use std::net::SocketAddr;

    assert_eq!(codec::encode_statement(&250_u64), [250]);
    assert_eq!(codec::encode_statement(&251_u64), [251, 251, 0]);
    assert_eq!(codec::encode_statement(&65_536_u64), [252, 0, 0, 1, 0]);
    assert_eq!(codec::encode_statement(&(1_u64 << 32)), [253, 0, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(codec::encode_statement(&true), [1]);
    assert_eq!(codec::encode_statement(&Kind::Video), [2]);
    assert_eq!(codec::encode_statement(&Some(7_u16)), [1, 7]);
    let text = BoundedString::<8>::truncated("né");
    assert_eq!(codec::encode_statement(&text), [3, b'n', 0xc3, 0xa9]);
    let list: BoundedVec<u16, 4> = BoundedVec::truncated([1, 2]);
    assert_eq!(codec::encode_statement(&list), [2, 1, 2]);
    let v4 = SocketAddr::from(([127, 0, 0, 1], 4701));
    assert_eq!(codec::encode_statement(&v4), [0, 127, 0, 0, 1, 251, 0x5d, 0x12]);
    let v6 = SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 80));
    assert_eq!(codec::encode_statement(&v6).len(), 18);
    assert_eq!(codec::encode_statement(&v6)[..3], [1, 0x20, 0x01]);
}
