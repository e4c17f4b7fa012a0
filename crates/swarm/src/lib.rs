//! What a download decides: which piece from whom, who is served next. No I/O and no clock.
