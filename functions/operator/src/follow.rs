//! Reads how far a run has come, again and again, until it has ended or time is up.

use futures_util::{StreamExt as _, TryStreamExt as _};
use shared::engine::progress::{Progress, progress};
use shared::engine::{Deadline, Links, StoreError};
use std::collections::BTreeMap;
use std::time::Duration;

use crate::jobs::Part;
use crate::report::{Report, Row};

/// How long after one look the next one follows.
const BETWEEN_LOOKS: Duration = Duration::from_secs(2);

/// How many parts are read at a time.
const SIDE_BY_SIDE: usize = 10;

/// A run whose progress is read.
pub struct Follower<'a, L> {
    links: &'a L,
    run: &'a str,
    first: Vec<Part>,
    /// What has ended changes no more and is read once.
    ended: BTreeMap<Part, Progress>,
}

impl<'a, L: Links> Follower<'a, L> {
    /// Follows a run that begins with these parts.
    #[must_use]
    pub fn new(links: &'a L, run: &'a str, first: Vec<Part>) -> Self {
        Self { links, run, first, ended: BTreeMap::new() }
    }

    /// Reads until the run has ended or time is up, at least once, and hands over each report that differs from the one
    /// before.
    ///
    /// # Errors
    /// If the table did not answer at all.
    pub async fn follow(&mut self, until: Deadline, mut changed: impl FnMut(&Report)) -> Result<Report, StoreError> {
        let mut standing: Option<Report> = None;
        loop {
            let is_last_look = until.left().is_zero();
            match (self.look().await, standing.take()) {
                (Ok(report), before) => {
                    if before.as_ref() != Some(&report) {
                        changed(&report);
                    }
                    if report.ended() || is_last_look {
                        return Ok(report);
                    }
                    standing = Some(report);
                }
                (Err(error), None) if is_last_look => return Err(error),
                (Err(_), Some(before)) if is_last_look => return Ok(before),
                // The next look may succeed.
                (Err(error), before) => {
                    tracing::warn!(run = self.run, problem = error.0, "the progress could not be read");
                    standing = before;
                }
            }
            tokio::time::sleep(BETWEEN_LOOKS.min(until.left())).await;
        }
    }

    /// Reads all parts once.
    async fn look(&mut self) -> Result<Report, StoreError> {
        let mut rows = Vec::new();
        for (first, progress) in self.read(self.first.clone()).await? {
            rows.push(Row::of(&first, progress.as_ref()));
            let grants = progress.map(|progress| progress.parts).unwrap_or_default();
            let parts = grants.into_iter().map(|grant| Part { function: first.function, grant: Some(grant) }).collect();
            rows.extend(self.read(parts).await?.iter().map(|(part, progress)| Row::of(part, progress.as_ref())));
        }
        Ok(Report { rows })
    }

