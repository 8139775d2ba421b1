//! One night of the function: the real rules over the real clients, slice after slice until the account's share has ended.

use std::{collections::BTreeMap, error::Error, time::Duration};

use contact_sync::{
    ContactSync, FUNCTION, Settings,
    address_book::Reading,
    phone::PhoneRegion,
    ports::{Ports, Provision},
};
use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use shared::{
    configuration::parse_base_url,
    contact_sync::{SYNC, SyncJob},
    crm::rest::RestCrm,
    domain::address::CompanyDomains,
    engine::{
        Clock, Deadline, Input, Processor as _, SendToQueue as _, Work,
        progress::{progress, run_key},
        testing::{MemoryNeverLog, MemoryQueue},
    },
    http::{ApiClient, ApiSettings, Credential, http_client},
    nylas::Nylas,
    reconcile::part_of,
};

use crate::{
    account::{Account, COMPANY_DOMAIN, GRANT},
    links::RemoteLinks,
};

/// What an invocation may last, less what the engine keeps back for the verdict.
pub const SLICE: Duration = Duration::from_secs(120 - 4);

/// The most calls to the CRM in a second: the highest that a stack takes, so that the cap does not hide the rest.
pub const CRM_CALLS_PER_SECOND: f64 = 1_000.0;

/// How long an unchanged contact is not looked up again unless a stack says otherwise.
const LOOKUP_TTL: Duration = Duration::from_hours(7 * 24);

/// What a night works with.
#[derive(Debug, Serialize, Deserialize)]
pub struct Plan {
    nylas: String,
    nylas_key: String,
    crm: String,
    crm_key: String,
    links: String,
    run: String,
}

impl Plan {
    /// A night of an account, with a name that no other one has.
    pub fn of(account: &Account, run: &str) -> Self {
        Self {
            nylas: account.nylas.base_url(),
            nylas_key: account.nylas.api_key().to_owned(),
            crm: account.crm.base_url(),
            crm_key: account.crm.api_key().to_owned(),
            links: account.links.url(),
            run: run.to_owned(),
        }
    }
}

/// What a night came to.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Came {
    /// How many invocations it took.
    pub slices: usize,
    /// What the function counted.
    pub counts: BTreeMap<String, u64>,
}

/// The ports of the function: its real clients, the table behind HTTP, and its queue in memory.
struct Measured;

impl Ports for Measured {
    type Crm = RestCrm;
    type Nylas = Nylas;
    type Links = RemoteLinks;
    type Queue = MemoryQueue;
    type NeverLog = MemoryNeverLog;
}

/// Looks through the account's address book. It counts only if nothing failed and the whole of it was looked through.
pub async fn night(plan: &Plan) -> Result<Came, Box<dyn Error>> {
    let http = http_client()?;
    let client = |name, base_url: &str, key: &str, calls_per_second| {
        let settings = ApiSettings {
            name,
            base_url: parse_base_url(base_url)?,
            credential: Credential::Fixed(SecretString::from(key)),
            credential_parameter: "none: this is a benchmark",
            calls_per_second,
        };
        Ok::<_, Box<dyn Error>>(ApiClient::new(http.clone(), settings))
    };
    let crm = RestCrm::new(client("the CRM", &plan.crm, &plan.crm_key, Some(CRM_CALLS_PER_SECOND))?);
    let nylas = Nylas::new(client("Nylas", &plan.nylas, &plan.nylas_key, None)?);
    // A client of its own, as that of AWS is.
    let links = RemoteLinks::new(http_client()?, &plan.links);
    let (queue, never_log) = (MemoryQueue::default(), MemoryNeverLog::default());
    let ports: Provision<'_, Measured> = Provision {
        crm: Some(&crm),
        nylas: &nylas,
        links: &links,
        queue: &queue,
        never_log: &never_log,
        clock: Clock::system(),
    };
    let settings = Settings {
        reading: Reading { company_domains: CompanyDomains::parse([COMPANY_DOMAIN])?, region: PhoneRegion::default() },
        sources: vec!["address_book".to_owned()],
        lookup_ttl: i64::try_from(LOOKUP_TTL.as_secs())?,
    };
    let rules = ContactSync::with(ports, settings);

    let job = SyncJob { grant_id: Some(GRANT.to_owned()), ..SyncJob::of_all(&plan.run) };
    queue.send(&job.to_message(FUNCTION).map_err(|failure| failure.to_string())?).await?;
    let mut slices = 0;
    while let Some(message) = queue.sent().into_iter().nth(slices) {
        slices += 1;
        let work = Work {
            input: Input::Job { kind: SYNC.to_owned() },
            body: message.body,
            sent_at: Timestamp::now(),
            deadline: Deadline::after(SLICE),
        };
        Box::pin(rules.process(&work)).await.map_err(|failure| format!("slice {slices}: {failure}"))?;
    }
    let ended = progress(&links, &run_key(FUNCTION, &part_of(&plan.run, Some(GRANT)))).await?;
    match ended {
        Some(progress) if progress.ended && progress.problem.is_none() => Ok(Came { slices, counts: progress.counts }),
        other => Err(format!("the night has not ended as it should: {other:?}").into()),
    }
}
