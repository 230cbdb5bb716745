//! Times and memory, taken inside a host.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use lab::Host;

/// How often memory is looked at: seldom enough not to slow down what is measured.
const LOOK: Duration = Duration::from_millis(50);

/// Before and after what is timed.
pub const NOTHING: (&str, &str) = (":", ":");

/// Runs each of `commands` in turn, `rounds` times, with something `before` each of them and something that must
/// be true `after` it; the seconds that each took.
///
/// The clock is read by the shell that runs them: what it takes to get into the host does not count. All have
/// the locale that a Debian host gives its administrators, and we to what we start: in the one of the lab, `C`,
/// the scripts of ten updates take half a second less (measured).
pub fn rounds(
    host: &Host,
    rounds: usize,
    (before, after): (&str, &str),
    commands: &[&str],
) -> Vec<Vec<f64>> {
    let mut timed = String::new();
    for command in commands {
        let _ = writeln!(
            timed,
            "{before}\ns=$EPOCHREALTIME; {{ {command}; }} >/dev/null 2>&1 || exit 1; e=$EPOCHREALTIME; {after} || exit 2; echo $s $e"
        );
    }
    let script = format!("export LC_ALL=C.UTF-8; for i in $(seq {rounds}); do\n{timed}done");
    let output = host.run(&["bash", "-c", &script]).unwrap();
    assert!(output.success(), "{script}: {output}");
    let mut times = vec![Vec::new(); commands.len()];
    for (number, line) in output.stdout.lines().enumerate() {
        let (start, end) = line.split_once(' ').unwrap();
        let seconds = end.parse::<f64>().unwrap() - start.parse::<f64>().unwrap();
        times[number % commands.len()].push(seconds);
    }
    times
}

/// The middle one.
pub fn median(times: &[f64]) -> f64 {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Watches the most memory that any process of a host with this name had in use.
pub struct PeakMemory {
    over: Arc<AtomicBool>,
    watcher: JoinHandle<u64>,
}

impl PeakMemory {
    /// Begins to watch.
    pub fn of(host: &Host, program: &'static str) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&over);
        let namespace = fs::read_link(format!("/proc/{}/ns/pid", host.pid1())).unwrap();
        let watcher = thread::spawn(move || {
            let mut peak = 0;
            while !until.load(Ordering::Relaxed) {
                peak = peak.max(peak_now(program, &namespace));
                thread::sleep(LOOK);
            }
            peak
        });
        Self { over, watcher }
    }

    /// The peak, in megabytes.
    pub fn megabytes(self) -> f64 {
        self.over.store(true, Ordering::Relaxed);
        let kilobytes = self.watcher.join().unwrap();
        f64::from(u32::try_from(kilobytes).unwrap()) / 1024.0
    }
}

/// The kernel's own high-water mark, in kilobytes, of those that run now.
fn peak_now(program: &str, namespace: &PathBuf) -> u64 {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let peaks = processes.filter_map(|process| {
        let path = process.path();
        let file = fs::read_link(path.join("exe")).ok()?;
        let same =
            file.ends_with(program) && fs::read_link(path.join("ns/pid")).ok()? == *namespace;
        let status = same
            .then(|| fs::read_to_string(path.join("status")))?
            .ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    });
    peaks.max().unwrap_or(0)
}
