//! The parts of the stress run that need no host: what is drawn, what is published, what is judged.

// the program itself uses the rest
#![allow(dead_code)]
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod ask;
mod judge;
mod plan;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use ask::{Answer, Known, answer, line};
use judge::{Idle, Sample, Versions};
use plan::{Ask, Bad, CLIENTS, Client, Condition, FrontEnd, Killer, News, Publication, Publisher};
use serde_json::{Value, json};
use world::{FAMILIES, Kind, World};

/// What the clients of a run ask for, so many times each.
fn asked(seed: u64, times: usize) -> Vec<Ask> {
    let mut clients: Vec<Client> = (0..CLIENTS)
        .map(|number| Client::new(seed, number))
        .collect();
    (0..times)
        .flat_map(|_| clients.iter_mut().map(Client::next).collect::<Vec<_>>())
        .collect()
}

fn published(seed: u64, times: usize) -> Vec<Publication> {
    let mut publisher = Publisher::new(seed);
    let news = (0..times).map(|_| publisher.next().1);
    news.flat_map(|news| match news {
        News::Published(publications) => publications,
        News::Away(_) => Vec::new(),
    })
    .collect()
}

#[test]
fn a_seed_asks_for_the_same_again() {
    assert_eq!(asked(1, 50), asked(1, 50));
    assert_ne!(asked(1, 50), asked(2, 50));
    assert_eq!(published(1, 50), published(1, 50));
    let kills = |seed| {
        let mut killer = Killer::new(seed);
        (0..50).map(|_| killer.next()).collect::<Vec<_>>()
    };
    assert_eq!(kills(1), kills(1));
    assert_ne!(kills(1), kills(2));
    // the clients do not all ask for the same
    let one = |number| {
        let mut client = Client::new(1, number);
        (0..50).map(|_| client.next()).collect::<Vec<_>>()
    };
    assert_ne!(one(0), one(1));
}

#[test]
fn everything_is_asked_for_at_every_front_end() {
    let asked = asked(1, 100);
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for ask in &asked {
        *seen.entry(ask.to_string()).or_default() += 1;
    }
    for what in [
        "apply by Bus",
        "apply by BusAtOnce",
        "apply by Unit",
        "apply by Varlink",
        "apply by VarlinkAtOnce",
        "apply by File",
        "apply by Direct",
        "rollback by Bus",
        "rollback by Varlink",
        "cancel",
        "forget",
        "resolve",
        "refresh by Bus",
        "refresh by Unit",
        "read",
    ] {
        assert!(
            seen.get(what).is_some_and(|count| *count > 5),
            "{what}: {seen:?}"
        );
    }
    // a unit names one package, and conditions are for the front ends
    for ask in &asked {
        let Ask::Apply {
            targets,
            front_end,
            defer,
            key,
            condition,
        } = ask
        else {
            continue;
        };
        let by_bus = matches!(front_end, FrontEnd::Bus | FrontEnd::BusAtOnce);
        assert!(
            *front_end != FrontEnd::Unit || targets.len() == 1,
            "{ask:?}"
        );
        assert!(
            by_bus || !(*defer || *key || *condition != Condition::None),
            "{ask:?}"
        );
    }
}

