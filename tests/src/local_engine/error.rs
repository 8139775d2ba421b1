//! What can go wrong with the local engine, each with what happened, to what, and what to do.
//! One type for the whole module: whoever drives the engine prints it and stops, so the variants
//! are told apart by people, except `EndedEarly`, upon which another port is tried.
//! Nothing here holds a credential: parameters of a deployment are named, never shown.

use std::path::PathBuf;

/// Why the local engine could not be started, deployed to, asked or stopped.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A tool that the setup installs is not there.
    #[error("{what} was not found at {path}. Run tests/setup/tools, which installs it.", path = path.display())]
    ToolMissing {
        /// What was looked for.
        what: &'static str,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A program did not start.
    #[error("{program} did not start. Run tests/setup/tools again.", program = program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A process could not be waited for or ended.
    #[error("the operating system refused to wait for or to end a process of the local engine")]
    Process(#[source] std::io::Error),
    /// A file or a folder could not be read or written.
    #[error("{path} could not be read or written. Check that the project's folder is writable.", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// No port was free.
    #[error("no free port on 127.0.0.1")]
    NoFreePort(#[source] std::io::Error),
    /// The engine ended while it was starting.
    #[error("the local engine ended while starting ({status}). Its last lines, from {log}:\n{last_lines}", log = log.display())]
    EndedEarly {
        /// How it ended.
        status: String,
        /// Where it wrote.
        log: PathBuf,
        /// What it wrote last.
        last_lines: String,
    },
    /// The engine started but never answered.
    #[error("the local engine did not answer within {seconds} s. Its last lines, from {log}:\n{last_lines}", log = log.display())]
    NeverHealthy {
        /// How long it was waited for.
        seconds: u64,
        /// Where it wrote.
        log: PathBuf,
        /// What it wrote last.
        last_lines: String,
    },
    /// The engine was stopped or left before.
    #[error("the local engine is not running any more")]
    NotRunning,
    /// The HTTP client could not be made.
    #[error("the HTTP client for the local engine could not be made")]
    Client(#[source] reqwest::Error),
    /// A request got no answer.
    #[error("the local engine gave no answer to {what}")]
    NoAnswer {
        /// What was asked.
        what: String,
        /// What the client said.
        source: reqwest::Error,
    },
    /// A request was refused.
    #[error("the local engine answered {what} with {status}: {body}")]
    Refused {
        /// What was asked.
        what: String,
        /// The status.
        status: u16,
        /// What it said.
        body: String,
    },
    /// A request could not be signed.
    #[error("the request for {what} could not be signed: {reason}")]
    Signing {
        /// What was asked.
        what: String,
        /// What the signer said.
        reason: String,
    },
    /// An answer had another form than expected.
    #[error("the answer to {what} has an unexpected form: {detail}")]
    UnexpectedAnswer {
        /// What was asked.
        what: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A command such as `sam deploy` failed.
    #[error("`{command}` failed ({status}). Its last lines:\n{last_lines}")]
    Command {
        /// The command, without the values of its parameters.
        command: String,
        /// How it ended.
        status: String,
        /// What it wrote last.
        last_lines: String,
    },
    /// The template was not built before it was deployed.
    #[error("{path} does not exist: the template has to be built (`sam build`) before it is deployed", path = path.display())]
    NotBuilt {
        /// Where the built template should be.
        path: PathBuf,
    },
    /// The stack has no such output.
    #[error("the stack {stack} has no output {output}; it has: {known}")]
    NoOutput {
        /// The stack.
        stack: String,
        /// The output that was asked for.
        output: String,
        /// The outputs there are.
        known: String,
    },
    /// An address is not that of a function.
    #[error("{url} is not the address of a function: https://<id>.lambda-url.<region>.on.aws/ is expected")]
    NotAFunctionUrl {
        /// The address.
        url: String,
    },
    /// A role does not hold the permission to be taken.
    #[error("the role {role} has no permission {action} that could be taken")]
    NoSuchPermission {
        /// The role.
        role: String,
        /// The action.
        action: String,
    },
    /// Processes cannot be told apart by their environment here.
    #[error("processes of functions can only be found where /proc tells their environment, as on Linux")]
    NoProcessList(#[source] std::io::Error),
    /// The record of what was left running cannot be read.
    #[error("{path} does not say what was left running. Remove it once `ps` shows no `bootstrap` and no `local-engine.py` any more.", path = path.display())]
    UnreadableRecord {
        /// The record.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}
