//! What is between two ends: a relay as a node is one, or a bare forwarder.

use crate::quic::{loopback, open_to_all};
use crate::usage;
use crate::worker::Boss;
use anyhow::{Context as _, Result};
use quinn::udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use serde::{Deserialize, Serialize};
use skein_net::Endpoint;
use skein_net::relay::RelayLimits;
use skein_proto::{KeyPair, Username};
use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::Interest;

/// A slot, as the relay grants it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Slot {
    pub(super) slot: u64,
    pub(super) keys: [[u8; 32]; 2],
}

/// What whoever is in the middle is asked.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Question {
    Cpu,
    Memory,
    Moved,
    Grant,
    /// So many, each to another name.
    GrantMany(u32),
    ForwardTo(SocketAddr),
}

/// The worker that relays as a node does.
///
/// # Errors
/// The network's.
pub async fn relay(mut boss: Boss) -> Result<()> {
    let (slot_rate, name_rate, total_rate) = (u32::MAX, u32::MAX, u32::MAX);
    let limits = RelayLimits {
        slots: 100_000,
        slots_per_name: 100_000,
        slot_rate,
        name_rate,
        total_rate,
        ..RelayLimits::default()
    };
    let key = KeyPair::from_seed(&rand::random());
    let endpoint = Endpoint::bind(&key, loopback(), open_to_all().relay(limits))?;
    boss.say(&endpoint.local_addr()?)?;
    let mut names = 0;
    let mut grant = || {
        names += 1;
        let name = Username::parse(&format!("donee{names}")).context("a name")?;
        let grant = endpoint.relay().grant(&name)?;
        anyhow::Ok(Slot { slot: grant.slot.get(), keys: grant.keys.map(|key| key.to_bytes()) })
    };
    while let Some(question) = boss.next::<Question>().await? {
        match question {
            Question::Cpu => boss.say(&usage::cpu().as_secs_f64())?,
            Question::Memory => boss.say(&usage::memory()?)?,
            Question::Moved => boss.say(&endpoint.relay().usage().bytes)?,
            Question::Grant => boss.say(&grant()?)?,
            Question::GrantMany(slots) => {
                let granted: Vec<Slot> = (0..slots).map(|_| grant()).collect::<Result<_>>()?;
                boss.say(&granted)?;
            }
            Question::ForwardTo(_) => boss.say(&())?,
        }
    }
    Ok(())
}

/// A socket on loopback as the system has it, with segmentation offload where there is any.
pub(super) fn udp_socket() -> Result<(tokio::net::UdpSocket, UdpSocketState)> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
    socket.set_recv_buffer_size(2 << 20)?;
    socket.set_send_buffer_size(2 << 20)?;
    socket.bind(&loopback().into())?;
    socket.set_nonblocking(true)?;
    let socket = tokio::net::UdpSocket::from_std(socket.into())?;
    let state = UdpSocketState::new((&socket).into())?;
    Ok((socket, state))
}

/// The worker that forwards whatever comes, and does nothing else: each batch that the system
/// gives it in one piece goes out in one piece.
///
/// # Errors
/// The system's.
pub async fn forward(mut boss: Boss) -> Result<()> {
    let (socket, state) = udp_socket()?;
    boss.say(&socket.local_addr()?)?;
    let (tell, mut told) = tokio::sync::watch::channel(None);
    let moved = Arc::<AtomicU64>::default();
    let moving = Arc::clone(&moved);
    tokio::spawn(async move {
        let _ = told.changed().await;
        let mut caller = None;
        let mut buffers = vec![vec![0; 65_536]; BATCH_SIZE];
        let mut meta = [RecvMeta::default(); BATCH_SIZE];
        loop {
            let _ = socket.readable().await;
            let mut slices: Vec<IoSliceMut<'_>> =
                buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
            let received = socket.try_io(Interest::READABLE, || {
                state.recv((&socket).into(), &mut slices, &mut meta)
            });
            let Ok(count) = received else { continue };
            let target: Option<SocketAddr> = *told.borrow_and_update();
            for (buffer, meta) in slices.iter().zip(&meta).take(count) {
                let to = if Some(meta.addr) == target { caller } else { target };
                if Some(meta.addr) != target {
                    caller = Some(meta.addr);
                }
                let Some(destination) = to else { continue };
                let transmit = Transmit {
                    destination,
                    ecn: meta.ecn,
                    contents: &buffer[..meta.len],
                    segment_size: (meta.len > meta.stride).then_some(meta.stride),
                    src_ip: None,
                };
                // What the system has no room for is lost.
                let sent = socket
                    .try_io(Interest::WRITABLE, || state.try_send((&socket).into(), &transmit));
                if sent.is_ok() {
                    moving.fetch_add(meta.len as u64, Ordering::Relaxed);
                }
            }
        }
    });
    while let Some(question) = boss.next::<Question>().await? {
        match question {
            Question::Cpu => boss.say(&usage::cpu().as_secs_f64())?,
            Question::Moved => boss.say(&moved.load(Ordering::Relaxed))?,
            Question::ForwardTo(target) => {
                tell.send_replace(Some(target));
                boss.say(&())?;
            }
            _ => boss.say(&())?,
        }
    }
    Ok(())
}
