//! Accounts before a login service that says what the test wants.

#![allow(clippy::unwrap_used)]

use super::*;
use skein_net::Stream;
use skein_proto::key::Signed;
use skein_proto::login::{LoginReply, LoginRequest, Password};
use skein_proto::{Credential, KeyPair, Message, UnixTime};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

/// Signs a credential for whoever asks, or refuses if it is told to.
struct Service {
    key: KeyPair,
    endpoint: Endpoint,
    refusal: Mutex<Option<LoginRefusal>>,
    lifetime_secs: Mutex<u64>,
}

impl Service {
    fn start(seed: u8) -> Arc<Self> {
        let key = KeyPair::from_seed(&[seed; 32]);
        let address = (Ipv4Addr::LOCALHOST, 0).into();
        let endpoint = Endpoint::bind(&key, address, EndpointConfig::default()).unwrap();
        let service = Arc::new(Self {
            key,
            endpoint,
            refusal: Mutex::default(),
            lifetime_secs: Mutex::new(100),
        });
        let serving = service.clone();
        tokio::spawn(async move {
            while let Some(connection) = serving.endpoint.accept().await {
                let serving = serving.clone();
                tokio::spawn(async move {
                    while let Ok(stream) = connection.accept_stream().await {
                        serving.answer(connection.peer(), stream).await;
                    }
                });
            }
        });
        service
    }

    async fn answer(&self, node: NodeId, mut stream: Stream) {
        let Ok(Some(Message::LoginRequest(request))) = stream.receiver.recv().await else { return };
        let refusal = *self.refusal.lock().unwrap();
        let reply = match (refusal, request) {
            (Some(refusal), _) => LoginReply::Refused(refusal),
            (None, LoginRequest::Register { name, .. } | LoginRequest::Login { name, .. }) => {
                LoginReply::Credential(self.sign(name, node))
            }
            (None, _) => LoginReply::Credential(self.sign(Username::parse("alice").unwrap(), node)),
        };
        let _ = stream.sender.send(&Message::LoginReply(reply)).await;
        let _ = stream.sender.finish().await;
    }

    fn sign(&self, name: Username, node: NodeId) -> SignedCredential {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let expires = UnixTime(now + *self.lifetime_secs.lock().unwrap());
        Signed::new(
            Credential { name, node, issued: UnixTime(now), expires, registered: UnixTime(0) },
            &self.key,
        )
    }

    fn ticket(&self) -> Ticket {
        let address = self.endpoint.local_addr().unwrap().to_string();
        Ticket::new(self.key.node_id(), [address]).unwrap()
    }
}

struct Node {
    accounts: Accounts,
    metrics: LoginMetrics,
    home: Home,
    _temp: tempfile::TempDir,
}

fn node() -> Node {
    let temp = tempfile::tempdir().unwrap();
    let home = Home::open(temp.path()).unwrap();
    let key = home.node_key().unwrap();
    let address = (Ipv4Addr::LOCALHOST, 0).into();
    let endpoint = Endpoint::bind(&key, address, EndpointConfig::dial_only()).unwrap();
    let metrics = LoginMetrics::default();
    let accounts = Accounts::new(home.clone(), endpoint, metrics.clone());
    Node { accounts, metrics, home, _temp: temp }
}

fn register(name: &str, ticket: Option<&Ticket>) -> RegisterAccount {
    RegisterAccount {
        name: name.into(),
        password: Password::new("correct horse").unwrap(),
        invite: None,
        ticket: ticket.map(ToString::to_string),
        replace_network: false,
    }
}

fn login(name: &str, ticket: Option<&Ticket>) -> LoginAccount {
    let RegisterAccount { name, password, ticket, .. } = register(name, ticket);
    LoginAccount { name, password, ticket, replace_network: false }
}

#[tokio::test]
async fn registering_keeps_ticket_and_credential() {
    let (service, node) = (Service::start(1), node());
    let joined = node.accounts.register(register("Alice", Some(&service.ticket()))).await.unwrap();
    assert_eq!(joined.change, TicketChange::First);
    assert_eq!(joined.identity.name, Some(Username::parse("alice").unwrap()));
    assert_eq!(joined.identity, node.accounts.identity().unwrap());
    assert_eq!(node.home.ticket().unwrap(), Some(service.ticket()));
    assert_eq!(node.home.credential().unwrap(), Some(joined.credential));
}

#[tokio::test]
async fn the_ticket_is_needed_only_once() {
    let (service, node) = (Service::start(1), node());
    let error = node.accounts.login(login("alice", None)).await.unwrap_err();
    assert!(matches!(error, AccountError::NoTicket));
    assert!(error.to_string().contains("--ticket"), "{error}");
    node.accounts.login(login("alice", Some(&service.ticket()))).await.unwrap();
    let joined = node.accounts.login(login("alice", None)).await.unwrap();
    assert_eq!(joined.change, TicketChange::Same);
}

#[tokio::test]
async fn another_network_is_refused_unless_the_user_wants_to_leave_the_old_one() {
    let (old, new, node) = (Service::start(1), Service::start(2), node());
    let first = node.accounts.register(register("alice", Some(&old.ticket()))).await.unwrap();
    for refused in [
        node.accounts.register(register("bob", Some(&new.ticket()))).await.unwrap_err(),
        node.accounts.login(login("bob", Some(&new.ticket()))).await.unwrap_err(),
    ] {
        let text = refused.to_string();
        assert!(text.contains("@alice") && text.contains("--data-dir"), "{text}");
        assert_eq!(ApiError::from(refused).code, ErrorCode::Conflict);
    }
    assert_eq!(node.home.ticket().unwrap(), Some(old.ticket()));
    assert_eq!(node.home.credential().unwrap(), Some(first.credential));
}

