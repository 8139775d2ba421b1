//! Deploys the built template to the engine with the real `sam`, line by line as it prints,
//! and reads the outputs of the stack. Parameters go on the command line as a person would give them;
//! their values appear in no message.

use std::{
    collections::{BTreeMap, VecDeque},
    process::Stdio,
};

use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

use super::{EngineError, LocalEngine, LogLine, Tools};

/// How many of a command's last lines its error repeats.
const KEPT_LINES: usize = 25;

/// A deployed stack.
#[derive(Clone, Debug)]
pub struct Stack {
    /// Its name.
    pub name: String,
    /// Its outputs.
    pub outputs: BTreeMap<String, String>,
}

impl Stack {
    /// An output, or an error that lists the outputs there are.
    pub fn output(&self, name: &str) -> Result<&str, EngineError> {
        self.outputs.get(name).map(String::as_str).ok_or_else(|| EngineError::NoOutput {
            stack: self.name.clone(),
            output: name.to_owned(),
            known: self.outputs.keys().cloned().collect::<Vec<_>>().join(", "),
        })
    }

    /// Where Nylas posts its notifications.
    pub fn webhook_url(&self) -> Result<&str, EngineError> {
        self.output("WebhookUrl")
    }

    /// Where the product posts its customer events.
    pub fn customer_events_url(&self) -> Result<&str, EngineError> {
        self.output("CustomerEventsUrl")
    }

    /// A queue by the beginning of its output, such as `EmailActivity` or `Unroutable`.
    pub fn queue_url(&self, queue: &str) -> Result<&str, EngineError> {
        self.output(&format!("{queue}QueueUrl"))
    }

    /// A dead-letter queue by the beginning of its output, such as `EmailActivity`.
    pub fn dead_letter_queue_url(&self, queue: &str) -> Result<&str, EngineError> {
        self.output(&format!("{queue}DeadLetterQueueUrl"))
    }

    /// The table of leases and decisions.
    pub fn dedup_table(&self) -> Result<&str, EngineError> {
        self.output("DedupTableName")
    }

    /// The table of what each Nylas object became.
    pub fn links_table(&self) -> Result<&str, EngineError> {
        self.output("LinksTableName")
    }

    /// The bucket that keeps bodies too large for a queue.
    pub fn archive_bucket(&self) -> Result<&str, EngineError> {
        self.output("ArchiveBucketName")
    }

    /// The name on AWS of a function, by the beginning of its output, such as `EmailActivity`.
    pub fn function_name(&self, function: &str) -> Result<&str, EngineError> {
        self.output(&format!("{function}FunctionName"))
    }

