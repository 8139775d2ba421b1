//! What news does to a customer's record: the table's moves, and what is to be done about them. Pure: the same news on the
//! same record does the same, and news that was taken in before does nothing.

use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

use shared::domain::customer_event::{CustomerEvent, CustomerEventType};

use crate::bookings::ToldBooking;
use crate::customer::{About, Booking, Bounced, Customer, Mail, Move, Progress, Reminder, Todo};
use crate::step::{MailKind, Step};
use crate::table::{Effect, Signal, Standing, TimerKind, Verdict, transition};

/// How long after the end of a call it is over.
const AFTER_THE_CALL: SignedDuration = SignedDuration::from_mins(15);

/// A mail that is sent so much later than it was wanted was put off.
const PUT_OFF: SignedDuration = SignedDuration::from_mins(1);

/// How long before a call the prep reminder begins. It lasts half of that.
pub const REMINDED_BEFORE: SignedDuration = SignedDuration::from_hours(1);

/// How long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delays {
    /// From the welcome mail to the follow-up.
    pub follow_up: Duration,
    /// From a sign of life to the nudge.
    pub nudge: Duration,
    /// From a mail that stays unanswered to the alert.
    pub escalate: Duration,
}

/// News is taken in at a time, for a message.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// Now.
    pub now: Timestamp,
    /// The message, as a digest of its id.
    pub by: &'a str,
    /// How long to wait.
    pub delays: &'a Delays,
}

