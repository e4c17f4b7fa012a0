//! The network ticket: one printable line that holds all that a newcomer needs.

use crate::bounded::{BoundedString, BoundedVec};
use crate::codec;
use crate::id::NodeId;
use bech32::{Bech32m, Hrp};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// The human-readable part; with bech32's separator every ticket begins with `skein1`.
const HRP: Hrp = Hrp::parse_unchecked("skein");

/// The version of the payload; a later one may hold more.
const VERSION: u8 = 1;

/// Where the login service is, and which key it has.
///
/// Its text form is bech32m (BIP 350): one word without punctuation, safe to read out, with a
/// checksum that finds any four wrong characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// The login service's public key, which is so pinned.
    pub login_key: NodeId,
    /// Where it answers: `host:port` or `address:port`, one to eight of them.
    pub addresses: BoundedVec<BoundedString<64>, 8>,
}

#[derive(Serialize, Deserialize)]
struct Payload {
    login_key: NodeId,
    addresses: BoundedVec<BoundedString<64>, 8>,
}

/// Why a text is no network ticket.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TicketError {
    /// It does not begin with `skein1`.
    #[error("a network ticket begins with \"skein1\"; ask whoever runs the network for theirs")]
    NotATicket,
    /// Its checksum does not fit: a character is wrong or missing.
    #[error("the network ticket is damaged: copy the whole line again")]
    Damaged,
    /// It was made by a later version.
    #[error("the network ticket is of version {0}, this program knows version 1: update it")]
    Version(u8),
    /// It names no address, or something that is none.
    #[error("the network ticket holds no usable address: {0:?}")]
    Address(String),
}

impl Ticket {
    /// Makes a ticket.
    ///
    /// # Errors
    /// [`TicketError::Address`] if an address is not of the form `host:port`, or none is given.
    pub fn new(
        login_key: NodeId,
        addresses: impl IntoIterator<Item = String>,
    ) -> Result<Self, TicketError> {
        let mut checked = Vec::new();
        for address in addresses {
            let bounded = BoundedString::new(address.clone());
            checked.push(bounded.map_err(|_| TicketError::Address(address))?);
        }
        let count = checked.len();
        let addresses = BoundedVec::new(checked)
            .map_err(|_| TicketError::Address(format!("{count} addresses, 8 are allowed")))?;
        Self { login_key, addresses }.check()
    }

    fn check(self) -> Result<Self, TicketError> {
        if self.addresses.is_empty() {
            return Err(TicketError::Address(String::new()));
        }
        for address in &self.addresses {
            let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
            let port = port.and_then(|(_, port)| port.parse::<u16>().ok());
            if port.is_none_or(|port| port == 0) {
                return Err(TicketError::Address(address.to_string()));
            }
        }
        Ok(self)
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let payload = Payload { login_key: self.login_key, addresses: self.addresses.clone() };
        let mut bytes = vec![VERSION];
        bytes.extend(codec::encode_statement(&payload));
        // Bech32m carries 1,023 characters, 634 bytes; a payload has at most 554.
        let text = bech32::encode::<Bech32m>(HRP, &bytes).map_err(|_| fmt::Error)?;
        f.write_str(&text)
    }
}

impl FromStr for Ticket {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, TicketError> {
        let text = text.trim();
        let is_ticket = text.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("skein1"));
        if !is_ticket {
            return Err(TicketError::NotATicket);
        }
        let checked = bech32::primitives::decode::CheckedHrpstring::new::<Bech32m>(text)
            .map_err(|_| TicketError::Damaged)?;
        let bytes: Vec<u8> = checked.byte_iter().collect();
        let (version, payload) = bytes.split_first().ok_or(TicketError::Damaged)?;
        if *version != VERSION {
            return Err(TicketError::Version(*version));
        }
        let payload: Payload =
            codec::decode_statement(payload).map_err(|_| TicketError::Damaged)?;
        Self { login_key: payload.login_key, addresses: payload.addresses }.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ticket() -> Ticket {
        let addresses = ["login.example.org:4700".to_owned(), "[2001:db8::1]:4700".to_owned()];
        Ticket::new(NodeId::from_bytes([9; 32]), addresses).expect("a ticket")
    }

    #[test]
    fn a_ticket_is_one_word_that_reads_back() {
        let text = ticket().to_string();
        assert!(text.starts_with("skein1"));
        assert!(text.chars().all(|c| c.is_ascii_alphanumeric()));
        assert_eq!(text.parse(), Ok(ticket()));
        assert_eq!(format!("  {}\n", text.to_uppercase()).parse(), Ok(ticket()));
    }

    #[test]
    fn the_largest_ticket_fits() {
        let address = format!("{}:65535", "h".repeat(58));
        let ticket = Ticket::new(NodeId::from_bytes([9; 32]), vec![address; 8]).expect("a ticket");
        assert_eq!(ticket.to_string().parse(), Ok(ticket));
    }

    #[test]
    fn a_wrong_character_is_noticed() {
        let text = ticket().to_string();
        for (at, c) in text.char_indices().skip(6) {
            let other = if c == 'q' { 'p' } else { 'q' };
            let mut damaged = text.clone();
            damaged.replace_range(at..=at, &other.to_string());
            assert_eq!(damaged.parse::<Ticket>(), Err(TicketError::Damaged), "at {at}");
        }
        assert_eq!(text[..text.len() - 1].parse::<Ticket>(), Err(TicketError::Damaged));
        assert_eq!("hello".parse::<Ticket>(), Err(TicketError::NotATicket));
    }

    #[test]
    fn an_address_needs_a_host_and_a_port() {
        for address in ["", "host", "host:", ":1", "host:0", "host:99999"] {
            let made = Ticket::new(NodeId::from_bytes([9; 32]), [address.to_owned()]);
            assert!(matches!(made, Err(TicketError::Address(_))), "{address:?}");
        }
        assert!(Ticket::new(NodeId::from_bytes([9; 32]), []).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "(skein1)?\\PC{0,200}") {
            let _ = text.parse::<Ticket>();
        }
    }
}
