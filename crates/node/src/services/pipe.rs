//! Using a service of a peer, and serving one to a peer.

use super::Services;
use super::flows::Incoming;
use super::offered::Target;
use super::piece::{MAX_PIECE, PieceReader, PieceWriter, Raw};
use super::pump::pump;
use crate::api::types::{ApiError, ErrorCode};
use crate::sessions::{PeerName, PeerSession};
use dashmap::DashMap;
use skein_net::{Connection, Stream, StreamError};
use skein_proto::Message;
use skein_proto::service::{Carry, OpenService, ServiceRefusal, ServiceReply};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout};

/// Services in use on one connection, both ways together. Each holds a stream and two buffers.
const MAX_PIPES: usize = 64;

/// The first pipes of a connection, which get a wide window: a person uses few at a time.
const WIDE_PIPES: usize = 8;

/// What each of those may have sent and not read: 80 Mbit/s over 50 ms.
const WIDE_WINDOW: u32 = 512 * 1024;

/// The same for each of the others. All windows together are 5.75 MiB, less than the 8 MiB that the
/// connection takes: so programs that do not read can stop each other, and nothing else.
const NARROW_WINDOW: u32 = 32 * 1024;

/// How long the program behind a service may take to accept a connection: it is on this machine
/// or in its network.
const TARGET_PATIENCE: Duration = Duration::from_secs(5);

/// How long a peer may take to answer: its own patience with the program, and a slow path.
const REPLY_PATIENCE: Duration = Duration::from_secs(15);

/// A flow of packets without any for so long is over (RFC 4787, section 4.3, REQ-5).
const FLOW_IDLE: Duration = Duration::from_secs(120);

/// What pipes have done since the start.
#[derive(Debug, Default)]
pub(super) struct PipeCounts {
    pub(super) served: AtomicU64,
    pub(super) not_allowed: AtomicU64,
    pub(super) busy: AtomicU64,
    pub(super) broken: AtomicU64,
}

/// The pipes in use, by connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(Arc<DashMap<usize, usize>>);

/// A place for a pipe, until it is dropped.
#[derive(Debug)]
struct Place {
    places: Places,
    connection: usize,
    window: u32,
}

impl Places {
    /// A place on this connection, if there is one.
    fn take(&self, connection: &Connection) -> Option<Place> {
        let mut taken = self.0.entry(connection.id()).or_default();
        let window = if *taken < WIDE_PIPES { WIDE_WINDOW } else { NARROW_WINDOW };
        *taken = if *taken < MAX_PIPES { *taken + 1 } else { return None };
        drop(taken);
        Some(Place { places: self.clone(), connection: connection.id(), window })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.0.remove_if_mut(&self.connection, |_, taken| {
            *taken = taken.saturating_sub(1);
            *taken == 0
        });
    }
}

/// A service of a peer that is open, and not used yet.
#[derive(Debug)]
pub(crate) struct Pipe {
    services: Services,
    /// It is not closed for want of use while somebody holds it.
    session: Arc<PeerSession>,
    stream: Stream,
    place: Place,
    carry: Opened,
}

/// What an open service carries.
#[derive(Debug)]
enum Opened {
    Stream { theirs: u32 },
    Datagrams { theirs: u32, incoming: Incoming },
}

impl Services {
    /// Opens a service of a peer.
    ///
    /// # Errors
    /// There is no session, or the peer refuses.
    pub(crate) async fn open_pipe(
        &self,
        peer: &PeerName,
        service: &str,
        datagrams: bool,
    ) -> Result<Pipe, ApiError> {
        super::offered::check_name(service)?;
        let session = self.session(peer).await?;
        let connection = session.connection();
        let Some(place) = self.inner.places.take(connection) else {
            self.inner.pipes.busy.fetch_add(1, Ordering::Relaxed);
            let why = format!("{MAX_PIPES} services of that peer are in use");
            return Err(ApiError::unavailable(why));
        };
        let incoming = datagrams.then(|| self.inner.flows.open(connection));
        let carry = match &incoming {
            Some((flow, _)) => Carry::Datagrams { flow: *flow },
            None => Carry::Stream { window: place.window },
        };
        let (stream, carry) = asked(connection, (peer, service), carry).await?;
        let carry = match (carry, incoming) {
            (Carry::Stream { window }, None) => {
                connection.widen_for_transfer();
                Opened::Stream { theirs: window }
            }
            (Carry::Datagrams { flow }, Some((_, incoming))) => {
                Opened::Datagrams { theirs: flow, incoming }
            }
            _ => return Err(answered_otherwise(peer)),
        };
        Ok(Pipe { services: self.clone(), session, stream, place, carry })
    }