/// What news came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// The customer moved.
    Moved {
        /// From where; none for somebody new.
        from: Option<Standing>,
        /// To where.
        to: Standing,
        /// On what.
        on: Signal,
    },
    /// It was noted, and nothing moved.
    Noted(&'static str),
    /// Nothing is to be done about it.
    Nothing(&'static str),
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| at.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
}

/// Lets something happen to a customer. `booking` is the call that it is about.
pub fn signal(customer: &mut Customer, exists: bool, on: Signal, booking: Option<&str>, moment: Moment<'_>) -> Applied {
    let from = exists.then_some(customer.standing);
    let (to, effects) = match transition(from, on, customer.is_nudged()) {
        Verdict::Moves(to, effects) => (to, effects),
        Verdict::Stays(why) => return Applied::Nothing(why.reason()),
    };
    customer.standing = to;
    customer.version += 1;
    if to == Standing::New {
        begin_run(customer, moment);
    }
    match on {
        Signal::Engagement => {
            customer.call_back("the customer is engaged", |step, _| {
                matches!(step.kind, MailKind::FollowUp | MailKind::Nudge)
            });
        }
        Signal::Booked => {
            customer.call_back("a call is booked", |step, _| {
                matches!(step.kind, MailKind::FollowUp | MailKind::Nudge | MailKind::Resources)
            });
        }
        Signal::Completed => customer.call_back("the customer is onboarded", |_, _| true),
        _ => {}
    }
    for effect in effects {
        follow(customer, *effect, booking, moment);
    }
    let names = (from.map_or_else(|| "–".to_owned(), |from| from.to_string()), to.to_string());
    let (version, run) = (customer.version, customer.run);
    let (on_name, by) = (on.name().to_owned(), moment.by.to_owned());
    let made = Move { at: moment.now, version, run, from: names.0, to: names.1, on: on_name, by };
    customer.history.push(made);
    Applied::Moved { from, to, on }
}

/// A run begins: what belongs to the one before is over.
fn begin_run(customer: &mut Customer, moment: Moment<'_>) {
    disarm_all(customer, moment.by);
    customer.run += 1;
    customer.page = None;
    customer.mails.clear();
    let is_of_a_mail =
        |what: &Todo| matches!(what, Todo::Mail { .. } | Todo::WakeMail { .. } | Todo::JudgeClicks { .. });
    customer.todo.retain(|task| !is_of_a_mail(&task.what));
    customer.bookings.retain(|_, booking| booking.reminder.is_some());
    customer.kickoff = None;
    if customer.bounced.is_some() {
        customer.add(Todo::Alert { about: About::BouncedBefore }, moment.by);
    }
}

fn follow(customer: &mut Customer, effect: Effect, booking: Option<&str>, moment: Moment<'_>) {
    match effect {
        Effect::DisarmAll => disarm_all(customer, moment.by),
        Effect::Disarm(kind) => disarm(customer, kind, moment.by),
        Effect::WelcomeMail => {
            customer.add(Todo::Register, moment.by);
            want(customer, Step::only(MailKind::Welcome), None, moment.by);
        }
        Effect::FollowUpMail => want(customer, Step::only(MailKind::FollowUp), None, moment.by),
        Effect::NudgeMail => want(customer, Step::only(MailKind::Nudge), None, moment.by),
        Effect::ResourcesMail => want(customer, Step::only(MailKind::Resources), None, moment.by),
        Effect::ConfirmationMail => {
            let Some(id) = booking else { return };
            let number = customer.bookings.get(id).map_or(1, |booking| booking.number);
            want(customer, Step { kind: MailKind::Confirmation, number }, Some(id), moment.by);
        }
        Effect::PrepReminder | Effect::NoPrepReminder => {
            if let Some(id) = booking {
                customer.add(Todo::Reminder { booking: id.to_owned() }, moment.by);
            }
        }
        Effect::Alert => customer.add(Todo::Alert { about: About::Escalated }, moment.by),
        Effect::Arm(kind) => arm(customer, kind, moment),
    }
}

/// Wants a mail, once in a run; what was called back can be wanted again.
fn want(customer: &mut Customer, step: Step, booking: Option<&str>, by: &str) {
    let name = step.to_string();
    let standing = customer.mails.get_mut(&name);
    // It was called back while its sending was open, and is wanted again.
    if let Some(standing) = standing.filter(|mail| mail.progress != Progress::Dropped) {
        if standing.progress == Progress::Sent {
            return;
        }
        standing.why = None;
        if standing.is_open() {
            customer.add(Todo::Mail { step: name }, by);
        }
        return;
    }
    // Its sending may still have come to something.
    let key_since = customer.mails.get(&name).and_then(|mail| mail.key_since);
    let mail = Mail { key_since, ..Mail::wanted(booking.map(str::to_owned)) };
    if customer.bounced.is_some() {
        let mail = Mail { progress: Progress::Dropped, why: Some("mail to the address came back".to_owned()), ..mail };
        customer.mails.insert(name, mail);
        return;
    }
    customer.mails.insert(name.clone(), mail);
    customer.add(Todo::Mail { step: name }, by);
}

fn arm(customer: &mut Customer, kind: TimerKind, moment: Moment<'_>) {
    disarm(customer, kind, moment.by);
    // Who cannot be written to has been told of; there is nothing to wait for but a call.
    if customer.bounced.is_some() && kind != TimerKind::KickoffEnded {
        return;
    }
    let at = match kind {
        TimerKind::FollowUp => {
            // It counts from the actual sending.
            let sent_at = customer.mails.get("welcome").and_then(|mail| mail.sent_at);
            later(sent_at.unwrap_or(moment.now), moment.delays.follow_up)
        }
        TimerKind::Nudge => later(moment.now, moment.delays.nudge),
        TimerKind::Escalate => later(moment.now, moment.delays.escalate),
        TimerKind::KickoffEnded => {
            let Some(call) = customer.kickoff() else { return };
            call.end.checked_add(AFTER_THE_CALL).unwrap_or(call.end)
        }
    };
    let version = customer.version;
    customer.armed.insert(kind, version);
    customer.due.insert(kind, at);
    customer.add(Todo::Arm { kind, version, at }, moment.by);
}

fn disarm(customer: &mut Customer, kind: TimerKind, by: &str) {
    customer.due.remove(&kind);
    let Some(version) = customer.armed.remove(&kind) else { return };
    // What is still to be set need not be removed; it may have been set all the same, by somebody who died over it.
    customer.todo.retain(|task| !matches!(&task.what, Todo::Arm { kind: armed, .. } if *armed == kind));
    let run = customer.run;
    customer.add(Todo::Disarm { kind, run, version }, by);
}

fn disarm_all(customer: &mut Customer, by: &str) {
    for kind in TimerKind::ALL {
        disarm(customer, kind, by);
    }
}

/// Takes in what the product tells.
pub fn product_event(customer: &mut Customer, exists: bool, event: &CustomerEvent, moment: Moment<'_>) -> Applied {
    if customer.has_seen(event.id.as_str()) {
        return Applied::Nothing("taken in before");
    }
    customer.sees(event.id.as_str());
    match event.kind {
        CustomerEventType::SignedUp => {
            if exists && event.occurred_at.zip(customer.onboarded_at).is_some_and(|(then, done)| then < done) {
                return Applied::Nothing("the sign-up is older than the end of the onboarding");
            }
            let applied = signal(customer, exists, Signal::SignedUp, None, moment);
            if matches!(applied, Applied::Moved { .. }) {
                customer.name.clone_from(&event.name);
                customer.signed_up_at = event.occurred_at;
            }
            applied
        }
        CustomerEventType::OnboardingCompleted => {
            if event.occurred_at.zip(customer.signed_up_at).is_some_and(|(then, signed_up)| then < signed_up) {
                return Applied::Nothing("it is older than the sign-up");
            }
            let applied = signal(customer, exists, Signal::Completed, None, moment);
            if matches!(applied, Applied::Moved { .. }) {
                customer.onboarded_at = Some(event.occurred_at.unwrap_or(moment.now));
            }
            applied
        }
    }
}

/// Takes in that a timer went off.
pub fn timer(customer: &mut Customer, kind: TimerKind, run: u32, version: u64, moment: Moment<'_>) -> Applied {
    if run != customer.run {
        return Applied::Nothing("the timer is of another run");
    }
    if customer.armed.get(&kind) != Some(&version) {
        return Applied::Nothing("the timer is not armed any more, or not yet");
    }
    if kind == TimerKind::Escalate && is_still_to_be_sent(customer) {
        // Nobody can have answered a mail that waits for its turn.
        customer.version += 1;
        arm(customer, TimerKind::Escalate, moment);
        return Applied::Noted("the mail whose answer is waited for is not sent yet: waited on");
    }
    customer.armed.remove(&kind);
    customer.due.remove(&kind);
    signal(customer, true, kind.signal(), None, moment)
}

/// True if the mail whose answer is waited for is not sent, and will be.
fn is_still_to_be_sent(customer: &Customer) -> bool {
    let mail = match customer.standing {
        Standing::Unresponsive => "follow_up",
        Standing::FollowupNeeded => "nudge",
        _ => return false,
    };
    let is_on_its_way = |mail: &Mail| !matches!(mail.progress, Progress::Sent | Progress::Dropped);
    customer.mails.get(mail).is_some_and(is_on_its_way) && !customer.is_refused(mail)
}

/// Takes in that a mail is sent. Every way to learn it leads here: the answer, the mailbox, what was told of the mail.
pub fn mail_sent(
    customer: &mut Customer,
    step: Step,
    sent_at: Timestamp,
    message_id: Option<&str>,
    moment: Moment<'_>,
) -> Option<Applied> {
    let name = step.to_string();
    let mail = customer.mails.get_mut(&name)?;
    if mail.progress == Progress::Sent {
        if mail.message_id.is_none() {
            mail.message_id = message_id.map(str::to_owned);
        }
        return None;
    }
    mail.progress = Progress::Sent;
    mail.sent_at = Some(sent_at);
    mail.message_id = message_id.map(str::to_owned);
    mail.until = None;
    mail.why = None;
    customer.todo.retain(|task| match &task.what {
        Todo::Mail { step } | Todo::WakeMail { step, .. } => *step != name,
        _ => true,
    });
    if step.kind == MailKind::Welcome && customer.standing == Standing::New {
        return Some(signal(customer, true, Signal::WelcomeSent, None, moment));
    }
    // Who was put off has as long to answer as everybody.
    let answered_by = later(sent_at, moment.delays.escalate);
    let is_short = customer.due.get(&TimerKind::Escalate).is_some_and(|due| answered_by.duration_since(*due) > PUT_OFF);
    if matches!(step.kind, MailKind::FollowUp | MailKind::Nudge) && is_short {
        customer.version += 1;
        arm(customer, TimerKind::Escalate, moment);
    }
    None
}

/// Takes in that a mail came back.
pub fn bounced(customer: &mut Customer, kind: &str, moment: Moment<'_>) -> Applied {
    if customer.bounced.is_some() {
        return Applied::Nothing("known to bounce");
    }
    // Before the address is known to bounce, for what follows from a mail that was sent.
    settle_unknown(customer, moment);
    customer.bounced = Some(Bounced { at: moment.now, kind: kind.to_owned() });
    customer.call_back("mail to the address came back", |_, _| true);
    for kind in [TimerKind::FollowUp, TimerKind::Nudge, TimerKind::Escalate] {
        disarm(customer, kind, moment.by);
    }
    customer.add(Todo::Alert { about: About::Bounced }, moment.by);
    Applied::Noted("mail to the address came back: no more mail, people are told")
}

/// A mail that came back was sent, whatever was known of it.
fn settle_unknown(customer: &mut Customer, moment: Moment<'_>) {
    if let Some(step) = asked_for_alone(customer, |mail| mail.progress != Progress::Sent) {
        mail_sent(customer, step, moment.now, None, moment);
    }
}

/// The only mail of the run that was asked for and has no id, among those that `which` names; none if there are more.
fn asked_for_alone(customer: &Customer, which: impl Fn(&Mail) -> bool) -> Option<Step> {
    let is_one = |mail: &Mail| mail.key_since.is_some() && mail.message_id.is_none() && which(mail);
    let mut asked = customer.mails.iter().filter(|(_, mail)| is_one(mail)).filter_map(|(name, _)| Step::parse(name));
    asked.next().filter(|_| asked.next().is_none())
}

/// Takes in that a mail which Nylas had taken could not be sent after all.
pub fn send_failed(customer: &mut Customer, message_id: &str, moment: Moment<'_>) -> Applied {
    // Nylas may have taken one without telling its id.
    let alone = asked_for_alone(customer, |_| true).map(|step| step.to_string());
    let by_id = customer.mails.iter().find(|(_, mail)| mail.message_id.as_deref() == Some(message_id));
    let found = by_id.map(|(step, _)| step.clone()).or(alone);
    let found = found.and_then(|step| customer.mails.get_mut(&step).map(|mail| (step, mail)));
    let Some((step, mail)) = found else { return Applied::Nothing("not a mail of this run") };
    if mail.why.is_some() {
        return Applied::Nothing("known to have failed");
    }
    mail.why = Some("Nylas could not send it after all".to_owned());
    customer.add(Todo::Alert { about: About::SendFailed { step } }, moment.by);
    Applied::Noted("a mail could not be sent after all: people are told")
}

/// What was told of a booking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BookingNews {
    /// `booking.created`.
    Created,
    /// `booking.rescheduled`.
    Rescheduled,
    /// `booking.cancelled`.
    Cancelled,
}

