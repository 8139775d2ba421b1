//! A run of all accounts: it begins once, is divided into shares, and ends with a report when the last share has.
//!
//! A second start while a run is under way joins it. A run in which nothing has moved for two hours is superseded by the
//! next one, so that one account that cannot be read does not keep the others from their night.

use futures_util::{StreamExt as _, TryStreamExt as _};
use rand::Rng as _;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use shared::contact_sync::{SYNC, SyncJob};
use shared::domain::decision::Decision;
use shared::domain::failure::Failure;
use shared::domain::link::{Link, LinkKey, LinkState, Version};
use shared::domain::notification::GrantId;
use shared::engine::job::send;
use shared::engine::progress::{Finding, Progress, Step, advance, progress, run_key};
use shared::engine::{Links as _, ManyLinks as _, PutLink, Revision, StoreError, Work, facts_of, read_facts};
use shared::nylas::mailboxes::{Grant, all_grants};
use shared::reconcile::{FannedOut, SIDE_BY_SIDE, part_of};
use shared::telemetry::{Metric, Metrics};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::FUNCTION;
use crate::ports::Ports;
use crate::process::ContactSync;
use crate::share::run_of;
use crate::tally;

/// For how long a run in which nothing moves is joined, in seconds. A share moves every two minutes.
const JOINED_FOR: i64 = 2 * 60 * 60;

/// How often a run says that it moves, in seconds.
const SAYS_SO_EVERY: i64 = 10 * 60;

/// How long is waited at most after a record was written by somebody else.
const AFTER_A_RACE: Duration = Duration::from_millis(200);

/// How many notes of shares are held at a time. Each may list a hundred findings.
const NOTES_AT_A_TIME: usize = 25;

/// A run of all accounts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Run {
    /// When it began, in Unix seconds.
    began_at: i64,
    /// True if nothing is written.
    #[serde(default, rename = "dry_run")]
    is_dry: bool,
    /// When something of it was last done, in Unix seconds.
    #[serde(default)]
    moved_at: i64,
    /// The accounts whose share has not ended.
    #[serde(default)]
    open: BTreeSet<String>,
    /// How many accounts cannot be reached until their users sign in again.
    #[serde(default)]
    expired: usize,
    /// The newer run that has taken over, if one has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    newer: Option<String>,
    /// True once it has been reported.
    #[serde(default)]
    reported: bool,
}

impl Run {
    fn has_ended(&self) -> bool {
        self.began_at > 0 && (self.newer.is_some() || self.open.is_empty())
    }
}

/// The run of all accounts that is under way, or was last.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Latest {
    run: String,
    began_at: i64,
}

/// Whether a run may begin.
enum Turn {
    Ours,
    /// The named run is under way.
    Joined(String),
}

/// What the nightly schedule, or whoever invokes the function, is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Begun {
    /// The job is in the queue.
    Queued {
        /// The name of the run.
        queued: String,
    },
    /// Nothing was done.
    Off {
        /// Why.
        skipped: String,
    },
}

/// The event that an invocation bears is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotBegun {
    /// It is no job of this function.
    #[error("the event is neither a batch of the queue nor {{\"type\":\"contacts.sync\"}}: {0}")]
    NoJob(String),
    /// The queue does not take the job.
    #[error("nothing was begun: {0}")]
    Queue(Failure),
}

