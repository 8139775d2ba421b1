//! Sends one mail, once. Nylas remembers an idempotency key for an hour; beyond that, and wherever its answer leaves open
//! whether the mail was sent, the sent mail is searched for its label first.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::time::Duration;

use shared::alerts::{escaped, tell};
use shared::domain::digest::sha256_hex;
use shared::domain::failure::Failure;
use shared::domain::link::{Link, LinkKey, LinkState, Version};
use shared::domain::own_mail::LOOP_HEADER;
use shared::engine::{Links as _, Work};
use shared::nylas::sending::SendError;

use crate::apply::{Moment, mail_sent};
use crate::customer::{Customer, Mail, Page, Progress, Todo, digest_of};
use crate::hold::Hold;
use crate::mail::{MOST_LINKS, Rendered, Words, call_in, known_zone, zone_of};
use crate::page::{address_of, new_slug};
use crate::ports::{Correspond as _, Ports};
use crate::process::Onboarding;
use crate::step::{MailKind, Step};
use crate::table::Standing;
use crate::tasks::refusal;
use crate::turns::later;

/// The header that leads from a mail back to its customer where tracking does not.
pub const LABEL_HEADER: &str = "X-Crm-Autopilot-Label";

/// Nylas remembers a key for an hour; what is asked again after this is first looked for.
const KEY_HOLDS: SignedDuration = SignedDuration::from_mins(55);

/// When a key is surely forgotten.
const KEY_ENDS: SignedDuration = SignedDuration::from_mins(61);

/// How long to wait where Nylas takes no more mail and does not say for how long.
const THROTTLED_FOR: SignedDuration = SignedDuration::from_secs(60);

/// When a mail is offered again whose sending came to nothing: after as long as it was offered in vain, within these.
const OFFERED_AGAIN: (SignedDuration, SignedDuration) = (SignedDuration::from_secs(5), SignedDuration::from_mins(30));

/// For how long a mail is offered again that Nylas does not take.
const OFFERED_FOR: SignedDuration = SignedDuration::from_hours(4 * 24);

/// How far back a mail is looked for at least.
const LOOKED_BACK: SignedDuration = SignedDuration::from_hours(14 * 24);

/// A wait for a turn that is longer than this is no trying.
const TURN_IS_FAR: SignedDuration = SignedDuration::from_hours(1);

/// How long the mailbox is given to show a mail whose request was cut off. Nylas forgets the key of such a request, and the
/// provider may still be at it.
const SHOWN_WITHIN: SignedDuration = SignedDuration::from_mins(3);

/// Less time than this is not enough to offer a mail and learn what came of it.
const TIME_TO_OFFER: Duration = Duration::from_secs(10);

/// How many lists of booking pages are looked through for one.
const MOST_LISTS: usize = 10;

/// What comes of a try.
enum Outcome {
    /// It was sent then, as this message where that is known.
    Sent(Timestamp, Option<String>),
    /// Not before then, and why.
    Later(Timestamp, &'static str),
    /// Once more, without tracking.
    Untracked,
}

/// What looking for a booking page came to.
#[derive(PartialEq, Eq)]
enum Found {
    /// It is there, under this id.
    Page(String),
    /// It is not there.
    Nowhere,
    /// There are too many to look through all.
    Unknown,
}

impl<P: Ports> Onboarding<'_, P> {
    /// Sends a mail, or has it wait. Never by the message's own back-off where Nylas is the cause: the customer's other news
    /// must pass.
    pub(crate) async fn send(&self, step: Step, hold: &mut Hold<'_, P::Documents>, work: &Work) -> Result<(), Failure> {
        match self.try_to_send(step, hold, work).await {
            Err(Failure::Transient { class, what, retry_after }) if class.starts_with("nylas.") => {
                let (now, name) = (self.ports.clock.now(), step.to_string());
                let since = hold.customer.mails.get(&name).and_then(|mail| mail.offered_since).unwrap_or(now);
                let (shortest, longest) = OFFERED_AGAIN;
                let asked = retry_after.and_then(|wait| SignedDuration::try_from(wait).ok());
                let wait = asked.unwrap_or_else(|| now.duration_since(since).min(longest)).max(shortest);
                self.offer_again(&name, hold, later(now, wait), &what).await
            }
            other => other,
        }
    }

