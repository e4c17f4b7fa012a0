//! `skein forward`.

use crate::context::{self, Context};
use crate::failure::Failure;
use crate::process::{Reason, Shutdown};
use clap::Args;
use serde_json::json;
use skein_node::api::people::OpenPipe;
use skein_node::api::types::ErrorCode;
use skein_node::api::{ApiClient, ClientError, PipeEnds};
use skein_node::services::MAX_PIECE;
use skein_node::sessions::PeerName;
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Programs that may send packets through one forwarded port at the same time.
const MAX_SENDERS: usize = 64;

/// Packets of one program that wait for the daemon; the newer ones are dropped when there are more,
/// as a network does.
const PACKETS_WAITING: usize = 64;

/// After so long without a packet a program counts as gone (RFC 4787, section 4.3, REQ-5).
const SENDER_IDLE: Duration = Duration::from_secs(120);

/// How long to wait before the next `accept` when the system has no descriptors left.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Makes a local port a service of a peer.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein forward 8080 @bob:web              http://127.0.0.1:8080 is bob's service \"web\"
  skein forward 127.0.0.2:2222 @bob:ssh    another address of this machine
  skein forward 0 @bob:web --json          any free port, which is printed
  skein forward --udp 5004 @bob:voice      packets, as datagrams of the session
It runs until Ctrl-C or SIGTERM, and takes any number of connections. Bob offers the service with
`skein service add web 127.0.0.1:80 --allow alice`. If he is not online it says so, and reaches him
when a program connects and he is.
Exit codes: 0 ended by Ctrl-C or SIGTERM; 1 the port is in use, or it failed; 2 wrong input, or the
peer offers you no such service.")]
pub struct ForwardArgs {
    /// Where to listen: a port of 127.0.0.1, or an address with a port; 0 for any free port
    #[arg(value_name = "LOCAL", value_parser = local_address)]
    local: SocketAddr,
    /// The service of a peer
    #[arg(value_name = "@NAME:SERVICE")]
    remote: Remote,
    /// Forward UDP packets instead of TCP connections
    #[arg(long)]
    udp: bool,
    /// End when standard input ends
    #[arg(long, hide = true)]
    exit_with_parent: bool,
}

/// A service of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Remote {
    peer: PeerName,
    service: String,
}

impl FromStr for Remote {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || "a service of a peer is written as @NAME:SERVICE, such as @bob:web".to_owned();
        let (peer, service) = text.rsplit_once(':').ok_or_else(wrong)?;
        if service.is_empty() {
            return Err(wrong());
        }
        let peer = peer.parse().map_err(|error| format!("{error}"))?;
        Ok(Self { peer, service: service.to_owned() })
    }
}

/// Reads where to listen, or what a service stands for: an address with a port, or a port of this
/// machine alone.
pub fn local_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.trim().parse::<u16>() {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    text.trim().parse().map_err(|_| {
        "give a port, such as 8080, or an IP address with a port, such as 127.0.0.1:8080".to_owned()
    })
}

/// Forwards until it is told to end.
///
/// # Errors
/// The daemon does not run, or the local port cannot be had.
pub fn run(context: &Context, args: ForwardArgs) -> Result<(), Failure> {
    let (peer, service) = (args.remote.peer.to_string(), args.remote.service);
    let pipe = OpenPipe { peer, service, datagrams: args.udp };
    context::block_on_uninterrupted(async {
        // Nothing is printed before it is certain that Ctrl-C is heard.
        let mut shutdown = Shutdown::listen(args.exit_with_parent, false)?;
        let client = context.client()?;
        let taken = |error: io::Error| cannot_listen(args.local, &error);
        let socket = match args.udp {
            true => Socket::Udp(Arc::new(UdpSocket::bind(args.local).await.map_err(taken)?)),
            false => Socket::Tcp(TcpListener::bind(args.local).await.map_err(taken)?),
        };
        let unreachable = tokio::select! {
            looked = look(&client, &pipe) => looked?,
            reason = shutdown.reason() => return match reason {
                Reason::Interrupt => Err(Failure::interrupted()),
                _ => Ok(()),
            },
        };
        announce(context, socket.address(), &pipe, unreachable)?;
        let forwarding = async {
            match socket {
                Socket::Udp(socket) => forward_packets(context, &client, socket, &pipe).await,
                Socket::Tcp(listener) => {
                    forward_connections(context, &client, listener, &pipe).await;
                    Ok(())
                }
            }
        };
        tokio::select! {
            failed = forwarding => failed,
            _ = shutdown.reason() => Ok(()),
        }
    })
}

/// What programs connect or send to.
enum Socket {
    Tcp(TcpListener),
    Udp(Arc<UdpSocket>),
}

