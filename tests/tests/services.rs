//! Services of a peer's machine: `skein pipe`, `skein forward` and who may use them.

#![allow(clippy::expect_used)]

use skein_node::api::people::OpenPipe;
use skein_node::services::MAX_PIECE;
use skein_tests::{Network, Node, Process, files, within_patience};
use std::fs::File;
use std::net::SocketAddr;
use std::process::Stdio;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;

/// A program that says what it is told, and ends when it is told the end.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it listens");
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = tcp.split();
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
                let _ = writer.shutdown().await;
            });
        }
    });
    address
}

/// Alice offers the program to bob; both are attached to a supernode.
async fn offered(network: &Network, words: &[&str]) -> (Node, Node, Node) {
    let [goose] = network.supernodes(["goose"], &[]).await;
    let [alice, bob] = network.nodes(["alice", "bob"]).await;
    let _ = alice.run(&[&["service", "add"], words, &["--allow", "bob"]].concat()).await.worked();
    let _ = bob.find_until("alice", |_, nodes| nodes.iter().any(|node| node.online)).await;
    (goose, alice, bob)
}

/// A forward of a local port that the system chooses, and where it is.
async fn forward(node: &Node, network: &Network, words: &[&str]) -> (Process, SocketAddr) {
    let command = node.command(&[&["forward", "--exit-with-parent"], words].concat());
    let mut forward = Process::spawn("forward", command, &network.folder("logs").join("forward"));
    let ready: serde_json::Value = forward.next_json().await.expect("it listens");
    let address = ready["address"].as_str().expect("an address");
    (forward, address.parse().expect("an address"))
}

#[tokio::test]
async fn a_pipe_carries_50_mb_both_ways_and_ends_when_both_sides_have() {
    let network = Network::start().await;
    let target = echo().await.to_string();
    let (_goose, _alice, bob) = offered(&network, &["echo", &target]).await;
    let folder = network.folder("files");
    let (sent, came) = (folder.join("sent"), folder.join("came"));
    let content = files::write_noise(&sent, "pipe", 50_000_000);

    let mut command = bob.command(&["pipe", "@alice", "echo"]);
    command
        .stdin(File::open(&sent).expect("it is there"))
        .stdout(File::create(&came).expect("it can be made"))
        .stderr(Stdio::piped());
    let child = tokio::process::Command::from(command).kill_on_drop(true).spawn();
    let output = child.expect("it starts").wait_with_output();
    let output = within_patience("the pipe does not end", output).await.expect("it ends");
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "nothing but the bytes: {output:?}");
    assert_eq!(files::content_of(&came), content);
}

#[tokio::test]
async fn who_is_not_listed_is_refused_as_if_there_were_no_such_service() {
    let network = Network::start().await;
    let target = echo().await.to_string();
    let (_goose, alice, bob) = offered(&network, &["echo", &target]).await;
    let [carol] = network.nodes(["carol"]).await;
    let refused = carol.run(&["pipe", "@alice", "echo"]).await;
    assert_eq!(refused.code(), Some(1));
    assert_eq!(refused.stdout(), "");
    let words = refused.refusal().to_owned();
    let unknown = carol.run(&["pipe", "@alice", "nothing"]).await;
    assert_eq!(unknown.refusal().replace("nothing", "echo"), words);

    let _ = alice.run(&["service", "rm", "echo"]).await.worked();
    assert_eq!(bob.run(&["pipe", "@alice", "echo"]).await.code(), Some(1));
    for wrong in [&["pipe", "@a lice", "echo"][..], &["pipe", "@alice", "NO SUCH"]] {
        let wrong = bob.run(wrong).await;
        assert_eq!(wrong.code(), Some(2), "{wrong:?}");
        let _ = wrong.refusal();
    }
}

