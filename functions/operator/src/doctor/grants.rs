//! The connected accounts, judged: which have expired, since when, and what has been missed of them since; which are
//! configured and not connected; which came back and are still waited for.

use jiff::{SignedDuration, Timestamp};
use shared::engine::StoreError;
use shared::engine::progress::Progress;
use shared::nylas::mailboxes::Grant;

use super::line::Line;

/// The most expired accounts that have a line of their own.
const MOST_LISTED: usize = 20;

/// How long Nylas itself makes up for what was not notified, once an account is back (Nylas documentation, "Grants",
/// re-authentication).
const MADE_UP_BY_NYLAS: SignedDuration = SignedDuration::from_hours(72);

/// How long looking for what was missed may take once an account is back.
const LOOKED_FOR_WITHIN: SignedDuration = SignedDuration::from_hours(2);

/// How long ago an account may have come back for that to be told.
const TOLD_FOR: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What an account is to this stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Customers are written from it.
    Onboarding,
    /// Its mail becomes tickets.
    Support,
    /// Its mail and meetings go to the CRM.
    Ordinary,
}

/// What calendar-sync has been told of how an account is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// `connected`, `expired` or `deleted`.
    pub state: String,
    /// Since when.
    pub since: Timestamp,
}

/// What the stack keeps of an account.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kept {
    /// What was told of it last, if anything.
    pub told: Option<Told>,
    /// Up to when it has been looked through, by the function that does so; none if it has not been.
    pub looked_through: Vec<(&'static str, Option<Timestamp>)>,
    /// How far looking for what was missed has come, by the function that does so, if the account came back.
    pub returned: Vec<(&'static str, Option<Progress>)>,
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// As Nylas has it.
    pub grant: Grant,
    /// What it is to this stack.
    pub role: Role,
    /// What is kept of it; none if there was no time to look.
    pub kept: Option<Result<Kept, StoreError>>,
}

/// A grant that the stack is configured with and Nylas does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// The parameter that names it.
    pub parameter: &'static str,
    /// The grant.
    pub grant: String,
}

/// All lines about them.
#[must_use]
pub fn judge(accounts: &[Account], unknown: &[Unknown], now: Timestamp) -> Vec<Line> {
    let mut lines = vec![all(accounts)];
    let mut expired: Vec<&Account> = accounts.iter().filter(|account| !account.grant.is_valid()).collect();
    expired.sort_by_key(|account| account.role);
    lines.extend(expired.iter().take(MOST_LISTED).map(|account| lost(account, now)));
    if expired.len() > MOST_LISTED {
        let more = expired.len() - MOST_LISTED;
        let to_do = "have their users connect them again in your application; the Nylas dashboard lists them all";
        lines.push(Line::red("other expired accounts", format!("{more} more have expired"), to_do));
    }
    lines.extend(unknown.iter().map(not_connected));
    lines.extend(accounts.iter().filter_map(|account| back(account, now)));
    lines.extend(unread(accounts));
    lines
}

/// How many there are.
fn all(accounts: &[Account]) -> Line {
    let what = "the connected accounts";
    let valid = accounts.iter().filter(|account| account.grant.is_valid()).count();
    match (accounts.len(), accounts.len() - valid) {
        (0, _) => Line::warning(
            what,
            "there are none: nothing is notified",
            "connect accounts in your application; if there are some, `NylasApiKey` is of another application",
        ),
        (count, 0) => Line::ok(what, format!("{count}, all valid")),
        (count, expired) => Line::ok(what, format!("{count}: {valid} valid, {expired} expired, of which below")),
    }
}

/// An account that has expired: since when, and what that costs.
fn lost(account: &Account, now: Timestamp) -> Line {
    let Grant { id, email, provider, .. } = &account.grant;
    let whose = email.as_deref().unwrap_or("an account without an address");
    let provider = provider.as_deref().unwrap_or("unknown provider");
    let kept = account.kept.as_ref().and_then(|kept| kept.as_ref().ok()).cloned().unwrap_or_default();
    let since = match &kept.told {
        Some(told) if told.state == "expired" => format!("has expired since {}", told.since),
        _ => "has expired; Nylas has not notified since when".to_owned(),
    };
    let (what, costs) = match account.role {
        Role::Onboarding => {
            (format!("the onboarding account {id}"), "no customer is written to, and no call can be booked")
        }
        Role::Support => (format!("the support mailbox {id}"), "no support mail becomes a ticket"),
        Role::Ordinary => (format!("the account {id}"), "its mail and meetings do not reach the CRM"),
    };
    let looked_through = kept.looked_through.iter().filter_map(|(_, until)| *until).min();
    let missed = match looked_through {
        None => "it was never looked through, so what lies before is brought by `make backfill`".to_owned(),
        Some(until) => {
            let gap = now.duration_since(until);
            let made_up = if gap > MADE_UP_BY_NYLAS {
                "longer than the 72 hours that Nylas makes up for: the stack fetches the rest itself once it is back; opens \
                 and clicks are lost"
            } else {
                "fetched once it is back"
            };
            format!("looked through until {until}, so {} are missing: {made_up}", span(gap))
        }
    };
    let to_do = format!(
        "have its user connect it again in your application; nothing else has to be done, and the lines of the next \
         `make doctor` tell how far fetching what was missed has come{}",
        if account.role == Role::Ordinary { "" } else { "; do it now, for customers wait" }
    );
    Line::red(what, format!("{whose} ({provider}) {since}: {costs}; {missed}"), to_do)
}

