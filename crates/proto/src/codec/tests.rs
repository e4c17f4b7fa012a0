//! What the codec promises of every message.

use super::*;
use crate::testing::{any_message, any_message_of, largest_message};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

fn any_kind() -> impl Strategy<Value = MessageKind> {
    select(MessageKind::ALL)
}

/// A frame with a right header for whatever number and body.
fn frame(number: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("a short body");
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend(number.to_be_bytes());
    frame.extend([VERSION, 0]);
    frame.extend(body);
    frame
}

/// A message's frame with more bytes behind its body.
fn extended(message: &Message, extension: &[u8]) -> Vec<u8> {
    let plain = encode(message).expect("within its limit");
    let body = [&plain[HEADER_BYTES..], extension].concat();
    frame(message.kind() as u16, &body)
}

fn block(tag: u16, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("a short block");
    [&tag.to_be_bytes(), &length.to_be_bytes(), content].concat()
}

fn is_malformed(result: &Result<Option<(Decoded, usize)>, CodecError>) -> bool {
    matches!(result, Err(CodecError::Malformed { .. }))
}

proptest! {
    #[test]
    fn every_message_reads_back_as_it_was_written(message in any_message()) {
        let frame = encode(&message).expect("within its limit");
        let (decoded, used) = decode(&frame).expect("a sound frame").expect("a whole frame");
        prop_assert_eq!(decoded, Decoded::Message(Box::new(message)));
        prop_assert_eq!(used, frame.len());
    }

    #[test]
    fn the_length_of_a_frame_is_known_without_making_it(message in any_message()) {
        let frame = encode(&message).expect("within its limit");
        prop_assert_eq!(frame_len(&message), Ok(frame.len()));
    }

    #[test]
    fn messages_behind_one_another_are_told_apart(messages in vec(any_message(), 1..4)) {
        let mut bytes: Vec<u8> =
            messages.iter().flat_map(|m| encode(m).expect("within its limit")).collect();
        for message in messages {
            let (decoded, used) = decode(&bytes).expect("sound").expect("whole");
            prop_assert_eq!(decoded, Decoded::Message(Box::new(message)));
            bytes.drain(..used);
        }
        prop_assert!(bytes.is_empty());
    }

    #[test]
    fn a_frame_that_is_not_all_there_is_waited_for(message in any_message()) {
        let frame = encode(&message).expect("within its limit");
        for length in 0..frame.len() {
            prop_assert_eq!(decode(&frame[..length]), Ok(None), "cut to {}", length);
        }
    }

    #[test]
    fn a_body_that_is_cut_short_is_malformed(message in any_message()) {
        let whole = encode(&message).expect("within its limit");
        let body = &whole[HEADER_BYTES..];
        for length in 0..body.len() {
            let cut = frame(message.kind() as u16, &body[..length]);
            prop_assert!(is_malformed(&decode(&cut)), "cut to {}", length);
        }
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in vec(any::<u8>(), 0..512)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn no_body_makes_the_decoder_panic(
        kind in any_kind(),
        body in vec(any::<u8>(), 0..512),
    ) {
        let _ = decode(&frame(kind as u16, &body));
    }

    /// Changed bytes may still be a message; then it is one that can be sent on.
    #[test]
    fn a_damaged_message_is_refused_or_sound(
        message in any_message(),
        damage in vec((any::<Index>(), any::<u8>()), 1..4),
    ) {
        let mut frame = encode(&message).expect("within its limit");
        for (at, byte) in damage {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        if let Ok(Some((Decoded::Message(read), _))) = decode(&frame) {
            let again = encode(&read).expect("no larger than what was read");
            let (reread, _) = decode(&again).expect("sound").expect("whole");
            prop_assert_eq!(reread, Decoded::Message(read));
        }
    }

    #[test]
    fn a_body_over_its_limit_is_refused_by_its_header(
        kind in any_kind(),
        excess in 1..=u32::MAX - 65_536,
    ) {
        let limit = kind.limit();
        let length = u32::try_from(limit).expect("small") + excess;
        let mut header = [0; HEADER_BYTES];
        header[..4].copy_from_slice(&length.to_be_bytes());
        header[4..6].copy_from_slice(&(kind as u16).to_be_bytes());
        header[6] = VERSION;
        let bytes = usize::try_from(length).expect("32 bits");
        let refused = CodecError::TooLarge { kind: kind.name(), bytes, limit };
        prop_assert_eq!(decode(&header), Err(refused));
    }

    #[test]
    fn an_unknown_message_is_skipped_whole(
        number in prop_oneof![Just(FIRST_CRITICAL_KIND - 1), 0..FIRST_CRITICAL_KIND],
        body in vec(any::<u8>(), 0..64),
        next in any_message(),
    ) {
        prop_assume!(MessageKind::from_number(number).is_none());
        let mut bytes = frame(number, &body);
        bytes.extend(encode(&next).expect("within its limit"));
        let (decoded, used) = decode(&bytes).expect("sound").expect("whole");
        prop_assert_eq!(decoded, Decoded::Unknown(number));
        let (decoded, _) = decode(&bytes[used..]).expect("sound").expect("whole");
        prop_assert_eq!(decoded, Decoded::Message(Box::new(next)));
    }

    #[test]
    fn an_unknown_message_that_may_not_be_skipped_is_refused(
        number in prop_oneof![Just(FIRST_CRITICAL_KIND), FIRST_CRITICAL_KIND..],
        body in vec(any::<u8>(), 0..64),
    ) {
        let refused = CodecError::UnknownCritical(number);
        prop_assert_eq!(decode(&frame(number, &body)), Err(refused));
    }

    #[test]
    fn another_version_of_the_framing_is_refused(kind in any_kind(), version in any::<u8>()) {
        prop_assume!(version != VERSION);
        let mut frame = frame(kind as u16, &[]);
        frame[6] = version;
        prop_assert_eq!(decode(&frame), Err(CodecError::Version(version)));
    }

    #[test]
    fn extension_blocks_are_skipped(
        message in select(vec![MessageKind::Detach, MessageKind::Search, MessageKind::Hits])
            .prop_flat_map(any_message_of),
        blocks in vec((any::<u16>(), vec(any::<u8>(), 0..10)), 0..=MAX_EXTENSIONS),
    ) {
        let blocks: Vec<u8> =
            blocks.iter().flat_map(|(tag, content)| block(*tag, content)).collect();
        let frame = extended(&message, &blocks);
        let (decoded, used) = decode(&frame).expect("sound").expect("whole");
        prop_assert_eq!(decoded, Decoded::Message(Box::new(message)));
        prop_assert_eq!(used, frame.len());
    }

    #[test]
    fn an_extension_block_that_is_cut_off_is_malformed(
        message in any_message_of(MessageKind::Detach),
        content in vec(any::<u8>(), 0..32),
    ) {
        let block = block(1, &content);
        for length in 1..block.len() {
            let cut = extended(&message, &block[..length]);
            prop_assert!(is_malformed(&decode(&cut)), "cut to {}", length);
        }
    }
}

#[test]
fn too_many_extension_blocks_are_malformed() {
    let message = largest_message(MessageKind::Detach);
    let blocks = |count| block(7, &[]).repeat(count);
    assert!(decode(&extended(&message, &blocks(MAX_EXTENSIONS))).is_ok());
    assert!(is_malformed(&decode(&extended(&message, &blocks(MAX_EXTENSIONS + 1)))));
}

#[test]
fn the_largest_message_of_each_kind_fits_its_limit() {
    for kind in MessageKind::ALL {
        let message = largest_message(*kind);
        let frame = encode(&message).expect("within its limit");
        let decoded = decode(&frame).expect("sound").map(|(decoded, _)| decoded);
        assert_eq!(decoded, Some(Decoded::Message(Box::new(message))), "{}", kind.name());
    }
}

#[test]
fn a_sender_is_told_when_a_message_is_over_its_limit() {
    let Message::Publish(mut publish) = largest_message(MessageKind::Publish) else {
        panic!("asked for a Publish")
    };
    let add = publish.add.into_vec();
    publish.add = crate::BoundedVec::truncated([add.clone(), add].concat());
    let message = publish.into();
    let refused = encode(&message).map(|frame| frame.len());
    assert!(matches!(refused, Err(CodecError::TooLarge { .. })));
    assert_eq!(frame_len(&message), refused, "and knows it without making the frame");
}

#[test]
fn the_numbers_of_messages_are_distinct_and_lead_back() {
    for kind in MessageKind::ALL {
        assert_eq!(MessageKind::from_number(*kind as u16), Some(*kind));
    }
    assert!(MessageKind::ALL.windows(2).all(|pair| pair[0] < pair[1]), "in ascending order");
}

#[test]
fn a_list_that_claims_more_than_it_may_hold_is_refused_before_it_is_read() {
    // A Supernodes body that claims 2^32 - 1 entries and holds none.
    let body = [252, 0xff, 0xff, 0xff, 0xff];
    let Err(CodecError::Malformed { why, .. }) =
        decode(&frame(MessageKind::Supernodes as u16, &body))
    else {
        panic!("it should be malformed")
    };
    assert!(why.contains("over the limit of 64"), "{why}");
}

#[test]
fn a_statement_with_bytes_left_over_is_refused() {
    let mut bytes = encode_statement(&7_u32);
    assert_eq!(decode_statement::<u32>(&bytes), Ok(7));
    bytes.push(0);
    assert!(decode_statement::<u32>(&bytes).is_err());
}
