//! The engine's rules, each a test, over ports in memory.

use aws_lambda_events::sqs::SqsEvent;
use jiff::{Timestamp, ToSpan};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::testing::{MemoryBodies, MemoryLeases, MemoryQueue};
use super::{Clock, Deadline, Engine, Input, Processor, RetryPolicy, Work};
use crate::domain::decision::Decision;
use crate::domain::failure::Failure;
use crate::domain::pointer::BodyPointer;

const SENT_MS: i64 = 1_772_359_200_000;

/// An engine over ports in memory, with a clock that tests turn.
struct Bench {
    engine: Engine<MemoryLeases, MemoryQueue, MemoryBodies>,
    now_ms: Arc<AtomicI64>,
}

impl Bench {
    fn new() -> Self {
        let now_ms = Arc::new(AtomicI64::new(SENT_MS));
        let told = Arc::clone(&now_ms);
        Self {
            engine: Engine {
                function: "email-activity",
                leases: MemoryLeases::default(),
                queue: MemoryQueue::default(),
                bodies: MemoryBodies::default(),
                retry: RetryPolicy::default(),
                clock: Clock::told_by(move || {
                    Timestamp::from_millisecond(told.load(Ordering::SeqCst)).unwrap_or_default()
                }),
            },
            now_ms,
        }
    }

    fn pass(&self, time: Duration) {
        self.now_ms.fetch_add(i64::try_from(time.as_millis()).expect("milliseconds"), Ordering::SeqCst);
    }

    /// Runs a batch with half a minute left; answers the ids that must come back.
    async fn run(&self, records: Vec<Value>, processor: &impl Processor) -> Vec<String> {
        self.run_within(Duration::from_secs(30), records, processor).await
    }

    async fn run_within(&self, left: Duration, records: Vec<Value>, processor: &impl Processor) -> Vec<String> {
        let event: SqsEvent = serde_json::from_value(json!({ "Records": records })).expect("an event");
        let response = self.engine.run(event, Deadline::after(left), processor).await.expect("an answer");
        response.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect()
    }

    fn state(&self, notification: &str) -> Option<&'static str> {
        self.engine.leases.record(&format!("email-activity#{notification}")).map(|record| record.state)
    }

    fn classes_buried(&self) -> Vec<String> {
        self.engine.queue.buried().into_iter().map(|letter| letter.class).collect()
    }
}

fn notification(id: &str) -> String {
    json!({"type": "message.created", "id": id, "data": {"object": {"id": id, "grant_id": "g"}}}).to_string()
}

fn record(message_id: &str, group: &str, body: &str) -> Value {
    json!({
        "messageId": message_id, "receiptHandle": format!("receipt-{message_id}"), "body": body,
        "attributes": {"MessageGroupId": group, "SentTimestamp": SENT_MS.to_string(), "ApproximateReceiveCount": "1"},
    })
}

/// A record about the notification of the same name, in a group of its own.
fn lone(id: &str) -> Value {
    record(id, id, &notification(id))
}

/// Answers what a function of the work says, and remembers what it saw.
struct Answering<F>(F, Mutex<Vec<String>>);

impl<F> Answering<F> {
    fn new(answer: F) -> Self {
        Self(answer, Mutex::new(Vec::new()))
    }

    fn seen(&self) -> Vec<String> {
        self.1.lock().expect("not poisoned").clone()
    }
}

fn name_of(work: &Work) -> String {
    match &work.input {
        Input::Notification(envelope) => envelope.id.as_str().to_owned(),
        Input::Job { kind } => kind.clone(),
    }
}

