//! The server and its client, over real loopback connections, before a fake daemon.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fake;

use super::server::{MAX_BODY_BYTES, MAX_STREAMS};
use super::token::ApiToken;
use super::types::*;
use super::{Announcement, ApiClient, ApiServer, ClientError, ServeError};
use crate::home::{Home, InstanceLock};
use crate::metrics::{ApiMetrics, CONTENT_TYPE};
use fake::Fake;
use futures_util::StreamExt;
use reqwest::Method;
use skein_proto::login::Password;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Nothing here takes as long; a test that waits so long has found a hang.
const HANG: Duration = Duration::from_secs(60);

/// A daemon with its data folder, which is locked as a real one's is.
struct Daemon {
    fake: Arc<Fake>,
    drops: mpsc::UnboundedReceiver<()>,
    metrics: ApiMetrics,
    ended: CancellationToken,
    serving: JoinHandle<Result<(), ServeError>>,
    client: ApiClient,
    token: ApiToken,
    home: Home,
    lock: Option<InstanceLock>,
    _temp: tempfile::TempDir,
}

impl Daemon {
    async fn start() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let home = Home::open(temp.path()).unwrap();
        let lock = home.lock().unwrap();
        let server = ApiServer::bind(&home, (Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let (fake, drops) = Fake::new();
        let (fake, metrics, ended) =
            (Arc::new(fake), ApiMetrics::default(), CancellationToken::new());
        let address = server.address();
        assert!(ApiToken::load(&home).unwrap().is_none(), "no address, no token");
        let running = server.run(fake.clone(), metrics.clone(), ended.clone());
        assert!(home.api_file().exists(), "it is announced before it is served");
        let token = ApiToken::load(&home).unwrap().unwrap();
        let client = ApiClient::new(address, token.clone()).unwrap();
        let serving = tokio::spawn(running);
        // The first call waits in the listener's queue until the server accepts it.
        client.status().await.unwrap();
        fake.asked.lock().unwrap().clear();
        Self {
            fake,
            drops,
            metrics,
            ended,
            serving,
            client,
            token,
            home,
            lock: Some(lock),
            _temp: temp,
        }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.fake.asked.lock().unwrap())
    }

    /// A request as somebody else than our client makes it, with the token.
    fn raw(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.stranger(method, path).bearer_auth(self.token.as_str())
    }

    /// The same without the token.
    fn stranger(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        client.request(method, format!("http://{}{path}", self.client.address()))
    }
}

