//! Goes through all that the stack holds, place by place and page by page, for as long as there is time, and does with each
//! thing what is to be done.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use shared::domain::media::{MEDIA_PREFIX, media_key};
use shared::domain::notification::{NotificationId, content_digest};
use shared::domain::pointer::{BODIES_PREFIX, BodyPointer};
use shared::engine::{Deadline, LeaseKey, StoreError};

use super::held::{Held, LETTER_QUEUES, Letter, LetterQueue, Written};
use super::person::Person;
use super::tally::{Done, Tally};
use super::treat::{KnownAs, Table, Treatment, made_at_nylas, meeting_attended, shown, treat};

/// How often an item that others write at the same time is looked at again.
const MOST_RACES: usize = 5;

/// The prefix of the files that people have put in place.
const SETTINGS_PREFIX: &str = "settings/";

/// The beginning of the names of recordings: they are not read, they go with the texts.
const RECORDING: &str = "recording.";

/// A part of what the stack holds. They are gone through in this order: what could bring the person back first, and letters
/// before the bodies that they point to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// One-time schedules.
    Schedules,
    /// The onboarding table.
    Customers,
    /// The links table.
    Links,
    /// The dedup table.
    Decisions,
    /// The dead-letter queues and the unroutable queue.
    Letters,
    /// Bodies in the archive bucket.
    Bodies,
    /// Files of meetings in the archive bucket.
    Media,
}

impl Part {
    const ALL: [Self; 7] =
        [Self::Schedules, Self::Customers, Self::Links, Self::Decisions, Self::Letters, Self::Bodies, Self::Media];

    /// Its name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Schedules => "the schedules",
            Self::Customers => "the customers",
            Self::Links => "the links",
            Self::Decisions => "the decisions",
            Self::Letters => "the dead letters",
            Self::Bodies => "the archived bodies",
            Self::Media => "the files of meetings",
        }
    }
}

/// Where going through ended, and goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// In which part.
    pub part: Part,
    /// After what within it; none for its beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// How going through ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// Everything was looked at.
    Through,
    /// Time was up.
    TimeIsUp(Place),
    /// Something did not answer.
    Broken(Place, StoreError),
}

/// What goes through.
pub struct Walk<'a, H> {
    /// What the stack holds.
    pub held: &'a H,
    /// Who is to be forgotten.
    pub person: &'a Person,
    /// What is known of the person beside the address.
    pub known_as: &'a KnownAs,
    /// True if nothing is to be changed.
    pub dry_run: bool,
    /// The time now.
    pub now: Timestamp,
    /// Until when nothing new is begun.
    pub deadline: Deadline,
    /// What was found.
    pub tally: Tally,
    /// How many things others are at work on; they were left as they are.
    pub at_work: u64,
}