/// Takes in news of a booking. `told_at` orders what was told of one booking.
pub fn booking(
    customer: &mut Customer,
    news: BookingNews,
    told: &ToldBooking,
    told_at: Timestamp,
    moment: Moment<'_>,
) -> Applied {
    let id = known_as(customer, told);
    let standing = customer.bookings.get(&id).cloned();
    if let Some(standing) = &standing {
        if !standing.stands {
            return Applied::Nothing("the booking is cancelled");
        }
        if news != BookingNews::Cancelled && told_at < standing.told_at {
            return Applied::Nothing("older than what is known of the booking");
        }
    }
    if news == BookingNews::Cancelled {
        return cancelled(customer, &id, standing, told, told_at, moment);
    }
    let is_over = customer.standing == Standing::Onboarded;
    if is_over && standing.is_none() {
        return Applied::Nothing(crate::table::NoOp::Onboarded.reason());
    }
    let Some((start, end)) = told.start.zip(told.end) else {
        return Applied::Nothing("the booking has no time");
    };
    if let Some(zone) = &told.time_zone {
        customer.time_zone = Some(zone.clone());
    }
    let Some(standing) = standing else {
        let number = customer.bookings.values().map(|booking| booking.number).max().unwrap_or_default() + 1;
        let fresh = Booking {
            run: customer.run,
            number,
            stands: true,
            told_at,
            start,
            end,
            event_id: told.event_id.clone(),
            reschedule_url: told.reschedule_url.clone(),
            cancel_url: told.cancel_url.clone(),
            moves: 0,
            remind_at: reminder_time(start, moment.now),
            reminder: None,
        };
        customer.bookings.insert(id.clone(), fresh);
        customer.kickoff = Some(id.clone());
        let applied = signal(customer, true, Signal::Booked, Some(&id), moment);
        tell_if_soon(customer, &id, moment);
        return applied;
    };
    let is_moved = (standing.start, standing.end) != (start, end);
    let kept = Booking {
        told_at,
        start,
        end,
        event_id: told.event_id.clone().or(standing.event_id),
        reschedule_url: told.reschedule_url.clone().or(standing.reschedule_url),
        cancel_url: told.cancel_url.clone().or(standing.cancel_url),
        moves: standing.moves + u32::from(is_moved),
        remind_at: if is_moved { reminder_time(start, moment.now) } else { standing.remind_at },
        ..standing
    };
    let number = kept.number;
    customer.bookings.insert(id.clone(), kept);
    if !is_moved {
        return Applied::Nothing("the booking is known");
    }
    if is_over {
        customer.add(Todo::Reminder { booking: id }, moment.by);
        return Applied::Noted("a call after the end was moved: its reminder follows");
    }
    moved(customer, &id, number, moment)
}

