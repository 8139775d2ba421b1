//! Events of the Nylas stand-in: lists and one, with the filters, the paging and the refusals of the original.

use std::sync::Arc;

use axum::extract::{Path as UrlPath, State};
use jiff::{civil::Date, tz::TimeZone};
use serde_json::{Map, Value};

use super::calendars::{NO_PRIMARY, calendars_of, is_main};
use super::{Answered, Api, ApiError, Asked, Grant, Nylas, Parameters, Query, page_body};

const EVENTS_LIMIT: (usize, usize) = (50, 200);

const DAY: i64 = 24 * 60 * 60;

const MONTH: i64 = 31 * DAY;

/// The longest span that iCloud lists, in seconds: six months.
const ICLOUD_SPAN: i64 = 184 * DAY;

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    UrlPath(grant): UrlPath<String>,
    Query(query): Parameters,
) -> Answered {
    let known = [
        "calendar_id",
        "start",
        "end",
        "limit",
        "page_token",
        "updated_after",
        "updated_before",
        "show_cancelled",
        "master_event_id",
        "ical_uid",
        "title",
        "busy",
        "metadata_pair",
        "select",
        "expand_recurring",
    ];
    let filters = ["start", "end", "updated_after", "updated_before", "master_event_id", "title", "busy"];
    let asked = Asked::check(query, &known)?;
    let grant = api.grant(&grant)?;
    let calendar = calendar_of(&asked, &grant)?;
    let pair = asked.metadata_pair(&["calendar_id", "limit", "page_token", "select"])?;
    let by_uid = asked.text("ical_uid").is_some();
    // Neither takes a span beside it, so neither has one that is meant.
    let is_whenever = by_uid || pair.is_some();
    if by_uid && filters.iter().any(|filter| asked.text(filter).is_some()) {
        return Err(ApiError::invalid("ical_uid takes no other filter beside it"));
    }
    let by_change = ["updated_after", "updated_before"].iter().any(|filter| asked.text(filter).is_some());
    if by_change && !matches!(grant.provider.as_str(), "google" | "microsoft" | "ews") {
        return Err(ApiError::invalid(format!("{} does not tell when events changed", grant.provider)));
    }
    let (start, end) = (asked.number("start")?, asked.number("end")?);
    if grant.provider == "icloud" && !is_whenever && start.zip(end).is_none_or(|(start, end)| end - start > ICLOUD_SPAN)
    {
        return Err(ApiError::invalid("iCloud takes a span of no more than six months"));
    }
    // Without a span the next month is meant (Nylas API reference, `start` and `end`).
    let now = jiff::Timestamp::now().as_second();
    let (start, end) = if is_whenever { (start, end) } else { (start.or(Some(now)), end.or(Some(now + MONTH))) };
    let (after, before) = (asked.number("updated_after")?, asked.number("updated_before")?);
    let show_cancelled = asked.text("show_cancelled") == Some("true");
    // The original makes occurrences of masters unless it is told not to.
    let expands = asked.text("expand_recurring") != Some("false");
    let mut found: Vec<Value> = grant
        .events
        .iter()
        .filter(|event| {
            let span = span_of(&event["when"]);
            let changed = event["updated_at"].as_i64().unwrap_or_default();
            let is = |name: &str, key: &str| asked.text(name).is_none_or(|wanted| event[key] == wanted);
            is_in(event, calendar, &grant)
                && (show_cancelled || event["status"] != "cancelled")
                && start.is_none_or(|start| is_master(event) || span.is_some_and(|(_, ends)| ends > start))
                && end.is_none_or(|end| span.is_some_and(|(begins, _)| begins < end))
                && after.is_none_or(|after| changed > after)
                && before.is_none_or(|before| changed < before)
                && pair.is_none_or(|(key, value)| event["metadata"][key] == value)
                && is("master_event_id", "master_event_id")
                && is("ical_uid", "ical_uid")
                && is("title", "title")
        })
        .map(|event| if expands { first_occurrence_of(event) } else { event.clone() })
        .collect();
    found.sort_by_key(|event| span_of(&event["when"]).map(|(begins, _)| begins));
    let (page, cursor) = asked.page(found, EVENTS_LIMIT, api.largest_page)?;
    let shown = page.iter().map(|event| asked.show(event)).collect::<std::result::Result<_, _>>()?;
    Ok(api.success(page_body(shown, cursor)))
}

pub(super) async fn find(
    State(api): State<Arc<Api>>,
    UrlPath((grant, id)): UrlPath<(String, String)>,
    Query(query): Parameters,
) -> Answered {
    let asked = Asked::check(query, &["calendar_id", "select"])?;
    let grant = api.grant(&grant)?;
    let calendar = calendar_of(&asked, &grant)?;
    let event = grant.events.iter().find(|event| event["id"] == id.as_str() && is_in(event, calendar, &grant));
    let shown = asked.show(event.ok_or_else(ApiError::not_found)?)?;
    Ok(api.success(Map::from_iter([("data".to_owned(), shown)])))
}

