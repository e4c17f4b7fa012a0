//! Batches that wait for the system's socket: the oldest go when there are too many.

use super::limits::on_the_line;
use crate::socket::EcnCodepoint;
use std::collections::VecDeque;
use std::net::SocketAddr;

/// Bytes that wait at most, with the headers of each datagram: 5 ms of a line of 10 Gbit/s. What waits for longer is of no use to
/// the congestion control of the two ends.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// A batch of datagrams for one address.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) to: SocketAddr,
    /// The length of each datagram but the last.
    pub(super) segment: usize,
    pub(super) ecn: Option<EcnCodepoint>,
    pub(super) bytes: Vec<u8>,
}

impl Parcel {
    fn cost(&self) -> usize {
        on_the_line(self.bytes.len(), self.segment)
    }
}

/// Batches that wait, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    control: VecDeque<Parcel>,
    data: VecDeque<Parcel>,
    data_bytes: usize,
}

/// Answers to binds that wait at most; they are small, and whoever gets none asks again.
const MAX_CONTROL: usize = 1_024;

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.control.is_empty() && self.data.is_empty()
    }

    /// Keeps a batch of a session's packets. Answers how many bytes had to go for it.
    pub(super) fn push_data(&mut self, parcel: Parcel) -> usize {
        self.data_bytes += parcel.cost();
        self.data.push_back(parcel);
        let mut dropped = 0;
        while self.data_bytes > MAX_BYTES {
            let Some(oldest) = self.data.pop_front() else { break };
            self.data_bytes -= oldest.cost();
            dropped += oldest.bytes.len();
        }
        dropped
    }

    /// Keeps a frame that is no data. Answers whether there was room.
    pub(super) fn push_control(&mut self, parcel: Parcel) -> bool {
        let room = self.control.len() < MAX_CONTROL;
        if room {
            self.control.push_back(parcel);
        }
        room
    }

    /// The batch that is next, control first, and whether it is data.
    pub(super) fn front(&self) -> Option<(&Parcel, bool)> {
        match self.control.front() {
            Some(control) => Some((control, false)),
            None => self.data.front().map(|data| (data, true)),
        }
    }

    /// Of the batch that is next, only so many bytes at its end are still to be sent.
    pub(super) fn keep(&mut self, left: usize) {
        let (queue, is_data) = match self.control.is_empty() {
            true => (&mut self.data, true),
            false => (&mut self.control, false),
        };
        let Some(next) = queue.front_mut() else { return };
        let before = next.cost();
        next.bytes.drain(..next.bytes.len().saturating_sub(left));
        let after = next.cost();
        if next.bytes.is_empty() {
            queue.pop_front();
        }
        if is_data {
            self.data_bytes -= before - after;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parcel(number: u8, bytes: usize) -> Parcel {
        let to = SocketAddr::from(([192, 0, 2, number], 1));
        Parcel { to, segment: 1_200, ecn: None, bytes: vec![number; bytes] }
    }

    #[test]
    fn when_it_is_full_the_oldest_data_goes_and_control_stays() {
        let mut outbox = Outbox::default();
        assert!(outbox.push_control(parcel(0, 24)));
        assert_eq!(outbox.push_data(parcel(1, MAX_BYTES / 3)), 0);
        assert_eq!(outbox.push_data(parcel(2, MAX_BYTES / 3)), 0);
        assert_eq!(outbox.push_data(parcel(3, MAX_BYTES / 3)), MAX_BYTES / 3, "headers count");
        let mut order = Vec::new();
        while let Some((next, is_data)) = outbox.front() {
            order.push(next.bytes[0]);
            assert_eq!(is_data, next.bytes[0] != 0);
            // The half of it first.
            let length = next.bytes.len();
            outbox.keep(length / 2);
            assert_eq!(outbox.front().map(|(same, _)| same.bytes.len()), Some(length / 2));
            outbox.keep(0);
        }
        assert_eq!(order, [0, 2, 3]);
        assert_eq!(outbox.data_bytes, 0);
    }
}
