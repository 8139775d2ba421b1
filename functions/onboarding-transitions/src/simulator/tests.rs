//! Customers go through the real rules: stories, a worker that dies at every point, any order of things, five thousand at
//! once.

#![expect(clippy::print_stdout, reason = "the crash points are shown to whoever looks")]

use proptest::prelude::*;
use std::collections::BTreeSet;

use super::*;
use crate::customer::Progress;
use crate::evidence::Grade;
use crate::table::{Standing, TimerKind};

const ROSA: &str = "rosa@fabrikam.example";

fn begins() -> Timestamp {
    // A Monday.
    "2026-11-30T09:00:00Z".parse().expect("a time")
}

fn hours(hours: i64) -> SignedDuration {
    SignedDuration::from_hours(hours)
}

fn simulator() -> Simulator {
    Simulator::new(begins(), settings().expect("settings"))
}

/// Lets acts happen, each so many minutes after the one before, and lets so many hours pass in the end.
fn play(simulator: &mut Simulator, acts: &[(i64, Act)], then: i64) {
    for (minutes, act) in acts {
        simulator.run_for(SignedDuration::from_mins(*minutes));
        simulator.act(ROSA, act);
        simulator.run_for(SignedDuration::ZERO);
    }
    simulator.run_for(hours(then));
}

fn sign_up() -> Act {
    Act::SignUp("signed-up-1".to_owned())
}

fn customer(simulator: &Simulator) -> Customer {
    simulator.customer(ROSA).expect("a customer")
}

fn steps(simulator: &Simulator) -> Vec<String> {
    simulator.mails_to(ROSA).into_keys().collect()
}

#[test]
fn silent_customer_is_welcomed_followed_up_and_then_people_are_told_once() {
    let mut simulator = simulator();
    play(&mut simulator, &[(0, sign_up())], 24 * 14);
    assert_eq!(customer(&simulator).standing, Standing::Escalated);
    assert_eq!(steps(&simulator), ["1.follow_up", "1.welcome"]);
    assert_eq!(simulator.world.alerts().len(), 1);
    let sent = simulator.world.sent();
    assert_eq!(sent[1].at.duration_since(sent[0].at), hours(48));
    assert!(simulator.world.timers().is_empty() && simulator.dead.is_empty());
}

#[test]
fn customer_who_only_opens_gets_the_follow_up_and_then_the_nudge() {
    let mut simulator = simulator();
    play(&mut simulator, &[(0, sign_up()), (300, Act::Open("welcome"))], 24 * 14);
    assert_eq!(steps(&simulator), ["1.follow_up", "1.nudge", "1.welcome"]);
    assert_eq!(customer(&simulator).standing, Standing::Escalated);
}

#[test]
fn customer_who_clicks_is_nudged_and_not_followed_up() {
    let mut simulator = simulator();
    play(&mut simulator, &[(0, sign_up()), (300, Act::Click("welcome"))], 24 * 5);
    assert_eq!(steps(&simulator), ["1.nudge", "1.welcome"]);
    assert_eq!(customer(&simulator).standing, Standing::FollowupNeeded);
}

#[test]
fn click_during_delivery_waits_until_a_scanner_would_have_followed_the_other_links() {
    for (act, standing, grade) in [
        (Act::Click("welcome"), Standing::EngagedHard, Grade::Hard),
        (Act::Scan("welcome"), Standing::EngagedSoft, Grade::Soft),
    ] {
        let mut simulator = simulator();
        play(&mut simulator, &[(0, sign_up()), (2, act)], 1);
        let customer = customer(&simulator);
        assert_eq!(customer.standing, standing);
        assert!(customer.evidence.iter().all(|evidence| evidence.grade == grade && !evidence.reason.is_empty()));
    }
}