    /// Has a mail wait that Nylas does not take, unless it has done so for too long.
    async fn offer_again(
        &self,
        name: &str,
        hold: &mut Hold<'_, P::Documents>,
        until: Timestamp,
        why: &str,
    ) -> Result<(), Failure> {
        let now = self.ports.clock.now();
        let since = hold.customer.mails.get(name).and_then(|mail| mail.offered_since).unwrap_or(now);
        if now.duration_since(since) < OFFERED_FOR {
            return self.wait(name, hold, until, Some(since)).await;
        }
        let what = format!(
            "the mail `{name}` could not be sent for four days; the last time: {why}. Look at the account's limits and its provider, then redrive the message"
        );
        // A redriven message begins anew.
        hold.update(|customer| change_open(customer, name, |mail| mail.offered_since = None)).await?;
        Err(Failure::permanent("onboarding.not_taken", what))
    }

    async fn try_to_send(&self, step: Step, hold: &mut Hold<'_, P::Documents>, work: &Work) -> Result<(), Failure> {
        let name = step.to_string();
        let done = Todo::Mail { step: name.clone() };
        let Some(mail) = hold.customer.mails.get(&name).cloned().filter(Mail::is_open) else {
            return hold.update(|customer| customer.finish(&done)).await;
        };
        // Asked for before, so that its sending may have come to something. Not beyond the hour of its key alone: Nylas may
        // forget a key whose caller is gone (Nylas changelog of 2026-09-28), and then the mailbox alone knows.
        if let Some(since) = mail.key_since
            && let Some(id) = self.look_for(step, &hold.customer, work).await?
        {
            return self.record_sent(step, hold, since, Some(id)).await;
        }
        if let Some(why) = forbidden(&hold.customer, &name) {
            return self.drop_mail(&name, &why, hold).await;
        }
        let booking_url = if needs_page(step.kind) { self.page(hold, work).await? } else { String::new() };
        let rendered = self.render(step, &hold.customer, &mail, &booking_url)?;
        self.refuse_too_many_links(step, &rendered, work).await?;
        in_time(work)?;
        if mail.progress == Progress::Wanted {
            let zone = known_zone(&hold.customer);
            let hours = self.settings.hours.as_ref().zip(zone.as_ref());
            let (waited, now) = (mail.until.is_some(), self.ports.clock.now());
            let turn = self.turns.ask(self.ports.documents, step.kind.class(), waited, hours, now).await?;
            if let Some(until) = turn {
                return self.wait(&name, hold, until, None).await;
            }
        }
        let mut untracked = mail.untracked;
        loop {
            in_time(work)?;
            let now = self.ports.clock.now();
            let holds = |since: &Timestamp| now.duration_since(*since) < KEY_HOLDS && untracked == mail.untracked;
            let key_since = mail.key_since.filter(holds).unwrap_or(now);
            let begin = |customer: &mut Customer| {
                change_open(customer, &name, |mail| {
                    mail.progress = Progress::Sending;
                    mail.key_since = Some(key_since);
                    mail.untracked = untracked;
                    mail.links = rendered.pages();
                });
            };
            hold.update(begin).await?;
            // Somebody's news may have come in between: it is called back, or known to be sent.
            let is_being_sent = hold.customer.mails.get(&name).is_some_and(|mail| mail.progress == Progress::Sending);
            if !is_being_sent {
                return hold.update(|customer| customer.finish(&done)).await;
            }
            if let Some(why) = forbidden(&hold.customer, &name) {
                return self.drop_mail(&name, &why, hold).await;
            }
            match self.offer(step, hold, &rendered, key_since, work).await? {
                Outcome::Sent(at, id) => return self.record_sent(step, hold, at, id).await,
                Outcome::Later(until, why) => return self.offer_again(&name, hold, until, why).await,
                Outcome::Untracked => untracked = true,
            }
        }
    }

