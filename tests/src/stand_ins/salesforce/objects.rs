//! The objects of an org with their fields, as far as they are read and written (after the Object Reference).

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The id of the record itself.
    Id,
    /// The id of a record of one of these objects.
    Reference(&'static [&'static str]),
    /// A text of at most so many units of UTF-16.
    Text(usize),
    /// A text that no query can filter by.
    LongText(usize),
    /// One of these words.
    Picklist(&'static [&'static str]),
    Flag,
    Day,
    Instant,
    Whole,
}

/// Who may write a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    Always,
    OnlyWhenCreated,
    Never,
}

/// A field.
pub(super) type Field = (&'static str, Kind, Written);

use Kind::{Day, Flag, Id, Instant, LongText, Picklist, Reference, Text, Whole};
use Written::{Always, Never, OnlyWhenCreated};

const USER: Kind = Reference(&["User"]);
const WHO: Kind = Reference(&["Contact", "Lead"]);
const WHAT: Kind = Reference(&["Account", "Opportunity"]);

/// The prefixes of ids.
pub(super) const OBJECTS: [(&str, &str); 8] = [
    ("Account", "001"),
    ("Contact", "003"),
    ("Lead", "00Q"),
    ("Opportunity", "006"),
    ("OpportunityContactRole", "00K"),
    ("User", "005"),
    ("Event", "00U"),
    ("Task", "00T"),
];

/// What every object has.
pub(super) const OF_ALL: &[Field] =
    &[("Id", Id, Never), ("CreatedDate", Instant, Never), ("LastModifiedDate", Instant, Never)];

/// The fields of an object beside those that every object has.
pub(super) fn fields_of(object: &str) -> &'static [Field] {
    match object {
        "Account" => &[("Name", Text(255), Always)],
        "Contact" => &[
            ("FirstName", Text(40), Always),
            ("LastName", Text(80), Always),
            ("Email", Text(80), Always),
            ("Phone", Text(40), Always),
            ("MobilePhone", Text(40), Always),
            ("Title", Text(128), Always),
            ("Department", Text(80), Always),
            ("AccountId", Reference(&["Account"]), Always),
        ],
        "Lead" => &[
            ("FirstName", Text(40), Always),
            ("LastName", Text(80), Always),
            ("Email", Text(80), Always),
            ("Phone", Text(40), Always),
            ("MobilePhone", Text(40), Always),
            ("Title", Text(128), Always),
            ("Company", Text(255), Always),
            ("IsConverted", Flag, Never),
        ],
        "Opportunity" => &[
            ("Name", Text(120), Always),
            ("AccountId", Reference(&["Account"]), Always),
            ("IsClosed", Flag, Never),
            ("LastActivityDate", Day, Never),
        ],
        "OpportunityContactRole" => &[
            ("ContactId", Reference(&["Contact"]), OnlyWhenCreated),
            ("OpportunityId", Reference(&["Opportunity"]), OnlyWhenCreated),
            ("IsPrimary", Flag, Always),
        ],
        "User" => &[
            ("Email", Text(80), Always),
            ("Username", Text(80), Always),
            ("IsActive", Flag, Always),
            ("UserType", Picklist(&["Standard", "CsnOnly", "Guest"]), Never),
            ("LastLoginDate", Instant, Never),
        ],
        "Event" => &[
            ("Subject", Text(255), Always),
            ("Description", LongText(32_000), Always),
            ("Location", Text(255), Always),
            ("StartDateTime", Instant, Always),
            ("EndDateTime", Instant, Always),
            ("ActivityDate", Day, Always),
            ("ActivityDateTime", Instant, Always),
            ("DurationInMinutes", Whole, Always),
            ("IsAllDayEvent", Flag, Always),
            ("ShowAs", Picklist(&["Busy", "Free", "OutOfOffice"]), Always),
            ("Type", Text(40), Always),
            ("OwnerId", USER, Always),
            ("WhoId", WHO, Always),
            ("WhatId", WHAT, Always),
        ],
        "Task" => &[
            ("Subject", Text(255), Always),
            ("Description", LongText(32_000), Always),
            ("ActivityDate", Day, Always),
            (
                "Status",
                Picklist(&["Not Started", "In Progress", "Completed", "Waiting on someone else", "Deferred"]),
                Always,
            ),
            ("Priority", Picklist(&["High", "Normal", "Low"]), Always),
            ("TaskSubtype", Picklist(&["Task", "Email", "ListEmail", "Cadence", "Call", "LinkedIn"]), OnlyWhenCreated),
            ("Type", Text(40), Always),
            ("OwnerId", USER, Always),
            ("WhoId", WHO, Always),
            ("WhatId", WHAT, Always),
        ],
        _ => &[],
    }
}

/// The field that leads from an object to another one by a name that queries use.
pub(super) fn way_to(object: &str, relation: &str) -> Option<&'static str> {
    match (object, relation) {
        ("OpportunityContactRole", "Opportunity") => Some("OpportunityId"),
        ("OpportunityContactRole", "Contact") => Some("ContactId"),
        ("Contact" | "Opportunity", "Account") => Some("AccountId"),
        _ => None,
    }
}

/// An id in its form of 18 characters: the last three tell which of the others are capital letters ("Record Ids" in
/// Salesforce Help).
pub(super) fn with_check_characters(id: &str) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";
    let check = id.as_bytes().chunks(5).map(|five| {
        let bits = five.iter().enumerate().filter(|(_, byte)| byte.is_ascii_uppercase()).map(|(place, _)| 1 << place);
        char::from(DIGITS[bits.sum::<usize>()])
    });
    id.chars().chain(check).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_characters_tell_of_capital_letters() {
        assert_eq!(with_check_characters("003000000000999"), "003000000000999AAA");
        // An id of the REST API Developer Guide.
        assert_eq!(with_check_characters("001D000000IqhSL"), "001D000000IqhSLIAZ");
    }
}
