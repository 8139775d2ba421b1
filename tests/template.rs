//! What `template.yaml` has to keep to, as tests: the queues, tables, roles, alarms, parameters and
//! outputs that the design fixes, and what AWS would only say at deployment or the local engine not at all.
//! The template is read as it stands, its short forms (`!Ref`, `!Sub`) turned into their long ones.
//! A rule that holds for every function or queue is checked for every one there is, so that one
//! that is added later has to keep to it too.

#![recursion_limit = "256"]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use sandbox::local_engine::project_root;
use sandbox::logs_insights::{self, Query};
use serde_json::{Map, Value, json};
use shared::calls::{Api, ErrorKind};
use shared::telemetry::{Metric, NAMESPACE};

/// The actions that may be allowed on `*`, each with the reason why AWS knows no narrower resource for it. The Service
/// Authorization Reference lists the resource types of every action. `docs/permissions.md` shows the same list.
const ACTIONS_ON_EVERYTHING: [(&str, &str); 4] = [
    (
        "xray:PutTraceSegments",
        "X-Ray defines no resource type for it: a segment belongs to no resource until it is stored",
    ),
    ("xray:PutTelemetryRecords", "X-Ray defines no resource type for it: it counts what the sender of segments did"),
    (
        "cloudwatch:DescribeAlarms",
        "alarms are described by a prefix of their names, and a narrower permission leaves some out without a word",
    ),
    ("scheduler:ListSchedules", "Scheduler defines no resource type for it: it tells names, not what they will send"),
];
/// Fourteen days, the longest that SQS keeps a message.
const FOURTEEN_DAYS: u64 = 14 * 24 * 60 * 60;
/// What Lambda's environment holds, names and values together.
const ENVIRONMENT_BYTES: usize = 4096;

/// The queues of the routing table with the time-out of their consumer in seconds.
const QUEUES: [(&str, u64); 6] = [
    ("EmailActivity", 30),
    ("CalendarSync", 30),
    ("NotetakerMedia", 300),
    ("Onboarding", 30),
    ("TicketTriage", 30),
    ("ContactSync", 120),
];
/// The functions that call the CRM.
const CALLS_THE_CRM: [&str; 6] = [
    "EmailActivityFunction",
    "CalendarSyncFunction",
    "NotetakerMediaFunction",
    "TicketTriageFunction",
    "ContactSyncFunction",
    "OperatorFunction",
];
/// Those that call the ticket system.
const CALLS_THE_TICKET_SYSTEM: [&str; 2] = ["TicketTriageFunction", "OperatorFunction"];
/// The queues that take the jobs of schedules: from Scheduler itself, or what it could not hand over from a person.
const QUEUES_OF_SCHEDULES: [&str; 6] =
    ["EmailActivity", "CalendarSync", "NotetakerMedia", "Onboarding", "TicketTriage", "ContactSync"];

struct Template(Value);

impl Template {
    fn read() -> Self {
        let text = fs::read_to_string(project_root().join("template.yaml")).expect("the template can be read");
        let template = serde_norway::from_str(&text).expect("the template is YAML");
        Self(in_long_form(template))
    }

    fn resources(&self) -> &Map<String, Value> {
        self.0["Resources"].as_object().expect("the template has resources")
    }

    fn of_type<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.resources()
            .iter()
            .filter(move |(_, resource)| resource["Type"] == kind)
            .map(|(name, resource)| (name.as_str(), resource))
    }

    fn properties(&self, name: &str) -> &Value {
        let properties = &self.0["Resources"][name]["Properties"];
        assert!(properties.is_object(), "the template has no resource {name}");
        properties
    }

    fn parameters(&self) -> &Map<String, Value> {
        self.0["Parameters"].as_object().expect("the template has parameters")
    }

    fn functions(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.of_type("AWS::Serverless::Function").map(|(name, resource)| (name, &resource["Properties"]))
    }

    fn role_of(&self, function: &str) -> &Value {
        let role = self.properties(function)["Role"]["Fn::GetAtt"].as_str().expect("the role is a resource");
        self.properties(role.strip_suffix(".Arn").expect("the role is given by its ARN"))
    }

    fn statements_of(&self, function: &str) -> Vec<&Value> {
        statements(self.role_of(function))
    }

    /// Every action that a function may do on anything at all.
    fn actions_of(&self, function: &str) -> BTreeSet<String> {
        let actions = self.statements_of(function).into_iter().flat_map(|statement| one_or_more(&statement["Action"]));
        actions.filter_map(|action| action.as_str().map(str::to_owned)).collect()
    }

    /// Whether a function may do `action` on the resource that has `mark` in its name.
    fn may(&self, function: &str, action: &str, mark: &str) -> bool {
        self.statements_of(function).into_iter().any(|statement| {
            one_or_more(&statement["Action"]).contains(&json!(action))
                && statement["Resource"].to_string().contains(mark)
        })
    }
}

/// Turns `!Ref x` into `{"Ref": x}` and `!Name x` into `{"Fn::Name": x}`.
fn in_long_form(value: serde_norway::Value) -> Value {
    use serde_norway::Value as Yaml;
    match value {
        Yaml::Tagged(tagged) => {
            let tag = tagged.tag.to_string();
            let name = match tag.trim_start_matches('!') {
                short @ ("Ref" | "Condition") => short.to_owned(),
                short => format!("Fn::{short}"),
            };
            json!({ name: in_long_form(tagged.value) })
        }
        Yaml::Sequence(items) => items.into_iter().map(in_long_form).collect(),
        Yaml::Mapping(entries) => {
            let entries = entries.into_iter().map(|(key, value)| {
                let key = key.as_str().expect("keys are texts").to_owned();
                (key, in_long_form(value))
            });
            Value::Object(entries.collect())
        }
        plain => serde_json::to_value(plain).expect("plain values have a JSON form"),
    }
}

