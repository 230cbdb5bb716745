//! What clients ask for, what is published and when a worker is killed: drawn from a seed, the same in every run with it.

use std::fmt;

use lab::Dice;

use crate::world::{FAMILIES, Kind, MOVABLE};

/// Clients that ask at the same time.
pub const CLIENTS: u64 = 8;

/// The actors after the clients, each with dice of its own.
const PUBLISHER: u64 = 100;
const KILLER: u64 = 101;

/// Where a request comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrontEnd {
    /// `patchctl`, which waits.
    Bus,
    /// `patchctl --no-wait`.
    BusAtOnce,
    /// `systemctl start patch-apply@…`.
    Unit,
    /// A Varlink call that follows the job.
    Varlink,
    /// A Varlink call that returns at once.
    VarlinkAtOnce,
    /// A file that is renamed into the queue.
    File,
    /// `patchctl apply --direct`.
    Direct,
}

/// What a request is made against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    None,
    /// That its package is still in the version it was published in so many publications ago.
    Expect(usize),
    /// That the index is not newer than a few seconds.
    Since,
}

/// What a client asks for. A job is meant by how long ago it was heard of: 0 is the latest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    Apply {
        targets: Vec<&'static str>,
        front_end: FrontEnd,
        defer: bool,
        key: bool,
        condition: Condition,
    },
    Rollback {
        ago: usize,
        front_end: FrontEnd,
    },
    Cancel {
        ago: usize,
    },
    Forget {
        ago: usize,
    },
    Resolve {
        ago: usize,
        apply: bool,
    },
    Refresh {
        unit: bool,
    },
    Read(&'static str),
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self {
            Self::Apply { front_end, .. } => return write!(f, "apply by {front_end:?}"),
            Self::Rollback { front_end, .. } => return write!(f, "rollback by {front_end:?}"),
            Self::Cancel { .. } => "cancel",
            Self::Forget { .. } => "forget",
            Self::Resolve { .. } => "resolve",
            Self::Refresh { unit: true } => "refresh by Unit",
            Self::Refresh { unit: false } => "refresh by Bus",
            Self::Read(_) => "read",
        };
        f.write_str(word)
    }
}

/// One of the clients.
pub struct Client(Dice);

impl Client {
    /// The client of this number.
    pub fn new(seed: u64, number: u64) -> Self {
        Self(Dice::of_actor(seed, number))
    }

    /// What it asks for next.
    pub fn next(&mut self) -> Ask {
        let dice = &mut self.0;
        let kind = dice.weighted(&[
            (62, 'a'),
            (12, 'r'),
            (8, 'c'),
            (5, 'f'),
            (4, 's'),
            (4, 'i'),
            (5, 'l'),
        ]);
        let ago = dice.below(6);
        match kind {
            'a' => self.apply(),
            'r' => Ask::Rollback {
                ago,
                front_end: *dice.one_of(&[FrontEnd::Bus, FrontEnd::BusAtOnce, FrontEnd::Varlink]),
            },
            'c' => Ask::Cancel { ago },
            'f' => Ask::Forget { ago },
            's' => Ask::Resolve {
                ago,
                apply: dice.chance(50),
            },
            'i' => Ask::Refresh {
                unit: dice.chance(50),
            },
            _ => Ask::Read(READS[dice.below(READS.len())]),
        }
    }

    fn apply(&mut self) -> Ask {
        let dice = &mut self.0;
        let front_end = dice.weighted(&[
            (16, FrontEnd::Bus),
            (10, FrontEnd::BusAtOnce),
            (20, FrontEnd::Unit),
            (10, FrontEnd::Varlink),
            (8, FrontEnd::VarlinkAtOnce),
            (12, FrontEnd::File),
            (12, FrontEnd::Direct),
        ]);
        let mut targets = vec![*dice.weighted(&[(50, &"all"), (5, &"security"), (45, &"")])];
        if targets == [""] {
            targets = (0..=dice.below(2))
                .map(|_| dice.one_of(&FAMILIES).name)
                .collect();
            targets.dedup();
        }
        if front_end == FrontEnd::Unit {
            targets.truncate(1);
        }
        let named = !["all", "security"].contains(&targets[0]);
        let by_bus = matches!(front_end, FrontEnd::Bus | FrontEnd::BusAtOnce);
        let condition = match dice.below(100) {
            0..8 if by_bus && named => Condition::Expect(dice.below(3)),
            8..14 if by_bus => Condition::Since,
            _ => Condition::None,
        };
        Ask::Apply {
            targets,
            front_end,
            defer: by_bus && dice.chance(15),
            key: by_bus && condition == Condition::None && dice.chance(15),
            condition,
        }
    }
}

/// The reading verbs.
const READS: [&str; 6] = [
    "status --json",
    "jobs --json",
    "updates --json",
    "plan --json all",
    "queue --json",
    "conflicts --json",
];

/// What is wrong with a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// It cannot be configured.
    Postinst,
    /// It does not let itself be unpacked.
    Preinst,
    /// It has a file of another package, and does not say that it replaces it.
    Overwrite,
    /// Its service does not stay up; a package without one cannot be configured.
    Service,
}

/// A new version of a family of packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The family's number.
    pub family: usize,
    /// What is wrong with it.
    pub bad: Option<Bad>,
    /// Which of its files moves to its other package.
    pub moved: Option<usize>,
}

/// What happens to the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// These come out together.
    Published(Vec<Publication>),
    /// It cannot be reached for so many milliseconds.
    Away(u64),
}

/// Publishes new versions.
pub struct Publisher(Dice);

impl Publisher {
    pub fn new(seed: u64) -> Self {
        Self(Dice::of_actor(seed, PUBLISHER))
    }

    /// What happens next, and how long nothing does before that, in milliseconds.
    pub fn next(&mut self) -> (u64, News) {
        let dice = &mut self.0;
        let pause = 500 + dice.next() % 1500;
        if dice.chance(6) {
            return (pause, News::Away(200 + dice.next() % 1800));
        }
        let together = 1 + dice.below(3);
        let mut published: Vec<Publication> = (0..together).map(|_| publication(dice)).collect();
        published.sort_by_key(|publication| publication.family);
        published.dedup_by_key(|publication| publication.family);
        (pause, News::Published(published))
    }
}

/// One in ten is bad, one in five moves a file.
fn publication(dice: &mut Dice) -> Publication {
    let moves = dice.chance(20);
    let can = |family: &&usize| !moves || FAMILIES[**family].kind == Kind::Pair;
    let families: Vec<usize> = (0..FAMILIES.len()).collect();
    let families: Vec<usize> = families.iter().filter(can).copied().collect();
    let kinds = [Bad::Postinst, Bad::Preinst, Bad::Overwrite, Bad::Service];
    Publication {
        family: *dice.one_of(&families),
        bad: dice.chance(10).then(|| *dice.one_of(&kinds)),
        moved: moves.then(|| dice.below(MOVABLE)),
    }
}

/// Kills workers.
pub struct Killer(Dice);

impl Killer {
    pub fn new(seed: u64) -> Self {
        Self(Dice::of_actor(seed, KILLER))
    }

    /// Which signal the next one gets, and after how many milliseconds.
    pub fn next(&mut self) -> (u64, &'static str) {
        let pause = 800 + self.0.next() % 3200;
        (pause, self.0.weighted(&[(70, "KILL"), (30, "TERM")]))
    }
}
