//! Which jobs and changes are about our own package, which is updated last and alone.

use crate::PACKAGE;
use crate::package::Change;
use crate::request::{Kind, Target};
use crate::state::job::Job;

/// Whether our own package is among the changes.
pub fn is_among(changes: &[Change]) -> bool {
    changes.iter().any(|change| change.package == PACKAGE)
}

/// Whether others are to be changed together with our own package, which belongs after them.
pub fn is_mixed(changes: &[Change]) -> bool {
    is_among(changes) && changes.iter().any(|change| change.package != PACKAGE)
}

/// Whether the job asks for our own package besides others.
pub fn is_asked_for(job: &Job) -> bool {
    let target = job.request.packages.as_ref();
    target.is_some_and(|target| match target {
        Target::All | Target::Security => true,
        Target::Packages(names) => names
            .iter()
            .any(|name| name.as_str().split(':').next() == Some(PACKAGE)),
    })
}

/// Whether the last part of the job was about our own package.
pub fn has_updated(job: &Job) -> bool {
    job.request.kind == Kind::Update || job.progress().is_self_update() || is_among(&job.changes)
}

/// Whether the change list on the disk is that of the part before: the worker died before our own
/// package was let through.
pub fn predates_self_update(jobs: &[Job], changes: &[Change]) -> bool {
    jobs.iter().any(|job| job.progress().is_self_update()) && !is_among(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_from_the_others() {
        let change = |package: &str| Change {
            package: package.to_owned(),
            architecture: "amd64".to_owned(),
            from: Some("1".to_owned()),
            to: Some("2".to_owned()),
            file: None,
            ..Change::default()
        };
        let (own, other) = (change(PACKAGE), change("demo"));
        assert!(is_mixed(&[other.clone(), own.clone()]));
        assert!(!is_mixed(std::slice::from_ref(&own)) && !is_mixed(std::slice::from_ref(&other)));
    }
}
