//! What runs on machines of the [NAT lab](skein_tests::natlab) beside `skein`. It ends when its
//! standard input does.
//!
//! `machine echo` listens on a port of the machine's own that the system chooses, prints the
//! address, and says what it is told.
//!
//! `machine nat-pmp` is what a router does that knows NAT-PMP (RFC 6886) and nothing else of that
//! sort: it opens the ports that it is asked for, for [`LIFETIME`] each time, and prints which.
#![allow(clippy::expect_used, clippy::print_stdout)]

use std::io;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;

/// Seconds for which a port is promised: they are renewed at the half.
const LIFETIME: u32 = 4;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some("echo") => echo(),
        Some("nat-pmp") => nat_pmp(),
        other => panic!("no program of the lab: {other:?}"),
    }
}

fn echo() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    println!("{}", listener.local_addr().expect("it listens"));
    std::thread::spawn(move || {
        for guest in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || answer(guest));
        }
    });
    let _ = io::copy(&mut io::stdin(), &mut io::sink());
}

fn answer(mut guest: TcpStream) {
    let Ok(mut reader) = guest.try_clone() else { return };
    let _ = io::copy(&mut reader, &mut guest);
    let _ = guest.shutdown(Shutdown::Write);
}

fn nft(rules: &str) {
    let done = Command::new("nft").arg(rules).status();
    assert!(done.expect("nft starts").success(), "{rules}");
}

fn nat_pmp() {
    let socket = UdpSocket::bind("0.0.0.0:5351").expect("nobody else is the router");
    // The address towards the lab's internet, of which this is one that nobody has.
    let outside = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    outside.connect("198.18.255.254:9").expect("there is a way");
    let outside = outside.local_addr().expect("it is bound").ip();
    let IpAddr::V4(outside) = outside else { panic!("an address of IPv4") };
    nft("add table ip pmp");
    nft("add chain ip pmp pre { type nat hook prerouting priority dstnat; }");
    println!("ready");
    std::thread::spawn(move || {
        let mut open = Vec::new();
        let mut request = [0; 64];
        while let Ok((length, from)) = socket.recv_from(&mut request) {
            if let Some(answer) = answer_nat_pmp(&request[..length], from, outside, &mut open) {
                let _ = socket.send_to(&answer, from);
            }
        }
    });
    let _ = io::copy(&mut io::stdin(), &mut io::sink());
}

/// RFC 6886, sections 3.2 and 3.3. Ports that are given back stay open: nobody looks.
fn answer_nat_pmp(
    request: &[u8],
    from: SocketAddr,
    outside: Ipv4Addr,
    open: &mut Vec<SocketAddr>,
) -> Option<Vec<u8>> {
    const EPOCH: [u8; 4] = [0, 0, 0, 1];
    match *request {
        [0, 0] => Some([&[0, 128, 0, 0][..], &EPOCH, &outside.octets()].concat()),
        [0, 1, _, _, high, low, _, _, ref lifetime @ ..] if lifetime.len() == 4 => {
            let inside = SocketAddr::new(from.ip(), u16::from_be_bytes([high, low]));
            let at = open.iter().position(|known| *known == inside).unwrap_or_else(|| {
                open.push(inside);
                let port = port_of(open.len() - 1);
                nft(&format!("add rule ip pmp pre iifname wan udp dport {port} dnat to {inside}"));
                open.len() - 1
            });
            let port = port_of(at);
            println!("{outside}:{port}");
            let ports = [[high, low], port.to_be_bytes()].concat();
            Some([&[0, 129, 0, 0][..], &EPOCH, &ports, &LIFETIME.to_be_bytes()].concat())
        }
        _ => None,
    }
}

/// Another one than the host's: a router may choose.
fn port_of(place: usize) -> u16 {
    u16::try_from(place).map_or(u16::MAX, |place| 45_000 + place)
}