/// A series goes on for as long as its rule says, which is not followed here: it lies in every span after its beginning.
fn is_master(event: &Value) -> bool {
    event["recurrence"].as_array().is_some_and(|rules| !rules.is_empty())
}

fn first_occurrence_of(event: &Value) -> Value {
    let mut event = event.clone();
    if is_master(&event) {
        let master = event["id"].clone();
        event["id"] = format!("{}-first", master.as_str().unwrap_or_default()).into();
        event["master_event_id"] = master;
        event["recurrence"] = Value::Null;
    }
    event
}

/// The calendar that a call names, as it must.
pub(super) fn calendar_of<'a>(asked: &'a Asked, grant: &Grant) -> std::result::Result<&'a str, ApiError> {
    match asked.text("calendar_id") {
        None => Err(ApiError::invalid("calendar_id is required")),
        Some("primary") if grant.provider == "icloud" => Err(ApiError::invalid(NO_PRIMARY)),
        Some(calendar) if calendar == "primary" || grant.provider == "microsoft" => Ok(calendar),
        Some(calendar) => {
            let is_there = |known: &Value| known["id"] == calendar;
            if calendars_of(grant).iter().any(is_there) { Ok(calendar) } else { Err(ApiError::not_found()) }
        }
    }
}

/// The main calendar has several names; Microsoft looks at the event's id alone.
pub(super) fn is_in(event: &Value, calendar: &str, grant: &Grant) -> bool {
    let own = event["calendar_id"].as_str().unwrap_or("primary");
    grant.provider == "microsoft" || own == calendar || is_main(grant, own) && is_main(grant, calendar)
}

/// When an event begins and ends, in Unix seconds; whole days as in UTC.
pub(super) fn span_of(when: &Value) -> Option<(i64, i64)> {
    let day = |name: &str| {
        let date: Date = when[name].as_str()?.parse().ok()?;
        Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
    };
    let time = |name: &str| when[name].as_i64();
    time("start_time")
        .map(|start| (start, time("end_time").unwrap_or(start)))
        .or_else(|| time("time").map(|time| (time, time)))
        .or_else(|| day("start_date").map(|first| (first, day("end_date").unwrap_or(first) + DAY)))
        .or_else(|| day("date").map(|date| (date, date + DAY)))
}

