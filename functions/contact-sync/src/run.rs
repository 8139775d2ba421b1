//! A run of all accounts: it begins once, is divided into shares, and ends with a report when the last share has.
//!
//! A second start while a run is under way joins it. A run that is still not done when it is most of a day old is
//! superseded by the next one, so that one account that cannot be read does not keep the others from their night.

use futures_util::{StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use shared::contact_sync::{SYNC, SyncJob};
use shared::domain::decision::Decision;
use shared::domain::failure::Failure;
use shared::domain::link::{Link, LinkKey, LinkState, Version};
use shared::domain::notification::GrantId;
use shared::engine::job::send;
use shared::engine::progress::{Finding, Progress, Step, advance, run_key};
use shared::engine::{Links as _, ManyLinks as _, PutLink, Revision, StoreError, Work};
use shared::nylas::mailboxes::{Grant, all_grants};
use shared::reconcile::{SIDE_BY_SIDE, part_of};
use shared::telemetry::Metrics;
use std::collections::{BTreeMap, BTreeSet};

use crate::FUNCTION;
use crate::ports::Ports;
use crate::process::ContactSync;
use crate::share::run_of;
use crate::tally;

/// For how long a run that has not ended is joined, in seconds: 20 hours, so that the next night begins anew.
const JOINED_FOR: i64 = 20 * 60 * 60;

/// A run of all accounts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Run {
    /// When it began, in Unix seconds.
    began_at: i64,
    /// True if nothing is written.
    #[serde(default, rename = "dry_run")]
    is_dry: bool,
    /// The accounts that have a share.
    grants: BTreeSet<String>,
    /// Those whose share has ended.
    #[serde(default)]
    closed: BTreeSet<String>,
    /// Those that cannot be reached until their users sign in again.
    #[serde(default)]
    expired: Vec<String>,
    /// True once a newer run has taken over.
    #[serde(default)]
    superseded: bool,
    /// True once it has been reported.
    #[serde(default)]
    reported: bool,
}

