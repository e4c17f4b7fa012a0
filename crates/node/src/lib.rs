//! The daemon: drives the overlay and the swarm over the network; share library, transfers and
//! the local API.

pub mod account;
pub mod api;
pub mod config;
pub mod daemon;
pub mod home;
mod inbox;
pub mod library;
pub mod metrics;
pub mod people;
mod rates;
pub mod relay;
pub mod services;
pub mod sessions;
pub mod transfer;
