//! The machine by itself: what it sends is answered, or not, by the test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::paths::pace::PAUSE;

const SECOND: Duration = Duration::from_secs(1);

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A machine, the time, and how long each address takes to answer; those without one are silent.
struct Bench {
    machine: Machine,
    now: Instant,
    rtts: Vec<(SocketAddr, Duration)>,
    replies: Vec<(Instant, SocketAddr, u64, usize)>,
    /// What is longer than this gets lost.
    narrow: Option<usize>,
    probes: Vec<(Instant, SocketAddr)>,
    used: Vec<Option<SocketAddr>>,
    replied: usize,
}

impl Bench {
    fn new(rtts: &[(&str, u64)]) -> Self {
        let now = Instant::now();
        let ours = vec!["192.168.1.2".parse().unwrap()];
        let mut machine = Machine::new(now, ours, Families::Both, false, SECOND * 15);
        let rtts: Vec<_> =
            rtts.iter().map(|(address, rtt)| (address.parse().unwrap(), millis(*rtt))).collect();
        let candidates = rtts.iter().map(|(address, _)| candidate(*address)).collect();
        machine.handle(Input::Candidates(candidates), now);
        let (replies, probes, used) = (Vec::new(), Vec::new(), Vec::new());
        Self { machine, now, rtts, replies, narrow: None, probes, used, replied: 0 }
    }

    fn set(&mut self, address: &str, rtt: Option<u64>) {
        let address = address.parse().unwrap();
        self.rtts.retain(|(known, _)| *known != address);
        self.rtts.extend(rtt.map(|rtt| (address, millis(rtt))));
    }

    /// Lets this much time pass.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.machine.handle_timeout(self.now);
            while let Some(output) = self.machine.poll_output() {
                self.take(output);
            }
            let reply = self.replies.iter().map(|reply| reply.0).min();
            let next = self.machine.next_wakeup().into_iter().chain(reply).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            let due: Vec<_> = self.replies.extract_if(.., |reply| reply.0 <= next).collect();
            for (_, from, transaction, length) in due {
                let observed = "203.0.113.1:9".parse().unwrap();
                let reply = Input::Reply { from, transaction, observed, length };
                self.machine.handle(reply, self.now);
            }
        }
        self.now = end;
    }

    fn take(&mut self, output: Output) {
        match output {
            Output::Probe { to, transaction, length, .. } => {
                self.probes.push((self.now, to));
                let passes = self.narrow.is_none_or(|most| length <= most);
                let known = self.rtts.iter().find(|(address, _)| *address == to && passes);
                if let Some((_, rtt)) = known {
                    self.replies.push((self.now + *rtt, to, transaction, length));
                }
            }
            Output::Use(way) => self.used.push(way),
            Output::Reply { length, .. } => {
                assert_eq!(length, LENGTH, "as long as the probe");
                self.replied += 1;
            }
            _ => {}
        }
    }

    /// Packets go out, and come in where the path answers.
    fn talk(&mut self, time: Duration) {
        let (end, mut sent, mut received) = (self.now + time, 0, 0);
        while self.now < end {
            let current = self.machine.current;
            sent += 1;
            received += u64::from(self.rtts.iter().any(|(to, _)| Some(*to) == current));
            let width = LEAST_WIDTH;
            self.machine.handle(Input::Traffic { sent, received, width }, self.now);
            self.run(millis(10));
        }
    }

    fn uses(&self, address: &str) -> bool {
        self.machine.view().direct == Some(address.parse().unwrap())
    }
}

fn candidate(address: SocketAddr) -> Candidate {
    Candidate { address, kind: CandidateKind::Observed }
}

const A: &str = "198.51.100.1:1";
const B: &str = "198.51.100.2:1";
const SIX: &str = "[2001:db8::1]:1";
const NEAR: &str = "192.168.1.9:1";

#[test]
fn probes_to_addresses_that_have_not_answered_are_spread_out() {
    let many: Vec<String> = (1..=20).map(|n| format!("198.51.100.{n}:1")).collect();
    let mut bench = Bench::new(&[]);
    let list = many.iter().map(|address| candidate(address.parse().unwrap())).collect();
    bench.machine.handle(Input::Candidates(list), bench.now);
    bench.run(SECOND * 20);
    assert!(bench.probes.windows(2).all(|pair| pair[1].0 - pair[0].0 >= PAUSE));
    assert_eq!(bench.probes.len(), 20 * 7 + 20, "a first one and seven more of each");
}

#[test]
fn what_does_not_answer_is_given_up_and_costs_nothing_any_more() {
    let mut bench = Bench::new(&[]);
    bench.machine.handle(Input::Candidates(vec![candidate(A.parse().unwrap())]), bench.now);
    bench.run(SECOND * 20);
    assert_eq!(bench.machine.next_wakeup(), None);
    assert!(!bench.machine.view().punching && bench.used.is_empty());

    bench.set(A, Some(20));
    bench.machine.handle(Input::Moved(Vec::new()), bench.now);
    bench.run(SECOND);
    assert!(bench.uses(A), "another network may let it through");
}