impl<H: Held> Walk<'_, H> {
    /// Goes on from a place, or from the beginning.
    pub async fn go_on(&mut self, from: Option<Place>) -> Ended {
        let first = from.as_ref().map_or(Part::Schedules, |place| place.part);
        let mut after = from.and_then(|place| place.after);
        for part in Part::ALL.into_iter().filter(|part| *part >= first) {
            loop {
                if self.deadline.left().is_zero() {
                    return Ended::TimeIsUp(Place { part, after });
                }
                match self.page(part, after.as_deref()).await {
                    Ok(Some(next)) => after = Some(next),
                    Ok(None) => break,
                    Err(problem) => return Ended::Broken(Place { part, after }, problem),
                }
            }
            after = None;
        }
        Ended::Through
    }

    /// Looks at some things of a part, and answers after what it goes on; none at its end.
    async fn page(&mut self, part: Part, after: Option<&str>) -> Result<Option<String>, StoreError> {
        match part {
            Part::Schedules => self.schedules(after).await,
            Part::Customers => self.items(Table::Customers, after).await,
            Part::Links => self.items(Table::Links, after).await,
            Part::Decisions => self.items(Table::Decisions, after).await,
            Part::Letters => self.letters(after).await,
            Part::Bodies => self.bodies(after).await,
            Part::Media => self.media(after).await,
        }
    }

    fn found(&mut self, place: &'static str, done: Done, id: &str) {
        let id = shown(id, self.person);
        self.tally.add(place, done, id);
    }

    async fn schedules(&mut self, after: Option<&str>) -> Result<Option<String>, StoreError> {
        let page = self.held.schedules(after).await?;
        for schedule in page.schedules {
            if self.person.is_named_in(&schedule.input) || self.person.is_named_in(&schedule.name) {
                if !self.dry_run {
                    self.held.remove_schedule(&schedule.name).await?;
                }
                self.found("schedules", Done::Deleted, &schedule.name);
            }
        }
        Ok(page.next)
    }

    async fn items(&mut self, table: Table, after: Option<&str>) -> Result<Option<String>, StoreError> {
        let page = self.held.items(table, after).await?;
        for item in page.items {
            self.item(table, item).await?;
        }
        Ok(page.next)
    }

    /// Does with an item what is to be done, and once more with what others have made of it meanwhile.
    async fn item(&mut self, table: Table, mut item: Map<String, Value>) -> Result<(), StoreError> {
        for _ in 0..MOST_RACES {
            let treatment = treat(table, &item, self.person, self.known_as);
            let done = match treatment {
                Treatment::Leave => return Ok(()),
                Treatment::Remove => Done::Deleted,
                Treatment::Rewrite { .. } => Done::Rewritten,
            };
            if table == Table::Customers && done == Done::Deleted && is_at_work(&item, self.now) {
                // Taken away now, the customer would be made anew by whoever is at it.
                break;
            }
            let written = match treatment {
                _ if self.dry_run => Written::Done,
                Treatment::Leave => return Ok(()),
                Treatment::Remove => self.held.remove_item(table, &item).await?,
                Treatment::Rewrite { mut set, unset } => {
                    if let Some(revision) = item.get("revision").and_then(Value::as_u64) {
                        set.insert("revision".to_owned(), (revision + 1).into());
                    }
                    self.held.rewrite_item(table, &item, &set, &unset).await?
                }
            };
            match written {
                Written::Done => {
                    self.tell_of(table, &item);
                    let key = item.get(table.key()).and_then(Value::as_str).unwrap_or_default();
                    self.found(table.name(), done, key);
                    return Ok(());
                }
                Written::Raced(Some(now)) => item = now,
                Written::Raced(None) => return Ok(()),
            }
        }
        self.at_work += 1;
        Ok(())
    }

    /// Tells what an item that is no longer to name the person knew of other places.
    fn tell_of(&mut self, table: Table, item: &Map<String, Value>) {
        if table == Table::Customers {
            for made in made_at_nylas(item) {
                self.found("made at Nylas", Done::Told, &made);
            }
        }
        let attended = (table == Table::Decisions).then(|| meeting_attended(item, self.person)).flatten();
        if let Some((grant, notetaker)) = attended {
            let folder = media_key(Some(grant).filter(|grant| *grant != "none"), notetaker, "");
            // The last segment stands for a file.
            self.found("meetings the person was at", Done::Told, folder.trim_end_matches('_'));
        }
    }

    /// The letters of the queue that comes after the named one.
    async fn letters(&mut self, after: Option<&str>) -> Result<Option<String>, StoreError> {
        let done = after.map_or(0, |after| {
            LETTER_QUEUES.iter().position(|queue| queue.resource == after).map_or(0, |place| place + 1)
        });
        let Some(queue) = LETTER_QUEUES.get(done).copied() else { return Ok(None) };
        let mut kept = Vec::new();
        loop {
            if self.deadline.left().is_zero() {
                // Those that were looked at stay hidden for a while, so that the next go finds the others.
                return Ok(Some(after.unwrap_or_default().to_owned()));
            }
            let letters = self.held.letters(queue).await?;
            if letters.is_empty() {
                break;
            }
            for letter in letters {
                if !self.is_about_the_person(&letter).await? {
                    kept.push(letter);
                    continue;
                }
                let id = letter.attribute("notification_id").unwrap_or(&letter.id).to_owned();
                self.found(queue.name, Done::Deleted, &id);
                if self.dry_run {
                    kept.push(letter);
                } else {
                    self.remove_letter(queue, &letter).await?;
                }
            }
        }
        self.held.give_back(queue, &kept).await?;
        Ok(Some(queue.resource.to_owned()))
    }

    async fn is_about_the_person(&self, letter: &Letter) -> Result<bool, StoreError> {
        if self.person.is_named_in(&letter.body)
            || letter.attributes.iter().any(|(_, value)| self.person.is_named_in(value))
        {
            return Ok(true);
        }
        let Some(pointer) = BodyPointer::parse(&letter.body) else { return Ok(false) };
        self.is_named_in_object(&pointer.key).await
    }

    async fn remove_letter(&self, queue: LetterQueue, letter: &Letter) -> Result<(), StoreError> {
        self.held.remove_letter(queue, letter).await?;
        let notification = letter.attribute("notification_id").and_then(NotificationId::parse);
        let (Some(function), Some(notification)) = (letter.attribute("function"), notification) else {
            return Ok(());
        };
        let record = LeaseKey::new(function, &notification);
        self.held.lies_no_longer(&record).await?;
        // An id that had been seen with other content has a record of its own.
        self.held.lies_no_longer(&record.with_content(&content_digest(&letter.body))).await
    }

    async fn is_named_in_object(&self, key: &str) -> Result<bool, StoreError> {
        let content = self.held.object(key).await?;
        Ok(content.is_some_and(|content| self.person.is_named_in(&String::from_utf8_lossy(&content))))
    }

    async fn bodies(&mut self, after: Option<&str>) -> Result<Option<String>, StoreError> {
        let page = self.held.objects(BODIES_PREFIX, after).await?;
        for key in &page.keys {
            if self.is_named_in_object(key).await? {
                if !self.dry_run {
                    self.held.remove_object(key).await?;
                }
                self.found("archived bodies", Done::Deleted, key);
            }
        }
        Ok(page.keys.last().filter(|_| page.more).cloned())
    }

    /// Files of meetings: where one of the texts names the person, all files of the meeting go.
    async fn media(&mut self, after: Option<&str>) -> Result<Option<String>, StoreError> {
        let page = self.held.objects(MEDIA_PREFIX, after).await?;
        let mut gone: Option<&str> = None;
        for key in &page.keys {
            let Some((folder, file)) = key.rsplit_once('/') else { continue };
            if gone == Some(folder) || file.starts_with(RECORDING) || !self.is_named_in_object(key).await? {
                continue;
            }
            gone = Some(folder);
            self.remove_folder(folder).await?;
        }
        Ok(page.keys.last().filter(|_| page.more).cloned())
    }

    async fn remove_folder(&mut self, folder: &str) -> Result<(), StoreError> {
        let prefix = format!("{folder}/");
        let mut after: Option<String> = None;
        loop {
            let page = self.held.objects(&prefix, after.as_deref()).await?;
            for key in &page.keys {
                if !self.dry_run {
                    self.held.remove_object(key).await?;
                }
                self.found("files of meetings", Done::Deleted, key);
            }
            after = page.keys.last().filter(|_| page.more).cloned();
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Tells which of the files that people have put in place name the person.
    ///
    /// # Errors
    /// If the bucket does not answer.
    pub async fn settings(&mut self) -> Result<(), StoreError> {
        for key in self.held.objects(SETTINGS_PREFIX, None).await?.keys {
            if self.is_named_in_object(&key).await? {
                self.found("files of your own", Done::Told, &key);
            }
        }
        Ok(())
    }
}

/// True while somebody works on a customer.
fn is_at_work(customer: &Map<String, Value>, now: Timestamp) -> bool {
    let until = customer.get("at_work").and_then(|at_work| at_work["until"].as_str());
    until.and_then(|until| until.parse::<Timestamp>().ok()).is_some_and(|until| until > now)
}
