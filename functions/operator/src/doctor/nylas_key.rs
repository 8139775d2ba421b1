//! The key of Nylas, judged by what came of listing the accounts.

use shared::http::CallError;
use shared::nylas::NylasError;

use super::line::Line;

/// How the key stands. `listed` is how many accounts it saw.
#[must_use]
pub fn judge(listed: Result<usize, &NylasError>, api_uri: Option<&str>) -> Line {
    let what = "the Nylas key";
    let address = api_uri.map_or_else(|| "`NylasApiUri`".to_owned(), |uri| format!("`NylasApiUri` ({uri})"));
    match listed {
        Ok(accounts) => Line::ok(what, format!("accepted; it sees {accounts} connected accounts")),
        Err(NylasError::Call(CallError::Unauthorized { status, parameter, .. })) => Line::red(
            what,
            format!("Nylas refuses it with {status}: nothing can be fetched, and messages wait"),
            format!(
                "put a valid one into `{parameter}` and deploy; a key is good for the region of its application alone, so \
                 see whether {address} is that"
            ),
        ),
        Err(NylasError::Call(CallError::NotFound { .. } | CallError::Unreadable { .. })) => Line::red(
            what,
            "what answers there is not Nylas's API",
            format!("see whether {address} is right, and deploy"),
        ),
        Err(error) => Line::red(
            what,
            format!("whether it is good cannot be told: {error}"),
            format!("give the command again in a few minutes; if it stays so, see whether {address} is right"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::line::State;
    use crate::testing::nylas_is_slow;

    #[test]
    fn key_is_ok_if_it_lists_accounts_and_red_if_it_is_refused_or_nobody_answers() {
        let uri = Some("https://api.us.nylas.com");
        assert_eq!(judge(Ok(3), uri), Line::ok("the Nylas key", "accepted; it sees 3 connected accounts"));
        let refused: NylasError =
            CallError::Unauthorized { api: "Nylas", status: 401, parameter: "NylasApiKey" }.into();
        let gone: NylasError = CallError::NotFound { api: "Nylas", what: "list of grants", gone: false }.into();
        for (error, seen, to_do) in [
            (refused, "refuses it with 401", "put a valid one into `NylasApiKey` and deploy"),
            (gone, "is not Nylas's API", "see whether `NylasApiUri` (https://api.us.nylas.com) is right"),
            (nylas_is_slow(), "did not answer in time", "again in a few minutes"),
        ] {
            let line = judge(Err(&error), uri);
            assert_eq!(line.state, State::Red);
            assert!(line.seen.contains(seen), "{}", line.seen);
            assert!(line.to_do.is_some_and(|told| told.contains(to_do)), "{to_do}");
        }
    }
}
