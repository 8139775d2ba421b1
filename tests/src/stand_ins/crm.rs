//! What every stand-in for a CRM lets a test do and see, whatever system it stands for: one form for all.

use super::{CallLog, CrmContact, Faults, HubSpot, Pipedrive, RestCrm, Result, Salesforce};
use shared::crm::provider::CrmProvider;

/// Starts a stand-in for a CRM of this kind that knows nobody.
pub fn start(provider: CrmProvider) -> Result<Box<dyn CrmStandIn>> {
    Ok(match provider {
        CrmProvider::Rest => Box::new(RestCrm::start()?),
        CrmProvider::HubSpot => Box::new(HubSpot::start()?),
        CrmProvider::Salesforce => Box::new(Salesforce::start()?),
        CrmProvider::Pipedrive => Box::new(Pipedrive::start()?),
    })
}

/// A stand-in for a CRM.
pub trait CrmStandIn: Send + Sync {
    /// The value of `CrmProvider`.
    fn provider(&self) -> &'static str;

    /// The address to give as `CrmBaseUrl`.
    fn base_url(&self) -> String;

    /// The further parameters of a stack that is to use it, beside `CrmProvider` and `CrmBaseUrl`.
    fn parameters(&self) -> Vec<(&'static str, String)>;

    /// The fault plan.
    fn faults(&self) -> &Faults;

    /// Every call so far.
    fn calls(&self) -> &CallLog;

    /// What the description of the API has refused so far, a sentence each.
    fn refusals(&self) -> Vec<String>;

    /// Makes the credential that was good so far no good, as when an administrator revokes it.
    fn revoke_credential(&self);

    /// Makes a contact known, and answers the id that the system gave it; deals are made with the ids it gives them.
    fn add_contact(&self, contact: &CrmContact) -> String;

    /// The contacts as they are now, under the system's ids.
    fn contacts(&self) -> Vec<CrmContact>;

    /// The mails that were logged, oldest first.
    fn mails(&self) -> Vec<SeenMail>;

    /// The meetings, oldest first, those that were deleted in a way that a user can undo included.
    fn meetings(&self) -> Vec<SeenMeeting>;

    /// The notes of meetings, oldest first.
    fn notes(&self) -> Vec<SeenNotes>;

    /// The tasks, oldest first.
    fn tasks(&self) -> Vec<SeenTask>;
}

/// A mail as the CRM shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenMail {
    /// The CRM's id.
    pub id: String,
    /// Its subject.
    pub subject: String,
    /// Everything else that is shown of it, as text.
    pub text: String,
    /// `inbound` or `outbound`, where the CRM tells.
    pub direction: Option<String>,
    /// When it was sent, RFC 3339; the day alone where the CRM keeps no more.
    pub at: String,
    /// Whose it is, by the CRM's ids, in order.
    pub contact_ids: Vec<String>,
    /// The deal it belongs to.
    pub deal_id: Option<String>,
}

/// How a meeting stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeenStatus {
    /// It takes place.
    Planned,
    /// It does not, and is still shown.
    Cancelled,
    /// It is not shown any more.
    Deleted,
}

/// A meeting as the CRM shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenMeeting {
    /// The CRM's id.
    pub id: String,
    /// Its title.
    pub subject: String,
    /// Everything else that is shown of it, as text.
    pub text: String,
    /// When it begins, RFC 3339 in UTC; the day alone for whole days.
    pub start: Option<String>,
    /// How it stands.
    pub status: SeenStatus,
    /// Whose it is, by the CRM's ids, in any order.
    pub contact_ids: Vec<String>,
    /// The deal it belongs to.
    pub deal_id: Option<String>,
    /// Who is responsible for it, by address, where that is one of the CRM's users.
    pub owner: Option<String>,
    /// How often it was written.
    pub writes: u32,
}

/// Notes of a meeting as the CRM shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenNotes {
    /// The CRM's id.
    pub id: String,
    /// All that is shown of them, as text.
    pub text: String,
    /// Whose they are, by the CRM's ids, in any order.
    pub contact_ids: Vec<String>,
    /// The deal they belong to.
    pub deal_id: Option<String>,
}

/// A task as the CRM shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenTask {
    /// The CRM's id.
    pub id: String,
    /// What is to be done.
    pub subject: String,
    /// By when, `YYYY-MM-DD`.
    pub due: Option<String>,
    /// By whom, by address, where that is one of the CRM's users.
    pub owner: Option<String>,
    /// Whose it is, by the CRM's ids, in any order.
    pub contact_ids: Vec<String>,
    /// The deal it belongs to.
    pub deal_id: Option<String>,
}

/// The address of somebody of the company who is a user of every stand-in for a CRM, under an id of its own.
pub const CRM_USER: &str = "ines.duarte@northwind.example";
