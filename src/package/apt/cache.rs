//! apt's cache of its lists and of dpkg's status file, `pkgcache.bin`.

use std::path::PathBuf;
use std::sync::OnceLock;

use super::settings::Settings;
use crate::exec::Program;

/// dpkg's database (dpkg(1)).
const STATUS: &str = "/var/lib/dpkg/status";

/// A program of apt that reads its cache, and finds none that may be older than the status file: apt tells them by the
/// size and the whole seconds of the date, so that apt does not see what dpkg did within one second of building the
/// cache, until dpkg changes something else (findings/apt-cache-judges-by-whole-seconds.sh).
pub fn current(program: Program) -> Program {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    program.cache(FILE.get_or_init(|| Settings::of_caches().cache()), STATUS)
}
