//! The message ids, in the form of `journalctl MESSAGE_ID=…`; each is explained by the catalog.

/// The package index was refreshed.
pub const REFRESH_SUCCEEDED: &str = "47eaa0992cb6916d86dc283cf0480ff9";
/// The package index could not be refreshed.
pub const REFRESH_FAILED: &str = "1509bb0a9bf13331ca118783593942a4";
/// A part of a refresh failed that keeps no update back.
pub const REFRESH_NOTE: &str = "e2cc6933b2a94fc8b23a60cf1145152c";
/// One package source failed.
pub const SOURCE_FAILED: &str = "f5ec52ed0108847512e1bc7656670b14";
/// A source served an older index than before.
pub const INDEX_WENT_BACK: &str = "59ba1b0d5c9061582909406c2e416788";
/// A worker took a job.
pub const JOB_STARTED: &str = "5d32fe61985fb4e72a095ee82bb29976";
/// A job is done.
pub const JOB_SUCCEEDED: &str = "9a1e40b458151a9959e2d15364c7a500";
/// A job failed.
pub const JOB_FAILED: &str = "68b4aef73eaabe171d8a4eace693ae2d";
/// A job was stopped before it changed anything.
pub const JOB_CANCELLED: &str = "142c83647806857713e783e7eb04b39b";
/// A worker died in the middle of a job.
pub const JOB_INTERRUPTED: &str = "3b041641178854f2260df25453fe2e85";
/// The package manager starts to change packages.
pub const ACTIVATION: &str = "00a154d85ed8abcc35c719c2add9ca88";
/// One package was changed.
pub const PACKAGE_CHANGED: &str = "c0290103855dbf5559ec8712e8e3574f";
/// One package has a newer version and stays.
pub const PACKAGE_KEPT_BACK: &str = "6e704245a4ff91e3e7949b80dcb0b82e";
/// A download failed; refresh, and once more.
pub const RETRY: &str = "de1b1471320a88ea37a788d106762832";
/// The package manager reports nothing for too long.
pub const STUCK: &str = "decca7ba570b46c7a05f66a2b28d0308";
/// Another package manager is at work.
pub const WAITING: &str = "4350cc1721e52f212cd552a09ddbef12";
/// Something that is not a valid request was refused.
pub const REQUEST_REFUSED: &str = "9ed89eddd6846325b600e6129ec04ece";
/// A state file could not be used.
pub const STATE_UNUSABLE: &str = "627bf3225fac9cb6e34acb115ee347dd";
/// The package database is not in order.
pub const DATABASE_PROBLEM: &str = "a930d55d9545f0f3ee889fe46f2c7a8c";
/// The package database was found interrupted.
pub const DATABASE_INTERRUPTED: &str = "22ad00302009eb144f51f11be0bf3b5d";
/// The package database was repaired.
pub const DATABASE_REPAIRED: &str = "ccb24c5c6de7da68cfd732dfa8795416";
/// What is pending was downloaded ahead.
pub const STAGED: &str = "3a27a181f269bbbf1fa5583149f3c6cd";
/// Failed units of ours were started again.
pub const UNITS_HEALED: &str = "43f2f1936e85df0875927b0fe339d309";
/// A job waits for the network.
pub const JOB_DEFERRED: &str = "3ceaaf308142c8ea91d93080f9b439fc";
/// A job waits for a shutdown that another program or a person has scheduled.
pub const JOB_AWAITS_SHUTDOWN: &str = "7b6e7a2819069509f9dfd56549d6426b";
/// A job's preconditions no longer hold.
pub const JOB_CONFLICT: &str = "9dfb369bab13dfae627655daa05f1119";
/// Something was looked at after an update.
pub const CHECKED: &str = "c9209b469055948a46d051d6c78f2f35";
/// An update is being undone.
pub const ROLLBACK_STARTED: &str = "738f52330fae8038405e74442539a57d";
/// An update was undone.
pub const ROLLED_BACK: &str = "3bdf14ff036596bbc61e6d72615e67f5";
/// An update could not be undone.
pub const ROLLBACK_FAILED: &str = "d4df6afd9608953ec58d7f237f0e41b9";
/// The package manager could not undo an update, and the tool below it is used.
pub const ROLLBACK_BELOW: &str = "123c2425371e11f930b827e8c589e493";
/// Former versions are nowhere to be had before an update, so that it cannot be undone as a whole.
pub const CANNOT_GO_BACK: &str = "88c95de863bd4769a327701158765256";
/// Files of a package were missing after an update was undone, and it was installed again.
pub const FILES_RESTORED: &str = "421a9a754db0ca30ce72dce3f83fd032";
/// What was undone is not offered again.
pub const BLOCKED: &str = "17fbe1591ca73c4a437cec523af2a3f8";
/// What was undone is offered again.
pub const UNBLOCKED: &str = "bb43d18ef09aa8ca7a802a252686ab80";
/// A job has something to tell.
pub const JOB_NOTE: &str = "990d3cd8381df22f050c86bd84e0164b";
/// A reboot of the host was asked for.
pub const REBOOT_SCHEDULED: &str = "23150682cb17498084ad0609fae4f7e8";
/// A reboot was to follow and could not be asked for.
pub const REBOOT_REFUSED: &str = "497d800d178a426196a92522f92920cc";
/// A scheduled reboot of ours was taken back, to be asked for again.
pub const REBOOT_POSTPONED: &str = "4baf963f1cdc94dd6d05d04811f63ae1";
/// A reboot was taken back.
pub const REBOOT_CANCELLED: &str = "8da4e8c875a64ba8b7c01c8bf032d2c4";
/// A service still runs what an update has replaced.
pub const SERVICE_OUTDATED: &str = "02ed64715fae40ef91f7d310670cc473";
/// The service manager was asked to re-execute itself, because it ran what an update has replaced.
pub const MANAGER_REEXECUTED: &str = "0f34b0a5575eaa540dae0cec44bf655b";
/// A service was restarted because it ran what an update has replaced.
pub const SERVICE_RESTARTED: &str = "224922b405234f779e46e90298cb8325";
/// An alert was raised.
pub const ALERT_RAISED: &str = "c9ecb6bff7f84c25800110a5b64d1e0a";
/// What an alert was raised for is over.
pub const ALERT_RESOLVED: &str = "eafe1cd1309f4e1f8b24969169cec958";
/// A program of the administrator was run.
pub const HOOK_OUTPUT: &str = "6ceb163a60c14e9ea58be2107103c75c";
/// A program of the administrator could not be run, or failed.
pub const HOOK_FAILED: &str = "7c0c11778c674ae28451f14fa1d48d1c";

#[cfg(test)]
mod tests {
    #[test]
    fn every_id_is_explained_by_the_catalog() {
        let catalog = include_str!("../../units/catalog/linux-patch-api.catalog");
        let explained: Vec<&str> = catalog
            .lines()
            .filter_map(|line| line.strip_prefix("-- "))
            .collect();
        let source = include_str!("id.rs");
        let ids: Vec<&str> = source
            .lines()
            .filter_map(|line| line.trim().strip_prefix("pub const ")?.split('"').nth(1))
            .filter(|id| id.len() == 32)
            .collect();
        assert!(ids.len() > 10);
        for id in &ids {
            assert_eq!(explained.iter().filter(|e| e == &id).count(), 1, "{id}");
        }
        assert_eq!(
            explained.len(),
            ids.len(),
            "the catalog explains ids that nothing sends"
        );
    }
}