#[test]
fn scanner_that_tells_each_link_by_itself_is_soft_all_the_same() {
    let mut simulator = simulator();
    play(&mut simulator, &[(0, sign_up())], 0);
    simulator.run_for(SignedDuration::from_mins(2));
    let mail = simulator.world.sent().remove(0);
    for link in 0..3 {
        let at = simulator.world.now().as_second();
        let recent = serde_json::json!({"click_id": 0, "link_index": link.to_string(), "timestamp": at, "user_agent": "Mozilla/5.0 Chrome"});
        let object =
            serde_json::json!({"message_id": mail.id, "label": mail.label, "recents": [recent], "timestamp": at});
        let body = serde_json::json!({"type": "message.link_clicked", "id": format!("click-{link}"), "time": at,
            "data": {"application_id": "a", "object": object}});
        simulator.world.put_later(&body.to_string(), SignedDuration::ZERO);
        simulator.run_for(SignedDuration::from_secs(1));
    }
    simulator.run_for(SignedDuration::from_mins(1));
    let customer = customer(&simulator);
    assert_eq!(customer.standing, Standing::EngagedSoft);
    assert!(customer.evidence.iter().all(|evidence| evidence.grade == Grade::Soft), "{:?}", customer.evidence);
}

#[test]
fn reply_is_hard_and_an_absence_notice_is_soft() {
    for (act, standing) in
        [(Act::Reply("welcome"), Standing::EngagedHard), (Act::OutOfOffice("welcome"), Standing::EngagedSoft)]
    {
        let mut simulator = simulator();
        play(&mut simulator, &[(0, sign_up()), (300, act)], 1);
        assert_eq!(customer(&simulator).standing, standing);
    }
}

#[test]
fn call_is_confirmed_reminded_of_and_followed_by_resources() {
    let mut simulator = simulator();
    play(&mut simulator, &[(0, sign_up()), (300, Act::Book("b1", hours(48)))], 1);
    let events = simulator.world.events();
    let event = events.values().next().expect("a reminder");
    let start = customer(&simulator).bookings["b1"].start.as_second();
    assert_eq!(event["when"], serde_json::json!({"start_time": start - 3600, "end_time": start - 1800}));
    assert_eq!(event["participants"], serde_json::json!([]));
    let confirmation = simulator.world.sent().pop().expect("a confirmation");
    // 14:00 UTC two days later; the guest is in Stockholm.
    assert!(confirmation.body.contains("Wednesday, 2 December 2026 at 15:00"), "{}", confirmation.body);
    assert!(confirmation.body.contains("https://book.nylas.com/reschedule/ref"), "{}", confirmation.body);
    simulator.run_for(hours(72));
    assert_eq!(customer(&simulator).standing, Standing::KickoffCompleted);
    simulator.act(ROSA, &Act::Complete("done-1".to_owned()));
    simulator.run_for(hours(24 * 14));
    assert_eq!(customer(&simulator).standing, Standing::Onboarded);
    assert_eq!(steps(&simulator), ["1.confirmation", "1.resources", "1.welcome"]);
    assert!(simulator.world.alerts().is_empty());
}

#[test]
fn call_that_is_moved_cancelled_and_booked_again_leaves_one_reminder_and_one_timer() {
    let mut simulator = simulator();
    let acts = [
        (0, sign_up()),
        (300, Act::Book("b1", hours(48))),
        (60, Act::Reschedule("b1", hours(72))),
        (60, Act::Cancel("b1")),
    ];
    play(&mut simulator, &acts, 1);
    assert!(simulator.world.events().is_empty());
    assert_eq!(customer(&simulator).standing, Standing::EngagedHard);
    play(&mut simulator, &[(60, Act::Book("b2", hours(24)))], 1);
    assert_eq!(simulator.world.events().len(), 1);
    assert_eq!(customer(&simulator).armed.keys().collect::<Vec<_>>(), [&TimerKind::KickoffEnded]);
    assert_eq!(simulator.world.timers().len(), 1);
    assert_eq!(steps(&simulator), ["1.confirmation", "1.confirmation_2", "1.rescheduled", "1.welcome"]);
}

#[test]
fn bounce_ends_the_mails_and_people_are_told_once() {
    let mut simulator = simulator();
    play(&mut simulator, &[(0, sign_up()), (10, Act::Bounce), (10, Act::Bounce)], 24 * 14);
    assert_eq!((steps(&simulator), simulator.world.alerts().len()), (vec!["1.welcome".to_owned()], 1));
    assert!(simulator.world.timers().is_empty());
}

