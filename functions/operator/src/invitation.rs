//! An invitation of a notetaker to a meeting: read from an event, compared with the notetakers that are there, and
//! claimed, so that it is carried out once however often it is given.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use shared::configuration::parse_address;
use shared::domain::digest::sha256_hex;
use shared::domain::link::{Link, LinkKey, LinkState, Version};
use shared::domain::notification::GrantId;
use shared::meetings::place_of;
use shared::nylas::notetaker::{HistoryEntry, Notetaker, NotetakerFilter, NotetakerState};

use crate::command::{BadCommand, fields_of, filled, one_grant};
use crate::times::{moment, shown};

/// How far apart two notetakers may join that are for one meeting, in seconds.
const SAME_MEETING: i64 = 15 * 60;

/// How long after it has joined a notetaker that is still in its meeting is looked for, in seconds.
const LONGEST_MEETING: i64 = 12 * 60 * 60;

/// How late an event may come that says when to join, in seconds.
const LATEST: i64 = 60;

/// How long an invitation is claimed, in seconds: longer than it can take.
const CLAIM: i64 = 120;

/// A notetaker that is to be sent to a meeting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// The account that sends it.
    pub grant: GrantId,
    /// Where people join the meeting.
    pub meeting_link: String,
    /// When it joins, in Unix seconds; none for at once.
    pub at: Option<i64>,
    /// How it is called in the meeting; none for Nylas's own name.
    pub name: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    grant_id: Option<String>,
    meeting_link: Option<String>,
    at: Option<Value>,
    name: Option<String>,
}

impl Invitation {
    /// Reads the fields of an event that came at a time, in Unix seconds.
    ///
    /// # Errors
    /// If they are no invitation.
    pub fn read(fields: Map<String, Value>, now: i64) -> Result<Self, BadCommand> {
        let fields: Fields = fields_of(fields)?;
        let grant = one_grant(fields.grant_id, "it is one account that sends a notetaker")?;
        let reason = "it says which meeting the notetaker is to join";
        let meeting_link = filled("meeting_link", fields.meeting_link)?
            .ok_or(BadCommand::Missing { field: "meeting_link", reason })?;
        if parse_address(without_fragment(&meeting_link)).is_err() {
            return Err(BadCommand::NotALink);
        }
        let at = fields
            .at
            .map(|value| moment(&value).map_err(|problem| BadCommand::NotATime { field: "at", value, problem }))
            .transpose()?;
        if let Some(at) = at.filter(|at| *at < now - LATEST) {
            return Err(BadCommand::Past { at: shown(at), now: shown(now) });
        }
        Ok(Self { grant, meeting_link, at, name: filled("name", fields.name)? })
    }

    /// When Nylas is to let it join, in Unix seconds; none for at once.
    #[must_use]
    pub fn join_time(&self, now: i64) -> Option<i64> {
        self.at.filter(|at| *at > now)
    }

    /// Which of the account's notetakers can be for this meeting.
    #[must_use]
    pub fn filter(&self, now: i64) -> NotetakerFilter {
        let at = self.moment(now);
        let before = if self.is_for_now(now) { LONGEST_MEETING } else { SAME_MEETING };
        NotetakerFilter { join_time_start: at - before, join_time_end: at + SAME_MEETING + 1 }
    }

    /// The notetaker that is already on its way to this meeting, or in it.
    #[must_use]
    pub fn standing<'a>(&self, notetakers: &'a [Notetaker], now: i64) -> Option<&'a Notetaker> {
        let (link, at) = (comparable(&self.meeting_link), self.moment(now));
        notetakers.iter().find(|notetaker| {
            let state = notetaker.state();
            let joins = notetaker.join_time.map_or(at, jiff::Timestamp::as_second);
            let is_for_it = if (joins - at).abs() <= SAME_MEETING {
                !state.as_ref().is_some_and(has_ended)
            } else {
                // It came to an earlier meeting under this link, which goes on.
                joins < at && self.is_for_now(now) && state.as_ref().is_some_and(is_at_work)
            };
            is_for_it && notetaker.meeting_link.as_deref().is_some_and(|other| comparable(other) == link)
        })
    }

    /// Under which key it is claimed. One for now has one key, whenever that is: two that are given at the same time
    /// meet there, even across the stroke of a minute.
    #[must_use]
    pub fn key(&self) -> LinkKey {
        let at = self.at.map_or_else(|| "now".to_owned(), |at| at.to_string());
        let link = comparable(&self.meeting_link);
        let parts = [self.grant.as_str(), "\n", &link, "\n", &at].map(str::as_bytes);
        LinkKey::new("invite", &sha256_hex(&parts))
    }

    /// A claim of it that begins now.
    #[must_use]
    pub fn claim(&self, now: i64) -> Claim {
        Claim { until: now + CLAIM, at: self.moment(now), notetaker_id: None }
    }

    /// When it joins, or now.
    fn moment(&self, now: i64) -> i64 {
        self.at.unwrap_or(now)
    }

    fn is_for_now(&self, now: i64) -> bool {
        self.join_time(now).is_none()
    }
}

