//! What the tests are made of: a database, a clock, a service without sockets.

use crate::postgres::Postgres;
use skein_login::server::store::NewAccount;
use skein_login::server::{Clock, DialBack, LoginConfig, Service, Store};
use skein_proto::login::{LoginRefusal, LoginReply, LoginRequest, Password};
use skein_proto::{KeyPair, NodeId, SignedCredential, UnixTime, Username};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// Writes each story as a test on either database.
macro_rules! on_both_stores {
    ($($name:ident,)*) => {
        mod on_sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(&crate::fixture::Database::sqlite()).await;
                }
            )*
        }
        mod on_postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(&crate::fixture::Database::postgres().await).await;
                }
            )*
        }
    };
}
pub(crate) use on_both_stores;

/// A database that is gone when it is dropped.
pub struct Database {
    url: String,
    _folder: Option<TempDir>,
    _server: Option<Arc<Postgres>>,
}

impl Database {
    pub fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let url = format!("sqlite://{}?mode=rwc", folder.path().join("login.db").display());
        Self { url, _folder: Some(folder), _server: None }
    }

    pub async fn postgres() -> Self {
        let started = tokio::task::spawn_blocking(|| {
            let server = Postgres::shared();
            (server.create_database(), server)
        });
        let (url, server) = started.await.expect("PostgreSQL starts");
        Self { url, _folder: None, _server: Some(server) }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub async fn open(&self) -> Store {
        Store::open(&self.url).await.expect("the store opens")
    }
}

/// A clock that stands still until it is moved.
#[derive(Clone)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    pub fn new() -> Self {
        Self(Arc::new(AtomicU64::new(NOW.0)))
    }

    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_secs(), Ordering::SeqCst);
    }

    pub fn now(&self) -> UnixTime {
        UnixTime(self.0.load(Ordering::SeqCst))
    }

    pub fn clock(&self) -> Clock {
        let (unix, steady) = (self.clone(), self.clone());
        Clock::new(move || unix.now(), move || Duration::from_secs(steady.now().0))
    }
}

/// Reaches every node, or none.
#[derive(Clone)]
pub struct FakeDial(pub Arc<AtomicBool>);

impl DialBack for FakeDial {
    fn dial(
        &self,
        _: NodeId,
        addresses: Vec<SocketAddr>,
    ) -> Pin<Box<dyn Future<Output = Vec<SocketAddr>> + Send + '_>> {
        let reached = if self.0.load(Ordering::SeqCst) { addresses } else { Vec::new() };
        Box::pin(std::future::ready(reached))
    }
}

/// A service on a manual clock, whose dial-backs succeed while `reachable` holds.
pub struct Fixture {
    pub service: Arc<Service>,
    pub clock: ManualClock,
    pub reachable: Arc<AtomicBool>,
}

impl Fixture {
    pub async fn new(database: &Database) -> Self {
        Self::with(database, &ManualClock::new(), |config| config).await
    }

    pub async fn with(
        database: &Database,
        clock: &ManualClock,
        configure: impl FnOnce(LoginConfig) -> LoginConfig,
    ) -> Self {
        let config = configure(LoginConfig::new("unused").clock(clock.clock()));
        let reachable = Arc::new(AtomicBool::new(true));
        let dialer = Box::new(FakeDial(Arc::clone(&reachable)));
        let service = Service::new(&config, login_key(), database.open().await, dialer);
        let service = Arc::new(service.expect("a service"));
        Self { service, clock: clock.clone(), reachable }
    }

    pub async fn ask(&self, node: &KeyPair, request: LoginRequest) -> LoginReply {
        self.ask_from("192.0.2.1:1000", node, request).await
    }

    pub async fn ask_from(&self, from: &str, node: &KeyPair, request: LoginRequest) -> LoginReply {
        let from = from.parse().expect("an address");
        self.service.handle(node.node_id(), from, request).await
    }

    pub async fn register(&self, node: &KeyPair, text: &str) -> SignedCredential {
        credential(self.ask(node, register(text, None)).await)
    }
}

pub const NOW: UnixTime = UnixTime(1_800_000_000);

pub fn login_key() -> KeyPair {
    KeyPair::from_seed(&[99; 32])
}

pub fn key(number: u8) -> KeyPair {
    KeyPair::from_seed(&[number; 32])
}

pub fn node(number: u8) -> NodeId {
    key(number).node_id()
}

pub fn name(text: &str) -> Username {
    Username::parse(text).expect("a name")
}

pub fn password(text: &str) -> Password {
    Password::new(text).expect("short enough")
}

pub fn register(text: &str, invite: Option<&str>) -> LoginRequest {
    let invite = invite.map(skein_proto::BoundedString::truncated);
    LoginRequest::Register { name: name(text), password: password("correct horse"), invite }
}

pub fn log_in(text: &str, secret: &str) -> LoginRequest {
    LoginRequest::Login { name: name(text), password: password(secret) }
}

pub fn credential(reply: LoginReply) -> SignedCredential {
    match reply {
        LoginReply::Credential(credential) => credential,
        other => panic!("a credential was expected, not {other:?}"),
    }
}

pub fn refusal(reply: LoginReply) -> LoginRefusal {
    match reply {
        LoginReply::Refused(refusal) => refusal,
        other => panic!("a refusal was expected, not {other:?}"),
    }
}

/// An account to be stored whose credential lasts for a day.
pub fn account(name: &Username, number: u8) -> NewAccount<'_> {
    NewAccount {
        name,
        password_hash: "a hash",
        node: node(number),
        invite: None,
        now: NOW,
        expires: UnixTime(NOW.0 + UnixTime::DAY),
    }
}
