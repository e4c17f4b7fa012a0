//! Sessions by name between nodes that tell nobody where they are, over relays that come and go.

#![allow(clippy::expect_used)]

use skein_node::api::types::{PingEvent, RelayStatus, SessionPath, SetRelay};
use skein_node::sessions::PathKind;
use skein_proto::NodeId;
use skein_tests::node::{LOOK_AGAIN, Node};
use skein_tests::process::Process;
use skein_tests::{Network, within_patience};
use std::time::Instant;

/// A node that is attached twice and tells no peer where it is.
async fn hidden(network: &Network, name: &str) -> Node {
    let user = network.registered(name).await;
    let node = user.up(&["--role", "ordinary", "--reach", "relay-only"]).await;
    node.until("has a parent and a standby", |status| {
        status.attachment.parent.is_some() && status.attachment.standby.is_some()
    })
    .await;
    node
}

fn relay_of(path: &SessionPath) -> Option<NodeId> {
    match path.kind {
        PathKind::Relayed { relay, .. } => Some(relay),
        PathKind::Direct { .. } => None,
    }
}

fn of(supernodes: &[Node], relay: NodeId) -> &Node {
    supernodes.iter().find(|node| node.id() == relay).expect("one of them")
}

/// How often the sessions of these nodes have left a relay that let nothing through.
async fn moved(nodes: [&Node; 2]) -> u64 {
    let moved = nodes.map(|node| node.counted("skein_sessions_moved_total"));
    futures_util::future::join_all(moved).await.iter().sum()
}

/// A ping that runs, and what it has told.
struct Pinging {
    process: Process,
    path: SessionPath,
    pongs: u64,
}

