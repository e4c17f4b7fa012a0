//! Sessions and the relay as the local API sees them.

use super::Shared;
use crate::api::backend::EventStream;
use crate::api::types::{
    ApiError, ErrorCode, PingEvent, RelayStatus, SessionInfo, SetRelay, StartPing,
};
use crate::sessions::{PeerName, SessionError};
use futures_util::StreamExt;
use skein_proto::Role;
use std::ops::RangeInclusive;
use std::time::Duration;
use tokio_stream::wrappers::ReceiverStream;

/// Milliseconds between two pings: no flood, and no less than one an hour.
const PING_INTERVAL: RangeInclusive<u32> = 10..=3_600_000;

impl Shared {
    pub(super) async fn ping(&self, ping: StartPing) -> Result<EventStream<PingEvent>, ApiError> {
        let peer: PeerName =
            ping.peer.parse().map_err(|wrong: crate::sessions::PeerNameError| {
                ApiError::bad_request(wrong.to_string())
            })?;
        let interval = ping.interval_ms.unwrap_or(1_000);
        if !PING_INTERVAL.contains(&interval) {
            let (least, most) = (PING_INTERVAL.start(), PING_INTERVAL.end());
            let why = format!("an interval of {interval} ms is not between {least} and {most}");
            return Err(ApiError::bad_request(why));
        }
        let interval = Duration::from_millis(interval.into());
        let events = self.sessions.ping(peer, ping.count, interval).await?;
        Ok(ReceiverStream::new(events).boxed())
    }

    pub(super) fn session_list(&self) -> Vec<SessionInfo> {
        let mut sessions: Vec<SessionInfo> = self
            .sessions
            .all()
            .into_iter()
            .map(|session| SessionInfo {
                node: session.node(),
                name: session.name().clone(),
                called: session.is_dialler(),
                open_secs: session.connection().established_at().elapsed().as_secs(),
                path: session.shown(session.path_now()),
            })
            .collect();
        sessions.sort_by(|a, b| (&a.name, a.node).cmp(&(&b.name, b.node)));
        sessions
    }

    pub(super) async fn relay_status(&self) -> Result<RelayStatus, ApiError> {
        let view = self.driver.view().await;
        let view = view.ok_or_else(|| ApiError::unavailable("the daemon is ending"))?;
        let (limits, usage) = (self.donor.limits(), self.donor.usage());
        Ok(RelayStatus {
            active: view.snapshot.role == Role::Super && limits.slots > 0,
            slots: limits.slots,
            slots_per_name: limits.slots_per_name,
            slot_rate: limits.slot_rate,
            name_rate: limits.name_rate,
            rate: limits.total_rate,
            slots_used: usage.slots,
            granted: usage.granted,
            refused: usage.refused,
            bytes: usage.bytes,
            dropped_over_rate: usage.dropped_over_rate,
            dropped_queue: usage.dropped_queue,
            dropped_unsendable: usage.dropped_unsendable,
            dropped_unbound: usage.dropped_unbound,
            foreign: usage.foreign,
            forged: usage.forged,
            set: self.donor.set(),
            history: self.donor.history(),
        })
    }

    pub(super) async fn set_relay(&self, set: SetRelay) -> Result<RelayStatus, ApiError> {
        self.donor.change(set).await?;
        self.relay_status().await
    }

    pub(super) async fn reset_relay(&self) -> Result<RelayStatus, ApiError> {
        self.donor.reset().await?;
        self.relay_status().await
    }
}

impl From<SessionError> for ApiError {
    fn from(error: SessionError) -> Self {
        let code = match &error {
            SessionError::Unknown(_) | SessionError::NoSuchNode { .. } => ErrorCode::NotFound,
            SessionError::Own | SessionError::Nameless(_) => ErrorCode::BadRequest,
            _ => ErrorCode::Unavailable,
        };
        Self::new(code, error.to_string())
    }
}
