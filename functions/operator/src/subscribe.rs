//! Sees to the webhook of this stack at Nylas and to its secret: makes it, brings it to where it should be, tells how it
//! stands, makes it active again, and gives it another secret in the order that loses nothing.
//!
//! Pure: [`desired`], how the webhook should be; [`standing`], what its state means and what becomes of its secret; what the
//! managed secret holds at each step, [`shared::domain::webhook_secrets`]. What carries it out is here, on the port
//! [`Webhooks`]; [`in_aws`] is the real one.
//!
//! The order, for the first secret and for every other: a mark is written beside the live secrets; once every instance of
//! ingress must have seen it, Nylas makes the secret; it is stored beside those that stand. What is signed with a secret
//! that is not stored yet is answered 503 meanwhile, and Nylas brings it again. If this function dies between the two, the
//! mark stays unfinished, and the next `subscribe` makes another secret.

pub mod desired;
pub mod in_aws;
pub mod standing;
#[cfg(test)]
mod tests;

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use shared::domain::webhook_secrets::{KEPT_FOR, ManagedSecrets, TEST_EVENT_SECRET};
use shared::engine::{Deadline, StoreError};
use shared::http::CallError;
use shared::nylas::NylasError;
use shared::nylas::webhooks::{NewWebhook, Webhook, WithSecret};
use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;

use crate::command::{BadCommand, fields_of};
use crate::nylas_words::{may_be_done, words};
use crate::operate::{Answer, Invocation, OperateError, Operator, Ports, soon};
use crate::stack_map::StackMap;
use crate::told::{Told, table};

use desired::{Desired, change};
use standing::{Secret, State};

/// How long after it was written every instance of ingress must have seen a mark that it meets an unknown signature
/// without: it reads its secrets again for an unknown signature, at most once in 5 s, and answers one request at a time. The
/// other half is for what Secrets Manager takes to show a write everywhere.
const SEEN_AFTER: Duration = Duration::from_secs(10);

/// What is kept of the time for Nylas to make a secret: its challenge may take 10 s.
const FOR_NYLAS: Duration = Duration::from_secs(13);

/// What is kept of the time for the new secret to be stored.
const FOR_STORING: Duration = Duration::from_secs(5);

/// How often it is tried to store a new secret, a second apart.
const TRIES_TO_STORE: usize = 5;

/// While a mark is younger than this, whoever made it may still be at it: their time is up after 40 s.
const AT_IT_FOR: SignedDuration = SignedDuration::from_mins(1);

/// How long the log of ingress is asked for a test event.
const LOOKED_FOR: Duration = Duration::from_secs(16);

/// How often it is asked.
const LOOKED_EVERY: Duration = Duration::from_secs(2);

/// The type of the test event. Nylas has none of bookings and notetakers for tests (Nylas API reference).
const TESTED_TYPE: &str = "message.created";

/// The webhooks of the application at Nylas, the managed secret, and what ingress has logged.
pub trait Webhooks: Sync {
    /// The name of the stack.
    fn stack_name(&self) -> &str;

    /// What the stack is made of.
    fn stack(&self) -> impl Future<Output = Result<StackMap, StoreError>> + Send;

    /// What the managed secret holds.
    fn kept(&self, arn: &str) -> impl Future<Output = Result<Kept, StoreError>> + Send;

    /// Puts a text into the managed secret and answers its version.
    fn keep(&self, arn: &str, text: &SecretString) -> impl Future<Output = Result<String, StoreError>> + Send;

    /// All webhooks of the application.
    fn list(&self, deadline: Deadline) -> impl Future<Output = Result<Vec<Webhook>, NylasError>> + Send;

    /// Makes a webhook.
    fn create(
        &self,
        wanted: &NewWebhook,
        deadline: Deadline,
    ) -> impl Future<Output = Result<WithSecret, NylasError>> + Send;