/// The status of an answer and the error that it holds.
async fn refusal(request: reqwest::RequestBuilder) -> (u16, ApiError) {
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

fn endless() -> StartSearch {
    StartSearch { words: fake::ENDLESS.into(), ..StartSearch::default() }
}

fn password() -> Password {
    Password::new("correct horse").unwrap()
}

const CALLS: [(Method, &str); 27] = [
    (Method::GET, "/v1/status"),
    (Method::POST, "/v1/shutdown"),
    (Method::GET, "/v1/shares"),
    (Method::POST, "/v1/shares"),
    (Method::DELETE, "/v1/shares"),
    (Method::POST, "/v1/shares/rescan"),
    (Method::GET, "/v1/events"),
    (Method::POST, "/v1/searches"),
    (Method::GET, "/v1/wishes"),
    (Method::POST, "/v1/wishes"),
    (Method::DELETE, "/v1/wishes/3"),
    (Method::POST, "/v1/downloads"),
    (Method::GET, "/v1/downloads"),
    (Method::GET, "/v1/downloads/8/events"),
    (Method::DELETE, "/v1/downloads/8"),
    (Method::POST, "/v1/downloads/8/forget"),
    (Method::GET, "/v1/names/alice"),
    (Method::GET, "/v1/peers"),
    (Method::GET, "/v1/sessions"),
    (Method::POST, "/v1/sessions/ping"),
    (Method::GET, "/v1/relay"),
    (Method::PUT, "/v1/relay"),
    (Method::DELETE, "/v1/relay"),
    (Method::POST, "/v1/account/register"),
    (Method::POST, "/v1/account/login"),
    (Method::POST, "/v1/account/revoke"),
    (Method::GET, "/metrics"),
];

#[tokio::test]
async fn every_call_reaches_the_daemon_and_its_answer_comes_back() {
    let daemon = Daemon::start().await;
    let client = &daemon.client;
    assert_eq!(client.status().await.unwrap(), fake::status());
    assert_eq!(client.shares().await.unwrap(), [fake::share("/music")]);
    assert_eq!(client.add_share("/films").await.unwrap(), fake::share("/films"));
    assert_eq!(client.rescan_share("/films").await.unwrap(), fake::share("/films"));
    client.remove_share("/films").await.unwrap();
    assert_eq!(client.wishes().await.unwrap(), [fake::wish(1)]);
    let wish = AddWish { words: "rare melody".into(), filter: Default::default() };
    assert_eq!(client.add_wish(&wish).await.unwrap(), fake::wish(2));
    client.remove_wish(3).await.unwrap();
    let event = client.events().await.unwrap().next().await.unwrap().unwrap();
    assert_eq!(event, DaemonEvent::Attached { parent: fake::node() });
    let start = StartDownload { target: DownloadTarget::Number(1), dir: Some("/got".into()) };
    let running = fake::download(DownloadState::Running);
    let finished = fake::download(DownloadState::Done);
    assert_eq!(client.start_download(&start).await.unwrap(), running);
    assert_eq!(client.downloads().await.unwrap(), std::slice::from_ref(&finished));
    let watched: Vec<_> =
        client.watch_download(8).await.unwrap().map(Result::unwrap).collect().await;
    assert_eq!(watched, [running, finished]);
    client.cancel_download(8).await.unwrap();
    assert_eq!(client.forget_download(8).await.unwrap().freed_bytes, 5);
    let name = "alice".parse().unwrap();
    assert_eq!(client.find(&name).await.unwrap(), [fake::named_node()]);
    assert_eq!(client.peers().await.unwrap(), [fake::peer()]);
    let ping = StartPing { peer: "@alice".into(), count: Some(1), interval_ms: None };
    let mut pings = client.ping(&ping).await.unwrap();
    assert_eq!(pings.next().await.unwrap().unwrap(), PingEvent::Lost { number: 1 });
    assert_eq!(client.sessions().await.unwrap(), []);
    assert_eq!(client.relay().await.unwrap(), fake::relay());
    let set = SetRelay { slots: Some(3), ..SetRelay::default() };
    assert_eq!(client.set_relay(&set).await.unwrap(), fake::relay());
    assert_eq!(client.reset_relay().await.unwrap(), fake::relay());
    let register = RegisterAccount {
        name: "alice".into(),
        password: password(),
        invite: None,
        ticket: None,
        replace_network: false,
    };
    assert_eq!(client.register(&register).await.unwrap(), fake::identity());
    let login = LoginAccount {
        name: "bob".into(),
        password: password(),
        ticket: None,
        replace_network: false,
    };
    assert_eq!(client.login(&login).await.unwrap(), fake::identity());
    let stolen = RevokeNode { node: fake::node(), password: password() };
    client.revoke(&stolen).await.unwrap();
    let revoked = format!("revoke {}", fake::node().short());
    assert_eq!(client.metrics().await.unwrap(), "# EOF\n");
    client.shutdown().await.unwrap();
    let expected = [
        "status",
        "shares",
        "add /films",
        "rescan /films",
        "remove /films",
        "wishes",
        "wish for rare melody",
        "no wish 3",
        "events",
        "download Number(1)",
        "downloads",
        "watch 8",
        "cancel 8",
        "forget 8",
        "find alice",
        "peers",
        "ping @alice",
        "relay",
        "set relay Some(3)",
        "reset relay",
        "register alice",
        "login bob",
        &revoked,
        "metrics",
        "shutdown",
    ];
    assert_eq!(daemon.asked(), expected);
}

#[tokio::test]
async fn a_search_comes_as_a_stream_that_ends() {
    let daemon = Daemon::start().await;
    let search =
        StartSearch { words: "two words".into(), limit: Some(5), ..StartSearch::default() };
    let events: Vec<_> =
        daemon.client.search(&search).await.unwrap().map(Result::unwrap).collect().await;
    assert_eq!(events, [fake::hit(1), fake::hit(2), fake::done()]);
    assert_eq!(daemon.asked(), ["search two words"]);
}

#[tokio::test]
async fn hanging_up_cancels_a_search() {
    let mut daemon = Daemon::start().await;
    let mut events = daemon.client.search(&endless()).await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap(), fake::hit(1));
    assert!(daemon.drops.try_recv().is_err(), "the search runs");
    drop(events);
    let dropped = tokio::time::timeout(HANG, daemon.drops.recv()).await;
    assert_eq!(dropped.expect("the daemon hears of it"), Some(()));
}