/// What a role may do, that included which it may only where a condition holds.
fn statements(role: &Value) -> Vec<&Value> {
    list(&role["Policies"])
        .iter()
        .flat_map(|policy| list(&policy["PolicyDocument"]["Statement"]))
        .map(|statement| statement["Fn::If"].get(1).unwrap_or(statement))
        .collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn one_or_more(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_else(|| vec![value.clone()])
}

#[test]
fn every_queue_of_the_routing_table_is_fifo_in_high_throughput_mode() {
    let template = Template::read();
    for queue in QUEUES.iter().flat_map(|(queue, _)| [format!("{queue}Queue"), format!("{queue}DeadLetterQueue")]) {
        let properties = template.properties(&queue);
        assert_eq!(properties["FifoQueue"], true, "{queue}");
        assert_eq!(properties["DeduplicationScope"], "messageGroup", "{queue}");
        assert_eq!(properties["FifoThroughputLimit"], "perMessageGroupId", "{queue}");
    }
}

#[test]
fn every_queue_keeps_messages_14_days_takes_a_mebibyte_and_is_encrypted_by_sqs() {
    let template = Template::read();
    let mut count = 0;
    for (name, queue) in template.of_type("AWS::SQS::Queue") {
        let properties = &queue["Properties"];
        assert_eq!(properties["MessageRetentionPeriod"], FOURTEEN_DAYS, "{name}");
        assert_eq!(properties["MaximumMessageSize"], 1_048_576, "{name}");
        assert_eq!(properties["SqsManagedSseEnabled"], true, "{name}");
        count += 1;
    }
    assert_eq!(
        count,
        2 * QUEUES.len() + 2,
        "each queue with its dead-letter queue, what is unroutable, and schedules' letters"
    );
}

#[test]
fn visibility_is_six_times_the_time_out_of_the_consumer() {
    let template = Template::read();
    for (queue, time_out) in QUEUES {
        assert_eq!(template.properties(&format!("{queue}Queue"))["VisibilityTimeout"], 6 * time_out, "{queue}");
    }
    for (function, properties) in template.functions() {
        for event in properties["Events"].as_object().into_iter().flat_map(Map::values) {
            let queue = event["Properties"]["Queue"]["Fn::GetAtt"].as_str().expect("a function's event is a queue");
            let queue = template.properties(queue.trim_end_matches(".Arn"));
            let time_out = properties["Timeout"].as_u64().expect("a time-out is a number");
            assert_eq!(queue["VisibilityTimeout"], 6 * time_out, "{function}");
        }
    }
}

#[test]
fn the_code_and_not_the_count_of_receives_decides_when_a_message_is_given_up() {
    let template = Template::read();
    for (queue, _) in QUEUES {
        let policy = &template.properties(&format!("{queue}Queue"))["RedrivePolicy"];
        assert_eq!(policy["maxReceiveCount"], 1000, "{queue}");
        let target = format!("{queue}DeadLetterQueue.Arn");
        assert_eq!(policy["deadLetterTargetArn"], json!({ "Fn::GetAtt": target }), "{queue}");
    }
}

#[test]
fn a_dead_letter_queue_takes_dead_letters_of_its_own_queue_only() {
    let template = Template::read();
    for (queue, _) in QUEUES {
        let name = template.properties(&format!("{queue}Queue"))["QueueName"]["Fn::Sub"].clone();
        let name = name.as_str().expect("a queue bears the stack's name");
        let policy = &template.properties(&format!("{queue}DeadLetterQueue"))["RedriveAllowPolicy"];
        assert_eq!(policy["redrivePermission"], "byQueue", "{queue}");
        let source = policy["sourceQueueArns"][0]["Fn::Sub"].as_str().expect("the source is an ARN");
        assert!(source.ends_with(&format!(":{name}")), "{queue}: {source} is not the ARN of {name}");
    }
}

#[test]
fn exactly_the_queues_that_take_the_jobs_of_schedules_deduplicate_by_content() {
    let template = Template::read();
    for (queue, _) in QUEUES {
        let by_content = &template.properties(&format!("{queue}Queue"))["ContentBasedDeduplication"];
        assert_eq!(by_content, QUEUES_OF_SCHEDULES.contains(&queue), "{queue}");
    }
}

#[test]
fn every_function_reads_its_queue_in_partial_batches_with_a_bound_on_concurrency() {
    let template = Template::read();
    let mut consumers = 0;
    for (function, properties) in template.functions() {
        for (name, event) in properties["Events"].as_object().into_iter().flatten() {
            let event = &event["Properties"];
            assert_eq!(event["FunctionResponseTypes"], json!(["ReportBatchItemFailures"]), "{function} {name}");
            let bound = json!({ "MaximumConcurrency": { "Ref": "WorkerConcurrency" } });
            assert_eq!(event["ScalingConfig"], bound, "{function} {name}");
            // A slice of an address book has its invocation for itself.
            let batch = if function == "ContactSyncFunction" { 1 } else { 10 };
            assert_eq!(event["BatchSize"], batch, "{function} {name}");
            consumers += 1;
        }
    }
    assert!(consumers > 0);
}

#[test]
fn every_function_has_a_role_of_its_own_without_managed_policies() {
    let template = Template::read();
    let mut owners = BTreeMap::new();
    for (function, properties) in template.functions() {
        let role = properties["Role"]["Fn::GetAtt"].as_str().expect("the role is a resource").to_owned();
        if let Some(other) = owners.insert(role.clone(), function) {
            panic!("{function} and {other} share {role}");
        }
        assert!(properties.get("Policies").is_none(), "{function}: permissions belong to its role");
        assert!(template.role_of(function).get("ManagedPolicyArns").is_none(), "{function}");
    }
    let schedules: BTreeSet<String> =
        template.of_type("AWS::Scheduler::Schedule").map(|(_, schedule)| role_of_schedule(schedule)).collect();
    assert_eq!(schedules.len(), 1, "all schedules share one role, and no function has it");
    assert!(schedules.iter().all(|role| !owners.contains_key(role)));
    assert_eq!(template.of_type("AWS::IAM::Role").count(), owners.len() + 1, "a role nobody uses");
}

fn role_of_schedule(schedule: &Value) -> String {
    schedule["Properties"]["Target"]["RoleArn"]["Fn::GetAtt"].as_str().expect("the role is a resource").to_owned()
}

#[test]
fn every_schedule_has_a_time_zone_a_dead_letter_queue_and_the_permission_to_reach_its_fifo_group_or_function() {
    let template = Template::read();
    let mut count = 0;
    for (name, schedule) in template.of_type("AWS::Scheduler::Schedule") {
        let properties = &schedule["Properties"];
        assert_eq!(properties["ScheduleExpressionTimezone"], json!({ "Ref": "ScheduleTimeZone" }), "{name}");
        let target = &properties["Target"];
        let input = target["Input"].as_str().or(target["Input"]["Fn::Sub"].as_str()).expect("an input");
        let input: Value = serde_json::from_str(input).expect("a job is JSON");
        assert!(input["type"].is_string(), "{name}");
        let arn = target["Arn"]["Fn::GetAtt"].as_str().expect("the target is a resource");
        let action = match template.resources()[arn.trim_end_matches(".Arn")]["Type"].as_str() {
            Some("AWS::SQS::Queue") => {
                assert!(QUEUES_OF_SCHEDULES.iter().any(|listed| arn == format!("{listed}Queue.Arn")), "{name}: {arn}");
                assert!(target["SqsParameters"]["MessageGroupId"].is_string(), "{name}");
                "sqs:SendMessage"
            }
            Some("AWS::Serverless::Function") => {
                assert!(target.get("SqsParameters").is_none(), "{name}: a function has no groups");
                "lambda:InvokeFunction"
            }
            other => panic!("{name} targets {other:?}"),
        };
        let dead_letters = json!({ "Fn::GetAtt": "SchedulerDeadLetterQueue.Arn" });
        assert_eq!(target["DeadLetterConfig"]["Arn"], dead_letters, "{name}");
        let retries = json!({ "MaximumEventAgeInSeconds": 3600, "MaximumRetryAttempts": 60 });
        assert_eq!(target["RetryPolicy"], retries, "{name}");
        let role = template.properties(role_of_schedule(schedule).trim_end_matches(".Arn"));
        for (action, resource) in [(action, json!({ "Fn::GetAtt": arn })), ("sqs:SendMessage", dead_letters)] {
            let allowed = statements(role).into_iter().any(|statement| {
                statement["Action"] == action && one_or_more(&statement["Resource"]).contains(&resource)
            });
            assert!(allowed, "{name}: {action} on {resource}");
        }
        count += 1;
    }
    assert!(count > 0);
    assert_ne!(
        template.properties("SchedulerDeadLetterQueue")["FifoQueue"],
        true,
        "Scheduler takes standard queues only"
    );
}

#[test]
fn the_role_of_the_schedules_may_send_to_their_queues_and_start_contact_sync_and_nothing_else() {
    let template = Template::read();
    let [send, start] = statements(template.properties("SchedulerRole"))[..] else { panic!("it has two statements") };
    assert_eq!(send["Action"], "sqs:SendMessage");
    let queues: BTreeSet<String> = list(&send["Resource"])
        .iter()
        .map(|queue| queue["Fn::GetAtt"].as_str().expect("a queue by its ARN").to_owned())
        .collect();
    // Contact-sync fills its queue itself.
    let expected = QUEUES_OF_SCHEDULES.iter().filter(|queue| **queue != "ContactSync");
    let expected = expected.map(|queue| format!("{queue}Queue.Arn")).chain(["SchedulerDeadLetterQueue.Arn".to_owned()]);
    assert_eq!(queues, expected.collect());
    assert_eq!(start["Action"], "lambda:InvokeFunction");
    assert_eq!(start["Resource"], json!({ "Fn::GetAtt": "ContactSyncFunction.Arn" }));
}

#[test]
fn no_role_may_do_everything_or_anything_to_everything_but_what_is_listed_and_all_that_is_listed_is_used() {
    let template = Template::read();
    let mut used = BTreeSet::new();
    for (name, role) in template.of_type("AWS::IAM::Role") {
        let role = &role["Properties"];
        assert!(role.get("ManagedPolicyArns").is_none(), "{name}: what a managed policy allows is not seen here");
        for statement in statements(role) {
            assert_eq!(statement["Effect"], "Allow", "{name}: {statement}");
            // What they leave out is allowed.
            assert!(
                statement.get("NotAction").is_none() && statement.get("NotResource").is_none(),
                "{name}: {statement}"
            );
            let (actions, resources) = (one_or_more(&statement["Action"]), one_or_more(&statement["Resource"]));
            assert!(!actions.is_empty() && !resources.is_empty(), "{name}: {statement}");
            let actions: Vec<&str> =
                actions.iter().map(|action| action.as_str().expect("an action is a text")).collect();
            for action in &actions {
                assert!(!action.contains('*'), "{name}: {action}");
            }
            if resources.iter().any(is_everything) {
                let listed = |action: &&str| ACTIONS_ON_EVERYTHING.iter().any(|(known, _)| known == action);
                assert!(actions.iter().all(listed), "{name}: {statement}");
                used.extend(actions.into_iter().map(str::to_owned));
            }
        }
    }
    let listed: BTreeSet<String> = ACTIONS_ON_EVERYTHING.iter().map(|(action, _)| (*action).to_owned()).collect();
    assert_eq!(used, listed, "what is listed and not used may be left out");
    let shown =
        fs::read_to_string(project_root().join("docs/permissions.md")).expect("docs/permissions.md can be read");
    for (action, why) in ACTIONS_ON_EVERYTHING {
        assert!(shown.contains(&format!("| `{action}` | {why} |")), "docs/permissions.md does not say why of {action}");
    }
    let rows = shown.lines().filter(|line| line.starts_with("| `") && line.matches('|').count() == 3).count();
    assert_eq!(rows, listed.len(), "docs/permissions.md lists an action that may not be allowed on `*`");
}

/// True for `*`, and for an ARN whose resource is nothing but an asterisk.
fn is_everything(resource: &Value) -> bool {
    let text = resource.as_str().or(resource["Fn::Sub"].as_str());
    text.is_some_and(|text| text == "*" || text.ends_with(":*") && text.starts_with("arn:"))
}

#[test]
fn ingress_may_put_messages_and_bodies_and_read_its_secrets_and_nothing_else() {
    let template = Template::read();
    let ingress = "WebhookIngressFunction";
    for (queue, _) in QUEUES {
        assert!(template.may(ingress, "sqs:SendMessage", &format!("{queue}Queue.Arn")), "{queue}");
    }
    assert!(template.may(ingress, "sqs:SendMessage", "UnroutableQueue.Arn"));
    assert!(template.may(ingress, "s3:PutObject", "/bodies/*"));
    for secret in ["ManagedWebhookSecret", "WebhookSecret", "EventsSecret"] {
        assert!(template.may(ingress, "secretsmanager:GetSecretValue", &format!("\"{secret}.Id")), "{secret}");
    }
    let mut actions: Vec<Value> =
        template.statements_of(ingress).iter().flat_map(|statement| one_or_more(&statement["Action"])).collect();
    actions.sort_by_key(Value::to_string);
    let expected = [
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "s3:PutObject",
        "secretsmanager:GetSecretValue",
        "sqs:SendMessage",
        "xray:PutTelemetryRecords",
        "xray:PutTraceSegments",
    ];
    assert_eq!(actions, expected);
}

/// What the operator may do, by the name of the statement: the actions, and the resources as they stand in it.
fn granted_to_the_operator(template: &Template) -> BTreeMap<String, (BTreeSet<String>, Vec<String>)> {
    let texts = |value: &Value| -> Vec<String> {
        one_or_more(value).iter().map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned)).collect()
    };
    let statements = template.statements_of("OperatorFunction").into_iter();
    statements
        .map(|statement| {
            let sid = statement["Sid"].as_str().expect("a statement has a name").to_owned();
            (sid, (texts(&statement["Action"]).into_iter().collect(), texts(&statement["Resource"])))
        })
        .collect()
}