    /// A mail will not be sent.
    async fn drop_mail(&self, name: &str, why: &str, hold: &mut Hold<'_, P::Documents>) -> Result<(), Failure> {
        let drop = |customer: &mut Customer| {
            change_open(customer, name, |mail| {
                mail.progress = Progress::Dropped;
                mail.why = Some(why.to_owned());
            });
            customer.finish(&Todo::Mail { step: name.to_owned() });
        };
        hold.update(drop).await
    }

    /// Has a mail wait: a schedule of its own brings it back. `offered_since` is set while Nylas does not take it.
    async fn wait(
        &self,
        name: &str,
        hold: &mut Hold<'_, P::Documents>,
        until: Timestamp,
        offered_since: Option<Timestamp>,
    ) -> Result<(), Failure> {
        let now = self.ports.clock.now();
        let change = |customer: &mut Customer| {
            let by = asked_by(customer, name);
            let mut waits = false;
            change_open(customer, name, |mail| {
                mail.progress = Progress::Waiting;
                mail.until = Some(until);
                // Who waits for a turn for long begins anew.
                let is_turn_far = until.duration_since(now) > TURN_IS_FAR;
                mail.offered_since = offered_since.or(mail.offered_since.filter(|_| !is_turn_far));
                waits = true;
            });
            customer.finish(&Todo::Mail { step: name.to_owned() });
            if waits {
                customer.add(Todo::WakeMail { step: name.to_owned(), at: until }, &by);
            }
        };
        hold.update(change).await
    }

    /// Offers a mail to Nylas.
    async fn offer(
        &self,
        step: Step,
        hold: &mut Hold<'_, P::Documents>,
        rendered: &Rendered,
        key_since: Timestamp,
        work: &Work,
    ) -> Result<Outcome, Failure> {
        let customer = &hold.customer;
        let untracked = customer.mails.get(&step.to_string()).is_some_and(|mail| mail.untracked);
        let content = self.content(step, customer, rendered, untracked, work).await?;
        let key = self.idempotency_key(step, customer, untracked);
        let sent = self.ports.nylas.send_mail(&self.settings.grant, &content, &key, work.deadline).await;
        let now = self.ports.clock.now();
        let key_ends = later(key_since, KEY_ENDS);
        match sent {
            Ok(receipt) => Ok(Outcome::Sent(now, receipt.message_id)),
            // What Nylas remembers of an earlier try is no news: the mailbox was looked into, and the key has to end.
            Err(SendError::Remembered(_)) => Ok(Outcome::Later(key_ends, "an earlier answer stands")),
            Err(SendError::KeyUsed) => Ok(Outcome::Later(key_ends, "the key stands for other content")),
            Err(SendError::Throttled { retry_after }) => {
                let wait = retry_after.and_then(|wait| SignedDuration::try_from(wait).ok()).unwrap_or(THROTTLED_FOR);
                let until = later(now, wait.max(SignedDuration::from_secs(1)));
                self.turns.pause(self.ports.documents, until, now).await?;
                Ok(Outcome::Later(until, "too many mails"))
            }
            Err(SendError::TrackingRefused(why)) if !untracked => {
                self.note("tracking-refused", self.settings.grant.as_str(), &why).await?;
                Ok(Outcome::Untracked)
            }
            Err(SendError::LinkRefused(why)) => {
                let text = format!(
                    "The mail “{step}” of the onboarding is not sent to anybody: Nylas refuses one of its links. Its words: {}. Links of the mail: {}. Mend the template or the parameter that holds the link, deploy, and redrive the dead letters.",
                    escaped(&why),
                    rendered.links().join(", ")
                );
                let hosts: Vec<String> = rendered.links().into_iter().filter_map(host_of).collect();
                let refused: Vec<&str> = hosts.iter().map(String::as_str).filter(|host| why.contains(host)).collect();
                self.tell_once(&format!("{}/{}", step.kind.name(), refused.join(",")), &text, work).await?;
                Err(Failure::permanent("nylas.mail_refused", why))
            }
            Err(SendError::CutOff(_)) => Ok(Outcome::Later(later(now, SHOWN_WITHIN), "Nylas did not answer in time")),
            Err(error) => Err(error.into()),
        }
    }