    /// Changes a webhook.
    fn change(
        &self,
        id: &str,
        change: &Value,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Webhook, NylasError>> + Send;

    /// Has another secret made.
    fn rotate(&self, id: &str, deadline: Deadline) -> impl Future<Output = Result<WithSecret, NylasError>> + Send;

    /// Has Nylas post a test event, and answers what Nylas says of it.
    fn send_test_event(
        &self,
        url: &str,
        kind: &str,
        deadline: Deadline,
    ) -> impl Future<Output = Result<String, NylasError>> + Send;

    /// True if ingress has logged since then that it refused a test event.
    fn refused_test_event(
        &self,
        log_group: &str,
        since: Timestamp,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

/// What the managed secret holds.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// Its text; none as long as nothing was ever put into it.
    pub text: Option<SecretString>,
    /// The version that it is of.
    pub version: Option<String>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a field of the event, and any may be set beside any other")]
pub struct Subscription {
    /// Give the webhook another secret.
    pub rotate: bool,
    /// Have it made active again although it was paused.
    pub activate: bool,
    /// Have Nylas send its test event.
    pub check: bool,
    /// Go on although another call may be at it.
    pub force: bool,
}

impl Subscription {
    /// An event that is right.
    #[must_use]
    pub fn example() -> Value {
        json!({ "command": "subscribe", "rotate": false, "activate": false, "check": false })
    }

    /// Reads the fields of an event.
    ///
    /// # Errors
    /// If they are no such request.
    pub fn read(fields: Map<String, Value>) -> Result<Self, BadCommand> {
        let given = fields.into_iter().filter(|(_, value)| !value.is_null()).collect();
        fields_of(given)
    }
}

/// One thing that was seen to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Row {
    /// What.
    what: &'static str,
    /// How it stands.
    state: String,
    /// False if people have to see to it.
    right: bool,
    /// What they have to do.
    to_do: Option<String>,
}

/// Why it ended before its end.
#[derive(Debug)]
enum Stopped {
    /// As this sentence says.
    Refused(String),
    /// AWS did not do what was asked.
    Unavailable {
        /// What could not be done.
        what: &'static str,
        /// What happened.
        problem: StoreError,
        /// What was done before, and what to do.
        then: &'static str,
    },
}

const NOTHING_CHANGED: &str = "nothing was changed; give the command again";

impl<P: Ports> Operator<P> {
    /// Carries it out.
    ///
    /// # Errors
    /// If AWS does not answer.
    pub(crate) async fn subscribe(
        &self,
        asked: &Subscription,
        invocation: &Invocation,
    ) -> Result<Answer, OperateError> {
        let deadline = soon(invocation);
        let subscribing = Subscribing {
            port: &self.webhooks,
            asked: *asked,
            deadline,
            began: (invocation.now, Instant::now()),
            rows: Vec::new(),
            again: None,
        };
        match subscribing.carry_out().await {
            Ok(told) => {
                tracing::info!(command = "subscribe", ready = told.ready, "answered");
                Ok(Answer::Told(told))
            }
            Err(Stopped::Refused(error)) => {
                tracing::info!(command = "subscribe", ready = false, "refused");
                Ok(Answer::error(error))
            }
            Err(Stopped::Unavailable { what, problem, then }) => {
                Err(OperateError::Unavailable { what: what.to_owned(), problem, then })
            }
        }
    }
}

/// One call of the command.
struct Subscribing<'a, W> {
    port: &'a W,
    asked: Subscription,
    deadline: Deadline,
    /// When it began, by the time of day and by the clock that runs.
    began: (Timestamp, Instant),
    rows: Vec<Row>,
    again: Option<Value>,
}

/// Where the secret stands, and what is in it.
struct Managed<'a> {
    arn: &'a str,
    list: ManagedSecrets,
}

