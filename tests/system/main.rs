//! Stories: what the project promises, told from outside on booted hosts with the real tools.

// a story that cannot go on says where, and stops
#![allow(clippy::expect_used, clippy::unwrap_used)]

/// Runs a story, a function of a `Release`, on each release in the brackets: a module of its name, with a test for
/// each release.
macro_rules! releases {
    ($story:ident [$($release:ident)*]) => {
        mod $story {
            $(#[test]
            fn $release() {
                super::$story(release!($release));
            })*
        }
    };
}

/// The release of a name.
macro_rules! release {
    (bookworm) => {
        lab::Release::Bookworm
    };
    (trixie) => {
        lab::Release::Trixie
    };
    (forky) => {
        lab::Release::Forky
    };
}

mod api;
mod apply;
mod backends;
mod cli;
mod job;
mod packaging;
mod queue;
mod reboot;
mod recover;
mod refresh;
mod rollback;
mod self_update;
mod story;
mod verify;
