//! For tests: a stack that has everything, and what is examined in memory.

use jiff::Timestamp;
use shared::engine::StoreError;
use std::collections::{BTreeMap, BTreeSet};
use std::future;

use super::Examined;
use super::alarms::{Alarm, Subscription};
use super::queues::Depths;
use super::schedules::{SCHEDULES, Schedule, Standing, Target};
use super::secrets::{MANAGED_WEBHOOK_SECRET, Managed, SECRETS, WEBHOOK_SECRET};
use crate::stack_map::{StackMap, WORKERS};

/// The alarms of the stack.
const ALARMS: [&str; 3] = ["CalendarSyncErrorsAlarm", "GrantsExpiredAlarm", "UnroutableAlarm"];

/// The topic that alarms tell.
pub const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:stack-AlarmTopic";

/// A stack that has everything.
pub fn stack() -> StackMap {
    let texts = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>()
    };
    let mut resources = texts(&[
        (WEBHOOK_SECRET, "arn:WebhookSecret"),
        (MANAGED_WEBHOOK_SECRET, "arn:ManagedWebhookSecret"),
        ("AlarmTopic", TOPIC),
        ("ContactSyncFunction", "stack-ContactSync"),
        ("UnroutableQueue", "https://sqs/1/unroutable"),
        ("SchedulerDeadLetterQueue", "https://sqs/1/of-schedules"),
    ]);
    resources.extend(SECRETS.map(|(name, _)| (name.to_owned(), format!("arn:{name}"))));
    resources.extend(SCHEDULES.map(|schedule| (schedule.name.to_owned(), format!("stack-{}", schedule.name))));
    resources.extend(ALARMS.map(|name| (name.to_owned(), format!("stack-{name}"))));
    for (worker, _) in WORKERS {
        resources.insert(format!("{worker}Queue"), format!("https://sqs/1/{worker}.fifo"));
        resources.insert(format!("{worker}DeadLetterQueue"), format!("https://sqs/1/{worker}-dead.fifo"));
    }
    StackMap {
        status: "UPDATE_COMPLETE".to_owned(),
        parameters: texts(&[
            ("NylasApiUri", "https://api.us.nylas.com"),
            ("SchedulerBaseUrl", "https://book.nylas.com"),
            ("CrmBaseUrl", "https://api.hubapi.com"),
            ("CompanyDomains", "northwind.example"),
            ("TicketBaseUrl", "https://northwind.zendesk.com"),
            ("SupportGrantIds", "support"),
            ("OnboardingGrantId", "onboarding"),
            ("ReconcileSchedule", "cron(30 1 * * ? *)"),
            ("ContactSyncSchedule", "cron(0 2 * * ? *)"),
            ("ScheduleTimeZone", "UTC"),
            ("AlarmEmail", "ops@northwind.example"),
        ]),
        outputs: texts(&[("WebhookUrl", "https://abc.lambda-url.eu-west-1.on.aws/webhooks/nylas")]),
        resources,
    }
}

/// A schedule as the template makes it.
pub fn schedule_as_deployed(stack: &StackMap, schedule: Schedule) -> Standing {
    let target = match schedule.target {
        Target::Queue(worker) => {
            let url = stack.queue_url(worker).expect("a queue");
            format!("arn:aws:sqs:eu-west-1:123456789012:{}", url.rsplit('/').next().expect("a name"))
        }
        Target::Function(name) => {
            format!("arn:aws:lambda:eu-west-1:123456789012:function:{}", stack.resource(name).expect("a function"))
        }
    };
    Standing {
        is_enabled: true,
        expression: stack.parameters[schedule.expression].clone(),
        zone: Some("UTC".to_owned()),
        target,
        made_at: Some(Timestamp::UNIX_EPOCH),
    }
}

/// What is examined, in memory.
#[derive(Debug, Clone)]
pub struct MemoryExamined {
    /// The stack.
    pub stack: StackMap,
    /// The secrets that have no value, by ARN.
    pub empty: BTreeSet<&'static str>,
    /// What the managed webhook secret holds.
    pub managed: Managed,
    /// What queues hold, by URL; others are empty.
    pub depths: BTreeMap<&'static str, Depths>,
    /// The schedules, by name.
    pub schedules: BTreeMap<String, Standing>,
    /// The alarms.
    pub alarms: Vec<Alarm>,
    /// Who listens to the topic.
    pub subscriptions: Vec<Subscription>,
    /// What refuses to answer: `stack`, `secrets`, `queues`, `schedules`, `alarms`, `subscriptions`.
    pub refuses: BTreeSet<&'static str>,
    /// What never answers.
    pub hangs: BTreeSet<&'static str>,
}

impl Default for MemoryExamined {
    /// Everything is there and well.
    fn default() -> Self {
        let stack = stack();
        let alarm = |name: &str| Alarm {
            name: format!("stack-{name}"),
            description: format!("{name} tells of something. Mend it."),
            state: "OK".to_owned(),
            actions_enabled: true,
            actions: vec![TOPIC.to_owned()],
        };
        let schedules = SCHEDULES
            .map(|schedule| (format!("stack-{}", schedule.name), schedule_as_deployed(&stack, schedule)))
            .into_iter()
            .collect();
        Self {
            stack,
            empty: BTreeSet::new(),
            managed: Managed { secrets: 1, rotating_until: None },
            depths: BTreeMap::new(),
            schedules,
            alarms: ALARMS.map(alarm).to_vec(),
            subscriptions: vec![Subscription { is_confirmed: true }],
            refuses: BTreeSet::new(),
            hangs: BTreeSet::new(),
        }
    }
}

impl MemoryExamined {
    async fn answers<T>(&self, what: &'static str, answer: T) -> Result<T, StoreError> {
        if self.hangs.contains(what) {
            future::pending::<()>().await;
        }
        if self.refuses.contains(what) { Err(StoreError(format!("AccessDenied: {what}"))) } else { Ok(answer) }
    }
}

impl Examined for MemoryExamined {
    async fn stack(&self) -> Result<StackMap, StoreError> {
        self.answers("stack", self.stack.clone()).await
    }

    async fn has_value(&self, secret: &str) -> Result<bool, StoreError> {
        self.answers("secrets", !self.empty.contains(secret)).await
    }

    async fn managed_webhook_secret(&self, _: &str) -> Result<Managed, StoreError> {
        self.answers("secrets", self.managed).await
    }

    async fn depths(&self, queue: &str) -> Result<Depths, StoreError> {
        self.answers("queues", self.depths.get(queue).copied().unwrap_or_default()).await
    }

    async fn schedule(&self, name: &str) -> Result<Option<Standing>, StoreError> {
        self.answers("schedules", self.schedules.get(name).cloned()).await
    }

    async fn alarms(&self, names: &[&str]) -> Result<Vec<Alarm>, StoreError> {
        let asked = |alarm: &&Alarm| names.contains(&alarm.name.as_str());
        self.answers("alarms", self.alarms.iter().filter(asked).cloned().collect()).await
    }

    async fn subscriptions(&self, _: &str) -> Result<Vec<Subscription>, StoreError> {
        self.answers("subscriptions", self.subscriptions.clone()).await
    }
}