#[test]
fn second_sign_up_changes_nothing_and_one_after_the_end_begins_run_2_with_a_page_of_its_own() {
    let mut simulator = simulator();
    let acts = [
        (0, sign_up()),
        (60, Act::SignUp("signed-up-2".to_owned())),
        (60, Act::Complete("done-1".to_owned())),
        (60, sign_up()),
        (60, Act::SignUp("signed-up-3".to_owned())),
    ];
    play(&mut simulator, &acts, 1);
    let customer = customer(&simulator);
    assert_eq!((customer.run, customer.standing), (2, Standing::WelcomeSent));
    assert_eq!(simulator.mails_to(ROSA), BTreeMap::from([("1.welcome".to_owned(), 1), ("2.welcome".to_owned(), 1)]));
    let slugs: BTreeSet<Option<String>> = simulator.world.pages().into_iter().map(|page| page.slug).collect();
    assert_eq!(slugs.len(), 2);
}

#[test]
fn mail_whose_sending_goes_wrong_in_any_way_is_sent_exactly_once() {
    for (fault, within) in [
        (SendFault::TimesOutAfter, 2),
        (SendFault::TimesOutBefore, 3),
        (SendFault::Lost, 1),
        (SendFault::CutOff, 1),
        (SendFault::Throttled(7200), 3),
        (SendFault::WithoutId, 1),
        (SendFault::Trial, 1),
    ] {
        let mut simulator = simulator();
        simulator.world.plan(fault.clone());
        play(&mut simulator, &[(0, sign_up())], within);
        assert_eq!(simulator.mails_to(ROSA), BTreeMap::from([("1.welcome".to_owned(), 1)]), "{fault:?}");
        let customer = customer(&simulator);
        assert_eq!(customer.standing, Standing::WelcomeSent, "{fault:?}");
        assert!(simulator.dead.is_empty(), "{fault:?}");
        assert_eq!(simulator.world.sent()[0].tracked, fault != SendFault::Trial);
    }
}

#[test]
fn throttled_mail_waits_as_long_as_it_was_asked_to_and_holds_nobodys_news_up() {
    let mut simulator = simulator();
    simulator.world.plan(SendFault::Throttled(7200));
    play(&mut simulator, &[(0, sign_up()), (10, Act::Complete("done-1".to_owned()))], 5);
    assert_eq!(customer(&simulator).standing, Standing::Onboarded);
    assert!(simulator.world.sent().is_empty(), "called back while it waited");
}

#[test]
fn refused_link_is_told_once_for_all_and_the_mail_goes_once_the_cause_is_mended() {
    let mut simulator = simulator();
    for email in [ROSA, "second@fabrikam.example"] {
        simulator.world.plan(SendFault::LinkRefused("https://bad.example/x"));
        simulator.act(email, &Act::SignUp(format!("of {email}")));
        simulator.run_for(SignedDuration::from_secs(10));
    }
    assert_eq!(simulator.dead.len(), 2);
    let alerts = simulator.world.alerts();
    assert_eq!(alerts.len(), 1);
    assert!(alerts[0].contains("bad.example/x"), "{alerts:?}");
    simulator.run_for(hours(2));
    for (body, ..) in std::mem::take(&mut simulator.dead) {
        simulator.world.put_later(&body, SignedDuration::ZERO);
    }
    simulator.run_for(hours(2));
    assert_eq!(simulator.world.sent().len(), 2);
    assert_eq!(customer(&simulator).standing, Standing::WelcomeSent);
}

#[test]
fn people_are_told_of_a_silent_customer_even_if_the_follow_up_lies_in_the_dead_letter_queue() {
    let mut simulator = simulator();
    play(&mut simulator, &[(0, sign_up())], 47);
    simulator.world.plan(SendFault::LinkRefused("https://bad.example/x"));
    simulator.run_for(hours(24 * 14));
    assert_eq!((simulator.dead.len(), customer(&simulator).standing), (1, Standing::Escalated));
    // The refused link, and the customer.
    assert_eq!(simulator.world.alerts().len(), 2);
    assert!(simulator.world.timers().is_empty());
}

