//! Options of apt's on a command line.

use std::ffi::OsString;

/// Options on a command line, each as `NAME=value`.
pub fn options<T: AsRef<str>>(options: &[T]) -> Vec<OsString> {
    options
        .iter()
        .flat_map(|option| ["-o".into(), option.as_ref().into()])
        .collect()
}
