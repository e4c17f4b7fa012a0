//! Client and server over QUIC on loopback.

use crate::fixture::{NOW, key, login_key, name, node, password};
use skein_login::server::{LoginConfig, Policy};
use skein_login::{LoginClient, LoginError, Server};
use skein_net::{CloseReason, Endpoint, EndpointConfig};
use skein_proto::credential::Credential;
use skein_proto::login::{LoginRefusal, LoginReply};
use skein_proto::supernode::Load;
use skein_proto::{
    BoundedVec, CredentialError, KeyPair, Message, NodeId, Signed, SupernodeList, Ticket, UnixTime,
};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

const LOOPBACK: &str = "127.0.0.1:0";

fn any_port() -> SocketAddr {
    LOOPBACK.parse().expect("an address")
}

async fn start(folder: &Path) -> Server {
    start_with(folder, |config| config).await
}

async fn start_with(folder: &Path, set: impl FnOnce(LoginConfig) -> LoginConfig) -> Server {
    let config = LoginConfig::new(folder).listen(any_port()).dial_back_timeout(PATIENCE);
    let config = set(config);
    // As whoever embeds it may do: from a task.
    tokio::spawn(Server::start(config)).await.expect("no panic").expect("the service starts")
}

/// How long a dial may take where it succeeds: as long as a busy machine may need.
const PATIENCE: Duration = Duration::from_secs(60);

fn endpoint(key: &KeyPair) -> Endpoint {
    endpoint_with(key, PATIENCE)
}

fn endpoint_with(key: &KeyPair, dial_timeout: Duration) -> Endpoint {
    let config = EndpointConfig::default().dial_timeout(dial_timeout);
    Endpoint::bind(key, any_port(), config).expect("an endpoint")
}

fn ticket(server: &Server) -> Ticket {
    server.ticket([server.local_addr().to_string()]).expect("a ticket")
}

fn client(number: u8, ticket: Ticket) -> LoginClient {
    LoginClient::new(endpoint(&key(number)), ticket)
}

fn load() -> Load {
    Load { capacity: 10, accepting: true, ..Load::default() }
}

#[tokio::test]
async fn a_user_registers_logs_in_elsewhere_renews_and_revokes() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = start(folder.path()).await;
    let (first, second) = (client(1, ticket(&server)), client(2, ticket(&server)));
    let secret = || password("correct horse");
    let credential = first.register(name("alice"), secret(), None).await.expect("registered");
    assert_eq!(credential.unverified().node, node(1));
    let wrong = second.login(name("alice"), password("wrong horse")).await;
    assert!(matches!(wrong, Err(LoginError::Refused(LoginRefusal::WrongPassword))), "{wrong:?}");
    second.login(name("alice"), secret()).await.expect("logged in");
    second.renew().await.expect("renewed");
    first.revoke(name("alice"), secret(), node(2)).await.expect("revoked");
    let revoked = second.renew().await;
    assert!(matches!(revoked, Err(LoginError::Refused(LoginRefusal::NodeRevoked))), "{revoked:?}");
    let stats = server.stats();
    assert_eq!((stats.registered, stats.logged_in, stats.renewed, stats.revoked), (1, 1, 1, 1));
    // One that is idle for long is closed; two nodes have made six requests.
    assert!(stats.connections_accepted < 6, "requests share a connection: {stats:?}");
    server.shutdown().await;
}

#[tokio::test]
async fn a_restarted_service_is_the_same_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = start(folder.path()).await;
    let key = server.node_id();
    client(1, ticket(&server))
        .register(name("alice"), password("correct horse"), None)
        .await
        .expect("registered");
    server.shutdown().await;
    let server = start(folder.path()).await;
    assert_eq!(server.node_id(), key);
    client(1, ticket(&server)).renew().await.expect("renewed");
    server.shutdown().await;
}

#[tokio::test]
async fn a_service_that_was_dropped_in_mid_flight_has_lost_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = start(folder.path()).await;
    client(1, ticket(&server))
        .register(name("alice"), password("correct horse"), None)
        .await
        .expect("registered");
    drop(server);
    let server = start(folder.path()).await;
    client(1, ticket(&server)).renew().await.expect("renewed");
}

