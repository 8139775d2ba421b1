//! Processes and process groups. The engine leads a group of its own in which it starts the functions,
//! so that ending the group ends all of them, and nothing but them: no process is ever looked for
//! by its name. A process id alone may have been given to another process in the meantime, hence the
//! time of its start is kept with it wherever it is written down.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};

use super::EngineError;

/// How long a group may take to end by itself before it is killed.
const GRACE: Duration = Duration::from_secs(3);

/// A command whose process leads a process group of its own.
pub(super) fn in_own_group(program: &Path) -> Command {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new(program);
    command.process_group(0);
    command
}

/// Asks the group that `child` leads to end, then kills what is left of it.
pub(super) fn end_group(child: &mut Child) -> Result<(), EngineError> {
    let group = child.id();
    signal_group(group, Signal::TERM)?;
    let deadline = Instant::now() + GRACE;
    while child.try_wait().map_err(EngineError::Process)?.is_none() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(20));
    }
    signal_group(group, Signal::KILL)?;
    child.wait().map_err(EngineError::Process)?;
    Ok(())
}

/// Sends a signal to a process group; a group that has ended already is fine.
pub(super) fn signal_group(group: u32, signal: Signal) -> Result<(), EngineError> {
    let Some(pid) = pid(group) else { return Ok(()) };
    ignore_ended(rustix::process::kill_process_group(pid, signal))
}

/// Sends a signal to one process; a process that has ended already is fine.
pub(super) fn signal_process(process: u32, signal: Signal) -> Result<(), EngineError> {
    let Some(pid) = pid(process) else { return Ok(()) };
    ignore_ended(rustix::process::kill_process(pid, signal))
}

fn ignore_ended(result: rustix::io::Result<()>) -> Result<(), EngineError> {
    match result {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(EngineError::Process(io::Error::from(error))),
    }
}

fn pid(id: u32) -> Option<Pid> {
    i32::try_from(id).ok().and_then(Pid::from_raw)
}

/// Whether any process with this id lives. A child that ended but was not waited for counts as ended.
pub(super) fn lives(process: u32) -> bool {
    match state(process) {
        Some(state) => state.letter != 'Z' && state.letter != 'X',
        None => pid(process).is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok()) && !proc_exists(),
    }
}

/// When the process started, in the kernel's own count; `None` where /proc does not tell.
pub(super) fn started_at(process: u32) -> Option<u64> {
    state(process).map(|state| state.started_at)
}

/// The processes of a group whose environment sets `name` to `value`.
pub(super) fn in_group_with_environment(group: u32, name: &str, value: &str) -> Result<Vec<u32>, EngineError> {
    let wanted = format!("{name}={value}");
    let processes = fs::read_dir("/proc").map_err(EngineError::NoProcessList)?;
    let mut found: Vec<u32> = processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|process| state(*process).is_some_and(|state| state.group == group && state.letter != 'Z'))
        .filter(|process| {
            let environment = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes())
        })
        .collect();
    found.sort_unstable();
    Ok(found)
}

struct ProcessState {
    letter: char,
    group: u32,
    started_at: u64,
}

fn proc_exists() -> bool {
    Path::new("/proc/self/stat").exists()
}

fn state(process: u32) -> Option<ProcessState> {
    let path = PathBuf::from(format!("/proc/{process}/stat"));
    let text = fs::read_to_string(path).ok()?;
    // The second field is the program's name in parentheses and may hold blanks and parentheses itself.
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Some(ProcessState {
        letter: fields.first()?.chars().next()?,
        group: fields.get(2)?.parse().ok()?,
        started_at: fields.get(19)?.parse().ok()?,
    })
}
