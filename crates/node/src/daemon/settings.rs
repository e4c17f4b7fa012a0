//! What the settings of the daemon come to for each of its parts.

use super::clock::Clock;
use super::remember;
use crate::config::{Config, Reach};
use crate::library::LibraryConfig;
use crate::transfer::TransferConfig;
use rand::RngExt;
use skein_index::Limits;
use skein_net::{BindError, Endpoint, EndpointConfig, bind_everywhere};
use skein_overlay::Overlay;
use skein_proto::message::RoleSetting;
use skein_proto::{KeyPair, NodeId, UnixTime};
use std::path::PathBuf;

/// Inbound connections beside those of children and neighbours: searches for sources, downloads,
/// newcomers that only ask.
const VISITORS: usize = 8_192;

/// Children that keep a supernode as their standby, for each active child that it may have; as
/// many as the overlay allows.
const STANDBYS_PER_CHILD: usize = 2;

/// Opens the UDP port. When the usual port is taken, and nobody asked for it, any other will do, as
/// will IPv4 alone where there is nothing else.
pub(super) fn bind(key: &KeyPair, config: &Config) -> Result<Endpoint, BindError> {
    let bind = |address| Endpoint::bind(key, address, endpoint(config));
    let endpoint = if config.listen_was_given() {
        bind(config.listen())?
    } else {
        match bind_everywhere(config.listen().port(), bind) {
            Err(BindError::AddressInUse(taken)) => {
                tracing::info!(%taken, "the usual port is taken; another one is chosen");
                bind_everywhere(0, bind)?
            }
            other => other?,
        }
    };
    if config.udp() && config.port_mapping() {
        endpoint.map_port();
    }
    Ok(endpoint)
}

/// Links that a supernode with these settings may have.
fn max_links(config: &Config) -> usize {
    let wide = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let children = wide(config.max_children()).saturating_mul(1 + STANDBYS_PER_CHILD);
    children.saturating_add(wide(config.max_neighbours())).saturating_add(VISITORS)
}

/// The settings of the endpoint. It must take in all the children that the overlay may.
pub(super) fn endpoint(config: &Config) -> EndpointConfig {
    EndpointConfig::default()
        .announce_dialled(true)
        .max_incoming(max_links(config))
        .udp(config.udp())
        .tunnel_ports(config.tcp().into())
        .relay(config.relay())
}

/// The overlay; `index_bytes` is what its index may take.
pub(super) fn overlay(
    key: KeyPair,
    login_key: NodeId,
    config: &Config,
    (was_super, last_super): (bool, Option<UnixTime>),
    index_bytes: u64,
    clock: Clock,
) -> Overlay {
    let hidden = config.reach() == Reach::RelayOnly;
    // A supernode has to be found: whoever does not want to be is one only by the user's word.
    let role = match config.role() {
        RoleSetting::Auto if hidden => RoleSetting::Ordinary,
        role => role,
    };
    let limits = Limits { total_bytes: index_bytes, ..Limits::default() };
    let settings = skein_overlay::Config::new(login_key)
        .index_limits(limits)
        .role(role)
        .hidden(hidden)
        .was_super(was_super && role != RoleSetting::Ordinary)
        .away(remember::away(last_super))
        .last_super(last_super)
        .max_children(config.max_children())
        .max_neighbours(usize::try_from(config.max_neighbours()).unwrap_or(usize::MAX))
        .promotion_uptime(config.promotion_uptime())
        .max_links(max_links(config));
    Overlay::new(key, settings, rand::rng().random(), clock.now())
}

pub(super) fn library(config: &Config) -> LibraryConfig {
    LibraryConfig::default()
        .with_hash_workers(usize::try_from(config.scan_workers()).unwrap_or(usize::MAX))
        .with_rescan(config.rescan_interval())
        .with_private(inbox_dir(config))
}

/// Where files go that people send, if the user names no other folder.
pub(super) fn inbox_dir(config: &Config) -> PathBuf {
    config.download_dir().join("inbox")
}

pub(super) fn transfer(config: &Config) -> TransferConfig {
    let mut transfer = TransferConfig::default();
    transfer.upload.slots = usize::try_from(config.upload_slots()).unwrap_or(usize::MAX);
    transfer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigBuilder, Settings};

    #[tokio::test]
    async fn a_supernode_takes_no_more_memory_for_its_index_than_the_machine_has_to_give() {
        let key = KeyPair::from_seed(&[1; 32]);
        let role = Settings { role: Some(RoleSetting::Super), ..Settings::default() };
        let config = ConfigBuilder::new().no_file().flags(role).build().unwrap();
        let clock = Clock::start();
        let overlay = overlay(key.clone(), key.node_id(), &config, (false, None), 123 << 20, clock);
        let supernode = overlay.snapshot(clock.now()).supernode.unwrap();
        assert_eq!(supernode.index_bytes_limit, 123 << 20);
    }
}