    async fn record_sent(
        &self,
        step: Step,
        hold: &mut Hold<'_, P::Documents>,
        at: Timestamp,
        id: Option<String>,
    ) -> Result<(), Failure> {
        let now = self.ports.clock.now();
        let delays = &self.settings.delays;
        let (name, run) = (step.to_string(), hold.customer.run);
        let sent = |customer: &mut Customer| {
            if customer.run != run {
                return;
            }
            let by = asked_by(customer, &name);
            mail_sent(customer, step, at, id.as_deref(), Moment { now, by: &by, delays });
            customer.finish(&Todo::Mail { step: name.clone() });
        };
        hold.update(sent).await
    }

    /// Looks for a mail among those sent to the customer: by its tracking label, then by its header.
    async fn look_for(&self, step: Step, customer: &Customer, work: &Work) -> Result<Option<String>, Failure> {
        let label = customer.label(step).to_string();
        let now = self.ports.clock.now();
        let asked_since = customer.mails.get(&step.to_string()).and_then(|mail| mail.key_since).unwrap_or(now);
        let since = now.min(asked_since).checked_sub(LOOKED_BACK).unwrap_or(now).as_second();
        for fields in ["include_tracking_options", "include_headers"] {
            let nylas = self.ports.nylas;
            let mails = nylas.mails_to(&self.settings.grant, &customer.email, since, fields, work.deadline).await?;
            if let Some(found) = mails.into_iter().find(|mail| mail.bears(&label, LABEL_HEADER)) {
                return Ok(Some(found.id));
            }
        }
        Ok(None)
    }

    /// The key of a mail: one for each step of each run, of this deployment.
    fn idempotency_key(&self, step: Step, customer: &Customer, untracked: bool) -> String {
        let label = customer.label(step).to_string();
        let key = sha256_hex(&[b"onboarding:", self.settings.loop_id.as_str().as_bytes(), b"/", label.as_bytes()]);
        // Without tracking it is another request, which Nylas would refuse under the key of the first; that one was
        // refused, and so nothing was sent under it.
        if untracked { format!("{key}.untracked") } else { key }
    }

    async fn content(
        &self,
        step: Step,
        customer: &Customer,
        rendered: &Rendered,
        untracked: bool,
        work: &Work,
    ) -> Result<Value, Failure> {
        let label = customer.label(step).to_string();
        let mut headers = vec![
            json!({ "name": LOOP_HEADER, "value": self.settings.loop_id.as_str() }),
            json!({ "name": LABEL_HEADER, "value": label }),
            json!({ "name": "X-Auto-Response-Suppress", "value": "OOF, AutoReply" }),
        ];
        if self.takes_any_header(work).await? {
            headers.push(json!({ "name": "Auto-Submitted", "value": "auto-generated" }));
        }
        let mut content = json!({
            "from": [{ "name": self.settings.product, "email": self.settings.sender.as_str() }],
            "to": [{ "name": crate::mail::one_line(&customer.name), "email": customer.email }],
            "subject": rendered.subject,
            "body": rendered.body,
            "custom_headers": headers,
        });
        if !untracked {
            content["tracking_options"] =
                json!({ "opens": true, "links": true, "thread_replies": true, "label": label });
        }
        Ok(content)
    }

