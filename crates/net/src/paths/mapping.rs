//! A port of the router's that leads to this node, asked for by UPnP, NAT-PMP or PCP.

use std::net::{IpAddr, SocketAddrV4};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// When a router that has promised nothing is asked again: it may be starting, or the network may
/// not have been up when it was asked.
const AGAIN: Duration = Duration::from_secs(60);

/// How long a router may take to hear that its mapping is not needed any more.
const FAREWELL: Duration = Duration::from_secs(1);

/// What a router promises: none yet, or the address that leads to this node.
type Promise = watch::Receiver<Option<SocketAddrV4>>;

/// Whom a port is asked of: the router of the network that this machine is in at present.
pub(super) trait Router: Send + Sync + 'static {
    /// Finds out in which way it may be asked, asks for a port unless one is promised, and answers
    /// what is promised from then on.
    fn ask(&mut self) -> impl Future<Output = Promise> + Send;

    /// Gives it back.
    fn give_back(&self);
}

/// The protocol by which a router is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// RFC 6887.
    Pcp,
    /// RFC 6886.
    NatPmp,
    /// UPnP, whose routers mostly answer nobody who asks whether they know it.
    Upnp,
}

impl Way {
    fn of(found: &portmapper::ProbeOutput) -> Self {
        match (found.pcp, found.nat_pmp) {
            (true, _) => Self::Pcp,
            (false, true) => Self::NatPmp,
            (false, false) => Self::Upnp,
        }
    }

    fn config(self) -> portmapper::Config {
        portmapper::Config {
            enable_upnp: self == Self::Upnp,
            enable_pcp: self == Self::Pcp,
            enable_nat_pmp: self == Self::NatPmp,
            protocol: portmapper::Protocol::Udp,
        }
    }
}

/// The router that the system's default route leads to.
///
/// A client of `portmapper` that may use several protocols asks and renews by UPnP alone, unless it
/// has heard of another one within the last ten minutes. So one finds out which it is to be, and
/// another one knows no other.
#[derive(Debug)]
pub(super) struct TheRouter {
    scout: portmapper::Client,
    asking: Option<(Way, portmapper::Client)>,
    port: NonZeroU16,
}

impl TheRouter {
    pub(super) fn new(port: NonZeroU16) -> Self {
        Self { scout: portmapper::Client::default(), asking: None, port }
    }
}

impl Router for TheRouter {
    async fn ask(&mut self) -> Promise {
        let found = self.scout.probe().await.ok().and_then(Result::ok);
        let way = found.as_ref().map_or(Way::Upnp, Way::of);
        tracing::debug!(?way, "the router is asked for a port");
        let lives =
            |client: &portmapper::Client| client.watch_external_address().has_changed().is_ok();
        let client = match self.asking.take() {
            Some((known, client)) if known == way && lives(&client) => {
                client.procure_mapping();
                client
            }
            _ => {
                let client = portmapper::Client::new(way.config());
                client.update_local_port(self.port);
                client
            }
        };
        let promise = client.watch_external_address();
        self.asking = Some((way, client));
        promise
    }

    fn give_back(&self) {
        if let Some((_, client)) = &self.asking {
            client.deactivate();
        }
    }
}

/// The mapping of one endpoint: looked after until it is [ended](Self::end), or nobody has it.
#[derive(Debug)]
pub(super) struct Mapping {
    promised: watch::Sender<Option<SocketAddrV4>>,
    ending: CancellationToken,
    ended: CancellationToken,
}

impl Mapping {
    /// Asks the router, and again while it promises nothing, and the next one when the machine has
    /// other addresses.
    pub(super) fn keep<R: Router>(
        addresses: watch::Receiver<Vec<IpAddr>>,
        router: impl Fn() -> R + Send + 'static,
    ) -> Arc<Self> {
        let promised = watch::Sender::new(None);
        let (ending, ended) = (CancellationToken::new(), CancellationToken::new());
        let task = look_after(addresses, router, promised.clone(), ending.clone());
        let done = ended.clone().drop_guard();
        tokio::spawn(async move {
            task.await;
            drop(done);
        });
        Arc::new(Self { promised, ending, ended })
    }

    pub(super) fn watch(&self) -> watch::Receiver<Option<SocketAddrV4>> {
        self.promised.subscribe()
    }

    /// Gives the port back, as far as the router listens.
    pub(super) async fn end(&self) {
        self.ending.cancel();
        self.ended.cancelled().await;
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        self.ending.cancel();
    }
}

async fn look_after<R: Router>(
    mut addresses: watch::Receiver<Vec<IpAddr>>,
    router: impl Fn() -> R,
    promised: watch::Sender<Option<SocketAddrV4>>,
    ending: CancellationToken,
) {
    let mut known = of_ipv4(&addresses.borrow_and_update());
    loop {
        let mut current = router();
        loop {
            // Nothing is promised yet.
            let mut promise = tokio::select! {
                promise = current.ask() => promise,
                () = ending.cancelled() => return,
            };
            let until = pass_on(&mut promise, &promised, &mut addresses, &mut known);
            match ending.run_until_cancelled(until).await {
                Some(Until::Forgotten) => {}
                Some(Until::Moved) => break,
                None => {
                    give_back(&current, promise).await;
                    return;
                }
            }
        }
        current.give_back();
        promised.send_replace(None);
    }
}

