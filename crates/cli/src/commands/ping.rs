//! `skein ping`.

use crate::context::{self, Context};
use crate::failure::Failure;
use crate::process::Interrupt;
use crate::ui::format;
use crate::ui::paint::Paint;
use crate::value;
use clap::Args;
use futures_util::StreamExt as _;
use skein_node::api::types::{PingEvent, SessionPath, StartPing};
use skein_node::sessions::{PathKind, PeerName};
use skein_proto::NodeId;
use skein_proto::session::NatKind;
use std::time::Duration;

/// Finds out how a peer is reached, and how long it takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein ping @alice                        until Ctrl-C, with each change of the path
  skein ping @alice --count 3 --interval 200ms
  skein ping @alice --count 1 --json | jq -r 'select(.event == \"connected\").path.path'

The first line tells the path: over a relay or directly, and the kind of NAT on both ends. Each
change of it is told, and how soon after the session began its packets went directly.
Exit codes: 0 the peer has answered; 1 it has not, or cannot be reached; 2 that names no peer; 130
Ctrl-C before the number of pings that was asked for.")]
pub struct PingArgs {
    /// The peer: @NAME, @NAME/NODE for one of several nodes, or a node id
    #[arg(value_name = "@NAME")]
    peer: PeerName,
    /// How many pings; without it, until Ctrl-C
    #[arg(short, long, value_name = "COUNT", allow_negative_numbers = true, value_parser = value::whole(1_u32.., 5))]
    count: Option<u32>,
    /// The time between two pings, 10 ms at least
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = value::duration)]
    interval: Duration,
}

/// Pings it.
///
/// # Errors
/// The daemon does not run or answer, there is no session, or no ping was answered.
pub fn run(context: &Context, args: PingArgs) -> Result<(), Failure> {
    let interval_ms = u32::try_from(args.interval.as_millis()).ok().filter(|ms| *ms >= 10);
    let interval_ms = interval_ms.filter(|ms| *ms <= 3_600_000);
    let interval_ms =
        interval_ms.ok_or_else(|| Failure::input("--interval: give a time from 10ms to 1h"))?;
    let ping = StartPing {
        peer: args.peer.to_string(),
        count: args.count,
        interval_ms: Some(interval_ms),
    };
    let (mut tally, mut called_off) = (Tally::default(), false);
    let outcome = context::block_on_uninterrupted(async {
        let mut interrupt = Interrupt::listen()?;
        let client = context.client()?;
        let mut events = tokio::select! {
            events = client.ping(&ping) => events.map_err(Failure::of_peer)?,
            () = interrupt.pressed() => return Err(Failure::interrupted()),
        };
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = interrupt.pressed() => {
                    // Without a number of pings this is how it ends.
                    called_off = args.count.is_some();
                    None
                }
            };
            let Some(event) = event else { return Ok(()) };
            let event = event?;
            tally.add(&event);
            if context.ui.json {
                context.ui.value(&event)?;
            } else {
                context.ui.line(line(&event, context.ui.out))?;
            }
        }
    });
    outcome?;
    if tally.sent > 0 {
        context.ui.result(&tally.done(), |_, _| tally.summary())?;
    }
    match tally.answered {
        _ if called_off => Err(Failure::interrupted()),
        0 => Err(Failure::failed(format!("{} has not answered", args.peer))),
        _ => Ok(()),
    }
}

#[derive(Debug, Default)]
struct Tally {
    sent: u64,
    answered: u64,
    least: Option<u64>,
    most: u64,
    sum: u64,
}

impl Tally {
    fn add(&mut self, event: &PingEvent) {
        match event {
            PingEvent::Pong { rtt_us, .. } => {
                self.sent += 1;
                self.answered += 1;
                self.least = Some(self.least.map_or(*rtt_us, |least| least.min(*rtt_us)));
                self.most = self.most.max(*rtt_us);
                self.sum += rtt_us;
            }
            PingEvent::Lost { .. } => self.sent += 1,
            _ => {}
        }
    }

    /// The last event for programs.
    fn done(&self) -> PingEvent {
        let Self { sent, answered, least: least_us, most, sum } = *self;
        let (mean_us, most_us) = (sum.checked_div(answered), least_us.map(|_| most));
        PingEvent::Done { sent, answered, least_us, mean_us, most_us }
    }

    fn summary(&self) -> String {
        let Self { sent, answered, .. } = self;
        let pings = format::count(*sent, "ping", "pings");
        let Some(least) = self.least else { return format!("{pings}, none answered") };
        let mean = self.sum / answered.max(&1);
        format!(
            "{pings}, {answered} answered; round trip {} / {} / {} (least, mean, most)",
            format::round_trip(least),
            format::round_trip(mean),
            format::round_trip(self.most)
        )
    }
}

