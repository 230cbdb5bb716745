//! Ctrl-C while a job is waited for: the job goes on, and patchctl prints how to wait for it again.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, Once, PoisonError};
use std::thread;

use signal_hook::consts::SIGINT;
use signal_hook::low_level::{emulate_default_handler, pipe};

/// What is said at the next Ctrl-C.
static WORDS: Mutex<Option<String>> = Mutex::new(None);

/// From now on Ctrl-C ends this process, as it does anyway, with these words.
pub fn say(words: String) {
    static LISTENING: Once = Once::new();
    set(Some(words));
    LISTENING.call_once(|| {
        // without the words Ctrl-C is as good
        if let Ok((heard, told)) = UnixStream::pair()
            && pipe::register(SIGINT, told).is_ok()
        {
            thread::spawn(move || listen(heard));
        }
    });
}

/// From now on Ctrl-C says nothing.
pub fn say_nothing() {
    set(None);
}

fn set(words: Option<String>) {
    *WORDS.lock().unwrap_or_else(PoisonError::into_inner) = words;
}

/// A thread, because the caller that waits may be in a call that takes minutes.
fn listen(mut heard: UnixStream) {
    if heard.read_exact(&mut [0]).is_ok() {
        let words = WORDS.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(words) = words {
            let _ = writeln!(std::io::stderr(), "{words}");
        }
    }
    let _ = emulate_default_handler(SIGINT);
}
