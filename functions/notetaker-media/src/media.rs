//! Files that are there: whose meeting it was, and one record of it in the CRM that grows as files come and never shrinks.

use jiff::Timestamp;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::time::Duration;

use shared::crm::BatchLookup;
use shared::crm::matching::{Matched, NobodyKnown, addresses_to_look_up, match_contacts, refuses_all};
use shared::domain::address::EmailAddress;
use shared::domain::decision::Decision;
use shared::domain::failure::Failure;
use shared::domain::notification::GrantId;
use shared::engine::{Deadline, Work};
use shared::nylas::event::People;

use crate::archive::{Recording, in_turn};
use crate::gather::{Answer, Files, Gathered};
use crate::known::{Known, Piece};
use crate::meeting::{Found, Sought};
use crate::process::{Batch, News, NotetakerMedia, Ports, ReadMeetings as _};
use crate::record::{Written, content_of, said};

/// How long all texts of a notetaker may take to come in.
const LONGEST_TEXTS: Duration = Duration::from_mins(1);

/// Nothing is begun to be fetched with less time than this left.
const FOR_TEXTS: Duration = Duration::from_secs(10);

/// A meeting with somebody whom the CRM knows, and how it was found.
pub(crate) struct Meeting {
    pub(crate) found: Found,
    pub(crate) matched: Matched,
}

/// Whether what was said in a meeting is brought to the CRM.
enum Judged {
    Bring(Box<Meeting>),
    Decided(Decision),
}

impl<P: Ports> Batch<'_, '_, P> {
    /// Decides about files that are there.
    pub(crate) async fn files(&self, news: News, known: Known, work: &Work) -> Result<Decision, Failure> {
        let Some(lookup) = &self.lookup else { return Ok(Decision::off("CrmBaseUrl")) };
        let rules = self.rules;
        let id = news.notetaker.id.clone();
        let known = rules.with_its_event(&id, known, work.deadline).await?;
        let found = match rules.meeting_of(&known, work.deadline).await? {
            Sought::Found(found) => *found,
            Sought::Unknown(reason) => {
                tracing::warn!(notetaker.id = id, reason, "held for review: its meeting is not known for certain");
                let joined = known.joined_at().map(|joined| joined.to_string());
                return Ok(Decision::held(format!("for review: {reason}")).with("joined", joined));
            }
        };
        match rules.judge(found, lookup, work.deadline).await? {
            Judged::Bring(meeting) => rules.bring(lookup.crm(), &meeting, news, known, work).await,
            Judged::Decided(decision) => {
                rules.deal_with(&id).await?;
                Ok(decision)
            }
        }
    }
}