    /// False for Microsoft, which takes headers of one's own only if their names begin with `X-` (Microsoft Graph,
    /// `internetMessageHeaders`).
    async fn takes_any_header(&self, work: &Work) -> Result<bool, Failure> {
        let ask = || self.ports.nylas.provider(&self.settings.grant, work.deadline);
        let provider = self.provider.get_or_try_init(ask).await?;
        Ok(provider.as_deref().is_some_and(|provider| provider != "microsoft"))
    }

    fn render(&self, step: Step, customer: &Customer, mail: &Mail, booking_url: &str) -> Result<Rendered, Failure> {
        let (team, _) = &self.settings.team_zone;
        let booking = mail.booking.as_ref().and_then(|id| customer.bookings.get(id));
        let call = booking.map(|booking| call_in(booking, &zone_of(customer, team)));
        let words = Words { booking_url, call, ..self.words(customer) };
        let rendered = self.settings.templates.render(step.kind, &words);
        rendered.map_err(|error| Failure::permanent("onboarding.template", error.to_string()))
    }

    async fn refuse_too_many_links(&self, step: Step, rendered: &Rendered, work: &Work) -> Result<(), Failure> {
        let links = rendered.links();
        let Some(first) = links.get(MOST_LINKS) else { return Ok(()) };
        let text = format!(
            "The mail “{step}” of the onboarding is not sent to anybody: it holds {} links, and Nylas tracks {MOST_LINKS} at most. The first one too many is {first}. Shorten the template, deploy, and redrive the dead letters.",
            links.len()
        );
        self.tell_once(&format!("{step}/too many links"), &text, work).await?;
        let what = format!("the mail `{step}` holds {} links; Nylas tracks {MOST_LINKS} at most", links.len());
        Err(Failure::permanent("onboarding.too_many_links", what))
    }

    /// The address of the customer's booking page, which is made if it is not there.
    async fn page(&self, hold: &mut Hold<'_, P::Documents>, work: &Work) -> Result<String, Failure> {
        let run = hold.customer.run;
        let standing = hold.customer.page.clone();
        let begun = standing.is_some();
        let page = standing.unwrap_or_else(|| Page { slug: new_slug(), configuration_id: None });
        let address_of = |slug: &str, customer: &Customer| {
            address_of(&self.settings.page_base, slug, self.settings.loop_id.as_str(), customer)
        };
        if page.configuration_id.is_some() {
            return Ok(address_of(&page.slug, &hold.customer));
        }
        let keep = |page: Page| {
            move |customer: &mut Customer| {
                if customer.run == run {
                    customer.page = Some(page.clone());
                }
            }
        };
        let found = if begun { self.find_page(&page.slug, work).await? } else { Found::Nowhere };
        // One that may lie among thousands is left there: nobody was given its address.
        let is_left = found == Found::Unknown;
        let page = if is_left { Page { slug: new_slug(), configuration_id: None } } else { page };
        let address = address_of(&page.slug, &hold.customer);
        // Said before it is done, so that whoever comes after a crash looks for it.
        if !begun || is_left {
            hold.update(keep(page.clone())).await?;
        }
        let id = match found {
            Found::Page(id) => id,
            Found::Nowhere | Found::Unknown => self.make_page(&page.slug, &hold.customer, work).await?,
        };
        // Before the mail: whoever books finds the customer by it.
        self.remember("configuration", &id, &hold.customer.email).await?;
        hold.update(keep(Page { configuration_id: Some(id), ..page })).await?;
        Ok(address)
    }

    async fn make_page(&self, slug: &str, customer: &Customer, work: &Work) -> Result<String, Failure> {
        let organizer = (self.settings.product.as_str(), self.settings.sender.as_str());
        let (_, zone) = &self.settings.team_zone;
        let wanted = self.settings.page.configuration(
            customer,
            slug,
            organizer,
            zone,
            (self.settings.loop_id.as_str(), &self.words(customer)),
        );
        let wanted = wanted.map_err(|error| Failure::permanent("onboarding.template", error.to_string()))?;
        let made = self.ports.nylas.create_configuration(&self.settings.grant, &wanted, work.deadline).await;
        let why = match made {
            Ok(made) => return Ok(made.id),
            Err(error) => refusal(error)?,
        };
        // A page of this address may be there: made by a request whose answer was lost.
        if let Found::Page(id) = self.find_page(slug, work).await? {
            return Ok(id);
        }
        let text = format!(
            "Nobody can be welcomed: Nylas refuses to make the booking page. Its words: {}. Mend scheduler.toml or the parameters OnboardingEmail and TeamTimeZone, deploy, and redrive the dead letters.",
            escaped(&why)
        );
        self.tell_once("page", &text, work).await?;
        Err(Failure::permanent("onboarding.page_refused", why))
    }

