//! `make permissions`: shows of every permission of every role that something fails without it. Each action on each
//! resource is taken out of the deployed role alone, a new instance of the function starts, its smoke cases run until
//! one of them fails, and the permission is given back. What nothing needs is a finding, unless [`UNCHECKED`] explains why
//! the local engine cannot show it.

mod cases;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{ContentArrangement, Table};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use self::cases::{Case, FUNCTIONS, Function};
use crate::local_engine::{EngineError, Options, Permission, Tools};
use crate::stack_view::{DecisionRecord, ViewError};
use crate::world::{Kinds, World, WorldError};
use shared::crm::provider::CrmProvider;
use shared::tickets::provider::TicketProvider;

/// The name of the stack whose roles are tried.
const STACK: &str = "crm-autopilot-permissions";

/// What the roles need for other systems than the generic ones: fields by a map, and a credential that is renewed.
const OTHER_KINDS: Kinds = Kinds { crm: CrmProvider::Salesforce, tickets: TicketProvider::Zendesk };

/// The role that all schedules share.
const SCHEDULES: &str = "SchedulerRole";

/// How long a case may take that has all permissions, and how long one is waited for that lacks one.
const WITHIN: Duration = Duration::from_secs(20);

/// How often it is looked for a refusal.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The longest part of a message that the table shows.
const SHOWN: usize = 110;

/// A permission that the local engine cannot show the need of.
struct Unchecked {
    /// The role; any if there is none.
    role: Option<&'static str>,
    action: &'static str,
    /// A part of the resource as the table shows it; any if it is empty.
    resource: &'static str,
    why: &'static str,
}

const fn unchecked(action: &'static str, why: &'static str) -> Unchecked {
    Unchecked { role: None, action, resource: "", why }
}

/// What the engine is milder in than AWS, so that a permission can be taken and nothing fails.
const UNCHECKED: [Unchecked; 12] = [
    unchecked("sqs:ReceiveMessage", MAPPING),
    unchecked("sqs:DeleteMessage", MAPPING),
    unchecked("sqs:GetQueueAttributes", MAPPING),
    unchecked("logs:CreateLogStream", LOGS),
    unchecked("logs:PutLogEvents", LOGS),
    unchecked("xray:PutTraceSegments", TRACES),
    unchecked("xray:PutTelemetryRecords", TRACES),
    unchecked("iam:PassRole", "the engine makes a schedule without asking whether its maker may hand it that role"),
    unchecked(
        "s3:ListBucket",
        "the engine answers 404 for an object that is missing to everybody; AWS answers 403 to a role without it",
    ),
    unchecked(
        "s3:AbortMultipartUpload",
        "it only tidies up after an upload that broke off; nothing waits for that, and a lifecycle rule does it in a day",
    ),
    Unchecked {
        role: Some("ContactSyncRole"),
        action: "sqs:SendMessage",
        resource: "SchedulerDeadLetterQueue",
        why: "Lambda sends there itself when an invocation by a schedule has failed; the engine does not ask the role",
    },
    Unchecked {
        role: Some(SCHEDULES),
        action: "",
        resource: "",
        why: "the engine's scheduler sends and invokes without asking the role",
    },
];

const MAPPING: &str = "the engine's event-source mapping reads and deletes by itself, without asking the role";
const LOGS: &str = "the engine takes a function's lines from its process and writes them itself";
const TRACES: &str = "Lambda sends the traces in this role, outside the function; the engine keeps none";

/// Why the need of a permission cannot be shown here, if it cannot.
fn unchecked_because(role: &str, action: &str, resource: &str) -> Option<&'static str> {
    let covers = |entry: &&Unchecked| {
        entry.role.is_none_or(|own| own == role)
            && (entry.action.is_empty() || entry.action == action)
            && resource.contains(entry.resource)
    };
    UNCHECKED.iter().find(covers).map(|entry| entry.why)
}

/// The permissions are not as they should be, or could not be tried.
#[derive(Debug, thiserror::Error)]
pub enum PermissionsError {
    /// The world.
    #[error(transparent)]
    World(#[from] WorldError),
    /// There is no such function.
    #[error("there is no function {given}: name one of {known}")]
    UnknownFunction {
        /// What was asked for.
        given: String,
        /// What there is.
        known: String,
    },
    /// A case failed although the function had all of its permissions.
    #[error("{function}: the case `{case}` failed with all permissions ({sign}), so it shows nothing; mend it first")]
    FailsAnyway {
        /// The function.
        function: &'static str,
        /// The case.
        case: &'static str,
        /// What was seen.
        sign: String,
    },
    /// Permissions that nothing needs.
    #[error(
        "nothing fails without these permissions; take them out of template.yaml, let a case need them, or explain in \
         UNCHECKED why the engine cannot show it:\n  {0}"
    )]
    NotNeeded(String),
}