impl<P: Ports> NotetakerMedia<'_, P> {
    /// What is known of a notetaker, with the event it was made for, where its history tells what a notification did not.
    async fn with_its_event(&self, id: &str, known: Known, deadline: Deadline) -> Result<Known, Failure> {
        if known.names_an_event() {
            return Ok(known);
        }
        let grant = known.grant.as_deref().and_then(GrantId::parse);
        let history = match self.ports.nylas.notetaker_history(grant.as_ref(), id, deadline).await {
            Ok(history) => history,
            // Without it the meeting may still be found by where and when it was joined.
            Err(error) if error.is_refused() || error.is_out_of_reach() || error.is_unreadable() => return Ok(known),
            Err(error) => return Err(error.into()),
        };
        // As old news: what a notification said holds. The newest comes first.
        self.notetakers()
            .change(id, |known| history.iter().for_each(|entry| known.take_in(&entry.data, Timestamp::MIN)))
            .await
    }

    /// Judges a meeting by who was invited.
    async fn judge(
        &self,
        found: Found,
        lookup: &BatchLookup<'_, P::Crm>,
        deadline: Deadline,
    ) -> Result<Judged, Failure> {
        if found.private {
            return Ok(Judged::Decided(Decision::skipped("private")));
        }
        let people = People::in_event(&found.event);
        let outside = people.outside(&self.settings.company_domains);
        if outside.is_empty() {
            let reason =
                if people.without_address == 0 { "internal meeting" } else { "nobody from outside has an address" };
            return Ok(Judged::Decided(Decision::skipped(reason)));
        }
        let asked = addresses_to_look_up(&outside);
        let known = lookup.find(&asked, deadline).await?;
        if let Some(failure) = refuses_all(&asked, &known, "the meeting") {
            return Err(failure);
        }
        Ok(match match_contacts(&outside, people.organizer.as_ref(), &known) {
            Ok(matched) => Judged::Bring(Box::new(Meeting { found, matched })),
            Err(NobodyKnown { unmatched }) => {
                let unmatched = texts(&unmatched);
                let held = Decision::held("no known contact").with("unmatched", unmatched.clone());
                Judged::Decided(held.with("found_by", found.by).waiting_for(unmatched))
            }
        })
    }

    /// Brings what was said to the CRM, and what must last to the archive.
    async fn bring(
        &self,
        crm: &P::Crm,
        meeting: &Meeting,
        news: News,
        known: Known,
        work: &Work,
    ) -> Result<Decision, Failure> {
        let id = news.notetaker.id.as_str();
        let turn = in_turn(self.texts.acquire(), work.deadline.left(), work.deadline, FOR_TEXTS).await?;
        let mut files = Files {
            nylas: self.ports.nylas,
            fetcher: &self.ports.fetcher,
            grant: known.grant.as_deref().and_then(GrantId::parse),
            id,
            media: news.notetaker.media.unwrap_or_default(),
            renewed: false,
            deadline: Deadline::after(LONGEST_TEXTS.min(work.deadline.left())),
        };
        let mut gathered = match files.texts(&known.written).await? {
            Answer::Gathered(gathered) => gathered,
            Answer::NotYet => return Ok(Decision::held("Nylas has no files of it yet")),
            Answer::Gone => {
                self.deal_with(id).await?;
                return Ok(Decision::skipped("Nylas has deleted its files: their retention is over"));
            }
        };
        let said = said(&mut gathered, &meeting.found.event);
        let pieces = said.pieces();
        let mut decision = described(meeting, &gathered, &files).with("pieces", names(&pieces));
        let mut known = self.archive_texts(id, &known, &gathered).await?;
        let pending = gathered.pending.take();
        drop(gathered);
        if self.ports.archive.is_none() {
            let until = known.retained_until.map(|until| until.to_string());
            decision = decision.with("nylas_keeps_until", until);
        }
        let mut notes = self.notes(id, meeting, said, &known, files.media.recording.is_some());
        let written = self.write(crm, &notes, &pieces, work.deadline).await?;
        drop(turn);
        let mut did_write = matches!(written, Written::Wrote(_));
        let lacking = match written {
            Written::Wrote(since) => {
                known = *since;
                BTreeSet::new()
            }
            Written::Same => BTreeSet::new(),
            Written::Poorer(lacking) => lacking,
        };
        match self.archive_recording(id, &known, &mut files, work).await? {
            Recording::Archived(archived) => {
                let as_written = content_of(&notes);
                known = self
                    .notetakers()
                    .change(id, |known| drop(known.archived.insert(Piece::Recording, archived.clone())))
                    .await?;
                notes.recording_url = Some(archived.reference);
                if lacking.is_empty() {
                    if known.content != Some(as_written) {
                        return Err(written_meanwhile());
                    }
                    match self.write(crm, &notes, &pieces, work.deadline).await? {
                        Written::Wrote(since) => (did_write, known) = (true, *since),
                        Written::Same => {}
                        Written::Poorer(_) => return Err(written_meanwhile()),
                    }
                }
            }
            Recording::Unreadable(why) => decision = decision.with("recording", why),
            Recording::AsBefore => {}
        }
        if let Some(failure) = pending {
            return Err(failure);
        }
        if !known.archived.is_empty() {
            let references = known.archived.iter();
            let references: Map<String, Value> = references
                .map(|(piece, archived)| (piece.name().to_owned(), archived.reference.clone().into()))
                .collect();
            decision = decision.with("archived", references);
        }
        let became = known.became.clone().unwrap_or_default();
        let decided = if lacking.is_empty() {
            self.deal_with(id).await?;
            if did_write {
                Decision::logged("known contact", became)
            } else {
                Decision::merged("the CRM has it already", became)
            }
        } else {
            decision = decision.with("kept", names(&lacking));
            if pieces.is_subset(&known.written) {
                self.deal_with(id).await?;
                Decision::merged("the CRM has more than Nylas has now: it stays as it is", became)
            } else {
                // Reconcile tries again, as long as Nylas keeps the files.
                let reason = "what the CRM has of it cannot be had again, so that nothing new is written over it";
                Decision::held(reason).with("new", names(&pieces.difference(&known.written).copied().collect()))
            }
        };
        let facts = decision.facts.into_iter().chain(decided.facts.clone()).collect();
        Ok(Decision { facts, ..decided })
    }

    /// Remembers that the files that are there were dealt with: reconcile need not.
    async fn deal_with(&self, id: &str) -> Result<Known, Failure> {
        self.notetakers().change(id, |known| known.dealt_with = true).await
    }
}

/// What is in the way once somebody else wrote the record after its words and before its recording.
fn written_meanwhile() -> Failure {
    let what = "another worker wrote the record of this notetaker meanwhile".to_owned();
    Failure::Untried { class: "notetaker.changed", what, retry_after: Duration::from_secs(1) }
}

/// What the rules went by.
fn described<N>(meeting: &Meeting, gathered: &Gathered, files: &Files<'_, N>) -> Decision {
    let matched = &meeting.matched;
    let unreadable: serde_json::Map<String, serde_json::Value> =
        gathered.unreadable.iter().map(|(piece, why)| (piece.name().to_owned(), why.clone().into())).collect();
    let mut decision = Decision::done("")
        .with("found_by", meeting.found.by)
        .with("external_event_id", meeting.found.external_event_id.clone())
        .with("links", if gathered.renewed { "made anew" } else { "of the notification" })
        .with("contact_ids", matched.contact_ids.clone())
        .with("deal_id", matched.deal.deal_id())
        .with("deal_rule", matched.deal.rule)
        .with("deals_rejected", matched.deal.rejected_to_json())
        .with("unmatched", texts(&matched.unmatched));
    if !unreadable.is_empty() {
        decision = decision.with("unreadable", unreadable);
    }
    if let Some(errors) =
        files.media.errors.as_ref().and_then(|errors| errors.as_array()).filter(|list| !list.is_empty())
    {
        decision = decision.with("not_made_by_nylas", errors.len());
    }
    decision
}

fn names(pieces: &BTreeSet<Piece>) -> Vec<&'static str> {
    pieces.iter().map(|piece| piece.name()).collect()
}

fn texts(addresses: &[EmailAddress]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}