#[test]
fn the_operator_may_do_what_its_commands_need_on_what_they_are_about_and_nothing_else() {
    let template = Template::read();
    let workers = QUEUES.map(|(queue, _)| format!("{queue}Queue"));
    let given_up = QUEUES.iter().map(|(queue, _)| format!("{queue}DeadLetterQueue"));
    let given_up: Vec<String> =
        given_up.chain(["SchedulerDeadLetterQueue", "UnroutableQueue"].map(str::to_owned)).collect();
    let tables = ["DedupTable", "LinksTable", "OnboardingTable"].map(str::to_owned);
    let secrets: Vec<String> =
        template.of_type("AWS::SecretsManager::Secret").map(|(secret, _)| secret.to_owned()).collect();
    let one = |name: &str| vec![name.to_owned()];
    // What it may do, and which words stand in the resources that it may do it on, one in each.
    let expected: [(&str, &[&str], Vec<String>); 22] = [
        ("PutIntoQueuesAndCount", &["sqs:SendMessage", "sqs:GetQueueAttributes"], workers.to_vec()),
        (
            "LookThroughWhatWasGivenUp",
            &["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes"],
            given_up,
        ),
        (
            "LookThroughTables",
            &["dynamodb:GetItem", "dynamodb:Scan", "dynamodb:UpdateItem", "dynamodb:DeleteItem"],
            tables.to_vec(),
        ),
        (
            "FindDecisionsAndDeadLetters",
            &["dynamodb:Query"],
            ["DedupTable.Arn}/index/by-object", "DedupTable.Arn}/index/dead-letters"].map(str::to_owned).to_vec(),
        ),
        ("InviteOnceAndRememberTheSetUp", &["dynamodb:PutItem"], one("LinksTable")),
        ("ReadTheArchive", &["s3:GetObject"], ["/bodies/*", "/media/*", "/settings/*"].map(str::to_owned).to_vec()),
        ("SetAsideAndCarryBodies", &["s3:PutObject"], one("/bodies/*")),
        ("ForgetInTheArchive", &["s3:DeleteObject"], ["/bodies/*", "/media/*"].map(str::to_owned).to_vec()),
        ("ListTheArchive", &["s3:ListBucket"], one("ArchiveBucket")),
        (
            "ReadWhatTheStackIsMadeOf",
            &["cloudformation:DescribeStacks", "cloudformation:ListStackResources"],
            one("AWS::StackId"),
        ),
        ("ForgetTimers", &["scheduler:GetSchedule", "scheduler:DeleteSchedule"], one(":schedule/${ScheduleGroup}/*")),
        ("ListTimers", &["scheduler:ListSchedules"], one("*")),
        (
            "LookAtSchedules",
            &["scheduler:GetSchedule"],
            ["EmailReconcile", "CalendarReconcile", "NotetakerReconcile", "NightlyContactSync"]
                .map(str::to_owned)
                .to_vec(),
        ),
        ("LookAtTheScheduleOfSupport", &["scheduler:GetSchedule"], one("TicketTriageReconcileSchedule")),
        ("LookAtAlarms", &["cloudwatch:DescribeAlarms"], one("*")),
        ("TellWhoIsToldOfAlarms", &["sns:ListSubscriptionsByTopic"], one("AlarmTopic")),
        (
            "ReadItsSecrets",
            &["secretsmanager:GetSecretValue"],
            [
                "NylasApiKeySecret",
                "CrmApiKeySecret",
                "CrmRefreshTokenSecret",
                "TicketApiKeySecret",
                "SupportGrantsSecret",
            ]
            .map(str::to_owned)
            .to_vec(),
        ),
        ("TellWhichSecretsAreEmpty", &["secretsmanager:DescribeSecret"], secrets),
        (
            "KeepTheWebhookSecrets",
            &["secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue"],
            one("ManagedWebhookSecret"),
        ),
        (
            "FindTheRefusedTestEvent",
            &["logs:FilterLogEvents"],
            ["\"WebhookIngressLogGroup.Arn", ":log-group:${WebhookIngressLogGroup}"].map(str::to_owned).to_vec(),
        ),
        ("WriteItsLogs", &["logs:CreateLogStream", "logs:PutLogEvents"], one("OperatorLogGroup")),
        ("SendTraces", &["xray:PutTraceSegments", "xray:PutTelemetryRecords"], one("*")),
    ];
    let granted = granted_to_the_operator(&template);
    let names: BTreeSet<&str> = expected.iter().map(|(sid, ..)| *sid).collect();
    assert_eq!(granted.keys().map(String::as_str).collect::<BTreeSet<_>>(), names);
    for (sid, actions, marks) in &expected {
        let (allowed, resources) = &granted[*sid];
        assert_eq!(*allowed, actions.iter().map(|action| (*action).to_owned()).collect(), "{sid}");
        assert_eq!(resources.len(), marks.len(), "{sid}: {resources:?}");
        for mark in marks {
            assert!(resources.iter().any(|resource| resource.contains(mark.as_str())), "{sid}: {mark}");
        }
    }
    assert_eq!(template.properties("OperatorFunction")["Timeout"], 300);
}

#[test]
fn the_operator_writes_of_the_links_only_invitations_and_what_systems_were_written() {
    let template = Template::read();
    let statements = template.statements_of("OperatorFunction");
    let put = statements.iter().find(|statement| statement["Action"] == "dynamodb:PutItem").expect("it puts items");
    let keys = json!({ "ForAllValues:StringLike": { "dynamodb:LeadingKeys": ["invite#*", "written#*"] } });
    assert_eq!(put["Condition"], keys);
}

#[test]
fn the_operator_may_look_at_every_schedule_of_the_template_where_there_is_one() {
    let template = Template::read();
    let role = &template.role_of("OperatorFunction")["Policies"][0]["PolicyDocument"]["Statement"];
    for (schedule, resource) in template.of_type("AWS::Scheduler::Schedule") {
        // IAM refuses a statement without resources: it stands under the condition of its schedules.
        let statement =
            list(role).iter().find(|statement| statement.to_string().contains(&format!("\"{schedule}.Arn")));
        assert_eq!(statement.map(|statement| &statement["Fn::If"][0]), Some(&resource["Condition"]), "{schedule}");
    }
}

/// The most characters that all inline policies of a role may have together, blanks not counted (IAM user guide, "IAM and
/// STS quotas").
const MOST_OF_A_POLICY: usize = 10_240;

/// The longest that an ARN of this template becomes: that of a queue with the longest name, or of a secret.
const LONGEST_ARN: usize = 130;

#[test]
fn the_policies_of_every_role_fit_what_iam_takes_at_the_longest_names() {
    let template = Template::read();
    for (name, role) in template.of_type("AWS::IAM::Role") {
        let policies = list(&role["Properties"]["Policies"]);
        let length: usize = policies.iter().map(|policy| expanded(&policy["PolicyDocument"]).to_string().len()).sum();
        assert!(length <= MOST_OF_A_POLICY, "{name}: {length} of {MOST_OF_A_POLICY}");
    }
}

/// A document with a text of the greatest length in the place of everything that is known only at deployment.
fn expanded(value: &Value) -> Value {
    match value {
        Value::Object(fields) if fields.len() == 1 && fields.keys().any(|key| key == "Ref" || key == "Fn::GetAtt") => {
            "x".repeat(LONGEST_ARN).into()
        }
        Value::Object(fields) if fields.contains_key("Fn::Sub") => {
            "x".repeat(LONGEST_ARN + fields["Fn::Sub"].as_str().map_or(0, str::len)).into()
        }
        Value::Object(fields) if fields.contains_key("Fn::If") => expanded(&fields["Fn::If"][1]),
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), expanded(value))).collect(),
        Value::Array(values) => values.iter().map(expanded).collect(),
        other => other.clone(),
    }
}

#[test]
fn every_function_that_calls_the_crm_is_told_the_same_of_it_and_no_other_is_told_anything() {
    let template = Template::read();
    let if_given = |condition: &str, given: Value| json!({ "Fn::If": [condition, given, ""] });
    let expected = [
        ("CRM_PROVIDER", json!({ "Ref": "CrmProvider" })),
        ("CRM_BASE_URL", json!({ "Ref": "CrmBaseUrl" })),
        ("CRM_API_KEY_SECRET_ARN", if_given("HasCrmApiKey", json!({ "Fn::GetAtt": "CrmApiKeySecret.Id" }))),
        ("CRM_CLIENT_ID", json!({ "Ref": "CrmClientId" })),
        ("CRM_USERNAME", json!({ "Fn::If": ["HasCrmRefreshToken", "", { "Ref": "CrmUsername" }] })),
        (
            "CRM_REFRESH_TOKEN_SECRET_ARN",
            if_given("HasCrmRefreshToken", json!({ "Fn::GetAtt": "CrmRefreshTokenSecret.Id" })),
        ),
        ("CRM_LOGIN_URL", json!({ "Ref": "CrmLoginUrl" })),
        ("CRM_REQUESTS_PER_SECOND", json!({ "Ref": "CrmRequestsPerSecond" })),
    ];
    assert_eq!(environment_of_system(&template, "CRM_"), of_functions(&CALLS_THE_CRM, &expected));
}

#[test]
fn every_function_that_calls_the_ticket_system_is_told_the_same_of_it_and_no_other_is_told_anything() {
    let template = Template::read();
    let key = json!({ "Fn::If": ["HasTicketApiKey", { "Fn::GetAtt": "TicketApiKeySecret.Id" }, ""] });
    let expected = [
        ("TICKET_PROVIDER", json!({ "Ref": "TicketProvider" })),
        ("TICKET_BASE_URL", json!({ "Ref": "TicketBaseUrl" })),
        ("TICKET_API_KEY_SECRET_ARN", key),
        ("TICKET_PROJECT", json!({ "Ref": "TicketProject" })),
    ];
    let mut told = environment_of_system(&template, "TICKET_");
    // Not about the system, but about a queue.
    told.retain(|_, variables| {
        variables.remove("TICKET_TRIAGE_QUEUE_URL");
        !variables.is_empty()
    });
    assert_eq!(told, of_functions(&CALLS_THE_TICKET_SYSTEM, &expected));
}

/// What each function is told in variables whose names begin so.
fn environment_of_system(template: &Template, beginning: &str) -> BTreeMap<String, Map<String, Value>> {
    let told = template.functions().map(|(function, properties)| {
        let variables = properties["Environment"]["Variables"].as_object().expect("a function has variables");
        let about = variables.iter().filter(|(name, _)| name.starts_with(beginning));
        (function.to_owned(), about.map(|(name, value)| (name.clone(), value.clone())).collect::<Map<_, _>>())
    });
    told.filter(|(_, variables)| !variables.is_empty()).collect()
}

fn of_functions(functions: &[&str], variables: &[(&str, Value)]) -> BTreeMap<String, Map<String, Value>> {
    let variables: Map<_, _> = variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    functions.iter().map(|function| ((*function).to_owned(), variables.clone())).collect()
}

#[test]
fn credentials_of_a_system_are_read_by_those_that_call_it_and_by_nobody_else() {
    let template = Template::read();
    for (function, _) in template.functions() {
        for (secret, callers) in [
            ("CrmApiKeySecret", &CALLS_THE_CRM[..]),
            ("CrmRefreshTokenSecret", &CALLS_THE_CRM[..]),
            ("TicketApiKeySecret", &CALLS_THE_TICKET_SYSTEM[..]),
        ] {
            let may = template.may(function, "secretsmanager:GetSecretValue", &format!("\"{secret}.Id"));
            assert_eq!(may, callers.contains(&function), "{function}: {secret}");
        }
    }
    let token = &template.resources()["CrmRefreshTokenSecret"];
    assert_eq!(token["Condition"], "HasCrmRefreshToken");
    assert_eq!(token["Properties"]["SecretString"], json!({ "Ref": "CrmRefreshToken" }));
}