#[test]
fn sign_up_after_the_end_is_welcomed_even_if_the_welcome_before_it_was_given_up() {
    let mut simulator = simulator();
    simulator.world.plan(SendFault::LinkRefused("https://bad.example/x"));
    let again = Act::SignUp("signed-up-2".to_owned());
    play(&mut simulator, &[(0, sign_up()), (60, Act::Complete("done-1".to_owned())), (60, again)], 1);
    assert_eq!(
        (customer(&simulator).standing, steps(&simulator)),
        (Standing::WelcomeSent, vec!["2.welcome".to_owned()])
    );
}

#[test]
fn call_that_is_moved_after_it_was_taken_to_be_over_is_followed_by_resources_once_it_is_over() {
    let mut simulator = simulator();
    let acts = [
        (0, sign_up()),
        (300, Act::Book("b1", hours(2))),
        (180, Act::Reschedule("b1", hours(48))),
        (60, Act::Complete("done-1".to_owned())),
        (60, Act::Reschedule("b1", hours(72))),
    ];
    play(&mut simulator, &acts[..3], 1);
    assert_eq!(customer(&simulator).standing, Standing::KickoffBooked);
    play(&mut simulator, &acts[3..], 1);
    let (start, events) = (customer(&simulator).bookings["b1"].start.as_second(), simulator.world.events());
    assert_eq!(
        events.values().next().expect("a reminder")["when"]["start_time"],
        start - 3600,
        "moved after the end too"
    );
    assert_eq!(customer(&simulator).standing, Standing::Onboarded);
}

#[test]
fn open_that_is_told_while_the_sending_is_unknown_proves_that_the_mail_was_sent() {
    let mut simulator = simulator();
    simulator.world.plan(SendFault::TimesOutAfter);
    simulator.act(ROSA, &sign_up());
    let _ = simulator.run_until(begins());
    let welcome = customer(&simulator).mails["welcome"].clone();
    assert_eq!((welcome.progress, welcome.key_since.is_some()), (Progress::Waiting, true));
    simulator.act(ROSA, &Act::Open("welcome"));
    simulator.run_for(SignedDuration::ZERO);
    assert_eq!(customer(&simulator).standing, Standing::EngagedSoft);
    simulator.run_for(hours(3));
    assert_eq!(simulator.world.sent().len(), 1);
}

#[test]
fn strangers_booking_and_another_campaigns_label_are_recorded_no_ops() {
    let mut simulator = simulator();
    simulator.act("stranger@else.example", &Act::Book("b9", hours(48)));
    let delivered = simulator.run_for(SignedDuration::ZERO);
    assert!(
        matches!(&delivered[..], [Delivery::Decided(decision)] if decision.reason == "nobody who booked is a customer")
    );
    let object = serde_json::json!({"message_id": "m", "label": "spring-campaign"});
    let body = serde_json::json!({"type": "message.opened", "id": "n", "data": {"object": object}});
    assert!(
        matches!(simulator.deliver(&body.to_string()), Delivery::Decided(decision) if decision.reason.contains("campaign"))
    );
}

#[test]
fn mail_of_the_night_waits_for_the_customers_morning_once_the_zone_is_known() {
    let mut settings = settings().expect("settings");
    settings.hours = crate::hours::SendingHours::parse("Mon-Fri 08:00-18:00").ok();
    let mut simulator = Simulator::new(begins(), settings);
    // The cancellation arms the nudge for Thursday, 19:00 UTC, which is the evening in Stockholm.
    let acts = [(0, sign_up()), (300, Act::Book("b1", hours(48))), (300, Act::Cancel("b1"))];
    play(&mut simulator, &acts, 24 * 5);
    let nudge = simulator.world.sent().pop().expect("a nudge");
    assert_eq!(nudge.label.split_once('.').map(|(_, rest)| rest), Some("1.nudge"));
    assert_eq!(nudge.at.to_string(), "2026-12-04T07:00:00Z");
}

