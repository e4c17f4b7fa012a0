//! How the allocator goes about with large pages.
//!
//! What a large network holds is in no cache, and each look at it is one more at the tables of
//! addresses where pages are small. mimalloc asks for large ones, but gives back what has been free
//! for a second in pieces of 64 KiB, by which the system splits them: of 4.8 GB 0.9 are in large
//! pages then. It reads its options from the environment before anything of the program runs, so the
//! program begins once more with the right one.

use std::env;
use std::process::Command;

/// That only whole large pages are given back, and what that option has to say.
const OPTION: (&str, &str) = ("MIMALLOC_ALLOW_THP", "2");

/// Begins once more with large pages left whole, unless the environment says what to do with them, as
/// it does the second time. Where that does not work things go on as they are.
#[cfg(target_os = "linux")]
pub fn keep_large() {
    use std::os::unix::process::CommandExt;
    let (option, value) = OPTION;
    let mut arguments = env::args_os();
    if env::var_os(option).is_some() {
        return;
    }
    let (Ok(program), Some(name)) = (env::current_exe(), arguments.next()) else { return };
    // It comes back only if it fails.
    let _ = Command::new(program).arg0(name).args(arguments).env(option, value).exec();
}

/// Only Linux has its large pages split that way.
#[cfg(not(target_os = "linux"))]
pub fn keep_large() {}