fn line(event: &PingEvent, paint: Paint) -> String {
    match event {
        PingEvent::Connected { node, name, took_us, path } => format!(
            "{} {} in {}: {}",
            paint.name(format!("@{name}")),
            paint.faint(node.short()),
            format::round_trip(*took_us),
            described(path, paint)
        ),
        PingEvent::Pong { number, rtt_us, .. } => {
            format!("{number}: {}", format::round_trip(*rtt_us))
        }
        PingEvent::Lost { number } => format!("{number}: {}", paint.bad("no answer")),
        PingEvent::Path { path } => {
            format!("{} {}", paint.warn("path:"), described(path, paint))
        }
        // Told by the summary.
        PingEvent::Done { .. } => String::new(),
        PingEvent::Ended { reason } => format!("{} {reason}", paint.bad("the session ended:")),
    }
}

fn described(path: &SessionPath, paint: Paint) -> String {
    let way = match path.kind {
        PathKind::Relayed { relay, address } => {
            let who = format::who(path.relay_name.as_ref(), &relay);
            format!("over the relay {} ({address})", paint.name(who))
        }
        PathKind::Direct { address } => match path.direct_after_us {
            None | Some(0) => format!("directly, {address}"),
            Some(after) => {
                format!("directly, {address}, at first after {}", format::round_trip(after))
            }
        },
    };
    let reserve = path.reserve.map(|relay: NodeId| {
        let who = format::who(path.reserve_name.as_ref(), &relay);
        format!(", reserve {}", paint.name(who))
    });
    let nats = format!("; NAT here {}, there {}", nat(path.nat_here), nat(path.nat_there));
    format!("{way}{}{nats}", reserve.unwrap_or_default())
}

const fn nat(kind: NatKind) -> &'static str {
    match kind {
        NatKind::Unknown => "not known",
        NatKind::Public => "none",
        NatKind::Cone => "cone",
        NatKind::Symmetric => "symmetric",
        NatKind::UdpBlocked => "UDP blocked",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_told_with_its_relay_and_both_ends() {
        let relay = NodeId::from_bytes([7; 32]);
        let path = SessionPath {
            kind: PathKind::Relayed { relay, address: ([192, 0, 2, 1], 4701).into() },
            rtt_us: 20_000,
            nat_here: NatKind::Cone,
            nat_there: NatKind::Unknown,
            reserve: None,
            relay_name: None,
            reserve_name: None,
            since: 0,
            direct_after_us: None,
        };
        let text = line(&PingEvent::Path { path: path.clone() }, Paint::PLAIN);
        assert!(text.contains(&relay.short()) && text.contains("192.0.2.1:4701"), "{text}");
        assert!(text.contains("here cone, there not known"), "{text}");
        let named = |name: &str| Some(name.parse().expect("a name"));
        let (relay_name, reserve_name) = (named("goose"), named("swan"));
        let path = SessionPath { relay_name, reserve: Some(relay), reserve_name, ..path };
        let text = line(&PingEvent::Path { path: path.clone() }, Paint::PLAIN);
        assert!(text.contains("over the relay @goose (192.0.2.1:4701), reserve @swan"), "{text}");
        let kind = PathKind::Direct { address: ([192, 0, 2, 1], 4701).into() };
        let path = SessionPath { kind, direct_after_us: Some(112_000), ..path };
        let text = line(&PingEvent::Path { path }, Paint::PLAIN);
        assert!(text.contains("directly, 192.0.2.1:4701, at first after 112 ms"), "{text}");
    }

    #[test]
    fn the_summary_counts_what_was_answered() {
        let mut tally = Tally::default();
        for (number, rtt_us) in [(1, 10_000), (2, 30_000)] {
            tally.add(&PingEvent::Pong { number, rtt_us, their_relay: None });
        }
        tally.add(&PingEvent::Lost { number: 3 });
        let text = tally.summary();
        assert!(text.starts_with("3 pings, 2 answered"), "{text}");
        let done = PingEvent::Done {
            sent: 3,
            answered: 2,
            least_us: Some(10_000),
            mean_us: Some(20_000),
            most_us: Some(30_000),
        };
        assert_eq!(tally.done(), done);
        let (least_us, mean_us, most_us) = (None, None, None);
        let none = PingEvent::Done { sent: 0, answered: 0, least_us, mean_us, most_us };
        assert_eq!(Tally::default().done(), none);
    }
}
