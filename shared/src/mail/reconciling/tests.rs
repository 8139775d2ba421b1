//! A mailbox is looked through page by page, and what follows the last page is the function's to say.

use super::*;
use crate::engine::progress::{Progress, progress};
use crate::engine::testing::{MemoryLeases, MemoryLinks, MemoryQueue};
use crate::mail::fake::{FakeNylas, SENT_AT, grant, work};
use crate::nylas::NylasError;
use serde_json::Value;

const FUNCTION: &str = "ticket-triage";

struct Desk {
    nylas: FakeNylas,
    links: MemoryLinks,
    decisions: MemoryLeases,
    queue: MemoryQueue,
    clock: Clock,
}

impl Desk {
    fn with(nylas: FakeNylas) -> Self {
        let (links, decisions, queue) = (MemoryLinks::default(), MemoryLeases::default(), MemoryQueue::default());
        Self { nylas, links, decisions, queue, clock: Clock::system() }
    }

    async fn list(&self, job: &Value, then: AfterLastPage) -> Decision {
        let list = MailList {
            function: FUNCTION,
            nylas: &self.nylas,
            links: &self.links,
            decisions: &self.decisions,
            queue: &self.queue,
            clock: &self.clock,
            then,
        };
        let work = work(job);
        list.look_through(&Job::read(&work).expect("a job"), &grant(), &work).await.expect("a decision")
    }

    fn sent(&self) -> Vec<Value> {
        self.queue.sent().iter().map(|message| serde_json::from_str(&message.body).expect("JSON")).collect()
    }

    async fn progress(&self) -> Progress {
        let key = Job::read(&work(&first())).expect("a job").progress_key(FUNCTION);
        progress(&self.links, &key).await.expect("an answer").expect("a run")
    }

    async fn mark(&self) -> Option<i64> {
        let mark = watermark(&self.links, FUNCTION, &grant()).await.expect("an answer");
        mark.map(Timestamp::as_second)
    }
}

fn first() -> Value {
    json!({"type": "reconcile", "grant_id": "g1", "run": "r1"})
}

fn two_mails() -> FakeNylas {
    let mail = |id: &str| json!({"id": id, "thread_id": "t1", "date": SENT_AT - 100});
    FakeNylas { mails: vec![mail("m1"), mail("m2")], ..FakeNylas::default() }
}

#[tokio::test]
async fn page_is_followed_by_the_next_one_and_the_last_by_nothing_where_nothing_waits() {
    let desk = Desk::with(two_mails());
    let decision = desk.list(&first(), AfterLastPage::End).await;
    assert_eq!(decision.to_string(), "done: reconcile: a page of mail");
    let sent = desk.sent();
    assert_eq!((sent.len(), &sent[0]["data"]["object"]["id"], &sent[1]["page_token"]), (2, &json!("m1"), &json!("1")));
    assert_eq!((desk.progress().await.ended, desk.mark().await), (false, None));
    desk.list(&sent[1], AfterLastPage::End).await;
    let sent = desk.sent();
    assert_eq!((sent.len(), &sent[2]["data"]["object"]["id"]), (3, &json!("m2")), "no job follows");
    let progress = desk.progress().await;
    assert_eq!((progress.ended, progress.counts["listed"], progress.counts[RECOVERED]), (true, 2, 2));
    assert_eq!(desk.mark().await, Some(SENT_AT));
}

#[tokio::test]
async fn last_page_is_followed_by_the_decisions_that_wait_where_some_may() {
    let desk = Desk::with(FakeNylas::default());
    desk.list(&first(), AfterLastPage::Waiting).await;
    let sent = desk.sent();
    assert!(sent.len() == 1 && sent[0]["waiting_after"].is_object(), "{sent:?}");
    assert!(!desk.progress().await.ended);
}

#[tokio::test]
async fn mailbox_that_cannot_be_listed_ends_the_run_with_its_problem() {
    let out_of_reach = NylasError::GrantExpired("g1".to_owned());
    let desk = Desk::with(FakeNylas { error: Some(out_of_reach), ..two_mails() });
    let decision = desk.list(&first(), AfterLastPage::End).await;
    assert_eq!(decision.to_string(), "held: reconcile: the mailbox is out of reach");
    let progress = desk.progress().await;
    assert!(progress.ended && progress.problem.is_some(), "{progress:?}");
    assert_eq!(desk.mark().await, Some(SENT_AT - 24 * 3600), "so that nothing is forgotten however long it takes");
    assert!(desk.sent().is_empty());
}
