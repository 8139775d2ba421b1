//! The table: where a customer stands, what happens, and what follows. A total function: every pair either moves or is a
//! named no-op. Pure.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Where a customer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "Stored", try_from = "Stored")]
pub enum Standing {
    /// Signed up; the welcome mail is not sent yet.
    New,
    /// The welcome mail is sent.
    WelcomeSent,
    /// Something suggests that the customer has looked at a mail: an open, or a click that may be a machine's.
    EngagedSoft,
    /// The customer has clicked or replied.
    EngagedHard,
    /// Engaged, then silent: the nudge is on its way or sent.
    FollowupNeeded,
    /// No sign of life since the welcome mail: the follow-up is on its way or sent.
    Unresponsive,
    /// People have been told.
    Escalated,
    /// The kickoff call is booked.
    KickoffBooked,
    /// The kickoff call is over.
    KickoffCompleted,
    /// Done.
    Onboarded,
}

/// How [`Standing`] is stored: the state by its name, and how sure the engagement is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    engagement: Option<String>,
}

impl From<Standing> for Stored {
    fn from(standing: Standing) -> Self {
        let engagement = match standing {
            Standing::EngagedSoft => Some("soft"),
            Standing::EngagedHard => Some("hard"),
            _ => None,
        };
        Self { state: standing.state().to_owned(), engagement: engagement.map(str::to_owned) }
    }
}

/// A record names a state that this release does not know.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no state that this release knows; it was written by a newer one, or by hand")]
pub struct UnknownState(String);

impl TryFrom<Stored> for Standing {
    type Error = UnknownState;

    fn try_from(stored: Stored) -> Result<Self, UnknownState> {
        if stored.state == "engaged" {
            let hard = stored.engagement.as_deref() == Some("hard");
            return Ok(if hard { Self::EngagedHard } else { Self::EngagedSoft });
        }
        let known = Self::ALL.into_iter().find(|standing| standing.state() == stored.state);
        known.ok_or(UnknownState(stored.state))
    }
}

impl Standing {
    /// Every standing.
    pub const ALL: [Self; 10] = [
        Self::New,
        Self::WelcomeSent,
        Self::EngagedSoft,
        Self::EngagedHard,
        Self::FollowupNeeded,
        Self::Unresponsive,
        Self::Escalated,
        Self::KickoffBooked,
        Self::KickoffCompleted,
        Self::Onboarded,
    ];

    /// The name of the state; the two kinds of engagement are one state.
    #[must_use]
    pub fn state(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::WelcomeSent => "welcome_sent",
            Self::EngagedSoft | Self::EngagedHard => "engaged",
            Self::FollowupNeeded => "followup_needed",
            Self::Unresponsive => "unresponsive",
            Self::Escalated => "escalated",
            Self::KickoffBooked => "kickoff_booked",
            Self::KickoffCompleted => "kickoff_completed",
            Self::Onboarded => "onboarded",
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::EngagedSoft => "engaged (soft)",
            Self::EngagedHard => "engaged (hard)",
            other => other.state(),
        })
    }
}

/// What happens to a customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    /// The product tells of a sign-up.
    SignedUp,
    /// The welcome mail is sent.
    WelcomeSent,
    /// A mail was opened, or a click may be a machine's.
    Open,
    /// A person clicked or replied.
    Engagement,
    /// The follow-up is due.
    FollowUpDue,
    /// The nudge is due.
    NudgeDue,
    /// It is time to tell people.
    EscalateDue,
    /// A kickoff call is booked.
    Booked,
    /// The kickoff call is cancelled.
    BookingCancelled,
    /// The kickoff call is over.
    KickoffEnded,
    /// The product tells that the customer is set up.
    Completed,
}

impl Signal {
    /// Every signal.
    pub const ALL: [Self; 11] = [
        Self::SignedUp,
        Self::WelcomeSent,
        Self::Open,
        Self::Engagement,
        Self::FollowUpDue,
        Self::NudgeDue,
        Self::EscalateDue,
        Self::Booked,
        Self::BookingCancelled,
        Self::KickoffEnded,
        Self::Completed,
    ];

