//! Disks that cannot be read, or hold no more.

#![allow(clippy::expect_used)]

use skein_node::api::types::{DownloadState, Share};
use skein_tests::node::follow;
use skein_tests::{Network, files};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

#[tokio::test]
async fn what_cannot_be_read_is_told_and_the_rest_is_shared() {
    let network = Network::start().await;
    let [goose] = network.supernodes(["goose"], &[]).await;
    let folder = network.folder("music");
    files::write_text(&folder.join("open tide.txt"), "open");
    files::write_text(&folder.join("closed tide.txt"), "closed");
    files::write_text(&folder.join("closed folder/hidden tide.txt"), "hidden");
    for closed in ["closed tide.txt", "closed folder"] {
        fs::set_permissions(folder.join(closed), Permissions::from_mode(0o000))
            .expect("it is ours");
    }

    let user = network.registered("alice").await;
    let alice = user.up_with(&["--role", "ordinary"], without_privilege).await;
    let _ = alice.run(&["share", "add", folder.to_str().expect("plain")]).await.worked();
    alice.published(1).await;
    assert_eq!(goose.search(&["tide"]).await.names(), ["open tide.txt"]);
    let shares: Vec<Share> = alice.run(&["share", "ls"]).await.worked().json();
    let share = shares.first().expect("the folder is shared");
    assert!(share.files == 1 && share.unreadable == 2, "{share:?}");

    // The folder of the test can be removed again.
    fs::set_permissions(folder.join("closed folder"), Permissions::from_mode(0o700)).expect("ours");
}

/// A superuser reads everything, unless the process gives up the capabilities that make it so.
fn without_privilege(command: Command) -> Command {
    if !rustix::process::geteuid().is_root() {
        return command;
    }
    let mut wrapped = Command::new("setpriv");
    wrapped.args(["--bounding-set=-dac_override,-dac_read_search", "--"]);
    wrapped.arg(command.get_program()).args(command.get_args());
    keep_environment(&command, &mut wrapped);
    wrapped
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_not_shared() {
    let network = Network::start().await;
    let alice = network.registered("alice").await.up(&[]).await;
    let missing = alice.run(&["share", "add", "/no/such/folder"]).await;
    assert!(missing.refusal().contains("/no/such/folder"), "{missing:?}");
    assert_eq!(missing.code(), Some(2));
}

#[tokio::test]
async fn a_full_disk_stops_a_download_and_nothing_else() {
    let network = Network::start().await;
    let _supernode = network.supernodes(["goose"], &[]).await;
    let [alice] = network.nodes(["alice"]).await;
    let folder = network.folder("large");
    let content = files::write_noise(&folder.join("large.bin"), "full disk", 48 * 1024 * 1024);
    let small = files::write_noise(&folder.join("small.bin"), "fits", 100_000);
    alice.share(&folder, 2).await;

    let Some(disk) = SmallDisk::mount(network.folder("disk"), "24m") else {
        return skein_tests::skipped("only the superuser can make a small disk");
    };
    let user = network.registered("bob").await;
    let home = disk.folder().join("bob");
    move_folder(user.data_dir(), &home);
    let bob = user.with_data_dir(&home).up(&["--role", "ordinary"]).await;
    bob.until("has a parent", |status| status.attachment.parent.is_some()).await;

    let into = disk.folder().join("fetched");
    let mut get = bob.start_get(content, &into);
    let is_full = |state: &DownloadState| matches!(state, DownloadState::Waiting { reason } if reason.contains("disk is full"));
    follow(&mut get, |download| is_full(&download.state)).await;
    assert_eq!(bob.search(&["small"]).await.hits.len(), 1, "the rest goes on");

    // With more room the download goes on by itself.
    disk.grow("160m");
    let done = follow(&mut get, |download| download.state == DownloadState::Done).await;
    assert_eq!(files::content_of(&done.path), content);
    let mut get = bob.start_get(small, &into);
    follow(&mut get, |download| download.state == DownloadState::Done).await;
}

/// What a user sees where a quota or a limit says how long a file may be, and what any user can try
/// out: the limit is the daemon's own.
#[tokio::test]
async fn a_file_that_may_not_be_that_long_waits_and_nothing_else_does() {
    let network = Network::start().await;
    let _supernode = network.supernodes(["goose"], &[]).await;
    let [alice] = network.nodes(["alice"]).await;
    let folder = network.folder("large");
    let content = files::write_noise(&folder.join("large.bin"), "long file", 24 * 1024 * 1024);
    let small = files::write_noise(&folder.join("small.bin"), "fits", 100_000);
    alice.share(&folder, 2).await;
    let user = network.registered("bob").await;
    let mut bob = user.up_with(&["--role", "ordinary"], with_short_files).await;
    bob.until("has a parent", |status| status.attachment.parent.is_some()).await;

    let into = network.folder("fetched");
    let mut get = bob.start_get(content, &into);
    let is_full = |state: &DownloadState| matches!(state, DownloadState::Waiting { reason } if reason.contains("disk is full"));
    follow(&mut get, |download| is_full(&download.state)).await;
    let mut other = bob.start_get(small, &into);
    follow(&mut other, |download| download.state == DownloadState::Done).await;

    let pid = bob.process().pid().to_string();
    let lifted = Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited:"]).status();
    assert!(lifted.is_ok_and(|status| status.success()), "the limit can be lifted");
    let done = follow(&mut get, |download| download.state == DownloadState::Done).await;
    assert_eq!(files::content_of(&done.path), content);
}

/// Lets a process write no file that is longer than 16 MiB. It is told so, and not killed for it.
fn with_short_files(command: Command) -> Command {
    let limited = format!("trap '' XFSZ; exec prlimit --fsize={}: \"$0\" \"$@\"", 16 << 20);
    let mut wrapped = Command::new("sh");
    wrapped.args(["-c", &limited]).arg(command.get_program()).args(command.get_args());
    keep_environment(&command, &mut wrapped);
    wrapped
}

fn keep_environment(command: &Command, wrapped: &mut Command) {
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
}

fn move_folder(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp runs");
    assert!(status.success(), "the data folder can be copied");
}

/// A file system in memory that holds little.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` if this user may not mount one.
    fn mount(folder: PathBuf, size: &str) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(&folder)
            .stderr(std::process::Stdio::null())
            .status();
        mounted.is_ok_and(|status| status.success()).then_some(Self(folder))
    }

    fn folder(&self) -> &Path {
        &self.0
    }

    fn grow(&self, size: &str) {
        let status = Command::new("mount")
            .args(["-o", &format!("remount,size={size}")])
            .arg(&self.0)
            .status()
            .expect("mount runs");
        assert!(status.success(), "the disk can grow");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that is just going may still hold a file on it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
