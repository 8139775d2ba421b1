//! A world in memory, with a clock that can be turned: one customer, or thousands, go through the real rules in virtual
//! time. For tests, and for `make simulate`.

mod acts;
mod nylas;
mod world;

pub use acts::{Act, STORIES, Story};
pub use nylas::{SendFault, Sent};
pub use world::{Line, World};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use shared::domain::address::{CompanyDomains, EmailAddress};
use shared::domain::decision::Decision;
use shared::domain::failure::Failure;
use shared::domain::notification::{Envelope, GrantId};
use shared::domain::own_mail::LoopId;
use shared::engine::{Clock, Deadline, Documents as _, Input, Processor as _, Work};

use crate::apply::Delays;
use crate::customer::Customer;
use crate::mail::{TemplateError, Templates};
use crate::page::{PageError, PageSettings};
use crate::ports::{Ports, Provision, Settings};
use crate::process::Onboarding;
use crate::slots::Caps;
use crate::turns::Turns;

/// The account that customers are written from.
pub const GRANT: &str = "onboarding-grant";

/// Its address.
pub const SENDER: &str = "welcome@northwind.example";

/// How long a message whose worker died stays hidden.
const HIDDEN_AFTER_A_CRASH: SignedDuration = SignedDuration::from_secs(40);

/// The ports of this world.
pub struct Simulated;

impl Ports for Simulated {
    type Nylas = World;
    type Documents = World;
    type Links = World;
    type Queue = World;
    type Timers = World;
    type Alerts = World;
}

