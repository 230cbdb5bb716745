//! What the machine says of itself: its clocks, its service manager, its login manager.

pub mod clock;
pub mod logind;
pub mod systemd;
