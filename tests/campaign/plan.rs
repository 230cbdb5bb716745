//! Which fault at which point: drawn from a seed, the same in every run.

use std::fmt;

use lab::Dice;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    Cancel,
    Reboot,
    TermWorker,
    KillWorker,
    KillApt,
    KillDpkg,
    PowerCut,
    DiskFull,
    IoError,
}

/// Where an update can be held until the fault is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The index is being refreshed.
    Checking,
    /// Packages are being fetched.
    Downloading,
    /// Everything is here, and the gate is not yet passed.
    Staged,
    /// The first script of the first package runs.
    Activated,
    /// The first script of the last package runs.
    Unpacking,
    /// The last script of a package runs.
    Configuring,
    /// dpkg has ended, apt has not.
    Closing,
}

/// A system call: the n-th of its name, and of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    pub index: usize,
    pub name: &'static str,
    pub nth: usize,
}

/// A point of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// A phase.
    Phase(Phase),
    /// A durable write of the worker.
    Worker(Call),
    /// A write of the worker or its gate, of any kind: the n-th.
    Disk(usize),
    /// A change of a file by dpkg while it unpacks.
    Unpack(Call),
    /// The same while it configures.
    Configure(Call),
}

/// One trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trial {
    pub point: Point,
    pub fault: Fault,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { index, name, nth } = self;
        write!(f, "call {index} ({name} {nth})")
    }
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let point = match self.point {
            Point::Phase(phase) => format!("{phase:?}").to_lowercase(),
            Point::Worker(call) => format!("worker: {call}"),
            Point::Disk(write) => format!("disk: write {write}"),
            Point::Unpack(call) => format!("unpacking: {call}"),
            Point::Configure(call) => format!("configuring: {call}"),
        };
        write!(f, "{:11} {point}", format!("{:?}", self.fault))
    }
}

/// The calls that an undisturbed update makes.
#[derive(Clone, Debug)]
pub struct Reach {
    pub worker: Vec<Call>,
    pub unpack: Vec<Call>,
    pub configure: Vec<Call>,
    /// The number of writes of the worker and its gate.
    pub disk: usize,
    /// A call of the unpacking after which only unpacking once more heals.
    pub reinstall: Call,
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "an undisturbed update: {} durable writes of the worker, {} writes of any kind, \
             {} calls of dpkg while unpacking, {} while configuring",
            self.worker.len(),
            self.disk,
            self.unpack.len(),
            self.configure.len()
        )
    }
}

/// `count` trials, spread over phases and calls; one of them always needs a package to be unpacked again.
pub fn trials(seed: u64, count: usize, reach: &Reach) -> Vec<Trial> {
    let mut dice = Dice::new(seed);
    let mut groups = [
        phases(),
        calls(&reach.unpack, Point::Unpack, Fault::KillDpkg),
        calls(&reach.worker, Point::Worker, Fault::KillWorker),
        calls(&reach.configure, Point::Configure, Fault::KillDpkg),
        writes(reach.disk),
    ];
    groups.iter_mut().for_each(|group| dice.shuffle(group));
    let first = Trial {
        point: Point::Unpack(reach.reinstall),
        fault: Fault::KillDpkg,
    };
    let mut trials = vec![first];
    while trials.len() < count {
        let before = trials.len();
        for group in &mut groups {
            if let Some(trial) = group.pop().filter(|trial| *trial != first) {
                trials.push(trial);
            }
        }
        if trials.len() == before && groups.iter().all(Vec::is_empty) {
            break;
        }
    }
    trials.truncate(count);
    trials
}

/// Every fault at every phase in which it can happen.
fn phases() -> Vec<Trial> {
    use Fault::{Cancel, KillApt, KillDpkg, KillWorker, PowerCut, Reboot, TermWorker};
    use Phase::{Activated, Checking, Closing, Configuring, Downloading, Staged, Unpacking};
    let everywhere = [Cancel, Reboot, TermWorker, KillWorker, KillApt, PowerCut];
    let phases = [
        Checking,
        Downloading,
        Staged,
        Activated,
        Unpacking,
        Configuring,
        Closing,
    ];
    let with_dpkg = [Activated, Unpacking, Configuring];
    let trial = |phase, fault| Trial {
        point: Point::Phase(phase),
        fault,
    };
    let usual = phases
        .iter()
        .flat_map(|phase| everywhere.map(|fault| trial(*phase, fault)));
    usual
        .chain(with_dpkg.map(|phase| trial(phase, KillDpkg)))
        .collect()
}

/// Death, and the death of the whole host, at every call.
fn calls(calls: &[Call], point: fn(Call) -> Point, death: Fault) -> Vec<Trial> {
    let both = |call: &Call| {
        let point = point(*call);
        [death, Fault::PowerCut].map(|fault| Trial { point, fault })
    };
    calls.iter().flat_map(both).collect()
}

/// A disk that is full from a write on, or that fails once, at every write.
fn writes(count: usize) -> Vec<Trial> {
    let both = |write: usize| {
        let point = Point::Disk(write);
        [Fault::DiskFull, Fault::IoError].map(|fault| Trial { point, fault })
    };
    (1..=count).flat_map(both).collect()
}