    /// Its name in decisions and in the drawing.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SignedUp => "signed up",
            Self::WelcomeSent => "welcome mail sent",
            Self::Open => "open",
            Self::Engagement => "click or reply",
            Self::FollowUpDue => "follow-up due",
            Self::NudgeDue => "nudge due",
            Self::EscalateDue => "escalation due",
            Self::Booked => "booking created",
            Self::BookingCancelled => "booking cancelled",
            Self::KickoffEnded => "kickoff ended",
            Self::Completed => "onboarding completed",
        }
    }
}

/// A timer of a customer. Its name is the `kind` of its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimerKind {
    /// The follow-up, after the welcome mail.
    FollowUp,
    /// The nudge, after a sign of life.
    Nudge,
    /// The alert, after a mail that stayed unanswered.
    Escalate,
    /// The end of the kickoff call.
    KickoffEnded,
}

impl TimerKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::FollowUp, Self::Nudge, Self::Escalate, Self::KickoffEnded];

    /// Its name in jobs and schedules.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::FollowUp => "follow_up",
            Self::Nudge => "nudge",
            Self::Escalate => "escalate",
            Self::KickoffEnded => "kickoff_ended",
        }
    }

    /// What it brings.
    #[must_use]
    pub fn signal(self) -> Signal {
        match self {
            Self::FollowUp => Signal::FollowUpDue,
            Self::Nudge => Signal::NudgeDue,
            Self::Escalate => Signal::EscalateDue,
            Self::KickoffEnded => Signal::KickoffEnded,
        }
    }
}

/// What follows from a move, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// No timer of the customer's counts any more.
    DisarmAll,
    /// This timer does not count any more.
    Disarm(TimerKind),
    /// The welcome mail, with a booking page of the customer's own.
    WelcomeMail,
    /// The follow-up mail.
    FollowUpMail,
    /// The nudge mail.
    NudgeMail,
    /// The confirmation of the call.
    ConfirmationMail,
    /// The mail after the call.
    ResourcesMail,
    /// An event in the team's calendar before the call.
    PrepReminder,
    /// That event goes.
    NoPrepReminder,
    /// People are told.
    Alert,
    /// This timer is set.
    Arm(TimerKind),
}

impl Effect {
    /// Its name in the drawing.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::DisarmAll => "disarm all".to_owned(),
            Self::Disarm(kind) => format!("disarm {}", kind.name()),
            Self::WelcomeMail => "booking page, welcome mail".to_owned(),
            Self::FollowUpMail => "follow-up mail".to_owned(),
            Self::NudgeMail => "nudge mail".to_owned(),
            Self::ConfirmationMail => "confirmation mail".to_owned(),
            Self::ResourcesMail => "resources mail".to_owned(),
            Self::PrepReminder => "prep reminder".to_owned(),
            Self::NoPrepReminder => "remove prep reminder".to_owned(),
            Self::Alert => "one alert".to_owned(),
            Self::Arm(kind) => format!("arm {}", kind.name()),
        }
    }
}

/// Why nothing moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoOp {
    /// Nobody of this address has signed up.
    NoCustomer,
    /// A run is under way already.
    UnderWay,
    /// The mail is not what is waited for.
    NotWaitingForTheWelcome,
    /// An open says no more than is known.
    OpenSaysNothingNew,
    /// The customer is known to be engaged.
    KnownToBeEngaged,
    /// The welcome mail is not sent yet.
    NothingSentYet,
    /// The timer is for a state that the customer has left.
    TimerIsLate,
    /// No call is booked.
    NothingBooked,
    /// A call is booked, which says more.
    CallIsBooked,
    /// The call is over, which says more.
    CallIsOver,
    /// The customer is onboarded.
    Onboarded,
}

impl NoOp {
    /// The reason in words.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::NoCustomer => "nobody of this address is a customer",
            Self::UnderWay => "the customer's onboarding is under way",
            Self::NotWaitingForTheWelcome => "the welcome mail is not waited for",
            Self::OpenSaysNothingNew => "an open says nothing new here",
            Self::KnownToBeEngaged => "the customer is known to be engaged",
            Self::NothingSentYet => "the welcome mail is not sent yet",
            Self::TimerIsLate => "the timer is for a state that the customer has left",
            Self::NothingBooked => "no call is booked",
            Self::CallIsBooked => "a call is booked",
            Self::CallIsOver => "the call is over",
            Self::Onboarded => "the customer is onboarded",
        }
    }
}

/// What the table says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The customer stands there now, and this follows.
    Moves(Standing, &'static [Effect]),
    /// Nothing moves.
    Stays(NoOp),
}

