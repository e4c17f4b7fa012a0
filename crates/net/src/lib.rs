//! One UDP port: QUIC connections between peers known by their keys.
