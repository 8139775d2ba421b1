//! The smoke cases of `make permissions`: for each function a few short stories that together touch everything its role
//! may do. A case waits for ever for what should happen; whoever runs it watches for a refusal and ends it in time.
//! A new command of the operator is one line in [`OPERATOR`].

use futures_util::future::LocalBoxFuture;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use shared::aws::leases::DynamoLeases;
use shared::aws::links::DynamoLinks;
use shared::domain::digest::sha256_hex;
use shared::domain::notification::{NotificationId, content_digest};
use shared::domain::pointer::BodyPointer;
use shared::engine::progress::{progress, run_key};
use shared::engine::{About, ClaimRequest, LeaseKey, Leases as _};
use shared::reconcile::part_of;
use std::time::Duration;

use crate::customers::{Customers, event as customer_event, mails_to, tell};
use crate::stack_view::{DecisionRecord, ViewError};
use crate::stand_ins::rest_crm::CrmContact;
use crate::stand_ins::{Fault, FaultRule, Faults, Grant, StandInError};
use crate::world::{SUPPORT_EMAIL, SUPPORT_GRANT, World, WorldError};

/// A secret of the list that the operator manages, written there before the first case.
const MANAGED_SECRET: &str = "permissions-managed-secret";

/// The account whose mail, events and contacts the cases tell of.
const ACCOUNT: &str = "permissions-account";

/// The address of that account.
const ACCOUNT_EMAIL: &str = "rep.permissions@northwind.example";

/// A contact that the CRM knows.
const PROSPECT: &str = "dana@permissions.example";

/// How often it is looked whether something has happened.
const LOOK_EVERY: Duration = Duration::from_millis(150);

/// How long a customer may take to come to the next state, longer than any case is waited for.
const PATIENCE: Duration = Duration::from_mins(1);

/// How a case ended: nothing, or what the function answered instead of what it should.
type Ended = Result<Option<String>, WorldError>;

/// What a case does; the text is its mark, which no other case has.
type Run = for<'a> fn(&'a World, &'a str) -> LocalBoxFuture<'a, Ended>;

/// A short story of one function.
#[derive(Clone, Copy)]
pub struct Case {
    /// What it tells.
    pub name: &'static str,
    /// Parts of the permissions that it is tried for first, as the table shows them.
    pub touches: &'static [&'static str],
    what: What,
}

#[derive(Clone, Copy)]
enum What {
    Story(Run),
    Command(fn(&str) -> Value),
}

