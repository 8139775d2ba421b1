//! One account with an address book, the CRM that knows some of its people, and the table for what the function
//! remembers; with how often each was called.

use std::{error::Error, time::Duration};

use sandbox::stand_ins::{Grant, Nylas, RestCrm, generated_contact, generated_crm_contact};

use crate::links::LinksServer;

/// Nylas's grant for the account.
pub const GRANT: &str = "6d2f6a0c-5a44-4f0e-9c51-0b8f3c1e7a10";
/// The company whose account it is.
pub const COMPANY_DOMAIN: &str = "northwind.example";
/// What the people are made of.
const SEED: u64 = 7;
/// Which contacts are listed where none is named: others are people who wrote once, of whom little is known.
const SOURCE: &str = "address_book";

/// What each of those that are called waits before it does anything.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    /// The CRM.
    pub crm: Duration,
    /// Nylas.
    pub nylas: Duration,
    /// The links table.
    pub links: Duration,
}

/// How often each was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Nylas.
    pub nylas: usize,
    /// The CRM, whatever for.
    pub crm: usize,
    /// The CRM for a contact.
    pub lookups: usize,
    /// The CRM to change a contact.
    pub writes: usize,
    /// The links table.
    pub links: usize,
}

impl Counts {
    /// What came on top of an earlier count.
    pub fn since(self, earlier: &Self) -> Self {
        Self {
            nylas: self.nylas - earlier.nylas,
            crm: self.crm - earlier.crm,
            lookups: self.lookups - earlier.lookups,
            writes: self.writes - earlier.writes,
            links: self.links - earlier.links,
        }
    }
}

/// The account and what there is around it.
pub struct Account {
    /// Its address book.
    pub nylas: Nylas,
    /// The CRM.
    pub crm: RestCrm,
    /// What the function remembers.
    pub links: LinksServer,
    /// How many contacts the address book has.
    pub contacts: usize,
}

impl Account {
    /// An account with so many contacts in its address book, and a CRM that knows about three tenths of the people.
    pub fn with(contacts: usize, latency: Latency) -> Result<Self, Box<dyn Error>> {
        // Generated people are of all sources, so there are more of them.
        let is_listed = |index: &u64| generated_contact(SEED, *index, "google")["source"] == SOURCE;
        let people = 1 + (0..).filter(is_listed).nth(contacts.saturating_sub(1)).ok_or("there are no more people")?;
        let known = (0..people).filter_map(|index| generated_crm_contact(SEED, index));
        let crm = RestCrm::builder().contacts(known).start()?;
        let grant = Grant::google(GRANT, &format!("rep@{COMPANY_DOMAIN}"));
        let nylas = Nylas::builder().grant(grant.with_many_contacts(usize::try_from(people)?, SEED)).start()?;
        crm.faults().set_latency(latency.crm);
        nylas.faults().set_latency(latency.nylas);
        crm.calls().keep_newest(1);
        nylas.calls().keep_newest(1);
        Ok(Self { nylas, crm, links: LinksServer::start(latency.links)?, contacts })
    }

    /// How often each was called so far.
    pub fn counts(&self) -> Counts {
        Counts {
            nylas: self.nylas.calls().total(),
            crm: self.crm.calls().total(),
            lookups: self.crm.lookups(),
            writes: self.crm.patches(),
            links: self.links.calls(),
        }
    }
}