impl Socket {
    fn address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr(),
            Self::Udp(socket) => socket.local_addr(),
        }
    }
}

/// Why it cannot listen there. Whether a port is free may change; the rest is wrong input.
fn cannot_listen(local: SocketAddr, error: &io::Error) -> Failure {
    let (ip, port) = (local.ip(), local.port());
    match error.kind() {
        io::ErrorKind::AddrInUse => Failure::failed(format!(
            "cannot listen on {local}: port {port} is in use: choose another, or 0 for any free one"
        )),
        io::ErrorKind::AddrNotAvailable => Failure::input(format!(
            "cannot listen on {local}: {ip} is no address of this machine: give a port alone, such \
             as {port}, or an address that it has"
        )),
        io::ErrorKind::PermissionDenied => Failure::input(format!(
            "cannot listen on {local}: this user may not: choose a port over 1023"
        )),
        _ => Failure::failed(format!("cannot listen on {local}: {error}")),
    }
}

/// Looks whether the peer offers the service, without connecting to the program behind it. Answers
/// why that cannot be told now, if it cannot: the peer may come online later.
///
/// # Errors
/// The peer does not offer it to this user, or the daemon does not answer.
async fn look(client: &ApiClient, pipe: &OpenPipe) -> Result<Option<String>, Failure> {
    match client.look_at_service(pipe).await {
        Ok(()) => Ok(None),
        Err(ClientError::Refused(refusal)) => match refusal.code {
            ErrorCode::Denied => Err(Failure::input(format!(
                "{}: look at the spelling, or ask {} to allow it",
                refusal.error, pipe.peer
            ))),
            ErrorCode::BadRequest => Err(Failure::input(refusal.error)),
            _ => Ok(Some(refusal.error)),
        },
        Err(error) => Err(error.into()),
    }
}

fn announce(
    context: &Context,
    address: io::Result<SocketAddr>,
    pipe: &OpenPipe,
    unreachable: Option<String>,
) -> Result<(), Failure> {
    let address = address.map_err(|error| Failure::failed(error.to_string()))?;
    let OpenPipe { peer, service, datagrams } = pipe;
    if let Some(why) = &unreachable {
        let mark = context.ui.err.warn("!");
        context.ui.note(format!(
            "{mark} {peer} cannot be reached now: {why}. That is tried again whenever a program \
             connects."
        ));
    }
    let value = json!({
        "event": "listening", "address": address, "peer": peer, "service": service,
        "unreachable": unreachable,
    });
    context.ui.result(&value, |_, paint| {
        let what = if *datagrams { "UDP" } else { "TCP" };
        let good = paint.good("✓");
        format!("{good} {what} {address} is {peer}'s service {service:?}. Ctrl-C ends it.")
    })
}

fn tell(context: &Context, error: &ClientError) {
    context.ui.note(format!("{} {error}", context.ui.err.warn("!")));
}

/// Takes connections for ever. Those that run end when this is dropped.
async fn forward_connections(
    context: &Context,
    client: &ApiClient,
    listener: TcpListener,
    pipe: &OpenPipe,
) {
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((tcp, _)) => {
                    let (client, pipe) = (client.clone(), pipe.clone());
                    running.spawn(async move { forward_one(&client, tcp, &pipe).await });
                }
                Err(_) => tokio::time::sleep(ACCEPT_RETRY).await,
            },
            Some(ended) = running.join_next() => {
                if let Ok(Err(error)) = ended {
                    tell(context, &error);
                }
            }
        }
    }
}

async fn forward_one(
    client: &ApiClient,
    mut tcp: TcpStream,
    pipe: &OpenPipe,
) -> Result<(), ClientError> {
    let _ = tcp.set_nodelay(true);
    let ends = match client.open_pipe(pipe).await {
        Ok(ends) => ends,
        Err(error) => {
            let _ = tcp.set_zero_linger();
            return Err(error);
        }
    };
    if join(&mut tcp, ends).await.is_err() {
        // The program must not take what broke off for an end.
        let _ = tcp.set_zero_linger();
    }
    Ok(())
}