impl From<EngineError> for PermissionsError {
    fn from(error: EngineError) -> Self {
        Self::World(error.into())
    }
}

impl From<ViewError> for PermissionsError {
    fn from(error: ViewError) -> Self {
        Self::World(error.into())
    }
}

/// How a permission turned out.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    Needed { case: &'static str, sign: String },
    Unchecked(&'static str),
    NotNeeded,
}

/// A row of the table.
struct Row {
    role: String,
    statement: String,
    action: String,
    /// By its name in the template.
    resource: String,
    found: Found,
}

impl Row {
    fn new(role: &str, permission: &Permission, resources: &BTreeMap<String, String>) -> Self {
        Self {
            role: role.to_owned(),
            statement: permission.statement.clone(),
            action: permission.action.clone(),
            resource: named(&permission.resource, resources),
            found: Found::NotNeeded,
        }
    }

    fn is_of_the_same(&self, other: &Self) -> bool {
        let of = |row: &Self| (row.role.clone(), row.statement.clone(), row.action.clone(), row.resource.clone());
        of(self) == of(other)
    }
}

/// Tries every permission of every role, or of one function's, and prints what was found.
pub async fn permissions(only: Option<&str>, mut say: impl FnMut(&str)) -> Result<(), PermissionsError> {
    let wanted: Vec<&Function> =
        FUNCTIONS.iter().filter(|function| only.is_none_or(|only| function.name == only)).collect();
    if wanted.is_empty() {
        return Err(PermissionsError::UnknownFunction {
            given: only.unwrap_or_default().to_owned(),
            known: FUNCTIONS.iter().map(|function| function.name).collect::<Vec<_>>().join(", "),
        });
    }
    let mut rows = Vec::new();
    for kinds in [Kinds::default(), OTHER_KINDS] {
        let mut world =
            World::start_with(kinds, &Options::named("permissions"), STACK, &cases::parameters(), &mut say).await?;
        let tried = try_all(&world, kinds, &wanted, &mut rows, &mut say).await;
        world.engine.stop()?;
        tried?;
    }
    say(&format!("\n{}", table_of(&rows)));
    let count = |is_it: fn(&Found) -> bool| rows.iter().filter(|row| is_it(&row.found)).count();
    say(&format!(
        "{} permissions: without {} of them something fails, {} cannot be shown here, {} were not needed",
        rows.len(),
        count(|found| matches!(found, Found::Needed { .. })),
        count(|found| matches!(found, Found::Unchecked(_))),
        count(|found| *found == Found::NotNeeded)
    ));
    let idle = rows.iter().filter(|row| row.found == Found::NotNeeded);
    let idle: Vec<String> =
        idle.map(|row| format!("{} {}: {} on {}", row.role, row.statement, row.action, row.resource)).collect();
    if idle.is_empty() { Ok(()) } else { Err(PermissionsError::NotNeeded(idle.join("\n  "))) }
}

/// Tries what no row says yet to be needed.
async fn try_all(
    world: &World,
    kinds: Kinds,
    functions: &[&Function],
    rows: &mut Vec<Row>,
    say: &mut impl FnMut(&str),
) -> Result<(), PermissionsError> {
    cases::prepare(world).await?;
    let resources = Tools::find()?.resources(&world.stack.name, Some(&world.engine.endpoint())).await?;
    // What the generic systems have shown is not tried again with the others.
    let is_other = kinds.crm != CrmProvider::Rest;
    let systems = format!("with {} and {}", kinds.crm.name(), kinds.tickets.name());
    for function in functions {
        let role = world.engine.role_of(world.stack.function_name(function.output)?).await?;
        let shown_role = format!("{}Role", function.output);
        let mut trial = Trial {
            world,
            function,
            resources: &resources,
            runs: 0,
            passed: is_other,
            is_checked_afterwards: is_other,
        };
        for permission in world.engine.permissions_of(&role).await? {
            let row = Row::new(&shown_role, &permission, &resources);
            let standing = rows.iter().position(|other| other.is_of_the_same(&row));
            if standing.is_some_and(|place| rows[place].found != Found::NotNeeded) {
                continue;
            }
            let found = match unchecked_because(&shown_role, &row.action, &row.resource) {
                Some(why) => Found::Unchecked(why),
                None => trial.without(&role, &permission, &row).await?,
            };
            say(&format!("{} {} on {}, {systems}: {}", function.name, row.action, row.resource, outcome(&found)));
            let row = Row { found, ..row };
            match standing {
                Some(place) => rows[place] = row,
                None => rows.push(row),
            }
        }
    }
    if functions.len() == FUNCTIONS.len()
        && let Some(role) = resources.get(SCHEDULES)
    {
        for permission in world.engine.permissions_of(role).await? {
            let row = Row::new(SCHEDULES, &permission, &resources);
            let found =
                unchecked_because(SCHEDULES, &row.action, &row.resource).map_or(Found::NotNeeded, Found::Unchecked);
            if !rows.iter().any(|other| other.is_of_the_same(&row)) {
                rows.push(Row { found, ..row });
            }
        }
    }
    Ok(())
}

