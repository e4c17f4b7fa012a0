//! A PostgreSQL server of the tests' own, from the Debian package: in a temporary folder, on a
//! Unix socket, without a port. It runs while a test needs it.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tempfile::TempDir;

/// A running server. It is stopped, and all that it wrote is removed, when it is dropped.
pub struct Postgres {
    programs: PathBuf,
    folder: TempDir,
}

static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
static DATABASES: AtomicU32 = AtomicU32::new(0);

impl Postgres {
    /// The server that tests which run at the same time share.
    pub fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = shared.upgrade() {
            return running;
        }
        let started = Arc::new(Self::start());
        *shared = Arc::downgrade(&started);
        started
    }

    /// Makes a database and says its URL.
    pub fn create_database(&self) -> String {
        let name = format!("test{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        let socket = self.folder.path();
        self.run("createdb", |command| {
            command.arg("-h").arg(socket).args(["-U", "skein", &name]);
        });
        format!("postgres:///{name}?host={}&user=skein", socket.display())
    }

    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let server = Self { programs: programs(), folder };
        let (folder, data) = (server.folder.path(), server.data());
        if is_root() {
            let owned = Command::new("chown").arg("postgres:").arg(folder).status();
            assert!(owned.expect("chown runs").success(), "the user postgres gets the folder");
        }
        server.run("initdb", |command| {
            command.arg("-D").arg(&data).args(["--auth=trust", "--username=skein"]);
            command.args(["--no-sync", "--encoding=UTF8", "--locale=C"]);
        });
        // What the tests show of crashes is about our process, not about the machine.
        let options = format!(
            "-k {} -h '' -c fsync=off -c shared_buffers=16MB -c max_connections=300",
            folder.display()
        );
        server.run("pg_ctl", |command| {
            command.arg("start").arg("-D").arg(&data).arg("-w").arg("-o").arg(options);
            command.arg("-l").arg(folder.join("log"));
        });
        server
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn run(&self, program: &str, arguments: impl FnOnce(&mut Command)) {
        let path = self.programs.join(program);
        // The server refuses to run as root, which tests in a container often are.
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]);
            command.arg(path);
            command
        } else {
            Command::new(path)
        };
        arguments(&mut command);
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        let output = command.output().expect("the program runs");
        assert!(
            output.status.success(),
            "{program} failed: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let data = self.data();
        // A failed start leaves nothing to stop, and a panic in a drop would hide why it failed.
        if data.join("postmaster.pid").exists() {
            let stop = || {
                self.run("pg_ctl", |command| {
                    command.arg("stop").arg("-D").arg(data).args(["-m", "immediate", "-w"]);
                });
            };
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(stop)).is_err() {
                eprintln!("the PostgreSQL server of the tests did not stop");
            }
        }
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// The folder of the server's programs: one of `PATH`, or the newest one that Debian installed.
fn programs() -> PathBuf {
    let is_complete = |folder: &PathBuf| {
        ["initdb", "pg_ctl", "postgres", "createdb"].iter().all(|name| folder.join(name).is_file())
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(found) = std::env::split_paths(&path).find(is_complete) {
        return found;
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    folders.retain(is_complete);
    folders.sort_by_key(|folder| version(folder));
    folders.pop().expect("PostgreSQL is not installed: install the Debian package `postgresql`")
}

fn version(folder: &Path) -> Option<u32> {
    folder.parent()?.file_name().and_then(OsStr::to_str)?.parse().ok()
}