/// The table. `from` is none for an address that nobody has signed up with; `nudged` says whether this run's nudge has
/// been sent.
#[must_use]
pub fn transition(from: Option<Standing>, on: Signal, nudged: bool) -> Verdict {
    use Effect::{
        Alert, Arm, ConfirmationMail, Disarm, DisarmAll, FollowUpMail, NoPrepReminder, NudgeMail, PrepReminder,
        ResourcesMail, WelcomeMail,
    };
    use Signal::{
        Booked, BookingCancelled, Completed, EscalateDue, FollowUpDue, KickoffEnded, NudgeDue, Open, SignedUp,
    };
    use Standing::{
        EngagedHard, EngagedSoft, Escalated, FollowupNeeded, KickoffBooked, KickoffCompleted, New, Onboarded,
        Unresponsive, WelcomeSent,
    };
    use TimerKind::{Escalate, FollowUp, Nudge};
    use Verdict::{Moves, Stays};

    let Some(from) = from else {
        return match on {
            SignedUp => Moves(New, &[WelcomeMail]),
            // Told before the sign-up: a sign-up of before that changes nothing then.
            Completed => Moves(Onboarded, &[]),
            _ => Stays(NoOp::NoCustomer),
        };
    };
    match (from, on) {
        (Onboarded, SignedUp) => Moves(New, &[WelcomeMail]),
        (Onboarded, _) => Stays(NoOp::Onboarded),
        (_, SignedUp) => Stays(NoOp::UnderWay),
        (_, Completed) => Moves(Onboarded, &[DisarmAll]),
        (_, Booked) => Moves(KickoffBooked, &[DisarmAll, ConfirmationMail, PrepReminder, Arm(TimerKind::KickoffEnded)]),

        (New, Signal::WelcomeSent) => Moves(WelcomeSent, &[Arm(FollowUp)]),
        (_, Signal::WelcomeSent) => Stays(NoOp::NotWaitingForTheWelcome),

        (WelcomeSent | Unresponsive, Open) => Moves(EngagedSoft, &[Arm(Nudge)]),
        (EngagedSoft | EngagedHard, Open) | (EngagedHard, Signal::Engagement) => Stays(NoOp::KnownToBeEngaged),
        (FollowupNeeded | Escalated, Open) => Stays(NoOp::OpenSaysNothingNew),
        (WelcomeSent | Unresponsive | FollowupNeeded | Escalated | EngagedSoft, Signal::Engagement) => {
            Moves(EngagedHard, &[Disarm(FollowUp), Disarm(Escalate), Arm(Nudge)])
        }
        (WelcomeSent, FollowUpDue) => Moves(Unresponsive, &[FollowUpMail, Arm(Escalate)]),
        (EngagedSoft, FollowUpDue) => Moves(EngagedSoft, &[FollowUpMail]),
        (EngagedSoft | EngagedHard, NudgeDue) if nudged => Moves(Escalated, &[Alert]),
        (EngagedSoft | EngagedHard, NudgeDue) => Moves(FollowupNeeded, &[NudgeMail, Arm(Escalate)]),
        (Unresponsive | FollowupNeeded, EscalateDue) => Moves(Escalated, &[Alert]),

        (KickoffBooked, BookingCancelled) => Moves(EngagedHard, &[DisarmAll, NoPrepReminder, Arm(Nudge)]),
        (KickoffBooked, KickoffEnded) => Moves(KickoffCompleted, &[ResourcesMail]),
        (_, BookingCancelled | KickoffEnded) => Stays(NoOp::NothingBooked),

        (New, Open | Signal::Engagement | FollowUpDue | NudgeDue | EscalateDue) => Stays(NoOp::NothingSentYet),
        (KickoffBooked, Open | Signal::Engagement | FollowUpDue | NudgeDue | EscalateDue) => Stays(NoOp::CallIsBooked),
        (KickoffCompleted, Open | Signal::Engagement | FollowUpDue | NudgeDue | EscalateDue) => Stays(NoOp::CallIsOver),
        (_, FollowUpDue | NudgeDue | EscalateDue) => Stays(NoOp::TimerIsLate),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn froms() -> impl Iterator<Item = Option<Standing>> {
        std::iter::once(None).chain(Standing::ALL.into_iter().map(Some))
    }

    fn moves(from: Option<Standing>, on: Signal, nudged: bool) -> Option<Standing> {
        match transition(from, on, nudged) {
            Verdict::Moves(to, _) => Some(to),
            Verdict::Stays(_) => None,
        }
    }

    #[test]
    fn every_move_of_the_design_is_made_and_no_other() {
        use Signal as On;
        use Standing as S;
        let mut expected: Vec<(Option<S>, On, bool, S)> = Vec::new();
        for nudged in [false, true] {
            let mut all = |from: &[S], on: On, to: S| {
                expected.extend(from.iter().map(|from| (Some(*from), on, nudged, to)));
            };
            let but_onboarded = &S::ALL[..9];
            all(&[S::Onboarded], On::SignedUp, S::New);
            all(&[S::New], On::WelcomeSent, S::WelcomeSent);
            all(&[S::WelcomeSent, S::Unresponsive], On::Open, S::EngagedSoft);
            let quiet = [S::WelcomeSent, S::Unresponsive, S::FollowupNeeded, S::Escalated, S::EngagedSoft];
            all(&quiet, On::Engagement, S::EngagedHard);
            all(&[S::WelcomeSent], On::FollowUpDue, S::Unresponsive);
            all(&[S::EngagedSoft], On::FollowUpDue, S::EngagedSoft);
            let after_nudge = if nudged { S::Escalated } else { S::FollowupNeeded };
            all(&[S::EngagedSoft, S::EngagedHard], On::NudgeDue, after_nudge);
            all(&[S::Unresponsive, S::FollowupNeeded], On::EscalateDue, S::Escalated);
            all(but_onboarded, On::Booked, S::KickoffBooked);
            all(&[S::KickoffBooked], On::BookingCancelled, S::EngagedHard);
            all(&[S::KickoffBooked], On::KickoffEnded, S::KickoffCompleted);
            all(but_onboarded, On::Completed, S::Onboarded);
            expected.push((None, On::SignedUp, nudged, S::New));
            expected.push((None, On::Completed, nudged, S::Onboarded));
        }
        for from in froms() {
            for on in On::ALL {
                for nudged in [false, true] {
                    let wanted = expected.iter().find(|(f, o, n, _)| (*f, *o, *n) == (from, on, nudged));
                    assert_eq!(moves(from, on, nudged), wanted.map(|(.., to)| *to), "{from:?} on {on:?}");
                }
            }
        }
    }

    #[test]
    fn every_state_has_a_way_out_but_onboarded_whose_way_out_is_a_new_run() {
        for standing in Standing::ALL {
            let out: BTreeSet<Signal> = Signal::ALL
                .into_iter()
                .filter(|on| moves(Some(standing), *on, false).is_some_and(|to| to != standing))
                .collect();
            if standing == Standing::Onboarded {
                assert_eq!(out, BTreeSet::from([Signal::SignedUp]));
            } else {
                assert!(out.contains(&Signal::Completed), "{standing}");
            }
        }
    }

    #[test]
    fn every_state_is_reached_from_a_sign_up() {
        let mut reached = BTreeSet::from([Standing::New]);
        loop {
            let more: BTreeSet<Standing> = reached
                .iter()
                .flat_map(|from| Signal::ALL.map(|on| moves(Some(*from), on, false)))
                .flatten()
                .chain(reached.iter().copied())
                .collect();
            if more == reached {
                break;
            }
            reached = more;
        }
        assert_eq!(reached, Standing::ALL.into_iter().collect());
    }

    #[test]
    fn what_is_armed_can_go_off_where_it_is_armed() {
        for from in froms() {
            for on in Signal::ALL {
                let Verdict::Moves(to, effects) = transition(from, on, false) else { continue };
                for effect in effects {
                    if let Effect::Arm(kind) = effect {
                        assert!(moves(Some(to), kind.signal(), false).is_some(), "{kind:?} means nothing in {to}");
                    }
                }
            }
        }
    }

    #[test]
    fn standing_is_stored_as_its_state_and_an_unknown_state_is_refused_by_name() {
        for standing in Standing::ALL {
            let stored = serde_json::to_value(standing).expect("written");
            assert_eq!(stored["state"], standing.state());
            assert_eq!(serde_json::from_value::<Standing>(stored).expect("read"), standing);
        }
        let unknown = serde_json::from_value::<Standing>(serde_json::json!({"state": "bored"})).expect_err("refused");
        assert!(unknown.to_string().contains("bored"), "{unknown}");
    }
}