#[tokio::test]
async fn another_network_replaces_the_old_one_only_when_it_says_yes() {
    let (old, new, node) = (Service::start(1), Service::start(2), node());
    let first = node.accounts.register(register("alice", Some(&old.ticket()))).await.unwrap();
    let move_on =
        || RegisterAccount { replace_network: true, ..register("alice", Some(&new.ticket())) };

    *new.refusal.lock().unwrap() = Some(LoginRefusal::NameTaken);
    let refused = node.accounts.register(move_on()).await;
    assert!(matches!(refused, Err(AccountError::Login(LoginError::Refused(_)))));
    assert_eq!(node.home.ticket().unwrap(), Some(old.ticket()));
    assert_eq!(node.home.credential().unwrap(), Some(first.credential));

    *new.refusal.lock().unwrap() = None;
    let joined = node.accounts.register(move_on()).await.unwrap();
    assert_eq!(joined.change, TicketChange::OtherNetwork { credential_dropped: true });
    assert_eq!(node.home.ticket().unwrap(), Some(new.ticket()));
    assert_eq!(node.home.credential().unwrap(), Some(joined.credential));
}

#[tokio::test]
async fn a_credential_of_another_key_is_not_shown_as_ours() {
    let (service, node) = (Service::start(1), node());
    let joined = node.accounts.register(register("alice", Some(&service.ticket()))).await.unwrap();
    assert_eq!(node.accounts.lost_name().unwrap(), None);
    std::fs::remove_file(node.home.key_file()).unwrap();
    let now = node.home.node_key().unwrap().node_id();
    assert_ne!(now, joined.identity.node);
    let identity = identity(&node.home, now).unwrap();
    assert_eq!((identity.name, identity.credential_expires), (None, None));
    let lost = lost_name(&node.home, now).unwrap();
    assert_eq!(lost, Some(Username::parse("alice").unwrap()));
}

#[tokio::test]
async fn a_renewal_replaces_the_credential_and_a_failed_one_leaves_it() {
    let (service, node) = (Service::start(1), node());
    let ticket = service.ticket();
    let first = node.accounts.register(register("alice", Some(&ticket))).await.unwrap();
    *service.lifetime_secs.lock().unwrap() = 500;
    let renewed = node.accounts.renew().await.unwrap();
    assert!(renewed.unverified().expires > first.credential.unverified().expires);
    assert_eq!(node.home.credential().unwrap(), Some(renewed.clone()));
    assert_eq!(node.metrics.renewals.get(), 1);

    *service.refusal.lock().unwrap() = Some(LoginRefusal::RateLimited { retry_secs: 9 });
    let error = node.accounts.renew().await.unwrap_err();
    assert!(error.is_temporary());
    assert_eq!(error.retry_secs(), Some(9));
    assert_eq!(node.home.credential().unwrap(), Some(renewed));
    assert_eq!(node.metrics.renewals.get(), 1);
    let limited = Reason { reason: "rate-limited" };
    assert_eq!(node.metrics.failures.get_or_create(&limited).get(), 1);
}

#[tokio::test]
async fn what_the_user_typed_wrong_is_said_without_asking_anybody() {
    let node = node();
    let unknown = Ticket::new(NodeId::from_bytes([9; 32]), ["127.0.0.1:9".into()]).unwrap();
    let bad_name = node.accounts.register(register("a b", Some(&unknown))).await.unwrap_err();
    assert!(matches!(bad_name, AccountError::BadName(_)));
    let wrong = LoginAccount { ticket: Some("skein1x".into()), ..login("alice", None) };
    let bad_ticket = node.accounts.login(wrong).await.unwrap_err();
    assert!(matches!(bad_ticket, AccountError::BadTicket(_)));
    for error in [bad_name, bad_ticket] {
        assert!(!error.is_temporary());
        assert_eq!(ApiError::from(error).code, ErrorCode::BadRequest);
    }
}

#[tokio::test]
async fn a_command_uses_the_folder_only_while_no_daemon_does() {
    let (service, temp) = (Service::start(1), tempfile::tempdir().unwrap());
    let home = Home::at(temp.path().join("new"));
    let session = Session::open(&home).unwrap();
    assert!(matches!(Session::open(&home), Err(AccountError::Home(HomeError::Locked { .. }))));
    let joined = session.register(register("alice", Some(&service.ticket()))).await.unwrap();
    session.close().await;
    assert_eq!(home.credential().unwrap(), Some(joined.credential));
    assert_eq!(home.node_key().unwrap().node_id(), joined.identity.node);
    assert_eq!(home.occupant().unwrap(), None);
}

#[test]
fn a_refusal_and_an_outage_are_told_apart() {
    let code = |error: LoginError| ApiError::from(AccountError::from(error)).code;
    assert_eq!(code(LoginRefusal::WrongPassword.into()), ErrorCode::Refused);
    let down = LoginError::Unreachable { addresses: "host:1".into(), why: "silence".into() };
    assert_eq!(code(down), ErrorCode::Unavailable);
}