#[test]
fn function_that_calls_the_crm_reads_the_map_of_fields_is_told_if_there_is_none_and_keeps_what_it_wrote() {
    let template = Template::read();
    let fields = format!("/{}\"", shared::field_map::FIELDS_KEY);
    for (function, _) in template.functions() {
        let calls = CALLS_THE_CRM.contains(&function);
        // The operator looks through all that people have put there, to tell whom it names.
        let may =
            template.may(function, "s3:GetObject", &fields) || template.may(function, "s3:GetObject", "/settings/*");
        assert_eq!(may, calls, "{function}");
        if !calls {
            continue;
        }
        let statements = template.statements_of(function);
        let with = |action: &str| {
            let mut found = statements.iter().filter(|one| one_or_more(&one["Action"]).contains(&json!(action)));
            found.next().unwrap_or_else(|| panic!("{function} has no {action}"))
        };
        // Of a file that is not there S3 tells nobody who may not list the folder.
        let prefixes = one_or_more(&with("s3:ListBucket")["Condition"]["StringLikeIfExists"]["s3:prefix"]);
        assert!(prefixes.contains(&json!("settings/*")), "{function}: {prefixes:?}");
        for action in ["dynamodb:GetItem", "dynamodb:PutItem"] {
            let statement = with(action);
            let on = one_or_more(&statement["Resource"]);
            assert!(on.contains(&json!({ "Fn::GetAtt": "LinksTable.Arn" })), "{function}: {action}");
            let keys = &statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"];
            let all = statement.get("Condition").is_none();
            assert!(all || list(keys).contains(&json!("written#*")), "{function}: {action} {keys}");
        }
    }
}

#[test]
fn list_of_support_mailboxes_lies_in_a_secret_for_the_operator_alone_and_only_where_there_is_one() {
    let template = Template::read();
    let list = &template.resources()["SupportGrantsSecret"];
    assert_eq!(list["Condition"], "HasSupportGrants");
    assert_eq!(list["Properties"]["SecretString"], json!({ "Ref": "SupportGrantIds" }));
    for (function, properties) in template.functions() {
        let is_operator = function == "OperatorFunction";
        let may = template.may(function, "secretsmanager:GetSecretValue", "\"SupportGrantsSecret.Id");
        assert_eq!(may, is_operator, "{function}");
        let told = &properties["Environment"]["Variables"]["SUPPORT_GRANT_IDS_SECRET_ARN"];
        let arn = json!({ "Fn::If": ["HasSupportGrants", { "Fn::GetAtt": "SupportGrantsSecret.Id" }, ""] });
        assert_eq!(*told, if is_operator { arn } else { Value::Null }, "{function}");
    }
}

#[test]
fn timers_are_set_in_the_stacks_own_group_by_those_who_need_them_and_only_such_as_the_shared_role_sends() {
    let template = Template::read();
    assert_eq!(template.of_type("AWS::Scheduler::ScheduleGroup").count(), 1);
    for (function, properties) in template.functions() {
        let (sets, removes) = match function {
            "NotetakerMediaFunction" => (Some("schedule/${ScheduleGroup}/lobby-*"), false),
            "OnboardingTransitionsFunction" => (Some("schedule/${ScheduleGroup}/*"), true),
            "TicketTriageFunction" => (Some("schedule/${ScheduleGroup}/storm-*"), false),
            _ => (None, false),
        };
        let may = |action: &str| {
            let mark = sets.unwrap_or("schedule/");
            template.may(function, action, &format!("{mark}\""))
        };
        assert_eq!(may("scheduler:CreateSchedule"), sets.is_some(), "{function}");
        assert_eq!(may("scheduler:DeleteSchedule"), removes, "{function}");
        assert_eq!(template.may(function, "iam:PassRole", "SchedulerRole.Arn"), sets.is_some(), "{function}");
        assert_eq!(
            template.may(function, "s3:PutObject", "/media/*"),
            function == "NotetakerMediaFunction",
            "{function}"
        );
        let variables = &properties["Environment"]["Variables"];
        if sets.is_some() {
            // The ARN of the function's own queue is made of these two.
            assert!(variables["QUEUE_URL"]["Ref"].is_string(), "{function}");
            let dead_letters = json!({ "Fn::GetAtt": "SchedulerDeadLetterQueue.Arn" });
            assert_eq!(variables["SCHEDULER_DEAD_LETTER_QUEUE_ARN"], dead_letters, "{function}");
        }
        let statements = template.statements_of(function);
        if let Some(pass) = statements.iter().find(|statement| statement["Action"] == "iam:PassRole") {
            let condition = json!({ "StringEquals": { "iam:PassedToService": "scheduler.amazonaws.com" } });
            assert_eq!(pass["Condition"], condition, "{function}");
            assert_eq!(variables["SCHEDULE_GROUP"], json!({ "Ref": "ScheduleGroup" }), "{function}");
        }
    }
}

