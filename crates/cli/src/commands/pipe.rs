//! `skein pipe`.

use crate::context::{self, Context};
use crate::failure::Failure;
use clap::Args;
use skein_node::api::PipeEnds;
use skein_node::api::people::OpenPipe;
use skein_node::services::MAX_PIECE;
use skein_node::sessions::PeerName;
use std::io::{self, Read as _, Write as _};
use tokio::sync::{mpsc, oneshot};

/// Chunks that wait between this process's own ends and the daemon: enough to read while the last
/// one is written.
const WAITING: usize = 2;

/// Connects standard input and output with a service.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein pipe @bob ssh                      what a service says, as it says it
  ssh -o \"ProxyCommand skein pipe @bob ssh\" bob
Nothing but the bytes of the service is printed. The end of standard input is passed on, and what
the service still says is printed. Bob offers the service with
`skein service add ssh 127.0.0.1:22 --allow alice`.
Exit codes: 0 both sides have ended; 1 the service is refused or it broke off; 2 wrong input.")]
pub struct PipeArgs {
    /// Whose service: @NAME, or @NAME/NODE
    #[arg(value_name = "@NAME")]
    peer: PeerName,
    /// Its name
    service: String,
}

/// Connects them.
///
/// # Errors
/// The daemon does not run, the peer is not there or does not want to, or it broke off.
pub fn run(context: &Context, args: PipeArgs) -> Result<(), Failure> {
    let peer = args.peer.to_string();
    let pipe = OpenPipe { peer: peer.clone(), service: args.service, datagrams: false };
    context::block_on(async {
        let ends = context.client()?.open_pipe(&pipe).await.map_err(Failure::of_peer)?;
        connect(ends, &peer).await
    })
}

async fn connect((mut reader, mut writer): PipeEnds, peer: &str) -> Result<(), Failure> {
    let broken = || Failure::failed(format!("the session with {peer} broke off"));
    let mut input = stdin();
    let outward = async {
        while let Some(read) = input.recv().await {
            let Ok(chunk) = read else { return false };
            // A service that takes no more may still have something to say.
            if writer.write(&chunk).await.is_err() {
                return true;
            }
        }
        let _ = writer.finish().await;
        true
    };
    let mut inward = Box::pin(async {
        let (output, written) = stdout();
        let mut buffer = vec![0; MAX_PIECE];
        loop {
            match reader.read(&mut buffer).await.map_err(|_| broken())? {
                0 => break,
                count => {
                    if output.send(buffer[..count].to_vec()).await.is_err() {
                        break;
                    }
                }
            }
        }
        drop(output);
        // The thread answers before it ends, whatever happens.
        written.await.unwrap_or(Ok(()))?;
        Ok::<_, Failure>(())
    });
    tokio::pin!(outward);
    let whole = tokio::select! {
        whole = &mut outward => {
            if !whole {
                return Err(Failure::failed("cannot read standard input"));
            }
            return inward.await;
        }
        done = &mut inward => done,
    };
    whole?;
    // What is typed still goes out, until the daemon closes: nobody takes it any more then.
    drop(inward);
    tokio::select! {
        _ = outward => {}
        () = reader.closed() => {}
    }
    Ok(())
}

/// Standard input, read on a thread of its own: a blocked read cannot be called off, and must not
/// hold up the end of the process.
fn stdin() -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (chunks, receiver) = mpsc::channel(WAITING);
    std::thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        let mut buffer = vec![0; MAX_PIECE];
        loop {
            let read = match stdin.read(&mut buffer) {
                Ok(0) => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.map(|count| buffer[..count].to_vec()),
            };
            if read.is_err() || chunks.blocking_send(read).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Standard output, written on a thread of its own for the same reason; and how that ended.
fn stdout() -> (mpsc::Sender<Vec<u8>>, oneshot::Receiver<io::Result<()>>) {
    let (sender, mut chunks) = mpsc::channel::<Vec<u8>>(WAITING);
    let (done, is_done) = oneshot::channel();
    std::thread::spawn(move || {
        let mut stdout = io::stdout().lock();
        let mut write = || -> io::Result<()> {
            while let Some(chunk) = chunks.blocking_recv() {
                stdout.write_all(&chunk)?;
                stdout.flush()?;
            }
            Ok(())
        };
        let _ = done.send(write());
    });
    (sender, is_done)
}