impl Pinging {
    /// Pings until there is a session over a relay, with another one in reserve.
    async fn start(from: &Node, to: &str) -> Self {
        let log = from.data_dir().join("ping.log");
        let connected = within_patience("there is no session", async {
            loop {
                let command = from.command(&["ping", to, "--interval", "20ms"]);
                let mut process = Process::spawn("ping", command, &log);
                match process.next_json().await {
                    Some(PingEvent::Connected { path, .. }) => return (process, path),
                    // An attempt has its time, which a busy machine may exceed.
                    None => eprintln!("no session: {}", process.log()),
                    other => panic!("a session is told first: {other:?}"),
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        });
        let (process, path) = connected.await;
        let mut pinging = Self { process, path, pongs: 0 };
        // Before an answer has come, the peer may not have taken the session.
        within_patience("no reserve, or no answer", async {
            while pinging.path.reserve.is_none() || pinging.pongs == 0 {
                pinging.next().await;
            }
        })
        .await;
        pinging
    }

    /// Waits until its daemon and what it has told say the same twice running. Answers over which
    /// relay it goes.
    async fn settles(&mut self, from: &Node) -> NodeId {
        within_patience("it does not say over which relay it goes", async {
            let mut before = None;
            loop {
                let sessions = from.api().sessions().await.expect("the daemon answers");
                let relay = relay_of(&sessions[0].path).expect("a relay");
                let has_told = relay_of(&self.path) == Some(relay) && self.path.reserve.is_some();
                if has_told && before == Some(relay) {
                    return relay;
                }
                before = has_told.then_some(relay);
                self.next().await;
            }
        })
        .await
    }

    async fn next(&mut self) {
        match self.process.next_json().await.expect("the ping goes on") {
            PingEvent::Pong { .. } => self.pongs += 1,
            PingEvent::Path { path } => self.path = path,
            PingEvent::Lost { number } => eprintln!("ping {number} was lost"),
            other => panic!("it is one session throughout: {other:?}"),
        }
    }

    /// Waits until the packets have left this relay and a ping was answered since.
    async fn leaves(&mut self, relay: NodeId) {
        within_patience("the session does not move", async {
            while relay_of(&self.path) == Some(relay) {
                self.next().await;
            }
            let before = self.pongs;
            while self.pongs == before {
                self.next().await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn two_nodes_behind_closed_doors_talk_over_a_relay_and_survive_its_death() {
    let network = Network::start().await;
    let mut supernodes = Vec::from(network.supernodes(["goose", "swan", "duck"], &[]).await);
    let (alice, bob) = (hidden(&network, "alice").await, hidden(&network, "bob").await);
    let found = alice.find_until("@bob", |outcome, _| outcome.code() == Some(0)).await;
    assert!(found[0].addresses.is_empty(), "nobody is told where bob is: {found:?}");

    // One of a user's nodes may be named by what is shown of its id.
    let mut pinging = Pinging::start(&alice, &format!("@bob/{}", bob.id().short())).await;
    assert!(relay_of(&pinging.path).is_some(), "{:?}", pinging.path);
    let sessions = bob.api().sessions().await.expect("the daemon answers");
    assert_eq!(sessions.len(), 1);
    assert_eq!((sessions[0].name.as_str(), sessions[0].called), ("alice", false));
    assert!(relay_of(&sessions[0].path).is_some(), "{sessions:?}");

    // People know names and no ids: those of relays come from their credentials.
    let name_of = |relay: NodeId| {
        supernodes.iter().find(|node| node.id() == relay).map(|node| node.name().to_owned())
    };
    within_patience("the relays have no names", async {
        loop {
            let shown = [&alice, &bob].map(|node| node.api().sessions());
            let shown = futures_util::future::join_all(shown).await.into_iter();
            let paths: Vec<SessionPath> =
                shown.map(|all| all.expect("the daemon answers")[0].path.clone()).collect();
            let is_right = |path: &SessionPath| {
                path.relay_name.as_ref().map(ToString::to_string)
                    == relay_of(path).and_then(name_of)
                    && path.reserve_name.as_ref().map(ToString::to_string)
                        == path.reserve.and_then(name_of)
            };
            if paths.iter().all(is_right) {
                return;
            }
            pinging.next().await;
        }
    })
    .await;

    let relay = pinging.settles(&alice).await;
    let before = moved([&alice, &bob]).await;
    let dying = supernodes.iter().position(|node| node.id() == relay).expect("one of the three");
    let _ = supernodes.swap_remove(dying).kill();
    let killed = Instant::now();
    pinging.leaves(relay).await;
    let took = killed.elapsed();
    eprintln!("a ping was answered over the reserve {took:?} after the relay was killed");
    // Whichever end is the first moves, and the other one follows.
    assert!(moved([&alice, &bob]).await > before, "nobody left the dead relay");

    // The one that is left becomes the reserve of what was the reserve.
    let second = relay_of(&pinging.path).expect("a relay");
    assert!(supernodes.iter().any(|node| node.id() == second));
    within_patience("no new reserve", async {
        while pinging.path.reserve.is_none_or(|reserve| reserve == relay) {
            pinging.next().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_donor_changes_what_it_gives_while_the_relay_runs() {
    let network = Network::start().await;
    let mut supernodes = Vec::from(network.supernodes(["goose", "swan"], &[]).await);
    let (alice, bob) = (hidden(&network, "alice").await, hidden(&network, "bob").await);
    alice.find_until("@bob", |outcome, _| outcome.code() == Some(0)).await;
    let mut pinging = Pinging::start(&alice, "@bob").await;
    let relay = pinging.settles(&alice).await;
    let donor = of(&supernodes, relay);

    let show: Vec<RelayStatus> = donor.run(&["relay", "show"]).await.worked().json();
    assert!(show[0].active && show[0].slots_used > 0 && show[0].bytes > 0, "{show:?}");
    for wrong in [&["--rate", "0"][..], &["--slots", "-1"], &["--slots-per-name", "0"], &[]] {
        let wrong = donor.run(&[&["relay", "set"], wrong].concat()).await;
        assert_eq!(wrong.code(), Some(2), "{}", wrong.refusal());
    }
    within_patience("what it moves goes on no record", async {
        loop {
            let show: Vec<RelayStatus> = donor.run(&["relay", "show"]).await.worked().json();
            if show[0].history.iter().any(|note| note.slots > 0 && note.bytes > 0) {
                return;
            }
            for _ in 0..10 {
                pinging.next().await;
            }
        }
    })
    .await;

    // Before both slots were bound it may have gone to the nearer one by itself, which is no move.
    let relay = pinging.settles(&alice).await;
    let donor = of(&supernodes, relay);
    let show: Vec<RelayStatus> = donor.run(&["relay", "show"]).await.worked().json();
    let before = moved([&alice, &bob]).await;
    let set: Vec<RelayStatus> = donor.run(&["relay", "set", "--slots", "0"]).await.worked().json();
    assert_eq!((set[0].slots_used, set[0].active), (0, false), "all slots end at once");
    pinging.leaves(relay).await;
    assert!(moved([&alice, &bob]).await > before, "nobody left the relay that gives nothing");

    // It is kept: a restart changes nothing, and one word takes it back.
    let place = supernodes.iter().position(|node| node.id() == relay).expect("one of the two");
    let donor = supernodes.swap_remove(place).kill().up(&["--role", "super"]).await;
    let kept: Vec<RelayStatus> = donor.run(&["relay"]).await.worked().json();
    assert_eq!((kept[0].slots, kept[0].set), (0, set[0].set));
    let reset: Vec<RelayStatus> = donor.run(&["relay", "reset"]).await.worked().json();
    assert_eq!((reset[0].slots, reset[0].set), (show[0].slots, SetRelay::default()));
}

#[tokio::test]
async fn nodes_that_may_be_told_of_each_other_go_on_directly() {
    let network = Network::start().await;
    let _supernodes = network.supernodes(["goose", "swan"], &[]).await;
    let [alice, bob] = network.nodes(["alice", "bob"]).await;
    alice.find_until("@bob", |outcome, _| outcome.code() == Some(0)).await;
    let mut pinging = Pinging::start(&alice, "@bob").await;
    within_patience("no direct path", async {
        while relay_of(&pinging.path).is_some() {
            pinging.next().await;
        }
    })
    .await;
    let PathKind::Direct { address } = pinging.path.kind else { panic!("{:?}", pinging.path) };
    assert_eq!(address, bob.address());
}

#[tokio::test]
async fn who_cannot_be_pinged_is_told_why() {
    let network = Network::start().await;
    let _supernodes = network.supernodes(["goose"], &[]).await;
    let [alice] = network.nodes(["alice"]).await;
    let nobody = alice.run(&["ping", "@nobody-at-all", "--count", "1"]).await;
    assert_eq!(nobody.code(), Some(1));
    assert!(nobody.refusal().contains("knows no node of @nobody-at-all"), "{}", nobody.refusal());
    assert_eq!(alice.run(&["ping", "!", "--count", "1"]).await.code(), Some(2));

    // A parent is connected anyway.
    let parent =
        alice.run(&["ping", "@goose", "--count", "5", "--interval", "10ms"]).await.worked();
    let events: Vec<PingEvent> = parent.json();
    let pongs = events.iter().filter(|event| matches!(event, PingEvent::Pong { .. })).count();
    let lost = events.iter().filter(|event| matches!(event, PingEvent::Lost { .. })).count();
    assert!(pongs > 0 && pongs + lost == 5, "{events:?}");
    assert!(
        matches!(&events[0], PingEvent::Connected { path, .. } if relay_of(path).is_none()),
        "{events:?}"
    );
}