#[test]
fn ticket_triage_may_read_the_rules_file_but_write_nothing_into_the_bucket_and_reads_the_secrets_that_it_uses() {
    let template = Template::read();
    let triage = "TicketTriageFunction";
    assert!(template.may(triage, "s3:GetObject", &format!("/{}\"", shared::triage::RULES_KEY)));
    assert!(template.may(triage, "s3:GetObject", "/bodies/*"));
    for secret in ["NylasApiKeySecret", "CrmApiKeySecret", "TicketApiKeySecret", "AlertWebhookSecret"] {
        assert!(template.may(triage, "secretsmanager:GetSecretValue", &format!("\"{secret}.Id")), "{secret}");
    }
    let actions = template.actions_of(triage);
    let expected = [
        "dynamodb:GetItem",
        "dynamodb:PutItem",
        "dynamodb:Query",
        "dynamodb:UpdateItem",
        "iam:PassRole",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "s3:GetObject",
        "s3:ListBucket",
        "scheduler:CreateSchedule",
        "secretsmanager:GetSecretValue",
        "sqs:ChangeMessageVisibility",
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
        "sqs:ReceiveMessage",
        "sqs:SendMessage",
        "xray:PutTelemetryRecords",
        "xray:PutTraceSegments",
    ];
    assert_eq!(actions.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[test]
fn contact_sync_may_queue_to_itself_read_and_write_many_links_read_the_never_log_list_and_its_secrets_and_no_more() {
    let template = Template::read();
    let contacts = "ContactSyncFunction";
    for queue in ["ContactSyncQueue", "ContactSyncDeadLetterQueue", "SchedulerDeadLetterQueue"] {
        assert!(template.may(contacts, "sqs:SendMessage", &format!("\"{queue}.Arn")), "{queue}");
    }
    assert!(template.may(contacts, "s3:GetObject", &format!("/{}\"", shared::aws::never_log::NEVER_LOG_KEY)));
    assert!(template.may(contacts, "s3:GetObject", "/bodies/*"));
    for secret in ["NylasApiKeySecret", "CrmApiKeySecret"] {
        assert!(template.may(contacts, "secretsmanager:GetSecretValue", &format!("\"{secret}.Id")), "{secret}");
    }
    for secret in ["TicketApiKeySecret", "AlertWebhookSecret", "WebhookSecret", "EventsSecret"] {
        assert!(!template.may(contacts, "secretsmanager:GetSecretValue", &format!("\"{secret}.Id")), "{secret}");
    }
    for (action, table) in [
        ("dynamodb:UpdateItem", "DedupTable"),
        ("dynamodb:GetItem", "LinksTable"),
        ("dynamodb:PutItem", "LinksTable"),
        ("dynamodb:BatchGetItem", "LinksTable"),
        ("dynamodb:BatchWriteItem", "LinksTable"),
    ] {
        let of = template.statements_of(contacts);
        let mut of = of.iter().filter(|statement| one_or_more(&statement["Action"]).contains(&json!(action)));
        let only = of.next().unwrap_or_else(|| panic!("{action} is missing"));
        assert_eq!(only["Resource"], json!({ "Fn::GetAtt": format!("{table}.Arn") }), "{action}");
        assert!(of.next().is_none(), "{action} stands twice");
    }
    let expected = [
        "dynamodb:BatchGetItem",
        "dynamodb:BatchWriteItem",
        "dynamodb:GetItem",
        "dynamodb:PutItem",
        "dynamodb:UpdateItem",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "s3:GetObject",
        "s3:ListBucket",
        "secretsmanager:GetSecretValue",
        "sqs:ChangeMessageVisibility",
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
        "sqs:ReceiveMessage",
        "sqs:SendMessage",
        "xray:PutTelemetryRecords",
        "xray:PutTraceSegments",
    ];
    assert_eq!(template.actions_of(contacts).iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[test]
fn the_nightly_sync_is_handed_to_contact_sync_where_there_is_a_crm_and_is_kept_if_it_fails() {
    let template = Template::read();
    let schedule = &template.resources()["NightlyContactSync"];
    assert_eq!(schedule["Condition"], "HasCrm");
    assert_eq!(schedule["Properties"]["ScheduleExpression"], json!({ "Ref": "ContactSyncSchedule" }));
    let target = &schedule["Properties"]["Target"];
    assert_eq!(target["Arn"], json!({ "Fn::GetAtt": "ContactSyncFunction.Arn" }));
    let job: Value = serde_json::from_str(target["Input"].as_str().expect("an input")).expect("a job");
    assert_eq!(job, json!({ "type": shared::contact_sync::SYNC }));
    // Scheduler counts it as delivered once Lambda has taken it; what then fails is Lambda's to keep.
    let kept = &template.properties("ContactSyncFunction")["EventInvokeConfig"]["DestinationConfig"]["OnFailure"];
    let dead_letters = json!({ "Fn::GetAtt": "SchedulerDeadLetterQueue.Arn" });
    assert_eq!(*kept, json!({ "Type": "SQS", "Destination": dead_letters }));
}

#[test]
fn contact_sync_is_told_whose_contacts_to_look_at_for_how_long_to_leave_them_and_where_numbers_are_from() {
    let template = Template::read();
    let variables = &template.properties("ContactSyncFunction")["Environment"]["Variables"];
    for (variable, parameter) in [
        ("CONTACT_SOURCES", "ContactSources"),
        ("CONTACT_LOOKUP_TTL", "ContactLookupTtl"),
        ("PHONE_REGION", "PhoneRegion"),
    ] {
        assert_eq!(variables[variable], json!({ "Ref": parameter }), "{variable}");
    }
}

#[test]
fn parameters_of_contact_sync_take_what_the_function_can_read_and_refuse_the_rest() {
    let template = Template::read();
    for (parameter, taken, refused) in [
        (
            "ContactLookupTtl",
            &["1m", "90m", "9999m", "48h", "720h", "7d", "30d"][..],
            &["", "7", "0d", "5s", "721h", "800h", "31d", "40d", "1w", "7 d"][..],
        ),
        (
            "ContactSources",
            &["address_book", "address_book,inbox", "address_book, domain, inbox"],
            &["", "all", "address_book,", "address_book;inbox", "inboxes"],
        ),
        ("PhoneRegion", &["", "SE", "US"], &["se", "S", "SWE", "46", "+46"]),
        ("ContactSyncSchedule", &["cron(0 2 * * ? *)", "rate(1 day)"], &["", "daily", "at(2026-01-01T00:00:00)"]),
    ] {
        let parameter = &template.parameters()[parameter];
        let rule = json!({ "pattern": parameter["AllowedPattern"], "maxLength": parameter["MaxLength"] });
        let rule = jsonschema::validator_for(&rule).expect("the bounds of a parameter can be read");
        for text in taken {
            assert!(rule.is_valid(&json!(text)), "{text} is refused by {parameter}");
        }
        for text in refused {
            assert!(!rule.is_valid(&json!(text)), "{text} is taken by {parameter}");
        }
    }
}

#[test]
fn support_mail_is_looked_through_only_where_it_is_on_and_the_job_names_its_mailboxes() {
    let template = Template::read();
    let schedule = &template.resources()["TicketTriageReconcileSchedule"];
    assert_eq!(schedule["Condition"], "HasSupportMail");
    let target = &schedule["Properties"]["Target"];
    assert_eq!(target["Arn"], json!({ "Fn::GetAtt": "TicketTriageQueue.Arn" }));
    let job: Value =
        serde_json::from_str(target["Input"]["Fn::Sub"].as_str().expect("an input with the mailboxes")).expect("a job");
    assert_eq!(job, json!({ "type": "reconcile", "only_grant_ids": "${SupportGrantIds}" }));
    // An account that is back is looked through by it as well.
    let told = &template.properties("CalendarSyncFunction")["Environment"]["Variables"]["TICKET_TRIAGE_QUEUE_URL"];
    assert_eq!(*told, json!({ "Fn::If": ["HasSupportMail", { "Ref": "TicketTriageQueue" }, ""] }));
    assert!(template.may("CalendarSyncFunction", "sqs:SendMessage", "TicketTriageQueue.Arn"));
}

#[test]
fn a_consumer_may_receive_delete_and_postpone_its_messages_and_set_dead_letters_aside() {
    let template = Template::read();
    for (function, properties) in template.functions() {
        for event in properties["Events"].as_object().into_iter().flat_map(Map::values) {
            let queue = event["Properties"]["Queue"]["Fn::GetAtt"].as_str().expect("a function's event is a queue");
            for action in ["ReceiveMessage", "DeleteMessage", "GetQueueAttributes", "ChangeMessageVisibility"] {
                assert!(template.may(function, &format!("sqs:{action}"), queue), "{function}: {action}");
            }
            let dead_letters = queue.replace("Queue.Arn", "DeadLetterQueue.Arn");
            assert!(template.may(function, "sqs:SendMessage", &dead_letters), "{function}: {dead_letters}");
        }
    }
}

#[test]
fn every_function_logs_json_to_a_group_of_its_own_with_retention_and_is_traced() {
    let template = Template::read();
    assert_eq!(template.0["Globals"]["Function"]["Tracing"], "Active");
    for (function, properties) in template.functions() {
        let logging = &properties["LoggingConfig"];
        assert_eq!(logging["LogFormat"], "JSON", "{function}");
        assert_eq!(logging["ApplicationLogLevel"], "INFO", "{function}");
        assert_eq!(logging["SystemLogLevel"], "WARN", "{function}");
        let group = logging["LogGroup"]["Ref"].as_str().expect("the log group is a resource");
        assert_eq!(template.properties(group)["RetentionInDays"], json!({ "Ref": "LogRetentionDays" }), "{function}");
        assert!(template.may(function, "logs:PutLogEvents", &format!("{group}.Arn")), "{function}");
        let folder = properties["CodeUri"].as_str().and_then(|folder| folder.strip_prefix("functions/"));
        let name = format!("/aws/lambda/${{AWS::StackName}}-{}", folder.expect("a function lies in functions/"));
        assert_eq!(template.properties(group)["LogGroupName"], json!({ "Fn::Sub": name }), "{function}");
    }
}

#[test]
fn tables_are_billed_by_use_forget_by_time_and_those_that_matter_can_be_restored() {
    let template = Template::read();
    let customers = template.properties("OnboardingTable");
    assert_eq!(customers["BillingMode"], "PAY_PER_REQUEST");
    assert_eq!(customers["KeySchema"], json!([{ "AttributeName": "email", "KeyType": "HASH" }]));
    assert_eq!(customers["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"], true);
    assert_eq!(customers["TimeToLiveSpecification"], json!({ "AttributeName": "expires_at", "Enabled": true }));
    for (table, recoverable) in [("DedupTable", false), ("LinksTable", true)] {
        let properties = template.properties(table);
        assert_eq!(properties["BillingMode"], "PAY_PER_REQUEST", "{table}");
        assert_eq!(properties["KeySchema"], json!([{ "AttributeName": "pk", "KeyType": "HASH" }]), "{table}");
        let time_to_live = json!({ "AttributeName": "expires_at", "Enabled": true });
        assert_eq!(properties["TimeToLiveSpecification"], time_to_live, "{table}");
        let recovery = &properties["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"];
        assert_eq!(recovery == true, recoverable, "{table}");
    }
    let index = &template.properties("DedupTable")["GlobalSecondaryIndexes"];
    assert_eq!(
        *index,
        json!([
            {
                "IndexName": "by-object",
                "KeySchema": [
                    { "AttributeName": "object_id", "KeyType": "HASH" },
                    { "AttributeName": "updated_at", "KeyType": "RANGE" },
                ],
                "Projection": { "ProjectionType": "ALL" },
            },
            {
                "IndexName": "waiting",
                "KeySchema": [
                    { "AttributeName": "waiting_grant", "KeyType": "HASH" },
                    { "AttributeName": "updated_at", "KeyType": "RANGE" },
                ],
                "Projection": {
                    "ProjectionType": "INCLUDE",
                    "NonKeyAttributes": ["function", "object_id", "decision"],
                },
            },
            {
                "IndexName": "dead-letters",
                "KeySchema": [
                    { "AttributeName": "dead_lettered_by", "KeyType": "HASH" },
                    { "AttributeName": "updated_at", "KeyType": "RANGE" },
                ],
                "Projection": { "ProjectionType": "ALL" },
            },
        ])
    );
}

#[test]
fn tables_and_the_bucket_outlive_the_stack() {
    let template = Template::read();
    for kind in ["AWS::DynamoDB::Table", "AWS::S3::Bucket"] {
        for (name, resource) in template.of_type(kind) {
            assert_eq!(resource["DeletionPolicy"], "RetainExceptOnCreate", "{name}");
            assert_eq!(resource["UpdateReplacePolicy"], "Retain", "{name}");
        }
    }
}

#[test]
fn the_bucket_is_private_encrypted_reached_over_tls_only_and_forgets() {
    let template = Template::read();
    let bucket = template.properties("ArchiveBucket");
    for setting in ["BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"] {
        assert_eq!(bucket["PublicAccessBlockConfiguration"][setting], true, "{setting}");
    }
    let encryption = &bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"][0];
    assert_eq!(encryption["ServerSideEncryptionByDefault"]["SSEAlgorithm"], "AES256");

    let rules = list(&bucket["LifecycleConfiguration"]["Rules"]);
    assert!(rules.iter().filter(|rule| rule.get("Fn::If").is_none()).all(|rule| rule["Status"] == "Enabled"));
    let media = rules.iter().find_map(|rule| rule.get("Fn::If")).expect("media have a rule where they are kept");
    assert_eq!(media[0], "KeepsMedia");
    assert_eq!((&media[1]["Prefix"], &media[1]["Status"]), (&json!("media/"), &json!("Enabled")));
    assert_eq!(media[1]["ExpirationInDays"], json!({ "Ref": "MediaRetentionDays" }));
    assert_eq!(media[2], json!({ "Ref": "AWS::NoValue" }));
    let bodies = rules.iter().find(|rule| rule["Prefix"] == "bodies/").expect("bodies have a rule");
    assert_eq!(bodies["ExpirationInDays"], 35);
    let uploads = rules.iter().find(|rule| rule["AbortIncompleteMultipartUpload"].is_object());
    assert_eq!(uploads.expect("uploads have a rule")["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"], 1);

    let statement = &template.properties("ArchiveBucketPolicy")["PolicyDocument"]["Statement"][0];
    assert_eq!(statement["Effect"], "Deny");
    assert_eq!(statement["Condition"], json!({ "Bool": { "aws:SecureTransport": "false" } }));
}

#[test]
fn every_consumer_is_watched_and_all_alarms_together_stay_within_25() {
    let template = Template::read();
    assert!(template.of_type("AWS::CloudWatch::Alarm").count() <= 25);
    // An alarm watches one metric, or the highest of several of a kind.
    let watched = |metric: &str, dimension: Value| {
        let is_it = |watched: &Value| watched["MetricName"] == metric && watched["Dimensions"][0]["Value"] == dimension;
        template.of_type("AWS::CloudWatch::Alarm").any(|(_, alarm)| {
            let properties = &alarm["Properties"];
            is_it(properties) || list(&properties["Metrics"]).iter().any(|one| is_it(&one["MetricStat"]["Metric"]))
        })
    };
    for (function, properties) in template.functions() {
        assert!(watched("Errors", json!({ "Ref": function })), "{function}");
        for event in properties["Events"].as_object().into_iter().flat_map(Map::values) {
            let queue = event["Properties"]["Queue"]["Fn::GetAtt"].as_str().expect("a function's event is a queue");
            let queue = queue.trim_end_matches("Queue.Arn");
            let name = |suffix: &str| json!({ "Fn::GetAtt": format!("{queue}{suffix}.QueueName") });
            assert!(watched("ApproximateNumberOfMessagesVisible", name("DeadLetterQueue")), "{queue}");
            assert!(watched("ApproximateNumberOfMessagesVisible", name("Queue")), "{queue}");
            assert!(watched("ApproximateAgeOfOldestMessage", name("Queue")), "{queue}");
        }
    }
    for queue in ["UnroutableQueue", "SchedulerDeadLetterQueue"] {
        let name = json!({ "Fn::GetAtt": format!("{queue}.QueueName") });
        assert!(watched("ApproximateNumberOfMessagesVisible", name), "{queue}");
    }
}

#[test]
fn an_alarm_over_several_queues_takes_the_highest_of_all_it_lists() {
    let template = Template::read();
    let mut count = 0;
    for (name, alarm) in template.of_type("AWS::CloudWatch::Alarm") {
        let metrics = list(&alarm["Properties"]["Metrics"]);
        let of_queues = metrics.iter().any(|metric| metric["MetricStat"]["Metric"]["Namespace"] == "AWS/SQS");
        let Some((answer, others)) = metrics.split_first().filter(|_| of_queues) else { continue };
        assert!(answer.get("ReturnData").is_none(), "{name}: one metric is the alarm's own");
        let ids = |of: &[&Value]| -> Vec<String> {
            of.iter().map(|metric| metric["Id"].as_str().expect("a metric has an id").to_owned()).collect()
        };
        let (scaled, watched): (Vec<&Value>, Vec<&Value>) =
            others.iter().partition(|metric| metric.get("Expression").is_some());
        for metric in others {
            assert_eq!(metric["ReturnData"], false, "{name}");
        }
        for metric in &watched {
            assert_eq!(metric["MetricStat"]["Period"], 300, "{name}");
        }
        // Every queue counts: as it is, or as the part of it that the alarm's threshold is for.
        let mut counted = ids(&watched);
        for metric in &scaled {
            let (of, _) = metric["Expression"].as_str().and_then(|part| part.split_once(" / ")).expect("a part");
            let whole = counted.iter_mut().find(|id| *id == of).unwrap_or_else(|| panic!("{name}: {of} is not listed"));
            metric["Id"].as_str().expect("a metric has an id").clone_into(whole);
        }
        let highest =
            if scaled.is_empty() { "MAX(METRICS())".to_owned() } else { format!("MAX([{}])", counted.join(", ")) };
        assert_eq!(answer["Expression"], highest, "{name}");
        assert_eq!(watched.len(), QUEUES.len(), "{name}");
        count += 1;
    }
    assert_eq!(count, 2);
}

#[test]
fn messages_of_contact_sync_may_wait_six_times_as_long_as_others_before_people_are_told() {
    let template = Template::read();
    let alarm = template.properties("QueueAgeAlarm");
    assert_eq!(alarm["Threshold"], 3600);
    let scaled: Vec<&Value> =
        list(&alarm["Metrics"])[1..].iter().filter(|metric| metric.get("Expression").is_some()).collect();
    let [scaled] = scaled[..] else { panic!("one queue has another threshold") };
    assert_eq!(scaled["Expression"], "contacts / 6");
    let contacts = list(&alarm["Metrics"]).iter().find(|metric| metric["Id"] == "contacts").expect("it is watched");
    let queue = &contacts["MetricStat"]["Metric"]["Dimensions"][0]["Value"];
    assert_eq!(*queue, json!({ "Fn::GetAtt": "ContactSyncQueue.QueueName" }));
}

/// The text of an alarm's description as a stack called `crm-autopilot` has it.
fn description(alarm: &Value) -> String {
    let text = alarm["AlarmDescription"]["Fn::Sub"].as_str().expect("a description that names the stack");
    text.replace("${AWS::StackName}", "crm-autopilot")
}

#[test]
fn no_alarm_fires_where_nothing_happens() {
    let template = Template::read();
    for (name, alarm) in template.of_type("AWS::CloudWatch::Alarm") {
        let alarm = &alarm["Properties"];
        assert_eq!(alarm["TreatMissingData"], "notBreaching", "{name}");
        let threshold = alarm["Threshold"].as_u64().expect("a threshold is a number");
        match alarm["ComparisonOperator"].as_str() {
            Some("GreaterThanThreshold") => {}
            Some("GreaterThanOrEqualToThreshold") => assert!(threshold > 0, "{name} fires at nothing"),
            // A share that is 100 where all is well, and is judged over days.
            Some("LessThanThreshold") => {
                assert!(alarm["MetricName"] == "Coverage" && threshold < 100, "{name}");
                let (period, periods) = (&alarm["Period"], &alarm["EvaluationPeriods"]);
                assert_eq!((period, periods), (&json!(24 * 60 * 60), &json!(3)), "{name}");
            }
            other => panic!("{name} compares by {other:?}"),
        }
        let actions = json!({ "Fn::If": ["HasAlarmEmail", [{ "Ref": "AlarmTopic" }], { "Ref": "AWS::NoValue" }] });
        assert_eq!(alarm["AlarmActions"], actions, "{name}");
    }
}

#[test]
fn every_alarm_has_its_place_in_the_runbook_and_the_runbook_knows_no_other() {
    let template = Template::read();
    let runbook = fs::read_to_string(project_root().join("docs/runbook.md")).expect("the runbook");
    let told: BTreeSet<&str> = runbook
        .lines()
        .filter(|line| line.starts_with("### ") && line.ends_with("Alarm`"))
        .flat_map(|line| line.trim_start_matches("### ").split(", ").map(|name| name.trim_matches('`')))
        .collect();
    let alarms: BTreeSet<&str> = template.of_type("AWS::CloudWatch::Alarm").map(|(name, _)| name).collect();
    assert_eq!(told, alarms);
}

#[test]
fn every_alarm_says_what_is_wrong_what_to_do_and_what_to_type() {
    let template = Template::read();
    let makefile = fs::read_to_string(project_root().join("Makefile")).expect("the Makefile");
    for (name, alarm) in template.of_type("AWS::CloudWatch::Alarm") {
        let text = description(&alarm["Properties"]);
        assert!(text.chars().count() <= 1024, "{name}: CloudWatch takes 1,024 characters");
        assert!(text.matches(". ").count() >= 2 && text.ends_with('.'), "{name}: {text}");
        let commands: Vec<&str> = text.split("make ").skip(1).collect();
        assert!(["Type: make ", "Type now: make "].iter().any(|words| text.contains(words)), "{name}: {text}");
        for command in commands {
            let (target, rest) = command.split_once(' ').expect("a command and its stack");
            assert!(makefile.contains(&format!("\n{target}: ")), "{name}: there is no `make {target}`");
            assert!(rest.starts_with("STACK=crm-autopilot"), "{name}: make {command}");
        }
    }
}

#[test]
fn alarms_of_the_systems_at_the_other_end_judge_the_share_of_calls_that_failed() {
    let template = Template::read();
    for api in [Api::Nylas, Api::Crm, Api::Tickets] {
        let (errors, calls) = (api.errors().name(), api.latency().name());
        let alarm = template.properties(&format!("{errors}Alarm"));
        let of = |id: &str, metric: &str, statistic: &str| {
            json!({ "Id": id, "ReturnData": false, "MetricStat": { "Stat": statistic, "Period": 300,
                "Metric": { "Namespace": NAMESPACE, "MetricName": metric } } })
        };
        let metrics = list(&alarm["Metrics"]);
        assert_eq!(metrics[0]["Expression"], "IF(calls >= 5, 100 * errors / calls, 0)", "{errors}");
        assert_eq!(metrics[1..], [of("errors", errors, "Sum"), of("calls", calls, "SampleCount")]);
        assert_eq!((&alarm["Threshold"], &alarm["EvaluationPeriods"]), (&json!(50), &json!(3)), "{errors}");
    }
}

#[test]
fn alarms_watch_metrics_of_ours_by_names_that_are_written() {
    let template = Template::read();
    let mut seen = 0;
    for (name, alarm) in template.of_type("AWS::CloudWatch::Alarm") {
        let properties = &alarm["Properties"];
        let several = list(&properties["Metrics"]).iter().map(|metric| &metric["MetricStat"]["Metric"]);
        for metric in several.chain([properties]).filter(|metric| metric["Namespace"] == NAMESPACE) {
            let is_written = Metric::ALL.iter().any(|written| metric["MetricName"] == written.name());
            assert!(is_written && metric.get("Dimensions").is_none(), "{name}: {}", metric["MetricName"]);
            seen += 1;
        }
    }
    assert!(seen >= 9, "only {seen}");
}

/// The widgets of the dashboard, what is put in for references still standing in `${…}`.
fn widgets(template: &Template) -> Vec<Value> {
    let body = template.properties("Dashboard")["DashboardBody"]["Fn::Sub"].as_str().expect("a body");
    let body: Value = serde_json::from_str(body).expect("the body is JSON");
    list(&body["widgets"]).to_vec()
}

/// What stands between `${` and `}` in a text.
fn references(text: &str) -> impl Iterator<Item = &str> {
    text.split("${").skip(1).map(|rest| rest.split('}').next().unwrap_or_default())
}

#[test]
fn dashboard_names_what_there_is_and_forgets_nothing() {
    let template = Template::read();
    let text = template.properties("Dashboard")["DashboardBody"]["Fn::Sub"].as_str().expect("a body");
    let named: BTreeSet<&str> =
        references(text).map(|reference| reference.split('.').next().unwrap_or_default()).collect();
    for reference in named.iter().filter(|reference| !reference.starts_with("AWS::")) {
        assert!(template.resources().contains_key(*reference), "the dashboard names {reference}, which is not there");
    }
    let watched = ["AWS::SQS::Queue", "AWS::Serverless::Function", "AWS::Logs::LogGroup", "AWS::DynamoDB::Table"];
    for (resource, _) in watched.iter().flat_map(|kind| template.of_type(kind)) {
        assert!(named.contains(resource), "the dashboard forgets {resource}");
    }

    let mut shown = BTreeSet::new();
    for widget in widgets(&template) {
        for metric in list(&widget["properties"]["metrics"]) {
            let metric = list(metric);
            let name = metric[1].as_str().expect("a name");
            if metric[0] == NAMESPACE {
                assert!(metric.get(2).is_none_or(Value::is_object), "{name} has no dimension");
                shown.insert(name.to_owned());
            } else {
                let resource = metric[3].as_str().expect("a value");
                let attribute = match (metric[0].as_str(), metric[2].as_str()) {
                    (Some("AWS/SQS"), Some("QueueName")) => "Queue.QueueName}",
                    (Some("AWS/Lambda"), Some("FunctionName")) => "Function}",
                    (Some("AWS/Logs"), Some("LogGroupName")) => "LogGroup}",
                    (Some("AWS/DynamoDB"), Some("TableName")) => "Table}",
                    other => panic!("{other:?} is not known"),
                };
                assert!(resource.starts_with("${") && resource.ends_with(attribute), "{name} of {resource}");
            }
        }
    }
    let written: BTreeSet<String> = Metric::ALL.iter().map(|metric| metric.name().to_owned()).collect();
    assert_eq!(shown, written, "every metric is shown, and no other");
}

#[test]
fn dashboard_shows_age_depth_and_dead_letters_of_every_queue_and_percentiles_of_every_system() {
    let template = Template::read();
    let widgets = widgets(&template);
    let shows = |metric: Value| {
        let is_it = |shown: &Value| {
            let shown = list(shown);
            let wanted = list(&metric);
            let (plain, options): (Vec<&Value>, Vec<&Value>) = wanted.iter().partition(|value| value.is_string());
            plain.iter().zip(shown).all(|(wanted, shown)| *wanted == shown)
                && options.iter().all(|option| option["stat"] == shown[shown.len() - 1]["stat"])
        };
        widgets.iter().any(|widget| list(&widget["properties"]["metrics"]).iter().any(is_it))
    };
    for (queue, _) in QUEUES {
        let of = |name: &str| format!("${{{name}.QueueName}}");
        let (own, dead) = (of(&format!("{queue}Queue")), of(&format!("{queue}DeadLetterQueue")));
        for (metric, queue) in [
            ("ApproximateAgeOfOldestMessage", &own),
            ("ApproximateNumberOfMessagesVisible", &own),
            ("ApproximateNumberOfMessagesVisible", &dead),
            ("NumberOfMessagesSent", &own),
        ] {
            assert!(shows(json!(["AWS/SQS", metric, "QueueName", queue])), "{metric} of {queue}");
        }
    }
    for (function, _) in template.functions() {
        for metric in ["Errors", "Invocations", "Duration"] {
            let function = format!("${{{function}}}");
            assert!(shows(json!(["AWS/Lambda", metric, "FunctionName", function])), "{metric} of {function}");
        }
    }
    for api in [Api::Nylas, Api::Crm, Api::Tickets] {
        for percentile in ["p50", "p99"] {
            assert!(shows(json!([NAMESPACE, api.latency().name(), { "stat": percentile }])), "{api:?} {percentile}");
        }
    }
}

#[test]
fn queries_of_the_dashboard_are_understood_and_split_errors_by_every_kind() {
    let template = Template::read();
    let mut kinds = BTreeSet::new();
    for widget in widgets(&template).iter().filter(|widget| widget["type"] == "log") {
        let text = widget["properties"]["query"].as_str().expect("a query");
        let (sources, commands): (Vec<&str>, Vec<&str>) =
            text.split(" | ").partition(|command| command.starts_with("SOURCE "));
        assert!(sources.iter().all(|source| source.ends_with("LogGroup}'")) && !sources.is_empty(), "{text}");
        let query = commands.join(" | ");
        Query::parse(&query).unwrap_or_else(|error| panic!("{query}: {error}"));
        for api in [Api::Nylas, Api::Crm, Api::Tickets] {
            let of = |kind: ErrorKind| format!("sum({}.{}) as ", api.error_kinds(), kind.name());
            if ErrorKind::ALL.iter().all(|kind| query.contains(&of(*kind))) {
                kinds.insert(api);
            }
        }
    }
    assert_eq!(kinds.len(), 3, "{kinds:?}");
}

#[test]
fn widgets_of_the_dashboard_lie_within_its_24_columns_and_over_none_another() {
    let template = Template::read();
    let mut taken = BTreeSet::new();
    for widget in widgets(&template) {
        let of = |side: &str| widget[side].as_u64().expect("a number");
        assert!(of("x") + of("width") <= 24, "{widget}");
        for place in
            (of("x")..of("x") + of("width")).flat_map(|x| (of("y")..of("y") + of("height")).map(move |y| (x, y)))
        {
            assert!(taken.insert(place), "{} lies over another", widget["properties"]["title"]);
        }
    }
}

#[test]
fn queries_of_the_docs_are_understood_and_ask_for_what_is_written() {
    let page = fs::read_to_string(project_root().join("docs/queries.md")).expect("the docs");
    let queries = logs_insights::queries_of(&page);
    assert!(queries.len() >= 10);
    for (heading, query) in &queries {
        Query::parse(query).unwrap_or_else(|error| panic!("{heading}: {error}"));
    }
    let all: String = queries.into_iter().map(|(_, query)| query).collect();
    for kind in ErrorKind::ALL {
        assert!(all.contains(&format!("CrmErrorKinds.{}", kind.name())), "{kind:?}");
    }
}

#[test]
fn parameters_have_the_names_and_defaults_of_the_design() {
    let template = Template::read();
    let expected = json!({
        "NylasApiUri": "https://api.us.nylas.com",
        "NylasApiKey": null,
        "NylasWebhookSecret": "",
        "CustomerEventsSecret": "",
        "OnboardingGrantId": "",
        "OnboardingEmail": "",
        "ProductName": "",
        "SetupUrl": "",
        "DocsUrl": "",
        "SchedulerBaseUrl": "https://book.nylas.com",
        "TeamTimeZone": "UTC",
        "FollowUpAfter": "48h",
        "NudgeAfter": "72h",
        "EscalateAfter": "72h",
        "OnboardingSendingHours": "",
        "OnboardingMailsPerMinute": 20,
        "OnboardingMailsPerDay": 400,
        "CrmProvider": "rest",
        "CrmBaseUrl": "",
        "CrmApiKey": "",
        "CrmClientId": "",
        "CrmUsername": "",
        "CrmRefreshToken": "",
        "CrmLoginUrl": "",
        "CrmRequestsPerSecond": 10,
        "CompanyDomains": "",
        "CalendarScope": "prospects",
        "SupportGrantIds": "",
        "SupportAddress": "",
        "TicketProvider": "rest",
        "TicketBaseUrl": "",
        "TicketApiKey": "",
        "TicketProject": "",
        "PriorityDomains": "",
        "AcknowledgeTickets": "off",
        "IncidentStormWindow": "5m",
        "RetryFor": "4d",
        "RetryFirstDelay": "5s",
        "WorkerConcurrency": 2,
        "IngressReservedConcurrency": 0,
        "ReconcileSchedule": "cron(30 1 * * ? *)",
        "ContactSyncSchedule": "cron(0 2 * * ? *)",
        "ScheduleTimeZone": "UTC",
        "ContactSources": "address_book",
        "ContactLookupTtl": "7d",
        "PhoneRegion": "",
        "LogRetentionDays": 30,
        "AlertWebhookUrl": "",
        "MediaRetentionDays": 0,
        "MediaUrlPolicy": "public",
        "AlarmEmail": "",
        "Architecture": "x86_64",
    });
    let defaults: Map<String, Value> =
        template.parameters().iter().map(|(name, parameter)| (name.clone(), parameter["Default"].clone())).collect();
    assert_eq!(Value::Object(defaults), expected);
}

#[test]
fn every_parameter_is_explained_in_sentences_and_stands_in_a_group_of_the_console() {
    let template = Template::read();
    let interface = &template.0["Metadata"]["AWS::CloudFormation::Interface"];
    let grouped: Vec<&Value> =
        list(&interface["ParameterGroups"]).iter().flat_map(|group| list(&group["Parameters"])).collect();
    for (name, parameter) in template.parameters() {
        let description = parameter["Description"].as_str().unwrap_or_default();
        assert!(description.ends_with('.'), "{name}: {description}");
        assert!(grouped.iter().any(|grouped| *grouped == name), "{name} is in no group");
        assert!(interface["ParameterLabels"][name].is_object(), "{name} has no label");
        if ["AllowedPattern", "MinValue"].iter().any(|bound| parameter.get(bound).is_some()) {
            let constraint = parameter["ConstraintDescription"].as_str().unwrap_or_default();
            assert!(constraint.starts_with("must "), "{name}: {constraint}");
        }
    }
    assert_eq!(grouped.len(), template.parameters().len());
}

#[test]
fn only_the_nylas_api_key_has_to_be_given_and_no_credential_is_shown() {
    let template = Template::read();
    for (name, parameter) in template.parameters() {
        assert_eq!(parameter.get("Default").is_none(), name == "NylasApiKey", "{name}");
        let credential = ["Secret", "ApiKey", "Token", "WebhookUrl"].iter().any(|end| name.ends_with(end));
        assert_eq!(parameter["NoEcho"] == true, credential, "{name}");
    }
}

#[test]
fn no_credential_stands_in_the_environment_of_a_function() {
    let template = Template::read();
    let credentials: Vec<&String> = template
        .parameters()
        .iter()
        .filter(|(_, parameter)| parameter["NoEcho"] == true)
        .map(|(name, _)| name)
        .collect();
    assert_eq!(credentials.len(), 7);
    for (function, properties) in template.functions() {
        let variables = properties["Environment"]["Variables"].to_string();
        for credential in &credentials {
            assert!(!variables.contains(&format!("{{\"Ref\":\"{credential}\"}}")), "{function}: {credential}");
            assert!(!variables.contains(&format!("${{{credential}}}")), "{function}: {credential}");
        }
    }
}

#[test]
fn the_managed_webhook_secret_always_exists_and_a_deployment_never_gives_it_a_value() {
    let template = Template::read();
    let secret = &template.resources()["ManagedWebhookSecret"];
    assert!(secret.get("Condition").is_none());
    assert!(secret["Properties"].get("SecretString").is_none());
    assert!(secret["Properties"].get("GenerateSecretString").is_none());
}

#[test]
fn the_environment_of_every_function_fits_lambda_at_the_longest_parameters() {
    let template = Template::read();
    for (function, properties) in template.functions() {
        let variables = properties["Environment"]["Variables"].as_object().expect("a function has variables");
        for holding in settings_of_conditions(properties) {
            let longest = variables.iter().map(|(name, value)| name.len() + longest(&template, value, &holding));
            let bytes: usize = longest.sum();
            assert!(bytes <= ENVIRONMENT_BYTES, "{function}: up to {bytes} bytes where {holding:?} hold");
        }
    }
}

/// Every set of the conditions in a function's variables that can hold together: what one of them leaves out may be as
/// long as what it puts in.
fn settings_of_conditions(properties: &Value) -> Vec<BTreeSet<String>> {
    let mut conditions = BTreeSet::new();
    let mut values = vec![&properties["Environment"]["Variables"]];
    while let Some(value) = values.pop() {
        conditions.extend(value["Fn::If"][0].as_str().map(str::to_owned));
        values.extend(value.as_object().into_iter().flat_map(Map::values).chain(list(value)));
    }
    let none = vec![BTreeSet::new()];
    conditions.into_iter().fold(none, |settings, condition| {
        let with = settings.iter().map(|holding| holding.iter().chain([&condition]).cloned().collect());
        let with: Vec<_> = with.collect();
        settings.into_iter().chain(with).collect()
    })
}

/// The most characters that the name of the stack can have: queues bear it, and the name of a queue has at most 80. A
/// longer one is refused at deployment, before there is a function.
fn longest_stack_name(template: &Template) -> usize {
    let names = template.of_type("AWS::SQS::Queue").filter_map(|(_, queue)| {
        queue["Properties"]["QueueName"]["Fn::Sub"].as_str()?.strip_prefix("${AWS::StackName}").map(str::len)
    });
    80 - names.max().expect("queues bear the name of the stack")
}

/// The most characters that the name, address or ARN of a resource can have: what its kind allows for a name, as AWS
/// documents it (a queue 80, a role 64, a group of schedules 64, a bucket 63), with the longest stack name where
/// `CloudFormation` makes it up from that and 12 or 13 characters of its own, and what an address or ARN adds.
fn longest_of_resource(template: &Template, value: &Value) -> usize {
    if value["Ref"] == "AWS::StackId" {
        // arn:aws-us-gov:cloudformation:<region>:<account>:stack/<name>/<UUID>.
        return 115 + longest_stack_name(template);
    }
    let named = value["Ref"].as_str().or_else(|| value["Fn::GetAtt"].as_str()).unwrap_or_default();
    let name = named.split('.').next().unwrap_or_default();
    match template.resources()[name]["Type"].as_str().unwrap_or_default() {
        "AWS::SQS::Queue" if value.get("Fn::GetAtt").is_some() => 125,
        "AWS::SQS::Queue" => 140,
        // Named after its resource, not after the stack, with six characters that the service adds:
        // arn:aws-iso-f:secretsmanager:us-isof-south-1:<account>:secret:<name>-<six>.
        "AWS::SecretsManager::Secret" => 86 + name.len(),
        "AWS::DynamoDB::Table" => longest_stack_name(template) + name.len() + 15,
        "AWS::IAM::Role" => 110,
        "AWS::S3::Bucket" => 63,
        "AWS::Scheduler::ScheduleGroup" => 64,
        _ => 200,
    }
}

/// The most characters that a variable can have where these conditions hold and no others. A parameter has its `MaxLength`.
fn longest(template: &Template, value: &Value, holding: &BTreeSet<String>) -> usize {
    if let Some(text) = value.as_str() {
        return text.len();
    }
    if let Some(branches) = value.get("Fn::If") {
        let holds = branches[0].as_str().is_some_and(|condition| holding.contains(condition));
        return longest(template, &branches[if holds { 1 } else { 2 }], holding);
    }
    let Some(parameter) = value["Ref"].as_str().and_then(|name| template.parameters().get(name)) else {
        return longest_of_resource(template, value);
    };
    match parameter["Type"].as_str() {
        Some("Number") => parameter["MaxValue"].as_u64().map_or(10, |most| most.to_string().len()),
        _ => parameter["MaxLength"]
            .as_u64()
            .and_then(|longest| usize::try_from(longest).ok())
            .or_else(|| list(&parameter["AllowedValues"]).iter().filter_map(Value::as_str).map(str::len).max())
            .expect("a parameter in an environment has a greatest length"),
    }
}

#[test]
fn outputs_have_the_names_of_the_design() {
    let template = Template::read();
    let outputs = template.0["Outputs"].as_object().expect("the template has outputs");
    let queues =
        QUEUES.iter().flat_map(|(queue, _)| [format!("{queue}QueueUrl"), format!("{queue}DeadLetterQueueUrl")]);
    let others = [
        "WebhookUrl",
        "CustomerEventsUrl",
        "UnroutableQueueUrl",
        "SchedulerDeadLetterQueueUrl",
        "DedupTableName",
        "LinksTableName",
        "OnboardingTableName",
        "ArchiveBucketName",
        "WebhookIngressFunctionName",
        "EmailActivityFunctionName",
        "CalendarSyncFunctionName",
        "NotetakerMediaFunctionName",
        "OnboardingTransitionsFunctionName",
        "TicketTriageFunctionName",
        "ContactSyncFunctionName",
        "OperatorFunctionName",
        "DashboardUrl",
    ];
    for output in queues.chain(others.into_iter().map(str::to_owned)) {
        assert!(outputs.contains_key(&output), "{output} is missing");
    }
    for (name, output) in outputs {
        assert!(output["Description"].as_str().is_some_and(|text| text.ends_with('.')), "{name}");
    }
    let address = |output: &str| outputs[output]["Value"]["Fn::Sub"].as_str().unwrap_or_default().to_owned();
    // A Function URL ends in a slash.
    assert!(address("WebhookUrl").ends_with(".FunctionUrl}webhooks/nylas"));
    assert!(address("CustomerEventsUrl").ends_with(".FunctionUrl}customers/events"));
}

#[test]
fn what_lacks_something_that_it_needs_is_refused_at_deployment() {
    let template = Template::read();
    let given = |parameter: &str| json!({ "Fn::Not": [{ "Fn::Equals": [{ "Ref": parameter }, ""] }] });
    for (when, needed) in [
        ("CrmBaseUrl", "CrmApiKey"),
        ("CrmApiKey", "CrmBaseUrl"),
        ("CrmBaseUrl", "CompanyDomains"),
        ("TicketBaseUrl", "TicketApiKey"),
        ("TicketApiKey", "TicketBaseUrl"),
        ("OnboardingGrantId", "OnboardingEmail"),
        ("OnboardingGrantId", "ProductName"),
    ] {
        let rules = template.0["Rules"].as_object().expect("the template has rules");
        let rule = rules
            .values()
            .find(|rule| rule["RuleCondition"] == given(when) && rule["Assertions"][0]["Assert"] == given(needed))
            .unwrap_or_else(|| panic!("no rule asks for {needed} where {when} is given"));
        let sentence = rule["Assertions"][0]["AssertDescription"].as_str().unwrap_or_default();
        assert!(sentence.contains(when) && sentence.contains(needed), "{sentence}");
    }
}

#[test]
fn what_a_provider_needs_is_asked_for_where_its_system_is_on() {
    let template = Template::read();
    let empty = |parameter: &str| json!({ "Fn::Equals": [{ "Ref": parameter }, ""] });
    let given = |parameter: &str| json!({ "Fn::Not": [empty(parameter)] });
    let is = |parameter: &str, value: &str| json!({ "Fn::Equals": [{ "Ref": parameter }, value] });
    for (when, on, needed, named) in [
        (is("CrmProvider", "salesforce"), "CrmBaseUrl", given("CrmClientId"), ["CrmProvider", "CrmClientId"]),
        (given("CrmRefreshToken"), "CrmBaseUrl", given("CrmClientId"), ["CrmRefreshToken", "CrmClientId"]),
        (given("CrmRefreshToken"), "CrmBaseUrl", empty("CrmUsername"), ["CrmRefreshToken", "CrmUsername"]),
        (is("TicketProvider", "jira"), "TicketBaseUrl", given("TicketProject"), ["TicketProvider", "TicketProject"]),
    ] {
        let condition = json!({ "Fn::And": [when, given(on)] });
        let rules = template.0["Rules"].as_object().expect("the template has rules");
        let rule = rules
            .values()
            .find(|rule| rule["RuleCondition"] == condition && rule["Assertions"][0]["Assert"] == needed)
            .unwrap_or_else(|| panic!("no rule is about {named:?} where {on} is given"));
        let sentence = rule["Assertions"][0]["AssertDescription"].as_str().unwrap_or_default();
        assert!(named.iter().all(|parameter| sentence.contains(parameter)) && sentence.ends_with('.'), "{sentence}");
    }
}

#[test]
fn parameters_of_the_systems_take_the_credentials_that_these_have_and_refuse_what_is_none() {
    let template = Template::read();
    let providers = |parameter: &str| template.parameters()[parameter]["AllowedValues"].clone();
    assert_eq!(providers("CrmProvider"), json!(["rest", "hubspot", "salesforce", "pipedrive"]));
    assert_eq!(providers("TicketProvider"), json!(["rest", "zendesk", "jira"]));
    // As long as the private key of 4,096 bits, which is 2,374 bytes as PKCS #8, in lines of 64.
    let lines = |between: &str, bytes: usize| {
        let text = "MIIJQgIBADANBgkqhkiG9w0BAQEFAASC+/==".repeat(bytes * 4 / 3 / 36 + 1);
        let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| str::from_utf8(line).expect("ASCII")).collect();
        ["-----BEGIN PRIVATE KEY-----", &lines.join(between), "-----END PRIVATE KEY-----"].join(between)
    };
    let (pem, in_a_line, by_windows) = (lines("\n", 2374) + "\n", lines(" ", 2374), lines("\r\n", 2374));
    let (broken, long) = (pem.replace("-----END PRIVATE KEY-----", ""), lines("\n", 3100));
    let of_80 = format!("{}@northwind.example", "n".repeat(62));
    let of_81 = format!("n{of_80}");
    for (parameter, taken, refused) in [
        (
            "CrmApiKey",
            &["", "pat-eu1-0c5d", &pem, &in_a_line, &by_windows, &lines("", 2374)][..],
            &["two words", " key", "key\n", &broken, &long][..],
        ),
        ("CrmClientId", &["", "3MVG9_a.b"], &["a b"]),
        ("CrmUsername", &["", "crm@northwind.example.sandbox", &of_80], &["crm", "a b@c.example", &of_81]),
        ("CrmRefreshToken", &["", "7341239:11239:91b4"], &["a b"]),
        (
            "CrmLoginUrl",
            &["", "https://test.salesforce.com", "http://127.0.0.1:4010"],
            &["test.salesforce.com", "http://login.example", "https://a.example?b"],
        ),
        ("TicketApiKey", &["", "a@b.example/token:6wiIBWbG", "a@b.example:ATATT3x=A1"], &["a@b.example: x"]),
        ("TicketProject", &["", "SUP", "A_1"], &["sup", "S", "1A", "A-B"]),
    ] {
        let bounds = &template.parameters()[parameter];
        let rule = json!({ "pattern": bounds["AllowedPattern"], "maxLength": bounds["MaxLength"] });
        let rule = jsonschema::validator_for(&rule).expect("the bounds of a parameter can be read");
        for text in taken {
            assert!(rule.is_valid(&json!(text)), "{text} is refused by {parameter}");
        }
        for text in refused {
            assert!(!rule.is_valid(&json!(text)), "{text} is taken by {parameter}");
        }
    }
}

#[test]
fn every_function_is_built_from_a_crate_of_its_own_with_a_binary_of_its_own_name() {
    let template = Template::read();
    for (function, properties) in template.functions() {
        let folder = properties["CodeUri"].as_str().expect("code lies in a folder");
        let manifest = project_root().join(folder).join("Cargo.toml");
        let manifest = fs::read_to_string(&manifest).expect("a function is a crate");
        let name = folder.strip_prefix("functions/").expect("a function lies in functions/");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{function}: the binary is named after the folder");
        assert!(!manifest.contains("[[bin]]"), "{function}: a second binary would share its target");
        assert_eq!(template.resources()[function]["Metadata"]["BuildMethod"], "rust-cargolambda", "{function}");
    }
    assert_eq!(template.0["Globals"]["Function"]["Runtime"], "provided.al2023");
    assert_eq!(template.0["Globals"]["Function"]["Handler"], "bootstrap");
}

#[test]
fn a_panic_unwinds_in_release_builds() {
    let manifest = fs::read_to_string(project_root().join("Cargo.toml")).expect("the workspace has a manifest");
    let (_, release) = manifest.split_once("[profile.release]").expect("the release profile is set");
    let release = release.split("\n[").next().unwrap_or_default();
    assert!(release.lines().any(|line| line.trim() == "panic = \"unwind\""), "{release}");
}

#[test]
fn sam_sees_changes_in_shared_because_its_own_cache_is_off() {
    let configuration = fs::read_to_string(project_root().join("samconfig.toml")).expect("samconfig.toml can be read");
    assert!(configuration.contains("\ncached = false\n"));
    assert!(configuration.contains("\ncapabilities = \"CAPABILITY_IAM\"\n"));
    assert!(configuration.contains("\nresolve_s3 = true\n"));
}
