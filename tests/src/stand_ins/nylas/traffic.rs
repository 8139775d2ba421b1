//! How much of the contacts of one account may be asked for: so many calls a second, and on Exchange so many at a time.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use url::form_urlencoded;

use super::{Api, Nylas};
use crate::stand_ins::{Fault, server::Gate};

/// Calls of one grant within any one second (Nylas docs, `dev-guide/platform/rate-limits`).
const MOST_IN_ONE_SECOND: usize = 200;

/// Calls of one grant at a time that Exchange takes (Nylas docs, `dev-guide/platform/rate-limits`).
const MOST_AT_ONCE_ON_EXCHANGE: usize = 4;

/// Exchange tells the seconds to wait; for other limits nothing promises that.
const EXCHANGE_RETRY_AFTER: &str = "1";

#[derive(Debug, Default)]
struct OfGrant {
    under_way: usize,
    most_at_once: usize,
    let_in: VecDeque<Instant>,
}

/// The calls that are under way or were let in within the last second, by grant.
#[derive(Debug, Default)]
pub(super) struct Traffic(Mutex<HashMap<String, OfGrant>>);

impl Traffic {
    fn locked<T>(&self, grant_id: &str, use_it: impl FnOnce(&mut OfGrant) -> T) -> T {
        let mut of_grants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        use_it(of_grants.entry(grant_id.to_owned()).or_default())
    }

    fn let_in(self: &Arc<Self>, grant_id: &str, provider: &str, now: Instant) -> std::result::Result<UnderWay, Fault> {
        self.locked(grant_id, |of_grant| {
            let at_once = of_grant.under_way + 1;
            of_grant.most_at_once = of_grant.most_at_once.max(at_once);
            if is_exchange(provider) && at_once > MOST_AT_ONCE_ON_EXCHANGE {
                return Err(Fault::status_with_retry_after(429, EXCHANGE_RETRY_AFTER));
            }
            let is_past = |earlier: &mut Instant| now.saturating_duration_since(*earlier) >= Duration::from_secs(1);
            while of_grant.let_in.pop_front_if(is_past).is_some() {}
            if of_grant.let_in.len() >= MOST_IN_ONE_SECOND {
                return Err(Fault::status(429));
            }
            of_grant.let_in.push_back(now);
            of_grant.under_way = at_once;
            Ok(())
        })?;
        Ok(UnderWay { traffic: Arc::clone(self), grant_id: grant_id.to_owned() })
    }
}

/// A call that was let in, until it is dropped.
#[derive(Debug)]
struct UnderWay {
    traffic: Arc<Traffic>,
    grant_id: String,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.traffic.locked(&self.grant_id, |of_grant| of_grant.under_way -= 1);
    }
}

/// Whether the accounts of a provider lie on an Exchange server.
pub(super) fn is_exchange(provider: &str) -> bool {
    matches!(provider, "microsoft" | "ews")
}

/// What lets in the calls of the API: those for the contacts of an account within its limits, and all others.
pub(super) fn gate(api: Arc<Api>) -> Gate {
    Box::new(move |path| {
        let Some((grant_id, provider)) = account_of(&api, path) else { return Ok(None) };
        let under_way = api.traffic.let_in(&grant_id, &provider, Instant::now())?;
        Ok(Some(Box::new(under_way)))
    })
}

/// The id and the provider of the grant whose contacts a path leads to.
fn account_of(api: &Api, path: &str) -> Option<(String, String)> {
    let mut parts = path.strip_prefix("/v3/grants/")?.split('/');
    let name = parts.next()?.replace('+', "%2B");
    if parts.next()? != "contacts" {
        return None;
    }
    let (name, _) = form_urlencoded::parse(name.as_bytes()).next()?;
    api.locked(|grants| {
        let grant = grants.iter().find(|grant| grant.is_named(&name))?;
        Some((grant.id.clone(), grant.provider.clone()))
    })
}

impl Nylas {
    /// The most calls for contacts of this grant that were under way at one time, one that was refused for it included.
    #[must_use]
    pub fn most_at_once(&self, grant_id: &str) -> usize {
        self.api.traffic.locked(grant_id, |of_grant| of_grant.most_at_once)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::try_join_all;
    use serde_json::json;

    use super::super::tests::{get_json, request};
    use super::super::{Grant, Nylas};
    use super::*;

    #[test]
    fn two_hundred_calls_of_one_grant_are_let_in_within_any_second() {
        let traffic: Arc<Traffic> = Arc::default();
        let begun = Instant::now();
        let let_in = |grant: &str, millis| traffic.let_in(grant, "google", begun + Duration::from_millis(millis)).err();
        for number in 0..200 {
            assert_eq!(let_in("g", number), None, "{number}");
        }
        assert_eq!(let_in("g", 999), Some(Fault::status(429)), "without Retry-After");
        assert_eq!(let_in("other", 999), None);
        assert_eq!(let_in("g", 1000), None, "the first is a second ago");
        assert_eq!(let_in("g", 1000), Some(Fault::status(429)), "the second is not");
    }

    #[tokio::test]
    async fn a_call_above_the_rate_is_answered_without_retry_after() {
        let nylas =
            Nylas::builder().grant(Grant::google("g", "ines+team@northwind.example")).start().expect("a free port");
        let soon = Instant::now() + Duration::from_secs(30);
        for _ in 0..200 {
            drop(nylas.api.traffic.let_in("g", "google", soon).expect("within the limit"));
        }
        for name in ["g", "grant:g", "ines%2Bteam%40northwind.example", "ines+team@northwind.example"] {
            let path = format!("/v3/grants/{name}/contacts");
            let refused = request(&nylas, reqwest::Method::GET, &path).send().await.expect("answered");
            assert_eq!((refused.status().as_u16(), refused.headers().get("retry-after")), (429, None), "{name}");
            let body: serde_json::Value = refused.json().await.expect("JSON");
            assert_eq!(body["error"]["type"], json!("rate_limit_error"));
        }
        assert_eq!(get_json(&nylas, "/v3/grants/g/folders").await.0, 200, "the limit is that of contacts");
    }

    #[tokio::test]
    async fn exchange_serves_four_calls_of_one_grant_at_a_time_and_others_serve_more() {
        let nylas = Nylas::builder()
            .grant(Grant::microsoft("m", "tobias.lindqvist@northwind.example"))
            .grant(Grant::google("g", "ines.duarte@northwind.example"))
            .start()
            .expect("a free port exists");
        nylas.faults().set_latency(Duration::from_millis(300));
        for (grant, refused, most_at_once) in [("m", 2, 5), ("g", 0, 6)] {
            let path = format!("/v3/grants/{grant}/contacts");
            let asked = (0..6).map(|_| request(&nylas, reqwest::Method::GET, &path).send());
            let answers = try_join_all(asked).await.expect("all are answered");
            let too_many: Vec<_> = answers.iter().filter(|answer| answer.status() == 429).collect();
            assert_eq!(too_many.len(), refused, "{grant}");
            assert!(too_many.iter().all(|answer| answer.headers()["retry-after"] == "1"));
            assert_eq!(nylas.most_at_once(grant), most_at_once, "{grant}");
        }
        nylas.faults().clear();
        assert_eq!(get_json(&nylas, "/v3/grants/m/contacts").await.0, 200, "calls that are over take no place");
    }
}
