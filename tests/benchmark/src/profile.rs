//! Builds the functions that ingress is compared with, and finds out with which release profile each binary was
//! built: a comparison between a binary with link-time optimisation and one without it says nothing.

use std::{
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::Deserialize;

/// Cargo takes overrides of the profile from variables with this beginning.
const OVERRIDES: &str = "CARGO_PROFILE_RELEASE_";

/// Why the comparison binaries are not there.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Cargo could not be run.
    #[error("cargo could not be run to build {binaries:?}: {source}; run the benchmark with `cargo run`")]
    Run {
        /// What was to be built.
        binaries: Vec<&'static str>,
        /// What the system said.
        source: io::Error,
    },
    /// Cargo failed; it has said why.
    #[error("cargo could not build {binaries:?}; its message above says why")]
    Failed {
        /// What was to be built.
        binaries: Vec<&'static str>,
    },
}

/// Builds binaries of this package with the release profile and returns their paths in the order of their names.
pub fn build(binaries: &[&'static str]) -> Result<Vec<PathBuf>, BuildError> {
    #[derive(Deserialize)]
    struct Message {
        executable: Option<PathBuf>,
    }

    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args([
        "build",
        "--release",
        "--package",
        env!("CARGO_PKG_NAME"),
        // What the other benchmark links would build their dependencies with other features than ingress's.
        "--no-default-features",
        "--message-format=json-render-diagnostics",
    ]);
    for binary in binaries {
        command.args(["--bin", binary]);
    }
    // Cargo sets this for `cargo run`; without it the workspace is looked for from where the user is.
    if let Some(package) = std::env::var_os("CARGO_MANIFEST_DIR") {
        command.current_dir(package);
    }
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| BuildError::Run { binaries: binaries.to_vec(), source })?;
    let built: Vec<PathBuf> = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<Message>(line).ok()?.executable)
        .collect();
    let paths: Vec<PathBuf> = binaries
        .iter()
        .filter_map(|binary| built.iter().find(|path| path.file_stem().is_some_and(|name| name == *binary)).cloned())
        .collect();
    if output.status.success() && paths.len() == binaries.len() {
        Ok(paths)
    } else {
        Err(BuildError::Failed { binaries: binaries.to_vec() })
    }
}

/// The release profile in words, and whether it is the one that `Cargo.toml` sets for real packages.
pub struct Profile {
    /// For the report.
    pub description: String,
    /// Whether nothing in the environment overrides it.
    pub is_the_real_one: bool,
}

/// The profile that [`build`] uses.
pub fn in_use() -> Profile {
    let mut overrides: Vec<String> = std::env::vars()
        .filter(|(name, _)| name.starts_with(OVERRIDES))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    overrides.sort();
    if overrides.is_empty() {
        let description = "release, as Cargo.toml sets it for real packages (link-time optimisation on)".to_owned();
        Profile { description, is_the_real_one: true }
    } else {
        let description = format!("release, changed by {} (not the profile of real packages)", overrides.join(", "));
        Profile { description, is_the_real_one: false }
    }
}

/// Whether two binaries of this workspace were built with the same profile: `None` where that cannot be told,
/// because a binary is not (or no longer) the one in the target directory.
pub fn same(target_directory: &Path, one: &Path, other: &Path) -> Option<bool> {
    Some(fingerprint(target_directory, one)? == fingerprint(target_directory, other)?)
}

/// Cargo's own digest of the profile that a binary was built with, from the records it keeps beside its results.
fn fingerprint(target_directory: &Path, binary: &Path) -> Option<u64> {
    #[derive(Deserialize)]
    struct Record {
        profile: u64,
    }

    let content = std::fs::read(binary).ok()?;
    for release in release_directories(target_directory) {
        for built in entries(&release.join("deps")) {
            let same_size = built.metadata().is_ok_and(|data| data.is_file() && data.len() == content.len() as u64);
            if !same_size || std::fs::read(&built).ok().as_ref() != Some(&content) {
                continue;
            }
            // `deps/webhook_ingress-<hash>` has its record in `.fingerprint/webhook-ingress-<hash>/bin-webhook-ingress.json`.
            let hash = built.file_name()?.to_str()?.rsplit_once('-')?.1.to_owned();
            let record = entries(&release.join(".fingerprint"))
                .into_iter()
                .filter(|directory| directory.to_string_lossy().ends_with(&format!("-{hash}")))
                .flat_map(|directory| entries(&directory))
                .find(|file| file.extension().is_some_and(|extension| extension == "json"))?;
            return Some(serde_json::from_slice::<Record>(&std::fs::read(record).ok()?).ok()?.profile);
        }
    }
    None
}

/// `target/release`, and `target/<platform>/release` for each platform that was named to cargo.
fn release_directories(target_directory: &Path) -> Vec<PathBuf> {
    let mut directories = vec![target_directory.join("release")];
    directories.extend(entries(target_directory).into_iter().map(|platform| platform.join("release")));
    directories.retain(|directory| directory.join(".fingerprint").is_dir());
    directories
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(directory)
        .map_or_else(|_| Vec::new(), |entries| entries.flatten().map(|entry| entry.path()).collect())
}
