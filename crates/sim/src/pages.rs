//! How the allocator goes about with a large heap.
//!
//! What a large network holds is in no cache, and each look at it is one more at the tables of
//! addresses where pages are small. mimalloc asks for large ones, but gives back what has been free
//! for a second in pieces of 64 KiB, by which the system splits them: of 4.8 GB 0.9 are in large
//! pages then. And once in 10,000 calls of its slower kind it looks at all pages of the heap, one after
//! the other, for something to give back, which in a large network takes longer than those calls. It
//! reads its options from the environment before anything of the program runs, so the program begins
//! once more with the right ones.

use std::env;
use std::process::Command;

/// That only whole large pages are given back, and what that option has to say.
const LARGE_PAGES: (&str, &str) = ("MIMALLOC_ALLOW_THP", "2");

/// After how many calls of the slower kind all pages are looked at: as seldom as may be.
const COLLECTION: (&str, &str) = ("MIMALLOC_GENERIC_COLLECT", "1000000");

/// Begins once more with large pages left whole, unless the environment says what to do with them, as
/// it does the second time. Where that does not work things go on as they are.
#[cfg(target_os = "linux")]
pub fn keep_large() {
    use std::os::unix::process::CommandExt;
    let mut arguments = env::args_os();
    if env::var_os(LARGE_PAGES.0).is_some() {
        return;
    }
    let (Ok(program), Some(name)) = (env::current_exe(), arguments.next()) else { return };
    // It comes back only if it fails.
    let options = [LARGE_PAGES, COLLECTION];
    let unsaid = options.into_iter().filter(|(option, _)| env::var_os(option).is_none());
    let _ = Command::new(program).arg0(name).args(arguments).envs(unsaid).exec();
}

/// Only Linux has its large pages split that way.
#[cfg(not(target_os = "linux"))]
pub fn keep_large() {}