#[tokio::test]
async fn without_the_token_no_call_reaches_the_daemon() {
    let daemon = Daemon::start().await;
    for (method, path) in CALLS.into_iter().chain([(Method::GET, "/"), (Method::PUT, "/x")]) {
        let request = daemon.stranger(method.clone(), path);
        let (status, error) = refusal(request).await;
        assert_eq!((status, error.code), (401, ErrorCode::Denied), "{method} {path}");
        let request = daemon.stranger(method.clone(), path).bearer_auth("wrong");
        let (status, error) = refusal(request).await;
        assert_eq!((status, error.code), (401, ErrorCode::Denied), "{method} {path}");
    }
    assert_eq!(daemon.asked(), [""; 0]);
}

#[tokio::test]
async fn a_rebound_name_or_a_foreign_page_reaches_nothing_even_with_the_token() {
    let daemon = Daemon::start().await;
    let port = daemon.client.address().port();
    for (method, path) in CALLS {
        for (name, value) in [
            ("Host", format!("evil.example:{port}")),
            ("Origin", "http://evil.example".to_owned()),
            ("Origin", "null".to_owned()),
        ] {
            let request = daemon.raw(method.clone(), path).header(name, &value);
            let (status, error) = refusal(request).await;
            assert_eq!((status, error.code), (403, ErrorCode::Denied), "{path} {name} {value}");
        }
    }
    assert_eq!(daemon.asked(), [""; 0]);
    let own = format!("http://localhost:{port}");
    let response = daemon.raw(Method::GET, "/v1/peers").header("Origin", own).send().await;
    assert_eq!(response.unwrap().status(), 200);
}

#[tokio::test]
async fn whatever_is_wrong_is_answered_in_json() {
    let daemon = Daemon::start().await;
    let json = "application/json";
    let too_large = "x".repeat(MAX_BODY_BYTES + 1);
    let post = |body: &str, kind: &str| {
        daemon.raw(Method::POST, "/v1/searches").header("Content-Type", kind).body(body.to_owned())
    };
    let cases = [
        (daemon.raw(Method::GET, "/v1/nothing"), 404, ErrorCode::NotFound),
        (daemon.raw(Method::PUT, "/v1/status"), 405, ErrorCode::BadRequest),
        (daemon.raw(Method::DELETE, "/v1/downloads/first"), 400, ErrorCode::BadRequest),
        (daemon.raw(Method::GET, "/v1/downloads/-1/events"), 400, ErrorCode::BadRequest),
        (post("{", json), 400, ErrorCode::BadRequest),
        (post("{\"words\": 5}", json), 422, ErrorCode::BadRequest),
        (post("{\"words\": \"a\"}", "text/plain"), 415, ErrorCode::BadRequest),
        (post(&too_large, json), 413, ErrorCode::BadRequest),
    ];
    for (request, wanted_status, wanted_code) in cases {
        let (status, error) = refusal(request).await;
        assert_eq!((status, error.code), (wanted_status, wanted_code), "{error}");
        assert!(!error.error.is_empty());
    }
    assert_eq!(daemon.asked(), [""; 0]);
}