impl Nylas {
    /// The events of a grant, those that were there and those that were made, as they are now.
    #[must_use]
    pub fn events(&self, grant_id: &str) -> Vec<Value> {
        self.api.locked(|grants| {
            grants.iter().filter(|grant| grant.id == grant_id).flat_map(|grant| grant.events.clone()).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::get_json;
    use super::*;

    fn event(id: &str, start: i64, fields: Value) -> Value {
        let mut event = json!({
            "id": id, "calendar_id": "primary", "object": "event", "title": id, "status": "confirmed",
            "when": {"object": "timespan", "start_time": start, "end_time": start + 1800}, "updated_at": start - 100,
        });
        let (Some(object), Value::Object(fields)) = (event.as_object_mut(), fields) else { panic!("objects") };
        object.extend(fields);
        event
    }

    fn nylas() -> Nylas {
        let nylas = Nylas::builder()
            .grant(Grant::google("g", "ines.duarte@northwind.example"))
            .grant(Grant { provider: "icloud".to_owned(), ..Grant::imap("i", "mei.lin@northwind.example") })
            .start()
            .expect("a free port exists");
        for (id, start, fields) in [
            ("e1", 1000, json!({})),
            ("e2", 5000, json!({"master_event_id": "m", "ical_uid": "u"})),
            ("e3", 9000, json!({"status": "cancelled"})),
            (
                "e4",
                20_000,
                json!({"when": {"object": "datespan", "start_date": "1970-01-02", "end_date": "1970-01-03"}}),
            ),
            ("e5", 1000, json!({"calendar_id": "team"})),
        ] {
            nylas.put_event("g", event(id, start, fields)).expect("the grant is connected");
        }
        nylas
    }

    async fn ids(nylas: &Nylas, query: &str) -> Vec<String> {
        // From the beginning of time, unless a test says otherwise.
        let has_its_own = ["start=", "ical_uid="].iter().any(|filter| query.contains(filter));
        let span = if has_its_own { "" } else { "&start=0&end=4000000000" };
        let (status, body) = get_json(nylas, &format!("/v3/grants/g/events?{query}{span}")).await;
        assert_eq!(status, 200, "{query}: {body}");
        body["data"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|event| event["id"].as_str().map(str::to_owned))
            .collect()
    }

    #[tokio::test]
    async fn events_are_listed_by_calendar_span_change_series_and_uid() {
        let nylas = nylas();
        assert_eq!(ids(&nylas, "calendar_id=primary").await, ["e1", "e2", "e4"]);
        assert_eq!(ids(&nylas, "calendar_id=ines.duarte@northwind.example&show_cancelled=true").await.len(), 4);
        assert_eq!(ids(&nylas, "calendar_id=team").await, ["e5"]);
        assert_eq!(ids(&nylas, "calendar_id=primary&start=3000&end=80000").await, ["e2"]);
        assert_eq!(
            ids(&nylas, "calendar_id=primary&start=200000&end=300000").await,
            ["e4"],
            "the last day belongs to it"
        );
        assert_eq!(ids(&nylas, "calendar_id=primary&updated_after=4000").await, ["e2", "e4"]);
        assert_eq!(ids(&nylas, "calendar_id=primary&master_event_id=m").await, ["e2"]);
        assert_eq!(ids(&nylas, "calendar_id=primary&ical_uid=u").await, ["e2"]);
    }

    #[tokio::test]
    async fn events_of_a_uid_are_found_whenever_they_are_with_a_limit_and_a_calendar_alone() {
        let nylas = nylas();
        nylas.put_event("g", event("e6", 7000, json!({"ical_uid": "u"}))).expect("connected");
        nylas.put_event("i", event("e7", 1000, json!({"calendar_id": "home", "ical_uid": "u"}))).expect("connected");
        assert_eq!(ids(&nylas, "calendar_id=primary&ical_uid=u&limit=50").await, ["e2", "e6"]);
        assert_eq!(ids(&nylas, "calendar_id=primary&ical_uid=u&limit=1").await, ["e2"]);
        let (status, body) = get_json(&nylas, "/v3/grants/i/events?calendar_id=home&ical_uid=u").await;
        assert_eq!((status, &body["data"][0]["id"]), (200, &json!("e7")));
    }

    #[tokio::test]
    async fn next_month_is_meant_without_a_span_and_masters_are_expanded_unless_told_otherwise() {
        let nylas = nylas();
        let now = jiff::Timestamp::now().as_second();
        for (id, start) in [("past", now - DAY), ("soon", now + DAY), ("far", now + 60 * DAY)] {
            nylas.put_event("g", event(id, start, json!({"calendar_id": "spans"}))).expect("connected");
        }
        let (_, body) = get_json(&nylas, "/v3/grants/g/events?calendar_id=spans").await;
        assert_eq!(body["data"][0]["id"], "soon");
        assert_eq!(body["data"].as_array().map(Vec::len), Some(1));
        let series = json!({"calendar_id": "series", "recurrence": ["RRULE:FREQ=WEEKLY"]});
        nylas.put_event("g", event("m", 1000, series)).expect("connected");
        assert_eq!(ids(&nylas, "calendar_id=series").await, ["m-first"]);
        assert_eq!(ids(&nylas, "calendar_id=series&expand_recurring=false").await, ["m"]);
    }

    #[tokio::test]
    async fn list_is_paged_by_its_cursor() {
        let nylas = nylas();
        let (_, first) =
            get_json(&nylas, "/v3/grants/g/events?calendar_id=primary&limit=2&start=0&end=4000000000").await;
        let cursor = first["next_cursor"].as_str().expect("there is more").to_owned();
        assert_eq!(ids(&nylas, &format!("calendar_id=primary&limit=2&page_token={cursor}")).await, ["e4"]);
    }

    #[tokio::test]
    async fn what_the_original_refuses_is_refused() {
        let nylas = nylas();
        for (grant, query) in [
            ("g", ""),
            ("g", "calendar_id=primary&ical_uid=u&start=1"),
            ("g", "calendar_id=primary&limit=201"),
            ("g", "calendar_id=primary&colour=red"),
            ("i", "calendar_id=primary&start=0&end=10"),
            ("i", "calendar_id=home&start=0"),
            ("i", "calendar_id=home&start=0&end=20000000"),
            ("i", "calendar_id=home&start=0&end=10&updated_after=1"),
        ] {
            assert_eq!(get_json(&nylas, &format!("/v3/grants/{grant}/events?{query}")).await.0, 400, "{grant} {query}");
        }
    }

    #[tokio::test]
    async fn one_event_is_found_in_its_calendar_and_gone_once_removed() {
        let nylas = nylas();
        let status = async |path: &str| get_json(&nylas, path).await.0;
        assert_eq!(status("/v3/grants/g/events/e1?calendar_id=primary").await, 200);
        assert_eq!(status("/v3/grants/g/events/e1?calendar_id=team").await, 404);
        assert_eq!(status("/v3/grants/g/events/e1").await, 400);
        nylas.remove_event("g", "e1");
        assert_eq!(status("/v3/grants/g/events/e1?calendar_id=primary").await, 404);
    }
}
