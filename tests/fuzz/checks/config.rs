//! Configuration files: a key is taken as it stands, or stays as it was.

use std::path::Path;
use std::time::Duration;

use super::shown_safely;
use crate::config::{
    Config, ForeignShutdown, RebootConfig, RollbackConfig, ServicesConfig, VerifyConfig,
};
use crate::request::{RebootPolicy, RestartPolicy};

/// One file, over two different configurations.
pub fn config(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let path = Path::new("config.toml");
    let before = [
        Config::default(),
        Config {
            backend: Some("of a file before".to_owned()),
            tolerate: vec!["before.example".to_owned()],
            stage: true,
            keep_jobs: 1,
            keep_days: 1,
            stuck_after: Some(Duration::from_secs(1)),
            verify: VerifyConfig {
                settle: Duration::from_secs(1),
                timeout: Duration::from_secs(1),
            },
            rollback: RollbackConfig {
                automatic: false,
                require: true,
                keep_size: 1,
                remove_old_kernels: true,
            },
            reboot: RebootConfig {
                policy: RebootPolicy::Always,
                delay: Duration::from_secs(1),
                message: Some("of a file before".to_owned()),
                foreign: ForeignShutdown::Refuse,
            },
            services: ServicesConfig {
                restart: RestartPolicy::Safe,
                never: vec!["before.service".to_owned()],
            },
        },
    ];
    let after = before.clone().map(|mut config| {
        let added = config.add(path, text);
        added.map(|()| config)
    });
    let [Ok(first), Ok(second)] = after else {
        let [Err(error), Err(_)] = after else {
            panic!("it depends on what was there before");
        };
        return failure(&format!("{error:#}"), text);
    };
    set_or_kept(&before, &first, &second, |c| &c.backend);
    set_or_kept(&before, &first, &second, |c| &c.tolerate);
    set_or_kept(&before, &first, &second, |c| &c.stage);
    set_or_kept(&before, &first, &second, |c| &c.keep_jobs);
    set_or_kept(&before, &first, &second, |c| &c.keep_days);
    set_or_kept(&before, &first, &second, |c| &c.stuck_after);
    set_or_kept(&before, &first, &second, |c| &c.verify.settle);
    set_or_kept(&before, &first, &second, |c| &c.verify.timeout);
    set_or_kept(&before, &first, &second, |c| &c.rollback.automatic);
    set_or_kept(&before, &first, &second, |c| &c.rollback.require);
    set_or_kept(&before, &first, &second, |c| &c.rollback.keep_size);
    set_or_kept(&before, &first, &second, |c| &c.rollback.remove_old_kernels);
    set_or_kept(&before, &first, &second, |c| &c.reboot.policy);
    set_or_kept(&before, &first, &second, |c| &c.reboot.delay);
    set_or_kept(&before, &first, &second, |c| &c.reboot.message);
    set_or_kept(&before, &first, &second, |c| &c.reboot.foreign);
    set_or_kept(&before, &first, &second, |c| &c.services.restart);
    set_or_kept(&before, &first, &second, |c| &c.services.never);
    let mut again = first.clone();
    again.add(path, text).expect("it was taken before");
    assert_eq!(again, first);
}

/// A key of the file is the same in both; another is as it was in each.
fn set_or_kept<T: PartialEq + std::fmt::Debug>(
    before: &[Config; 2],
    first: &Config,
    second: &Config,
    key: impl Fn(&Config) -> &T,
) {
    let kept = key(first) == key(&before[0]) && key(second) == key(&before[1]);
    assert!(kept || key(first) == key(second), "{first:?} {second:?}");
}

/// The message names the file and a line that is there.
fn failure(message: &str, text: &str) {
    let rest = message.strip_prefix("'config.toml'").expect("no file");
    if let Some(rest) = rest.strip_prefix(", line ") {
        let number = rest.split(':').next().and_then(|n| n.parse().ok());
        let lines = text.matches('\n').count() + 1;
        assert!(
            number.is_some_and(|n: usize| (1..=lines).contains(&n)),
            "{message:?}"
        );
    }
    shown_safely(&crate::journal::plain(message));
    assert!(!message.contains('\n'), "{message:?}");
}
