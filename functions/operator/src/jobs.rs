//! What a request puts into the queues, and under which keys the functions keep how far it has come.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use shared::contact_sync::SyncJob;
use shared::domain::failure::Failure;
use shared::domain::link::LinkKey;
use shared::domain::notification::GrantId;
use shared::domain::queue_message::GroupId;
use shared::engine::OwnMessage;
use shared::engine::job::job_message;
use shared::engine::progress::run_key;
use shared::reconcile::{ReconcileJob, part_of};

use crate::command::{Function, Job, RunRequest};

/// The first job of a backfill, as calendar-sync reads it.
#[derive(Serialize)]
struct BackfillJob<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    grant_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    calendar_id: Option<&'a str>,
    start: i64,
    end: i64,
    run: &'a str,
}

/// The beginning of an account: a first job names no place within it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Beginning {}

/// The name of a run that begins now: the time for people, and of the invocation's id what keeps two runs apart.
#[must_use]
pub fn run_name(now: Timestamp, invocation: &str) -> String {
    let distinct: String = invocation.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
    format!("by-hand-{}-{distinct}", now.strftime("%Y%m%dT%H%M%SZ"))
}

/// The message that starts a run, for each function that does it. `support_grants` are the mailboxes, separated by
/// commas, whose mail is not email-activity's.
///
/// # Errors
/// None that can be met: a job can always be written.
pub fn messages(
    request: &RunRequest,
    job: &Job,
    run: &str,
    support_grants: &str,
) -> Result<Vec<(Function, OwnMessage)>, Failure> {
    let message = |function: Function| match job {
        Job::Backfill { calendar, start, end } => {
            let job = BackfillJob {
                kind: "calendar.backfill",
                grant_id: request.grant.as_ref().map(GrantId::as_str),
                calendar_id: calendar.as_deref(),
                start: *start,
                end: *end,
                run,
            };
            // The group of the jobs that follow it: a later one never overtakes it.
            job_message(function.name(), GroupId::of("backfill", run), &job)
        }
        Job::Reconcile { from, to } => {
            let leaves_out = request.grant.is_none() && function == Function::EmailActivity;
            ReconcileJob::<Beginning> {
                kind: "reconcile".to_owned(),
                grant_id: request.grant.as_ref().map(ToString::to_string),
                run: Some(run.to_owned()),
                except_grant_ids: leaves_out.then(|| support_grants.to_owned()),
                only_grant_ids: None,
                from: *from,
                to: *to,
                closes_the_gap: None,
                step: 0,
                listed: 0,
                missed: 0,
                place: Beginning {},
            }
            .to_message(function.name())
        }
        Job::Sync { dry_run, replace_existing } => SyncJob {
            grant_id: request.grant.as_ref().map(ToString::to_string),
            dry_run: *dry_run,
            replace_existing: *replace_existing,
            ..SyncJob::of_all(run)
        }
        .to_message(function.name()),
    };
    request.functions.iter().map(|function| Ok((*function, message(*function)?))).collect()
}

/// A part of a run: what one function does for one account, or for all of them together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// The function, by its name.
    pub function: &'static str,
    /// The account; none for the job that makes one an account.
    pub grant: Option<String>,
}

impl Part {
    /// The parts that a run begins with. One for all accounts names its further parts once it has found them.
    #[must_use]
    pub fn first_of(request: &RunRequest) -> Vec<Self> {
        let grant = request.grant.as_ref().map(ToString::to_string);
        request.functions.iter().map(|function| Self { function: function.name(), grant: grant.clone() }).collect()
    }