#[tokio::test]
async fn an_invite_made_beside_the_running_service_lets_one_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = start_with(folder.path(), |config| config.policy(Policy::Invite)).await;
    let newcomer = client(1, ticket(&server));
    let without = newcomer.register(name("alice"), password("correct horse"), None).await;
    let needed = matches!(without, Err(LoginError::Refused(LoginRefusal::InviteNeeded)));
    assert!(needed, "{without:?}");
    let beside = LoginConfig::new(folder.path());
    let code = beside.create_invite(Duration::from_secs(3_600)).await.expect("made");
    newcomer
        .register(name("alice"), password("correct horse"), Some(code.as_str()))
        .await
        .expect("registered");
    assert_eq!(beside.login_key().expect("there"), server.node_id());
}

#[tokio::test]
async fn the_first_node_is_invited_and_listed_once_it_reports() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = start(folder.path()).await;
    let own = endpoint(&key(1));
    let first = LoginClient::new(own.clone(), ticket(&server));
    first.register(name("alice"), password("correct horse"), None).await.expect("registered");
    let address = own.local_addr().expect("bound");
    let listen = [SocketAddr::from(([0, 0, 0, 0], address.port()))];
    let begin = first.bootstrap(true, &listen).await.expect("a list");
    assert!(begin.invited && begin.list.entries.is_empty());
    assert_eq!(begin.observed, address);
    assert!(first.report(load(), &listen).await.expect("taken"));

    let second = client(2, ticket(&server)).bootstrap(true, &[]).await.expect("a list");
    assert!(!second.invited);
    let [entry] = &*second.list.entries else { panic!("one entry was expected") };
    assert_eq!((entry.node, &*entry.addresses), (node(1), &[address][..]));
    assert_eq!(server.stats().dial_backs, 1, "the second check used the result of the first");
}

#[tokio::test]
async fn a_supernode_where_another_one_answers_is_not_listed() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = start(folder.path()).await;
    let liar = client(1, ticket(&server));
    liar.register(name("mallory"), password("correct horse"), None).await.expect("registered");
    let other = endpoint(&key(2));
    let listen = [other.local_addr().expect("bound")];
    assert!(!liar.report(load(), &listen).await.expect("taken"));
    let list = liar.bootstrap(false, &[]).await.expect("a list").list;
    assert!(list.entries.is_empty());
    let stats = server.stats();
    assert_eq!((stats.dial_backs, stats.dial_backs_reached), (1, 0));
}

#[tokio::test]
async fn a_service_with_another_key_than_the_tickets_is_told_apart_from_one_that_is_down() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = start(folder.path()).await;
    let address = server.local_addr().to_string();
    let other_key = Ticket::new(node(77), [address]).expect("a ticket");
    let outcome = client(1, other_key).renew().await;
    assert!(matches!(outcome, Err(LoginError::WrongService { .. })), "{outcome:?}");
    let down = ticket(&server);
    server.shutdown().await;
    let hasty = endpoint_with(&key(1), Duration::from_millis(500));
    let outcome = LoginClient::new(hasty, down).renew().await;
    let error = outcome.expect_err("nobody is there");
    assert!(matches!(error, LoginError::Unreachable { .. }), "{error:?}");
    assert!(error.is_temporary());
}

#[tokio::test]
async fn the_second_address_of_a_ticket_is_tried_and_names_are_looked_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = start(folder.path()).await;
    let silent = endpoint(&key(5));
    let wrong = silent.local_addr().expect("bound").to_string();
    let named = format!("localhost:{}", server.local_addr().port());
    let ticket = server.ticket([wrong, named]).expect("a ticket");
    client(1, ticket).bootstrap(false, &[]).await.expect("a list");
}

#[tokio::test]
async fn what_is_no_request_ends_the_connection_and_is_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = start(folder.path()).await;
    let own = endpoint(&key(1));
    let connection =
        own.connect(server.node_id(), &[server.local_addr()]).await.expect("connected");
    let mut stream = connection.open_stream().await.expect("a stream");
    let probe = Message::Probe(skein_proto::message::Probe);
    stream.sender.send(&probe).await.expect("sent");
    let ended = connection.closed().await;
    assert_eq!(ended, skein_net::ConnectionError::ClosedByPeer(CloseReason::Misbehaved));
    assert_eq!(server.stats().bad_requests, 1);
}

