//! What a node decides: joining, publishing, flooding, standby. No I/O and no clock.
