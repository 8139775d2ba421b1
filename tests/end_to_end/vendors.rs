//! The vendors' systems end to end: an update of the stack gives it another CRM and another ticket system, and from then on
//! the same functions write to those.

use super::calendars::{self, changed, event, rep};
use super::notetakers::{self, all_files, attended, available, links};
use super::support::{Letter, done as triaged};
use super::*;
use sandbox::stand_ins::crm::{self as crms, CrmStandIn, SeenStatus};
use sandbox::stand_ins::ticket_system::{self, TicketStandIn};
use shared::crm::provider::CrmProvider;
use shared::tickets::provider::TicketProvider;

/// What stands in for the systems of one update.
struct Systems {
    crm: Box<dyn CrmStandIn>,
    tickets: Box<dyn TicketStandIn>,
}

impl Systems {
    fn start(crm: CrmProvider, tickets: TicketProvider) -> Self {
        let crm = crms::start(crm).expect("a CRM");
        Self { crm, tickets: ticket_system::start(tickets).expect("a ticket system") }
    }

    fn name(&self) -> &'static str {
        self.crm.provider()
    }
}

/// Gives the stack other systems.
async fn update(world: &World, crm: &dyn CrmStandIn, tickets: &dyn TicketStandIn) {
    let begun = Instant::now();
    world.use_systems(crm, tickets).await.unwrap_or_else(|error| panic!("{error}"));
    println!("the stack uses {} and {} after {:?}", crm.provider(), tickets.provider(), begun.elapsed());
}

/// Somebody whom only one CRM knows.
fn prospect_of(systems: &Systems) -> String {
    format!("{CANARY}.dana@{}.example", systems.name())
}

async fn mail_is_logged(world: &World, systems: &Systems) {
    let id = format!("vendor-{}", systems.name());
    let from = json!({"from": [{"name": format!("{CANARY} Dana"), "email": prospect_of(systems)}]});
    deliver(world, &mail_of("grant-e2e", &id, from)).await;
    let record = decided(world, &id).await;
    assert_eq!((record.outcome.as_str(), record.reason.as_str()), ("logged", "known contact"), "{record:?}");
    let mails = systems.crm.mails();
    let [mail] = mails.as_slice() else { panic!("not one: {mails:?}") };
    assert_eq!(record.became.as_deref(), Some(mail.id.as_str()));
    assert!(mail.subject.contains(CANARY), "{mail:?}");
}

async fn meeting_follows_its_calendar(world: &World, systems: &Systems) {
    let (grant, id) = (format!("vendor-{}", systems.name()), format!("vendor-event-{}", systems.name()));
    calendars::connect(world, rep(&grant));
    let planned = event(&grant, &id, with_the_prospect(systems));
    let record = calendars::happens(world, "event.created", &planned).await;
    assert_eq!(record.outcome, "logged", "{record:?}");
    let statuses = || systems.crm.meetings().iter().map(|meeting| meeting.status).collect::<Vec<_>>();
    assert_eq!(statuses(), [SeenStatus::Planned], "{:?}", systems.crm.meetings());
    let cancelled = changed(&planned, 1_772_350_100, json!({"status": "cancelled"}));
    calendars::happens(world, "event.updated", &cancelled).await;
    assert_eq!(statuses(), [SeenStatus::Cancelled], "{:?}", systems.crm.meetings());
}

fn with_the_prospect(systems: &Systems) -> Value {
    json!({"participants": [
        {"email": format!("{CANARY}.rep@northwind.example"), "status": "yes"},
        {"email": prospect_of(systems), "status": "yes"},
    ]})
}

async fn notes_are_attached(world: &World, systems: &Systems) {
    let id = format!("vendor-notes-{}", systems.name());
    let met = attended(world, &id, &id, with_the_prospect(systems), all_files());
    calendars::happens(world, "event.created", &met).await;
    let told = available(&format!("{id}-1"), Some(&id), &id, &links(world, Some(&id), &id, &notetakers::ALL));
    let record = notetakers::decided_on(world, &told).await;
    assert_eq!(record.outcome, "logged", "{record:?}");
    let notes = systems.crm.notes();
    let [notes] = notes.as_slice() else { panic!("not one: {notes:?}") };
    assert!(notes.text.contains(&format!("{CANARY} summary")) && notes.text.contains("s3://"), "{notes:?}");
    assert_eq!(systems.crm.tasks().len(), 2, "{:?}", systems.crm.tasks());
}

async fn contact_is_patched(world: &World, systems: &Systems) {
    let account = format!("vendor-book-{}", systems.name());
    let contact = json!({
        "id": account, "grant_id": account, "object": "contact", "source": "address_book", "given_name": CANARY,
        "emails": [{"email": prospect_of(systems), "type": "work"}],
        "phone_numbers": [{"number": "+12025550177", "type": "work"}], "job_title": null, "company_name": null,
    });
    let grant = Grant::google(&account, &format!("{account}@northwind.example"));
    world.nylas.add_grant(grant.with_contact(contact.clone()));
    deliver(world, &notification("contact.updated", &account, &contact)).await;
    let record = decided(world, &account).await;
    assert_eq!((record.outcome.as_str(), record.reason.as_str()), ("logged", "fields written"), "{record:?}");
    let phones: Vec<Option<String>> = systems.crm.contacts().into_iter().map(|contact| contact.phone).collect();
    assert_eq!(phones, [Some("+12025550177".to_owned())]);
}

async fn ticket_is_opened_and_continued(world: &World, systems: &Systems) {
    let id = format!("vendor-ticket-{}", systems.name());
    let before = systems.tickets.tickets().len();
    let record = Letter::bug(&id, &prospect_of(systems)).decided(world).await;
    assert_eq!(record.outcome, "logged", "{record:?}");
    let reply = format!("{id}-reply");
    let continued = Letter::bug(&reply, &prospect_of(systems)).in_thread_of(&id);
    deliver(world, &continued.held(world)).await;
    let continued = triaged(world, &reply).await;
    assert_eq!(continued.became, record.became, "{continued:?}");
    let tickets = systems.tickets.tickets();
    assert_eq!(tickets.len(), before + 1, "{tickets:?}");
    let ticket = tickets.last().expect("a ticket");
    assert_eq!((record.became.as_deref(), ticket.comments.len()), (Some(ticket.id.as_str()), 1), "{ticket:?}");
}

#[test]
fn stack_that_is_updated_to_another_vendors_systems_writes_to_those() {
    in_the_world(async |world| {
        let all = [
            Systems::start(CrmProvider::HubSpot, TicketProvider::Zendesk),
            Systems::start(CrmProvider::Salesforce, TicketProvider::Jira),
            Systems::start(CrmProvider::Pipedrive, TicketProvider::Rest),
        ];
        for systems in &all {
            update(world, &*systems.crm, &*systems.tickets).await;
            systems.crm.add_contact(&CrmContact::new("con_1", &prospect_of(systems)));
            mail_is_logged(world, systems).await;
            meeting_follows_its_calendar(world, systems).await;
            ticket_is_opened_and_continued(world, systems).await;
            contact_is_patched(world, systems).await;
            notes_are_attached(world, systems).await;
            let refusals = [systems.crm.refusals(), systems.tickets.refusals()].concat();
            assert!(refusals.is_empty(), "departs from the description: {refusals:?}");
        }
        update(world, &world.crm, &world.tickets).await;
        deliver(world, &mail("vendor-back")).await;
        assert_eq!(decided(world, "vendor-back").await.outcome, "logged");
        assert_eq!(activities_of(world, "vendor-back"), 1);
    });
}