/// A service whose key is in the ticket, and which answers every request with `reply`.
async fn lying_service(reply: LoginReply) -> Ticket {
    let own = endpoint(&login_key());
    let address = own.local_addr().expect("bound").to_string();
    tokio::spawn(async move {
        while let Some(connection) = own.accept().await {
            while let Ok(mut stream) = connection.accept_stream().await {
                let _ = stream.receiver.recv().await;
                let _ = stream.sender.send(&Message::LoginReply(reply.clone())).await;
                let _ = stream.sender.finish().await;
            }
        }
    });
    Ticket::new(login_key().node_id(), [address]).expect("a ticket")
}

fn credential(signer: &KeyPair, node: NodeId, expires: UnixTime) -> LoginReply {
    let credential =
        Credential { name: name("alice"), node, issued: NOW, expires, registered: NOW };
    LoginReply::Credential(Signed::new(credential, signer))
}

#[tokio::test]
async fn a_credential_that_is_worth_nothing_is_not_taken() {
    let later = UnixTime(NOW.0 + 60);
    for (reply, expected) in [
        (credential(&key(9), node(1), later), CredentialError::Forged),
        (credential(&login_key(), node(2), later), CredentialError::OtherNode),
        (credential(&login_key(), node(1), NOW), CredentialError::Expired),
    ] {
        let ticket = lying_service(reply).await;
        let client = LoginClient::with_clock(endpoint(&key(1)), ticket, || NOW);
        let outcome = client.renew().await;
        assert!(
            matches!(&outcome, Err(LoginError::BadCredential(error)) if *error == expected),
            "{outcome:?}"
        );
    }
    let ticket = lying_service(credential(&login_key(), node(1), later)).await;
    let client = LoginClient::with_clock(endpoint(&key(1)), ticket, || NOW);
    let other_name = client.login(name("bob"), password("correct horse")).await;
    assert!(matches!(other_name, Err(LoginError::BadReply(_))), "{other_name:?}");
    client.renew().await.expect("this one is good");
}

#[tokio::test]
async fn a_request_on_a_connection_that_has_died_is_made_again_on_a_new_one() {
    let own = endpoint(&login_key());
    let address = own.local_addr().expect("bound").to_string();
    let ticket = Ticket::new(login_key().node_id(), [address]).expect("a ticket");
    let reply = Message::LoginReply(credential(&login_key(), node(1), UnixTime(NOW.0 + 60)));
    let service = tokio::spawn(async move {
        let (mut connections, mut requests) = (0, 0);
        while let Some(connection) = own.accept().await {
            connections += 1;
            while let Ok(mut stream) = connection.accept_stream().await {
                requests += 1;
                if requests == 2 {
                    // As a service does that finds the connection idle for too long.
                    connection.close(CloseReason::Done);
                    break;
                }
                stream.sender.send(&reply).await.expect("sent");
                stream.sender.finish().await.expect("sent");
                if requests == 3 {
                    stream.sender.delivered().await.expect("received");
                    return (connections, requests);
                }
            }
        }
        (connections, requests)
    });
    let client = LoginClient::with_clock(endpoint(&key(1)), ticket, || NOW);
    client.renew().await.expect("the first");
    client.renew().await.expect("the second, by a new connection");
    assert_eq!(service.await.expect("no panic"), (2, 3));
}

#[tokio::test]
async fn a_shutdown_answers_what_is_under_way() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = start(folder.path()).await;
    let newcomer = client(1, ticket(&server));
    let registering = tokio::spawn(async move {
        newcomer.register(name("alice"), password("correct horse"), None).await
    });
    while server.stats().requests == 0 {
        tokio::task::yield_now().await;
    }
    server.shutdown().await;
    registering.await.expect("no panic").expect("registered");
}

#[tokio::test]
async fn a_list_that_somebody_else_signed_is_not_taken() {
    let list = SupernodeList { issued: NOW, entries: BoundedVec::default() };
    let list = Signed::new(list, &key(9));
    let reply = LoginReply::Bootstrap { list, invited: true, observed: any_port() };
    let outcome = client(1, lying_service(reply).await).bootstrap(true, &[]).await;
    assert!(matches!(outcome, Err(LoginError::BadReply(_))), "{outcome:?}");
    let outcome = client(1, lying_service(LoginReply::Revoked).await).renew().await;
    assert!(matches!(outcome, Err(LoginError::BadReply(_))), "{outcome:?}");
}
