//! What the folder remembers of the network: its ticket, this node's credential, supernodes.

use super::{Home, HomeError, files};
use skein_proto::evidence::EvidenceRecord;
use skein_proto::{SignedCredential, SupernodeEntry, Ticket, TicketError, codec};

/// The most supernodes that the cache keeps: as many as a login service lists.
pub const MAX_SUPERNODES_CACHED: usize = 200;

/// What a ticket has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TicketChange {
    /// There was none before.
    First,
    /// It is the one that was there.
    Same,
    /// The same network, whose login service has other addresses now.
    Moved,
    /// Another network. The cached supernodes of the old one are forgotten.
    OtherNetwork {
        /// Whether there was a credential: it is dropped, since it is worthless in the new
        /// network, and the node has to register or log in there.
        credential_dropped: bool,
    },
}

impl Home {
    /// The network's ticket, if one is set.
    ///
    /// # Errors
    /// [`HomeError::DamagedTicket`], [`HomeError::Io`].
    pub fn ticket(&self) -> Result<Option<Ticket>, HomeError> {
        let path = self.ticket_file();
        let Some(bytes) = files::read_small(&path)? else { return Ok(None) };
        std::str::from_utf8(&bytes)
            .map_err(|_| TicketError::Damaged)
            .and_then(str::parse)
            .map(Some)
            .map_err(|source| HomeError::DamagedTicket { path, source })
    }

    /// Keeps a ticket. The login key is what a network is. A ticket of another network is taken
    /// only while this node has no name in its own: only a password would bring that back.
    ///
    /// A stored ticket that is damaged is replaced, and its network is taken for another one,
    /// unless the credential shows that it is the same.
    ///
    /// # Errors
    /// [`HomeError::OtherNetwork`], see [`Home::replace_ticket`]; then all is as it was.
    /// [`HomeError::Io`].
    pub fn set_ticket(&self, ticket: &Ticket) -> Result<TicketChange, HomeError> {
        self.check_network(ticket)?;
        self.replace_ticket(ticket)
    }

    /// Says whether a ticket may be kept without losing a name.
    ///
    /// # Errors
    /// [`HomeError::OtherNetwork`] if the ticket is another network's than the one in which this
    /// node has a name; [`HomeError::Io`].
    pub fn check_network(&self, ticket: &Ticket) -> Result<(), HomeError> {
        match self.ticket() {
            Ok(Some(stored)) if stored.login_key != ticket.login_key => {}
            Ok(_) => return Ok(()),
            Err(HomeError::DamagedTicket { .. }) => {}
            Err(error) => return Err(error),
        }
        let credential = match self.credential() {
            Ok(Some(credential)) => credential,
            // A damaged credential is no name that could be lost.
            Ok(None) | Err(HomeError::DamagedCredential { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        if credential.verify(&ticket.login_key).is_ok() {
            return Ok(());
        }
        let name = credential.unverified().name.clone();
        Err(HomeError::OtherNetwork { dir: self.dir().to_owned(), name })
    }

    /// As [`Home::set_ticket`], but the caller wants to leave the network, with all that is kept
    /// for it.
    ///
    /// # Errors
    /// [`HomeError::Io`].
    pub fn replace_ticket(&self, ticket: &Ticket) -> Result<TicketChange, HomeError> {
        let change = match self.ticket() {
            Ok(None) => TicketChange::First,
            Ok(Some(old)) if old == *ticket => return Ok(TicketChange::Same),
            Ok(Some(old)) if old.login_key == ticket.login_key => TicketChange::Moved,
            Err(HomeError::DamagedTicket { .. }) if self.is_credential_of(ticket) => {
                TicketChange::Moved
            }
            Ok(Some(_)) | Err(HomeError::DamagedTicket { .. }) => {
                // Dropped first: after a crash between the two steps the old network can renew
                // the credential, but no credential stands beside a foreign ticket.
                let credential_dropped = self.credential_file().exists();
                files::remove(&self.credential_file())?;
                files::remove(&self.supernodes_file())?;
                files::remove(&self.evidence_file())?;
                TicketChange::OtherNetwork { credential_dropped }
            }
            Err(error) => return Err(error),
        };
        files::write_atomic(&self.ticket_file(), format!("{ticket}\n").as_bytes())?;
        Ok(change)
    }

    /// Whether the network of the ticket has signed the credential.
    fn is_credential_of(&self, ticket: &Ticket) -> bool {
        let credential = self.credential().ok().flatten();
        credential.is_some_and(|credential| credential.verify(&ticket.login_key).is_ok())
    }

    /// The credential, if there is one. It may have expired: who uses it checks it.
    ///
    /// # Errors
    /// [`HomeError::DamagedCredential`], [`HomeError::Io`].
    pub fn credential(&self) -> Result<Option<SignedCredential>, HomeError> {
        let path = self.credential_file();
        let Some(bytes) = files::read_small(&path)? else { return Ok(None) };
        codec::decode_statement(&bytes).map(Some).map_err(|_| HomeError::DamagedCredential { path })
    }

    /// Keeps a credential.
    ///
    /// # Errors
    /// [`HomeError::Io`].
    pub fn set_credential(&self, credential: &SignedCredential) -> Result<(), HomeError> {
        files::write_atomic(&self.credential_file(), &codec::encode_statement(credential))
    }

    /// What others have signed about this name, and proofs of misconduct; none if nothing is
    /// there. What cannot be read counts as nothing: it will be signed again.
    ///
    /// # Errors
    /// [`HomeError::Io`].
    pub fn evidence(&self) -> Result<EvidenceRecord, HomeError> {
        let path = self.evidence_file();
        let Some(bytes) = files::read_small(&path)? else { return Ok(EvidenceRecord::default()) };
        Ok(codec::decode_statement(&bytes).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "the evidence is damaged; it starts empty");
            EvidenceRecord::default()
        }))
    }