    /// Asks whether a service of a peer could be had, and leaves the program behind it alone.
    ///
    /// # Errors
    /// There is no session, or the peer refuses.
    pub(crate) async fn look_at_service(
        &self,
        peer: &PeerName,
        service: &str,
        packets: bool,
    ) -> Result<(), ApiError> {
        super::offered::check_name(service)?;
        let session = self.session(peer).await?;
        let carry = Carry::Nothing { packets };
        match asked(session.connection(), (peer, service), carry).await? {
            (_, Carry::Nothing { .. }) => Ok(()),
            _ => Err(answered_otherwise(peer)),
        }
    }

    /// Serves a peer that wants to use a service.
    pub(super) async fn serve_pipe(
        &self,
        session: Arc<PeerSession>,
        asked: OpenService,
        mut stream: Stream,
    ) {
        let served = match self.admit(&session, &asked).await {
            Ok(Served::Nothing) => {
                let reply = Message::ServiceReply(ServiceReply { outcome: Ok(asked.carry) });
                let _ = stream.request(&reply, REPLY_PATIENCE).await;
                return;
            }
            Ok(served) => served,
            Err(refusal) => {
                let counts = &self.inner.pipes;
                let count = match refusal {
                    ServiceRefusal::NotAllowed => &counts.not_allowed,
                    ServiceRefusal::Busy => &counts.busy,
                    ServiceRefusal::NoAnswer => &counts.broken,
                };
                count.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(
                    peer = %session.name(), service = asked.service.as_str(), %refusal,
                    "a service is refused"
                );
                let reply = Message::ServiceReply(ServiceReply { outcome: Err(refusal) });
                let _ = stream.request(&reply, REPLY_PATIENCE).await;
                return;
            }
        };
        self.inner.pipes.served.fetch_add(1, Ordering::Relaxed);
        let ended = served.run(self, &session, stream);
        if let Err(error) = self.inner.ended.run_until_cancelled(ended).await.unwrap_or(Ok(())) {
            self.inner.pipes.broken.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(peer = %session.name(), %error, "a service broke off");
        }
    }

    async fn admit(
        &self,
        session: &PeerSession,
        asked: &OpenService,
    ) -> Result<Served, ServiceRefusal> {
        let (name, people) = (session.name(), &self.inner.people);
        // Whoever is allowed is meant with the keys that the user knows them by.
        if people.has_blocked(name) || people.is_new_node(name, &session.node()) {
            return Err(ServiceRefusal::NotAllowed);
        }
        let found = self.inner.store.service_for(asked.service.as_str(), name).await;
        let found = found.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot tell who may use a service");
            None
        });
        let Target { address, udp } = found.ok_or(ServiceRefusal::NotAllowed)?;
        let is_udp =
            matches!(asked.carry, Carry::Datagrams { .. } | Carry::Nothing { packets: true });
        if udp != is_udp {
            return Err(ServiceRefusal::NotAllowed);
        }
        if matches!(asked.carry, Carry::Nothing { .. }) {
            return Ok(Served::Nothing);
        }
        let place = self.inner.places.take(session.connection()).ok_or(ServiceRefusal::Busy)?;
        Ok(match asked.carry {
            Carry::Stream { window } => {
                let connected = timeout(TARGET_PATIENCE, TcpStream::connect(address)).await;
                let tcp = connected.ok().and_then(Result::ok).ok_or(ServiceRefusal::NoAnswer)?;
                // Keystrokes are small, and somebody waits for each.
                let _ = tcp.set_nodelay(true);
                Served::Stream { tcp, place, theirs: window }
            }
            Carry::Datagrams { flow } => {
                let socket = udp_to(address).await.map_err(|_| ServiceRefusal::NoAnswer)?;
                Served::Datagrams { socket, place, theirs: flow }
            }
            Carry::Nothing { .. } => Served::Nothing,
        })
    }
}

/// Asks a peer for a service: the stream and what it takes there.
async fn asked(
    connection: &Connection,
    (peer, service): (&PeerName, &str),
    carry: Carry,
) -> Result<(Stream, Carry), ApiError> {
    let text = skein_proto::BoundedString::truncated(service);
    let open = Message::OpenService(OpenService { service: text, carry });
    let talk = async {
        let mut stream = connection.open_stream().await?;
        stream.sender.send(&open).await?;
        let reply = stream.receiver.recv().await?;
        Ok::<_, StreamError>((stream, reply))
    };
    let silent = || ApiError::unavailable(format!("{peer} did not answer"));
    let answered = timeout(REPLY_PATIENCE, talk).await.map_err(|_| silent())?;
    let (stream, reply) = answered.map_err(|error| ApiError::unavailable(error.to_string()))?;
    let Some(Message::ServiceReply(ServiceReply { outcome })) = reply else {
        return Err(ApiError::unavailable(format!("{peer} does not offer services")));
    };
    outcome.map(|theirs| (stream, theirs)).map_err(|refusal| match refusal {
        ServiceRefusal::NotAllowed => {
            let packets =
                matches!(carry, Carry::Datagrams { .. } | Carry::Nothing { packets: true });
            let kind = if packets { "UDP" } else { "TCP" };
            let why = format!("{peer} offers you no service {service:?} over {kind}");
            ApiError::new(ErrorCode::Denied, why)
        }
        refusal => ApiError::unavailable(format!("{peer}:{service}: {refusal}")),
    })
}

