//! What is remembered of each contact of an address book, so that one that has not changed costs no call to the CRM.

use serde::{Deserialize, Serialize};
use shared::crm::contact_fields::ContactField;
use shared::domain::digest::sha256_hex;
use shared::domain::failure::Failure;
use shared::domain::link::{Link, LinkKey, LinkState, Version};
use shared::engine::progress::Finding;
use shared::engine::{StoreError, facts_of, read_facts};

use crate::address_book::{Copy, CopyId};

/// What became of a contact when it was last looked up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// The digest of what it said.
    #[serde(skip)]
    pub content: String,
    /// How it was read.
    pub reading: String,
    /// When it was seen to change, in Unix seconds; 0 if it never was.
    pub changed_at: i64,
    /// When the CRM was asked for it, in Unix seconds.
    pub looked_up_at: i64,
    /// In which run, or for which notification.
    pub by: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of looking at a contact.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// The contact in the CRM; none if there is none, or several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact_id: Option<String>,
    /// The fields that were written, or would have been.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub written: Vec<ContactField>,
    /// The same with their values, for who asks what would change.
    #[serde(skip)]
    pub changes: Vec<Finding>,
    /// The values of others that were kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<Finding>,
    /// The fields that an address book says something of and the CRM does not have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_offered: Vec<ContactField>,
    /// The values that the CRM refuses, with its words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<Finding>,
    /// Why it was not matched, or not written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<Skipped>,
}

impl Outcome {
    /// That of a contact, by its id in the address book, that the CRM has only an error for.
    #[must_use]
    pub fn unanswered(contact: &str, failure: &Failure) -> Self {
        let finding = Finding {
            of: contact.to_owned(),
            field: "contact".to_owned(),
            stands: None,
            proposed: None,
            why: format!("left for another night: {failure}"),
        };
        Self { refused: vec![finding], skipped: Some(Skipped::Unanswered), ..Self::default() }
    }
}

/// Why a contact was not matched, or not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Skipped {
    /// Nobody in the CRM has one of its addresses.
    NobodyKnown,
    /// Several contacts in the CRM have its address.
    Several,
    /// The contact vanished from the CRM between the lookup and the write.
    Gone,
    /// The CRM refuses every value.
    Refused,
    /// The CRM answers for others, and not for this one. It is not remembered, so that the next night tries it again.
    Unanswered,
}

impl Skipped {
    /// The reason in words, as it is counted.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NobodyKnown => "skipped: not in the CRM",
            Self::Several => "skipped: several in the CRM",
            Self::Gone => "skipped: gone from the CRM",
            Self::Refused => "skipped: refused by the CRM",
            Self::Unanswered => "skipped: no answer of the CRM for it",
        }
    }
}

/// The key of what is remembered of a contact. A digest: ids of Exchange are long.
#[must_use]
pub fn key(id: &CopyId) -> LinkKey {
    let mut digest = sha256_hex(&[id.grant.as_bytes(), b"/", id.contact.as_bytes()]);
    digest.truncate(32);
    LinkKey::new("address-book", &digest)
}

impl Remembered {
    /// Reads what is remembered.
    ///
    /// # Errors
    /// If it is of another form.
    pub fn of(mut link: Link) -> Result<Self, StoreError> {
        let content = link.content.take().unwrap_or_default();
        Ok(Self { content, ..read_facts(link)? })
    }

    /// The link that remembers it, for as long as a tombstone: of a contact that nobody sees any more nothing stays.
    ///
    /// # Errors
    /// None that can be met: it can always be written.
    pub fn to_link(&self, id: &CopyId) -> Result<Link, StoreError> {
        let key = key(id);
        let facts = facts_of(&key, self)?;
        let version = Version { sequence: 0, changed_at: self.changed_at };
        Ok(Link { key, state: LinkState::Note, version, content: Some(self.content.clone()), facts })
    }

    /// True if nothing has changed since, and the CRM was asked less than `lookup_ttl` seconds ago.
    #[must_use]
    pub fn still_holds(&self, copy: &Copy, reading: &str, lookup_ttl: i64, now: i64) -> bool {
        self.content == copy.content && self.reading == reading && now - self.looked_up_at < lookup_ttl
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::crm::contact_fields::PerField;

    fn copy() -> Copy {
        let id = CopyId { grant: "g".to_owned(), contact: "c".to_owned() };
        Copy { id, addresses: Vec::new(), says: PerField::default(), content: "digest".to_owned() }
    }

    fn remembered() -> Remembered {
        let kept = Finding {
            of: "con-1".to_owned(),
            field: "phone".to_owned(),
            stands: None,
            proposed: Some("+12025550100".to_owned()),
            why: "kept".to_owned(),
        };
        Remembered {
            content: "digest".to_owned(),
            reading: "1US".to_owned(),
            changed_at: 7,
            looked_up_at: 1000,
            by: "r1".to_owned(),
            outcome: Outcome { contact_id: Some("con-1".to_owned()), kept: vec![kept], ..Outcome::default() },
        }
    }

    #[test]
    fn what_is_remembered_comes_back_as_it_was() {
        let link = remembered().to_link(&copy().id).expect("a link");
        assert_eq!(link.state, LinkState::Note);
        assert_eq!(Remembered::of(link), Ok(remembered()));
    }

    #[test]
    fn it_holds_until_the_contact_changes_it_is_read_otherwise_or_the_lookup_is_too_old() {
        let holds = |copy: &Copy, reading: &str, now: i64| remembered().still_holds(copy, reading, 100, now);
        assert!(holds(&copy(), "1US", 1099));
        assert!(!holds(&copy(), "1US", 1100));
        assert!(!holds(&copy(), "1", 1099));
        assert!(!holds(&Copy { content: "other".to_owned(), ..copy() }, "1US", 1099));
    }

    #[test]
    fn key_tells_accounts_apart_because_google_shares_ids() {
        let other = CopyId { grant: "h".to_owned(), ..copy().id };
        assert_ne!(key(&copy().id), key(&other));
        assert!(key(&copy().id).as_str().len() < 64);
    }
}