#[test]
fn the_same_network_is_preferred_to_ipv6_and_that_to_ipv4() {
    let mut bench = Bench::new(&[(A, 20), (SIX, 22)]);
    bench.run(SECOND * 2);
    assert!(bench.uses(SIX));
    let near = Candidate { address: NEAR.parse().unwrap(), kind: CandidateKind::Local };
    bench.set(NEAR, Some(1));
    bench.machine.handle(Input::Candidates(vec![near]), bench.now);
    bench.run(SECOND * 2);
    assert!(bench.uses(NEAR));
}

#[test]
fn a_clearly_faster_path_takes_over_for_good_and_a_slightly_faster_one_never() {
    let mut bench = Bench::new(&[(A, 100), (B, 90)]);
    bench.run(SECOND * 60);
    let before = bench.used.len();
    let (used, other) = if bench.uses(A) { (A, B) } else { (B, A) };
    assert!(before <= 2, "{:?}", bench.used);
    bench.set(other, Some(40));
    bench.run(SECOND * 120);
    assert!(bench.uses(other));
    bench.set(used, Some(36));
    bench.run(SECOND * 600);
    assert!(bench.uses(other));
    assert_eq!(bench.used.len(), before + 1);
}

#[test]
fn a_path_that_falls_silent_is_left_within_a_second_and_taken_again_when_it_answers() {
    for rtt in [5, 50, 200] {
        let mut bench = Bench::new(&[(A, rtt)]);
        bench.talk(SECOND * 3);
        assert!(bench.uses(A));
        bench.set(A, None);
        bench.talk(SECOND);
        assert_eq!(bench.machine.view().direct, None, "round trip {rtt} ms");
        bench.set(A, Some(rtt));
        bench.talk(SECOND * 10);
        assert!(bench.uses(A));
    }
}

#[test]
fn a_path_that_keeps_dying_has_to_answer_more_often_before_it_is_trusted() {
    let mut bench = Bench::new(&[(A, 20)]);
    let mut waits = Vec::new();
    for _ in 0..4 {
        bench.talk(SECOND * 2);
        bench.set(A, None);
        bench.talk(SECOND);
        bench.set(A, Some(20));
        let (from, before) = (bench.now, bench.probes.len());
        while !bench.uses(A) {
            bench.talk(millis(10));
            assert!(bench.now - from < SECOND * 20);
        }
        waits.push(bench.probes.len() - before);
    }
    assert!(waits[0] < waits[1] && waits[1] < waits[2], "{waits:?}");
}

#[test]
fn nothing_but_the_reply_to_a_probe_from_where_it_went_proves_a_path() {
    let mut bench = Bench::new(&[]);
    bench.machine.handle(Input::Candidates(vec![candidate(A.parse().unwrap())]), bench.now);
    bench.run(millis(1));
    let observed = "203.0.113.1:9".parse().unwrap();
    let reply = |from: &str, transaction, length| Input::Reply {
        from: from.parse().unwrap(),
        transaction,
        observed,
        length,
    };
    bench.machine.handle(reply(B, 1, LENGTH), bench.now);
    bench.machine.handle(reply(A, 7, LENGTH), bench.now);
    bench.run(millis(1));
    assert_eq!(bench.probes.len(), 1, "nothing has been answered");
    bench.machine.handle(reply(A, 1, LENGTH), bench.now);
    bench.run(millis(1));
    assert_eq!((bench.probes.len(), bench.machine.view().direct), (2, None));
    bench.machine.handle(reply(A, 2, LEAST_WIDTH - 1), bench.now);
    bench.run(millis(1));
    assert_eq!(bench.machine.view().direct, None, "the way back may be narrower");
    bench.machine.handle(reply(A, 3, LEAST_WIDTH), bench.now);
    assert!(bench.uses(A));
}

#[test]
fn a_path_that_is_too_narrow_for_the_session_is_left_alone_until_it_is_not() {
    let mut bench = Bench::new(&[(A, 20)]);
    let traffic = |width| Input::Traffic { sent: 0, received: 0, width };
    bench.machine.handle(traffic(1_452), bench.now);
    bench.narrow = Some(1_400);
    bench.run(SECOND * 10);
    assert_eq!(bench.machine.view().direct, None);
    let tries = usize::from(super::super::path::TRIES);
    assert_eq!(bench.probes.len(), 1 + tries, "then there is a pause");
    bench.run(SECOND * 60);
    assert_eq!(bench.machine.view().direct, None);
    assert_eq!(bench.probes.len(), 1 + tries + 4, "one for each pause");

    // What the network takes now, it says when it has changed; what the session needs, QUIC says.
    bench.machine.handle(traffic(1_392), bench.now);
    bench.run(SECOND);
    assert!(bench.uses(A));
    bench.machine.handle(traffic(1_452), bench.now);
    bench.run(SECOND * 60);
    assert!(bench.uses(A), "that QUIC takes more along it shows that it is wide enough");
}

