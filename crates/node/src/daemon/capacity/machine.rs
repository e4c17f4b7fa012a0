//! What the operating system says of the machine.
//!
//! Memory, descriptors in use and the battery are read where Linux shows them; other systems are
//! asked for the cores and the limit of open files only.

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};

/// Where the system tells of itself; tests show it other folders.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    proc: PathBuf,
    sys: PathBuf,
}

impl Default for Machine {
    fn default() -> Self {
        Self { proc: "/proc".into(), sys: "/sys".into() }
    }
}

impl Machine {
    /// Bytes of memory that programs could still have, with what this process has, so that a
    /// supernode does not count its own children against itself. A container's limit counts.
    pub(super) fn memory(&self) -> Option<u64> {
        let own = kilobytes(&self.proc.join("self/status"), "VmRSS:").unwrap_or(0);
        let free = kilobytes(&self.proc.join("meminfo"), "MemAvailable:")?;
        let of_machine = free.saturating_add(own);
        // The limit of the second version of control groups; "max" where there is none.
        let of_container = number(&self.sys.join("fs/cgroup/memory.max"));
        Some(of_container.map_or(of_machine, |limit| limit.min(of_machine)))
    }

    /// Cores that this process may use; a container's share counts.
    pub(super) fn cores(&self) -> Option<u64> {
        let cores = std::thread::available_parallelism().ok()?;
        u64::try_from(NonZero::get(cores)).ok()
    }

    /// File descriptors that this process may still open.
    pub(super) fn files_left(&self) -> Option<u64> {
        let open = fs::read_dir(self.proc.join("self/fd")).map_or(0, Iterator::count);
        let open = u64::try_from(open).unwrap_or(u64::MAX);
        Some(file_limit()?.saturating_sub(open))
    }

    /// Whether the machine runs on a battery: one is being emptied, and nothing else is plugged in.
    pub(super) fn on_battery(&self) -> bool {
        let Ok(supplies) = fs::read_dir(self.sys.join("class/power_supply")) else { return false };
        let (mut emptied, mut plugged) = (false, false);
        for supply in supplies.flatten() {
            let supply = supply.path();
            let of_device = says(&supply, "scope", "Device");
            match word(&supply.join("type")).as_deref() {
                // The battery of a mouse or a keyboard is not the machine's.
                Some("Battery") if !of_device => emptied |= says(&supply, "status", "Discharging"),
                Some("Mains" | "USB") => plugged |= says(&supply, "online", "1"),
                _ => {}
            }
        }
        emptied && !plugged
    }
}

#[cfg(unix)]
fn file_limit() -> Option<u64> {
    let limits = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    Some(limits.current.unwrap_or(u64::MAX))
}

#[cfg(not(unix))]
fn file_limit() -> Option<u64> {
    None
}

fn word(file: &Path) -> Option<String> {
    Some(fs::read_to_string(file).ok()?.trim().to_owned())
}

fn says(folder: &Path, file: &str, wanted: &str) -> bool {
    word(&folder.join(file)).is_some_and(|word| word == wanted)
}

fn number(file: &Path) -> Option<u64> {
    word(file)?.parse().ok()
}

/// The number of bytes in a line such as `VmRSS:   1024 kB`.
fn kilobytes(file: &Path, label: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(label))?;
    let kilobytes: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, Machine) {
        let temp = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = temp.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let machine = Machine { proc: temp.path().join("proc"), sys: temp.path().join("sys") };
        (temp, machine)
    }

    const MEMINFO: (&str, &str) =
        ("proc/meminfo", "MemTotal:  8000000 kB\nMemAvailable:    2000 kB\n");
    const STATUS: (&str, &str) = ("proc/self/status", "Name:\tskein\nVmRSS:\t    500 kB\n");

    #[test]
    fn what_the_process_has_itself_counts_as_free() {
        let (_temp, machine) = machine(&[MEMINFO, STATUS]);
        assert_eq!(machine.memory(), Some(2_500 * 1_024));
    }

    #[test]
    fn the_limit_of_a_container_counts() {
        let limit = |text| ("sys/fs/cgroup/memory.max", text);
        let (_temp, bounded) = machine(&[MEMINFO, STATUS, limit("1048576\n")]);
        assert_eq!(bounded.memory(), Some(1_048_576));
        let (_temp, unbounded) = machine(&[MEMINFO, STATUS, limit("max\n")]);
        assert_eq!(unbounded.memory(), Some(2_500 * 1_024));
    }

    #[test]
    fn a_system_that_tells_nothing_is_no_trouble() {
        let (_temp, machine) = machine(&[]);
        assert_eq!((machine.memory(), machine.on_battery()), (None, false));
    }

    #[test]
    fn a_battery_counts_while_it_is_emptied_and_is_the_machines_own() {
        let supply = |name: &str, file: &str| format!("sys/class/power_supply/{name}/{file}");
        let on = |status: &str, online: &str, scope: &str| {
            let files = [
                (supply("BAT0", "type"), "Battery\n"),
                (supply("BAT0", "status"), status),
                (supply("BAT0", "scope"), scope),
                (supply("AC", "type"), "Mains\n"),
                (supply("AC", "online"), online),
            ];
            let files: Vec<(&str, &str)> =
                files.iter().map(|(name, text)| (name.as_str(), *text)).collect();
            let (_temp, machine) = machine(&files);
            machine.on_battery()
        };
        assert!(on("Discharging\n", "0\n", "System\n"));
        assert!(!on("Charging\n", "1\n", "System\n"));
        assert!(!on("Discharging\n", "1\n", "System\n"), "some do so while they are plugged in");
        assert!(!on("Discharging\n", "0\n", "Device\n"), "a mouse");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_machine_is_measured() {
        let machine = Machine::default();
        assert!(machine.memory().is_some_and(|bytes| bytes > 1 << 20));
        assert!(machine.cores().is_some_and(|cores| cores >= 1));
        assert!(machine.files_left().is_some_and(|files| files > 8));
    }
}