fn answered_otherwise(peer: &PeerName) -> ApiError {
    ApiError::unavailable(format!("{peer} has answered in another way than asked"))
}

/// A service that a peer is being served.
enum Served {
    /// It was only asked whether it could be.
    Nothing,
    Stream {
        tcp: TcpStream,
        place: Place,
        theirs: u32,
    },
    Datagrams {
        socket: UdpSocket,
        place: Place,
        theirs: u32,
    },
}

impl Served {
    async fn run(
        self,
        services: &Services,
        session: &PeerSession,
        mut stream: Stream,
    ) -> io::Result<()> {
        let blocked = services.inner.people.until_blocked(session.name());
        let broken = || io::Error::other("the user has blocked the peer");
        tokio::pin!(blocked);
        match self {
            Self::Nothing => Ok(()),
            Self::Stream { mut tcp, place, theirs } => {
                session.connection().widen_for_transfer();
                let carry = Carry::Stream { window: place.window };
                stream.sender.send(&ServiceReply { outcome: Ok(carry) }.into()).await?;
                let (source, sink) = tcp.split();
                let ends = (Raw(source), Raw(sink));
                let pumped = tokio::select! {
                    pumped = pump(stream, ends, (place.window, theirs)) => {
                        pumped.map_err(io::Error::other)
                    }
                    () = blocked => Err(broken()),
                };
                if pumped.is_err() {
                    // The program must not take what broke off for an end.
                    let _ = tcp.set_zero_linger();
                }
                pumped
            }
            Self::Datagrams { socket, place: _place, theirs } => {
                let connection = session.connection();
                let (flow, mut incoming) = services.inner.flows.open(connection);
                let carry = Carry::Datagrams { flow };
                stream.sender.send(&ServiceReply { outcome: Ok(carry) }.into()).await?;
                let mut buffer = vec![0; MAX_PIECE];
                let mut last = Instant::now();
                loop {
                    tokio::select! {
                        packet = incoming.next() => {
                            let Some(packet) = packet else { return Ok(()) };
                            // A program that is not there loses packets, as on any network.
                            let _ = socket.send(&packet).await;
                            last = Instant::now();
                        }
                        read = socket.recv(&mut buffer) => match read {
                            Ok(count) => {
                                services.inner.flows.send(connection, theirs, &buffer[..count])?;
                                last = Instant::now();
                            }
                            // That nobody listens may change.
                            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                            Err(error) => return Err(error),
                        },
                        _ = stream.receiver.recv() => return Ok(()),
                        () = &mut blocked => return Err(broken()),
                        () = tokio::time::sleep_until(last + FLOW_IDLE) => return Ok(()),
                    }
                }
            }
        }
    }
}

impl Pipe {
    /// Moves what is carried between the peer and a near end that speaks in pieces, until it is
    /// over. For packets each piece is one.
    ///
    /// # Errors
    /// It broke off.
    pub(crate) async fn run(
        self,
        reader: impl AsyncRead + Unpin + Send,
        writer: impl AsyncWrite + Unpin + Send,
    ) -> io::Result<()> {
        let Self { services, session, mut stream, place, carry } = self;
        let ends = (PieceReader::new(reader), PieceWriter::new(writer));
        let ended = services.inner.ended.clone();
        let running = async {
            match carry {
                Opened::Stream { theirs } => {
                    pump(stream, ends, (place.window, theirs)).await.map_err(io::Error::other)
                }
                Opened::Datagrams { theirs, mut incoming } => {
                    let (mut reader, mut writer) = ends;
                    let connection = session.connection();
                    let outward = async {
                        let mut buffer = vec![0; MAX_PIECE];
                        while let Some(count) = reader.read_piece(&mut buffer).await? {
                            services.inner.flows.send(connection, theirs, &buffer[..count])?;
                        }
                        Ok(())
                    };
                    let inward = async {
                        while let Some(packet) = incoming.next().await {
                            if !packet.is_empty() {
                                writer.write(&packet).await?;
                            }
                        }
                        Ok(())
                    };
                    let ended: io::Result<()> = tokio::select! {
                        ended = outward => ended,
                        ended = inward => ended,
                        _ = stream.receiver.recv() => Ok(()),
                    };
                    let _ = stream.sender.finish().await;
                    ended?;
                    writer.finish().await
                }
            }
        };
        ended.run_until_cancelled(running).await.unwrap_or(Ok(()))
    }
}

/// A socket whose packets go to one address.
async fn udp_to(address: SocketAddr) -> io::Result<UdpSocket> {
    let from = match address {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(from).await?;
    socket.connect(address).await?;
    Ok(socket)
}