/// The booking under which one is known: by its id, else by its event.
fn known_as(customer: &Customer, told: &ToldBooking) -> String {
    if customer.bookings.contains_key(&told.id) {
        return told.id.clone();
    }
    let same_event = |booking: &Booking| told.event_id.is_some() && booking.event_id == told.event_id;
    // A call that was moved may be a booking of its own, which tells when it was to be.
    let moved_from = |booking: &Booking| booking.stands && told.old_start == Some(booking.start);
    let known = customer.bookings.iter().find(|(_, booking)| same_event(booking) || moved_from(booking));
    known.map_or_else(|| told.id.clone(), |(id, _)| id.clone())
}

fn reminder_time(start: Timestamp, now: Timestamp) -> Option<Timestamp> {
    start.checked_sub(REMINDED_BEFORE).ok().filter(|at| *at > now)
}

fn tell_if_soon(customer: &mut Customer, id: &str, moment: Moment<'_>) {
    let is_soon = |booking: &Booking| booking.remind_at.is_none() && booking.start > moment.now;
    let soon = customer.bookings.get(id).is_some_and(is_soon);
    if soon {
        customer.add(Todo::Alert { about: About::SoonCall { booking: id.to_owned() } }, moment.by);
    }
}

/// The call has another time.
fn moved(customer: &mut Customer, id: &str, number: u32, moment: Moment<'_>) -> Applied {
    customer.add(Todo::Reminder { booking: id.to_owned() }, moment.by);
    if customer.kickoff.as_deref() == Some(id) && customer.standing == Standing::KickoffBooked {
        // The timer of the former time has another version, and another name.
        customer.version += 1;
        arm(customer, TimerKind::KickoffEnded, moment);
    }
    // A confirmation that is not sent yet will tell the new time by itself.
    let confirmation = Step { kind: MailKind::Confirmation, number }.to_string();
    if customer.mails.get(&confirmation).is_none_or(|mail| !mail.is_unsent()) {
        customer.call_back("the call was moved again", |step, mail| {
            step.kind == MailKind::Rescheduled && mail.booking.as_deref() == Some(id)
        });
        let sent = customer.mails.keys().filter_map(|name| Step::parse(name));
        let sent = sent.filter(|step| step.kind == MailKind::Rescheduled).map(|step| step.number).max();
        let step = Step { kind: MailKind::Rescheduled, number: sent.unwrap_or_default() + 1 };
        want(customer, step, Some(id), moment.by);
    }
    tell_if_soon(customer, id, moment);
    if customer.standing == Standing::KickoffCompleted {
        // It was taken to be over, and is still to come.
        customer.kickoff = Some(id.to_owned());
        return signal(customer, true, Signal::Booked, None, moment);
    }
    Applied::Noted("the call was moved: reminder, timer and customer follow")
}

