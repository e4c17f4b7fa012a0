//! Which network a node is in, and that it does not leave it by accident.

use crate::failure::Failure;
use skein_node::home::{Home, HomeError};
use skein_proto::Ticket;

/// Refuses the ticket of another network while this node has a name in one: to take it would drop
/// the credential, and only a password brings that back.
///
/// # Errors
/// It is another network's: `way_on` says how to join it on purpose. Or the data folder cannot be
/// read.
pub fn same_network(home: &Home, ticket: &Ticket, way_on: &str) -> Result<(), Failure> {
    match home.check_network(ticket) {
        Err(error @ HomeError::OtherNetwork { .. }) => {
            Err(Failure::input(format!("{error}, or {way_on}")))
        }
        checked => Ok(checked?),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use skein_proto::key::Signed;
    use skein_proto::{Credential, KeyPair, NodeId, UnixTime, Username};

    fn ticket(login: &KeyPair, address: &str) -> Ticket {
        Ticket::new(login.node_id(), [address.to_owned()]).unwrap()
    }

    #[test]
    fn a_name_is_not_lost_to_the_ticket_of_another_network() {
        let temp = tempfile::tempdir().unwrap();
        let home = Home::open(temp.path()).unwrap();
        let (own, other) = (KeyPair::from_seed(&[1; 32]), KeyPair::from_seed(&[2; 32]));
        let guard = |ticket: &Ticket| same_network(&home, ticket, "say so");
        assert_eq!(guard(&ticket(&other, "host:1")), Ok(()), "a new node may go anywhere");
        home.set_ticket(&ticket(&own, "host:1")).unwrap();
        assert_eq!(guard(&ticket(&other, "host:1")), Ok(()), "there is no name to lose");
        let credential = Credential {
            name: Username::parse("alice").unwrap(),
            node: NodeId::from_bytes([7; 32]),
            issued: UnixTime(1),
            expires: UnixTime(2),
            registered: UnixTime(0),
        };
        home.set_credential(&Signed::new(credential, &own)).unwrap();
        assert_eq!(guard(&ticket(&own, "elsewhere:2")), Ok(()), "the network may move");
        let refused = guard(&ticket(&other, "host:1")).unwrap_err();
        assert_eq!(refused.exit_code(), 2);
        let text = refused.to_string();
        assert!(text.contains("@alice") && text.contains("--data-dir"), "{text}");
        assert!(text.ends_with("say so"), "{text}");
    }
}
