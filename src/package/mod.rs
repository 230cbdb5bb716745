//! One trait over the package managers.
//!
//! Each backend is a folder whose files have the same names, in the order of a transaction; one that has nothing for a
//! step lacks the file, and what only it has stands beside them:
//!
//! | file | what it is for |
//! |---|---|
//! | `mod` | declares, and implements the trait by calls of the others |
//! | `backend` | the package manager of this host, as the others use it |
//! | `arguments` | the command lines: pure builders |
//! | `output` | what the running program prints, and how it ended |
//! | `refresh` | fetches the indexes of the package sources |
//! | `simulate` | what a transaction would do |
//! | `pending` | the list of pending updates, and what is kept back and why |
//! | `transaction` | runs an update |
//! | `gate` | how the change list comes to the gate |
//! | `rollback` | where former versions can be had from, and the transaction that puts them back |
//! | `repair` | heals what an interrupted transaction left behind |
//! | `database` | the installed packages |
//! | `locks` | who changes packages, and the waiting for it |
//! | `scripts` | the package script that a process runs |
//! | `auto_marks` | the marks of what is there only because others need it |
//! | `reboot` | why the host should be rebooted |
//! | `fingerprint` | a text that changes with the index, the database and the configuration |
//!
//! What dnf, yum and zypper have in common is `rpm`, which has the same shape.

pub mod apk;
pub mod apt;
mod boot;
pub(crate) mod credentials;
mod damaged;
pub mod detect;
pub mod dnf;
pub mod host_facts;
mod kept_back;
mod lock;
mod manager;
pub mod os_release;
pub mod pacman;
mod repair_step;
mod rollback_source;
mod rpm;
mod script;
mod source;
mod space_needs;
mod stamp;
mod tar;
mod transaction;
mod unusable;
mod values;
pub mod zypper;

pub use boot::TakenBack;
pub use damaged::Damaged;
pub use detect::{all_database_files, detect};
pub use kept_back::{KeptBack, KeptBackCause};
pub use manager::PackageManager;
pub use rollback_source::{Restore, RollbackItem, RollbackSource, StoredPackage, of_build};
pub use script::Script;
pub use source::{RefreshReport, Source};
pub use space_needs::SpaceNeeds;
pub use transaction::{
    AllOrNothing, Observer, Report, Selection, Transaction, TransactionEnd, TransactionReport,
};
pub use unusable::Unusable;
pub use values::{
    Change, Database, Footprint, Installed, PackageId, PackageState, Pending, Problem, Rebuilt,
    Update, replaced, sentences,
};
