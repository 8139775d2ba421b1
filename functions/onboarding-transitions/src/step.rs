//! The mails of a run: which there are, what each is called, and the label that leads from a mail back to its customer.

use std::fmt;

/// What a mail is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MailKind {
    /// After the sign-up.
    Welcome,
    /// After silence.
    FollowUp,
    /// After a sign of life that nothing followed.
    Nudge,
    /// After a call was booked.
    Confirmation,
    /// After the call was moved.
    Rescheduled,
    /// After the call.
    Resources,
}

impl MailKind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Welcome, Self::FollowUp, Self::Nudge, Self::Confirmation, Self::Rescheduled, Self::Resources];

    /// Its name in labels, and that of its template.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Welcome => "welcome",
            Self::FollowUp => "follow_up",
            Self::Nudge => "nudge",
            Self::Confirmation => "confirmation",
            Self::Rescheduled => "rescheduled",
            Self::Resources => "resources",
        }
    }

    /// Who goes first where not all can go at once.
    #[must_use]
    pub fn class(self) -> Class {
        match self {
            Self::Confirmation | Self::Rescheduled => Class::Booking,
            Self::FollowUp | Self::Nudge | Self::Resources => Class::FollowUp,
            Self::Welcome => Class::Welcome,
        }
    }
}

/// Who goes first where not all can go at once, the first of them first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Mail about a call that the customer has just booked.
    Booking,
    /// Mail that continues what was begun.
    FollowUp,
    /// Mail that begins.
    Welcome,
}

impl Class {
    /// Every class, the first one first.
    pub const ALL: [Self; 3] = [Self::Booking, Self::FollowUp, Self::Welcome];

    /// Its place in the order.
    #[must_use]
    pub fn rank(self) -> usize {
        match self {
            Self::Booking => 0,
            Self::FollowUp => 1,
            Self::Welcome => 2,
        }
    }
}

/// One mail of a run. Mails about calls are counted: a call can be moved, or cancelled and booked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Step {
    /// What it is.
    pub kind: MailKind,
    /// Which of its kind, counted from 1.
    pub number: u32,
}

impl Step {
    /// The only one of its kind.
    #[must_use]
    pub fn only(kind: MailKind) -> Self {
        Self { kind, number: 1 }
    }

    /// The mail with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        MailKind::ALL.into_iter().find_map(|kind| {
            let rest = name.strip_prefix(kind.name())?;
            let number = match rest.strip_prefix('_') {
                None if rest.is_empty() => 1,
                None => return None,
                Some(digits) => digits.parse().ok().filter(|number| *number > 1)?,
            };
            Some(Self { kind, number })
        })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.kind.name())?;
        if self.number > 1 { write!(formatter, "_{}", self.number) } else { Ok(()) }
    }
}

/// The label of a mail, `<32 hex>.<run>.<step>`: it says nothing to anybody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The customer's key.
    pub customer: String,
    /// The run.
    pub run: u32,
    /// The mail.
    pub step: Step,
}

impl Label {
    /// Reads a label; none if it is another campaign's.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let customer = shared::domain::customer_event::customer_key_of_label(text)?;
        let mut segments = text.split('.').skip(1);
        let run = segments.next()?.parse().ok()?;
        let step = Step::parse(segments.next()?)?;
        Some(Self { customer: customer.to_owned(), run, step })
    }
}

impl fmt::Display for Label {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.customer, self.run, self.step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_a_mail_leads_back_to_it() {
        for kind in MailKind::ALL {
            for number in [1, 2, 17] {
                let step = Step { kind, number };
                assert_eq!(Step::parse(&step.to_string()), Some(step));
            }
        }
        for other in ["", "welcome_", "welcome_1", "welcome_0", "welcomes", "spring", "confirmation_x"] {
            assert_eq!(Step::parse(other), None, "{other}");
        }
    }

    #[test]
    fn label_leads_back_to_the_customer_and_another_campaigns_does_not() {
        let text = "0123456789abcdef0123456789abcdef.2.confirmation_3";
        let label = Label::parse(text).expect("a label");
        assert_eq!((label.run, label.step), (2, Step { kind: MailKind::Confirmation, number: 3 }));
        assert_eq!(label.to_string(), text);
        for other in ["spring-campaign", "0123456789abcdef0123456789abcdef.1.offer", "x.1.welcome", ""] {
            assert_eq!(Label::parse(other), None, "{other}");
        }
    }
}