/// How long what was asked for holds.
enum Until {
    /// The router has promised nothing for a while.
    Forgotten,
    /// The machine is in another network.
    Moved,
}

/// Says what is promised as long as that means something.
async fn pass_on(
    promise: &mut Promise,
    promised: &watch::Sender<Option<SocketAddrV4>>,
    addresses: &mut watch::Receiver<Vec<IpAddr>>,
    known: &mut Vec<IpAddr>,
) -> Until {
    let mut ended = false;
    loop {
        promised.send_if_modified(|shown| {
            let now = promise.borrow_and_update().filter(|_| !ended);
            std::mem::replace(shown, now) != now
        });
        let has_one = promised.borrow().is_some();
        tokio::select! {
            changed = promise.changed(), if !ended => ended = changed.is_err(),
            Ok(()) = addresses.changed() => {
                // The addresses of IPv6 change without a move; and who has moved is asked for
                // nothing more.
                let now = of_ipv4(&addresses.borrow_and_update());
                if std::mem::replace(known, now) != *known {
                    return Until::Moved;
                }
            }
            () = sleep(AGAIN), if !has_one => return Until::Forgotten,
        }
    }
}

async fn give_back(router: &impl Router, mut promise: Promise) {
    if promise.borrow().is_none() {
        return;
    }
    router.give_back();
    if timeout(FAREWELL, promise.wait_for(Option::is_none)).await.is_err() {
        tracing::debug!("the router was not told that its mapping is not needed any more");
    }
}

fn of_ipv4(addresses: &[IpAddr]) -> Vec<IpAddr> {
    addresses.iter().copied().filter(IpAddr::is_ipv4).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::Mutex;
    use tokio::sync::mpsc;

    /// Says what it is asked, and by which of the routers that there were.
    struct Fake {
        which: usize,
        said: mpsc::UnboundedSender<(usize, &'static str)>,
        promise: watch::Sender<Option<SocketAddrV4>>,
    }

    impl Router for Fake {
        async fn ask(&mut self) -> Promise {
            self.said.send((self.which, "ask")).unwrap();
            self.promise.subscribe()
        }

        fn give_back(&self) {
            self.said.send((self.which, "give back")).unwrap();
            self.promise.send_replace(None);
        }
    }

    #[test]
    fn a_router_is_asked_in_the_best_way_that_it_knows_and_in_no_other() {
        let found = |upnp, pcp, nat_pmp| Way::of(&portmapper::ProbeOutput { upnp, pcp, nat_pmp });
        assert_eq!(found(true, true, true), Way::Pcp);
        assert_eq!(found(true, false, true), Way::NatPmp);
        assert_eq!(found(true, false, false), Way::Upnp);
        assert_eq!(found(false, false, false), Way::Upnp, "it may know it all the same");
        for way in [Way::Pcp, Way::NatPmp, Way::Upnp] {
            let config = way.config();
            let ways = [config.enable_pcp, config.enable_nat_pmp, config.enable_upnp];
            assert_eq!(ways.into_iter().filter(|enabled| *enabled).count(), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_port_is_asked_for_until_there_is_one_and_again_after_a_move() {
        let home: IpAddr = "192.168.1.2".parse().unwrap();
        let cafe: IpAddr = "10.0.0.7".parse().unwrap();
        let at_home: SocketAddrV4 = "203.0.113.1:4701".parse().unwrap();
        let machine = watch::Sender::new(vec![home]);
        let (said, mut hear) = mpsc::unbounded_channel();
        let routers = Arc::<Mutex<Vec<watch::Sender<Option<SocketAddrV4>>>>>::default();
        let all = Arc::clone(&routers);
        let mapping = Mapping::keep(machine.subscribe(), move || {
            let promise = watch::Sender::new(None);
            let mut all = all.lock().unwrap();
            all.push(promise.clone());
            Fake { which: all.len(), said: said.clone(), promise }
        });
        let mut shown = mapping.watch();
        let started = tokio::time::Instant::now();
        for minute in 0..3 {
            assert_eq!(hear.recv().await, Some((1, "ask")));
            assert_eq!(started.elapsed(), AGAIN * minute);
        }
        routers.lock().unwrap()[0].send_replace(Some(at_home));
        shown.wait_for(|address| *address == Some(at_home)).await.unwrap();
        assert!(timeout(AGAIN * 10, hear.recv()).await.is_err(), "there is one");

        machine.send_replace(vec![home, "2001:db8::7".parse().unwrap()]);
        assert!(timeout(AGAIN, hear.recv()).await.is_err(), "it has not moved");
        machine.send_replace(vec![cafe]);
        assert_eq!(hear.recv().await, Some((1, "give back")));
        assert_eq!(hear.recv().await, Some((2, "ask")));
        assert_eq!(*shown.borrow_and_update(), None, "the old router's is no candidate any more");
        routers.lock().unwrap()[1].send_replace(Some(at_home));
        shown.wait_for(Option::is_some).await.unwrap();

        mapping.end().await;
        assert_eq!(hear.recv().await, Some((2, "give back")));
        assert_eq!(hear.recv().await, None, "nobody asks any more");
    }
}