impl Case {
    const fn story(name: &'static str, touches: &'static [&'static str], run: Run) -> Self {
        Self { name, touches, what: What::Story(run) }
    }

    const fn command(name: &'static str, touches: &'static [&'static str], event: fn(&str) -> Value) -> Self {
        Self { name, touches, what: What::Command(event) }
    }

    /// Runs it to its end, however long that takes.
    pub async fn run(&self, world: &World, mark: &str) -> Ended {
        match self.what {
            What::Story(run) => run(world, mark).await,
            What::Command(event) => command(world, &event(mark)).await,
        }
    }
}

/// A function with its cases.
pub struct Function {
    /// Its name, which is that of its folder.
    pub name: &'static str,
    /// The beginning of its output.
    pub output: &'static str,
    /// Its cases.
    pub cases: &'static [Case],
}

/// All functions.
pub const FUNCTIONS: [Function; 8] = [
    Function { name: "webhook-ingress", output: "WebhookIngress", cases: INGRESS },
    Function { name: "email-activity", output: "EmailActivity", cases: MAIL },
    Function { name: "calendar-sync", output: "CalendarSync", cases: CALENDARS },
    Function { name: "notetaker-media", output: "NotetakerMedia", cases: NOTETAKERS },
    Function { name: "onboarding-transitions", output: "OnboardingTransitions", cases: ONBOARDING },
    Function { name: "ticket-triage", output: "TicketTriage", cases: SUPPORT },
    Function { name: "contact-sync", output: "ContactSync", cases: CONTACTS },
    Function { name: "operator", output: "Operator", cases: OPERATOR },
];

/// The parameters that the cases of timers need: soon enough to be waited for, late enough to be disarmed before.
#[must_use]
pub fn parameters() -> Vec<(&'static str, String)> {
    [
        ("FollowUpAfter", "9s"),
        ("EscalateAfter", "1s"),
        ("OnboardingMailsPerMinute", "600"),
        ("OnboardingMailsPerDay", "10000"),
        ("IncidentStormWindow", "12s"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .to_vec()
}

/// Puts in place what the cases tell of.
pub async fn prepare(world: &World) -> Result<(), WorldError> {
    know(world, CrmContact::new("con_permissions", PROSPECT).with_deal("deal_permissions"));
    world.nylas.add_grant(Grant::google(ACCOUNT, ACCOUNT_EMAIL));
    let managed = world.view.secret_described("The Nylas webhook secrets that the operator manages").await?;
    Ok(world.view.write_secret(&managed, &json!([MANAGED_SECRET]).to_string()).await?)
}

const INGRESS: &[Case] = &[
    Case::story("a mail is queued", &["EmailActivityQueue", "WebhookSecret"], |world, mark| {
        Box::pin(async move { answered_200(world, &mail(ACCOUNT, mark)).await })
    }),
    Case::story("an event is queued", &["CalendarSyncQueue"], |world, mark| {
        Box::pin(async move { answered_200(world, &told("event.created", mark, &event(ACCOUNT, mark))).await })
    }),
    Case::story("news of a notetaker is queued", &["NotetakerMediaQueue"], |world, mark| {
        Box::pin(async move {
            let notetaker = json!({"id": mark, "grant_id": ACCOUNT, "object": "notetaker", "state": "attending"});
            answered_200(world, &told("notetaker.meeting_state", mark, &notetaker)).await
        })
    }),
    Case::story("a booking is queued", &["OnboardingQueue"], |world, mark| {
        Box::pin(async move {
            let booking = json!({"booking_id": mark, "configuration_id": "somebody-elses", "object": "booking"});
            answered_200(world, &told("booking.created", mark, &booking)).await
        })
    }),
    Case::story("a support mail is queued", &["TicketTriageQueue"], |world, mark| {
        Box::pin(async move { answered_200(world, &support_mail(mark, "Thanks", "Thank you.")).await })
    }),
    Case::story("a changed contact is queued", &["ContactSyncQueue"], |world, mark| {
        Box::pin(async move { answered_200(world, &told("contact.updated", mark, &contact(ACCOUNT, mark))).await })
    }),
    Case::story("what is no notification is parked", &["UnroutableQueue"], |world, mark| {
        Box::pin(async move { answered_200(world, &json!({"deploy": mark})).await })
    }),
    Case::story("a body that is too large is kept", &["/bodies/*"], |world, mark| {
        Box::pin(async move {
            let mut large = mail(ACCOUNT, mark);
            large["data"]["object"]["body"] = "x".repeat(950 * 1024).into();
            answered_200(world, &large).await
        })
    }),
    Case::story("a signature by the managed secret counts", &["ManagedWebhookSecret"], |world, mark| {
        Box::pin(async move {
            let body = mail(ACCOUNT, mark).to_string();
            let status = world.webhook_signed_with(MANAGED_SECRET)?.post(body.as_bytes()).await;
            Ok(unless_status(status, 200))
        })
    }),
    Case::story("an event of the product is queued", &["EventsSecret"], |world, mark| {
        Box::pin(async move {
            let completed = customer_event("customer.onboarding_completed", mark, &customer(mark), "Customer");
            Ok(unless_status(Some(tell(world, &completed).await?), 202))
        })
    }),
];

const MAIL: &[Case] = &[
    Case::story("a mail of a known contact is logged", &[], |world, mark| {
        Box::pin(async move {
            put(world, "EmailActivity", &mail_held(world, ACCOUNT, mark)?.to_string(), mark).await?;
            done(world, "email-activity", mark).await
        })
    }),
    Case::story("a mail that came by the bucket is logged", &["/bodies/*"], |world, mark| {
        Box::pin(async move {
            put_by_the_bucket(world, "EmailActivity", &mail(ACCOUNT, mark), mark).await?;
            done(world, "email-activity", mark).await
        })
    }),
    Case::story(
        "mail that was missed is found",
        &["QueueWhatWasMissed", "FindDecisions", "NylasApiKey"],
        |world, mark| {
            Box::pin(async move {
                connect(world, mark);
                mail_held(world, mark, mark)?;
                put_reconcile(world, "EmailActivity", mark, mark).await?;
                run_ended(world, "email-activity", mark).await?;
                decided_of(world, "email-activity", &format!("mail-{mark}")).await
            })
        },
    ),
    Case::story("what cannot be read is set aside", &["SetDeadLettersAside"], |world, mark| {
        Box::pin(set_aside(world, "EmailActivity", mark))
    }),
    Case::story("a CRM out of order is asked again", &["ChangeMessageVisibility"], |world, mark| {
        Box::pin(async move {
            world.crm.faults().add(FaultRule::next(1, Fault::status(503)).on("POST", "/activities"));
            put(world, "EmailActivity", &mail(ACCOUNT, mark).to_string(), mark).await?;
            done(world, "email-activity", mark).await
        })
    }),
];

const CALENDARS: &[Case] = &[
    Case::story("a meeting of a known contact is mirrored", &[], |world, mark| {
        Box::pin(async move {
            let event = event_held(world, ACCOUNT, mark)?;
            put(world, "CalendarSync", &told("event.created", mark, &event).to_string(), mark).await?;
            done(world, "calendar-sync", mark).await
        })
    }),
    Case::story("an event that came by the bucket is mirrored", &["/bodies/*"], |world, mark| {
        Box::pin(async move {
            let event = event_held(world, ACCOUNT, mark)?;
            put_by_the_bucket(world, "CalendarSync", &told("event.created", mark, &event), mark).await?;
            done(world, "calendar-sync", mark).await
        })
    }),
    Case::story(
        "an event that was missed is found",
        &["QueueWhatWasMissed", "FindDecisions", "NylasApiKey"],
        |world, mark| {
            Box::pin(async move {
                connect(world, mark);
                event_held(world, mark, mark)?;
                put_reconcile(world, "CalendarSync", mark, mark).await?;
                run_ended(world, "calendar-sync", mark).await?;
                decided_of(world, "calendar-sync", mark).await
            })
        },
    ),
    Case::story("what cannot be read is set aside", &["SetDeadLettersAside"], |world, mark| {
        Box::pin(set_aside(world, "CalendarSync", mark))
    }),
    Case::story("a CRM out of order is asked again", &["ChangeMessageVisibility"], |world, mark| {
        Box::pin(async move {
            world.crm.faults().add(FaultRule::next(1, Fault::status(503)).on("PUT", "/meetings"));
            let event = event_held(world, ACCOUNT, mark)?;
            put(world, "CalendarSync", &told("event.created", mark, &event).to_string(), mark).await?;
            done(world, "calendar-sync", mark).await
        })
    }),
    Case::story(
        "an account expires, people are told, and all that was missed is looked for when it is back",
        &["HaveTheRestLookedFor", "AlertWebhookSecret"],
        |world, mark| {
            Box::pin(async move {
                connect(world, mark);
                for (kind, time) in [("grant.expired", now() - 600), ("grant.updated", now() - 60)] {
                    let id = format!("{kind}-{mark}");
                    let mut news = told(kind, &id, &grant_news(mark, kind == "grant.updated"));
                    news["time"] = time.into();
                    put(world, "CalendarSync", &news.to_string(), &id).await?;
                    done(world, "calendar-sync", &id).await?;
                }
                Ok(None)
            })
        },
    ),
];

const NOTETAKERS: &[Case] = &[
    Case::story("what was said is recorded and archived", &["ArchiveMedia"], |world, mark| {
        Box::pin(async move {
            let available = available(world, mark)?;
            put(world, "NotetakerMedia", &available.to_string(), mark).await?;
            done(world, "notetaker-media", mark).await
        })
    }),
    Case::story("news that came by the bucket is decided", &["/bodies/*"], |world, mark| {
        Box::pin(async move {
            let available = available(world, mark)?;
            put_by_the_bucket(world, "NotetakerMedia", &available, mark).await?;
            done(world, "notetaker-media", mark).await
        })
    }),
    Case::story(
        "a notetaker that was missed is found",
        &["QueueWhatWasMissed", "FindDecisionsThatWait", "NylasApiKey"],
        |world, mark| {
            Box::pin(async move {
                available(world, mark)?;
                put_reconcile(world, "NotetakerMedia", mark, mark).await?;
                run_ended(world, "notetaker-media", mark).await?;
                decided_of(world, "notetaker-media", &format!("notetaker-{mark}")).await
            })
        },
    ),
    Case::story("what cannot be read is set aside", &["SetDeadLettersAside"], |world, mark| {
        Box::pin(set_aside(world, "NotetakerMedia", mark))
    }),
    Case::story("a CRM out of order is asked again", &["ChangeMessageVisibility"], |world, mark| {
        Box::pin(async move {
            world.crm.faults().add(FaultRule::next(1, Fault::status(503)).on("PUT", "/meetings"));
            let available = available(world, mark)?;
            put(world, "NotetakerMedia", &available.to_string(), mark).await?;
            done(world, "notetaker-media", mark).await
        })
    }),
    Case::story("a notetaker waits to be let in", &["SetTimers"], |world, mark| {
        Box::pin(async move {
            let state = json!({"state": "connecting", "meeting_state": "waiting_for_entry"});
            let waiting = notetaker_news(world, "notetaker.meeting_state", mark, &state)?;
            put(world, "NotetakerMedia", &waiting.to_string(), mark).await?;
            done(world, "notetaker-media", mark).await
        })
    }),
    Case::story("people are told of files that could not be made", &["AlertWebhookSecret"], |world, mark| {
        Box::pin(async move {
            let state = json!({"state": "media_error", "status": "media_error"});
            let failed = notetaker_news(world, "notetaker.media", mark, &state)?;
            put(world, "NotetakerMedia", &failed.to_string(), mark).await?;
            done(world, "notetaker-media", mark).await
        })
    }),
];

const ONBOARDING: &[Case] = &[
    Case::story("a new customer is welcomed", &["CreateSchedule", "PutItem"], |world, mark| {
        Box::pin(async move {
            sign_up(world, mark).await?;
            reaches(world, mark, "welcome_sent").await
        })
    }),
    Case::story("an event that came by the bucket is decided", &["/bodies/*"], |world, mark| {
        Box::pin(async move {
            let completed = customer_event("customer.onboarding_completed", mark, &customer(mark), "Customer");
            put_by_the_bucket(world, "Onboarding", &completed, mark).await?;
            done(world, "onboarding-transitions", mark).await
        })
    }),
    Case::story("what cannot be read is set aside", &["SetDeadLettersAside"], |world, mark| {
        Box::pin(set_aside(world, "Onboarding", mark))
    }),
    Case::story(
        "an event that another instance works on is handed back until later",
        &["ChangeMessageVisibility"],
        |world, mark| {
            Box::pin(async move {
                let completed =
                    customer_event("customer.onboarding_completed", mark, &customer(mark), "Customer").to_string();
                hold_lease(world, "onboarding-transitions", mark, &completed).await?;
                put(world, "Onboarding", &completed, mark).await?;
                done(world, "onboarding-transitions", mark).await
            })
        },
    ),
    Case::story(
        "a customer clicks, and no follow-up is due any more",
        &["DeleteSchedule", "LinksTable"],
        |world, mark| {
            Box::pin(async move {
                sign_up(world, mark).await?;
                reaches(world, mark, "welcome_sent").await?;
                let welcome = mails_to(world, &customer(mark)).into_iter().next();
                let Some((_, welcome)) = welcome else { return Ok(Some("no welcome mail was sent".to_owned())) };
                let clicked = world.nylas.clicked(&welcome.message_id, &[(0, later(welcome.at, 90), BROWSER)])?;
                put(world, "Onboarding", &clicked.to_string(), &format!("{mark}-click")).await?;
                reaches(world, mark, "engaged").await
            })
        },
    ),
    Case::story("a call that is over is followed up at once", &["QueueWhatIsDue"], |world, mark| {
        Box::pin(async move {
            sign_up(world, mark).await?;
            let record = reached(world, mark, "welcome_sent").await?;
            let page = record["page"]["configuration_id"].as_str().unwrap_or_default().to_owned();
            let start = later(Timestamp::now(), 180);
            let booked = world.nylas.book(&page, &customer(mark), "Customer", start, 30, "Europe/Stockholm")?;
            put(world, "Onboarding", &booked.to_string(), &format!("{mark}-booked")).await?;
            reaches(world, mark, "kickoff_booked").await?;
            let booking = booked["data"]["object"]["booking_id"].as_str().unwrap_or_default();
            let moved = world.nylas.reschedule(booking, later(Timestamp::now(), -50))?;
            put(world, "Onboarding", &moved.to_string(), &format!("{mark}-moved")).await?;
            reaches(world, mark, "kickoff_completed").await
        })
    }),
    Case::story("people are told of a customer who stays silent", &["AlertWebhookSecret"], |world, mark| {
        Box::pin(async move {
            sign_up(world, mark).await?;
            reaches(world, mark, "escalated").await
        })
    }),
];

const SUPPORT: &[Case] = &[
    Case::story("a bug becomes a ticket", &["TicketApiKeySecret", "triage-rules"], |world, mark| {
        Box::pin(async move {
            let mail = support_mail_held(world, mark, "The export", "The export crashes when I pick a date.")?;
            put(world, "TicketTriage", &mail.to_string(), mark).await?;
            done(world, "ticket-triage", mark).await
        })
    }),
    Case::story(
        "a customer with an open deal is known",
        &["CrmApiKeySecret", "CrmRefreshTokenSecret"],
        |world, mark| {
            Box::pin(async move {
                let mail = support_mail_held(world, mark, "The export", "How do I export a list?")?;
                put(world, "TicketTriage", &mail.to_string(), mark).await?;
                done(world, "ticket-triage", mark).await?;
                let record = world.view.record("ticket-triage", mark).await?;
                let told = record.and_then(|record| record.facts.get("open_deal").cloned()).unwrap_or_default();
                Ok(if told.is_boolean() { None } else { Some(format!("the open deal is told as {told}")) })
            })
        },
    ),
    Case::story("a mail that came by the bucket becomes a ticket", &["/bodies/*"], |world, mark| {
        Box::pin(async move {
            let mail = support_mail_held(world, mark, "The export", "The export crashes when I pick a date.")?;
            put_by_the_bucket(world, "TicketTriage", &mail, mark).await?;
            done(world, "ticket-triage", mark).await
        })
    }),
    Case::story(
        "mail that was missed is found",
        &["QueueWhatWasMissed", "FindDecisions", "NylasApiKey"],
        |world, mark| {
            Box::pin(async move {
                connect(world, mark);
                let mut missed = support_message(mark, "The export", "The export crashes when I pick a date.");
                missed["grant_id"] = mark.into();
                held(world, mark, mark, missed)?;
                put_reconcile(world, "TicketTriage", mark, mark).await?;
                decided_of(world, "ticket-triage", &format!("mail-{mark}")).await
            })
        },
    ),
    Case::story("what cannot be read is set aside", &["SetDeadLettersAside"], |world, mark| {
        Box::pin(set_aside(world, "TicketTriage", mark))
    }),
    Case::story("a ticket system out of order is asked again", &["ChangeMessageVisibility"], |world, mark| {
        Box::pin(async move {
            world.tickets.faults().add(FaultRule::next(1, Fault::status(503)).on("POST", "/tickets"));
            let mail = support_mail_held(world, mark, "The export", "The export crashes when I pick a date.")?;
            put(world, "TicketTriage", &mail.to_string(), mark).await?;
            done(world, "ticket-triage", mark).await
        })
    }),
    Case::story(
        "people are told of incidents, and of a storm of them once",
        &["AlertWebhookSecret", "SetTimers"],
        |world, mark| {
            Box::pin(async move {
                let marks: Vec<String> = (0..7).map(|number| format!("{mark}-{number}")).collect();
                for mark in &marks {
                    let mail = support_mail_held(world, mark, "Production is down", "Nobody can log in.")?;
                    put(world, "TicketTriage", &mail.to_string(), mark).await?;
                }
                for mark in &marks {
                    done(world, "ticket-triage", mark).await?;
                }
                Ok(None)
            })
        },
    ),
];

const CONTACTS: &[Case] = &[
    Case::story(
        "an address book is brought to the CRM",
        &["BatchGetItem", "BatchWriteItem", "NylasApiKey"],
        |world, mark| {
            Box::pin(async move {
                let address = format!("{mark}@permissions.example");
                know(world, CrmContact::new(&format!("con_{mark}"), &address));
                world.nylas.add_grant(Grant::google(mark, ACCOUNT_EMAIL).with_contact(contact(mark, mark)));
                let share = json!({"type": "contacts.sync", "grant_id": mark, "run": mark, "share": true, "slice": 0});
                put(world, "ContactSync", &share.to_string(), mark).await?;
                run_ended(world, "contact-sync", &part_of(mark, Some(mark))).await
            })
        },
    ),
    Case::story("a night begins", &["QueueWhatIsToBeDone"], |world, _| {
        Box::pin(async move {
            let function = world.stack.function_name("ContactSync")?;
            let answer = world.engine.invoke(function, &json!({"type": "contacts.sync"}).to_string()).await?;
            // That it begins is enough: looking through the accounts of all cases would hold up the next ones.
            world.view.take_all(world.stack.queue_url("ContactSync")?).await?;
            Ok(if answer["queued"].is_string() { None } else { Some(answer.to_string()) })
        })
    }),
    Case::story("a changed contact is brought to the CRM", &["GetItem", "PutItem"], |world, mark| {
        Box::pin(async move {
            put(world, "ContactSync", &contact_news(world, mark).to_string(), mark).await?;
            done(world, "contact-sync", mark).await
        })
    }),
    Case::story("a contact that came by the bucket is brought to the CRM", &["/bodies/*"], |world, mark| {
        Box::pin(async move {
            let news = contact_news(world, mark);
            put_by_the_bucket(world, "ContactSync", &news, mark).await?;
            done(world, "contact-sync", mark).await
        })
    }),
    Case::story("what cannot be read is set aside", &["ContactSyncDeadLetterQueue"], |world, mark| {
        Box::pin(set_aside(world, "ContactSync", mark))
    }),
    Case::story("a CRM out of order is asked again", &["ChangeMessageVisibility"], |world, mark| {
        Box::pin(async move {
            world.crm.faults().add(FaultRule::next(1, Fault::status(503)).on("GET", "/contacts"));
            put(world, "ContactSync", &contact_news(world, mark).to_string(), mark).await?;
            done(world, "contact-sync", mark).await
        })
    }),
];

/// One command a line: what it shows, which permissions it is tried for first, and the event. It ends well if the answer
/// tells of no error and of no refusal.
const OPERATOR: &[Case] = &[
    Case::command(
        "backfill",
        &["CalendarSyncQueue"],
        |_| json!({"command": "backfill", "grant_id": ACCOUNT, "days": 1, "wait_seconds": 0}),
    ),
    Case::command(
        "reconcile",
        &["EmailActivityQueue", "NotetakerMediaQueue"],
        |_| json!({"command": "reconcile", "grant_id": ACCOUNT, "wait_seconds": 0}),
    ),
    Case::command(
        "sync",
        &["ContactSyncQueue"],
        |_| json!({"command": "sync", "grant_id": ACCOUNT, "wait_seconds": 0}),
    ),
    Case::command(
        "a run is shown",
        &["LookThroughTables"],
        |mark| json!({"command": "backfill", "grant_id": ACCOUNT, "run": mark, "wait_seconds": 0}),
    ),
    Case::command("invite", &["InviteOnce", "NylasApiKey"], |mark| {
        let link = format!("https://meet.google.com/{mark}");
        json!({"command": "invite", "grant_id": ACCOUNT, "meeting_link": link})
    }),
    Case::story("media", &["/media/*"], |world, mark| {
        Box::pin(async move {
            let key = format!("media/{ACCOUNT}/{mark}/summary.txt");
            world.view.put_archived(&key, b"A summary.".to_vec()).await?;
            let reference = format!("s3://{}/{key}", world.stack.archive_bucket()?);
            command(world, &json!({"command": "media", "reference": reference})).await
        })
    }),
    Case::command("triage_rules", &["FindDecisions", "triage-rules", "SupportGrants"], |_| {
        let rules = "[[rules]]\nname = \"outage\"\ncategory = \"incidents\"\nwords = [\"is down\"]\n";
        json!({"command": "triage_rules", "days": 30, "rules": rules})
    }),
    Case::command("set_up", &["fields.toml", "CrmApiKey", "TicketApiKey"], |_| json!({"command": "set_up"})),
    // Its lines tell what was refused.
    Case::command(
        "doctor",
        &["CloudFormation", "GetQueueAttributes", "DescribeSecret", "GetSchedule", "LookAt", "ManagedWebhookSecret"],
        |_| json!({"command": "doctor"}),
    ),
    Case::command("story", &["LookThroughTables"], |mark| json!({"command": "story", "id": mark, "grant_id": ACCOUNT})),
    Case::command("dead_letters", &["dead-letters"], |_| json!({"command": "dead_letters", "list": true})),
    Case::story("park and redrive", &["DeadLetterQueue", "bodies/*", "PutObject", "DeleteObject"], |world, mark| {
        Box::pin(async move {
            let letters = world.stack.queue_url("EmailActivityDeadLetter")?.to_owned();
            let body = told("folder.updated", mark, &json!({"id": mark, "grant_id": ACCOUNT})).to_string();
            world.view.put(&letters, &body, mark, &sha256_hex(&[mark.as_bytes()])).await?;
            let park = json!({"command": "park", "all": true, "reason": "a test", "dry_run": false});
            if let Some(refused) = command(world, &park).await? {
                return Ok(Some(refused));
            }
            command(world, &json!({"command": "redrive", "parked": true, "all": true, "dry_run": false})).await
        })
    }),
    Case::command("replay of a booking", &["OnboardingQueue"], |mark| {
        let booking = json!({"booking_id": mark, "configuration_id": "somebody-elses", "object": "booking"});
        json!({"command": "replay", "notification": told("booking.created", mark, &booking), "dry_run": false})
    }),
    Case::command("replay of a support mail", &["TicketTriageQueue"], |mark| {
        let mail = told("message.created", mark, &message(SUPPORT_GRANT, mark));
        json!({"command": "replay", "notification": mail, "dry_run": false})
    }),
    Case::command(
        "replay of what is unroutable",
        &["UnroutableQueue"],
        |_| json!({"command": "replay", "from": "unroutable"}),
    ),
    Case::command(
        "forget",
        &["Scan", "ListSchedules", "Forget"],
        |mark| json!({"command": "forget", "email": format!("{mark}@nobody.example"), "dry_run": false}),
    ),
    Case::command(
        "subscribe",
        &["PutSecretValue", "DescribeStacks"],
        |_| json!({"command": "subscribe", "rotate": true, "force": true}),
    ),
    Case::command(
        "subscribe, with a check",
        &["FilterLogEvents"],
        |_| json!({"command": "subscribe", "check": true, "force": true}),
    ),
];

const BROWSER: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:121.0) Gecko/20100101 Firefox/121.0";

fn now() -> i64 {
    Timestamp::now().as_second()
}

fn later(at: Timestamp, minutes: i64) -> Timestamp {
    at.checked_add(SignedDuration::from_mins(minutes)).unwrap_or(at)
}

/// Gives the operator a command; an answer that tells of an error or a refusal is the end.
async fn command(world: &World, event: &Value) -> Ended {
    let answer = world.engine.invoke(world.stack.function_name("Operator")?, &event.to_string()).await?;
    let text = answer.to_string();
    let is_wrong =
        !answer["error"].is_null() || answer.get("errorMessage").is_some() || super::tells_of_a_refusal(&text);
    Ok(is_wrong.then_some(text))
}

/// Nylas's notification of an object.
fn told(kind: &str, id: &str, object: &Value) -> Value {
    json!({
        "specversion": "1.0", "type": kind, "source": "/google/emails/realtime", "id": id, "time": now(),
        "webhook_delivery_attempt": 1, "data": {"application_id": "permissions", "object": object},
    })
}

fn message(grant: &str, mark: &str) -> Value {
    json!({
        "id": format!("mail-{mark}"), "grant_id": grant, "object": "message", "thread_id": format!("thread-{mark}"),
        "subject": "A plan", "snippet": "Here it is", "body": "<p>Here it is</p>", "date": now() - 30, "folders": ["INBOX"],
        "unread": true, "from": [{"name": "Dana", "email": PROSPECT}], "to": [{"email": ACCOUNT_EMAIL}], "cc": [],
        "bcc": [], "reply_to": [],
    })
}

fn mail(grant: &str, mark: &str) -> Value {
    told("message.created", mark, &message(grant, mark))
}

/// The same, and the mailbox holds it.
fn mail_held(world: &World, grant: &str, mark: &str) -> Result<Value, StandInError> {
    held(world, grant, mark, message(grant, mark))
}

fn held(world: &World, grant: &str, mark: &str, mut message: Value) -> Result<Value, StandInError> {
    let notification = told("message.created", mark, &message);
    message["headers"] = json!([{"name": "Message-ID", "value": format!("<{mark}@permissions.example>")}]);
    world.nylas.put_message(grant, message)?;
    Ok(notification)
}

fn support_message(mark: &str, subject: &str, text: &str) -> Value {
    let mut message = message(SUPPORT_GRANT, mark);
    message["subject"] = subject.into();
    message["body"] = format!("<p>{text}</p>").into();
    message["to"] = json!([{"email": SUPPORT_EMAIL}]);
    message
}

fn support_mail(mark: &str, subject: &str, text: &str) -> Value {
    told("message.created", mark, &support_message(mark, subject, text))
}

fn support_mail_held(world: &World, mark: &str, subject: &str, text: &str) -> Result<Value, StandInError> {
    held(world, SUPPORT_GRANT, mark, support_message(mark, subject, text))
}

fn event(grant: &str, mark: &str) -> Value {
    let start = now() - 3600;
    json!({
        "id": mark, "grant_id": grant, "calendar_id": "primary", "object": "event", "title": "A call", "description": "",
        "status": "confirmed", "when": {"object": "timespan", "start_time": start, "end_time": start + 1800},
        "organizer": {"email": ACCOUNT_EMAIL},
        "participants": [{"email": ACCOUNT_EMAIL, "status": "yes"}, {"email": PROSPECT, "status": "noreply"}],
        "ical_uid": format!("{mark}@ical.example"), "updated_at": now() - 30, "created_at": now() - 60, "busy": true,
        "conferencing": {"details": {"url": format!("https://meet.example/{mark}")}}, "location": null,
    })
}

fn event_held(world: &World, grant: &str, mark: &str) -> Result<Value, StandInError> {
    let event = event(grant, mark);
    world.nylas.put_event(grant, event.clone())?;
    Ok(event)
}

/// News of an account, as Nylas tells them.
fn grant_news(grant: &str, is_back: bool) -> Value {
    json!({
        "code": 25027, "grant_id": grant, "integration_id": "permissions", "provider": "google", "email": ACCOUNT_EMAIL,
        "reauthentication_flag": is_back,
    })
}

fn contact(grant: &str, mark: &str) -> Value {
    let number: u32 = mark.bytes().fold(7, |sum, byte| (sum * 31 + u32::from(byte)) % 10_000);
    json!({
        "id": format!("contact-{mark}"), "grant_id": grant, "object": "contact", "source": "address_book",
        "given_name": "Dana", "emails": [{"email": format!("{mark}@permissions.example"), "type": "work"}],
        "phone_numbers": [{"number": format!("+1202555{number:04}"), "type": "work"}], "job_title": "Buyer",
        "company_name": null,
    })
}

/// Connects an account with one contact, whom the CRM knows, and answers Nylas's news of it.
fn contact_news(world: &World, mark: &str) -> Value {
    know(world, CrmContact::new(&format!("con_{mark}"), &format!("{mark}@permissions.example")));
    world.nylas.add_grant(Grant::google(mark, ACCOUNT_EMAIL).with_contact(contact(mark, mark)));
    told("contact.updated", mark, &contact(mark, mark))
}

/// A meeting that a notetaker was in, and Nylas's news of the notetaker.
fn notetaker_news(world: &World, kind: &str, mark: &str, fields: &Value) -> Result<Value, WorldError> {
    connect(world, mark);
    event_held(world, mark, mark)?;
    let mut notetaker = json!({
        "id": format!("notetaker-{mark}"), "name": "Notetaker", "meeting_link": format!("https://meet.example/{mark}"),
        "meeting_provider": "Google Meet", "join_time": now() - 3600, "state": "available", "status": "available",
        "meeting_settings": {},
        "media": {
            "summary": {"name": "summary.json", "type": "application/json", "json": {"summary": "All is well."}},
            "transcript": {"name": "transcript.txt", "type": "text/plain", "text": "It is settled."},
            "recording": {"name": "meeting.mp4", "type": "video/mp4", "bytes": 12_000_000, "duration": 1800},
        },
    });
    world.nylas.put_notetaker(Some(mark), notetaker.clone())?;
    notetaker["object"] = "notetaker".into();
    notetaker["grant_id"] = mark.into();
    notetaker["event"] = json!({"event_id": mark, "ical_uid": format!("{mark}@ical.example")});
    if let Some(told) = notetaker.as_object_mut() {
        told.remove("media");
        told.extend(fields.as_object().cloned().unwrap_or_default());
    }
    Ok(told(kind, mark, &notetaker))
}

/// The same with links to all files.
fn available(world: &World, mark: &str) -> Result<Value, WorldError> {
    let mut news = notetaker_news(world, "notetaker.media", mark, &json!({}))?;
    let id = format!("notetaker-{mark}");
    let link = |file: &str| (file.to_owned(), Value::from(world.nylas.media_link(Some(mark), &id, file)));
    news["data"]["object"]["media"] = ["summary", "transcript", "recording"].map(link).into_iter().collect();
    Ok(news)
}

/// Lets the CRM know a contact, whichever kind of CRM the stack uses.
fn know(world: &World, contact: CrmContact) {
    if world.seen_crm().base_url() != world.crm.base_url() {
        world.seen_crm().add_contact(&contact);
    }
    world.crm.add_contact(contact);
}

/// Connects an account that bears the name of the case.
fn connect(world: &World, mark: &str) {
    world.nylas.add_grant(Grant::google(mark, ACCOUNT_EMAIL));
}

fn customer(mark: &str) -> String {
    format!("{mark}@customers.example")
}

async fn sign_up(world: &World, mark: &str) -> Result<(), WorldError> {
    let event = customer_event("customer.signed_up", mark, &customer(mark), "Customer");
    put(world, "Onboarding", &event.to_string(), mark).await
}

/// Waits until a customer has come to a state and nothing is left to be done about it.
async fn reached(world: &World, mark: &str, state: &str) -> Result<Value, WorldError> {
    let is_there = |record: &Value| record["state"] == state && record["todo"] == json!([]);
    Customers::of(world).await?.until(&customer(mark), state, PATIENCE, is_there).await
}

async fn reaches(world: &World, mark: &str, state: &str) -> Ended {
    reached(world, mark, state).await?;
    Ok(None)
}

/// Puts a message into a queue, in a group of its own.
async fn put(world: &World, queue: &str, body: &str, mark: &str) -> Result<(), WorldError> {
    let deduplication_id = sha256_hex(&[queue.as_bytes(), mark.as_bytes()]);
    Ok(world.view.put(world.stack.queue_url(queue)?, body, &deduplication_id[..32], &deduplication_id).await?)
}

/// Puts a body into the archive bucket and the pointer to it into a queue, as ingress does with what is too large.
async fn put_by_the_bucket(world: &World, queue: &str, body: &Value, mark: &str) -> Result<(), WorldError> {
    let body = body.to_string();
    let pointer = BodyPointer::to(body.as_bytes());
    world.view.put_archived(&pointer.key, body.into_bytes()).await?;
    put(world, queue, &pointer.to_message(), mark).await
}

async fn put_reconcile(world: &World, queue: &str, grant: &str, mark: &str) -> Result<(), WorldError> {
    // Which mailboxes are ticket-triage's is told by whoever sends the job; other functions are told of all theirs.
    let mut job = json!({"type": "reconcile", "grant_id": grant, "run": mark, "from": now() - 7200});
    if queue == "TicketTriage" {
        job["only_grant_ids"] = grant.into();
    }
    put(world, queue, &job.to_string(), mark).await
}

/// Posts to ingress as Nylas does.
async fn answered_200(world: &World, body: &Value) -> Ended {
    Ok(unless_status(world.webhook()?.post(body.to_string().as_bytes()).await, 200))
}

fn unless_status(status: Option<u16>, wanted: u16) -> Option<String> {
    match status {
        Some(status) if status == wanted => None,
        Some(status) => Some(format!("answered {status} instead of {wanted}")),
        None => Some("not answered".to_owned()),
    }
}

/// Waits until a function has decided about a notification.
async fn done(world: &World, function: &str, id: &str) -> Ended {
    loop {
        if world.view.record(function, id).await?.is_some_and(|record| record.state == "done") {
            return Ok(None);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits until a function has decided about an object, under whatever notification.
async fn decided_of(world: &World, function: &str, object: &str) -> Ended {
    let is_it =
        |record: &DecisionRecord| record.function == function && record.object_id == object && record.state == "done";
    world.view.first_decision(&format!("{function} decided about {object}"), PATIENCE, is_it).await?;
    Ok(None)
}

/// Waits until a run has ended.
async fn run_ended(world: &World, function: &str, run: &str) -> Ended {
    let links = DynamoLinks::new(&world.engine.aws_config().await, world.stack.links_table()?.to_owned());
    let parts = [run_key(function, run), run_key(function, &part_of(run, Some(run)))];
    loop {
        for key in &parts {
            let known = progress(&links, key).await;
            let known = known.map_err(|error| ViewError::Aws { what: "reading the links table", problem: error.0 })?;
            if known.is_some_and(|known| known.ended) {
                return Ok(None);
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Lets a message look as if another instance worked on it for two more seconds.
async fn hold_lease(world: &World, function: &'static str, id: &str, body: &str) -> Result<(), WorldError> {
    let leases = DynamoLeases::new(&world.engine.aws_config().await, world.stack.dedup_table()?.to_owned());
    let notification = NotificationId::parse(id).unwrap_or_else(|| NotificationId::of_our_own(function, id));
    let about = About {
        function,
        notification: notification.clone(),
        trigger: "held".to_owned(),
        grant: None,
        object: id.to_owned(),
    };
    let (now, key, content) = (Timestamp::now(), LeaseKey::new(function, &notification), content_digest(body));
    let until = now.checked_add(SignedDuration::from_secs(2)).unwrap_or(now);
    let request = ClaimRequest { key: &key, about: &about, content: &content, now, until, queued_at: now, trace: None };
    let claimed = leases.claim(&request).await;
    claimed.map_err(|error| ViewError::Aws { what: "writing the dedup table", problem: error.0 })?;
    Ok(())
}

/// Puts something that is no notification into a queue and waits until it lies in the dead-letter queue.
async fn set_aside(world: &World, queue: &str, mark: &str) -> Ended {
    put(world, queue, &format!("{{\"cut off {mark}"), mark).await?;
    let letters = world.stack.dead_letter_queue_url(queue)?;
    loop {
        if world.view.take_all(letters).await?.iter().any(|letter| letter.body.contains(mark)) {
            return Ok(None);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Lets all systems work again.
pub fn without_faults(world: &World) {
    [world.crm.faults(), world.tickets.faults(), world.nylas.faults()].into_iter().for_each(Faults::clear);
}