    async fn read(&mut self, parts: Vec<Part>) -> Result<Vec<(Part, Option<Progress>)>, StoreError> {
        let (links, run, ended) = (self.links, self.run, &self.ended);
        let read: Vec<(Part, Option<Progress>)> = futures_util::stream::iter(parts)
            .map(async |part| {
                let known = match ended.get(&part) {
                    Some(known) => Some(known.clone()),
                    None => progress(links, &part.key(run)).await?,
                };
                Ok((part, known))
            })
            .buffered(SIDE_BY_SIDE)
            .try_collect()
            .await?;
        for (part, known) in &read {
            if let Some(known) = known.as_ref().filter(|known| known.ended) {
                self.ended.entry(part.clone()).or_insert_with(|| known.clone());
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::State;
    use jiff::Timestamp;
    use shared::domain::link::{Link, LinkKey};
    use shared::engine::progress::{Step, advance};
    use shared::engine::testing::MemoryLinks;
    use shared::engine::{PutLink, Revision, StoredLink};
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn part(function: &'static str, grant: Option<&str>) -> Part {
        Part { function, grant: grant.map(str::to_owned) }
    }

    async fn step(links: &impl Links, part: &Part, step: Step<'_>) {
        advance(links, &part.key("r1"), &step, Timestamp::UNIX_EPOCH).await.expect("noted");
    }

    fn states(report: &Report) -> Vec<(Option<&str>, State)> {
        report.rows.iter().map(|row| (row.grant.as_deref(), row.state)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn run_is_followed_to_its_end_and_each_change_is_told_once() {
        let links = &MemoryLinks::default();
        let one = &part("calendar-sync", Some("g"));
        let mut told = Vec::new();
        let mut follower = Follower::new(links, "r1", vec![one.clone()]);
        let follow = follower.follow(Deadline::after(Duration::from_mins(1)), |report| told.push(report.rows[0].jobs));
        let work = async {
            for number in 0..3 {
                tokio::time::sleep(Duration::from_secs(7)).await;
                step(links, one, Step { number, last: number == 2, ..Step::default() }).await;
            }
        };
        let (report, ()) = tokio::join!(follow, work);
        assert!(report.expect("a report").ended());
        assert_eq!(told, [0, 1, 2, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn time_that_is_up_ends_the_following_and_not_the_run() {
        let links = &MemoryLinks::default();
        let begun = tokio::time::Instant::now();
        let first = vec![part("calendar-sync", Some("g"))];
        let mut follower = Follower::new(links, "r1", first.clone());
        let report = follower.follow(Deadline::after(Duration::from_secs(45)), |_| {}).await.expect("a report");
        assert_eq!(states(&report), [(Some("g"), State::NotBegun)]);
        assert_eq!(begun.elapsed().as_secs(), 45);
        let at_once = Follower::new(links, "r1", first).follow(Deadline::after(Duration::ZERO), |_| {}).await;
        assert!(at_once.is_ok_and(|report| !report.ended()));
        assert_eq!(begun.elapsed().as_secs(), 45, "no time, no waiting");
    }

    #[tokio::test(start_paused = true)]
    async fn run_for_all_accounts_ends_with_the_last_of_its_parts() {
        let links = &MemoryLinks::default();
        let all = &part("email-activity", None);
        let look = async || {
            Follower::new(links, "r1", vec![all.clone()]).follow(Deadline::after(Duration::ZERO), |_| {}).await
        };
        let fanned = Step { last: true, parts: vec!["g1".to_owned(), "g2".to_owned()], ..Step::default() };
        step(links, all, fanned).await;
        step(links, &part("email-activity", Some("g1")), Step { last: true, ..Step::default() }).await;
        let report = look().await.expect("a report");
        let expected = [(None, State::Ended), (Some("g1"), State::Ended), (Some("g2"), State::NotBegun)];
        assert_eq!(states(&report), expected);
        assert!(!report.ended());
        step(links, &part("email-activity", Some("g2")), Step { last: true, ..Step::default() }).await;
        assert!(look().await.expect("a report").ended());
    }

    /// Links that count reads and fail those that are chosen.
    struct Faulty {
        links: MemoryLinks,
        reads: AtomicUsize,
        fails: fn(usize) -> bool,
    }

    impl Faulty {
        fn new(fails: fn(usize) -> bool) -> Self {
            Self { links: MemoryLinks::default(), reads: AtomicUsize::new(0), fails }
        }
    }

    impl Links for Faulty {
        async fn get(&self, key: &LinkKey) -> Result<Option<StoredLink>, StoreError> {
            if (self.fails)(self.reads.fetch_add(1, Ordering::SeqCst)) {
                return Err(StoreError("the table is down".to_owned()));
            }
            self.links.get(key).await
        }

        async fn put(&self, link: &Link, of: Option<Revision>, now: Timestamp) -> Result<PutLink, StoreError> {
            self.links.put(link, of, now).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn part_that_has_ended_is_read_once() {
        let links = &Faulty::new(|_| false);
        let (done, waiting) = (part("email-activity", Some("g")), part("calendar-sync", Some("g")));
        step(&links.links, &done, Step { last: true, ..Step::default() }).await;
        let mut follower = Follower::new(links, "r1", vec![done, waiting]);
        follower.follow(Deadline::after(Duration::from_secs(20)), |_| {}).await.expect("a report");
        assert_eq!(links.reads.load(Ordering::SeqCst), 1 + 11);
    }

    #[tokio::test(start_paused = true)]
    async fn table_that_is_down_for_a_moment_costs_nothing_and_one_that_stays_down_is_told() {
        let follow = async |links: &Faulty| {
            let first = vec![part("calendar-sync", Some("g"))];
            Follower::new(links, "r1", first).follow(Deadline::after(Duration::from_secs(20)), |_| {}).await
        };
        let mended = Faulty::new(|read| read < 3);
        let one = part("calendar-sync", Some("g"));
        step(&mended.links, &one, Step { last: true, ..Step::default() }).await;
        assert!(follow(&mended).await.is_ok_and(|report| report.ended()));
        assert!(follow(&Faulty::new(|read| read > 0)).await.is_ok_and(|report| !report.ended()));
        assert_eq!(follow(&Faulty::new(|_| true)).await, Err(StoreError("the table is down".to_owned())));
    }
}