/// The call is cancelled.
fn cancelled(
    customer: &mut Customer,
    id: &str,
    standing: Option<Booking>,
    told: &ToldBooking,
    told_at: Timestamp,
    moment: Moment<'_>,
) -> Applied {
    let Some(standing) = standing else {
        // Told before the booking itself: that will find it cancelled.
        let start = told.start.unwrap_or(told_at);
        let number = customer.bookings.values().map(|booking| booking.number).max().unwrap_or_default();
        let gone = Booking {
            run: customer.run,
            number,
            stands: false,
            told_at,
            start,
            end: told.end.unwrap_or(start),
            event_id: told.event_id.clone(),
            reschedule_url: None,
            cancel_url: None,
            moves: 0,
            remind_at: None,
            reminder: None,
        };
        customer.bookings.insert(id.to_owned(), gone);
        return Applied::Noted("noted that it is cancelled before it was told of");
    };
    customer.bookings.insert(id.to_owned(), Booking { stands: false, told_at, remind_at: None, ..standing });
    customer.call_back("the call is cancelled", |_, mail| mail.booking.as_deref() == Some(id));
    customer.add(Todo::Reminder { booking: id.to_owned() }, moment.by);
    customer.finish(&Todo::Alert { about: About::SoonCall { booking: id.to_owned() } });
    if customer.kickoff.as_deref() != Some(id) {
        return Applied::Noted("a call that is not the kickoff is cancelled");
    }
    let other = customer.bookings.iter().filter(|(_, booking)| booking.stands && booking.end > moment.now);
    let other = other.max_by_key(|(_, booking)| booking.number).map(|(id, _)| id.clone());
    customer.kickoff.clone_from(&other);
    if other.is_some() && customer.standing == Standing::KickoffBooked {
        customer.version += 1;
        arm(customer, TimerKind::KickoffEnded, moment);
        return Applied::Noted("another call is booked, which is the kickoff now");
    }
    if other.is_some() && customer.standing == Standing::KickoffCompleted {
        return signal(customer, true, Signal::Booked, None, moment);
    }
    match signal(customer, true, Signal::BookingCancelled, Some(id), moment) {
        Applied::Nothing(_) => Applied::Noted("the call is cancelled; its reminder goes"),
        moved => moved,
    }
}

