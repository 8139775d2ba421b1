//! A contender: a function's release binary, started as Lambda starts it, on a CPU of its own and with nothing of
//! the caller's environment. Here is how it is started and stopped and what Linux tells of its CPU time and memory.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use crate::{
    runtime_api::{Answer, RuntimeApi, RuntimeApiError},
    stub_aws::StubAws,
};

/// How much of a contender's log is shown when it fails.
const LOG_LINES_SHOWN: usize = 15;

/// Something that kept a contender from being measured.
#[derive(Debug, thiserror::Error)]
pub enum ContenderError {
    /// The binary is not there.
    #[error("{name}: there is no binary at {path}; {hint}")]
    Missing {
        /// The contender.
        name: &'static str,
        /// Where it was looked for.
        path: PathBuf,
        /// What to do.
        hint: &'static str,
    },
    /// The binary could not be started.
    #[error("{name}: {path} could not be started: {source}; is it built for this machine's architecture?")]
    Start {
        /// The contender.
        name: &'static str,
        /// The binary.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The local Runtime API could not be served.
    #[error(transparent)]
    RuntimeApi(RuntimeApiError),
    /// The process gave no answer.
    #[error("{name}: {source}\n{log}")]
    NoAnswer {
        /// The contender.
        name: &'static str,
        /// What went wrong.
        source: RuntimeApiError,
        /// The end of its log.
        log: String,
    },
    /// The process ended by itself.
    #[error("{name}: the process ended ({status}) instead of answering\n{log}")]
    Ended {
        /// The contender.
        name: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// The end of its log.
        log: String,
    },
    /// The system does not tell what the process uses.
    #[error("{name}: what the process uses cannot be read: {source}; the benchmark needs Linux with /proc")]
    Usage {
        /// The contender.
        name: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// A function to measure.
#[derive(Debug)]
pub struct Contender {
    /// What it is called in the report.
    pub name: &'static str,
    /// Its release binary.
    pub binary: PathBuf,
    /// What to do when the binary is missing.
    pub hint: &'static str,
    /// Its own environment, beside what every function gets.
    pub environment: Vec<(&'static str, String)>,
}

/// A contender's running process; it is ended when dropped.
pub struct Running {
    name: &'static str,
    process: Child,
    runtime_api: RuntimeApi,
    log: PathBuf,
    spawned: Instant,
}

impl Contender {
    /// Says what to do if the binary is not there.
    pub fn check(&self) -> Result<(), ContenderError> {
        if self.binary.is_file() {
            return Ok(());
        }
        Err(ContenderError::Missing { name: self.name, path: self.binary.clone(), hint: self.hint })
    }

    /// Starts the process on the given CPU; its log goes to a file in `log_directory`.
    pub async fn start(
        &self,
        aws: &StubAws,
        cpu: Option<usize>,
        log_directory: &Path,
    ) -> Result<Running, ContenderError> {
        self.check()?;
        let start_error = |source| ContenderError::Start { name: self.name, path: self.binary.clone(), source };
        let runtime_api = RuntimeApi::start().await.map_err(ContenderError::RuntimeApi)?;
        let log = log_directory.join(format!("{}.log", self.name));
        let output = File::create(&log).map_err(start_error)?;
        let mut command = Command::new(&self.binary);
        command
            .env_clear()
            .envs(function_environment(self.name, aws, &runtime_api))
            .envs(self.environment.iter().map(|(name, value)| (*name, value)))
            .stdin(Stdio::null())
            .stderr(output.try_clone().map_err(start_error)?)
            .stdout(output);
        let spawned = Instant::now();
        let process = spawn_on(cpu, command).map_err(start_error)?;
        Ok(Running { name: self.name, process, runtime_api, log, spawned })
    }
}

/// What Lambda sets for every function, with dummy credentials and the stand-ins' address for AWS.
fn function_environment(name: &str, aws: &StubAws, runtime_api: &RuntimeApi) -> Vec<(&'static str, String)> {
    vec![
        ("AWS_LAMBDA_RUNTIME_API", runtime_api.address()),
        ("AWS_LAMBDA_FUNCTION_NAME", name.to_owned()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128".to_owned()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{name}")),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "benchmark".to_owned()),
        ("AWS_LAMBDA_LOG_FORMAT", "JSON".to_owned()),
        ("AWS_LAMBDA_LOG_LEVEL", "INFO".to_owned()),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".to_owned()),
        ("AWS_EXECUTION_ENV", "AWS_Lambda_provided.al2023".to_owned()),
        ("AWS_ENDPOINT_URL", aws.endpoint_url()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_DEFAULT_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "AKIDBENCHMARK".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "not-a-secret".to_owned()),
        ("AWS_SESSION_TOKEN", "not-a-token".to_owned()),
    ]
}

impl Running {
    /// When the process was started.
    pub fn spawned(&self) -> Instant {
        self.spawned
    }

    /// When its initialization was over, once it has been seen.
    pub fn ready(&self) -> Option<Instant> {
        self.runtime_api.ready()
    }

    /// Hands one event to the function and waits for its answer, or for the end of the process.
    pub async fn invoke(&mut self, event: bytes::Bytes) -> Result<Answer, ContenderError> {
        let outcome = tokio::select! {
            answer = self.runtime_api.invoke(event) => Ok(answer),
            status = ended(&mut self.process) => Err(status),
        };
        match outcome {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(source)) => Err(ContenderError::NoAnswer { name: self.name, source, log: self.end_of_log() }),
            Err(status) => Err(ContenderError::Ended { name: self.name, status, log: self.end_of_log() }),
        }
    }

    /// CPU time of the process so far, user and system, of all its threads.
    pub fn cpu_time(&self) -> Result<Duration, ContenderError> {
        usage::cpu_time(self.process.id()).map_err(|source| ContenderError::Usage { name: self.name, source })
    }

    /// The most memory the process has held at once, in bytes.
    pub fn peak_memory(&self) -> Result<u64, ContenderError> {
        usage::peak_memory(self.process.id()).map_err(|source| ContenderError::Usage { name: self.name, source })
    }

    fn end_of_log(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
        if shown.is_empty() {
            "its log is empty".to_owned()
        } else {
            format!("the end of its log:\n{}", shown.join("\n"))
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for a process that has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn ended(process: &mut Child) -> ExitStatus {
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if let Ok(Some(status)) = process.try_wait() {
            return status;
        }
    }
}

/// Starts the process from a thread that is bound to the CPU: a process begins where its maker runs,
/// so it is bound from its first instruction on, without another program in between.
fn spawn_on(cpu: Option<usize>, mut command: Command) -> io::Result<Child> {
    let maker = std::thread::spawn(move || {
        if let Some(cpu) = cpu {
            usage::bind_this_thread(cpu)?;
        }
        command.spawn()
    });
    maker.join().unwrap_or_else(|_| Err(io::Error::other("the thread that starts it panicked")))
}

/// What the operating system knows of a process.
#[cfg(target_os = "linux")]
pub mod usage {
    use std::{io, time::Duration};

    use nix::{
        sched::{CpuSet, sched_getaffinity, sched_setaffinity},
        time::{ClockId, clock_gettime},
        unistd::Pid,
    };

    /// The process's CPU clock: the same user and system time that /proc tells in steps of 10 ms, to the nanosecond.
    pub fn cpu_time(process: u32) -> io::Result<Duration> {
        let process = Pid::from_raw(i32::try_from(process).map_err(io::Error::other)?);
        let clock = ClockId::pid_cpu_clock_id(process)?;
        Ok(Duration::from(clock_gettime(clock)?))
    }

    /// `VmHWM` of the process, in bytes.
    pub fn peak_memory(process: u32) -> io::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
        status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok())
            .map(|kibibytes| kibibytes * 1024)
            .ok_or_else(|| io::Error::other("/proc/<pid>/status has no VmHWM"))
    }

    /// The CPUs that this process may run on.
    pub fn cpus() -> Vec<usize> {
        sched_getaffinity(Pid::from_raw(0)).map_or_else(
            |_| Vec::new(),
            |allowed| (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false)).collect(),
        )
    }

    /// Binds the calling thread, and what it starts from now on, to one CPU.
    pub fn bind_this_thread(cpu: usize) -> io::Result<()> {
        let mut set = CpuSet::new();
        set.set(cpu)?;
        Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
    }
}

/// Other systems than Linux can build the benchmark, not run it.
#[cfg(not(target_os = "linux"))]
pub mod usage {
    use std::{io, time::Duration};

    /// Not known here.
    pub fn cpu_time(_process: u32) -> io::Result<Duration> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Not known here.
    pub fn peak_memory(_process: u32) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// None that could be chosen.
    pub fn cpus() -> Vec<usize> {
        Vec::new()
    }

    /// Not possible here.
    pub fn bind_this_thread(_cpu: usize) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
