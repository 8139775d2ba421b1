//! What the functions on the engine wrote and which processes they run in. The names of functions come
//! from the stack's outputs, those of log groups from the stack's own name, as the template fixes both.
//! Lines are read through CloudWatch Logs, as on AWS, so that a wrong log group is noticed.

use std::collections::BTreeSet;

use reqwest::Method;
use rustix::process::Signal;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{EngineError, LocalEngine, Stack, process};

/// One line that a function wrote.
#[derive(Clone, Debug)]
pub struct LogLine {
    /// The log group, such as `/aws/lambda/crm-autopilot-email-activity`.
    pub log_group: String,
    /// When the invocation that wrote it ended, in milliseconds since 1970.
    pub timestamp: i64,
    /// The line as it was written.
    pub text: String,
}

impl LogLine {
    /// The line as JSON; `None` for the platform's own lines (`START`, `END`, `REPORT`).
    #[must_use]
    pub fn json(&self) -> Option<Value> {
        serde_json::from_str(&self.text).ok().filter(Value::is_object)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogGroups {
    log_groups: Vec<LogGroup>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogGroup {
    log_group_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogEvents {
    events: Vec<LogEvent>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
struct LogEvent {
    timestamp: i64,
    message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FunctionConfiguration {
    role: String,
}

impl LocalEngine {
    /// Every line that one function wrote so far; `function` is its folder's name, such as `email-activity`.
    pub async fn log_lines(&self, stack: &Stack, function: &str) -> Result<Vec<LogLine>, EngineError> {
        self.lines_of_group(&stack.log_group(function)).await
    }

    /// Every line that any function of the stack wrote so far, wherever it went.
    pub async fn all_log_lines(&self, stack: &Stack) -> Result<Vec<LogLine>, EngineError> {
        let groups: LogGroups = self.logs("DescribeLogGroups", &json!({})).await?;
        let mut lines = Vec::new();
        for group in groups.log_groups {
            if group.log_group_name.contains(&stack.name) {
                lines.extend(self.lines_of_group(&group.log_group_name).await?);
            }
        }
        Ok(lines)
    }

    /// The ids of the processes that a function runs in; `function_name` is its name on AWS, as the
    /// stack's outputs give it.
    pub fn function_processes(&self, function_name: &str) -> Result<Vec<u32>, EngineError> {
        let group = self.process_id().ok_or(EngineError::NotRunning)?;
        process::in_group_with_environment(group, "AWS_LAMBDA_FUNCTION_NAME", function_name)
    }

    /// Deletes a schedule by its physical name, so that it fires no more.
    pub async fn end_schedule(&self, name: &str) -> Result<(), EngineError> {
        let what = format!("deleting the schedule {name}");
        let path = format!("/schedules/{name}?groupName=default");
        self.signed(&what, "scheduler", reqwest::Method::DELETE, &path, &[], String::new()).await.map(drop)
    }

    /// A schedule by its physical name; none if there is no such schedule.
    pub async fn schedule(&self, name: &str) -> Result<Option<Value>, EngineError> {
        let what = format!("looking at the schedule {name}");
        let path = format!("/schedules/{name}?groupName=default");
        match self.signed(&what, "scheduler", Method::GET, &path, &[], String::new()).await {
            Ok(standing) => parse(&what, &standing).map(Some),
            Err(EngineError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a schedule with a physical name that none has.
    pub async fn make_schedule(&self, name: &str, schedule: &Value) -> Result<(), EngineError> {
        let what = format!("making the schedule {name}");
        let path = format!("/schedules/{name}");
        self.signed(&what, "scheduler", Method::POST, &path, &[], schedule.to_string()).await.map(drop)
    }

    /// Changes a schedule, by its physical name, to what is given.
    pub async fn change_schedule(&self, name: &str, schedule: &Value) -> Result<(), EngineError> {
        let what = format!("changing the schedule {name}");
        let path = format!("/schedules/{name}");
        self.signed(&what, "scheduler", Method::PUT, &path, &[], schedule.to_string()).await.map(drop)
    }

    /// Gives a schedule another expression, by its physical name; the rest of it stays as it is.
    pub async fn repeat_schedule(&self, name: &str, expression: &str) -> Result<(), EngineError> {
        let what = format!("changing the schedule {name}");
        let path = format!("/schedules/{name}?groupName=default");
        let standing = self.signed(&what, "scheduler", Method::GET, &path, &[], String::new()).await?;
        let mut schedule: Value = parse(&what, &standing)?;
        schedule["ScheduleExpression"] = expression.into();
        self.change_schedule(name, &schedule).await
    }

    /// Kills every process that a function runs in, in the middle of whatever it does, and returns their ids.
    pub fn kill_function(&self, function_name: &str) -> Result<Vec<u32>, EngineError> {
        let processes = self.function_processes(function_name)?;
        for process in &processes {
            process::signal_process(*process, Signal::KILL)?;
        }
        Ok(processes)
    }

    /// Invokes a function with an event and returns what it answers, as `sam local invoke` would.
    pub async fn invoke(&self, function_name: &str, event: &str) -> Result<Value, EngineError> {
        let what = format!("an invocation of {function_name}");
        let path = format!("/2015-03-31/functions/{function_name}/invocations");
        let answer = self.signed(&what, "lambda", Method::POST, &path, &[], event.to_owned()).await?;
        parse(&what, &answer)
    }

    /// The name of the role that a function runs under.
    pub async fn role_of(&self, function_name: &str) -> Result<String, EngineError> {
        let what = format!("the configuration of {function_name}");
        let path = format!("/2015-03-31/functions/{function_name}/configuration");
        let answer = self.signed(&what, "lambda", Method::GET, &path, &[], String::new()).await?;
        let configuration: FunctionConfiguration = parse(&what, &answer)?;
        let name = configuration.role.rsplit('/').next().unwrap_or_default();
        Ok(name.to_owned())
    }

    async fn lines_of_group(&self, log_group: &str) -> Result<Vec<LogLine>, EngineError> {
        let mut lines = Vec::new();
        let mut seen_tokens = BTreeSet::new();
        let mut request = json!({ "logGroupName": log_group, "limit": 10_000 });
        loop {
            let page: LogEvents = self.logs("FilterLogEvents", &request).await?;
            lines.extend(page.events.into_iter().map(|event| LogLine {
                log_group: log_group.to_owned(),
                timestamp: event.timestamp,
                text: event.message,
            }));
            match page.next_token {
                Some(token) if seen_tokens.insert(token.clone()) => request["nextToken"] = Value::String(token),
                _ => return Ok(lines),
            }
        }
    }

    async fn logs<T: serde::de::DeserializeOwned>(&self, operation: &str, request: &Value) -> Result<T, EngineError> {
        let what = format!("{operation} of CloudWatch Logs");
        let target = format!("Logs_20140328.{operation}");
        let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target.as_str())];
        let answer = self.signed(&what, "logs", Method::POST, "/", &headers, request.to_string()).await?;
        parse(&what, &answer)
    }
}

fn parse<T: serde::de::DeserializeOwned>(what: &str, answer: &str) -> Result<T, EngineError> {
    serde_json::from_str(answer)
        .map_err(|error| EngineError::UnexpectedAnswer { what: what.to_owned(), detail: error.to_string() })
}
