//! What an endpoint stands on: a UDP socket or none, and places where tunnels are taken.

use super::dial::HTTPS;
use super::{TunnelPorts, TunnelSettings};
use crate::config::EndpointConfig;
use crate::error::BindError;
use crate::socket::{AlwaysWritable, DatagramSocket, RecvMeta, Transmit, UdpSocket, WritePoller};
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::net::TcpListener;

/// Free UDP ports that are tried until one is free for TCP as well.
const FREE_PORTS: usize = 8;

/// TCP connections that wait to be accepted.
const BACKLOG: i32 = 256;

/// Datagrams that one call may send or receive where there is no UDP.
const SEGMENTS: usize = 16;

/// What an endpoint stands on.
pub(crate) struct Base {
    pub(super) socket: Arc<dyn DatagramSocket>,
    pub(super) has_udp: bool,
    pub(super) listeners: Vec<TcpListener>,
}

/// Opens what the settings ask for: a UDP socket, and places where tunnels are taken.
pub(crate) fn open_base(address: SocketAddr, config: &EndpointConfig) -> Result<Base, BindError> {
    let settings = config.tunnels();
    let failed = |error| BindError::from_io(address, error);
    if !settings.udp {
        return without_udp(address, config.accepts(), settings).map_err(failed);
    }
    let takes = config.accepts() && settings.ports != TunnelPorts::Off;
    let mut left = if address.port() == 0 { FREE_PORTS } else { 1 };
    loop {
        left -= 1;
        let socket = UdpSocket::bind(address, config.kernel_buffer()).map_err(failed)?;
        let mut listeners = Vec::new();
        if takes {
            let bound = socket.local_addr().map_err(failed)?;
            match listen(bound) {
                Ok(listener) => listeners.push(listener),
                Err(_) if left > 0 => continue,
                Err(error) => tracing::warn!(
                    address = %bound, %error,
                    "TCP cannot be had at this port: nodes whose network blocks UDP cannot come in"
                ),
            }
            listeners.extend(listen_at_https(bound, settings));
        }
        return Ok(Base { socket: Arc::new(socket), has_udp: true, listeners });
    }
}

fn without_udp(address: SocketAddr, accepts: bool, settings: TunnelSettings) -> io::Result<Base> {
    let mut listeners = Vec::new();
    let mut bound = address;
    if accepts && settings.ports != TunnelPorts::Off {
        let listener = listen(address)?;
        bound = listener.local_addr()?;
        listeners.push(listener);
        listeners.extend(listen_at_https(bound, settings));
    }
    Ok(Base { socket: Arc::new(NoUdp { address: bound }), has_udp: false, listeners })
}

fn listen_at_https(bound: SocketAddr, settings: TunnelSettings) -> Option<TcpListener> {
    if settings.ports != TunnelPorts::Auto || bound.ip().is_loopback() || bound.port() == HTTPS {
        return None;
    }
    match listen(SocketAddr::new(bound.ip(), HTTPS)) {
        Ok(listener) => Some(listener),
        Err(error) => {
            tracing::info!(%error, "TCP port 443, which the strictest networks pass, cannot be had");
            None
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        // A machine that cannot do both takes IPv6 only, as its UDP socket does.
        let _ = socket.set_only_v6(false);
    }
    // Connections of a process that was here before may still be closing (RFC 9293, TIME-WAIT).
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Where there is no UDP, nothing comes, and what is sent is lost.
#[derive(Debug)]
struct NoUdp {
    address: SocketAddr,
}

impl DatagramSocket for NoUdp {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    fn try_send(&self, _: &Transmit<'_>) -> io::Result<()> {
        Ok(())
    }

    fn write_poller(self: Arc<Self>) -> Pin<Box<dyn WritePoller>> {
        Box::pin(AlwaysWritable)
    }

    fn poll_recv(
        &self,
        _: &mut Context<'_>,
        _: &mut [IoSliceMut<'_>],
        _: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn max_transmit_segments(&self) -> usize {
        SEGMENTS
    }

    fn max_receive_segments(&self) -> usize {
        SEGMENTS
    }
}
