//! What an account may ask of Pipedrive: a burst in two seconds, and tokens for a day (the page "Rate limiting" of the
//! vendor's documents; the costs stand in the published description).

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use axum::http::{HeaderMap, HeaderValue, StatusCode};

use super::Refusal;

const WINDOW: Duration = Duration::from_secs(2);

/// 30,000 tokens, seven times on the widest plan, for ten seats.
const TOKENS_OF_A_DAY: u64 = 30_000 * 7 * 10;

#[derive(Debug)]
pub(super) struct Allowance {
    burst: usize,
    searches: usize,
    recent: VecDeque<Instant>,
    recent_searches: VecDeque<Instant>,
    pub(super) tokens_left: u64,
    pub(super) tokens_used: u64,
    pub(super) sends_headers: bool,
}

impl Allowance {
    pub(super) fn of_the_widest_plan(with_oauth: bool) -> Self {
        Self {
            burst: if with_oauth { 480 } else { 120 },
            searches: 10,
            recent: VecDeque::new(),
            recent_searches: VecDeque::new(),
            tokens_left: TOKENS_OF_A_DAY,
            tokens_used: 0,
            sends_headers: true,
        }
    }

    pub(super) fn set_burst(&mut self, calls: usize, searches: usize) {
        (self.burst, self.searches) = (calls, searches);
    }

    /// Takes what a call costs, or refuses it.
    pub(super) fn take(&mut self, method: &str, template: &str) -> Result<(), Refusal> {
        let too_many = |error: &str| Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, error));
        let is_search = template.ends_with("/search");
        for recent in [&mut self.recent, &mut self.recent_searches] {
            while recent.pop_front_if(|at| at.elapsed() >= WINDOW).is_some() {}
        }
        if self.recent.len() >= self.burst || (is_search && self.recent_searches.len() >= self.searches) {
            return too_many("request over limit");
        }
        let cost = cost_of(method, template);
        if self.tokens_left < cost {
            self.tokens_left = 0;
            return too_many("daily API token budget exceeded");
        }
        self.recent.push_back(Instant::now());
        if is_search {
            self.recent_searches.push_back(Instant::now());
        }
        self.tokens_left -= cost;
        self.tokens_used += cost;
        Ok(())
    }

    pub(super) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if self.sends_headers {
            let left = self.burst.saturating_sub(self.recent.len()) as u64;
            let wait = self.recent.front().map_or(Duration::ZERO, |first| WINDOW.saturating_sub(first.elapsed()));
            for (name, value) in [
                ("x-ratelimit-limit", self.burst as u64),
                ("x-ratelimit-remaining", left),
                ("x-ratelimit-reset", wait.as_millis().div_ceil(1000).try_into().unwrap_or(2)),
                ("x-daily-ratelimit-token-limit", TOKENS_OF_A_DAY),
                ("x-daily-ratelimit-token-remaining", self.tokens_left),
            ] {
                headers.insert(name, HeaderValue::from(value));
            }
        }
        headers
    }
}

/// What a call costs, in tokens.
fn cost_of(method: &str, template: &str) -> u64 {
    let is_one = template.ends_with('}');
    match (template.starts_with("/api/v1"), method) {
        _ if template.ends_with("/search") => 20,
        (false, "GET") if is_one => 1,
        (false, "GET") | (true, "POST" | "PUT") => 10,
        (false, "DELETE") => 3,
        (true, "GET") if is_one || template.ends_with("/me") => 2,
        (true, "GET") => 20,
        (true, "DELETE") => 6,
        _ => 5,
    }
}
