//! Other programs, and later and earlier versions of this one, read what is written here: names in the code may
//! change, what stands in `tests/frozen` may not.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::host::units::Units;
use crate::package::{KeptBackCause, StoredPackage};
use crate::request::{RebootPolicy, Request, RestartPolicy};
use crate::state;
use crate::worker::bookkeeping::intent;
use crate::worker::steps::{rollback, verify};

/// Whether every sample is read, and written again as it was.
struct Samples(Map<String, Value>);

impl Samples {
    #[track_caller]
    fn check<T: Serialize + DeserializeOwned>(&mut self, name: &str) {
        let samples = self.0.remove(name).unwrap();
        for sample in samples.as_array().unwrap() {
            let read: T = serde_json::from_value(sample.clone())
                .unwrap_or_else(|error| panic!("{name}: {error}: {sample:#}"));
            let written = serde_json::to_value(read).unwrap();
            assert_eq!(written, *sample, "{name}");
        }
    }
}

#[test]
fn records_are_written_as_they_were() {
    let samples = include_str!("../../tests/frozen/records.json");
    let mut samples = Samples(serde_json::from_str(samples).unwrap());
    samples.check::<state::job::Job>("job");
    samples.check::<Request>("request");
    samples.check::<state::update::UpdateState>("update");
    samples.check::<state::cache::Cache>("cache");
    samples.check::<state::alert::Alerts>("alerts");
    samples.check::<state::blocked::Blocked>("blocked");
    samples.check::<state::pending::PendingList>("pending list");
    samples.check::<state::findings::Findings>("findings");
    samples.check::<state::reboot::Reboot>("reboot");
    samples.check::<state::shutdown::Shutdown>("shutdown");
    samples.check::<Units>("units");
    samples.check::<StoredPackage>("stored package");
    samples.check::<intent::Intent>("gate intent");
    samples.check::<intent::Expectation>("gate expectation");
    samples.check::<rollback::Intent>("rollback intent");
    samples.check::<rollback::StateBefore>("state before");
    samples.check::<verify::UnitBaseline>("units before");
    samples.check::<state::progress::Progress>("progress");
    samples.check::<state::job::JobStatus>("job status");
    samples.check::<state::update::Phase>("phase");
    samples.check::<state::verification::CheckKind>("check kind");
    samples.check::<state::verification::Undone>("undone");
    samples.check::<state::verification::Difference>("difference");
    samples.check::<KeptBackCause>("cause");
    samples.check::<state::services::RestartState>("restart state");
    samples.check::<state::cache::CacheStatus>("cache status");
    samples.check::<RebootPolicy>("reboot policy");
    samples.check::<RestartPolicy>("restart policy");
    assert!(samples.0.is_empty(), "not checked: {:?}", samples.0);
}