#[tokio::test]
async fn paths_must_be_absolute_since_the_daemon_has_another_working_folder() {
    let daemon = Daemon::start().await;
    let error = daemon.client.add_share("music").await.unwrap_err();
    assert_eq!(error.refusal().unwrap().code, ErrorCode::BadRequest);
    let start = StartDownload { target: DownloadTarget::Number(1), dir: Some("got".into()) };
    let error = daemon.client.start_download(&start).await.unwrap_err();
    assert_eq!(error.refusal().unwrap().code, ErrorCode::BadRequest);
    assert_eq!(daemon.asked(), [""; 0]);
}

#[tokio::test]
async fn a_refusal_of_the_daemon_comes_back_as_it_is() {
    let daemon = Daemon::start().await;
    for (code, status) in [
        (ErrorCode::BadRequest, 400),
        (ErrorCode::NotFound, 404),
        (ErrorCode::Conflict, 409),
        (ErrorCode::Refused, 422),
        (ErrorCode::Unavailable, 503),
        (ErrorCode::Internal, 500),
    ] {
        let error = ApiError::new(code, "no, and here is why");
        *daemon.fake.refuse.lock().unwrap() = Some(error.clone());
        let got = daemon.client.watch_download(8).await.err().unwrap();
        assert_eq!(got.refusal(), Some(&error));
        *daemon.fake.refuse.lock().unwrap() = Some(error.clone());
        assert_eq!(refusal(daemon.raw(Method::GET, "/v1/peers")).await, (status, error));
    }
}