#[tokio::test]
async fn a_forward_holds_its_port_until_the_process_that_started_it_is_gone() {
    let network = Network::start().await;
    let target = echo().await.to_string();
    let (_goose, _alice, bob) = offered(&network, &["echo", &target]).await;
    let (mut held, address) = forward(&bob, &network, &["0", "@alice:echo"]).await;
    let taken = bob.run(&["forward", &address.to_string(), "@alice:echo"]).await;
    assert_eq!(taken.code(), Some(1), "{}", taken.refusal());
    assert!(taken.refusal().contains("is in use"), "{}", taken.refusal());
    held.close_stdin();
    assert!(held.ended().await.success());
}

/// The first thing that a forward says.
async fn announced(node: &Node, network: &Network, remote: &str) -> serde_json::Value {
    let command = node.command(&["forward", "--exit-with-parent", "0", remote]);
    let mut forward = Process::spawn("forward", command, &network.folder("logs").join("forward"));
    let ready = forward.next_json().await.expect("it listens");
    forward.close_stdin();
    assert!(forward.ended().await.success());
    ready
}

#[tokio::test]
async fn a_forward_says_at_its_start_whether_the_service_can_be_had() {
    let network = Network::start().await;
    let program = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let target = program.local_addr().expect("it listens").to_string();
    let (_goose, alice, bob) = offered(&network, &["echo", &target]).await;
    let [carol] = network.nodes(["carol"]).await;
    let _ = carol.find_until("alice", |_, nodes| nodes.iter().any(|node| node.online)).await;

    for (who, words) in [
        (&carol, &["forward", "0", "@alice:echo"][..]),
        (&bob, &["forward", "0", "@alice:nothing"]),
        (&bob, &["forward", "--udp", "0", "@alice:echo"]),
    ] {
        let refused = who.run(words).await;
        assert_eq!(refused.code(), Some(2), "{refused:?}");
        assert!(refused.refusal().contains("offers you no service"), "{refused:?}");
        assert_eq!(refused.stdout(), "", "it listens nowhere");
    }
    let ready = announced(&bob, &network, "@alice:echo").await;
    assert!(ready["unreachable"].is_null(), "{ready}");
    let mut waiting = std::pin::pin!(program.accept());
    let knocked = futures_util::FutureExt::now_or_never(waiting.as_mut());
    assert!(knocked.is_none(), "nobody has connected to the program itself");

    let alice = alice.kill();
    let away = within_patience("alice counts as online", async {
        loop {
            let ready = announced(&bob, &network, "@alice:echo").await;
            if !ready["unreachable"].is_null() {
                break ready;
            }
        }
    })
    .await;
    assert!(away["unreachable"].as_str().is_some_and(|why| !why.is_empty()), "{away}");
    drop(alice);
}

#[tokio::test]
async fn many_connections_go_through_one_forwarded_port() {
    let network = Network::start().await;
    let target = echo().await.to_string();
    let (_goose, _alice, bob) = offered(&network, &["echo", &target]).await;
    let (_forward, address) = forward(&bob, &network, &["0", "@alice:echo"]).await;
    // More than get a wide window, and more than an unnamed peer may have streams.
    let talks = (0..32_u8).map(|number| async move {
        let mut tcp = TcpStream::connect(address).await.expect("it accepts");
        let said = vec![number; 100_000];
        let (mut reader, mut writer) = tcp.split();
        let (mut heard, said) = (Vec::new(), &said);
        let talk = async {
            writer.write_all(said).await.expect("it takes it");
            writer.shutdown().await.expect("it takes the end");
        };
        let (_, read) = tokio::join!(talk, reader.read_to_end(&mut heard));
        read.expect("it ends in order");
        assert!(heard == *said, "{number}: {} bytes", heard.len());
    });
    within_patience("some did not end", futures_util::future::join_all(talks)).await;
}

