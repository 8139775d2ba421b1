//! The process that is measured: how it is started, what it does, and what Linux tells of its memory.

use std::{
    error::Error,
    io::{self, BufRead as _, BufReader, Read as _},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    Nights,
    account::Account,
    night::{self, Came, Plan},
};

/// A process that is ended when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for a process that has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Has a process of its own look through an account's address book.
pub fn night(account: &Account, night: usize) -> Nights {
    let plan = serde_json::to_string(&Plan::of(account, &format!("night-{night}")))?;
    let begun = Instant::now();
    let process = Command::new(std::env::current_exe()?)
        .args(["--child", &plan])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut process = Running(process);
    let mut said = String::new();
    BufReader::new(process.0.stdout.take().ok_or("the process has no output")?).read_line(&mut said)?;
    let took: Duration = begun.elapsed();
    if said.is_empty() {
        return Err("the process of the function has ended without a result; its message stands above".into());
    }
    let came: Came = serde_json::from_str(&said)?;
    // It waits until its input ends, so what it has held at most can still be asked for.
    let peak = peak_memory(process.0.id())?;
    let looked_through = came.counts.get("contacts").copied().unwrap_or_default();
    if looked_through != account.contacts as u64 {
        return Err(format!("{looked_through} of {} contacts were looked through", account.contacts).into());
    }
    crate::progress(&format!("  invocations: {}, {:?}", came.slices, came.counts));
    Ok((took, account.contacts, Some(peak)))
}

/// The process that is measured. Its result is one line; then it waits until nobody needs it any more.
pub fn run(plan: &str) -> Result<(), Box<dyn Error>> {
    let plan: Plan = serde_json::from_str(plan)?;
    // One thread, like the deployed function.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let came = runtime.block_on(night::night(&plan))?;
    say(&serde_json::to_string(&came)?);
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the process that measures reads it")]
fn say(result: &str) {
    println!("{result}");
}

/// `VmHWM` of a process, in bytes.
fn peak_memory(process: u32) -> io::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).map_err(|error| {
        io::Error::other(format!(
            "what the process holds cannot be read: {error}; the benchmark needs Linux with /proc"
        ))
    })?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok())
        .map(|kibibytes| kibibytes * 1024)
        .ok_or_else(|| io::Error::other("/proc/<pid>/status has no VmHWM"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn memory_of_this_process_is_known() {
        let peak = super::peak_memory(std::process::id()).expect("a number");
        assert!(peak > 1_000_000, "{peak}");
    }
}