/// The prep reminder of a call was put into the calendar, or taken out. Answers whether it is as the call wants it: the call
/// may have been moved or cancelled meanwhile.
pub fn reminder_stands(customer: &mut Customer, id: &str, reminder: Option<Reminder>) -> bool {
    let Some(booking) = customer.bookings.get_mut(id) else { return true };
    let wanted = booking.remind_at.filter(|_| booking.stands);
    let start = reminder.as_ref().and_then(|reminder| reminder.start);
    booking.reminder = reminder;
    start == wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use shared::domain::customer_event::CustomerEvent;

    const DELAYS: Delays = Delays {
        follow_up: Duration::from_hours(48),
        nudge: Duration::from_hours(72),
        escalate: Duration::from_hours(72),
    };

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + hour * 3600).expect("a time")
    }

    fn moment(hour: i64) -> Moment<'static> {
        Moment { now: at(hour), by: "m", delays: &DELAYS }
    }

    fn event(kind: &str, id: &str, occurred: Option<i64>) -> CustomerEvent {
        let mut body = json!({"type": kind, "id": id, "email": "rosa@fabrikam.example", "name": "Rosa"});
        if let Some(hour) = occurred {
            body["occurred_at"] = at(hour).to_string().into();
        }
        CustomerEvent::parse(body.to_string().as_bytes()).expect("an event")
    }

    fn signed_up() -> Customer {
        let mut customer = Customer::new("rosa@fabrikam.example", "Rosa");
        product_event(&mut customer, false, &event("customer.signed_up", "e1", Some(0)), moment(0));
        customer
    }

    fn welcomed() -> Customer {
        let mut customer = signed_up();
        mail_sent(&mut customer, Step::only(MailKind::Welcome), at(1), Some("m1"), moment(2));
        customer
    }

    fn told(id: &str, start: i64) -> ToldBooking {
        ToldBooking {
            id: id.to_owned(),
            configuration_id: None,
            customer: None,
            guests: Vec::new(),
            start: Some(at(start)),
            end: Some(at(start + 1)),
            old_start: None,
            event_id: Some(format!("event-{id}")),
            time_zone: Some("Europe/Stockholm".to_owned()),
            reschedule_url: None,
            cancel_url: None,
        }
    }

    fn steps(customer: &Customer) -> Vec<&str> {
        customer
            .mails
            .iter()
            .filter(|(_, mail)| mail.progress != Progress::Dropped)
            .map(|(step, _)| step.as_str())
            .collect()
    }

    #[test]
    fn welcome_sent_is_entered_only_when_the_mail_is_sent_and_the_follow_up_counts_from_then() {
        let mut customer = signed_up();
        assert_eq!((customer.standing, customer.run), (Standing::New, 1));
        mail_sent(&mut customer, Step::only(MailKind::Welcome), at(5), Some("m"), moment(6));
        assert_eq!(customer.standing, Standing::WelcomeSent);
        assert_eq!(customer.due[&TimerKind::FollowUp], at(5 + 48));
        assert_eq!(customer.armed[&TimerKind::FollowUp], customer.version);
    }

    #[test]
    fn second_sign_up_under_way_changes_nothing_and_after_onboarded_begins_run_2() {
        let mut customer = welcomed();
        let before = customer.clone();
        let again = product_event(&mut customer, true, &event("customer.signed_up", "e2", None), moment(3));
        assert!(matches!(again, Applied::Nothing(_)));
        customer.seen.clone_from(&before.seen);
        assert_eq!(customer, before);
        product_event(&mut customer, true, &event("customer.onboarding_completed", "e3", Some(9)), moment(9));
        assert_eq!((customer.standing, customer.armed.len()), (Standing::Onboarded, 0));
        let old = product_event(&mut customer, true, &event("customer.signed_up", "e4", Some(8)), moment(10));
        assert!(matches!(old, Applied::Nothing(_)), "older than the end");
        let replayed = product_event(&mut customer, true, &event("customer.signed_up", "e1", None), moment(1000));
        assert_eq!(replayed, Applied::Nothing("taken in before"));
        product_event(&mut customer, true, &event("customer.signed_up", "e5", Some(11)), moment(11));
        assert_eq!((customer.standing, customer.run, steps(&customer)), (Standing::New, 2, vec!["welcome"]));
    }

    #[test]
    fn open_never_cancels_the_follow_up_and_a_click_does() {
        let mut customer = welcomed();
        signal(&mut customer, true, Signal::Open, None, moment(3));
        assert_eq!(customer.standing, Standing::EngagedSoft);
        assert!(customer.armed.contains_key(&TimerKind::FollowUp) && customer.armed.contains_key(&TimerKind::Nudge));
        signal(&mut customer, true, Signal::Engagement, None, moment(4));
        assert_eq!(customer.armed.keys().collect::<Vec<_>>(), [&TimerKind::Nudge]);
        assert_eq!(customer.due[&TimerKind::Nudge], at(4 + 72));
    }

    #[test]
    fn timer_counts_only_with_the_run_and_version_that_armed_it_and_once() {
        let mut customer = welcomed();
        let version = customer.armed[&TimerKind::FollowUp];
        for (run, version) in [(2, version), (1, version + 1), (1, version - 1)] {
            let late = timer(&mut customer, TimerKind::FollowUp, run, version, moment(50));
            assert!(matches!(late, Applied::Nothing(_)));
        }
        assert!(matches!(timer(&mut customer, TimerKind::FollowUp, 1, version, moment(50)), Applied::Moved { .. }));
        assert!(matches!(timer(&mut customer, TimerKind::FollowUp, 1, version, moment(50)), Applied::Nothing(_)));
        assert_eq!(steps(&customer), ["follow_up", "welcome"]);
    }

    #[test]
    fn booking_is_moved_cancelled_and_booked_again_in_any_order_of_the_news_of_one() {
        let mut customer = welcomed();
        booking(&mut customer, BookingNews::Created, &told("b", 30), at(3), moment(3));
        assert_eq!((customer.standing, customer.kickoff.as_deref()), (Standing::KickoffBooked, Some("b")));
        assert_eq!(customer.armed.keys().collect::<Vec<_>>(), [&TimerKind::KickoffEnded]);
        assert_eq!(customer.bookings["b"].remind_at, Some(at(29)));
        customer.mails.get_mut("confirmation").expect("wanted").progress = Progress::Sent;
        booking(&mut customer, BookingNews::Rescheduled, &told("b", 40), at(4), moment(4));
        booking(&mut customer, BookingNews::Created, &told("b", 30), at(3), moment(4));
        assert_eq!(customer.bookings["b"].start, at(40), "older news changes nothing");
        assert_eq!(steps(&customer), ["confirmation", "rescheduled", "welcome"]);
        booking(&mut customer, BookingNews::Cancelled, &told("b", 40), at(5), moment(5));
        assert_eq!(customer.standing, Standing::EngagedHard);
        assert_eq!(customer.armed.keys().collect::<Vec<_>>(), [&TimerKind::Nudge]);
        assert_eq!(customer.mails["rescheduled"].progress, Progress::Dropped, "nobody is told of a call that is off");
        booking(&mut customer, BookingNews::Rescheduled, &told("b", 50), at(6), moment(6));
        assert_eq!(customer.standing, Standing::EngagedHard, "what is cancelled stays so");
        booking(&mut customer, BookingNews::Created, &told("c", 60), at(7), moment(7));
        assert_eq!((customer.standing, steps(&customer).contains(&"confirmation_2")), (Standing::KickoffBooked, true));
    }

    #[test]
    fn cancellation_that_comes_first_stops_the_booking_that_comes_after() {
        let mut customer = welcomed();
        booking(&mut customer, BookingNews::Cancelled, &told("b", 30), at(4), moment(4));
        let late = booking(&mut customer, BookingNews::Created, &told("b", 30), at(3), moment(5));
        assert!(matches!(late, Applied::Nothing(_)));
        assert_eq!(customer.standing, Standing::WelcomeSent);
    }

    #[test]
    fn second_call_that_is_cancelled_leaves_the_first_one_as_the_kickoff() {
        let mut customer = welcomed();
        booking(&mut customer, BookingNews::Created, &told("b", 30), at(3), moment(3));
        booking(&mut customer, BookingNews::Created, &told("c", 40), at(4), moment(4));
        booking(&mut customer, BookingNews::Cancelled, &told("c", 40), at(5), moment(5));
        assert_eq!((customer.standing, customer.kickoff.as_deref()), (Standing::KickoffBooked, Some("b")));
        assert!(customer.due[&TimerKind::KickoffEnded] < at(40));
    }

    #[test]
    fn call_in_less_than_an_hour_has_no_reminder_in_the_past_and_people_are_told() {
        let mut customer = welcomed();
        let soon = ToldBooking { start: at(3).checked_add(SignedDuration::from_mins(30)).ok(), ..told("b", 4) };
        booking(&mut customer, BookingNews::Created, &soon, at(3), moment(3));
        assert_eq!(customer.bookings["b"].remind_at, None);
        let soon = Todo::Alert { about: About::SoonCall { booking: "b".to_owned() } };
        assert!(customer.todo.iter().any(|task| task.what == soon));
    }

    #[test]
    fn bounce_stops_mails_and_timers_and_tells_once() {
        let mut customer = welcomed();
        assert!(matches!(bounced(&mut customer, "mailbox_unavailable", moment(3)), Applied::Noted(_)));
        assert!(matches!(bounced(&mut customer, "mailbox_unavailable", moment(4)), Applied::Nothing(_)));
        assert!(customer.armed.is_empty());
        signal(&mut customer, true, Signal::Engagement, None, moment(5));
        assert!(customer.armed.is_empty(), "nobody could be nudged");
        booking(&mut customer, BookingNews::Created, &told("b", 30), at(6), moment(6));
        assert_eq!(steps(&customer), ["welcome"], "no confirmation either");
        assert!(customer.armed.contains_key(&TimerKind::KickoffEnded), "the call takes place all the same");
        let alerts = customer.todo.iter().filter(|task| matches!(task.what, Todo::Alert { .. })).count();
        assert_eq!(alerts, 1);
    }

    #[test]
    fn mail_that_bounced_while_its_sending_was_unknown_counts_as_sent() {
        let mut customer = signed_up();
        let welcome = customer.mails.get_mut("welcome").expect("wanted");
        (welcome.progress, welcome.key_since) = (Progress::Waiting, Some(at(2)));
        bounced(&mut customer, "mailbox_unavailable", moment(3));
        assert_eq!((customer.standing, customer.mails["welcome"].progress), (Standing::WelcomeSent, Progress::Sent));
        assert!(customer.armed.is_empty());
    }
}