/// Moves bytes until both directions have ended, or one breaks off.
async fn join(tcp: &mut TcpStream, (mut reader, mut writer): PipeEnds) -> io::Result<()> {
    let (mut source, mut sink) = tcp.split();
    let outward = async {
        let mut buffer = vec![0; MAX_PIECE];
        loop {
            match source.read(&mut buffer).await? {
                0 => break writer.finish().await,
                count => writer.write(&buffer[..count]).await?,
            }
        }
    };
    let inward = async {
        let mut buffer = vec![0; MAX_PIECE];
        loop {
            match reader.read(&mut buffer).await? {
                0 => break sink.shutdown().await,
                count => sink.write_all(&buffer[..count]).await?,
            }
        }
    };
    tokio::pin!(outward);
    tokio::pin!(inward);
    tokio::select! {
        // A daemon that takes no more may still have something to say, and a program that broke
        // off makes the daemon's end break off.
        sent = &mut outward => {
            let came = inward.await;
            sent.or_else(|error| if came.is_ok() { Ok(()) } else { Err(error) })
        }
        came = &mut inward => {
            came?;
            let _ = outward.await;
            Ok(())
        }
    }
}

/// Takes packets until the socket fails.
async fn forward_packets(
    context: &Context,
    client: &ApiClient,
    socket: Arc<UdpSocket>,
    pipe: &OpenPipe,
) -> Result<(), Failure> {
    let mut senders: HashMap<SocketAddr, mpsc::Sender<Vec<u8>>> = HashMap::new();
    let mut running = JoinSet::new();
    let mut buffer = vec![0; MAX_PIECE];
    loop {
        tokio::select! {
            received = socket.recv_from(&mut buffer) => {
                let (count, from) = match received {
                    Ok(received) => received,
                    // A program that is gone shows as an error of the next call on some systems.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionReset => continue,
                    Err(error) => return Err(Failure::failed(error.to_string())),
                };
                if count == 0 {
                    continue;
                }
                senders.retain(|_, packets| !packets.is_closed());
                if !senders.contains_key(&from) {
                    if senders.len() >= MAX_SENDERS {
                        continue;
                    }
                    let (packets, waiting) = mpsc::channel(PACKETS_WAITING);
                    senders.insert(from, packets);
                    let (client, pipe) = (client.clone(), pipe.clone());
                    let socket = Arc::clone(&socket);
                    running.spawn(async move {
                        exchange(&client, &pipe, &socket, from, waiting).await
                    });
                }
                if let Some(packets) = senders.get(&from) {
                    // A packet too many is lost, as on any network.
                    let _ = packets.try_send(buffer[..count].to_vec());
                }
            }
            Some(ended) = running.join_next() => {
                if let Ok(Err(error)) = ended {
                    tell(context, &error);
                }
            }
        }
    }
}

/// Exchanges the packets of one program, until it has sent none for a while.
async fn exchange(
    client: &ApiClient,
    pipe: &OpenPipe,
    socket: &UdpSocket,
    program: SocketAddr,
    mut packets: mpsc::Receiver<Vec<u8>>,
) -> Result<(), ClientError> {
    let (mut reader, mut writer) = client.open_pipe(pipe).await?;
    let outward = async {
        while let Ok(Some(packet)) = timeout(SENDER_IDLE, packets.recv()).await {
            if writer.write(&packet).await.is_err() {
                break;
            }
        }
    };
    let inward = async {
        let mut buffer = vec![0; MAX_PIECE];
        while let Ok(Some(count)) = reader.read_piece(&mut buffer).await {
            let _ = socket.send_to(&buffer[..count], program).await;
        }
    };
    tokio::select! {
        () = outward => {}
        () = inward => {}
    }
    let _ = writer.finish().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_port_alone_is_one_of_this_machine() {
        assert_eq!(local_address("8080").unwrap(), ([127, 0, 0, 1], 8080).into());
        assert_eq!(local_address("[::1]:53").unwrap().to_string(), "[::1]:53");
        for wrong in ["", "70000", "localhost", "1.2.3.4"] {
            assert!(local_address(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn why_it_cannot_listen_is_said_with_what_would_work() {
        let local = ([192, 0, 2, 1], 80).into();
        for (kind, code, advice) in [
            (io::ErrorKind::AddrInUse, 1, "0 for any free one"),
            (io::ErrorKind::AddrNotAvailable, 2, "192.0.2.1 is no address of this machine"),
            (io::ErrorKind::PermissionDenied, 2, "over 1023"),
        ] {
            let failure = cannot_listen(local, &kind.into());
            assert_eq!(failure.exit_code(), code, "{failure}");
            assert!(failure.to_string().contains(advice), "{failure}");
            assert!(!failure.to_string().contains("os error"), "{failure}");
        }
    }

    #[test]
    fn a_remote_service_has_a_peer_and_a_name() {
        let remote: Remote = "@bob:web".parse().unwrap();
        assert_eq!((remote.peer.to_string().as_str(), remote.service.as_str()), ("@bob", "web"));
        for wrong in ["", "@bob", "@bob:", ":web", "@b ob:web"] {
            assert!(wrong.parse::<Remote>().is_err(), "{wrong:?}");
        }
    }
}