/// The trials of one function.
struct Trial<'a> {
    world: &'a World,
    function: &'a Function,
    resources: &'a BTreeMap<String, String>,
    runs: u32,
    /// Whether all cases have passed with all permissions.
    passed: bool,
    /// Whether only a case that failed is run with all permissions, once it has failed without one.
    is_checked_afterwards: bool,
}

impl Trial<'_> {
    /// Takes a permission, runs cases until one fails, and gives it back.
    async fn without(&mut self, role: &str, permission: &Permission, row: &Row) -> Result<Found, PermissionsError> {
        if !std::mem::replace(&mut self.passed, true) {
            for case in self.function.cases {
                self.passes(case).await?;
            }
        }
        let taken = self.world.engine.take(role, permission).await?;
        let tried = self.first_that_fails(row).await;
        self.world.engine.give_back(taken).await?;
        let Some((case, sign)) = tried? else { return Ok(Found::NotNeeded) };
        // Where nothing was seen but that nothing came, or nothing was tried before, it has to come with the permission.
        if sign == Sign::Nothing || self.is_checked_afterwards {
            self.passes(case).await?;
        }
        Ok(Found::Needed { case: case.name, sign: self.in_words(sign) })
    }

    async fn first_that_fails(&mut self, row: &Row) -> Result<Option<(&'static Case, Sign)>, PermissionsError> {
        let shown = format!("{} {} {}", row.statement, row.action, row.resource);
        let is_for_it = |case: &&Case| case.touches.iter().any(|part| shown.contains(part));
        let (first, others): (Vec<&'static Case>, Vec<&'static Case>) = self.function.cases.iter().partition(is_for_it);
        for case in first.into_iter().chain(others) {
            let mut sign = self.sign_of(case).await?;
            if sign == Some(Sign::Nothing) {
                // A busy machine may have been late once.
                sign = self.sign_of(case).await?;
            }
            if let Some(sign) = sign {
                return Ok(Some((case, sign)));
            }
        }
        Ok(None)
    }

    /// Runs a case that has to pass. One that nothing came of in time may have met a busy machine and is run once more.
    async fn passes(&mut self, case: &'static Case) -> Result<(), PermissionsError> {
        let mut ended = self.sign_of(case).await?;
        if ended == Some(Sign::Nothing) {
            ended = self.sign_of(case).await?;
        }
        ended.map_or(Ok(()), |sign| {
            Err(PermissionsError::FailsAnyway {
                function: self.function.name,
                case: case.name,
                sign: self.in_words(sign),
            })
        })
    }

    fn in_words(&self, sign: Sign) -> String {
        match sign {
            Sign::Seen(words) => shortened(&with_names(&words, self.resources)),
            Sign::Nothing => format!("nothing came of it within {} s", WITHIN.as_secs()),
        }
    }

    /// Runs a case in a new instance, which remembers neither a secret nor a setting.
    async fn sign_of(&mut self, case: &'static Case) -> Result<Option<Sign>, PermissionsError> {
        self.runs += 1;
        let mark = format!("{}-{}", self.function.name, self.runs);
        cases::without_faults(self.world);
        self.end_instances().await?;
        let before = self.refused_records().await?;
        let begun = Instant::now();
        let since = jiff::Timestamp::now().as_millisecond();
        let refusal = async {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                if let Some(sign) = self.refusal(since, &before).await? {
                    return Ok::<_, PermissionsError>(sign);
                }
                if begun.elapsed() > WITHIN {
                    return Ok(Sign::Nothing);
                }
            }
        };
        let ended = tokio::select! {
            ended = case.run(self.world, &mark) => ended?.map(Sign::Seen),
            sign = refusal => Some(sign?),
        };
        if ended.is_some() {
            return Ok(ended);
        }
        // What went well in the end may have been refused something on the way; its lines come with the invocation's end.
        tokio::time::sleep(LOOK_EVERY).await;
        self.refusal(since, &before).await
    }

    /// Ends the instances of the function, and waits until they are gone: what is handed to one that is ending would wait
    /// for the queue's visibility timeout.
    async fn end_instances(&self) -> Result<(), PermissionsError> {
        let name = self.world.stack.function_name(self.function.output)?;
        self.world.engine.kill_function(name)?;
        let begun = Instant::now();
        while !self.world.engine.function_processes(name)?.is_empty() && begun.elapsed() < Duration::from_secs(2) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// What tells of a refusal: a line of the function's log, or the reason of a record.
    async fn refusal(&self, since: i64, before: &BTreeMap<String, u32>) -> Result<Option<Sign>, PermissionsError> {
        let lines = self.world.engine.log_lines(&self.world.stack, self.function.name).await?;
        let line = lines.iter().find(|line| line.timestamp >= since && tells_of_a_refusal(&line.text));
        if let Some(line) = line {
            return Ok(Some(Sign::Seen(refusal_in(&line.text))));
        }
        let new = self.records_of_refusals().await?.into_iter();
        let mut new = new.filter(|record| before.get(&record.notification_id) != Some(&record.failures));
        Ok(new.next().map(|record| Sign::Seen(refusal_in(&record.reason))))
    }

    async fn refused_records(&self) -> Result<BTreeMap<String, u32>, PermissionsError> {
        let records = self.records_of_refusals().await?.into_iter();
        Ok(records.map(|record| (record.notification_id, record.failures)).collect())
    }

    async fn records_of_refusals(&self) -> Result<Vec<DecisionRecord>, PermissionsError> {
        let records = self.world.view.decisions().await?.into_values();
        let of_it =
            |record: &DecisionRecord| record.function == self.function.name && tells_of_a_refusal(&record.reason);
        Ok(records.filter(of_it).collect())
    }
}