impl<W: Webhooks> Subscribing<'_, W> {
    fn now(&self) -> Timestamp {
        let (at, instant) = self.began;
        SignedDuration::try_from(instant.elapsed()).ok().and_then(|since| at.checked_add(since).ok()).unwrap_or(at)
    }

    async fn carry_out(mut self) -> Result<Told, Stopped> {
        let unread = |what| move |problem| Stopped::Unavailable { what, problem, then: NOTHING_CHANGED };
        let stack = self.port.stack().await.map_err(unread("what the stack is made of cannot be read"))?;
        let Some(wanted) = Desired::of(&stack, self.port.stack_name()) else {
            return Err(Stopped::Refused(
                "the stack has no output `WebhookUrl`: deploy it from the template of this release".to_owned(),
            ));
        };
        let arn = stack.resource("ManagedWebhookSecret").map_err(unread("the managed secret is not there"))?;
        let webhooks = self
            .port
            .list(self.deadline)
            .await
            .map_err(|error| told_by_nylas("nothing was changed", &error, &wanted))?;
        let kept = self.port.kept(arn).await.map_err(unread("the managed secret cannot be read"))?;
        let mut managed = Managed { arn, list: listed(&kept)? };

        let standing = wanted.among(&webhooks).cloned();
        // With the condition on the parameter goes the resource; what a masked parameter holds cannot be seen.
        let has_parameter = stack.resources.contains_key("WebhookSecret");
        let secret = Secret::of(standing.as_ref(), &managed.list, has_parameter, self.asked.rotate);
        let webhook = match (secret, standing) {
            (Secret::Created | Secret::Rotated(_), standing) => {
                self.with_new_secret(&mut managed, standing, &wanted, secret).await?
            }
            (_, Some(standing)) => {
                self.settle(&mut managed, &standing, secret).await?;
                standing
            }
            (_, None) => return Err(Stopped::Refused(NOTHING_CHANGED.to_owned())),
        };
        if secret != Secret::Created {
            self.bring_to(&wanted, &webhook).await?;
        }
        self.activate(&wanted, &webhook).await?;
        if self.asked.check {
            self.check(&stack, &wanted, &managed.list).await;
        }
        Ok(self.told(&webhook))
    }

    /// Has Nylas make a secret, of a new webhook or of the one that stands, in the order that loses nothing.
    async fn with_new_secret(
        &mut self,
        managed: &mut Managed<'_>,
        standing: Option<Webhook>,
        wanted: &Desired,
        secret: Secret,
    ) -> Result<Webhook, Stopped> {
        let marked_at = managed.list.mark.and_then(|mark| mark.marked_at);
        let is_fresh = marked_at.is_some_and(|at| self.now().duration_since(at) < AT_IT_FOR);
        if is_fresh && !self.asked.force {
            return Err(Stopped::Refused(
                "another `subscribe` began less than a minute ago and may still be at it: nothing was changed; give the \
                 command again in a minute, or with `\"force\": true` if nobody else is at it"
                    .to_owned(),
            ));
        }
        if self.deadline.left() < SEEN_AFTER + FOR_NYLAS + FOR_STORING {
            return Err(Stopped::Refused(
                "AWS and Nylas took so long to answer that no time is left to change the secret safely: nothing was \
                 changed; give the command again"
                    .to_owned(),
            ));
        }
        let marked = managed.list.settled(self.now()).marked(self.now());
        let version = self.port.keep(managed.arn, &marked.text()).await.map_err(|problem| Stopped::Unavailable {
            what: "the mark of the rotation cannot be written",
            problem,
            then: "no secret was changed at Nylas; give the command again",
        })?;
        managed.list = marked;
        tokio::time::sleep(SEEN_AFTER).await;
        let seen = self.port.kept(managed.arn).await;
        if !seen.is_ok_and(|seen| seen.version.as_deref() == Some(version.as_str())) {
            return Err(Stopped::Refused(
                "what this call wrote into the managed secret is not what stands there now: another `subscribe` is at it, \
                 or Secrets Manager is in trouble. No secret was changed at Nylas; give the command again in a minute"
                    .to_owned(),
            ));
        }

        let until = self.deadline.earlier_by(FOR_STORING);
        let made = match &standing {
            None => self.port.create(&wanted.to_new(), until).await,
            Some(webhook) => self.port.rotate(&webhook.id, until).await,
        };
        let made = match made {
            Ok(made) => made,
            // The mark stays: it is how the next call knows that there may be a secret that nobody has.
            Err(error) if may_be_done(&error) => {
                return Err(told_by_nylas(
                    "it is not known whether Nylas made a secret; the mark of the rotation stands, so that the next \
                     `subscribe` makes another, and what comes until then is asked for again",
                    &error,
                    wanted,
                ));
            }
            Err(error) => {
                let unmarked = managed.list.unmarked();
                // Left standing it would only let false signatures be answered 503 for half an hour.
                let _ = self.port.keep(managed.arn, &unmarked.text()).await;
                return Err(told_by_nylas("no secret was changed", &error, wanted));
            }
        };
        self.store(managed, &made, &version).await?;
        let older = managed.list.secrets.iter().filter(|secret| secret.replaced_at.is_some()).count();
        let (verb, why) = match secret {
            Secret::Rotated(why) => ("another was made", why.words()),
            _ => ("it was made", "with the webhook"),
        };
        let older = match older {
            0 => String::new(),
            older => format!(
                "; {older} older kept until a `subscribe` after {}",
                self.now().checked_add(KEPT_FOR).unwrap_or(Timestamp::MAX).strftime("%Y-%m-%dT%H:%MZ")
            ),
        };
        let is_unfinished = managed.list.is_unfinished();
        let to_do = is_unfinished.then(|| {
            "somebody else wrote into the managed secret meanwhile, so it is not known which secret is the live one: give \
             make subscribe again in a minute, which makes another"
                .to_owned()
        });
        self.row("secret", format!("{verb} {why}, and stored{older}"), to_do);
        // What Nylas answers to a rotation does not tell all of the webhook.
        if let Some(webhook) = standing {
            return Ok(webhook);
        }
        self.row("webhook", format!("made for {} types of notifications", wanted.trigger_types.len()), None);
        Ok(made.webhook)
    }

    /// Stores a secret that Nylas has made, beside those that stand. It is tried again and again: it is shown only once.
    async fn store(&self, managed: &mut Managed<'_>, made: &WithSecret, version: &str) -> Result<(), Stopped> {
        let mut tries = 0;
        loop {
            tries += 1;
            let (base, is_ours) = match self.port.kept(managed.arn).await {
                Ok(kept) => {
                    (listed(&kept).unwrap_or_else(|_| managed.list.clone()), kept.version.as_deref() == Some(version))
                }
                Err(_) => (managed.list.clone(), true),
            };
            let renewed = base.renewed(made.secret.clone(), &made.webhook.id, self.now());
            // Two have made secrets: which of them Nylas signs with cannot be told, so that another one is needed.
            let renewed = if is_ours { renewed } else { renewed.marked(self.now()) };
            match self.port.keep(managed.arn, &renewed.text()).await {
                Ok(_) => {
                    managed.list = renewed;
                    return Ok(());
                }
                Err(problem) if tries == TRIES_TO_STORE => {
                    return Err(Stopped::Unavailable {
                        what: "Nylas has made a secret, and it cannot be stored",
                        problem,
                        then: "give make subscribe again at once, which makes another: until then notifications are \
                               answered 503, and Nylas brings each three times within 20 minutes",
                    });
                }
                Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        }
    }

    /// Tells whose the secret is, and takes out what is over.
    async fn settle(&mut self, managed: &mut Managed<'_>, webhook: &Webhook, secret: Secret) -> Result<(), Stopped> {
        let settled = managed.list.settled(self.now());
        let retired = managed.list.secrets.len() - settled.secrets.len();
        if retired > 0 || settled.mark != managed.list.mark {
            self.port.keep(managed.arn, &settled.text()).await.map_err(|problem| Stopped::Unavailable {
                what: "secrets that are over cannot be taken out of the managed secret",
                problem,
                then: NOTHING_CHANGED,
            })?;
        }
        managed.list = settled;
        if secret == Secret::OfParameter {
            let state = "taken to be that of the parameter NylasWebhookSecret, which cannot be compared: Nylas shows no \
                         secret twice; make subscribe ROTATE=1 puts a managed one beside it";
            self.row("secret", state.to_owned(), None);
            return Ok(());
        }
        let of_it = |made: &&shared::domain::webhook_secrets::ManagedSecret| {
            made.webhook_id.as_deref() == Some(&webhook.id) && made.replaced_at.is_none()
        };
        let made_at = managed.list.secrets.iter().filter(of_it).filter_map(|made| made.made_at).max();
        let since = made_at.map(|at| format!(", made {}", at.strftime("%Y-%m-%dT%H:%MZ"))).unwrap_or_default();
        let over =
            if retired == 0 { String::new() } else { format!("; {retired} that was replaced a day ago ended now") };
        self.row("secret", format!("stored{since}{over}"), None);
        Ok(())
    }

    /// Changes in the webhook what is not as it should be.
    async fn bring_to(&mut self, wanted: &Desired, webhook: &Webhook) -> Result<(), Stopped> {
        let differences = wanted.differences(webhook);
        if differences.is_empty() {
            self.row("settings", format!("as they should be ({} types)", wanted.trigger_types.len()), None);
            return Ok(());
        }
        let changed = self.port.change(&webhook.id, &change(&differences), self.deadline).await;
        changed.map_err(|error| told_by_nylas("the settings of the webhook were not changed", &error, wanted))?;
        let words: Vec<&str> = differences.iter().map(|difference| difference.words.as_str()).collect();
        self.row("settings", format!("changed: {}", words.join("; ")), None);
        Ok(())
    }

    /// Tells the state, and makes the webhook active where that is asked for or right.
    async fn activate(&mut self, wanted: &Desired, webhook: &Webhook) -> Result<(), Stopped> {
        let state = State::of(webhook);
        let told = webhook.status.as_deref().unwrap_or("not told");
        if !state.wants_activation(self.asked.activate) {
            let to_do = state.to_do().map(str::to_owned);
            if to_do.is_some() {
                self.again = Some(json!({ "command": "subscribe", "activate": true }));
            }
            self.row("state", format!("{told}: {}", state.meaning()), to_do);
            return Ok(());
        }
        let active = json!({ "status": "active" });
        let activated = self.port.change(&webhook.id, &active, self.deadline).await;
        activated.map_err(|error| told_by_nylas(&format!("the webhook stays `{told}`"), &error, wanted))?;
        self.row("state", format!("active again; it was {told}: {}", state.meaning()), None);
        let since = state.missing_since(webhook).map(|since| format!(" from {since} on")).unwrap_or_default();
        let state = format!(
            "Nylas brings nothing of what it did not deliver{since}: mails, meetings and notes are fetched with make \
             reconcile; opens, clicks and bookings cannot be"
        );
        self.row("missed", state, None);
        Ok(())
    }

    /// Has Nylas send its test event and looks for its refusal: that shows that Nylas reaches the endpoint, and that the
    /// endpoint takes nothing that is signed with a secret which all know.
    async fn check(&mut self, stack: &StackMap, wanted: &Desired, list: &ManagedSecrets) {
        let what = "test event";
        if list.secrets.iter().any(|secret| secret.secret.expose_secret() == TEST_EVENT_SECRET) {
            let to_do = "take it out of the managed secret: anybody can sign with it";
            return self.row(
                what,
                "the public secret of Nylas's test events is a live one".to_owned(),
                Some(to_do.to_owned()),
            );
        }
        if let Some(until) = list.mark.map(|mark| mark.rotating_until).filter(|_| list.is_marked(self.now())) {
            self.again = Some(json!({ "command": "subscribe", "check": true }));
            let state = format!(
                "not sent: until {} the secret is marked as changing, and a wrong signature is answered 503 and not 401",
                until.strftime("%Y-%m-%dT%H:%M:%SZ")
            );
            return self.row(what, state, Some("then make subscribe CHECK=1".to_owned()));
        }
        // Clocks of two machines may differ a little; the log is looked through from a moment earlier on.
        let since = self.now().checked_sub(SignedDuration::from_secs(2)).unwrap_or(Timestamp::MIN);
        let said = match self.port.send_test_event(&wanted.url, TESTED_TYPE, self.deadline).await {
            Ok(said) => format!("Nylas says \"{said}\""),
            Err(error) => format!("Nylas says \"{}\"", sentence(&error, wanted)),
        };
        let log_group = match stack.resource("WebhookIngressLogGroup") {
            Ok(log_group) => log_group,
            Err(problem) => return self.row(what, format!("{said}; {problem}"), Some("deploy the stack".to_owned())),
        };
        let looked_from = Instant::now();
        let found = loop {
            match self.port.refused_test_event(log_group, since).await {
                Ok(false) if looked_from.elapsed() < LOOKED_FOR && self.deadline.left() > LOOKED_EVERY * 2 => {
                    tokio::time::sleep(LOOKED_EVERY).await;
                }
                found => break found,
            }
        };
        match found {
            Ok(true) => {
                let state =
                    format!("{said}; it reached the endpoint and was refused with 401, as its public secret must be");
                self.row(what, state, None);
            }
            Ok(false) => {
                let to_do = format!(
                    "look in the log group {log_group} whether it came later; if it did not, curl '{}?challenge=hello' from \
                     elsewhere must answer hello",
                    wanted.url
                );
                self.row(what, format!("{said}; no refusal of it is in the log of webhook-ingress yet"), Some(to_do));
            }
            Err(problem) => self.row(
                what,
                format!("{said}; the log of webhook-ingress cannot be read: {problem}"),
                Some("give the command again".to_owned()),
            ),
        }
    }

    /// Notes something; what has to be done about it makes it wrong.
    fn row(&mut self, what: &'static str, state: String, to_do: Option<String>) {
        self.rows.push(Row { what, state, right: to_do.is_none(), to_do });
    }

    fn told(self, webhook: &Webhook) -> Told {
        let ready = self.rows.iter().all(|row| row.right);
        let cells = self.rows.iter().map(|row| {
            [row.what.to_owned(), row.state.clone(), row.to_do.clone().unwrap_or_else(|| "nothing".to_owned())]
        });
        let text = if ready {
            format!("Nylas delivers to this stack through the webhook {}.", webhook.id)
        } else {
            format!("The webhook {} needs somebody: see what there is to do.", webhook.id)
        };
        Told {
            command: "subscribe",
            ready,
            table: table(["what", "how it stands", "to do"], cells),
            rows: self.rows.iter().map(|row| json!(row)).collect(),
            text,
            again: self.again,
        }
    }
}

