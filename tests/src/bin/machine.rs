//! What runs on machines of the [NAT lab](skein_tests::natlab) beside `skein`. It ends when its
//! standard input does.
//!
//! `machine echo` listens on a port of the machine's own that the system chooses, prints the
//! address, and says what it is told.
#![allow(clippy::expect_used, clippy::print_stdout)]

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some("echo") => echo(),
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