/// A span of time in words, rounded down.
fn span(of: SignedDuration) -> String {
    match of.as_hours() {
        hours if hours >= 48 => format!("{} days", hours / 24),
        1 => "1 hour".to_owned(),
        hours if hours > 1 => format!("{hours} hours"),
        _ => format!("{} minutes", of.as_mins()),
    }
}

fn not_connected(Unknown { parameter, grant }: &Unknown) -> Line {
    Line::red(
        format!("the grant {grant} of `{parameter}`"),
        "Nylas knows no such grant: it was deleted, or it is of another application",
        format!(
            "connect that account in your application, put its grant id into `{parameter}` as the Nylas dashboard shows it, \
             and deploy"
        ),
    )
}

/// An account that came back within the last days: whether what was missed has been looked for.
fn back(account: &Account, now: Timestamp) -> Option<Line> {
    let kept = account.kept.as_ref()?.as_ref().ok()?;
    let since = kept.told.as_ref().filter(|told| told.state == "connected" && account.grant.is_valid())?.since;
    let ago = now.duration_since(since);
    // One that was connected for the first time has nothing to be looked for.
    if ago > TOLD_FOR || kept.returned.iter().all(|(_, progress)| progress.is_none()) {
        return None;
    }
    let part = |(function, progress): &(&str, Option<Progress>)| match progress {
        None => format!("{function} not begun"),
        Some(progress) => {
            let found = progress.counts.get("recovered").copied().unwrap_or_default();
            let ended = if progress.ended { "ended" } else { "under way" };
            format!("{function} {ended}, {found} found")
        }
    };
    let what = format!("the returned account {}", account.grant.id);
    let parts: Vec<String> = kept.returned.iter().map(part).collect();
    let seen = format!("back since {since}; looking for what was missed: {}", parts.join("; "));
    let has_ended = kept.returned.iter().all(|(_, progress)| progress.as_ref().is_some_and(|known| known.ended));
    if has_ended || ago < LOOKED_FOR_WITHIN {
        return Some(Line::ok(what, seen));
    }
    let to_do = format!(
        "see the lines of the queues; once they are empty give `make reconcile GRANT={}`, which does nothing twice",
        account.grant.id
    );
    Some(Line::warning(what, seen, to_do))
}

