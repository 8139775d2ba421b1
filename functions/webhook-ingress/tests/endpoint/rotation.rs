//! A rotation as an instance of ingress sees it: whatever it was asked and when, nothing that Nylas sends is answered 401.
//!
//! Instances know nothing of one another, and each answers one request at a time, so that one instance is all of them. Its
//! clocks are turned by the test; what the managed secret holds at each step is what the operator writes.

use super::*;
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use shared::domain::webhook_secrets::{ManagedSecrets, TEST_EVENT_SECRET};
use std::sync::atomic::{AtomicU64, Ordering};
use webhook_ingress::{Clock, Moment};

/// When the rotation is marked, in milliseconds since the beginning.
const MARKED: u64 = 60_000;

/// How long the operator waits until Nylas makes the secret.
const SEEN_AFTER: u64 = 10_000;

/// Nylas's second attempt.
const AGAIN_AFTER: u64 = 300_000;

fn at(milliseconds: u64) -> Timestamp {
    let since = SignedDuration::from_millis(i64::try_from(milliseconds).expect("a short time"));
    Timestamp::from_second(1_772_359_200).expect("a time") + since
}

/// What an instance is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Nothing,
    ByNylas,
    ByAStranger,
}

struct Rotation {
    aws: FakeAws,
    time: Arc<AtomicU64>,
    rotated: u64,
    /// What stands in the managed secret from when on.
    written: Vec<(u64, ManagedSecrets)>,
}

impl Rotation {
    /// A rotation whose secret Nylas makes so long after the mark, and which is stored so long after that.
    fn planned(seen_after: u64, stored_after: u64) -> Self {
        let before = ManagedSecrets::default().renewed(SecretString::from("old"), "w", at(0)).unmarked();
        let marked = before.marked(at(MARKED));
        let rotated = MARKED + seen_after;
        let stored = rotated + stored_after;
        let renewed = marked.renewed(SecretString::from("new"), "w", at(stored));
        let aws = FakeAws::new();
        aws.set(WEBHOOK_ARN, Secret::NoValue);
        Self {
            aws,
            time: Arc::new(AtomicU64::new(0)),
            rotated,
            written: vec![(0, before), (MARKED, marked), (stored, renewed)],
        }
    }

    /// Turns the clocks, and the managed secret to what it holds then.
    fn turn(&self, to: u64) {
        self.time.store(to, Ordering::SeqCst);
        let (_, list) = self.written.iter().rfind(|(from, _)| *from <= to).expect("one stood from the beginning");
        self.aws.set(MANAGED_ARN, Secret::Value(list.text().expose_secret().to_owned()));
    }

    async fn instance(&self, started: u64) -> Ingress {
        self.turn(started);
        let time = Arc::clone(&self.time);
        let clock = Clock::told_by(move || {
            let now = time.load(Ordering::SeqCst);
            Moment { running: Duration::from_millis(now), wall: at(now) }
        });
        Ingress::with_clock(configuration(&[]), &self.aws.configuration(), clock).await
    }

    async fn asked_by_nylas(&self, ingress: &Ingress, when: u64) -> u16 {
        self.turn(when);
        let secret = if when < self.rotated { "old" } else { "new" };
        status(ingress, signed_with(secret, &unwanted())).await
    }
}

/// A notification that is answered 200 without a queue.
fn unwanted() -> Vec<u8> {
    notification("folder.created", &json!({ "id": "f" }))
}

/// What Nylas was answered, at the first attempt and at the last, when an instance that started then was asked so.
async fn answers(rotation: &Rotation, started: u64, history: &[(u64, Asked)]) -> Vec<(u64, u16, u16)> {
    let ingress = rotation.instance(started).await;
    let mut first = Vec::new();
    for (when, asked) in history {
        match asked {
            Asked::Nothing => {}
            Asked::ByNylas => first.push((*when, rotation.asked_by_nylas(&ingress, *when).await)),
            Asked::ByAStranger => {
                rotation.turn(*when);
                assert_ne!(status(&ingress, signed_with("strange", &unwanted())).await, 200);
            }
        }
    }
    let mut answers = Vec::new();
    for (when, status) in first {
        let last = if status == 503 { rotation.asked_by_nylas(&ingress, when + AGAIN_AFTER).await } else { status };
        answers.push((when, status, last));
    }
    answers
}

