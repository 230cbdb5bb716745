//! One trial: the update is brought to its point, the fault is made, the host comes to rest.

use lab::{DiskFault, Host};

use crate::judge::{self, Before, Verdict};
use crate::plan::{Fault, Phase, Point, Trial};
use crate::stage::Stage;

const UNIT: &str = "patch-apply.service";

/// Makes the trial, and leaves the host with the newest versions installed.
pub fn run(stage: &mut Stage, trial: &Trial) -> Verdict {
    let before = Before::look(stage);
    stage.publish();
    if let Point::Disk(write) = trial.point {
        let (id, reached) = with_broken_disk(stage, trial.fault, write);
        return come_to_rest(stage, trial, &id, &before, reached);
    }
    let call = !matches!(trial.point, Point::Phase(_));
    let dies_at_call = call && trial.fault != Fault::PowerCut;
    stage.arm(trial.point, if dies_at_call { "KILL" } else { "STOP" });
    let id = stage.request();
    let reached = if dies_at_call {
        let of_worker = trial.fault == Fault::KillWorker;
        stage.host.wait_for("the signal", || {
            is_over(stage, &id) || (of_worker && stage.has_left("killed by SIGKILL"))
        });
        stage.has_left("killed by SIGKILL")
    } else {
        stage.host.wait_for("the point", || {
            stage.is_held(trial.point) || is_over(stage, &id)
        });
        stage.is_held(trial.point)
    };
    if reached && !dies_at_call {
        make(stage, trial, &id);
    }
    come_to_rest(stage, trial, &id, &before, reached)
}

fn come_to_rest(
    stage: &mut Stage,
    trial: &Trial,
    id: &str,
    before: &Before,
    reached: bool,
) -> Verdict {
    let broken = judge::what_is_broken(&stage.host);
    stage.disarm();
    // the next worker finds what is left; if none has been started yet, the unit that checks after every boot
    stage
        .host
        .try_sh(&format!("systemctl start patch-recover.service {UNIT}"));
    stage.settle();
    judge::judge(stage, trial, id, before, reached, broken)
}

/// The update with a disk that fails; there is room again when it was said that there is none.
fn with_broken_disk(stage: &Stage, fault: Fault, write: usize) -> (String, bool) {
    let (fault, reason) = match fault {
        Fault::DiskFull => (DiskFault::Full, "No space left on device"),
        _ => (DiskFault::Broken, "Input/output error"),
    };
    let disk = stage.break_disk(write, fault);
    let id = stage.request();
    stage.host.wait_for("the reason, or the end", || {
        let status = stage
            .host
            .try_sh(&format!("systemctl show -P StatusText {UNIT}"));
        is_over(stage, &id) || status.stdout.contains(reason)
    });
    disk.heal();
    (id, !disk.refused().is_empty())
}

/// No worker is at work on the request any more.
fn is_over(stage: &Stage, id: &str) -> bool {
    let state = stage
        .host
        .try_sh(&format!("systemctl show -P ActiveState {UNIT}"));
    let taken = format!("/var/lib/linux_patch_api/jobs/{id}.json");
    stage.host.exists(&taken) && matches!(state.stdout.trim(), "failed" | "inactive")
}

fn make(stage: &Stage, trial: &Trial, id: &str) {
    let host = &stage.host;
    let signal = |name: &str| {
        host.sh(&format!(
            "systemctl kill --kill-whom=main --signal={name} {UNIT}"
        ));
    };
    match trial.fault {
        Fault::Cancel => cancel(host, id),
        Fault::Reboot => reboot(host, trial.point),
        Fault::TermWorker => signal("TERM"),
        Fault::KillWorker => {
            // the next connections are served again: another worker takes over at once
            stage.repo.heal();
            signal("KILL");
        }
        Fault::KillApt => drop(host.sh("pkill -KILL -x apt-get")),
        Fault::KillDpkg => drop(host.sh("pkill -KILL -x dpkg")),
        Fault::DiskFull | Fault::IoError => unreachable!("a disk fails at a write"),
        Fault::PowerCut => {
            host.power_cut();
            stage.repo.heal();
            host.start();
        }
    }
}

/// What is asked for is on the disk when this returns.
fn cancel(host: &Host, id: &str) {
    let asked = host.spawn(&format!("patchctl cancel {id}"));
    host.wait_for("the cancellation to be queued", || {
        let waits = host.exists(&format!("/var/lib/linux_patch_api/queue/{id}.cancel"));
        let record = host.read(&format!("/var/lib/linux_patch_api/jobs/{id}.json"));
        waits || record.contains("\"cancelled\"")
    });
    drop(asked);
}

/// An orderly reboot, past the inhibitor that refuses it while packages change; what is held then has to be
/// let go, or the shutdown would wait for it.
fn reboot(host: &Host, point: Point) {
    host.try_sh(
        "systemctl reboot --no-wall || \
         systemctl start --no-block --job-mode=replace-irreversibly reboot.target",
    );
    if !matches!(point, Point::Phase(Phase::Checking | Phase::Downloading)) {
        host.wait_for("the shutdown to reach the worker", || {
            let state = host.run(&["systemctl", "show", "-P", "SubState", UNIT]);
            state.is_ok_and(|state| !state.stdout.contains("start")) || host.run(&["true"]).is_err()
        });
        let _ = host.run(&["sh", "-c", "rm -f /run/hold-*"]);
    }
    host.wait_for_reboot();
}