/// What could not be read, or was left out.
fn unread(accounts: &[Account]) -> Vec<Line> {
    let what = "what is kept of the accounts";
    let failed = accounts.iter().find_map(|account| account.kept.as_ref()?.as_ref().err());
    let mut lines: Vec<Line> = failed.map(|problem| Line::unexamined(what, problem)).into_iter().collect();
    let left_out = accounts.iter().filter(|account| account.kept.is_none()).count();
    if left_out > 0 {
        lines.push(Line::warning(
            what,
            format!("there was no time to look at {left_out} of {}", accounts.len()),
            "give the command again at a quieter time; expired accounts are looked at first",
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::line::State;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    const HOUR: i64 = 3600;
    const NOW: i64 = 1_772_359_200;

    fn account(id: &str, role: Role, status: &str, kept: Kept) -> Account {
        let grant = Grant {
            id: id.to_owned(),
            email: Some(format!("{id}@northwind.example")),
            provider: Some("google".to_owned()),
            grant_status: Some(status.to_owned()),
        };
        Account { grant, role, kept: Some(Ok(kept)) }
    }

    fn told(state: &str, since: i64) -> Told {
        Told { state: state.to_owned(), since: at(since) }
    }

    fn expired(id: &str, role: Role, hours: i64) -> Account {
        let looked_through = vec![("calendar-sync", Some(at(NOW - hours * HOUR))), ("email-activity", Some(at(NOW)))];
        let kept = Kept { told: Some(told("expired", NOW - hours * HOUR)), looked_through, returned: Vec::new() };
        account(id, role, "invalid", kept)
    }

    #[test]
    fn accounts_that_are_all_valid_are_one_line_that_is_ok_and_none_at_all_are_a_warning() {
        let two = [
            account("a", Role::Ordinary, "valid", Kept::default()),
            account("s", Role::Support, "valid", Kept::default()),
        ];
        assert_eq!(judge(&two, &[], at(NOW)), [Line::ok("the connected accounts", "2, all valid")]);
        let [none] = judge(&[], &[], at(NOW)).try_into().expect("one line");
        assert_eq!(none.state, State::Warning);
        assert!(none.to_do.is_some_and(|to_do| to_do.contains("connect accounts")));
    }

    #[test]
    fn expired_account_is_red_with_since_when_and_what_was_missed() {
        let lines = judge(&[expired("a", Role::Ordinary, 5)], &[], at(NOW));
        let line = &lines[1];
        assert_eq!((line.what.as_str(), line.state), ("the account a", State::Red));
        for words in [
            "a@northwind.example (google) has expired since 2026-03-01T05:00:00Z",
            "its mail and meetings do not reach the CRM",
            "5 hours are missing: fetched once it is back",
        ] {
            assert!(line.seen.contains(words), "{}", line.seen);
        }
        assert!(line.to_do.as_ref().is_some_and(|to_do| to_do.contains("connect it again in your application")));
        let long = judge(&[expired("a", Role::Ordinary, 80)], &[], at(NOW));
        assert!(long[1].seen.contains("3 days are missing: longer than the 72 hours"), "{}", long[1].seen);
        let never = account("n", Role::Ordinary, "invalid", Kept::default());
        let never = judge(&[never], &[], at(NOW));
        assert!(never[1].seen.contains("Nylas has not notified since when"), "{}", never[1].seen);
        assert!(never[1].seen.contains("make backfill"), "{}", never[1].seen);
    }

    #[test]
    fn expired_mailbox_of_support_or_onboarding_stands_first_and_says_what_stops() {
        let accounts =
            [expired("a", Role::Ordinary, 5), expired("s", Role::Support, 5), expired("o", Role::Onboarding, 5)];
        let lines = judge(&accounts, &[], at(NOW));
        let names: Vec<&str> = lines[1..].iter().map(|line| line.what.as_str()).collect();
        assert_eq!(names, ["the onboarding account o", "the support mailbox s", "the account a"]);
        assert!(lines[1].seen.contains("no customer is written to"));
        assert!(lines[2].seen.contains("no support mail becomes a ticket"));
        assert!(lines[2].to_do.as_ref().is_some_and(|to_do| to_do.contains("do it now")));
    }

    #[test]
    fn many_expired_accounts_are_counted_beyond_the_first() {
        let accounts: Vec<Account> = (0..25).map(|number| expired(&format!("a{number}"), Role::Ordinary, 5)).collect();
        let lines = judge(&accounts, &[], at(NOW));
        assert_eq!(lines.len(), 1 + MOST_LISTED + 1);
        assert_eq!(lines[MOST_LISTED + 1].seen, "5 more have expired");
    }

    #[test]
    fn grant_that_is_configured_and_unknown_to_nylas_is_red() {
        let unknown = Unknown { parameter: "SupportGrantIds", grant: "gone".to_owned() };
        let lines = judge(&[account("a", Role::Ordinary, "valid", Kept::default())], &[unknown], at(NOW));
        assert_eq!((lines[1].state, lines[1].what.as_str()), (State::Red, "the grant gone of `SupportGrantIds`"));
        assert!(lines[1].to_do.as_ref().is_some_and(|to_do| to_do.contains("put its grant id into `SupportGrantIds`")));
    }

    #[test]
    fn account_that_came_back_tells_how_far_looking_has_come_and_is_a_warning_if_that_takes_too_long() {
        let progress = |ended| {
            Some(Progress { ended, counts: [("recovered".to_owned(), 4)].into_iter().collect(), ..Progress::default() })
        };
        let returned = |hours: i64, ended| {
            let returned = vec![("calendar-sync", progress(ended)), ("email-activity", progress(true))];
            let kept = Kept { told: Some(told("connected", NOW - hours * HOUR)), looked_through: Vec::new(), returned };
            judge(&[account("a", Role::Ordinary, "valid", kept)], &[], at(NOW))
        };
        let done = returned(5, true);
        assert_eq!(done[1].state, State::Ok);
        assert!(done[1].seen.contains("calendar-sync ended, 4 found"), "{}", done[1].seen);
        assert_eq!(returned(1, false)[1].state, State::Ok);
        let slow = returned(5, false);
        assert_eq!(slow[1].state, State::Warning);
        assert!(slow[1].to_do.as_ref().is_some_and(|to_do| to_do.contains("make reconcile GRANT=a")));
        assert_eq!(returned(8 * 24, true).len(), 1, "that is no news any more");
    }

    #[test]
    fn what_cannot_be_read_is_red_once_and_what_was_left_out_is_a_warning() {
        let down = Some(Err(StoreError("the links table is down".to_owned())));
        let accounts = [
            Account { kept: down.clone(), ..account("a", Role::Ordinary, "valid", Kept::default()) },
            Account { kept: down, ..account("b", Role::Ordinary, "valid", Kept::default()) },
            Account { kept: None, ..account("c", Role::Ordinary, "valid", Kept::default()) },
        ];
        let lines = judge(&accounts, &[], at(NOW));
        let states: Vec<State> = lines.iter().map(|line| line.state).collect();
        assert_eq!(states, [State::Ok, State::Red, State::Warning]);
        assert!(lines[1].seen.contains("the links table is down"));
        assert!(lines[2].seen.contains("1 of 3"));
    }
}
