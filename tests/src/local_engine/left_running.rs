//! The record of what `make up` left running, so that another process can find and end it: which
//! processes, how to reach the engine, what the stack's outputs are. It lies in `.local/`, like all
//! that running this project leaves on a machine.

use std::{
    collections::BTreeMap,
    fs, io,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::{EngineError, Stack, process, project_root};

/// How long a process may take to end by itself before it is killed.
const GRACE: Duration = Duration::from_secs(3);

/// A process that was left running.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RecordedProcess {
    /// What it is, for people.
    pub name: String,
    /// Its id.
    pub process_id: u32,
    /// Whether it leads a process group that ends with it.
    pub leads_group: bool,
    /// When it started, by the kernel's count: tells it from a later process with the same id.
    pub started_at: Option<u64>,
}

impl RecordedProcess {
    /// A process that leads a process group of its own.
    #[must_use]
    pub fn leader_of_group(name: &str, process_id: u32) -> Self {
        Self { name: name.to_owned(), process_id, leads_group: true, started_at: process::started_at(process_id) }
    }

    /// A process without a group of its own.
    #[must_use]
    pub fn single(name: &str, process_id: u32) -> Self {
        Self { leads_group: false, ..Self::leader_of_group(name, process_id) }
    }

    /// Whether this very process still runs.
    #[must_use]
    pub fn runs(&self) -> bool {
        process::lives(self.process_id) && self.started_at == process::started_at(self.process_id)
    }

    /// Ends the process and its group, and says in a sentence what became of it.
    pub fn end(&self) -> Result<String, EngineError> {
        let Self { name, process_id, .. } = self;
        if !self.runs() {
            return Ok(format!("{name} (process {process_id}) had ended already."));
        }
        self.signal(Signal::TERM)?;
        let deadline = Instant::now() + GRACE;
        while self.runs() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
        // What is left of the group has no leader to wait for any more.
        self.signal(Signal::KILL)?;
        Ok(format!("{name} (process {process_id}) was ended."))
    }

    fn signal(&self, signal: Signal) -> Result<(), EngineError> {
        if self.leads_group {
            process::signal_group(self.process_id, signal)
        } else {
            process::signal_process(self.process_id, signal)
        }
    }
}

/// What was left running and how to reach it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct LeftRunning {
    /// The processes, in the order in which they are to be ended.
    pub processes: Vec<RecordedProcess>,
    /// The engine's address.
    pub endpoint: String,
    /// The stack's name.
    pub stack_name: String,
    /// The stack's outputs.
    pub outputs: BTreeMap<String, String>,
    /// Anything else that whoever comes later has to know, such as the address of a stand-in.
    #[serde(default)]
    pub notes: BTreeMap<String, String>,
}

impl LeftRunning {
    /// Where the record lies.
    #[must_use]
    pub fn file() -> PathBuf {
        project_root().join(".local/running.json")
    }

    /// The record, if anything was left running.
    pub fn load() -> Result<Option<Self>, EngineError> {
        let path = Self::file();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(EngineError::File { path, source }),
        };
        serde_json::from_str(&text).map(Some).map_err(|source| EngineError::UnreadableRecord { path, source })
    }

    /// Writes the record.
    pub fn save(&self) -> Result<(), EngineError> {
        let path = Self::file();
        let text = serde_json::to_string_pretty(self)
            .map_err(|source| EngineError::UnreadableRecord { path: path.clone(), source })?;
        let written = match path.parent() {
            Some(folder) => fs::create_dir_all(folder).and_then(|()| fs::write(&path, text)),
            None => fs::write(&path, text),
        };
        written.map_err(|source| EngineError::File { path, source })
    }

    /// The stack that was left running.
    #[must_use]
    pub fn stack(&self) -> Stack {
        Stack { name: self.stack_name.clone(), outputs: self.outputs.clone() }
    }

    /// Whether all of it still runs.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.processes.iter().all(RecordedProcess::runs)
    }

    /// Ends all of it, removes the record and says of each process what became of it.
    pub fn end(self) -> Result<Vec<String>, EngineError> {
        let sentences = self.processes.iter().map(RecordedProcess::end).collect::<Result<Vec<_>, _>>()?;
        let path = Self::file();
        fs::remove_file(&path).map_err(|source| EngineError::File { path, source })?;
        Ok(sentences)
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::RecordedProcess;
    use crate::local_engine::process;

    #[test]
    fn a_recorded_process_is_ended_with_its_group_and_a_later_one_with_its_id_is_left_alone() {
        let mut leader = process::in_own_group("sh".as_ref())
            .args(["-c", "sleep 60 & sleep 60"])
            .stdout(Stdio::null())
            .spawn()
            .expect("a shell starts");
        let recorded = RecordedProcess::leader_of_group("a shell", leader.id());
        assert!(recorded.runs());

        let somebody_else = RecordedProcess { started_at: Some(1), ..recorded.clone() };
        let sentence = somebody_else.end().expect("nothing is to be done");
        assert!(sentence.contains("had ended already"), "{sentence}");
        assert!(recorded.runs());

        let sentence = recorded.end().expect("it is ended");
        assert!(sentence.contains("was ended"), "{sentence}");
        let status = leader.wait().expect("it was ours");
        assert!(!status.success());
        assert!(!recorded.runs());
    }

    #[test]
    fn a_process_that_ended_by_itself_is_not_said_to_run() {
        let mut child = Command::new("true").spawn().expect("true starts");
        let recorded = RecordedProcess::single("true", child.id());
        child.wait().expect("it ends");
        assert!(!recorded.runs());
    }
}
