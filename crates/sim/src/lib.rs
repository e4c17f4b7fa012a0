//! A seeded discrete-event network that drives the very same overlay and swarm.
