//! The daemon: drives the overlay and the swarm over the network; share library, transfers, local API.