/// What is known of an invitation that was given before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Until when nobody else may carry it out, in Unix seconds.
    pub until: i64,
    /// For when it was given, in Unix seconds.
    at: i64,
    /// The notetaker that came of it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub notetaker_id: Option<String>,
}

/// What a claim says to whoever gives the same invitation again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Before {
    /// It has ended, or was for another meeting under the same link.
    Nothing,
    /// Somebody is carrying it out, until this time at the latest, in Unix seconds.
    BeingInvited(i64),
    /// This notetaker came of it.
    Invited {
        /// Nylas's id.
        notetaker_id: String,
        /// True if that was moments ago, so that Nylas's list may not show it yet.
        just_now: bool,
    },
}

impl Claim {
    /// Reads the claim that a link holds; none if it holds something else.
    #[must_use]
    pub fn of(link: &Link) -> Option<Self> {
        serde_json::from_value(Value::Object(link.facts.clone())).ok()
    }

    /// What it says to an invitation that is given now.
    #[must_use]
    pub fn says(&self, invitation: &Invitation, now: i64) -> Before {
        let stands = self.until > now;
        match &self.notetaker_id {
            None if stands => Before::BeingInvited(self.until),
            Some(id) if (self.at - invitation.moment(now)).abs() <= SAME_MEETING => {
                Before::Invited { notetaker_id: id.clone(), just_now: stands }
            }
            _ => Before::Nothing,
        }
    }

    /// The claim with the notetaker that came of it.
    #[must_use]
    pub fn with(mut self, notetaker_id: &str) -> Self {
        self.notetaker_id = Some(notetaker_id.to_owned());
        self
    }

    /// The claim given up: nothing came of it, and it can be made again at once.
    #[must_use]
    pub fn given_up(mut self) -> Self {
        self.until = 0;
        self
    }

    /// The claim as a link.
    #[must_use]
    pub fn to_link(&self, key: &LinkKey) -> Link {
        let facts = match serde_json::to_value(self) {
            Ok(Value::Object(facts)) => facts,
            _ => Map::new(),
        };
        Link { key: key.clone(), state: LinkState::Note, version: Version::default(), content: None, facts }
    }
}

/// True if a notetaker is still to come or there, after the newest entry of its history.
#[must_use]
pub fn still_stands(newest: &HistoryEntry) -> bool {
    newest.event_type.as_deref() != Some("notetaker.deleted") && !newest.data.state().as_ref().is_some_and(has_ended)
}

/// True if a notetaker will not come any more, or has left.
fn has_ended(state: &NotetakerState) -> bool {
    match state {
        NotetakerState::FailedEntry
        | NotetakerState::Disconnected
        | NotetakerState::MediaProcessing
        | NotetakerState::MediaAvailable
        | NotetakerState::MediaError
        | NotetakerState::MediaDeleted => true,
        NotetakerState::Scheduled
        | NotetakerState::Connecting
        | NotetakerState::WaitingForEntry
        | NotetakerState::Attending
        | NotetakerState::Other(_) => false,
    }
}

/// True if a notetaker is in its meeting or before its door.
fn is_at_work(state: &NotetakerState) -> bool {
    matches!(state, NotetakerState::Connecting | NotetakerState::WaitingForEntry | NotetakerState::Attending)
}

fn without_fragment(link: &str) -> &str {
    link.split_once('#').map_or(link, |(before, _)| before)
}