    /// The key under which its progress is kept.
    #[must_use]
    pub fn key(&self, run: &str) -> LinkKey {
        run_key(self.function, &part_of(run, self.grant.as_deref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Request;
    use serde_json::{Value, json};

    fn run_request(event: &Value, now: Timestamp) -> RunRequest {
        match Request::read(event, now).expect("a request") {
            Request::Run(run) => run,
            other => panic!("{other:?} is no run"),
        }
    }

    fn laid_out(event: &Value, support_grants: &str) -> Vec<(Function, Value, OwnMessage)> {
        let now = Timestamp::from_second(1_772_359_200).expect("a time");
        let request = run_request(event, now);
        let crate::command::Order::Start(job) = &request.order else { panic!("nothing is started") };
        let messages = messages(&request, job, "r1", support_grants).expect("messages");
        messages
            .into_iter()
            .map(|(function, message)| {
                let mut body: Value = serde_json::from_str(&message.body).expect("JSON");
                let id = body.as_object_mut().and_then(|body| body.remove("id")).expect("an id");
                assert!(id.as_str().is_some_and(|id| id.starts_with("job:")), "{id}");
                (function, body, message)
            })
            .collect()
    }

    #[test]
    fn run_is_named_after_its_time_and_its_invocation() {
        let now = Timestamp::from_second(1_772_359_200).expect("a time");
        let name = run_name(now, "8d5a3f1e-1c1b-4a55-9c7e-0f9a6b2d7c11");
        assert_eq!(name, "by-hand-20260301T100000Z-8d5a3f1e");
        let asked = Request::read(&json!({ "command": "reconcile", "run": name }), now);
        assert!(asked.is_ok(), "a run can be asked for by its name");
    }

    #[test]
    fn backfill_is_one_job_in_the_queue_of_calendar_sync_in_the_group_of_those_that_follow_it() {
        let event = json!({ "command": "backfill", "grant_id": "g", "calendar_id": "c", "days": 1 });
        let [(function, body, message)] = laid_out(&event, "").try_into().expect("one message");
        assert_eq!(function, Function::CalendarSync);
        let job = json!({
            "type": "calendar.backfill", "grant_id": "g", "calendar_id": "c", "start": 1_772_272_800,
            "end": 1_772_359_200, "run": "r1",
        });
        assert_eq!(body, job);
        assert_eq!(message.group, GroupId::of("backfill", "r1"));
        let all = json!({ "command": "backfill", "grant_id": "g" });
        let [(_, body, _)] = laid_out(&all, "").try_into().expect("one message");
        assert_eq!(body.get("calendar_id"), None);
    }

    #[test]
    fn reconciling_one_account_is_one_job_for_each_function() {
        let event = json!({ "command": "reconcile", "grant_id": "g", "from": 1_772_272_800, "to": 1_772_300_000 });
        let jobs = laid_out(&event, "support");
        let functions = [Function::EmailActivity, Function::CalendarSync, Function::NotetakerMedia];
        assert_eq!(jobs.iter().map(|job| job.0).collect::<Vec<_>>(), functions);
        for (_, body, message) in &jobs {
            let job = json!({
                "type": "reconcile", "grant_id": "g", "run": "r1", "from": 1_772_272_800, "to": 1_772_300_000,
                "step": 0, "listed": 0, "missed": 0,
            });
            assert_eq!(*body, job);
            assert_eq!(message.group, GroupId::of("reconcile", "g"));
        }
        assert_ne!(jobs[0].2.deduplication_id, jobs[1].2.deduplication_id);
    }

    #[test]
    fn reconciling_the_mail_of_all_accounts_names_those_to_leave_out_even_if_there_are_none() {
        for support_grants in ["support-1,support-2", ""] {
            let [mail, calendars, _notes] =
                laid_out(&json!({ "command": "reconcile" }), support_grants).try_into().expect("three messages");
            assert_eq!(mail.1["except_grant_ids"], support_grants);
            assert_eq!(mail.1.get("grant_id"), None);
            assert_eq!(calendars.1.get("except_grant_ids"), None);
            assert_eq!(mail.2.group, GroupId::of("reconcile", "all"));
        }
    }

    #[test]
    fn sync_is_one_job_in_the_queue_of_contact_sync_in_the_group_of_its_account() {
        let event = json!({ "command": "sync", "grant_id": "g", "dry_run": true, "replace_existing": true });
        let [(function, body, message)] = laid_out(&event, "support").try_into().expect("one message");
        assert_eq!(function, Function::ContactSync);
        let job = json!({
            "type": "contacts.sync", "grant_id": "g", "run": "r1", "dry_run": true, "replace_existing": true, "slice": 0,
        });
        assert_eq!(body, job);
        assert_eq!(message.group, GroupId::of("grant", "g"));
        let [(_, body, message)] = laid_out(&json!({ "command": "sync" }), "").try_into().expect("one message");
        assert_eq!(body, json!({ "type": "contacts.sync", "run": "r1", "slice": 0 }));
        assert_eq!(message.group, GroupId::of("contacts.sync", "all"));
    }

    #[test]
    fn progress_is_looked_for_where_the_functions_keep_it() {
        let now = Timestamp::from_second(1_772_359_200).expect("a time");
        let keys = |event: Value| -> Vec<String> {
            let request = run_request(&event, now);
            Part::first_of(&request).iter().map(|part| part.key("r1").as_str().to_owned()).collect()
        };
        assert_eq!(keys(json!({ "command": "backfill", "grant_id": "g" })), ["run#calendar-sync/r1/g"]);
        assert_eq!(
            keys(json!({ "command": "reconcile" })),
            ["run#email-activity/r1", "run#calendar-sync/r1", "run#notetaker-media/r1"]
        );
        assert_eq!(
            keys(json!({ "command": "reconcile", "grant_id": "g", "what": "mail" })),
            ["run#email-activity/r1/g"]
        );
        assert_eq!(keys(json!({ "command": "sync" })), ["run#contact-sync/r1"]);
        assert_eq!(keys(json!({ "command": "sync", "grant_id": "g" })), ["run#contact-sync/r1/g"]);
    }
}