#[test]
fn a_path_that_lost_all_long_probes_for_a_moment_is_taken_later() {
    let mut bench = Bench::new(&[(A, 20)]);
    bench.machine.handle(Input::Traffic { sent: 0, received: 0, width: 1_452 }, bench.now);
    bench.narrow = Some(LENGTH);
    bench.run(SECOND);
    bench.narrow = None;
    bench.run(SECOND * 16);
    assert!(bench.uses(A));
}

#[test]
fn addresses_that_probes_come_from_are_bounded_and_never_this_machine_itself() {
    let mut bench = Bench::new(&[(A, 20)]);
    bench.run(SECOND);
    for port in 1..=200 {
        let from = SocketAddr::from(([198, 51, 100, 9], port));
        let transaction = u64::from(port);
        let probe = Input::Probe { from, transaction, in_use: false, length: LENGTH };
        bench.machine.handle(probe, bench.now);
    }
    assert_eq!(bench.machine.paths.len(), MAX_PATHS);
    assert!(bench.machine.view().refused >= 160);
    assert!(bench.uses(A));

    let mut bench = Bench::new(&[]);
    let from = "127.0.0.1:22".parse().unwrap();
    let probe = Input::Probe { from, transaction: 1, in_use: false, length: LENGTH };
    bench.machine.handle(probe, bench.now);
    assert_eq!(bench.machine.poll_output(), None);
}

#[test]
fn keep_alives_of_a_spare_path_settle_below_what_its_router_keeps() {
    let mut bench = Bench::new(&[(A, 20), (B, 25)]);
    let spare: SocketAddr = B.parse().unwrap();
    bench.run(SECOND * 5);
    assert!(bench.uses(A));
    // The router on the way to the spare path forgets after 40 s, and takes it up again when it has
    // been asked for two seconds.
    let (mut forgotten, mut times) = (None, 0);
    for _ in 0..2_000 {
        bench.run(SECOND);
        let mut asked = bench.probes.iter().filter(|(_, to)| *to == spare).map(|(at, _)| *at);
        match forgotten {
            None => {
                let last = asked.next_back().unwrap();
                if bench.now - last >= SECOND * 40 {
                    bench.set(B, None);
                    forgotten = Some(last);
                    times += 1;
                }
            }
            Some(last) => {
                if asked.find(|at| *at > last).is_some_and(|at| bench.now - at >= SECOND * 2) {
                    bench.set(B, Some(25));
                    forgotten = None;
                }
            }
        }
    }
    assert_eq!(times, 1, "what it did not survive once is not tried again");
    let keep = bench.machine.view().keep_alive;
    assert!(keep > SECOND * 18 && keep < SECOND * 45, "{keep:?}");
    assert!(bench.uses(A));
}

/// What a probe from there draws within ten seconds: probes, and replies.
fn probe_from(bench: &mut Bench, from: &str, transaction: u64) -> (usize, usize) {
    let from = from.parse().unwrap();
    let before = (bench.probes.len(), bench.replied);
    let probe = Input::Probe { from, transaction, in_use: false, length: LENGTH };
    bench.machine.handle(probe, bench.now);
    bench.run(SECOND * 10);
    (bench.probes.len() - before.0, bench.replied - before.1)
}

#[test]
fn a_probe_from_an_address_that_nobody_has_named_draws_one_frame_and_no_burst() {
    let mut bench = Bench::new(&[]);
    let from = "203.0.113.7:4000";
    let drawn: Vec<_> = (1..=4).map(|number| probe_from(&mut bench, from, number)).collect();
    assert_eq!(drawn, [(1, 0), (0, 1), (1, 0), (0, 1)]);

    let named = candidate("203.0.113.7:4000".parse().unwrap());
    bench.machine.handle(Input::Candidates(vec![named]), bench.now);
    bench.run(SECOND * 10);
    assert!(bench.probes.len() > 6, "the peer says that it is there: {}", bench.probes.len());
}

#[test]
fn an_address_that_answers_is_used_though_nobody_has_named_it() {
    let mut bench = Bench::new(&[]);
    bench.set("203.0.113.7:4000", Some(20));
    probe_from(&mut bench, "203.0.113.7:4000", 1);
    assert!(bench.uses("203.0.113.7:4000"));
}

#[test]
fn a_guess_that_a_probe_comes_from_is_probed_before_all_others() {
    let guess = |n: u16| Candidate {
        address: ([198, 51, 100, 1], n).into(),
        kind: CandidateKind::Predicted,
    };
    let mut bench = Bench::new(&[]);
    let likelier = (1..=8).map(|n| candidate(([198, 51, 100, 2], n).into()));
    let named = likelier.chain((1..=8).map(guess)).collect();
    bench.machine.handle(Input::Candidates(named), bench.now);
    bench.run(millis(100));
    let right = guess(1).address;
    assert!(!bench.probes.iter().any(|(_, to)| *to == right), "its turn has not come");
    let probe = Input::Probe { from: right, transaction: 1, in_use: false, length: LENGTH };
    bench.machine.handle(probe, bench.now);
    let before = bench.probes.len();
    bench.run(PAUSE);
    assert_eq!(bench.probes[before].1, right);
}
