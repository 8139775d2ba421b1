//! One contract for all CRMs: every adapter against the stand-in of its system, one table, adapters across, cases down.
//!
//! A case sees the system through its stand-in alone, so that what is proved is what the CRM's users get. A cell that is
//! `not offered` names what the adapter itself said: a typed answer, never a failure.

#![expect(clippy::print_stdout, reason = "the tables are what the suite is for")]

mod cases;
mod first_night;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use comfy_table::Table;
use futures_util::FutureExt as _;
use sandbox::stand_ins::CrmContact;
use sandbox::stand_ins::crm::{self, CrmStandIn};
use secrecy::SecretString;
use shared::configuration::parse_base_url;
use shared::crm::hubspot::{self, HubSpotCrm};
use shared::crm::pipedrive::{self, PipedriveCrm};
use shared::crm::provider::{Crm, CrmProvider};
use shared::crm::salesforce::{self, SalesforceCrm};
use shared::engine::testing::MemoryLinks;
use shared::engine::{Clock, Deadline};
use shared::field_map::FieldMaps;
use shared::http::{ApiClient, ApiSettings, Authorization, Credential, http_client};
use shared::written::{SETTLED_AFTER, Written};

/// What a case found out.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Cell {
    /// All that the contract asks for.
    Kept,
    /// The adapter says, in its types, that the CRM has no such thing.
    NotOffered(&'static str),
    /// Something else.
    Broken(String),
}

/// One adapter and the system behind it, both new.
struct Stage {
    provider: CrmProvider,
    system: Box<dyn CrmStandIn>,
    links: Arc<MemoryLinks>,
    crm: Crm<Arc<MemoryLinks>>,
}

impl Stage {
    fn new(provider: CrmProvider) -> Self {
        let system = crm::start(provider).expect("a CRM");
        assert_eq!(system.provider(), provider.name());
        let links = Arc::new(MemoryLinks::default());
        let crm = adapter(provider, &*system, Arc::clone(&links), SETTLED_AFTER);
        Self { provider, system, links, crm }
    }

    /// The same system as another process sees it: with the same table, in which a claim is settled after `settled_after`.
    fn another_process(&self, settled_after: Duration) -> Crm<Arc<MemoryLinks>> {
        adapter(self.provider, &*self.system, Arc::clone(&self.links), settled_after)
    }

    fn add_contact(&self, email: &str) -> String {
        self.system.add_contact(&CrmContact::new(&format!("con_{}", self.system.contacts().len() + 1), email))
    }
}

fn adapter(
    provider: CrmProvider,
    system: &dyn CrmStandIn,
    links: Arc<MemoryLinks>,
    settled_after: Duration,
) -> Crm<Arc<MemoryLinks>> {
    let parameters: BTreeMap<&str, String> = system.parameters().into_iter().collect();
    let parameter = |name: &str| parameters.get(name).cloned().unwrap_or_default();
    let base_url = parse_base_url(&system.base_url()).expect("a base URL");
    let key = || Credential::Fixed(SecretString::from(parameter("CrmApiKey")));
    let client = |credential| {
        let settings = ApiSettings {
            name: "the CRM",
            base_url: base_url.clone(),
            credential,
            credential_parameter: "CrmApiKey",
            calls_per_second: None,
        };
        ApiClient::new(http_client().expect("a client"), settings)
    };
    let written = |name| Written::new(links, Clock::system(), name).settled_after(settled_after);
    match provider {
        CrmProvider::Rest => Crm::Rest(shared::crm::rest::RestCrm::new(client(key()))),
        CrmProvider::HubSpot => Crm::HubSpot(HubSpotCrm::new(
            client(key()).speaking(hubspot::dialect()),
            written(hubspot::SYSTEM),
            FieldMaps::built_in(hubspot::SYSTEM, hubspot::FIELDS),
        )),
        CrmProvider::Salesforce => {
            let audience = parse_base_url(&system.base_url()).expect("a base URL");
            let mint = salesforce::mint(&base_url, key(), parameter("CrmClientId"), None, audience);
            Crm::Salesforce(SalesforceCrm::new(
                client(Credential::Minted(mint)).speaking(salesforce::dialect()),
                written(salesforce::SYSTEM),
                FieldMaps::built_in(salesforce::SYSTEM, salesforce::FIELDS),
            ))
        }
        CrmProvider::Pipedrive => Crm::Pipedrive(PipedriveCrm::new(
            client(key()).speaking(pipedrive::dialect(Authorization::Header("x-api-token"))),
            written(pipedrive::SYSTEM),
            FieldMaps::built_in(pipedrive::SYSTEM, pipedrive::FIELDS),
        )),
    }
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_crm_keeps_the_contract_or_says_what_it_does_not_offer() {
    let mut table = Table::new();
    table.set_header(std::iter::once("case").chain(CrmProvider::ALL.iter().map(|provider| provider.name())));
    let mut broken = Vec::new();
    for (case, play) in cases::all() {
        let plays = CrmProvider::ALL.map(|provider| async move {
            let stage = Stage::new(provider);
            let played = AssertUnwindSafe(play(&stage)).catch_unwind().await;
            let cell = played.unwrap_or_else(|panic| Cell::Broken(words_of(&*panic)));
            match stage.system.refusals().as_slice() {
                [] => cell,
                refusals => Cell::Broken(format!("departs from the description: {}", refusals.join("; "))),
            }
        });
        let cells = futures_util::future::join_all(plays).await;
        let shown = cells.iter().map(|cell| match cell {
            Cell::Kept => "kept".to_owned(),
            Cell::NotOffered(what) => format!("not offered: {what}"),
            Cell::Broken(_) => "BROKEN".to_owned(),
        });
        table.add_row(std::iter::once(case.to_owned()).chain(shown));
        for (provider, cell) in CrmProvider::ALL.iter().zip(&cells) {
            if let Cell::Broken(problem) = cell {
                broken.push(format!("{provider}: {case}: {problem}"));
            }
        }
    }
    println!("{table}");
    assert!(broken.is_empty(), "{} cells are broken:\n{}", broken.len(), broken.join("\n"));
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}