#[tokio::test]
async fn too_many_streams_are_refused_until_one_ends() {
    let daemon = Daemon::start().await;
    let mut open = Vec::new();
    for _ in 0..MAX_STREAMS {
        open.push(daemon.client.events().await.unwrap());
    }
    let error = daemon.client.search(&endless()).await.err().unwrap();
    assert_eq!(error.refusal().unwrap().code, ErrorCode::Unavailable);
    assert_eq!(daemon.metrics.streams_refused.get(), 1);
    assert!(!daemon.asked().contains(&"search endless".to_owned()), "it was not begun");
    daemon.client.peers().await.expect("short calls are answered as before");
    drop(open.pop());
    let again = async {
        while daemon.client.events().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(HANG, again).await.expect("the place is free again");
}

#[tokio::test]
async fn answers_are_counted_by_status() {
    let daemon = Daemon::start().await;
    let response = daemon.raw(Method::GET, "/metrics").send().await.unwrap();
    assert_eq!(response.headers()["content-type"], CONTENT_TYPE);
    daemon.stranger(Method::GET, "/metrics").send().await.unwrap();
    let count = |status| {
        let status = crate::metrics::StatusCode(status);
        let label = crate::metrics::HttpStatus { status };
        daemon.metrics.responses.get_or_create(&label).get()
    };
    assert_eq!(count(200), 2, "the first call of all and the scrape");
    assert_eq!(count(401), 1);
}

#[tokio::test]
async fn a_daemon_that_ends_ends_its_streams_and_takes_its_announcement_back() {
    let mut daemon = Daemon::start().await;
    let announced = Announcement::read(&daemon.home).unwrap().unwrap();
    assert_eq!(announced.address, daemon.client.address());
    assert_eq!(announced.pid, std::process::id());
    let mut events = daemon.client.search(&endless()).await.unwrap();
    events.next().await.unwrap().unwrap();
    daemon.ended.cancel();
    let last = tokio::time::timeout(HANG, events.next()).await.expect("the stream ends");
    assert!(last.is_none(), "{last:?}");
    tokio::time::timeout(HANG, &mut daemon.serving).await.unwrap().unwrap().unwrap();
    assert_eq!(Announcement::read(&daemon.home).unwrap(), None);
    assert!(ApiToken::load(&daemon.home).unwrap().is_none());
    assert_eq!(daemon.drops.recv().await, Some(()));
}

#[tokio::test]
async fn a_client_finds_the_daemon_of_its_folder() {
    let daemon = Daemon::start().await;
    let client = ApiClient::from_home(&daemon.home).unwrap();
    assert_eq!(client.status().await.unwrap(), fake::status());
}

#[tokio::test]
async fn a_client_shows_the_token_of_a_daemon_to_no_address_of_another_one() {
    let daemon = Daemon::start().await;
    let mut announcement = Announcement::read(&daemon.home).unwrap().unwrap();
    announcement.pid += 1;
    let stale = serde_json::to_vec(&announcement).unwrap();
    std::fs::write(daemon.home.api_file(), stale).unwrap();
    let refused = ApiClient::from_home(&daemon.home).err().unwrap();
    assert!(matches!(refused, ClientError::Busy { .. }), "{refused}");
}

#[tokio::test]
async fn a_client_says_why_there_is_no_daemon() {
    let mut daemon = Daemon::start().await;
    let find = |home: &Home| ApiClient::from_home(home).err().unwrap();

    let announcement = std::fs::read(daemon.home.api_file()).unwrap();
    std::fs::remove_file(daemon.home.api_file()).unwrap();
    assert!(matches!(find(&daemon.home), ClientError::Busy { .. }), "it is just starting");

    std::fs::write(daemon.home.api_file(), announcement).unwrap();
    drop(daemon.lock.take());
    let error = find(&daemon.home);
    assert!(matches!(error, ClientError::Died { pid, .. } if pid == std::process::id()));
    assert!(error.to_string().contains("skein up"), "{error}");
    assert!(error.is_not_running());

    let elsewhere = Home::at(daemon.home.dir().join("nothing-here"));
    let error = find(&elsewhere);
    assert!(matches!(error, ClientError::NotRunning { .. }));
    assert!(error.to_string().contains("skein up"), "{error}");
    assert!(!elsewhere.dir().exists(), "a look makes no folder");
}

#[tokio::test]
async fn a_daemon_that_does_not_answer_is_named_by_its_address() {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let temp = tempfile::tempdir().unwrap();
    let token = ApiToken::create(&Home::open(temp.path()).unwrap()).unwrap();
    let error = ApiClient::new(address, token).unwrap().status().await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }));
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn only_a_free_loopback_address_will_do() {
    let temp = tempfile::tempdir().unwrap();
    let home = Home::open(temp.path()).unwrap();
    let error = ApiServer::bind(&home, ([0, 0, 0, 0], 0).into()).await.unwrap_err();
    assert!(matches!(error, ServeError::NotLoopback(_)), "{error}");
    let first = ApiServer::bind(&home, (Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let error = ApiServer::bind(&home, first.address()).await.unwrap_err();
    assert!(error.to_string().contains("--api-listen"), "{error}");
}

#[tokio::test]
async fn what_a_client_has_begun_is_finished_also_when_it_hangs_up() {
    let mut daemon = Daemon::start().await;
    let request = daemon.raw(Method::POST, "/v1/shares").json(&serde_json::json!({
        "path": fake::SLOW
    }));
    let call = tokio::spawn(request.send());
    while daemon.fake.asked.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    call.abort();
    let dropped = tokio::time::timeout(Duration::from_millis(500), daemon.drops.recv()).await;
    assert!(dropped.is_err(), "it was dropped in the middle");
    daemon.fake.slow.notify_one();
    let done = async {
        while daemon.fake.asked.lock().unwrap().len() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(HANG, done).await.expect("it is finished");
    assert_eq!(daemon.asked(), ["begin", "add /slow"]);
}