/// The list that a text holds.
fn listed(kept: &Kept) -> Result<ManagedSecrets, Stopped> {
    let Some(text) = &kept.text else { return Ok(ManagedSecrets::default()) };
    ManagedSecrets::parse(text.expose_secret()).map_err(|error| {
        Stopped::Refused(format!(
            "the managed secret cannot be used: {error}. Somebody wrote it by hand: put `[]` there if nothing in it is \
             needed, then give make subscribe ROTATE=1. Nothing was changed"
        ))
    })
}

/// What Nylas did not do, and what follows of it.
fn told_by_nylas(follows: &str, error: &NylasError, wanted: &Desired) -> Stopped {
    Stopped::Refused(format!("{follows}: {}", sentence(error, wanted)))
}

/// The beginning of Nylas's words where an endpoint did not meet its challenge (Nylas API reference, create a webhook
/// destination).
const CHALLENGE_NOT_MET: &str = "unable.verify.webhook_url";

/// An error of Nylas about a webhook, in a sentence with what to do.
fn sentence(error: &NylasError, wanted: &Desired) -> String {
    match error {
        NylasError::Call(CallError::Rejected { text, .. }) if text.contains(CHALLENGE_NOT_MET) => format!(
            "Nylas asked the endpoint its challenge and did not get it back ({}). It wants exactly the challenge, with 200, \
             within 10 seconds. Most likely webhook-ingress does not run: the deployment failed, or the account has no \
             instance left for it; or its address is not open to the public any more. curl '{}?challenge=hello' must answer \
             hello; then give make subscribe again",
            words(text),
            wanted.url
        ),
        NylasError::Call(CallError::Rejected { what, status, text, .. }) => {
            format!("Nylas refuses the {what} with {status}: {}", words(text))
        }
        NylasError::Call(CallError::NotFound { .. }) => {
            "Nylas knows no such webhook any more; give make subscribe again, which makes one".to_owned()
        }
        NylasError::Call(
            CallError::BreakerOpen { .. }
            | CallError::AskedToWait { .. }
            | CallError::OutOfTime { .. }
            | CallError::RateLimited { .. }
            | CallError::Unavailable { .. }
            | CallError::Unreadable { .. },
        ) => format!("{error}; give the command again in a few minutes"),
        other => other.to_string(),
    }
}

/// For tests: the port in memory.
#[cfg(test)]
pub(crate) mod testing;
