//! A tunnel at work: what waits is written, what comes is handed on.

use super::queue::Queue;
use super::{Inbound, Pipe, Tunnels, wire};
use bytes::BytesMut;
use std::fmt;
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// How long no datagram may come before a tunnel is let go. Connections through it are proven alive
/// every few seconds, so one on which nothing comes carries nothing.
pub(super) const IDLE: Duration = Duration::from_secs(30);

/// Bytes that are read in one go.
const READ: usize = 32 * 1024;

/// After how long a silence the system asks whether the other end is there, and how often.
const TCP_KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Why a tunnel ended.
#[derive(Debug)]
pub(super) enum End {
    /// This side has closed it.
    Closed,
    /// The other side has closed it, or the connection broke.
    Broken(io::Error),
    /// It carried nothing.
    Idle,
    /// What it carried was for nobody.
    Unused,
    /// What came was against the rules.
    Misused,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("closed here"),
            Self::Broken(error) => write!(f, "broken: {error}"),
            Self::Idle => f.write_str("nothing came for too long"),
            Self::Unused => f.write_str("neither a connection nor a slot uses it"),
            Self::Misused => f.write_str("a rule was broken"),
        }
    }
}

/// Carries datagrams until one side ends it.
pub(super) async fn carry<S: AsyncRead + AsyncWrite>(
    tunnels: &Tunnels,
    pipe: &Pipe,
    stream: S,
) -> End {
    let (reader, writer) = tokio::io::split(stream);
    let end = tokio::select! {
        end = read(tunnels, pipe, reader) => end,
        end = write(&pipe.queue, writer) => end,
        () = pipe.stop.cancelled() => End::Closed,
    };
    if matches!(end, End::Misused) {
        tunnels.counters.tunnels_misused.increment();
    }
    end
}

async fn read(tunnels: &Tunnels, pipe: &Pipe, mut reader: impl AsyncRead + Unpin) -> End {
    let mut come = BytesMut::with_capacity(READ);
    let mut idle_at = Instant::now() + IDLE;
    loop {
        match timeout_at(idle_at, reader.read_buf(&mut come)).await {
            Err(_) => return End::Idle,
            Ok(Err(error)) => return End::Broken(error),
            Ok(Ok(0)) => return End::Broken(io::ErrorKind::UnexpectedEof.into()),
            Ok(Ok(_)) => {}
        }
        match hand_on(tunnels, pipe, &mut come, &tunnels.inbox).await {
            // Empty datagrams are no sign of life: they cost nothing to send for ever.
            Some(0) => {}
            Some(_) => {
                pipe.heard.store(tunnels.millis(), Ordering::Relaxed);
                idle_at = Instant::now() + IDLE;
            }
            None => return End::Misused,
        }
        come.reserve(READ);
    }
}

/// Answers how many datagrams came; `None` if a rule was broken.
async fn hand_on(
    tunnels: &Tunnels,
    pipe: &Pipe,
    come: &mut BytesMut,
    inbox: &mpsc::Sender<Inbound>,
) -> Option<usize> {
    let mut datagrams = 0;
    loop {
        match wire::read(come) {
            Ok(Some(datagram)) => {
                tunnels.counters.tunnel_datagrams_in.increment();
                // It is closed when the endpoint is gone, and the tunnel with it.
                if inbox.send((pipe.address, datagram)).await.is_err() {
                    return Some(datagrams);
                }
                datagrams += 1;
            }
            Ok(None) => return Some(datagrams),
            Err(error) => {
                tracing::debug!(peer = %pipe.peer, %error, "a tunnel is misused");
                return None;
            }
        }
    }
}

async fn write(queue: &Queue, mut writer: impl AsyncWrite + Unpin) -> End {
    let mut bytes = Vec::new();
    while queue.take(&mut bytes).await {
        let written = async {
            writer.write_all(&bytes).await?;
            writer.flush().await
        };
        if let Err(error) = written.await {
            return End::Broken(error);
        }
        bytes.clear();
    }
    // The other side learns by it that this end is no accident; if it cannot, it finds out itself.
    let _ = writer.shutdown().await;
    End::Closed
}

/// What each TCP connection of a tunnel is told.
pub(super) fn prepare(stream: &TcpStream) {
    let keep_alive =
        socket2::TcpKeepalive::new().with_time(TCP_KEEP_ALIVE).with_interval(TCP_KEEP_ALIVE);
    let set = stream
        .set_nodelay(true)
        .and_then(|()| socket2::SockRef::from(stream).set_tcp_keepalive(&keep_alive));
    if let Err(error) = set {
        tracing::debug!(%error, "a TCP connection keeps the system's own settings");
    }
}