impl<P: Ports> ContactSync<'_, P> {
    /// Begins a run for whoever invokes the function: puts its job into the queue, where it outlives an outage.
    ///
    /// # Errors
    /// If the event is no job, or the queue does not take it.
    pub async fn begin(&self, event: Value, invocation: &str) -> Result<Begun, NotBegun> {
        let job: SyncJob = serde_json::from_value(event).map_err(|error| NotBegun::NoJob(error.to_string()))?;
        if job.kind != SYNC {
            return Err(NotBegun::NoJob(format!("its type is `{}`", job.kind)));
        }
        if self.ports.crm.is_none() {
            return Ok(Begun::Off { skipped: "off (CrmBaseUrl)".to_owned() });
        }
        let now = self.ports.clock.now();
        // An invocation that is tried again has the same id, and names the same run.
        let distinct: String = invocation.chars().filter(char::is_ascii_alphanumeric).take(12).collect();
        let run = job.run.clone().unwrap_or_else(|| format!("nightly-{}-{distinct}", now.strftime("%Y%m%d")));
        let job = SyncJob { run: Some(run.clone()), ..job };
        let message = job.to_message(FUNCTION).map_err(NotBegun::Queue)?;
        send(self.ports.queue, &message).await.map_err(NotBegun::Queue)?;
        tracing::info!(run, "queued");
        Ok(Begun::Queued { queued: run })
    }

    /// Divides a run of all accounts into shares, one message each.
    pub(crate) async fn divide(&self, job: &SyncJob, work: &Work) -> Result<Decision, Failure> {
        let run = run_of(job, work);
        let job = SyncJob { run: Some(run.clone()), ..job.clone() };
        if !job.dry_run
            && let Turn::Joined(other) = self.take_turn(&run).await?
        {
            let again = json!({ "command": "sync", "run": other });
            let unlike =
                if job.replace_existing { "; nothing is replaced by it: start this one again after it" } else { "" };
            let problem =
                format!("the run {other} is under way already, so this one joined it{unlike}; ask with {again}");
            let problem = Some(problem);
            let step = Step { last: true, problem, ..Step::default() };
            advance(self.ports.links, &run_key(FUNCTION, &run), &step, self.ports.clock.now()).await?;
            return Ok(Decision::skipped("joined the run that is under way").with("run", run).with("joined", other));
        }
        let (mut record, _) = self.read::<Run>(&record_key(&run)).await?;
        if record.began_at == 0 {
            let grants = all_grants(self.ports.nylas, work.deadline).await?;
            let (valid, invalid): (Vec<_>, Vec<_>) =
                grants.into_iter().filter(Grant::has_contacts).partition(Grant::is_valid);
            let open: BTreeSet<String> = valid.into_iter().map(|grant| grant.id).collect();
            let counts = [("accounts", open.len() as u64), ("expired accounts", invalid.len() as u64)];
            let step = Step {
                counts: if invalid.is_empty() { &counts[..1] } else { &counts },
                last: true,
                parts: open.iter().cloned().collect(),
                findings: invalid.iter().map(|grant| expired_finding(&grant.id)).collect(),
                problem: FannedOut { grants: Vec::new(), expired: invalid.len() }.problem(),
                ..Step::default()
            };
            advance(self.ports.links, &run_key(FUNCTION, &run), &step, self.ports.clock.now()).await?;
            let now = self.now();
            let expired = invalid.len();
            let begun = Run { began_at: now, moved_at: now, is_dry: job.dry_run, open, expired, ..Run::default() };
            let unless_begun = |standing: Run| if standing.began_at == 0 { begun.clone() } else { standing };
            record = self.change(&record_key(&run), unless_begun).await?;
        }
        let shares: Vec<SyncJob> = record.open.iter().map(|grant| job.share_of(grant)).collect();
        let queue = self.ports.queue;
        futures_util::stream::iter(shares)
            .map(|share| async move { send(queue, &share.to_message(FUNCTION)?).await })
            .buffer_unordered(SIDE_BY_SIDE)
            .try_collect::<Vec<()>>()
            .await?;
        self.report_if_ended(&run, &record).await?;
        Ok(Decision::done("one message an account")
            .with("run", run)
            .with("accounts", record.open.len())
            .with("expired", record.expired))
    }

    /// Takes the turn of a run, unless another one is under way.
    async fn take_turn(&self, run: &str) -> Result<Turn, Failure> {
        let key = LinkKey::new("contact-sync", "latest-run");
        loop {
            let (latest, revision) = self.read::<Latest>(&key).await?;
            if latest.run == run {
                return Ok(Turn::Ours);
            }
            if revision.is_some() {
                let (other, _) = self.read::<Run>(&record_key(&latest.run)).await?;
                // One that has no record yet is about to list the accounts.
                let moved_at = other.moved_at.max(latest.began_at);
                if !other.has_ended() && self.now() - moved_at < JOINED_FOR {
                    return Ok(Turn::Joined(latest.run));
                }
                // Before the turn is taken: whoever comes after a crash in between finds it done.
                if !other.has_ended() {
                    self.supersede(&latest.run, run).await?;
                }
            }
            let ours = Latest { run: run.to_owned(), began_at: self.now() };
            if self.put(&key, &ours, revision).await? {
                return Ok(Turn::Ours);
            }
        }
    }

    /// Marks a run as superseded by a newer one, so that what is left of it is not done, and reports it.
    async fn supersede(&self, run: &str, newer: &str) -> Result<(), Failure> {
        let began_at = self.now();
        let record = self
            .change(&record_key(run), |standing: Run| Run {
                began_at: if standing.began_at == 0 { began_at } else { standing.began_at },
                newer: Some(newer.to_owned()),
                ..standing
            })
            .await?;
        tracing::warn!(run, newer, unfinished = record.open.len(), "superseded by a newer run");
        self.report_if_ended(run, &record).await
    }

    /// The run that has superseded this one; none if nobody has.
    pub(crate) async fn newer_than(&self, run: &str) -> Result<Option<String>, Failure> {
        Ok(self.read::<Run>(&record_key(run)).await?.0.newer)
    }

    /// Notes that a run moves, so that others join it; seldom, because many shares say so.
    pub(crate) async fn has_moved(&self, run: &str) -> Result<(), Failure> {
        let now = self.now();
        let moved = |standing: Run| Run {
            moved_at: if now - standing.moved_at < SAYS_SO_EVERY { standing.moved_at } else { now },
            ..standing
        };
        self.change(&record_key(run), moved).await?;
        Ok(())
    }

    /// Notes that a share has ended, and reports the run if it was the last.
    pub(crate) async fn close(&self, run: &str, grant: &GrantId) -> Result<(), Failure> {
        let now = self.now();
        let close = |mut standing: Run| {
            if standing.open.remove(grant.as_str()) {
                standing.moved_at = now;
            }
            standing
        };
        let record = self.change(&record_key(run), close).await?;
        self.report_if_ended(run, &record).await
    }

    /// One log record and the metrics of a run that has ended. Told again if the function dies in between.
    async fn report_if_ended(&self, run: &str, record: &Run) -> Result<(), Failure> {
        if !record.has_ended() || record.reported {
            return Ok(());
        }
        let grants = progress(self.ports.links, &run_key(FUNCTION, run)).await?.unwrap_or_default().parts;
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        let mut with_problem = record.expired;
        for some in grants.chunks(NOTES_AT_A_TIME) {
            let keys: Vec<LinkKey> = some.iter().map(|grant| run_key(FUNCTION, &part_of(run, Some(grant)))).collect();
            for share in self.ports.links.get_many(&keys).await? {
                let progress: Option<Progress> = share.and_then(|share| read_facts(share.link).ok());
                let progress = progress.unwrap_or_default();
                with_problem += usize::from(progress.problem.is_some() || !progress.ended);
                for (name, count) in progress.counts {
                    *counts.entry(name).or_default() += count;
                }
            }
        }
        let of = |name: &str| counts.get(name).copied().unwrap_or_default();
        let skipped: BTreeMap<&str, u64> =
            counts.iter().filter_map(|(name, count)| Some((name.strip_prefix(tally::SKIPPED)?, *count))).collect();
        tracing::info!(
            run,
            dry_run = record.is_dry,
            accounts = grants.len() + record.expired,
            accounts_with_a_problem = with_problem,
            contacts = of(tally::CONTACTS),
            matched = of(tally::MATCHED),
            changed = of(tally::CHANGED),
            would_change = of(tally::WOULD_CHANGE),
            unchanged = of(tally::UNCHANGED),
            conflicts = of(tally::CONFLICTS),
            skipped = skipped.values().sum::<u64>(),
            skipped_because = %json!(skipped),
            nylas_calls = of("Nylas calls"),
            crm_calls = of("CRM calls"),
            seconds = self.now() - record.began_at,
            "contact sync"
        );
        if !record.is_dry {
            let mut metrics = Metrics::new(FUNCTION);
            metrics.add(Metric::ContactsChanged, of(tally::CHANGED));
            metrics.emit();
        }
        self.change::<Run>(&record_key(run), |standing| Run { reported: true, ..standing }).await?;
        Ok(())
    }

    async fn read<T: Default + DeserializeOwned>(&self, key: &LinkKey) -> Result<(T, Option<Revision>), StoreError> {
        let Some(standing) = self.ports.links.get(key).await? else { return Ok((T::default(), None)) };
        Ok((read_facts(standing.link)?, Some(standing.revision)))
    }

    /// Writes a record over a revision. False if somebody else was faster.
    async fn put<T: Serialize>(&self, key: &LinkKey, record: &T, over: Option<Revision>) -> Result<bool, StoreError> {
        let facts = facts_of(key, record)?;
        let link = Link { key: key.clone(), state: LinkState::Note, version: Version::default(), content: None, facts };
        Ok(self.ports.links.put(&link, over, self.ports.clock.now()).await? != PutLink::Raced)
    }

    /// Changes a record, whoever else does at the same time.
    async fn change<T: Default + DeserializeOwned + Serialize + PartialEq + Clone>(
        &self,
        key: &LinkKey,
        change: impl Fn(T) -> T,
    ) -> Result<T, StoreError> {
        loop {
            let (standing, revision) = self.read::<T>(key).await?;
            let changed = change(standing.clone());
            if changed == standing || self.put(key, &changed, revision).await? {
                return Ok(changed);
            }
            // Many shares may end at the same time.
            let wait = AFTER_A_RACE.mul_f64(rand::rng().random());
            tokio::time::sleep(wait).await;
        }
    }
}

fn record_key(run: &str) -> LinkKey {
    LinkKey::new("contact-sync-run", run)
}

fn expired_finding(grant: &str) -> Finding {
    Finding {
        of: grant.to_owned(),
        field: "account".to_owned(),
        stands: None,
        proposed: None,
        why: "expired: have its user connect it again".to_owned(),
    }
}