#[test]
fn what_is_asked_for_is_a_line_of_shell() {
    let version = |package: &str, ago| format!("{package}-{ago}");
    let jobs = [A.to_owned(), B.to_owned()];
    let said = |ask: &Ask, jobs: &[String]| {
        line(
            ask,
            &Known {
                jobs,
                version: &version,
            },
        )
    };
    let apply = |front_end, defer, key, condition| Ask::Apply {
        targets: vec!["st-one", "st-two"],
        front_end,
        defer,
        key,
        condition,
    };
    let plain = |front_end| said(&apply(front_end, false, false, Condition::None), &jobs).unwrap();
    assert!(plain(FrontEnd::Bus).ends_with(" patchctl apply st-one st-two"));
    assert!(plain(FrontEnd::Direct).ends_with(" patchctl apply --direct st-one st-two"));
    assert!(
        plain(FrontEnd::VarlinkAtOnce).ends_with(r#".Apply '{"packages":["st-one","st-two"]}'"#)
    );
    assert!(plain(FrontEnd::Varlink).contains(" --more "));
    assert!(
        plain(FrontEnd::File).contains(r#"\"packages\":[\"st-one\",\"st-two\"]}""#),
        "{}",
        plain(FrontEnd::File)
    );
    let all = said(
        &apply(FrontEnd::BusAtOnce, true, true, Condition::Expect(1)),
        &jobs,
    )
    .unwrap();
    assert!(
        all.ends_with("--no-wait --defer --key st-one-st-two-later --expect st-one=st-one-1"),
        "{all}"
    );
    let rollback = |ago| Ask::Rollback {
        ago,
        front_end: FrontEnd::Bus,
    };
    assert!(said(&rollback(0), &jobs).unwrap().ends_with(B));
    assert!(said(&rollback(1), &jobs).unwrap().ends_with(A));
    assert!(said(&rollback(9), &jobs).unwrap().ends_with(A));
    assert_eq!(said(&rollback(0), &[]), None);
    let resolve = said(
        &Ask::Resolve {
            ago: 0,
            apply: false,
        },
        &jobs,
    )
    .unwrap();
    assert!(
        resolve.ends_with("patchctl resolve $job --discard") && resolve.contains(B),
        "{resolve}"
    );
}

#[test]
fn an_exit_status_that_must_not_be_is_seen() {
    let direct = Ask::Apply {
        targets: vec!["all"],
        front_end: FrontEnd::Direct,
        defer: false,
        key: false,
        condition: Condition::None,
    };
    let read = Ask::Read("status --json");
    assert_eq!(answer(&read, 0, true), Answer::Done);
    assert_eq!(answer(&read, 1, true), Answer::NotDone);
    assert_eq!(answer(&direct, 137, true), Answer::Killed);
    for (ask, status, killed) in [
        (&direct, 137, false),
        (&read, 137, true),
        (&read, 124, true),
        (&read, 69, true),
        (&direct, 101, true),
    ] {
        assert_eq!(answer(ask, status, killed), Answer::Wrong, "{status}");
    }
}

#[test]
fn one_in_ten_is_bad_and_one_in_five_moves_a_file() {
    let published = published(1, 1000);
    let share = |count: usize| count * 100 / published.len();
    let bad = share(
        published
            .iter()
            .filter(|publication| publication.bad.is_some())
            .count(),
    );
    let moving = share(
        published
            .iter()
            .filter(|publication| publication.moved.is_some())
            .count(),
    );
    assert!(
        (8..=12).contains(&bad) && (16..=24).contains(&moving),
        "{bad} {moving}"
    );
    for publication in published
        .iter()
        .filter(|publication| publication.moved.is_some())
    {
        assert_eq!(FAMILIES[publication.family].kind, Kind::Pair);
    }
}

#[test]
fn a_file_that_moves_is_replaced_by_the_package_that_has_it() {
    let mut world = World::default();
    let first = world.first();
    assert_eq!(first.len(), FAMILIES.len(), "nothing has moved yet");
    let pair = FAMILIES
        .iter()
        .position(|family| family.kind == Kind::Pair)
        .unwrap();
    let name = FAMILIES[pair].name;
    let publication = |moved| Publication {
        family: pair,
        bad: None,
        moved,
    };
    let shown = |deb: &lab::Deb| format!("{deb:?}");

    let moved = world.publish(publication(Some(1)));
    let [lib, data] = &moved[..] else {
        panic!("{moved:?}")
    };
    assert!(shown(data).contains("part-1") && !shown(lib).contains("part-1"));
    assert!(shown(lib).contains("part-0") && shown(lib).contains("part-2"));
    let older = format!("{name} (<< {})", data.version());
    assert!(
        shown(data).contains(&format!("(\"Replaces\", \"{older}\")")),
        "{data:?}"
    );
    assert!(
        shown(data).contains(&format!("(\"Breaks\", \"{older}\")")),
        "{data:?}"
    );
    assert!(
        shown(lib).contains(&format!("{name}-data (>= {})", lib.version())),
        "{lib:?}"
    );

    // the next one changes nothing about that
    let next = world.publish(publication(None));
    assert!(shown(&next[1]).contains(&older), "{next:?}");
    let back = world.publish(publication(Some(1)));
    let [lib, data] = &back[..] else {
        panic!("{back:?}")
    };
    assert!(shown(lib).contains("part-1") && !shown(data).contains("part-1"));
    assert!(
        shown(lib).contains(&format!("{name}-data (<< {})", lib.version())),
        "{lib:?}"
    );

    assert_eq!(world.version(name, 0), lib.version());
    assert_eq!(world.version(name, 1), next[0].version());
    assert_eq!(world.version(name, 99), "1.4", "the first of all");
    assert_eq!(
        shown(world.package(name, lib.version()).unwrap()),
        shown(lib)
    );
    assert!(world.package(name, "9").is_none());
}

#[test]
fn what_is_bad_is_bad_in_its_own_way() {
    for (family, _) in FAMILIES.iter().enumerate() {
        let one = |bad| {
            let mut world = World::default();
            world.first();
            format!(
                "{:?}",
                world.publish(Publication {
                    family,
                    bad,
                    moved: None
                })
            )
        };
        let good = one(None);
        let kinds = [Bad::Postinst, Bad::Preinst, Bad::Overwrite, Bad::Service];
        for bad in kinds {
            assert_ne!(one(Some(bad)), good, "{bad:?} {family}");
        }
    }
}

fn ids(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(ToString::to_string).collect()
}

const A: &str = "18e9f05252803eba-98212e";
const B: &str = "18e9f05252803ebb-98212e";

#[test]
fn a_request_is_in_one_place() {
    let listing =
        format!("jobs/{A}.json\njobs/{A}.log\nconflicts/{B}.conflict-20251121T090604Z.json\n");
    assert_eq!(judge::places(&ids(&[A, B]), &listing), []);
    for (listing, what) in [
        (String::new(), "is lost"),
        (format!("jobs/{A}.log\n"), "is lost"),
        (format!("jobs/{A}.json\ndeferred/{A}.json\n"), "is in jobs"),
        (format!("queue/{A}.json\n"), "is in queue"),
        (format!("refused/{A}.json\n"), "is in refused"),
        (format!("jobs/{A}.json\nqueue/{A}.json\n"), "and queue"),
    ] {
        let found = judge::places(&ids(&[A]), &listing);
        assert!(
            matches!(&found[..], [one] if one.what.contains(what) && one.about == [A]),
            "{listing}: {found:?}"
        );
    }
    assert!(judge::is_id(A) && !judge::is_id("18e9f05252803eba-98212E") && !judge::is_id("x"));
}

fn record(status: &str, error: Option<&str>) -> Value {
    json!({"request": {"id": A}, "status": status, "error": error, "finished_at": "2026-01-01T00:00:00Z", "changes": []})
}

#[test]
fn a_record_is_final_and_stays_so() {
    let judged = |job: &Value, before: Option<&Value>| judge::record(A, &job.to_string(), before);
    let (good, bad) = (
        record("succeeded", None),
        record("failed", Some("it broke")),
    );
    assert_eq!(judged(&good, None).unwrap(), good);
    assert_eq!(judged(&bad, Some(&bad)).unwrap(), bad);
    let discarded = record("cancelled", Some("the index is newer"));
    assert_eq!(judged(&discarded, None).unwrap(), discarded);
    for (wrong, before) in [
        (record("running", None), None),
        (record("failed", None), None),
        (record("succeeded", Some("it broke")), None),
        (record("cancelled", None), Some(&good)),
        (json!({"request": {"id": B}}), None),
    ] {
        assert!(judged(&wrong, before).is_err(), "{wrong}");
    }
    assert!(judge::record(A, "{", None).is_err());
}

/// A job that made these changes, `name from to`; `-` is no version.
fn job(number: u32, transaction: u32, changes: &[[&str; 3]]) -> Value {
    let id = |number| format!("{number:016x}-000000");
    let version = |version: &str| match version {
        "-" => Value::Null,
        version => version.into(),
    };
    let changes = changes.iter().map(
        |[package, from, to]| json!({"package": package, "from": version(from), "to": version(to)}),
    );
    json!({
        "request": {"id": id(number)}, "transaction": id(transaction), "status": "succeeded", "put_back": false,
        "finished_at": format!("2026-01-01T00:00:{number:02}Z"), "changes": changes.collect::<Vec<_>>()
    })
}

fn versions(versions: &[(&str, &str)]) -> Versions {
    versions
        .iter()
        .map(|(package, version)| (package.to_string(), version.to_string()))
        .collect()
}

#[test]
fn the_records_lead_to_what_is_installed() {
    let first = versions(&[("a", "1"), ("b", "1")]);
    let jobs = [
        job(3, 3, &[["a", "2", "1"], ["new", "1", "-"]]),
        job(1, 1, &[["a", "1", "2"], ["new", "-", "1"]]),
        job(2, 1, &[["a", "1", "2"], ["b", "1", "2"]]),
        job(4, 4, &[["a", "1", "3"]]),
        job(5, 5, &[]),
    ];
    let now = versions(&[("a", "3"), ("b", "2")]);
    assert_eq!(judge::history(&first, &jobs, &now), []);

    let wrong = |jobs: &[Value], now: &Versions| {
        let found = judge::history(&first, jobs, now);
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].what.clone()
    };
    // one that no record has
    let unrecorded = wrong(&jobs, &versions(&[("a", "4"), ("b", "2")]));
    assert_eq!(
        unrecorded,
        "a is Some(\"4\"), and by the records it is Some(\"3\")"
    );
    // a file that a rollback has left behind
    let left = wrong(&jobs, &versions(&[("a", "3"), ("b", "2"), ("new", "1")]));
    assert!(left.starts_with("new is"), "{left}");
    // one that was done twice
    let mut twice = jobs.to_vec();
    twice.push(job(6, 6, &[["a", "1", "3"]]));
    assert!(wrong(&twice, &now).contains("before it was Some(\"3\")"));
    // unless it was put back for its rest, and tells of its first part again
    twice.last_mut().unwrap()["put_back"] = true.into();
    assert_eq!(judge::history(&first, &twice, &now), []);
}

#[test]
fn a_job_ends_once() {
    let told = |ids: &[&str]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(judge::ends(&told(&[A, B]), false), []);
    assert_eq!(judge::ends(&told(&[A, B, A]), true), []);
    assert_eq!(judge::ends(&told(&[A, B, A]), false).len(), 1);
    assert_eq!(judge::ends(&told(&[A, A, A]), true)[0].about, [A]);
}

#[test]
fn a_front_end_is_late_beside_another_and_not_by_one_accident() {
    let steady = |ours, other| vec![Sample { ours, other }; 100];
    assert_eq!(judge::front_ends("door", &steady(0.01, 0.01)), []);
    assert_eq!(
        judge::front_ends("door", &steady(3.0, 1.0)),
        [],
        "a slow machine"
    );
    assert_eq!(
        judge::front_ends("door", &steady(0.4, 0.01)),
        [],
        "within what it may take"
    );
    let late = judge::front_ends("door", &steady(3.0, 0.01));
    assert!(
        late[0].what.contains("100 times of 100, after up to 3.0 s"),
        "{late:?}"
    );
    let with = |late: usize| {
        let mut samples = steady(0.01, 0.01);
        samples
            .iter_mut()
            .step_by(7)
            .take(late)
            .for_each(|sample| sample.ours = 30.0);
        judge::front_ends("door", &samples).len()
    };
    assert_eq!((with(4), with(5)), (0, 1));
    // the machine stood still: the other one was late, too, right after
    let mut samples = steady(0.01, 0.01);
    for place in [10, 30, 50, 70, 90] {
        samples[place].ours = 3.0;
        samples[place + 1].other = 2.0;
    }
    assert_eq!(judge::front_ends("door", &samples), []);
    assert_eq!(judge::spread([3.0, 1.0, 2.0].into_iter()), (2.0, 3.0));
}

#[test]
fn a_host_at_rest_does_nothing() {
    let idle = |used, started: &[&str]| {
        let started = started.iter().map(ToString::to_string).collect();
        judge::idle(&Idle {
            seconds: 2.0,
            used,
            started,
        })
        .len()
    };
    assert_eq!(idle(0.1, &["patch-retry.service"]), 0);
    assert_eq!(idle(1.4, &[]), 1);
    assert_eq!(idle(0.0, &["patch-apply.service"; 9]), 1);
}
