//! What takes minutes and is therefore not in the suite: `make endurance`. A long backfill that is killed on its way, a
//! burst of updates, and a recording of a gibibyte.

use super::calendars::{changed, connect, event, meetings, put_job, rep, run_within, told};
use super::*;

/// How many events are brought, and how often the function is killed meanwhile.
const EVENTS: i64 = 5_000;
const KILLS: u64 = 3;

/// How long a message of the queue stays hidden after its worker was killed: the template's 180 s would only be waited
/// out.
const HIDDEN: u32 = 40;

#[test]
#[ignore = "takes several minutes: make endurance"]
fn backfill_of_5000_events_that_is_killed_three_times_ends_complete_with_every_event_written_once_in_flat_memory() {
    in_the_world(async |world| {
        let calendars = queue(world, "CalendarSync");
        let function = world.stack.function_name("CalendarSync").expect("a name");
        world.view.set_visibility_timeout(&calendars, HIDDEN).await.expect("set");
        connect(world, rep("long-backfill"));
        let first = now() - 80 * 24 * 3600;
        for number in 0..EVENTS {
            let start = first + number * 1200;
            let when = json!({"object": "timespan", "start_time": start, "end_time": start + 600});
            let made = event("long-backfill", &format!("long-{number:04}"), json!({"when": when}));
            world.nylas.put_event("long-backfill", made).expect("connected");
        }
        let begun = Instant::now();
        let job = json!({"type": "calendar.backfill", "grant_id": "long-backfill", "run": "long"});
        put_job(world, &job, "long").await;
        let (mut killed, mut memory) = (0, Vec::new());
        let written = || meetings(world, "long-").len() as u64;
        let total = u64::try_from(EVENTS).expect("small");
        while written() < total {
            assert!(begun.elapsed() < Duration::from_mins(20), "{} of {EVENTS} after 20 minutes", written());
            for process in world.engine.function_processes(function).expect("processes") {
                memory.extend(resident_memory(process));
            }
            if killed < KILLS && written() > (killed + 1) * total / (KILLS + 1) {
                let processes = world.engine.kill_function(function).expect("processes");
                assert!(!processes.is_empty(), "nothing was at work");
                killed += 1;
                println!("killed {processes:?} after {} events", written());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let came_to = run_within(world, "long/long-backfill", Duration::from_mins(5)).await;
        world.view.set_visibility_timeout(&calendars, 180).await.expect("set");
        let stored = meetings(world, "long-");
        let again: Vec<u32> = stored.iter().map(|meeting| meeting.writes).filter(|writes| *writes > 1).collect();
        let bodies_differ =
            world.crm.calls().all().iter().any(|call| call.path == "/meetings" && call.status == Some(422));
        println!(
            "{EVENTS} events in {:.0} s with {killed} kills; {} written more than once (as an equal upsert): {again:?}; \
             {came_to:?}",
            begun.elapsed().as_secs_f64(),
            again.len()
        );
        assert_eq!((stored.len() as u64, killed), (total, KILLS));
        assert_eq!((came_to.counts["events"], came_to.counts["written"]), (total, total));
        assert!(!bodies_differ);
        // What was under way when the function was killed: at most ten side by side each time.
        assert!(again.len() as u64 <= KILLS * 10, "{again:?}");
        let (early, late) = memory.split_at(memory.len() / 3);
        let most = |of: &[u64]| of.iter().max().copied().unwrap_or_default();
        println!(
            "resident memory: at most {} MiB in the first third, {} MiB later",
            most(early) / 1024,
            most(late) / 1024
        );
        assert!(most(late) < most(early) + 16 * 1024, "memory grows: {memory:?}");
    });
}

#[test]
#[ignore = "takes several minutes: make endurance"]
fn burst_of_2000_updates_of_50_shared_calendars_ends_right_with_no_more_writes_than_versions_that_won() {
    in_the_world(async |world| {
        const CALENDARS: usize = 50;
        const MEETINGS: usize = 10;
        const VERSIONS: i64 = 4;
        let calendars = queue(world, "CalendarSync");
        for number in 0..CALENDARS {
            let address = format!("colleague{number}@northwind.example");
            let grant = format!("burst-{number}");
            // On Google all copies share the id; elsewhere each has its own.
            connect(
                world,
                if number % 2 == 0 { Grant::google(&grant, &address) } else { Grant::microsoft(&grant, &address) },
            );
        }
        let mut news = Vec::new();
        for number in 0..MEETINGS {
            for calendar in 0..CALENDARS {
                let id =
                    if calendar % 2 == 0 { format!("burst-{number}") } else { format!("burst-{number}-{calendar}") };
                let made = event(
                    &format!("burst-{calendar}"),
                    &id,
                    json!({
                        "ical_uid": format!("burst-{number}@ical.example"),
                        "organizer": {"email": "colleague0@northwind.example"},
                    }),
                );
                for version in 1..=VERSIONS {
                    let at = 1_772_350_000 + version * 10;
                    let made = changed(&made, at, json!({"title": format!("version {version}"), "sequence": version}));
                    if version == VERSIONS {
                        world.nylas.put_event(&format!("burst-{calendar}"), made.clone()).expect("connected");
                    }
                    news.push((
                        format!("{number}-{calendar}-{version}"),
                        id.clone(),
                        told("event.updated", &made).to_string(),
                    ));
                }
            }
        }
        assert_eq!(news.len(), 2_000);
        let (crm_calls, nylas_calls) = (world.crm.calls().all().len(), world.nylas.calls().all().len());
        let begun = Instant::now();
        futures_util::stream::iter(news)
            .for_each_concurrent(8, async |(mark, id, body)| {
                let mark = sha256_hex(&[format!("burst-{mark}").as_bytes()]);
                world.view.put(&calendars, &body, &format!("burst-{id}"), &mark).await.expect("put");
            })
            .await;
        world.view.emptied(&calendars, Duration::from_mins(15)).await.expect("worked off");
        let stored = meetings(world, "burst-");
        let calls = world.crm.calls().all();
        let of = |path: &str| calls.iter().skip(crm_calls).filter(|call| call.path == path).count();
        println!(
            "2000 notifications in {:.0} s: {} meetings, {} writes and {} lookups at the CRM, {} calls to Nylas",
            begun.elapsed().as_secs_f64(),
            stored.len(),
            of("/meetings"),
            of("/contacts"),
            world.nylas.calls().all().len() - nylas_calls
        );
        assert_eq!(stored.len(), MEETINGS);
        for meeting in &stored {
            assert_eq!(meeting.body["meeting_subject"], format!("version {VERSIONS}"), "{}", meeting.external_id);
            assert!(i64::from(meeting.writes) <= VERSIONS, "{}: {} writes", meeting.external_id, meeting.writes);
        }
        assert_eq!(world.view.depth(&queue(world, "CalendarSyncDeadLetter")).await.expect("a depth"), 0);
    });
}

/// The most that the function may hold, whatever it passes on.
const MOST_MEMORY: u64 = 128 * 1024;

#[test]
#[ignore = "takes several minutes: make endurance"]
fn recordings_of_a_gibibyte_pass_into_the_archive_unchanged_within_128_mib() {
    in_the_world(async |world| {
        const GIBIBYTE: u64 = 1024 * 1024 * 1024;
        let function = world.stack.function_name("NotetakerMedia").expect("a name");
        let (grant, id) = ("long-recording", "long-recording");
        let mut media = notetakers::all_files();
        media["recording"]["bytes"] = GIBIBYTE.into();
        notetakers::attended(world, grant, id, json!({}), media);
        let begun = Instant::now();
        let links = notetakers::links(world, Some(grant), id, &notetakers::ALL);
        deliver(world, &notetakers::available("long-recording-1", Some(grant), id, &links)).await;
        let mut most = 0;
        let is_archived = || {
            let stored = notetakers::record_of(world, id);
            stored.is_some_and(|stored| stored.body["recording_url"].is_string())
        };
        while !is_archived() {
            assert!(begun.elapsed() < Duration::from_mins(10), "it has not passed after 10 minutes");
            for process in world.engine.function_processes(function).expect("processes") {
                most = most.max(peak_memory(process).unwrap_or_default());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        println!(
            "1 GiB archived in {:.0} s; the process held {} MiB at most",
            begun.elapsed().as_secs_f64(),
            most / 1024
        );
        let key = format!("media/{grant}/{}/recording.mp4", notetakers::notetaker(id));
        let archived = world.view.archived_digest(&key).await.expect("an object");
        let sent = world.nylas.sha256_of_media(Some(grant), &notetakers::notetaker(id), "recording");
        println!("SHA-256 in the bucket {}, at its source {sent:?}", archived.1);
        assert_eq!(archived, (GIBIBYTE, sent.expect("a recording")));
        assert!(most > 0 && most <= MOST_MEMORY, "{most} KiB");
        world.view.remove_archived(&key).await.expect("removed");
    });
}

/// The memory that a process holds, in KiB.
fn resident_memory(process: u32) -> Option<u64> {
    memory(process, "VmRSS:")
}

/// The most memory that a process has ever held, in KiB.
fn peak_memory(process: u32) -> Option<u64> {
    memory(process, "VmHWM:")
}

fn memory(process: u32, kind: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(kind))?;
    line.split_whitespace().next()?.parse().ok()
}
