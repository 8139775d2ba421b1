//! What nights of contact-sync cost each CRM in calls: the real rules over the real adapters, on one address book.

use super::adapter;

use comfy_table::Table;
use contact_sync::address_book::Reading;
use contact_sync::phone::PhoneRegion;
use contact_sync::ports::{Ports, Provision};
use contact_sync::{ContactSync, FUNCTION, Settings};
use jiff::Timestamp;
use sandbox::stand_ins::crm::{self, CrmStandIn};
use sandbox::stand_ins::{Grant, Nylas, generated_contact, generated_crm_contact, nylas};
use secrecy::SecretString;
use shared::configuration::parse_base_url;
use shared::contact_sync::{SYNC, SyncJob};
use shared::crm::provider::{Crm, CrmProvider};
use shared::domain::address::CompanyDomains;
use shared::engine::progress::{progress, run_key};
use shared::engine::testing::{MemoryLinks, MemoryNeverLog, MemoryQueue};
use shared::engine::{Clock, Deadline, Input, Processor as _, SendToQueue as _, Work};
use shared::http::{ApiClient, ApiSettings, Credential, http_client};
use shared::reconcile::part_of;
use shared::written::SETTLED_AFTER;
use std::sync::Arc;
use std::time::Duration;

const GRANT: &str = "grant-address-book";

/// How many people there are; those whom the account only wrote with once are not in its address book.
const PEOPLE: u64 = 3_000;

/// What the people are made of.
const SEED: u64 = 7;

/// How many calls a contact may cost HubSpot in the first night.
const MOST_CALLS_OF_HUBSPOT: f64 = 0.03;

struct Played;

impl Ports for Played {
    type Crm = Crm<Arc<MemoryLinks>>;
    type Nylas = shared::nylas::Nylas;
    type Links = MemoryLinks;
    type Queue = MemoryQueue;
    type NeverLog = MemoryNeverLog;
}

/// How many contacts were looked through.
async fn night(crm: &Crm<Arc<MemoryLinks>>, nylas: &Nylas, links: &MemoryLinks, run: &str) -> u64 {
    let nylas = shared::nylas::Nylas::new(ApiClient::new(
        http_client().expect("a client"),
        ApiSettings {
            name: "Nylas",
            base_url: parse_base_url(&nylas.base_url()).expect("a base URL"),
            credential: Credential::Fixed(SecretString::from(nylas::DEFAULT_API_KEY)),
            credential_parameter: "NylasApiKey",
            calls_per_second: None,
        },
    ));
    let (queue, never_log) = (MemoryQueue::default(), MemoryNeverLog::default());
    let ports: Provision<'_, Played> = Provision {
        crm: Some(crm),
        nylas: &nylas,
        links,
        queue: &queue,
        never_log: &never_log,
        clock: Clock::system(),
    };
    let company_domains = CompanyDomains::parse(["northwind.example"]).expect("a domain");
    let settings = Settings {
        reading: Reading { company_domains, region: PhoneRegion::default() },
        sources: vec!["address_book".to_owned()],
        lookup_ttl: 7 * 24 * 60 * 60,
    };
    let rules = ContactSync::with(ports, settings);
    let job = SyncJob { grant_id: Some(GRANT.to_owned()), ..SyncJob::of_all(run) };
    queue.send(&job.to_message(FUNCTION).expect("a message")).await.expect("sent");
    for slice in 0.. {
        let Some(message) = queue.sent().into_iter().nth(slice) else { break };
        let work = Work {
            input: Input::Job { kind: SYNC.to_owned() },
            body: message.body,
            sent_at: Timestamp::now(),
            deadline: Deadline::after(Duration::from_secs(116)),
        };
        Box::pin(rules.process(&work)).await.expect("a slice");
    }
    let ended = progress(links, &run_key(FUNCTION, &part_of(run, Some(GRANT)))).await.expect("read").expect("a run");
    assert!(ended.ended && ended.problem.is_none(), "{ended:?}");
    ended.counts["contacts"]
}

#[tokio::test(flavor = "multi_thread")]
async fn first_night_costs_hubspot_at_most_three_calls_for_a_hundred_contacts_and_a_second_one_costs_none() {
    let mut table = Table::new();
    table.set_header(["CRM", "contacts", "written", "calls, first night", "calls a contact", "calls, second night"]);
    let mut of_hubspot = None;
    // Pipedrive's searches are five a second, each of one address: there is nothing to be had there.
    for provider in [CrmProvider::Rest, CrmProvider::Salesforce, CrmProvider::HubSpot] {
        let system: Box<dyn CrmStandIn> = crm::start(provider).expect("a CRM");
        for known in (0..PEOPLE).filter_map(|index| generated_crm_contact(SEED, index)) {
            system.add_contact(&known);
        }
        let grant = Grant::google(GRANT, "rep@northwind.example");
        let people = usize::try_from(PEOPLE).expect("small");
        let nylas = Nylas::builder().grant(grant.with_many_contacts(people, SEED)).start().expect("Nylas");
        let written = Arc::new(MemoryLinks::default());
        let crm = adapter(provider, &*system, Arc::clone(&written), SETTLED_AFTER);
        let links = MemoryLinks::default();
        let before: Vec<_> = system.contacts();
        let contacts = night(&crm, &nylas, &links, "one").await;
        let first = system.calls().total();
        let changed = before.iter().zip(system.contacts()).filter(|(before, now)| *before != now).count();
        assert_eq!(night(&crm, &nylas, &links, "two").await, contacts);
        let second = system.calls().total() - first;
        let calls_a_contact = ratio(first, contacts);
        table.add_row([
            provider.to_string(),
            contacts.to_string(),
            changed.to_string(),
            first.to_string(),
            format!("{calls_a_contact:.3}"),
            second.to_string(),
        ]);
        assert!(changed > 50, "{provider}: only {changed} were changed");
        assert_eq!(second, 0, "{provider}");
        assert!(system.refusals().is_empty(), "{provider}: {:?}", system.refusals());
        if provider == CrmProvider::HubSpot {
            of_hubspot = Some(calls_a_contact);
        }
    }
    println!("{table}");
    let of_hubspot = of_hubspot.expect("HubSpot is among them");
    assert!(of_hubspot <= MOST_CALLS_OF_HUBSPOT, "{of_hubspot:.3} calls a contact");
    // The address book is the one that was meant, not an empty one.
    assert!(
        (0..PEOPLE).filter(|index| generated_contact(SEED, *index, "google")["source"] == "address_book").count() > 500
    );
}

fn ratio(calls: usize, contacts: u64) -> f64 {
    let (calls, contacts) = (u32::try_from(calls).expect("few"), u32::try_from(contacts).expect("few"));
    f64::from(calls) / f64::from(contacts)
}