impl Run {
    fn has_ended(&self) -> bool {
        self.superseded || self.grants.is_subset(&self.closed)
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
        // An invocation that is tried again has the same id.
        let distinct: String = invocation.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
        let run = job.run.clone().unwrap_or_else(|| format!("nightly-{}-{distinct}", now.strftime("%Y%m%dT%H%M%SZ")));
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
            let problem =
                Some(format!("the run {other} is under way already, so this one joined it; ask with {again}"));
            let step = Step { last: true, problem, ..Step::default() };
            advance(self.ports.links, &run_key(FUNCTION, &run), &step, self.ports.clock.now()).await?;
            return Ok(Decision::skipped("joined the run that is under way").with("run", run).with("joined", other));
        }
        let (mut record, _) = self.read::<Run>(&record_key(&run)).await?;
        if record.began_at == 0 {
            let grants = all_grants(self.ports.nylas, work.deadline).await?;
            let (valid, invalid): (Vec<_>, Vec<_>) =
                grants.into_iter().filter(Grant::has_contacts).partition(Grant::is_valid);
            let ids = |grants: Vec<Grant>| grants.into_iter().map(|grant| grant.id);
            let began_at = self.now();
            let begun = Run {
                began_at,
                is_dry: job.dry_run,
                grants: ids(valid).collect(),
                expired: ids(invalid).collect(),
                ..Run::default()
            };
            record = self
                .change::<Run>(&record_key(&run), |standing| match standing.began_at {
                    0 => begun.clone(),
                    _ => standing,
                })
                .await?;
        }
        let open: Vec<SyncJob> = record.grants.difference(&record.closed).map(|grant| job.share_of(grant)).collect();
        let queue = self.ports.queue;
        futures_util::stream::iter(open)
            .map(|share| async move { send(queue, &share.to_message(FUNCTION)?).await })
            .buffer_unordered(SIDE_BY_SIDE)
            .try_collect::<Vec<()>>()
            .await?;
        let counts = [("accounts", record.grants.len() as u64), ("expired accounts", record.expired.len() as u64)];
        let step = Step {
            counts: &counts[..if record.expired.is_empty() { 1 } else { 2 }],
            last: true,
            parts: record.grants.iter().cloned().collect(),
            findings: record.expired.iter().map(|grant| expired_finding(grant)).collect(),
            problem: expired_problem(record.expired.len()),
            ..Step::default()
        };
        advance(self.ports.links, &run_key(FUNCTION, &run), &step, self.ports.clock.now()).await?;
        self.report_if_ended(&run, &record).await?;
        Ok(Decision::done("one message an account")
            .with("run", run)
            .with("accounts", record.grants.len())
            .with("expired", record.expired.len()))
    }

    /// Takes the turn of a run, unless another one is under way.
    async fn take_turn(&self, run: &str) -> Result<Turn, Failure> {
        let key = LinkKey::new("contact-sync", "latest-run");
        loop {
            let (latest, revision) = self.read::<Latest>(&key).await?;
            if latest.run == run {
                return Ok(Turn::Ours);
            }
            let mut unfinished = None;
            if revision.is_some() {
                let (other, _) = self.read::<Run>(&record_key(&latest.run)).await?;
                // One that has no record yet is about to list the accounts.
                let has_ended = other.began_at > 0 && other.has_ended();
                if !has_ended && self.now() - latest.began_at < JOINED_FOR {
                    return Ok(Turn::Joined(latest.run));
                }
                unfinished = (!has_ended).then_some(latest.run);
            }
            let ours = Latest { run: run.to_owned(), began_at: self.now() };
            if self.write(&key, &ours, revision).await? {
                if let Some(unfinished) = unfinished {
                    self.supersede(&unfinished).await?;
                }
                return Ok(Turn::Ours);
            }
        }
    }

    /// Marks a run as superseded, so that what is left of it is not done, and reports it.
    async fn supersede(&self, run: &str) -> Result<(), Failure> {
        let record = self.change::<Run>(&record_key(run), |standing| Run { superseded: true, ..standing }).await?;
        tracing::warn!(run, unfinished = ?record.grants.difference(&record.closed), "superseded by a newer run");
        self.report_if_ended(run, &record).await
    }

    /// True if a newer run has begun.
    pub(crate) async fn is_superseded(&self, run: &str) -> Result<bool, Failure> {
        Ok(self.read::<Run>(&record_key(run)).await?.0.superseded)
    }

    /// Notes that a share has ended, and reports the run if it was the last.
    pub(crate) async fn close(&self, run: &str, grant: &GrantId) -> Result<(), Failure> {
        let close = |mut standing: Run| {
            if standing.grants.contains(grant.as_str()) {
                standing.closed.insert(grant.as_str().to_owned());
            }
            standing
        };
        let record = self.change::<Run>(&record_key(run), close).await?;
        self.report_if_ended(run, &record).await
    }

    /// One log record and the metrics of a run that has ended. Told again if the function dies in between.
    async fn report_if_ended(&self, run: &str, record: &Run) -> Result<(), Failure> {
        if record.began_at == 0 || !record.has_ended() || record.reported {
            return Ok(());
        }
        let keys: Vec<LinkKey> =
            record.grants.iter().map(|grant| run_key(FUNCTION, &part_of(run, Some(grant)))).collect();
        let mut shares = Vec::new();
        for keys in keys.chunks(100) {
            shares.extend(self.ports.links.get_many(keys).await?.into_iter().flatten());
        }
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        let mut with_problem = record.expired.len();
        for share in shares {
            let Ok(progress) = serde_json::from_value::<Progress>(share.link.facts.into()) else { continue };
            with_problem += usize::from(progress.problem.is_some() || !progress.ended);
            for (name, count) in progress.counts {
                *counts.entry(name).or_default() += count;
            }
        }
        let of = |name: &str| counts.get(name).copied().unwrap_or_default();
        let skipped: BTreeMap<&str, u64> =
            counts.iter().filter_map(|(name, count)| Some((name.strip_prefix(tally::SKIPPED)?, *count))).collect();
        tracing::info!(
            run,
            dry_run = record.is_dry,
            accounts = record.grants.len() + record.expired.len(),
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
            metrics.add("ContactsChanged", of(tally::CHANGED));
            metrics.add("ContactConflicts", of(tally::CONFLICTS));
            metrics.add("ContactSyncProblems", with_problem as u64);
            metrics.emit();
        }
        self.change::<Run>(&record_key(run), |standing| Run { reported: true, ..standing }).await?;
        Ok(())
    }

    async fn read<T: Default + DeserializeOwned>(&self, key: &LinkKey) -> Result<(T, Option<Revision>), StoreError> {
        let Some(standing) = self.ports.links.get(key).await? else { return Ok((T::default(), None)) };
        let read = serde_json::from_value(standing.link.facts.into())
            .map_err(|error| StoreError(format!("the link {} cannot be read: {error}", key.as_str())))?;
        Ok((read, Some(standing.revision)))
    }

    /// Writes a record over a revision. False if somebody else was faster.
    async fn write<T: Serialize>(&self, key: &LinkKey, record: &T, over: Option<Revision>) -> Result<bool, StoreError> {
        let Ok(Value::Object(facts)) = serde_json::to_value(record) else {
            return Err(StoreError(format!("the link {} cannot be written", key.as_str())));
        };
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
            if changed == standing || self.write(key, &changed, revision).await? {
                return Ok(changed);
            }
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

fn expired_problem(expired: usize) -> Option<String> {
    match expired {
        0 => None,
        1 => Some("1 account has expired and was left out: have its user connect it again".to_owned()),
        many => Some(format!("{many} accounts have expired and were left out: have their users connect them again")),
    }
}
