//! One trait over the package managers.

pub mod apk;
pub mod apt;
mod boot;
mod climb;
mod damaged;
pub mod detect;
pub mod dnf;
mod former;
mod kept_back;
mod lock;
mod manager;
pub mod os_release;
pub mod pacman;
mod rpm;
mod script;
mod source;
mod stamp;
mod tar;
mod transaction;
mod unusable;
mod values;
pub mod zypper;

pub use boot::TakenBack;
pub use damaged::Damaged;
pub use detect::detect;
pub use former::{Former, FormerSource, Kept, Restore, of_build};
pub use kept_back::{KeptBack, KeptBackCause};
pub use manager::{DATABASES, PackageManager};
pub use script::Script;
pub use source::{Refreshed, Source};
pub use transaction::{AllOrNothing, Applied, Ended, Observer, Report, Selection, Transaction};
pub use unusable::Unusable;
pub use values::{
    Change, Database, Footprint, Installed, Key, PackageState, Pending, Problem, Rebuilt, Update,
    replaced, sentences,
};