    /// Looks for the booking page of this address among those that there are.
    async fn find_page(&self, slug: &str, work: &Work) -> Result<Found, Failure> {
        let mut next: Option<String> = None;
        for _ in 0..MOST_LISTS {
            let nylas = self.ports.nylas;
            let page = nylas.configurations(&self.settings.grant, next.as_deref(), work.deadline).await?;
            if let Some(found) = page.items.into_iter().find(|one| one.slug.as_deref() == Some(slug)) {
                return Ok(Found::Page(found.id));
            }
            next = page.next;
            if next.is_none() {
                return Ok(Found::Nowhere);
            }
        }
        Ok(Found::Unknown)
    }

    /// Tells people of something that stands in the way of many customers, once.
    async fn tell_once(&self, what: &str, text: &str, work: &Work) -> Result<(), Failure> {
        let key = digest_of(what);
        if self.ports.links.get(&LinkKey::new("told", &key)).await?.is_some() {
            return Ok(());
        }
        tell(self.ports.alerts, text, work, self.ports.clock.now()).await?;
        self.note("told", &key, text).await
    }

    /// Notes something that others look for, such as `doctor`. It ends by itself.
    async fn note(&self, kind: &str, key: &str, text: &str) -> Result<(), Failure> {
        let link = Link {
            key: LinkKey::new(kind, key),
            state: LinkState::Note,
            version: Version::default(),
            content: None,
            facts: [("text".to_owned(), Value::from(text))].into_iter().collect(),
        };
        self.ports.links.put(&link, None, self.ports.clock.now()).await?;
        Ok(())
    }
}

/// Why a mail is not sent, if so.
fn forbidden(customer: &Customer, name: &str) -> Option<String> {
    if customer.bounced.is_some() {
        Some("mail to the address came back".to_owned())
    } else if customer.standing == Standing::Onboarded {
        Some("the customer is onboarded".to_owned())
    } else {
        // Called back while its sending was open.
        customer.mails.get(name).and_then(|mail| mail.why.clone())
    }
}

/// Nothing is offered whose answer would come too late: the request would be cut off, and what came of it be open.
fn in_time(work: &Work) -> Result<(), Failure> {
    if work.deadline.left() >= TIME_TO_OFFER {
        return Ok(());
    }
    let what = "too little time is left to send a mail and learn what came of it".to_owned();
    Err(Failure::Untried { class: "onboarding.out_of_time", what, retry_after: Duration::from_secs(1) })
}

fn host_of(link: &str) -> Option<String> {
    url::Url::parse(link).ok()?.host_str().map(str::to_owned)
}

fn needs_page(kind: MailKind) -> bool {
    matches!(kind, MailKind::Welcome | MailKind::FollowUp | MailKind::Nudge)
}

/// Changes a mail of which nobody has learnt meanwhile that it is sent, or that it shall not be.
fn change_open(customer: &mut Customer, name: &str, change: impl FnOnce(&mut Mail)) {
    if let Some(mail) = customer.mails.get_mut(name)
        && mail.is_open()
    {
        change(mail);
    }
}

/// The message that asked for a mail, as a digest of its id.
fn asked_by(customer: &Customer, name: &str) -> String {
    let task = customer.todo.iter().find(|task| matches!(&task.what, Todo::Mail { step } if step == name));
    task.map(|task| task.by.clone()).unwrap_or_default()
}