/// What became of one delivery of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Delivery {
    /// It is decided.
    Decided(Decision),
    /// It comes again.
    Again(&'static str),
    /// It went to the dead-letter queue.
    Dead(&'static str, String),
    /// The worker died over it.
    Crashed,
}

/// The rules in this world.
pub struct Simulator {
    /// The world.
    pub world: Arc<World>,
    settings: Settings,
    turns: Arc<Turns>,
    /// What went to the dead-letter queue: its body, class and reason.
    pub dead: Vec<(String, &'static str, String)>,
}

/// The settings of a simulation, as a user would have them, with the mails and the booking page that this was built with.
///
/// # Errors
/// If a template or the file of the booking page cannot be used.
pub fn settings() -> Result<Settings, SimulationError> {
    settings_with(PageSettings::built_in()?, Templates::built_in()?)
}

/// The same with the given booking page and mails.
///
/// # Errors
/// If a setting cannot be used.
pub fn settings_with(page: PageSettings, templates: Templates) -> Result<Settings, SimulationError> {
    let wrong = |what: &str| SimulationError::Settings(what.to_owned());
    Ok(Settings {
        grant: GrantId::parse(GRANT).ok_or_else(|| wrong("the grant"))?,
        sender: EmailAddress::parse(SENDER).ok_or_else(|| wrong("the sender"))?,
        product: "Northwind".to_owned(),
        setup_url: "https://northwind.example/setup".to_owned(),
        docs_url: "https://northwind.example/docs".to_owned(),
        page_base: url::Url::parse("https://book.nylas.com/").map_err(|_| wrong("the address of the pages"))?,
        team_zone: (TimeZone::UTC, "UTC".to_owned()),
        delays: Delays {
            follow_up: Duration::from_hours(48),
            nudge: Duration::from_hours(72),
            escalate: Duration::from_hours(72),
        },
        caps: Caps { per_minute: 20, per_day: 400 },
        hours: None,
        page,
        templates: Arc::new(templates),
        company_domains: CompanyDomains::parse(["northwind.example"]).map_err(|_| wrong("the domains"))?,
        loop_id: LoopId::of_stack("simulation"),
        stack: "simulation".to_owned(),
    })
}

/// A simulation cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    /// A template cannot be used.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The file of the booking page cannot be used.
    #[error(transparent)]
    Page(#[from] PageError),
    /// A setting cannot be used.
    #[error("{0} cannot be used")]
    Settings(String),
}

impl Simulator {
    /// A world that begins at a time, with the given settings.
    #[must_use]
    pub fn new(begins: Timestamp, settings: Settings) -> Self {
        let turns = Arc::new(Turns::new(settings.caps));
        Self { world: Arc::new(World::new(begins)), settings, turns, dead: Vec::new() }
    }

    fn clock(&self) -> Clock {
        let world = Arc::clone(&self.world);
        Clock::told_by(move || world.now())
    }

    /// Works on a message, at the world's time.
    async fn process(&self, body: &str) -> Result<Decision, Failure> {
        let ports = Provision::<Simulated> {
            nylas: self.world.as_ref(),
            documents: self.world.as_ref(),
            links: self.world.as_ref(),
            queue: self.world.as_ref(),
            timers: self.world.as_ref(),
            alerts: Some(self.world.as_ref()),
            clock: self.clock(),
        };
        let rules = Onboarding::with_turns(ports, self.settings.clone(), Arc::clone(&self.turns));
        let job: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
        let kind = job["type"].as_str().unwrap_or_default().to_owned();
        let input = Envelope::parse(body).map_or(Input::Job { kind }, Input::Notification);
        let deadline = Deadline::after(Duration::from_secs(30));
        let work = Work { input, body: body.to_owned(), sent_at: self.world.now(), deadline };
        rules.process(&work).await
    }

    /// Delivers a message once, at the world's time.
    #[must_use]
    pub fn deliver(&self, body: &str) -> Delivery {
        // Nothing in this world waits but somebody who is dead.
        now_or_never(self.process(body)).map_or(Delivery::Crashed, |came_to| self.settle(body, came_to))
    }

    fn settle(&self, body: &str, came_to: Result<Decision, Failure>) -> Delivery {
        match came_to {
            Ok(decision) => Delivery::Decided(decision),
            Err(Failure::Permanent { class, what }) => Delivery::Dead(class, what),
            Err(failure) => {
                let wait = match &failure {
                    Failure::Transient { retry_after, .. } => retry_after.unwrap_or(Duration::from_secs(5)),
                    Failure::Untried { retry_after, .. } => *retry_after,
                    Failure::Permanent { .. } => Duration::ZERO,
                };
                self.world.put_later(body, SignedDuration::try_from(wait).unwrap_or_default());
                Delivery::Again(failure.class())
            }
        }
    }

    /// Delivers the next message that is due, to a worker that stands still at the given point, counted from 1; there and
    /// then, news of a customer is delivered to another worker. Answers whether there was such a point.
    pub fn deliver_with_news_at(&mut self, point: usize, email: &str, news: &Act) -> bool {
        let Some(body) = self.world.next_due(self.world.now()) else { return false };
        self.world.stand_at(point);
        let mut others = Vec::new();
        let (came_to, met) = {
            let mut first = std::pin::pin!(self.process(&body));
            let mut look = || first.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            match look() {
                Poll::Ready(came_to) => (Some(came_to), false),
                Poll::Pending => {
                    let told = news.body(&self.world, self.customer(email).as_ref(), email);
                    others.extend(told.map(|told| (self.deliver(&told), told)));
                    let came_to = match look() {
                        Poll::Ready(came_to) => Some(came_to),
                        Poll::Pending => None,
                    };
                    (came_to, true)
                }
            }
        };
        let first = came_to.map_or(Delivery::Crashed, |came_to| self.settle(&body, came_to));
        for (delivery, body) in others.into_iter().chain([(first, body)]) {
            if let Delivery::Dead(class, what) = delivery {
                self.dead.push((body, class, what));
            }
        }
        met
    }

    /// Lets an act happen now.
    pub fn act(&self, email: &str, act: &Act) {
        if let Some(body) = act.body(&self.world, self.customer(email).as_ref(), email) {
            self.world.put_later(&body, SignedDuration::ZERO);
        }
    }

    /// Works off what is due until a time, and turns the clock there. Answers what came of each delivery.
    pub fn run_until(&mut self, until: Timestamp) -> Vec<Delivery> {
        let mut delivered = Vec::new();
        while let Some(body) = self.world.next_due(until) {
            let delivery = self.deliver(&body);
            match &delivery {
                Delivery::Crashed => self.world.put_later(&body, HIDDEN_AFTER_A_CRASH),
                Delivery::Dead(class, what) => {
                    self.world.say("dead letter", &format!("{class}: {what}"));
                    self.dead.push((body, class, what.clone()));
                }
                Delivery::Decided(decision) => self.world.say("decided", &decision.reason),
                Delivery::Again(_) => {}
            }
            delivered.push(delivery);
        }
        self.world.turn_to(until);
        delivered
    }

    /// Works off what is due within so long.
    pub fn run_for(&mut self, time: SignedDuration) -> Vec<Delivery> {
        let until = self.world.now().checked_add(time).unwrap_or(Timestamp::MAX);
        self.run_until(until)
    }

    /// The record of a customer.
    #[must_use]
    pub fn customer(&self, email: &str) -> Option<Customer> {
        let stored = self.world.quietly(|| now_or_never(self.world.read(email)))?.ok()??;
        let mut customer: Customer = serde_json::from_value(stored.fields.into()).ok()?;
        email.clone_into(&mut customer.email);
        Some(customer)
    }

    /// How many mails went to an address, by step, in all runs.
    #[must_use]
    pub fn mails_to(&self, email: &str) -> BTreeMap<String, usize> {
        let mut mails = BTreeMap::new();
        for sent in self.world.sent() {
            if sent.to == email {
                *mails
                    .entry(sent.label.split_once('.').map_or_else(String::new, |(_, rest)| rest.to_owned()))
                    .or_default() += 1;
            }
        }
        mails
    }
}

/// The answer of something that does not wait; none if it waits for ever.
fn now_or_never<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

#[cfg(test)]
mod tests;
