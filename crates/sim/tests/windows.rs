//! Windows of time: what happens in the next one is taken from the queue beside the work of the
//! present one, and whoever stops time sees nothing of that.

use skein_proto::message::RoleSetting;
use skein_sim::physics::Line;
use skein_sim::{Network, Settings};
use std::cell::Cell;
use std::time::Duration;

/// Three supernodes, and others that start one after the other.
fn network(threads: usize) -> Network {
    let settings = Settings { window: Duration::MAX, threads, ..Settings::default() };
    let mut network = Network::new(settings);
    for _ in 0..3 {
        network.add_node(RoleSetting::Super, Vec::new());
    }
    // So close that each window is followed by another one at once.
    for number in 0..200 {
        let node = network.place(RoleSetting::Auto, Vec::new(), Line::default());
        network.start_node_at(node, network.now() + Duration::from_micros(number * 700));
    }
    network
}

/// Lets one window pass, unless nothing happens for so long.
fn one_window(network: &mut Network, at_most: Duration) {
    let looks = Cell::new(0);
    network.run_until(at_most, |_| looks.replace(looks.get() + 1) > 0);
}

#[test]
fn time_that_is_stopped_after_each_window_passes_as_it_does_otherwise() {
    let [mut whole, mut stopped] = [network(2), network(2)];
    whole.run_for(Duration::from_secs(20));
    let (mut stops, end) = (0, whole.now());
    while stopped.now() < end {
        stops += 1;
        let left = end.since(stopped.now());
        one_window(&mut stopped, left);
    }
    assert!(stops > 500, "{stops}");
    assert_eq!(stopped.traffic(), whole.traffic());
    assert_eq!(stopped.happenings, whole.happenings);
    for node in 0..203 {
        assert!(whole.is_alive(node));
        assert_eq!(stopped.traffic_of(node), whole.traffic_of(node), "node {node}");
    }
}

#[test]
fn what_is_due_when_time_was_stopped_happens_in_the_next_window() {
    let mut network = network(2);
    let late: Vec<u32> =
        (0..50).map(|_| network.place(RoleSetting::Auto, Vec::new(), Line::default())).collect();
    for node in late {
        one_window(&mut network, Duration::from_secs(1));
        network.start_node_at(node, network.now());
        one_window(&mut network, Duration::from_secs(1));
        assert!(network.is_alive(node));
    }
}

#[test]
fn a_node_that_runs_or_is_about_to_does_not_start_again() {
    for window in [Duration::ZERO, Duration::MAX] {
        let mut network = Network::new(Settings { window, ..Settings::default() });
        network.add_node(RoleSetting::Super, Vec::new());
        let node = network.place(RoleSetting::Auto, Vec::new(), Line::default());
        let lives = network.life(node);
        for _ in 0..2 {
            network.start_node_at(node, network.now());
        }
        network.start_node_at(node, network.now() + Duration::from_secs(1));
        network.run_for(Duration::from_secs(2));
        assert_eq!((network.is_alive(node), network.life(node)), (true, lives + 1));
        // One that was killed does.
        network.kill_node(node);
        network.start_node_at(node, network.now());
        network.run_for(Duration::from_secs(2));
        assert_eq!((network.is_alive(node), network.life(node)), (true, lives + 3));
    }
}