/// What it is about; acts, each so many minutes after the one before; how many hours follow; what goes wrong.
type Journey = (&'static str, Vec<(i64, Act)>, i64, Vec<SendFault>);

/// Acts that take a customer through every move of the table, with sending that goes wrong on the way.
fn journeys() -> Vec<Journey> {
    let book = |id, later| Act::Book(id, hours(later));
    let day = 24 * 60;
    vec![
        (
            "silent, told of, clicks, quiet again",
            vec![(0, sign_up()), (10 * day, Act::Click("welcome"))],
            24 * 14,
            vec![],
        ),
        (
            "opens, replies, is set up",
            vec![
                (0, sign_up()),
                (300, Act::Open("welcome")),
                (4 * day, Act::Reply("nudge")),
                (5 * day, Act::Complete("done-1".to_owned())),
                (60, Act::SignUp("signed-up-2".to_owned())),
            ],
            24 * 3,
            vec![],
        ),
        (
            "books, moves, cancels, books again, comes",
            vec![
                (0, sign_up()),
                (300, book("b1", 48)),
                (60, Act::Reschedule("b1", hours(72))),
                (60, Act::Cancel("b1")),
                (60, book("b2", 24)),
                (2 * day, Act::Complete("done-1".to_owned())),
            ],
            24 * 3,
            vec![],
        ),
        (
            "books twice, cancels the second",
            vec![(0, sign_up()), (60, book("b1", 48)), (60, book("b2", 72)), (60, Act::Cancel("b2"))],
            24 * 4,
            vec![],
        ),
        (
            "is unresponsive, opens, is clicked by a scanner",
            vec![(0, sign_up()), (3 * day, Act::Open("follow_up")), (60, Act::Scan("follow_up"))],
            24 * 10,
            vec![],
        ),
        (
            "bounces, books all the same at short notice",
            vec![(0, sign_up()), (60, Act::Bounce), (60, book("b1", 0))],
            24 * 4,
            vec![],
        ),
        (
            "sending goes wrong",
            vec![(0, sign_up()), (300, book("b1", 48))],
            24 * 4,
            vec![
                SendFault::TimesOutAfter,
                SendFault::CutOff,
                SendFault::Lost,
                SendFault::Throttled(600),
                SendFault::WithoutId,
                SendFault::TimesOutBefore,
            ],
        ),
        ("a trial account", vec![(0, sign_up())], 24 * 4, vec![SendFault::Trial]),
    ]
}

/// What must be the same whether or not a worker died.
#[derive(Debug, PartialEq)]
struct Ending {
    standing: Standing,
    run: u32,
    mails: BTreeMap<String, usize>,
    progress: BTreeMap<String, Progress>,
    pages: usize,
    events: Vec<serde_json::Value>,
    armed: Vec<TimerKind>,
    dead: usize,
    to_do: usize,
    at_work: bool,
}

fn ending(journey: &Journey, crash: Option<usize>) -> (Ending, Vec<String>) {
    let (_, acts, then, faults) = journey;
    let mut simulator = simulator();
    for fault in faults {
        simulator.world.plan(fault.clone());
    }
    simulator.world.crash_at(crash);
    play(&mut simulator, acts, *then);
    let points = simulator.world.crash_at(None);
    let customer = customer(&simulator);
    let set: BTreeSet<String> = simulator.world.timers().into_iter().collect();
    assert_eq!(set.len(), customer.armed.len(), "what is armed is set, and nothing else is: {set:?}");
    let times = simulator.world.events().into_values().map(|mut event| event["when"].take());
    let ending = Ending {
        standing: customer.standing,
        run: customer.run,
        mails: simulator.mails_to(ROSA),
        progress: customer.mails.iter().map(|(step, mail)| (step.clone(), mail.progress)).collect(),
        pages: simulator.world.pages().len(),
        events: times.collect(),
        armed: customer.armed.keys().copied().collect(),
        dead: simulator.dead.len(),
        to_do: customer.todo.len(),
        at_work: customer.at_work.is_some(),
    };
    (ending, points)
}

#[test]
fn worker_that_dies_at_any_point_leaves_one_mail_a_step_one_page_one_reminder_and_the_right_state() {
    let mut all = 0;
    for journey in journeys() {
        let (expected, points) = ending(&journey, None);
        assert!(expected.mails.values().all(|count| *count == 1), "{}: {:?}", journey.0, expected.mails);
        println!("{}: {} crash points", journey.0, points.len());
        for (place, name) in points.iter().enumerate() {
            let (ended, _) = ending(&journey, Some(place + 1));
            assert_eq!(ended, expected, "{}: died {name} (point {})", journey.0, place + 1);
        }
        let kinds: BTreeSet<&String> = points.iter().collect();
        println!("    {}", kinds.into_iter().map(String::as_str).collect::<Vec<_>>().join(", "));
        all += points.len();
    }
    println!("{all} crash points in all");
}

/// What is taken in while a worker that has the record stands at a point and then goes on.
#[test]
fn news_that_comes_in_at_any_point_of_another_messages_work_is_neither_lost_nor_overwritten() {
    let mut all = 0;
    for (news, expected) in [
        (Act::Complete("done-1".to_owned()), Standing::Onboarded),
        (Act::Bounce, Standing::WelcomeSent),
        (Act::Book("b1", hours(48)), Standing::KickoffBooked),
    ] {
        // At the first point there is no customer yet.
        let mut point = 2;
        loop {
            let mut simulator = simulator();
            simulator.act(ROSA, &sign_up());
            let met = simulator.deliver_with_news_at(point, ROSA, &news);
            if !met {
                break;
            }
            simulator.run_for(hours(24 * 3));
            let customer = customer(&simulator);
            let context = format!("{news:?} at point {point}: {:?}", customer.mails);
            let onward = [expected, Standing::KickoffCompleted];
            let is_new = customer.standing == Standing::New && news == Act::Bounce;
            assert!(onward.contains(&customer.standing) || is_new, "{} {context}", customer.standing);
            assert_eq!(customer.bounced.is_some(), news == Act::Bounce, "{context}");
            assert!(simulator.dead.is_empty() && customer.todo.is_empty(), "{context}");
            assert!(simulator.mails_to(ROSA).values().all(|count| *count == 1), "{context}");
            let sent: BTreeSet<String> = steps(&simulator).into_iter().map(|step| step[2..].to_owned()).collect();
            let known = customer.mails.iter().filter(|(_, mail)| mail.progress == Progress::Sent);
            assert_eq!(known.map(|(step, _)| step.clone()).collect::<BTreeSet<_>>(), sent, "{context}");
            point += 1;
        }
        all += point - 2;
    }
    println!("{all} points at which news came in");
    assert!(all > 60, "{all} points");
}

/// An act of a random life.
fn any_act() -> impl Strategy<Value = Act> {
    let steps = prop_oneof![Just("welcome"), Just("follow_up"), Just("nudge"), Just("confirmation")];
    let bookings = prop_oneof![Just("b1"), Just("b2"), Just("b3")];
    prop_oneof![
        2 => (1..4u8).prop_map(|id| Act::SignUp(format!("signed-up-{id}"))),
        1 => (1..3u8).prop_map(|id| Act::Complete(format!("done-{id}"))),
        3 => steps.clone().prop_map(Act::Open),
        3 => steps.clone().prop_map(Act::Click),
        1 => steps.clone().prop_map(Act::Scan),
        2 => steps.prop_map(Act::Reply),
        1 => Just(Act::Bounce),
        3 => (bookings.clone(), 0..100i64).prop_map(|(id, later)| Act::Book(id, hours(later))),
        2 => (bookings.clone(), 0..100i64).prop_map(|(id, later)| Act::Reschedule(id, hours(later))),
        2 => bookings.prop_map(Act::Cancel),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Acts in any order and at any pace, each told again later, some by a worker that dies over it.
    #[test]
    fn no_life_leaves_the_table_sends_a_step_twice_or_mails_after_a_bounce_or_the_end(
        acts in proptest::collection::vec((any_act(), 0..2000i64, proptest::option::of(0..3000i64), proptest::option::of(1..20usize)), 1..14),
    ) {
        let mut simulator = simulator();
        for (act, minutes, again, crash) in acts {
            simulator.run_for(SignedDuration::from_mins(minutes));
            let body = act.body(&simulator.world, simulator.customer(ROSA).as_ref(), ROSA);
            let Some(body) = body else { continue };
            simulator.world.crash_at(crash);
            simulator.world.put_later(&body, SignedDuration::ZERO);
            if let Some(again) = again {
                simulator.world.put_later(&body, SignedDuration::from_mins(again));
            }
            let before = (simulator.customer(ROSA), simulator.world.sent().len());
            simulator.run_for(SignedDuration::ZERO);
            if let (Some(standing), sent) = before {
                let ended = standing.standing == Standing::Onboarded && simulator.customer(ROSA).is_some_and(|now| now.run == standing.run);
                if standing.bounced.is_some() || ended {
                    prop_assert_eq!(simulator.world.sent().len(), sent, "mail after the end");
                }
            }
        }
        simulator.run_for(hours(24 * 20));
        prop_assert!(simulator.dead.is_empty(), "{:?}", simulator.dead);
        for (step, count) in simulator.mails_to(ROSA) {
            prop_assert_eq!(count, 1, "{}", step);
        }
        if let Some(customer) = simulator.customer(ROSA) {
            prop_assert!(customer.todo.is_empty() && customer.at_work.is_none(), "{:?}", customer.todo);
            if let Some(bounced) = &customer.bounced {
                let late = simulator.world.sent().into_iter().any(|sent| sent.at > bounced.at);
                prop_assert!(!late, "mail after the bounce");
            }
            let standing = customer.bookings.values().filter(|booking| booking.stands && booking.reminder.is_some()).count();
            prop_assert_eq!(simulator.world.events().len(), standing, "a reminder for each call that stands");
        }
    }
}

/// How many sign up at once.
const MANY: usize = 5000;

#[test]
fn five_thousand_sign_ups_at_once_are_all_welcomed_within_the_caps() {
    let mut simulator = simulator();
    for number in 0..MANY {
        let event = serde_json::json!({"type": "customer.signed_up", "id": format!("e{number}"), "name": "Rosa Diaz",
            "email": format!("customer-{number}@fabrikam.example")});
        simulator.world.put_later(&event.to_string(), SignedDuration::ZERO);
    }
    // A day at a time, until everybody is welcomed.
    let mut days = 0;
    while simulator.world.sent().iter().filter(|sent| sent.label.ends_with(".welcome")).count() < MANY && days < 60 {
        simulator.run_for(hours(24));
        days += 1;
    }
    assert!(simulator.dead.is_empty(), "{:?}", simulator.dead.first());
    let sent = simulator.world.sent();
    let welcomed: BTreeSet<&str> =
        sent.iter().filter(|sent| sent.label.ends_with(".welcome")).map(|sent| sent.to.as_str()).collect();
    assert_eq!(welcomed.len(), MANY);
    let times: Vec<i64> = sent.iter().map(|sent| sent.at.as_second()).collect();
    let most = |span: i64| {
        let ends =
            (0..times.len()).map(|first| times[first..].iter().take_while(|at| **at < times[first] + span).count());
        ends.max().unwrap_or_default()
    };
    let (minute, day) = (most(60), most(24 * 3600));
    println!(
        "{} mails in {} days; at most {minute} in a minute and {day} in a day",
        times.len(),
        (times[times.len() - 1] - times[0]) / 86_400
    );
    assert!(minute <= 20, "{minute} in a minute");
    assert!(day <= 320, "{day} in a day, of which a fifth is kept for calls");
    let follow_up = |to: &str| sent.iter().find(|mail| mail.to == to && mail.label.ends_with(".follow_up"));
    let first = &sent[0];
    let waited = follow_up(&first.to).expect("a follow-up").at.duration_since(first.at);
    assert!(waited >= hours(48) && waited < hours(49), "what continues goes before what begins: {waited:#}");
}