/// A link in a form in which two of one meeting are the same, as for the meetings that are kept.
fn comparable(link: &str) -> String {
    place_of(link).unwrap_or_else(|| link.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// 2026-03-01T10:00:00Z.
    const NOW: i64 = 1_772_359_200;

    const LINK: &str = "https://meet.google.com/abc-defg-hij";

    fn read(fields: &Value) -> Result<Invitation, String> {
        let fields = fields.as_object().expect("an object").clone();
        Invitation::read(fields, NOW).map_err(|problem| problem.to_string())
    }

    fn invitation(fields: &Value) -> Invitation {
        let mut event = json!({ "grant_id": "g", "meeting_link": LINK });
        event.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        read(&event).expect("an invitation")
    }

    fn notetaker(state: &str, joins: i64, link: &str) -> Notetaker {
        let value = json!({ "id": "n", "state": state, "join_time": joins, "meeting_link": link });
        serde_json::from_value(value).expect("a notetaker")
    }

    #[test]
    fn invitation_is_for_now_unless_it_says_when() {
        assert_eq!(invitation(&json!({})).at, None);
        assert_eq!(invitation(&json!({ "at": null, "name": null })), invitation(&json!({})));
        assert_eq!(invitation(&json!({})).join_time(NOW), None);
        for at in [json!(NOW + 600), json!("2026-03-01T10:10:00Z"), json!("2026-03-01T12:10:00+02:00")] {
            assert_eq!(invitation(&json!({ "at": at })).join_time(NOW), Some(NOW + 600), "{at}");
        }
        assert_eq!(invitation(&json!({ "name": " Notes " })).name.as_deref(), Some("Notes"));
    }

    #[test]
    fn time_that_has_just_passed_means_now_and_one_that_has_long_is_refused() {
        for at in [NOW, NOW - 60] {
            assert_eq!(invitation(&json!({ "at": at })).join_time(NOW), None);
        }
        let late = read(&json!({ "grant_id": "g", "meeting_link": LINK, "at": NOW - 61 })).expect_err("late");
        assert!(late.contains("`at` is 2026-03-01T09:58:59Z, and now is 2026-03-01T10:00:00Z"), "{late}");
        assert!(late.contains("leave `at` out"), "{late}");
    }

    #[test]
    fn wrong_invitation_is_told_what_is_wrong() {
        let with = |link: &str| json!({ "grant_id": "g", "meeting_link": link });
        for (event, words) in [
            (json!({ "meeting_link": LINK }), "`grant_id` is missing: it is one account"),
            (json!({ "grant_id": " ", "meeting_link": LINK }), "`grant_id` is empty"),
            (json!({ "grant_id": "g" }), "`meeting_link` is missing"),
            (with(" "), "`meeting_link` is empty"),
            (with("meet.google.com/abc-defg-hij"), "the whole link"),
            (with("http://meet.google.com/abc-defg-hij"), "https:// before it"),
            (with("https://user:secret@meet.google.com/abc"), "without a user"),
            (with("abc-defg-hij"), "the whole link"),
            (json!({ "grant_id": "g", "meeting_link": LINK, "name": "" }), "`name` is empty"),
            (json!({ "grant_id": "g", "meeting_link": LINK, "at": "2026-03-02" }), "a date alone names no hour"),
            (json!({ "grant_id": "g", "meeting_link": LINK, "at": 7 }), "`at` is 7: as Unix seconds"),
            (json!({ "grant_id": "g", "meeting_link": LINK, "when": 7 }), "unknown field `when`"),
        ] {
            let told = read(&event).expect_err("refused");
            assert!(told.contains(words), "{event}: {told}");
        }
    }

    #[test]
    fn link_may_lead_to_any_host_and_unencrypted_only_to_this_machine() {
        for link in ["https://whereby.example/room", "http://127.0.0.1:8080/room", "http://localhost/room"] {
            assert!(read(&json!({ "grant_id": "g", "meeting_link": link })).is_ok(), "{link}");
        }
        // Passwords of meetings stand behind `#`: it is sent as it is given.
        let link = "https://zoom.example/j/1#success";
        assert_eq!(invitation(&json!({ "meeting_link": link })).meeting_link, link);
    }

    #[test]
    fn links_of_one_meeting_differ_in_what_leads_nowhere_else_only() {
        let with_a_password = format!("{LINK}?pwd=1");
        for same in [
            LINK,
            "HTTPS://Meet.Google.com/abc-defg-hij",
            &format!(" {LINK}/ "),
            &format!("{LINK}#x"),
            &with_a_password,
        ] {
            assert_eq!(comparable(same), comparable(LINK), "{same}");
        }
        for other in [
            "https://meet.google.com/ABC-defg-hij",
            "https://meet.google.com/abc-defg-hij/2",
            "https://meet.example.com/abc-defg-hij",
            "",
        ] {
            assert_ne!(comparable(other), comparable(LINK), "{other}");
        }
        assert_eq!(comparable("https://z.example"), comparable("https://z.example/"));
    }

    #[test]
    fn notetaker_is_there_already_if_it_joins_this_meeting_about_then_and_has_not_ended() {
        let at = NOW + 3600;
        let invitation = invitation(&json!({ "at": at }));
        let is_there = |notetaker| invitation.standing(&[notetaker], NOW).is_some();
        for state in ["scheduled", "connecting", "waiting_for_entry", "attending", "singing", ""] {
            assert!(is_there(notetaker(state, at, LINK)), "{state}");
        }
        for state in ["failed_entry", "disconnected", "media_processing", "available", "media_error", "media_deleted"] {
            assert!(!is_there(notetaker(state, at, LINK)), "{state}");
        }
        assert!(is_there(notetaker("scheduled", at - 900, LINK)));
        assert!(is_there(notetaker("scheduled", at + 900, LINK)));
        for (state, joins, link) in [
            ("scheduled", at - 901, LINK),
            ("attending", at - 901, LINK),
            ("scheduled", at + 901, LINK),
            ("scheduled", at, "https://meet.google.com/other"),
        ] {
            assert!(!is_there(notetaker(state, joins, link)), "{state} {joins} {link}");
        }
        let bare: Notetaker = serde_json::from_value(json!({ "id": "n" })).expect("a notetaker");
        assert!(!is_there(bare), "what has no link is no match");
    }

    #[test]
    fn notetaker_that_came_hours_ago_and_is_still_there_is_not_sent_for_again() {
        let invitation = invitation(&json!({}));
        let hours_ago = NOW - 3 * 3600;
        assert!(invitation.filter(NOW).join_time_start < hours_ago);
        assert!(invitation.standing(&[notetaker("attending", hours_ago, LINK)], NOW).is_some());
        assert!(invitation.standing(&[notetaker("scheduled", hours_ago, LINK)], NOW).is_none(), "it never came");
    }

    #[test]
    fn history_tells_a_notetaker_that_stands_from_one_that_ended_or_was_taken_back() {
        for (kind, state, stands) in [
            ("notetaker.created", "scheduled", true),
            ("notetaker.meeting_state", "attending", true),
            ("notetaker.meeting_state", "failed_entry", false),
            ("notetaker.media", "available", false),
            ("notetaker.deleted", "scheduled", false),
        ] {
            let entry = json!({ "created_at": NOW, "event_type": kind, "data": { "id": "n", "state": state } });
            let entry: HistoryEntry = serde_json::from_value(entry).expect("an entry");
            assert_eq!(still_stands(&entry), stands, "{kind} {state}");
        }
    }

    #[test]
    fn notetakers_are_listed_from_a_quarter_of_an_hour_before_to_one_after() {
        let at = NOW + 3600;
        let filter = invitation(&json!({ "at": at })).filter(NOW);
        assert_eq!(filter, NotetakerFilter { join_time_start: at - 900, join_time_end: at + 901 });
    }

    #[test]
    fn equal_invitations_have_one_key_and_others_have_another() {
        let key = |fields: Value| invitation(&fields).key();
        let now = key(json!({}));
        assert!(now.as_str().starts_with("invite#") && !now.as_str().contains("meet"), "{now:?}");
        assert_eq!(now, key(json!({ "meeting_link": format!("{LINK}/"), "name": "Notes" })));
        for other in
            [json!({ "grant_id": "h" }), json!({ "meeting_link": format!("{LINK}k") }), json!({ "at": NOW + 60 })]
        {
            assert_ne!(now, key(other.clone()), "{other}");
        }
        assert_eq!(key(json!({ "at": NOW + 60 })), key(json!({ "at": "2026-03-01T10:01:00Z" })));
    }

    #[test]
    fn claim_tells_who_comes_second_what_became_of_the_first() {
        let invitation = invitation(&json!({}));
        let claim = invitation.claim(NOW);
        assert_eq!(claim.says(&invitation, NOW + 119), Before::BeingInvited(NOW + 120));
        assert_eq!(claim.says(&invitation, NOW + 120), Before::Nothing, "it has run out");
        assert_eq!(claim.clone().given_up().says(&invitation, NOW), Before::Nothing);
        let kept = claim.with("n-1");
        let invited = |just_now| Before::Invited { notetaker_id: "n-1".to_owned(), just_now };
        assert_eq!(kept.says(&invitation, NOW + 119), invited(true));
        assert_eq!(kept.says(&invitation, NOW + 900), invited(false));
        assert_eq!(kept.says(&invitation, NOW + 901), Before::Nothing, "that was an earlier meeting");
    }

    #[test]
    fn claim_is_kept_as_a_note_without_the_link_of_the_meeting() {
        let invitation = invitation(&json!({}));
        let link = invitation.claim(NOW).with("n-1").to_link(&invitation.key());
        assert_eq!(link.state, LinkState::Note);
        assert_eq!(Value::Object(link.facts.clone()), json!({ "until": NOW + 120, "at": NOW, "notetaker_id": "n-1" }));
        assert_eq!(Claim::of(&link), Some(invitation.claim(NOW).with("n-1")));
        assert_eq!(Claim::of(&Link { facts: Map::new(), ..link }), None);
    }
}