/// Every way to be asked by nobody, by Nylas or by a stranger at each of these times.
fn histories(times: &[u64]) -> Vec<Vec<(u64, Asked)>> {
    times.iter().fold(vec![Vec::new()], |histories, time| {
        let with = |history: Vec<(u64, Asked)>, asked| [history, vec![(*time, asked)]].concat();
        let each = [Asked::Nothing, Asked::ByNylas, Asked::ByAStranger];
        histories.iter().flat_map(|history| each.map(|asked| with(history.clone(), asked))).collect()
    })
}

#[tokio::test]
async fn rotation_in_its_order_loses_nothing_however_an_instance_was_asked() {
    let mut tried = 0;
    for stored_after in [200, 6_000] {
        let rotation = Rotation::planned(SEEN_AFTER, stored_after);
        let rotated = rotation.rotated;
        // Around the mark, the reading of the secrets that it falls between, the rotation, and the storing.
        let times = [MARKED - 100, MARKED + 4_900, rotated - 100, rotated + 100];
        let last = [(rotated + 20_000, Asked::ByNylas), (rotated + 90_000, Asked::ByNylas)];
        for history in histories(&times) {
            for started in [1_000, MARKED - 50] {
                let asked = history.iter().copied().filter(|(when, _)| *when > started).chain(last);
                let asked: Vec<(u64, Asked)> = asked.collect();
                let answers = answers(&rotation, started, &asked).await;
                assert!(answers.iter().all(|(_, first, last)| *first != 401 && *last == 200), "{asked:?}: {answers:?}");
                tried += 1;
            }
        }
    }
    assert_eq!(tried, 2 * 81 * 2);
}

#[tokio::test]
async fn rotation_that_does_not_wait_until_its_mark_is_seen_loses_notifications() {
    let rotation = Rotation::planned(1_000, 200);
    // It has read its secrets just before the mark, and does not read again so soon.
    let answers = answers(&rotation, MARKED - 50, &[(MARKED + 1_100, Asked::ByNylas)]).await;
    assert_eq!(answers, [(MARKED + 1_100, 401, 401)]);
}

#[tokio::test]
async fn old_secret_stays_live_after_the_rotation_and_the_mark_ends_by_itself() {
    let rotation = Rotation::planned(SEEN_AFTER, 200);
    let ingress = rotation.instance(1_000).await;
    for when in [rotation.rotated + 1_000, rotation.rotated + 80_000, rotation.rotated + 3_600_000] {
        rotation.turn(when);
        assert_eq!(status(&ingress, signed_with("old", &unwanted())).await, 200, "{when}");
    }
    rotation.turn(rotation.rotated + 7_000);
    assert_eq!(status(&ingress, signed_with("strange", &unwanted())).await, 503);
    rotation.turn(rotation.rotated + 120_000);
    assert_eq!(status(&ingress, signed_with("strange", &unwanted())).await, 401);
}

#[tokio::test]
async fn instance_that_was_frozen_reads_again_although_the_clock_that_runs_stood_still() {
    let rotation = Rotation::planned(SEEN_AFTER, 200);
    rotation.turn(MARKED - 50);
    let time = Arc::clone(&rotation.time);
    let stands_still =
        Clock::told_by(move || Moment { running: Duration::from_secs(1), wall: at(time.load(Ordering::SeqCst)) });
    let ingress = Ingress::with_clock(configuration(&[]), &rotation.aws.configuration(), stands_still).await;
    assert_eq!(rotation.asked_by_nylas(&ingress, rotation.rotated + 100).await, 503);
    assert_eq!(rotation.asked_by_nylas(&ingress, rotation.rotated + 100 + AGAIN_AFTER).await, 200);
}

#[tokio::test]
async fn what_the_operator_keeps_beside_a_secret_is_passed_over() {
    let aws = FakeAws::new();
    aws.manage(&json!([
        { "secret": MANAGED_SECRET, "webhook_id": "w", "made_at": "2026-03-01T10:00:00Z", "color": ["any", 1] },
        { "rotating_until": "2020-01-01T00:00:00Z", "marked_at": "2020-01-01T00:00:00Z", "unfinished": true, "by": {} },
        { "note": "nothing that is known here" },
    ]));
    let ingress = start(&aws).await;
    assert_eq!(status(&ingress, signed_with(MANAGED_SECRET, &mail())).await, 200);
    assert_eq!(status(&ingress, sample("bad-signature")).await, 401, "the mark is over");
}

#[tokio::test]
async fn test_event_of_nylas_is_refused_because_its_secret_is_public() {
    let aws = FakeAws::new();
    let ingress = start(&aws).await;
    assert_eq!(status(&ingress, signed_with(TEST_EVENT_SECRET, &mail())).await, 401);
    aws.assert_untouched();
}
