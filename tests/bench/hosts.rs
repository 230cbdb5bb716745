//! What is measured, on which hosts.

use std::fs;

use lab::{Host, Release};

use crate::stopwatch::{NOTHING, PeakMemory, median, rounds};
use crate::table::Target;
use crate::{Row, Unit};

/// The raw tool and ours in turn, so often, each on a host of its own.
const PAIRS: usize = 5;

const AGENT: &str = "busctl get-property org.linux_patch.Agent1 /org/linux_patch/Agent1 org.linux_patch.Agent1 Health";
const HOSTNAMED: &str = "busctl get-property org.freedesktop.hostname1 /org/freedesktop/hostname1 org.freedesktop.hostname1 Hostname";

/// A host with the real archive and its real pending updates; their files are there already, so that the
/// mirror of the day is not what is measured.
fn host() -> Host {
    let host = Host::builder(Release::Trixie)
        .name("bench")
        .network_real()
        .boot();
    host.enable_real_archive();
    host.sh("apt-get -q update && apt-get -q -y --download-only upgrade");
    host
}

/// Nothing new: refresh, and list what is pending.
pub fn refresh_and_list() -> Vec<Row> {
    let host = host();
    let commands = [
        "apt-get -q update && apt list --upgradable",
        "patchctl refresh --direct && patchctl updates",
        "systemctl start patch-refresh.service && patchctl updates",
    ];
    rounds(&host, 1, NOTHING, &commands);
    let times = rounds(&host, 10, NOTHING, &commands);
    let row = |ours: &str, times: &[f64], raw: &[f64]| Row {
        work: format!("refresh and list, nothing new: {ours}"),
        unit: Unit::Seconds,
        other: Some(("apt-get update, apt list", median(raw))),
        ours: median(times),
        target: Target::Ratio(1.05),
    };
    vec![
        row("--direct", &times[1], &times[0]),
        row("unit", &times[2], &times[0]),
    ]
}

/// Refresh, and apply everything that is pending.
pub fn apply_everything() -> Vec<Row> {
    let (mut raw, mut ours, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    let mut packages = 0;
    for _ in 0..PAIRS {
        let one = host();
        packages = one
            .sh("apt-get -s upgrade | grep -c ^Inst")
            .trim()
            .parse()
            .unwrap();
        let apt = "apt-get -q update && apt-get -q -y upgrade </dev/null";
        raw.extend(rounds(&one, 1, NOTHING, &[apt]).concat());
        drop(one);
        let other = host();
        let peak = PeakMemory::of(&other, "patchctl");
        ours.extend(
            rounds(
                &other,
                1,
                NOTHING,
                &["systemctl start patch-apply@all.service"],
            )
            .concat(),
        );
        memory.push(peak.megabytes());
        assert_eq!(packages_left(&other), 0, "ours has not done the same work");
    }
    let time = Row {
        work: format!("refresh and apply {packages} updates"),
        unit: Unit::Seconds,
        other: Some(("apt-get update, upgrade", median(&raw))),
        ours: median(&ours),
        target: Target::Ratio(1.05),
    };
    let memory = Row {
        work: "own memory meanwhile (peak)".to_owned(),
        unit: Unit::Megabytes,
        other: None,
        ours: median(&memory),
        target: Target::Limit(8.0),
    };
    vec![time, memory]
}

fn packages_left(host: &Host) -> u32 {
    host.sh("apt-get -s upgrade | grep -c ^Inst || true")
        .trim()
        .parse()
        .unwrap()
}

/// One property, with the D-Bus service running and not.
pub fn property_reads() -> Vec<Row> {
    let host = host();
    host.sh("systemctl start patch-refresh.service");
    let reads = [HOSTNAMED, AGENT];
    // both may be started as often as it takes
    host.write(
        "/etc/systemd/system/systemd-hostnamed.service.d/bench.conf",
        "[Unit]\nStartLimitIntervalSec=0\n",
    );
    host.sh("systemctl daemon-reload");
    rounds(&host, 5, NOTHING, &reads);
    let warm = rounds(&host, 300, NOTHING, &reads);
    let stop = "systemctl stop patch-agent.service systemd-hostnamed.service 2>/dev/null";
    let cold = rounds(&host, 30, (stop, ":"), &reads);
    let row = |work: &str, times: &[Vec<f64>], target| Row {
        work: work.to_owned(),
        unit: Unit::Milliseconds,
        other: Some(("hostnamed", median(&times[0]) * 1000.0)),
        ours: median(&times[1]) * 1000.0,
        target,
    };
    vec![
        row(
            "property read, service running",
            &warm,
            Target::Difference(1.0),
        ),
        row(
            "property read, service not running",
            &cold,
            Target::Ratio(1.0),
        ),
    ]
}

/// The program itself.
pub fn binary() -> Vec<Row> {
    let host = Host::boot(Release::Trixie);
    let bytes = fs::metadata(format!("/proc/{}/root/usr/bin/patchctl", host.pid1()))
        .unwrap()
        .len();
    vec![Row {
        work: "size of the one binary".to_owned(),
        unit: Unit::Megabytes,
        other: None,
        ours: f64::from(u32::try_from(bytes).unwrap()) / 1e6,
        target: Target::Limit(3.6),
    }]
}