#[tokio::test]
async fn a_reader_that_does_not_read_stops_its_own_writer_and_nobody_else() {
    let network = Network::start().await;
    let target = echo().await.to_string();
    let (_goose, _alice, bob) = offered(&network, &["echo", &target]).await;
    let (_forward, address) = forward(&bob, &network, &["0", "@alice:echo"]).await;
    let mut stalled = Vec::new();
    for _ in 0..10 {
        // It writes for as long as anybody takes it, and reads nothing.
        let mut tcp = TcpStream::connect(address).await.expect("it accepts");
        let mut written = 0_usize;
        let pause = std::time::Duration::from_secs(1);
        while let Ok(Ok(count)) = tokio::time::timeout(pause, tcp.write(&[7; 65_536])).await {
            written += count;
            assert!(written < 64_000_000, "nothing stops it");
        }
        stalled.push(tcp);
    }
    let mut tcp = TcpStream::connect(address).await.expect("it accepts");
    tcp.write_all(b"hello").await.expect("it takes it");
    let mut heard = [0; 5];
    within_patience("the others are stopped as well", tcp.read_exact(&mut heard)).await.expect("5");
    assert_eq!(&heard, b"hello");
}

/// A program that answers each packet with the same backwards.
async fn mirror() -> SocketAddr {
    let program = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let address = program.local_addr().expect("it listens");
    tokio::spawn(async move {
        let mut packet = [0; 2_000];
        while let Ok((count, from)) = program.recv_from(&mut packet).await {
            packet[..count].reverse();
            let _ = program.send_to(&packet[..count], from).await;
        }
    });
    address
}

#[tokio::test]
async fn an_application_sends_packets_over_the_local_api_without_a_port() {
    let network = Network::start().await;
    let target = mirror().await.to_string();
    let (_goose, _alice, bob) = offered(&network, &["voice", &target, "--udp"]).await;
    let pipe = OpenPipe { peer: "@alice".into(), service: "voice".into(), datagrams: true };
    let (mut reader, mut writer) = bob.api().open_pipe(&pipe).await.expect("it opens");
    let (pieces, mut came) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut piece = vec![0; MAX_PIECE];
        while let Ok(Some(count)) = reader.read_piece(&mut piece).await {
            let _ = pieces.send(piece[..count].to_vec());
        }
    });
    // As many bytes as always fit, and packets of several sizes: each comes back as it was cut.
    for size in [1, 160, 1_100_u32] {
        let packet: Vec<u8> = (0..size).map(|byte| byte.to_le_bytes()[0]).collect();
        let backwards: Vec<u8> = packet.iter().rev().copied().collect();
        within_patience(&format!("no packet of {size} bytes came back"), async {
            loop {
                // Packets may get lost, so whoever uses them says things again.
                writer.write(&packet).await.expect("it takes it");
                let pause = std::time::Duration::from_millis(500);
                while let Ok(answer) = tokio::time::timeout(pause, came.recv()).await {
                    // What was said twice is answered twice.
                    if answer.expect("it goes on") == backwards {
                        return;
                    }
                }
            }
        })
        .await;
    }
    let stream = OpenPipe { datagrams: false, ..pipe };
    let refused = bob.api().open_pipe(&stream).await;
    assert!(refused.is_err(), "a service of packets is no stream of bytes");
}

#[tokio::test]
async fn packets_go_through_a_forwarded_udp_port() {
    let network = Network::start().await;
    let target = mirror().await.to_string();
    let (_goose, _alice, bob) = offered(&network, &["voice", &target, "--udp"]).await;
    let (_forward, address) = forward(&bob, &network, &["--udp", "0", "@alice:voice"]).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    socket.connect(address).await.expect("an address");
    let mut packet = [0; 2_000];
    within_patience("no packet came back", async {
        loop {
            // Packets may get lost, so whoever uses them says things again.
            socket.send(b"stressed").await.expect("it is sent");
            let answer = socket.recv(&mut packet);
            let pause = std::time::Duration::from_millis(500);
            if let Ok(Ok(count)) = tokio::time::timeout(pause, answer).await {
                assert_eq!(&packet[..count], b"desserts");
                return;
            }
        }
    })
    .await;
}
