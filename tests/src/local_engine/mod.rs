//! The local engine: AWS on this machine, for the demo, for play and for the end-to-end suite.
//! Starts MiniStack as a child process with IAM enforced, deploys the real template with the real
//! `sam`, reaches the functions' URLs and logs, and ends every process it started.
//! It stands for AWS where it is as strict as AWS; where it is milder, the list below says so.
//!
//! # What to know about MiniStack 1.5.33
//!
//! Requests and permissions
//! - Started with `AUTH=true` it checks signatures and policies. The access key `test` with the secret
//!   `test` is the account's root and may do anything; a function gets credentials of its role and may
//!   do what the role allows. A changed policy counts from the next request on.
//! - It does not know the condition key `dynamodb:LeadingKeys`: a condition `ForAllValues` on it lets everything pass.
//!   `tests/template.rs` asserts the operator's.
//! - It hands its own environment to the functions, so it is started with an environment made up from
//!   scratch: a proxy or a credential of the machine reaches no function.
//! - It speaks plain HTTP, in which `aws:SecureTransport` is false, so the archive bucket's policy would
//!   refuse every function. `tests/setup/local-engine.py` counts its requests as TLS.
//! - A Function URL is reached at the engine's port under the header
//!   `Host: <id>.lambda-url.<region>.localhost:<port>`.
//! - A secret that the template makes without a value holds an empty text here. On AWS it holds nothing, and
//!   reading it is a `ResourceNotFoundException`: a unit test stands in.
//! - `Ref` of a secret is its name here and its ARN on AWS; `Id` is the ARN on both, so the template uses that.
//! - It would inflate a gzip body and replace bytes that are not UTF-8 before a function sees them;
//!   `local-engine.py` hands them on as AWS does, base64-encoded.
//!
//! Functions
//! - Each running copy of a function is a process `bootstrap` in the engine's own process group, kept
//!   warm for five minutes. [`LocalEngine::kill_function`] finds it by its environment.
//! - It sets neither `AWS_LAMBDA_LOG_FORMAT` nor `AWS_LAMBDA_LOG_LEVEL` from `LoggingConfig`; they are
//!   put into its environment instead, from which functions inherit them.
//! - Log lines appear when the invocation that wrote them has ended, all with the time of its end.
//!
//! Queues
//! - A mapping takes one batch of a FIFO queue at a time, whatever `MaximumConcurrency` says.
//! - A mapping reads and deletes by itself, without looking at the role: a role that lacks
//!   `sqs:ReceiveMessage` or `sqs:DeleteMessage` goes unnoticed. `tests/template.rs` asserts them.
//! - After an invocation that failed as a whole, or whose process was killed, its messages wait out the
//!   queue's visibility time-out (180 s for mail). A test that kills lowers the queue's `VisibilityTimeout`
//!   first; the mapping reads it at every receive.
//! - Alarms deploy, but its queues and functions give them no data.

mod error;
mod functions;
mod left_running;
mod permissions;
mod process;
mod requests;
mod stack;
mod tools;

use reqwest::Url;
use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

pub use self::{
    error::EngineError,
    functions::LogLine,
    left_running::{LeftRunning, RecordedProcess},
    permissions::{Permission, TakenPermission},
    requests::{FunctionUrl, HttpAnswer},
    stack::Stack,
    tools::{Tools, project_root},
};

/// The region that everything local is deployed to.
pub const REGION: &str = "us-east-1";
/// The access key of the engine's root: it may do anything, like the person who deploys.
pub const ROOT_ACCESS_KEY: &str = "test";
/// The secret that belongs to [`ROOT_ACCESS_KEY`].
pub const ROOT_SECRET_KEY: &str = "test";

/// How long the engine may take until it answers.
const START_TIMEOUT: Duration = Duration::from_mins(1);
/// How often another port is tried when the chosen one was taken in the meantime.
const PORT_ATTEMPTS: usize = 3;

/// How an engine is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Names the folder below `.local/` that holds the engine's log and files, such as `demo`.
    pub name: String,
    /// The port to listen on; a free one is chosen if there is none.
    pub port: Option<u16>,
}

impl Options {
    /// An engine on a free port that ends with this process.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), port: None }
    }
}

/// A running local engine. Dropping it ends the engine and every function process it started.
#[derive(Debug)]
pub struct LocalEngine {
    child: Option<Child>,
    port: u16,
    folder: PathBuf,
    tools: Tools,
    http: reqwest::Client,
}