    /// Keeps evidence: some 60 KiB about this name, and up to 300 KiB of proofs.
    ///
    /// # Errors
    /// [`HomeError::Io`].
    pub fn set_evidence(&self, evidence: &EvidenceRecord) -> Result<(), HomeError> {
        files::write_atomic(&self.evidence_file(), &codec::encode_statement(evidence))
    }

    /// The supernodes known when the node last ran; none if the cache is not there. A cache that
    /// cannot be read counts as empty: the login service knows others.
    ///
    /// # Errors
    /// [`HomeError::Io`].
    pub fn supernodes(&self) -> Result<Vec<SupernodeEntry>, HomeError> {
        let path = self.supernodes_file();
        let Some(bytes) = files::read_small(&path)? else { return Ok(Vec::new()) };
        let mut entries: Vec<SupernodeEntry> = serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "the supernode cache is damaged; it starts empty");
            Vec::new()
        });
        entries.truncate(MAX_SUPERNODES_CACHED);
        Ok(entries)
    }

    /// Keeps the first [`MAX_SUPERNODES_CACHED`] of these supernodes, the best ones first.
    ///
    /// # Errors
    /// [`HomeError::Io`].
    pub fn set_supernodes(&self, entries: &[SupernodeEntry]) -> Result<(), HomeError> {
        let path = self.supernodes_file();
        let kept = &entries[..entries.len().min(MAX_SUPERNODES_CACHED)];
        let json = serde_json::to_vec(kept)
            .map_err(|error| HomeError::io("write", &path, error.into()))?;
        files::write_atomic(&path, &json)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use skein_proto::key::Signed;
    use skein_proto::{BoundedVec, Credential, KeyPair, NodeId, UnixTime, Username};
    use std::fs;

    fn ticket(login: u8, address: &str) -> Ticket {
        Ticket::new(NodeId::from_bytes([login; 32]), [address.to_owned()]).unwrap()
    }

    fn credential() -> SignedCredential {
        let credential = Credential {
            name: Username::parse("alice").unwrap(),
            node: NodeId::from_bytes([2; 32]),
            issued: UnixTime(1),
            expires: UnixTime(2),
            registered: UnixTime(0),
        };
        Signed::new(credential, &KeyPair::from_seed(&[1; 32]))
    }

    fn supernode(port: u16) -> SupernodeEntry {
        SupernodeEntry {
            node: NodeId::from_bytes([3; 32]),
            addresses: BoundedVec::truncated([([192, 0, 2, 1], port).into()]),
            load_percent: 40,
            seen: UnixTime(7),
        }
    }

    fn home() -> (tempfile::TempDir, Home) {
        let temp = tempfile::tempdir().unwrap();
        let home = Home::open(temp.path()).unwrap();
        (temp, home)
    }

    #[test]
    fn what_is_kept_reads_back() {
        let (_temp, home) = home();
        assert_eq!(home.ticket().unwrap(), None);
        assert_eq!(home.credential().unwrap(), None);
        assert_eq!(home.supernodes().unwrap(), []);
        assert_eq!(home.set_ticket(&ticket(1, "host:1")).unwrap(), TicketChange::First);
        home.set_credential(&credential()).unwrap();
        home.set_supernodes(&[supernode(1)]).unwrap();
        assert_eq!(home.ticket().unwrap(), Some(ticket(1, "host:1")));
        assert_eq!(home.credential().unwrap(), Some(credential()));
        assert_eq!(home.supernodes().unwrap(), [supernode(1)]);
    }

    #[test]
    fn a_credential_outlives_a_move_of_its_login_service() {
        let (_temp, home) = home();
        home.set_ticket(&ticket(1, "host:1")).unwrap();
        home.set_credential(&credential()).unwrap();
        assert_eq!(home.set_ticket(&ticket(1, "host:1")).unwrap(), TicketChange::Same);
        assert_eq!(home.set_ticket(&ticket(1, "host:2")).unwrap(), TicketChange::Moved);
        assert_eq!(home.ticket().unwrap(), Some(ticket(1, "host:2")));
        assert!(home.credential().unwrap().is_some());
    }

    #[test]
    fn a_name_is_not_lost_to_another_network_by_accident() {
        let (_temp, home) = home();
        home.set_ticket(&ticket(1, "host:1")).unwrap();
        assert!(home.set_ticket(&ticket(2, "host:1")).is_ok(), "there is no name to lose");
        home.set_credential(&credential()).unwrap();
        let refused = home.set_ticket(&ticket(3, "host:1")).unwrap_err();
        assert!(matches!(refused, HomeError::OtherNetwork { .. }), "{refused}");
        let text = refused.to_string();
        assert!(text.contains("@alice") && text.contains("--data-dir"), "{text}");
        assert_eq!(home.ticket().unwrap(), Some(ticket(2, "host:1")));
        assert_eq!(home.credential().unwrap(), Some(credential()));
    }

    #[test]
    fn a_damaged_ticket_costs_no_name_of_the_same_network() {
        let (_temp, home) = home();
        let own = Ticket::new(KeyPair::from_seed(&[1; 32]).node_id(), ["host:1".to_owned()]);
        let own = own.unwrap();
        home.set_credential(&credential()).unwrap();
        fs::write(home.ticket_file(), "skein1garbage").unwrap();
        assert!(matches!(
            home.set_ticket(&ticket(2, "host:1")),
            Err(HomeError::OtherNetwork { .. })
        ));
        assert_eq!(home.set_ticket(&own).unwrap(), TicketChange::Moved);
        assert_eq!(home.credential().unwrap(), Some(credential()));
    }

    #[test]
    fn another_network_drops_what_belongs_to_the_old_one() {
        let (_temp, home) = home();
        home.set_ticket(&ticket(1, "host:1")).unwrap();
        home.set_credential(&credential()).unwrap();
        home.set_supernodes(&[supernode(1)]).unwrap();
        let change = home.replace_ticket(&ticket(2, "host:1")).unwrap();
        assert_eq!(change, TicketChange::OtherNetwork { credential_dropped: true });
        assert_eq!(home.credential().unwrap(), None);
        assert_eq!(home.supernodes().unwrap(), []);
        let change = home.replace_ticket(&ticket(3, "host:1")).unwrap();
        assert_eq!(change, TicketChange::OtherNetwork { credential_dropped: false });
    }

    #[test]
    fn damaged_files_are_named_or_survived() {
        let (_temp, home) = home();
        fs::write(home.ticket_file(), "skein1garbage").unwrap();
        fs::write(home.credential_file(), "garbage").unwrap();
        fs::write(home.supernodes_file(), "garbage").unwrap();
        assert!(matches!(home.ticket(), Err(HomeError::DamagedTicket { .. })));
        assert!(matches!(home.credential(), Err(HomeError::DamagedCredential { .. })));
        assert_eq!(home.supernodes().unwrap(), []);
        home.set_ticket(&ticket(1, "host:1")).unwrap();
        assert_eq!(home.ticket().unwrap(), Some(ticket(1, "host:1")));
        assert_eq!(home.credential().unwrap(), None);
    }

    #[test]
    fn the_supernode_cache_keeps_the_first_two_hundred() {
        let (_temp, home) = home();
        let many: Vec<_> = (1..=300).map(supernode).collect();
        home.set_supernodes(&many).unwrap();
        assert_eq!(home.supernodes().unwrap(), many[..MAX_SUPERNODES_CACHED]);
    }
}
