//! The addresses that a login service writes into its ticket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// An address as it was typed, known to be one; the port of the service is still missing where
/// none was given.
///
/// # Errors
/// It is neither an IP address nor a host name (RFC 1123, section 2.1), or the port is no port.
pub fn checked(text: &str) -> Result<String, String> {
    let text = text.trim();
    let wrong = |what: &str| {
        format!("{what}: give HOST:PORT, such as login.example.org:4700 or [2001:db8::1]:4700")
    };
    if text.parse::<SocketAddr>().is_ok_and(|address| address.port() != 0) {
        return Ok(text.to_owned());
    }
    if text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        return Ok(text.to_owned());
    }
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    if port.is_some_and(|port| !port.parse::<u16>().is_ok_and(|port| port != 0)) {
        return Err(wrong("the port is a number from 1 to 65535"));
    }
    if is_host_name(host) { Ok(text.to_owned()) } else { Err(wrong("that is no host")) }
}

fn is_host_name(host: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    // A last label of digits would be a mistyped IPv4 address.
    let is_number = host.rsplit('.').next().is_some_and(|last| last.parse::<u64>().is_ok());
    host.len() <= 253 && !is_number && host.split('.').all(is_label)
}

/// The addresses for the ticket: what was given, with the port added where it is missing; else
/// what this machine calls itself.
pub fn addresses(given: &[String], listen: SocketAddr) -> Vec<String> {
    if given.is_empty() {
        return own(listen).iter().map(ToString::to_string).collect();
    }
    given.iter().map(|address| with_port(address, listen.port())).collect()
}

fn with_port(address: &str, port: u16) -> String {
    if let Ok(ip) = address.trim_matches(['[', ']']).parse::<IpAddr>() {
        return SocketAddr::new(ip, port).to_string();
    }
    if address.contains(':') { address.to_owned() } else { format!("{address}:{port}") }
}

/// Where this machine can be reached, as far as it knows itself.
fn own(listen: SocketAddr) -> Vec<SocketAddr> {
    if !listen.ip().is_unspecified() {
        return vec![listen];
    }
    // The documentation ranges (RFC 5737, RFC 3849): to connect a UDP socket sends nothing, it only
    // asks the routing table which address of this machine would be used.
    let routes = [
        (IpAddr::V4(Ipv4Addr::UNSPECIFIED), "192.0.2.1:9"),
        (IpAddr::V6(Ipv6Addr::UNSPECIFIED), "[2001:db8::1]:9"),
    ];
    let mut found: Vec<SocketAddr> = routes
        .into_iter()
        .filter(|(from, _)| listen.is_ipv6() || from.is_ipv4())
        .filter_map(|(from, to)| {
            let socket = UdpSocket::bind((from, 0)).ok()?;
            socket.connect(to).ok()?;
            Some(socket.local_addr().ok()?.ip())
        })
        .filter(|ip| !ip.is_unspecified())
        .map(|ip| SocketAddr::new(ip, listen.port()))
        .collect();
    if found.is_empty() {
        found.push((Ipv4Addr::LOCALHOST, listen.port()).into());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_address_gets_the_port_that_it_lacks() {
        assert_eq!(with_port("login.example.org", 4700), "login.example.org:4700");
        assert_eq!(with_port("login.example.org:80", 4700), "login.example.org:80");
        assert_eq!(with_port("192.0.2.7", 4700), "192.0.2.7:4700");
        assert_eq!(with_port("192.0.2.7:80", 4700), "192.0.2.7:80");
        assert_eq!(with_port("2001:db8::1", 4700), "[2001:db8::1]:4700");
        assert_eq!(with_port("[2001:db8::1]", 4700), "[2001:db8::1]:4700");
        assert_eq!(with_port("[2001:db8::1]:80", 4700), "[2001:db8::1]:80");
    }

    #[test]
    fn a_service_always_has_an_address_for_its_ticket() {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 4700));
        assert_eq!(own(listen), [listen]);
        let found = own((Ipv6Addr::UNSPECIFIED, 4700).into());
        assert!(!found.is_empty());
        assert!(
            found.iter().all(|address| address.port() == 4700 && !address.ip().is_unspecified())
        );
    }

    #[test]
    fn what_nobody_could_reach_is_refused_before_the_start() {
        for right in ["login.example.org", "login.example.org:80", "192.0.2.7", "[2001:db8::1]:80"]
        {
            assert_eq!(checked(right).as_deref(), Ok(right));
        }
        for wrong in ["not a host", "", ":80", "host:", "host:0", "host:99999", "1.2.3", "-a:1"] {
            let error = checked(wrong).expect_err(wrong);
            assert!(error.contains("login.example.org:4700"), "{error}");
        }
    }
}