impl<F: Fn(&str) -> Result<Decision, Failure> + Sync> Processor for Answering<F> {
    async fn process(&self, work: &Work) -> Result<Decision, Failure> {
        let name = name_of(work);
        self.1.lock().expect("not poisoned").push(name.clone());
        (self.0)(&name)
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the shape of an answer")]
fn log(name: &str) -> Result<Decision, Failure> {
    Ok(Decision::logged("known contact", format!("act-{name}")))
}

fn down(_: &str) -> Result<Decision, Failure> {
    Err(Failure::transient("crm.unavailable", "the CRM answered 503"))
}

#[tokio::test]
async fn message_ends_in_one_decision_and_its_repetition_is_a_duplicate() {
    let bench = Bench::new();
    let processor = Answering::new(log);
    assert!(bench.run(vec![lone("a")], &processor).await.is_empty());
    assert!(bench.run(vec![record("again", "a", &notification("a"))], &processor).await.is_empty());
    assert_eq!(processor.seen(), ["a"]);
    assert_eq!(bench.state("a"), Some("done"));
}

#[tokio::test]
async fn repetition_with_another_attempt_number_is_a_duplicate_and_one_with_other_content_is_not() {
    let bench = Bench::new();
    let processor = Answering::new(log);
    let body = |attempt: u32, subject: &str| {
        json!({"type": "message.created", "id": "a", "webhook_delivery_attempt": attempt,
            "data": {"object": {"id": "m", "subject": subject}}})
        .to_string()
    };
    bench.run(vec![record("1", "g", &body(1, "x"))], &processor).await;
    bench.run(vec![record("2", "g", &body(2, "x"))], &processor).await;
    assert_eq!(processor.seen().len(), 1);
    bench.run(vec![record("3", "g", &body(1, "y"))], &processor).await;
    bench.run(vec![record("4", "g", &body(3, "y"))], &processor).await;
    assert_eq!(processor.seen().len(), 2, "decided once for each content");
}

#[tokio::test]
async fn failed_message_comes_back_after_a_back_off_and_can_be_claimed_at_once() {
    let bench = Bench::new();
    assert_eq!(bench.run(vec![lone("a")], &Answering::new(down)).await, ["a"]);
    assert_eq!(bench.state("a"), Some("failed"));
    let hidden = bench.engine.queue.hidden();
    assert_eq!(hidden.len(), 1);
    assert!(hidden[0].1 >= Duration::from_secs(1) && hidden[0].1 <= Duration::from_secs(5), "{hidden:?}");
    assert!(bench.run(vec![lone("a")], &Answering::new(log)).await.is_empty());
    assert_eq!(bench.state("a"), Some("done"));
}

#[tokio::test]
async fn retry_after_is_a_floor_under_the_back_off() {
    let bench = Bench::new();
    let throttled = |_: &str| {
        Err(Failure::Transient {
            class: "crm.rate_limited",
            what: "429".to_owned(),
            retry_after: Some(Duration::from_secs(90)),
        })
    };
    bench.run(vec![lone("a")], &Answering::new(throttled)).await;
    assert!(bench.engine.queue.hidden()[0].1 >= Duration::from_secs(90));
}

#[tokio::test]
async fn permanent_failure_goes_to_the_dead_letter_queue_at_once_and_can_be_redriven() {
    let bench = Bench::new();
    let refused = |_: &str| Err(Failure::permanent("crm.rejected", "the CRM refuses the activity with 422: subject"));
    assert!(bench.run(vec![lone("a")], &Answering::new(refused)).await.is_empty(), "acknowledged");
    let buried = bench.engine.queue.buried();
    assert_eq!((buried[0].class.as_str(), buried[0].body.as_str()), ("crm.rejected", notification("a").as_str()));
    assert!(buried[0].reason.contains("422"));
    assert_eq!(bench.state("a"), Some("failed"));
    assert!(bench.run(vec![record("redriven", "a", &notification("a"))], &Answering::new(log)).await.is_empty());
    assert_eq!(bench.state("a"), Some("done"));
}

#[tokio::test]
async fn message_is_given_up_when_it_is_as_old_as_allowed() {
    let bench = Bench::new();
    bench.run(vec![lone("a")], &Answering::new(down)).await;
    bench.pass(Duration::from_hours(4 * 24));
    assert!(bench.run(vec![lone("a")], &Answering::new(down)).await.is_empty());
    assert_eq!(bench.classes_buried(), ["gave_up"]);
    assert!(bench.engine.queue.buried()[0].reason.contains("crm.unavailable"), "the last cause is told");
}

#[tokio::test]
async fn dead_letter_queue_that_is_down_loses_nothing() {
    let bench = Bench::new();
    bench.engine.queue.down.store(true, Ordering::SeqCst);
    let refused = |_: &str| Err(Failure::permanent("crm.rejected", "422"));
    assert_eq!(bench.run(vec![lone("a")], &Answering::new(refused)).await, ["a"], "it comes back");
    bench.engine.queue.down.store(false, Ordering::SeqCst);
    assert!(bench.run(vec![lone("a")], &Answering::new(refused)).await.is_empty());
    assert_eq!(bench.classes_buried(), ["crm.rejected"]);
}

#[tokio::test]
async fn every_subset_of_poisoned_records_costs_only_itself() {
    for poisoned in 0_usize..=10 {
        let bench = Bench::new();
        let records = (0..10)
            .map(|place| {
                let id = format!("m{place}");
                if place < poisoned { record(&id, &id, "not json") } else { lone(&id) }
            })
            .collect();
        let processor = Answering::new(log);
        assert!(bench.run(records, &processor).await.is_empty());
        assert_eq!(processor.seen().len(), 10 - poisoned);
        let buried: BTreeSet<String> =
            bench.engine.queue.buried().into_iter().map(|letter| letter.message_id).collect();
        assert_eq!(buried, (0..poisoned).map(|place| format!("m{place}")).collect());
    }
}

#[tokio::test]
async fn exactly_the_failing_records_of_a_batch_come_back() {
    for failing in 0..=10 {
        let bench = Bench::new();
        let processor = Answering::new(|name: &str| {
            let place: u32 = name[1..].parse().expect("a place");
            if place < failing { down(name) } else { log(name) }
        });
        let mut returned = bench.run((0..10).map(|place| lone(&format!("m{place}"))).collect(), &processor).await;
        returned.sort();
        assert_eq!(returned, (0..failing).map(|place| format!("m{place}")).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn after_a_failure_later_members_of_the_group_go_back_untried_and_other_groups_go_on() {
    let bench = Bench::new();
    let processor = Answering::new(|name: &str| if name == "a1" { down(name) } else { log(name) });
    let batch = vec![
        record("a1", "a", &notification("a1")),
        record("b1", "b", &notification("b1")),
        record("a2", "a", &notification("a2")),
        record("b2", "b", &notification("b2")),
        record("a3", "a", &notification("a3")),
    ];
    let mut returned = bench.run(batch, &processor).await;
    returned.sort();
    assert_eq!(returned, ["a1", "a2", "a3"]);
    let mut seen = processor.seen();
    seen.sort();
    assert_eq!(seen, ["a1", "b1", "b2"]);
    let hidden: HashMap<String, Duration> = bench.engine.queue.hidden().into_iter().collect();
    assert_eq!((hidden["receipt-a2"], hidden["receipt-a3"]), (Duration::ZERO, Duration::ZERO));
    assert_eq!(bench.state("a2"), None, "an untried message leaves no claim");
}

#[tokio::test]
async fn group_is_worked_on_in_order() {
    let bench = Bench::new();
    let processor = Answering::new(log);
    let batch = (0..8).map(|place| record(&format!("m{place}"), "g", &notification(&format!("n{place}")))).collect();
    bench.run(batch, &processor).await;
    assert_eq!(processor.seen(), (0..8).map(|place| format!("n{place}")).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn groups_are_worked_on_side_by_side() {
    struct Slow;
    impl Processor for Slow {
        async fn process(&self, _: &Work) -> Result<Decision, Failure> {
            tokio::time::sleep(Duration::from_secs(2)).await;
            log("x")
        }
    }
    let bench = Bench::new();
    let begun = tokio::time::Instant::now();
    bench.run((0..10).map(|place| lone(&format!("m{place}"))).collect(), &Slow).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn panic_costs_its_own_message_and_five_in_a_row_bury_it_as_crashed() {
    let bench = Bench::new();
    let processor = Answering::new(|name: &str| {
        assert!(name != "poison", "poisoned");
        log(name)
    });
    for crash in 0..5 {
        let well = format!("well-{crash}");
        assert_eq!(bench.run(vec![lone("poison"), lone(&well)], &processor).await, ["poison"], "try {crash}");
        assert_eq!(bench.state(&well), Some("done"));
    }
    assert!(bench.run(vec![lone("poison")], &processor).await.is_empty());
    assert_eq!(bench.classes_buried(), ["crashed"]);
    assert_eq!(processor.seen().iter().filter(|name| *name == "poison").count(), 5);
}

/// Never answers: what a killed process looks like to those after it.
struct Hanging;

impl Processor for Hanging {
    async fn process(&self, _: &Work) -> Result<Decision, Failure> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn process_that_dies_leaves_a_lease_that_ends_with_its_invocation() {
    let bench = Bench::new();
    let event: SqsEvent = serde_json::from_value(json!({"Records": [lone("a")]})).expect("an event");
    let died = bench.engine.run(event, Deadline::after(Duration::from_secs(30)), &Hanging);
    assert!(tokio::time::timeout(Duration::from_secs(1), died).await.is_err(), "dropped in mid-work");

    let processor = Answering::new(log);
    bench.pass(Duration::from_secs(10));
    assert_eq!(bench.run(vec![lone("a")], &processor).await, ["a"], "handed back while the lease lives");
    let hidden = bench.engine.queue.hidden();
    assert!(hidden[0].1 >= Duration::from_secs(20) && hidden[0].1 <= Duration::from_secs(22), "{hidden:?}");
    bench.pass(Duration::from_secs(21));
    assert!(bench.run(vec![lone("a")], &processor).await.is_empty());
    assert_eq!(processor.seen(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn five_claims_without_a_verdict_bury_a_message_as_crashed() {
    let bench = Bench::new();
    for _ in 0..5 {
        let event: SqsEvent = serde_json::from_value(json!({"Records": [lone("a")]})).expect("an event");
        let died = bench.engine.run(event, Deadline::after(Duration::from_secs(30)), &Hanging);
        assert!(tokio::time::timeout(Duration::from_secs(1), died).await.is_err());
        bench.pass(Duration::from_secs(31));
    }
    let processor = Answering::new(log);
    assert!(bench.run(vec![lone("a")], &processor).await.is_empty());
    assert_eq!(bench.classes_buried(), ["crashed"]);
    assert!(processor.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn message_that_kills_the_process_does_not_bury_those_beside_it() {
    /// Hangs for the poisoned message, as a process that dies would, and logs the others.
    struct Killing;
    impl Processor for Killing {
        async fn process(&self, work: &Work) -> Result<Decision, Failure> {
            match name_of(work).as_str() {
                "poison" => std::future::pending().await,
                name => {
                    // Slower than the death of the process, unless nobody dies beside it.
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    log(name)
                }
            }
        }
    }
    let bench = Bench::new();
    let batch = || vec![lone("good-1"), lone("poison"), lone("good-2")];
    for _ in 0..12 {
        let event: SqsEvent = serde_json::from_value(json!({"Records": batch()})).expect("an event");
        let run = bench.engine.run(event, Deadline::after(Duration::from_secs(30)), &Killing);
        // The process dies a moment after the poisoned message has been begun.
        let first_death = bench.state("good-1").is_none();
        let lives = Duration::from_millis(if first_death { 100 } else { 1500 });
        let _ = tokio::time::timeout(lives, run).await;
        bench.pass(Duration::from_secs(31));
    }
    assert_eq!((bench.state("good-1"), bench.state("good-2")), (Some("done"), Some("done")));
    assert_eq!(bench.classes_buried(), ["crashed"]);
    assert_eq!(bench.engine.queue.buried()[0].message_id, "poison");
}

#[tokio::test(start_paused = true)]
async fn work_that_does_not_end_is_cut_off_in_time_to_say_so() {
    let bench = Bench::new();
    assert_eq!(bench.run(vec![lone("a"), lone("b")], &Hanging).await.len(), 2);
    let record = bench.engine.leases.record("email-activity#a").expect("a record");
    assert_eq!((record.state, record.class.as_deref()), ("failed", Some("timed_out")));
}

#[tokio::test]
async fn nothing_is_begun_within_five_seconds_of_the_deadline() {
    let bench = Bench::new();
    let processor = Answering::new(log);
    let returned = bench.run_within(Duration::from_millis(4900), vec![lone("a")], &processor).await;
    assert_eq!(returned, ["a"]);
    assert!(processor.seen().is_empty());
    assert_eq!(bench.state("a"), None);
}

#[tokio::test]
async fn message_handed_back_untried_counts_neither_as_failure_nor_as_crash() {
    let bench = Bench::new();
    let breaker_open = |_: &str| {
        Err(Failure::Untried {
            class: "crm.breaker_open",
            what: "left alone".to_owned(),
            retry_after: Duration::from_secs(20),
        })
    };
    for _ in 0..20 {
        assert_eq!(bench.run(vec![lone("a")], &Answering::new(breaker_open)).await, ["a"]);
    }
    let record = bench.engine.leases.record("email-activity#a").expect("a record");
    assert_eq!((record.failures, record.unresolved), (0, 0));
    assert!(bench.engine.queue.hidden().iter().all(|(_, wait)| *wait >= Duration::from_secs(20)));
    assert!(bench.run(vec![lone("a")], &Answering::new(log)).await.is_empty());
}

#[tokio::test]
async fn store_that_is_down_sends_the_message_back_untouched() {
    let bench = Bench::new();
    bench.engine.leases.down.store(true, Ordering::SeqCst);
    let processor = Answering::new(log);
    assert_eq!(bench.run(vec![lone("a")], &processor).await, ["a"]);
    assert!(processor.seen().is_empty());
    bench.engine.leases.down.store(false, Ordering::SeqCst);
    assert!(bench.run(vec![lone("a")], &processor).await.is_empty());
}

#[tokio::test]
async fn worker_that_lost_its_lease_cannot_complete_and_hands_the_message_back() {
    /// Lets the lease run out and a second worker finish while the first is still at work.
    struct Overtaken<'a>(&'a Bench, AtomicU32);
    impl Processor for Overtaken<'_> {
        async fn process(&self, _: &Work) -> Result<Decision, Failure> {
            if self.1.fetch_add(1, Ordering::SeqCst) == 0 {
                self.0.pass(Duration::from_mins(1));
                let second = Answering::new(|_: &str| Ok(Decision::logged("by the second", "act-2")));
                assert!(Box::pin(self.0.run(vec![lone("a")], &second)).await.is_empty());
            }
            Ok(Decision::logged("by the first", "act-1"))
        }
    }
    let bench = Bench::new();
    let returned = bench.run(vec![lone("a")], &Overtaken(&bench, AtomicU32::new(0))).await;
    assert_eq!(returned, ["a"]);
    let decision = bench.engine.leases.record("email-activity#a").and_then(|record| record.decision).expect("decided");
    assert_eq!(decision.reason, "by the second");
}

#[tokio::test]
async fn body_in_the_bucket_is_fetched_checked_and_read_even_if_it_is_not_utf_8() {
    let mut bench = Bench::new();
    let mut body = notification("a").into_bytes();
    let place = body.windows(3).position(|window| window == b"\"g\"").expect("the grant") + 1;
    body[place] = 0xff;
    let pointer = BodyPointer::to(&body);
    bench.engine.bodies.0.insert(pointer.key.clone(), body);
    let processor = Answering::new(log);
    assert!(bench.run(vec![record("m", "g", &pointer.to_message())], &processor).await.is_empty());
    assert_eq!(processor.seen(), ["a"]);
}

#[tokio::test]
async fn body_that_is_gone_or_altered_is_buried_with_its_pointer() {
    let mut bench = Bench::new();
    let gone = BodyPointer::to(b"gone");
    let altered = BodyPointer::to(b"as it was");
    bench.engine.bodies.0.insert(altered.key.clone(), b"as it is".to_vec());
    let batch = vec![record("m1", "1", &gone.to_message()), record("m2", "2", &altered.to_message())];
    assert!(bench.run(batch, &Answering::new(log)).await.is_empty());
    let mut classes = bench.classes_buried();
    classes.sort();
    assert_eq!(classes, ["body.corrupt", "body.missing"]);
    assert_eq!(bench.state(&format!("pointer:{}", gone.sha256)), Some("failed"));
}

#[tokio::test]
async fn job_is_told_from_a_notification_and_known_by_its_own_id_or_its_message() {
    let bench = Bench::new();
    let processor = Answering::new(log);
    let batch = vec![
        record("m1", "1", r#"{"type":"reconcile","grant_id":"g"}"#),
        record("m2", "2", r#"{"type":"customer.signed_up","id":"evt-1"}"#),
    ];
    assert!(bench.run(batch, &processor).await.is_empty());
    let mut seen = processor.seen();
    seen.sort();
    assert_eq!(seen, ["customer.signed_up", "reconcile"]);
    assert_eq!((bench.state("job:m1"), bench.state("evt-1")), (Some("done"), Some("done")));
}

#[tokio::test]
async fn redrive_after_the_record_has_ended_is_worked_on_again() {
    let bench = Bench::new();
    let processor = Answering::new(log);
    bench.run(vec![lone("a")], &processor).await;
    bench.pass(Duration::from_hours(36 * 24));
    bench.run(vec![lone("a")], &processor).await;
    assert_eq!(processor.seen(), ["a", "a"], "effects beyond the record's life are guarded by keys of their own");
}

/// The far side of a run: what has been written, under which key. Writing twice under one key is harmless.
#[derive(Default)]
struct FarSide {
    written: Mutex<BTreeSet<String>>,
    calls: AtomicU32,
    fail_every: u32,
}

impl Processor for FarSide {
    async fn process(&self, work: &Work) -> Result<Decision, Failure> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        if self.fail_every > 0 && call.is_multiple_of(self.fail_every) {
            return down("");
        }
        let name = name_of(work);
        self.written.lock().expect("not poisoned").insert(name.clone());
        log(&name)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_order_and_repetition_against_a_failing_far_side_ends_with_every_message_done_once(
        deliveries in proptest::collection::vec((0usize..12, 0usize..4), 1..60), fail_every in 2u32..7, size in 1usize..=10,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let bench = Bench::new();
            let far_side = FarSide { fail_every, ..FarSide::default() };
            let mut waiting: Vec<Value> = deliveries
                .iter()
                .enumerate()
                .map(|(place, (id, group))| record(&format!("d{place}"), &group.to_string(), &notification(&format!("n{id}"))))
                .collect();
            let mut rounds = 0;
            while !waiting.is_empty() {
                rounds += 1;
                prop_assert!(rounds < 1000, "the queue does not empty");
                let rest = waiting.split_off(waiting.len().min(size));
                let returned = bench.run(waiting.clone(), &far_side).await;
                waiting.retain(|record| returned.iter().any(|id| record["messageId"] == id.as_str()));
                waiting.extend(rest);
                bench.pass(Duration::from_secs(1));
            }
            let expected: BTreeSet<String> = deliveries.iter().map(|(id, _)| format!("n{id}")).collect();
            prop_assert_eq!(&*far_side.written.lock().expect("not poisoned"), &expected);
            prop_assert!(bench.engine.queue.buried().is_empty());
            prop_assert!(bench.engine.leases.records().values().all(|record| record.state == "done"));
            Ok(())
        })?;
    }
}

#[test]
fn clock_of_the_bench_can_be_turned() {
    let bench = Bench::new();
    let before = bench.engine.clock.now();
    bench.pass(Duration::from_mins(1));
    assert_eq!(bench.engine.clock.now(), before.checked_add(60.seconds()).expect("a time"));
}

/// What a function of the work says of the trace that it belongs to.
struct Traced(Mutex<Vec<Option<String>>>);

impl Processor for Traced {
    async fn process(&self, work: &Work) -> Result<Decision, Failure> {
        tokio::task::yield_now().await;
        self.0.lock().expect("not poisoned").push(crate::trace::current());
        match name_of(work).as_str() {
            "bad" => Err(Failure::permanent("crm.rejected", "refused".to_owned())),
            _ => Ok(Decision::skipped("internal mail")),
        }
    }
}

#[tokio::test]
async fn work_on_a_message_belongs_to_its_trace_and_so_does_its_dead_letter() {
    let bench = Bench::new();
    let traced = |id: &str, trace: &str| {
        let mut record = lone(id);
        record["attributes"]["AWSTraceHeader"] = trace.into();
        record
    };
    let seen = Traced(Mutex::default());
    let records = vec![traced("good", "Root=1-a"), traced("bad", "Root=1-b"), lone("without")];
    assert_eq!(bench.run(records, &seen).await, [""; 0]);
    let seen: BTreeSet<Option<String>> = seen.0.into_inner().expect("not poisoned").into_iter().collect();
    assert_eq!(seen, BTreeSet::from([None, Some("Root=1-a".to_owned()), Some("Root=1-b".to_owned())]));
    let buried = bench.engine.queue.buried();
    assert_eq!(buried.iter().map(|letter| letter.trace.as_deref()).collect::<Vec<_>>(), [Some("Root=1-b")]);
}
