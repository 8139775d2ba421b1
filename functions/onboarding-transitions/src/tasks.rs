//! Does what is to be done about a customer, one thing after another, each recorded before the next.

use jiff::Timestamp;
use serde_json::{Value, json};

use shared::alerts::{escaped, tell};
use shared::domain::failure::Failure;
use shared::domain::notification::NotificationId;
use shared::domain::own_mail::LOOP_METADATA;
use shared::domain::queue_message::{GroupId, deduplication_id};
use shared::engine::RemoveTimers as _;
use shared::engine::job::{arm, timer_name};
use shared::engine::{OwnMessage, Timer, Work};
use shared::nylas::NylasError;

use crate::FUNCTION;
use crate::apply::{REMINDED_BEFORE, reminder_stands};
use crate::customer::{About, Booking, Customer, Reminder, Task, Todo, key_of};
use crate::hold::{BUSY, Hold};
use crate::mail::{Words, call_in, fill_in, first_name, in_words};
use crate::ports::{Correspond as _, Ports};
use crate::process::{EVIDENCE, MAIL, Onboarding, StepJob, TIMER, TimerJob, step_of};
use crate::table::TimerKind;

impl<P: Ports> Onboarding<'_, P> {
    /// Does what is to be done. What can never be done is marked so; the message that asked for it fails, and the rest is
    /// done all the same.
    pub(crate) async fn carry_out(
        &self,
        hold: &mut Hold<'_, P::Documents>,
        by: &str,
        work: &Work,
    ) -> Result<(), Failure> {
        let (mut refused, mut put_off) = (None, None);
        let mut tried: Vec<Todo> = Vec::new();
        loop {
            let next = |task: &&Task| task.refused.is_none() && !tried.contains(&task.what);
            let Some(task) = hold.customer.todo.iter().find(next).cloned() else { break };
            match self.perform(&task.what, hold, work).await {
                Ok(()) => {}
                Err(Failure::Permanent { class, what }) => {
                    let mark = |customer: &mut Customer| {
                        for standing in customer.todo.iter_mut().filter(|standing| standing.what == task.what) {
                            standing.refused = Some(what.clone());
                        }
                    };
                    hold.update(mark).await?;
                    if task.by == by {
                        refused = refused.or(Some(Failure::Permanent { class, what }));
                    }
                }
                // Somebody else has the record now.
                Err(failure) if failure.class() == BUSY => return Err(failure),
                // One thing that cannot be done now does not hold up the others.
                Err(failure) => {
                    tried.push(task.what);
                    put_off = put_off.or(Some(failure));
                }
            }
        }
        hold.let_go().await;
        put_off.or(refused).map_or(Ok(()), Err)
    }

    /// Does one thing and takes it off the list.
    async fn perform(&self, what: &Todo, hold: &mut Hold<'_, P::Documents>, work: &Work) -> Result<(), Failure> {
        let email = hold.customer.email.clone();
        let run = hold.customer.run;
        match what {
            Todo::Register => self.remember("customer", &key_of(&email), &email).await?,
            Todo::Mail { step } => return self.send(step_of(step)?, hold, work).await,
            Todo::WakeMail { step, at } => {
                let job = StepJob { job: MAIL.to_owned(), email, run, step: step.clone(), until: *at };
                self.bring("mail", &job, &hold.customer, &job.step, *at).await?;
            }
            Todo::JudgeClicks { step, at } => {
                let job = StepJob { job: EVIDENCE.to_owned(), email, run, step: step.clone(), until: *at };
                self.bring("evidence", &job, &hold.customer, &job.step, *at).await?;
            }
            Todo::Arm { kind, version, at } => {
                let job = TimerJob { job: TIMER.to_owned(), kind: *kind, email, run, armed_for_version: *version };
                let name = self.timer_name(*kind, &hold.customer, run, *version);
                self.set(name, &job, &hold.customer, *at).await?;
            }
            Todo::Disarm { kind, run, version } => {
                let name = self.timer_name(*kind, &hold.customer, *run, *version);
                let removed = self.ports.timers.remove(&name).await;
                removed.map_err(|error| Failure::transient("scheduler.unavailable", error.0))?;
            }
            Todo::Reminder { booking } => return self.remind(booking, hold, work).await,
            Todo::Alert { about } => {
                let text = self.words_of(about, &hold.customer);
                let told = tell(self.ports.alerts, &text, work, self.ports.clock.now()).await?;
                if told != "alert" {
                    // Never the text: it names the customer.
                    let (customer, about) = (hold.customer.key(), about.name());
                    tracing::warn!(%customer, about, told, "people should look after a customer");
                }
                hold.told.push(format!("{}: {told}", about.name()));
            }
        }
        hold.update(|customer| customer.finish(what)).await
    }

    fn timer_name(&self, kind: TimerKind, customer: &Customer, run: u32, version: u64) -> String {
        let version = i64::try_from(version).unwrap_or(i64::MAX);
        timer_name(kind.name(), &[&self.settings.stack, &customer.key()], run.into(), version)
    }

    /// Sets a timer for a mail.
    async fn bring(
        &self,
        kind: &str,
        job: &StepJob,
        customer: &Customer,
        step: &str,
        at: Timestamp,
    ) -> Result<(), Failure> {
        let about = [self.settings.stack.as_str(), &customer.key(), step];
        let name = timer_name(kind, &about, customer.run.into(), at.as_second());
        self.set(name, job, customer, at).await
    }

    async fn set(
        &self,
        name: String,
        job: &impl serde::Serialize,
        customer: &Customer,
        at: Timestamp,
    ) -> Result<(), Failure> {
        let unwritable = |error: serde_json::Error| Failure::permanent("job.unwritable", error.to_string());
        let body = serde_json::to_string(job).map_err(unwritable)?;
        let id = NotificationId::of_our_own("timer", &name);
        let group = GroupId::of("customer", &customer.key());
        let message = OwnMessage { body, group, deduplication_id: deduplication_id(FUNCTION, &id) };
        let timer = Timer { name, at, message };
        arm(self.ports.timers, self.ports.queue, &timer, self.ports.clock.now()).await
    }

    /// Makes the team's calendar show what is known of a call: an event before it, moved or removed with it. Nylas makes
    /// one of every request, so what may have been made is looked for first.
    async fn remind(&self, id: &str, hold: &mut Hold<'_, P::Documents>, work: &Work) -> Result<(), Failure> {
        let done = Todo::Reminder { booking: id.to_owned() };
        let Some(booking) = hold.customer.bookings.get(id).cloned() else {
            return hold.update(|customer| customer.finish(&done)).await;
        };
        let (grant, calendar) = (&self.settings.grant, self.settings.page.calendar.as_str());
        let (nylas, deadline) = (self.ports.nylas, work.deadline);
        let mark = format!("{}.{}.{}", hold.customer.key(), booking.run, booking.number);
        let recorded = |reminder: Option<Reminder>| {
            let done = done.clone();
            move |customer: &mut Customer| {
                // A call that was moved or cancelled meanwhile stays to be done.
                if reminder_stands(customer, id, reminder.clone()) {
                    customer.finish(&done);
                }
            }
        };
        let known = match &booking.reminder {
            None => None,
            Some(Reminder { event_id: Some(event), .. }) => Some(event.clone()),
            Some(_) => {
                let found = nylas.events_by_metadata(grant, calendar, &mark, deadline).await?;
                found.into_iter().next().map(|event| event.id)
            }
        };
        let Some(start) = booking.remind_at.filter(|_| booking.stands) else {
            if let Some(event) = &known {
                nylas.remove_event(grant, calendar, event, deadline).await?;
            }
            return hold.update(recorded(None)).await;
        };
        let stands = |event: &str| Some(Reminder { event_id: Some(event.to_owned()), start: Some(start) });
        let event = self.reminder_event(&hold.customer, &booking, start, &mark)?;
        if let Some(known) = &known
            && nylas.change_event(grant, calendar, known, &event, deadline).await?.is_some()
        {
            return hold.update(recorded(stands(known))).await;
        }
        // Said before it is done, so that whoever comes after a crash looks for it.
        if booking.reminder != Some(Reminder { event_id: None, start: None }) {
            let announced = Reminder { event_id: None, start: None };
            let begin = |customer: &mut Customer| {
                reminder_stands(customer, id, Some(announced.clone()));
            };
            hold.update(begin).await?;
        }
        let made = nylas.create_event(grant, calendar, &event, deadline).await?;
        hold.update(recorded(stands(&made.id))).await
    }

    fn reminder_event(
        &self,
        customer: &Customer,
        booking: &Booking,
        start: Timestamp,
        mark: &str,
    ) -> Result<Value, Failure> {
        let (zone, _) = &self.settings.team_zone;
        let words = Words { call: Some(call_in(booking, zone)), ..self.words(customer) };
        let broken = |error: crate::mail::TemplateError| Failure::permanent("onboarding.template", error.to_string());
        let title = fill_in("reminder.title", &self.settings.page.reminder.title, &words).map_err(broken)?;
        let description =
            fill_in("reminder.description", &self.settings.page.reminder.description, &words).map_err(broken)?;
        let end = start.checked_add(REMINDED_BEFORE / 2).unwrap_or(start);
        Ok(json!({
            "title": title,
            "description": description,
            "when": { "start_time": start.as_second(), "end_time": end.as_second() },
            "busy": false,
            "participants": [],
            "metadata": { LOOP_METADATA: self.settings.loop_id.as_str(), "key1": mark },
        }))
    }

    /// What a text can name of a customer.
    pub(crate) fn words<'w>(&'w self, customer: &'w Customer) -> Words<'w> {
        Words {
            name: &customer.name,
            first_name: first_name(&customer.name),
            email: &customer.email,
            product: &self.settings.product,
            setup_url: &self.settings.setup_url,
            docs_url: &self.settings.docs_url,
            booking_url: "",
            call: None,
        }
    }

    /// What people are told.
    fn words_of(&self, about: &About, customer: &Customer) -> String {
        let who = format!("{} ({})", escaped(&customer.name), customer.email);
        let (zone, _) = &self.settings.team_zone;
        let time_of = |booking: &str| {
            let booking = customer.bookings.get(booking);
            booking.map_or_else(|| "a time that is not known".to_owned(), |booking| in_words(booking.start, zone))
        };
        match about {
            About::Escalated => format!(
                "{who} has not gone on with the onboarding of {}: {}. Please get in touch in person.",
                self.settings.product,
                if customer.mails.contains_key("nudge") {
                    "there were signs of life, but no call was booked and the nudge stayed unanswered"
                } else {
                    "neither the welcome nor the follow-up was answered"
                }
            ),
            About::Bounced => format!(
                "Mail to {who} came back ({}): no further mail is sent to this address. Find another way to reach the customer; a sign-up with another address begins anew.",
                customer.bounced.as_ref().map_or_else(|| "unknown".to_owned(), |bounced| escaped(&bounced.kind))
            ),
            About::BouncedBefore => format!(
                "{who} has signed up again, but mail to this address came back before: no mail is sent. Find another way to reach the customer."
            ),
            About::SendFailed { step } => format!(
                "The mail “{step}” to {who} could not be sent after all: the account's provider refused it after Nylas had taken it. It is not sent again; please write in person."
            ),
            About::SoonCall { booking } => format!(
                "{who} has booked the kickoff call at short notice: it begins on {}. There is no time for a reminder in the calendar, so prepare it now.",
                time_of(booking)
            ),
        }
    }
}

/// The words of a refusal by Nylas that another try does not mend; the failure itself of everything else.
pub(crate) fn refusal(error: NylasError) -> Result<String, Failure> {
    if error.is_refused() { Ok(error.to_string()) } else { Err(error.into()) }
}