    /// The log group of a function, by its folder's name, such as `email-activity`.
    #[must_use]
    pub fn log_group(&self, function: &str) -> String {
        format!("/aws/lambda/{}-{function}", self.name)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StackOutput {
    output_key: String,
    output_value: String,
}

impl LocalEngine {
    /// Deploys the built template as the stack `name`, or updates that stack if it is deployed already.
    /// Parameters left out keep what they had, or their defaults. Each line goes to `progress`.
    pub async fn deploy(
        &self,
        name: &str,
        parameters: &[(&str, String)],
        progress: impl FnMut(&str),
    ) -> Result<Stack, EngineError> {
        let built = self.tools.root.join(".aws-sam/build/template.yaml");
        if !built.exists() {
            return Err(EngineError::NotBuilt { path: built });
        }
        let mut command = self.tools.sam_command(Some(&self.endpoint()));
        // Without a template named, SAM deploys the built one and reads the project's samconfig.toml.
        command.args(["deploy", "--no-progressbar", "--stack-name", name]);
        if !parameters.is_empty() {
            command
                .arg("--parameter-overrides")
                .args(parameters.iter().map(|(parameter, value)| parameter_override(parameter, value)));
        }
        run("sam deploy", command, progress).await?;
        self.stack(name).await
    }

    /// The outputs of a deployed stack.
    pub async fn stack(&self, name: &str) -> Result<Stack, EngineError> {
        self.tools.stack(name, Some(&self.endpoint())).await
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StackResource {
    logical_resource_id: String,
    physical_resource_id: String,
}

impl Tools {
    /// The physical names of a deployed stack's resources by their names in the template; in AWS if there is no
    /// `endpoint`.
    pub async fn resources(&self, name: &str, endpoint: Option<&str>) -> Result<BTreeMap<String, String>, EngineError> {
        let mut command = self.sam_command(endpoint);
        command.args(["list", "resources", "--output", "json", "--stack-name", name]);
        let text = run("sam list resources", command, |_| {}).await?;
        let resources: Vec<StackResource> = serde_json::from_str(&text).map_err(|error| {
            EngineError::UnexpectedAnswer { what: "sam list resources".to_owned(), detail: error.to_string() }
        })?;
        Ok(resources
            .into_iter()
            .map(|resource| (resource.logical_resource_id, resource.physical_resource_id))
            .collect())
    }

    /// Invokes a function of a deployed stack, by its name in the template, and returns what it answers; in AWS if there
    /// is no `endpoint`. SAM waits for the answer for 60 s, then it invokes the function once more.
    pub async fn remote_invoke(
        &self,
        stack: &str,
        function: &str,
        event: &Value,
        endpoint: Option<&str>,
    ) -> Result<Value, EngineError> {
        let mut command = self.sam_command(endpoint);
        command.args(["remote", "invoke", function, "--stack-name", stack, "--event", &event.to_string()]);
        let text = run("sam remote invoke", command, |_| {}).await?;
        serde_json::from_str(&text).map_err(|error| EngineError::UnexpectedAnswer {
            what: format!("sam remote invoke {function}"),
            detail: error.to_string(),
        })
    }

    /// The lines that functions of a stack in AWS, named by their folders, have written within a day.
    pub async fn logs_of_a_day(&self, stack: &Stack, functions: &[&str]) -> Result<Vec<LogLine>, EngineError> {
        let mut lines = Vec::new();
        for function in functions {
            let log_group = stack.log_group(function);
            let mut command = self.sam_command(None);
            command.args(["logs", "--output", "json", "--start-time", "24hours ago", "--cw-log-group", &log_group]);
            let text = run("sam logs", command, |_| {}).await?;
            lines.extend(text.lines().filter_map(|line| logged(line, &log_group)));
        }
        Ok(lines)
    }

    /// The outputs of a deployed stack; in AWS if there is no `endpoint`.
    pub async fn stack(&self, name: &str, endpoint: Option<&str>) -> Result<Stack, EngineError> {
        let mut command = self.sam_command(endpoint);
        command.args(["list", "stack-outputs", "--output", "json", "--stack-name", name]);
        let text = run("sam list stack-outputs", command, |_| {}).await?;
        let outputs: Vec<StackOutput> = serde_json::from_str(&text).map_err(|error| EngineError::UnexpectedAnswer {
            what: "sam list stack-outputs".to_owned(),
            detail: error.to_string(),
        })?;
        Ok(Stack {
            name: name.to_owned(),
            outputs: outputs.into_iter().map(|output| (output.output_key, output.output_value)).collect(),
        })
    }
}

/// A line of a log as SAM prints it; none if it is one of SAM's own.
fn logged(printed: &str, log_group: &str) -> Option<LogLine> {
    let event: Value = serde_json::from_str(printed).ok()?;
    Some(LogLine {
        log_group: log_group.to_owned(),
        timestamp: event["timestamp"].as_i64()?,
        text: event["message"].as_str()?.trim_end().to_owned(),
    })
}

/// One `Key="value"` as SAM reads it: in quotes, with quotes and backslashes escaped.
fn parameter_override(parameter: &str, value: &str) -> String {
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
    format!("{parameter}=\"{escaped}\"")
}

/// Runs a command, hands each of its lines to `progress` and returns what it wrote to standard output.
async fn run(
    name: &str,
    mut command: tokio::process::Command,
    mut progress: impl FnMut(&str),
) -> Result<String, EngineError> {
    let program = command.as_std().get_program().into();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| EngineError::Spawn { program, source })?;

    let (sender, mut lines) = tokio::sync::mpsc::unbounded_channel();
    if let Some(stdout) = child.stdout.take() {
        tokio::spawn(forward(stdout, true, sender.clone()));
    }
    if let Some(stderr) = child.stderr.take() {
        tokio::spawn(forward(stderr, false, sender.clone()));
    }
    drop(sender);

    let mut output = String::new();
    let mut last = VecDeque::with_capacity(KEPT_LINES);
    while let Some((is_output, line)) = lines.recv().await {
        progress(&line);
        if is_output {
            output.push_str(&line);
            output.push('\n');
        }
        if last.len() == KEPT_LINES {
            last.pop_front();
        }
        last.push_back(line);
    }
    let status = child.wait().await.map_err(EngineError::Process)?;
    if status.success() {
        Ok(output)
    } else {
        Err(EngineError::Command {
            command: name.to_owned(),
            status: status.to_string(),
            last_lines: Vec::from(last).join("\n"),
        })
    }
}

async fn forward(
    stream: impl AsyncRead + Unpin,
    is_output: bool,
    sender: tokio::sync::mpsc::UnboundedSender<(bool, String)>,
) {
    let mut lines = BufReader::new(stream).lines();
    // A line that is not UTF-8 ends the reading; the command's status still tells how it went.
    while let Ok(Some(line)) = lines.next_line().await {
        if sender.send((is_output, line)).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{logged, parameter_override};

    #[test]
    fn a_line_of_a_log_is_read_as_sam_prints_it_and_sams_own_lines_are_not() {
        let line =
            logged(r#"{"eventId": "1", "timestamp": 7, "message": "{\"Logged\":1}\n"}"#, "group").expect("a line");
        assert_eq!((line.timestamp, line.text.as_str()), (7, r#"{"Logged":1}"#));
        assert!(logged("You can now use 'sam logs'", "group").is_none());
    }

    #[test]
    fn a_parameter_keeps_blanks_quotes_and_backslashes() {
        assert_eq!(
            parameter_override("CompanyDomains", "a.example, b.example"),
            r#"CompanyDomains="a.example, b.example""#
        );
        assert_eq!(parameter_override("NylasApiKey", r#"a"b\c"#), r#"NylasApiKey="a\"b\\c""#);
        assert_eq!(parameter_override("CrmBaseUrl", ""), r#"CrmBaseUrl="""#);
    }
}