impl LocalEngine {
    /// Starts an engine with IAM enforced and waits until it answers.
    pub async fn start(options: &Options) -> Result<Self, EngineError> {
        let tools = Tools::find()?;
        let folder = tools.root.join(".local").join(&options.name);
        start_with_empty_folder(&folder)?;
        let http = Self::http_client()?;

        let mut attempt = 1;
        loop {
            let port = match options.port {
                Some(port) => port,
                None => free_port()?,
            };
            let child = spawn(&tools, &folder, port)?;
            let mut engine =
                Self { child: Some(child), port, folder: folder.clone(), tools: tools.clone(), http: http.clone() };
            match engine.wait_until_healthy().await {
                Ok(()) => return Ok(engine),
                Err(EngineError::EndedEarly { .. }) if options.port.is_none() && attempt < PORT_ATTEMPTS => {
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// An engine that another process runs, to be called and asked but not ended.
    pub fn attach(endpoint: &str) -> Result<Self, EngineError> {
        let tools = Tools::find()?;
        let port = Url::parse(endpoint).ok().and_then(|url| url.port()).ok_or(EngineError::NotRunning)?;
        let folder = tools.root.join(".local");
        Ok(Self { child: None, port, folder, tools, http: Self::http_client()? })
    }

    /// The engine's address, which stands for all of AWS.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The port that the engine listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The id of the engine's process, which is also the id of its process group.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// The file that holds what the engine wrote.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.folder.join("engine.log")
    }

    fn http_client() -> Result<reqwest::Client, EngineError> {
        reqwest::Client::builder().no_proxy().timeout(Duration::from_mins(1)).build().map_err(EngineError::Client)
    }

    /// A configuration with which an AWS client reaches the engine as its root.
    pub async fn aws_config(&self) -> aws_config::SdkConfig {
        aws_config(&self.endpoint()).await
    }

    /// Ends the engine and every function process it started.
    pub fn stop(&mut self) -> Result<(), EngineError> {
        match self.child.take() {
            Some(mut child) => process::end_group(&mut child),
            None => Ok(()),
        }
    }

    async fn wait_until_healthy(&mut self) -> Result<(), EngineError> {
        let deadline = Instant::now() + START_TIMEOUT;
        let health = format!("{}/_ministack/health", self.endpoint());
        loop {
            if let Some(child) = self.child.as_mut()
                && let Some(status) = child.try_wait().map_err(EngineError::Process)?
            {
                return Err(EngineError::EndedEarly {
                    status: status.to_string(),
                    log: self.log_file(),
                    last_lines: last_lines(&self.log_file()),
                });
            }
            if let Ok(answer) = self.http.get(&health).send().await
                && answer.status().is_success()
            {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(EngineError::NeverHealthy {
                    seconds: START_TIMEOUT.as_secs(),
                    log: self.log_file(),
                    last_lines: last_lines(&self.log_file()),
                });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for LocalEngine {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Nobody is left to tell: `stop` is there for whoever wants to know.
            let _ = process::end_group(&mut child);
        }
    }
}

/// A configuration with which an AWS client reaches the engine at `endpoint` as its root.
pub async fn aws_config(endpoint: &str) -> aws_config::SdkConfig {
    aws_config::ConfigLoader::default()
        .behavior_version(aws_config::BehaviorVersion::latest())
        .region(aws_config::Region::new(REGION))
        .endpoint_url(endpoint)
        .credentials_provider(requests::root_credentials())
        .load()
        .await
}

fn spawn(tools: &Tools, folder: &Path, port: u16) -> Result<Child, EngineError> {
    let file_error = |source| EngineError::File { path: folder.to_path_buf(), source };
    let log = fs::File::create(folder.join("engine.log")).map_err(file_error)?;
    let also_log = log.try_clone().map_err(file_error)?;
    let endpoint = format!("http://127.0.0.1:{port}");

    let mut command = process::in_own_group(&tools.engine_python);
    command
        .arg(tools.root.join("tests/setup/local-engine.py"))
        .current_dir(folder)
        .env_clear()
        .envs(tools::inherited_environment())
        .env("AUTH", "true")
        .env("GATEWAY_PORT", port.to_string())
        .env("BIND_HOST", "127.0.0.1")
        .env("AWS_ENDPOINT_URL", &endpoint)
        .env("AWS_ACCESS_KEY_ID", ROOT_ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", ROOT_SECRET_KEY)
        .env("AWS_DEFAULT_REGION", REGION)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("MINISTACK_REGION", REGION)
        .env("TMPDIR", folder.join("files"))
        .env("STATE_DIR", folder.join("files/state"))
        .env("S3_DATA_DIR", folder.join("files/s3"))
        .env("AWS_LAMBDA_LOG_FORMAT", "JSON")
        .env("AWS_LAMBDA_LOG_LEVEL", "INFO")
        .env("PYTHONUNBUFFERED", "1")
        // It would listen on a fixed port of its own for MQTT, on which two engines would meet.
        .env("IOT_MTLS_ENABLED", "0")
        .env("SFTP_ENABLED", "0")
        .stdout(Stdio::from(log))
        .stderr(Stdio::from(also_log))
        // The pipe closes when this process ends, in whatever way, and the engine ends with it.
        .arg("--end-with-stdin")
        .stdin(Stdio::piped());
    command.spawn().map_err(|source| EngineError::Spawn { program: tools.engine_python.clone(), source })
}

/// Nothing of an earlier run may be taken for this one's.
fn start_with_empty_folder(folder: &Path) -> Result<(), EngineError> {
    let result = match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => fs::create_dir_all(folder.join("files")),
    };
    result.map_err(|source| EngineError::File { path: folder.to_path_buf(), source })
}

fn free_port() -> Result<u16, EngineError> {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(EngineError::NoFreePort)
}

fn last_lines(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}