/// What was seen when a case failed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Sign {
    /// Words of the function.
    Seen(String),
    /// That nothing came of it in time.
    Nothing,
}

/// Whether a text says that AWS refused something.
fn tells_of_a_refusal(text: &str) -> bool {
    text.contains("AccessDenied") || text.contains("is not authorized to perform")
}

/// The words of a text that tell of the refusal: what could not be done, and the action if it is named.
fn refusal_in(text: &str) -> String {
    let error = serde_json::from_str::<serde_json::Value>(text).ok().and_then(|line| {
        let told = ["error", "reason", "problem"].iter().filter_map(|name| line[*name].as_str());
        told.into_iter().find(|words| tells_of_a_refusal(words)).map(str::to_owned)
    });
    let words = error.unwrap_or_else(|| text.to_owned());
    let end = words.find("AccessDenied").map_or(words.len(), |start| {
        words[start..].find(|letter: char| !letter.is_ascii_alphabetic()).map_or(words.len(), |length| start + length)
    });
    words[..end].to_owned()
}

/// A text on one line, not too long for the table.
fn shortened(text: &str) -> String {
    let line = text.replace('\n', " ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// A resource by its name in the template instead of the one that the deployment gave it.
fn named(arn: &str, resources: &BTreeMap<String, String>) -> String {
    let named = resources.iter().filter_map(|(logical, physical)| {
        let place = arn.find(own_name(physical)?)?;
        let rest = &arn[place + own_name(physical)?.len()..];
        // Secrets Manager puts six letters behind a secret's name, and all streams of a log group are meant by an asterisk.
        let is_mark = |rest: &str| rest == ":*" || (rest.starts_with('-') && rest.len() == 7);
        let rest = if is_mark(rest) { "" } else { rest };
        Some((own_name(physical)?.len(), format!("{logical}{rest}")))
    });
    named.max_by_key(|(length, _)| *length).map_or_else(|| arn.to_owned(), |(_, named)| named)
}

/// What a physical name ends with, which is its own: what stands before is the account's and the region's.
fn own_name(physical: &str) -> Option<&str> {
    physical.rsplit(['/', ':']).next().filter(|own| !own.is_empty())
}

/// A text in which the words that are resources bear their names in the template.
fn with_names(text: &str, resources: &BTreeMap<String, String>) -> String {
    let words = text.split(' ').map(|word| {
        let bare = word.trim_end_matches([':', ',', '.']);
        let is_one = resources
            .values()
            .filter_map(|physical| own_name(physical))
            .any(|own| own.len() > 12 && bare.contains(own));
        if is_one { format!("{}{}", named(bare, resources), &word[bare.len()..]) } else { word.to_owned() }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn outcome(found: &Found) -> String {
    match found {
        Found::Needed { case, sign } => format!("{case}: {sign}"),
        Found::Unchecked(why) => format!("not checked by the engine: {why}"),
        Found::NotNeeded => "NOT NEEDED by any case".to_owned(),
    }
}

fn table_of(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["role", "statement", "action", "on", "without it"]);
    for row in rows {
        let cells = [&row.role, &row.statement, &row.action, &row.resource, &outcome(&row.found)];
        table.add_row(cells.map(|cell| cell.replace('|', "/")));
    }
    table
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::cases::FUNCTIONS;
    use super::{named, refusal_in, tells_of_a_refusal, unchecked_because, with_names};

    #[test]
    fn resource_is_shown_by_its_name_in_the_template_the_longest_that_fits() {
        let resources = BTreeMap::from(
            [
                ("EmailActivityQueue", "http://localhost:4566/000000000000/stack-EmailActivity.fifo"),
                ("DedupTable", "stack-DedupTable-1"),
                ("Table", "stack-Dedup"),
                ("NylasApiKeySecret", "arn:aws:secretsmanager:us-east-1:000000000000:secret:stack-key-1"),
            ]
            .map(|(name, physical)| (name.to_owned(), physical.to_owned())),
        );
        let shown = |arn: &str| named(arn, &resources);
        assert_eq!(shown("arn:aws:sqs:us-east-1:000000000000:stack-EmailActivity.fifo"), "EmailActivityQueue");
        assert_eq!(
            shown("arn:aws:dynamodb:us-east-1:000000000000:table/stack-DedupTable-1/index/by-object"),
            "DedupTable/index/by-object"
        );
        assert_eq!(shown("arn:aws:secretsmanager:us-east-1:000000000000:secret:stack-key-1"), "NylasApiKeySecret");
        assert_eq!(
            shown("arn:aws:secretsmanager:us-east-1:000000000000:secret:stack-key-1-a1b2c3"),
            "NylasApiKeySecret"
        );
        assert_eq!(shown("*"), "*");
        let told = with_names("the table stack-DedupTable-1 could not be written: AccessDenied", &resources);
        assert_eq!(told, "the table DedupTable could not be written: AccessDenied");
    }

    #[test]
    fn refusal_is_told_in_the_functions_own_words_up_to_the_code() {
        let line =
            r#"{"level":"ERROR","error":"the table t could not be written: AccessDeniedException: User: arn:aws:x"}"#;
        assert!(tells_of_a_refusal(line));
        assert_eq!(refusal_in(line), "the table t could not be written: AccessDeniedException");
        assert_eq!(refusal_in("the queue refused: AccessDenied"), "the queue refused: AccessDenied");
        assert!(!tells_of_a_refusal("the CRM answered 403"));
    }

    #[test]
    fn what_the_engine_cannot_show_is_explained_for_its_role_and_resource_alone() {
        let of = unchecked_because;
        assert!(of("EmailActivityRole", "sqs:ReceiveMessage", "EmailActivityQueue").is_some());
        assert!(of("EmailActivityRole", "sqs:SendMessage", "EmailActivityQueue").is_none());
        assert!(of("ContactSyncRole", "sqs:SendMessage", "SchedulerDeadLetterQueue").is_some());
        assert!(of("ContactSyncRole", "sqs:SendMessage", "ContactSyncQueue").is_none());
        assert!(of("SchedulerRole", "lambda:InvokeFunction", "ContactSyncFunction").is_some());
    }

    #[test]
    fn every_function_has_cases_and_each_has_a_name_of_its_own() {
        for function in &FUNCTIONS {
            let names: BTreeSet<&str> = function.cases.iter().map(|case| case.name).collect();
            assert!(!names.is_empty() && names.len() == function.cases.len(), "{}", function.name);
        }
    }
}
