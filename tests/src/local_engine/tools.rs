//! Where the pinned tools are: SAM and the engine in the project's own `.tools/`, put there by
//! `tests/setup/tools`. Nothing else on the machine is used, so that a version installed by somebody
//! for something else can neither help nor harm.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use super::{EngineError, REGION, ROOT_ACCESS_KEY, ROOT_SECRET_KEY};

/// The pinned tools of the project.
#[derive(Clone, Debug)]
pub struct Tools {
    /// The root of the project.
    pub root: PathBuf,
    /// The `sam` command.
    pub sam: PathBuf,
    /// The Python that the engine is installed for.
    pub engine_python: PathBuf,
}

impl Tools {
    /// Finds the tools, or says how to install them.
    pub fn find() -> Result<Self, EngineError> {
        let root = project_root();
        let tools =
            Self { sam: root.join(".tools/sam/bin/sam"), engine_python: root.join(".tools/engine/bin/python"), root };
        for (what, path) in [("SAM", &tools.sam), ("the local engine", &tools.engine_python)] {
            if !path.exists() {
                return Err(EngineError::ToolMissing { what, path: path.clone() });
            }
        }
        Ok(tools)
    }

    /// `sam` with the path on which it finds cargo-lambda and zig. It never asks and never reports home.
    pub(super) fn sam_command(&self, endpoint: Option<&str>) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.sam);
        command
            .current_dir(&self.root)
            .env("PATH", path_with(&self.root.join(".tools/sam/bin")))
            .env("SAM_CLI_TELEMETRY", "0")
            .env("PYTHONUNBUFFERED", "1")
            .kill_on_drop(true);
        if let Some(endpoint) = endpoint {
            // A profile of the machine's owner must not decide where a deployment goes.
            for variable in ["AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN"] {
                command.env_remove(variable);
            }
            command
                .env("AWS_ENDPOINT_URL", endpoint)
                .env("AWS_ACCESS_KEY_ID", ROOT_ACCESS_KEY)
                .env("AWS_SECRET_ACCESS_KEY", ROOT_SECRET_KEY)
                .env("AWS_REGION", REGION)
                .env("AWS_DEFAULT_REGION", REGION)
                .env("AWS_CONFIG_FILE", "/dev/null")
                .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
                .env("NO_PROXY", "127.0.0.1,localhost");
        }
        command
    }
}

/// The root of the project, where `template.yaml` is.
#[must_use]
pub fn project_root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// What the engine needs of this process's environment; anything else would reach the functions.
pub(super) fn inherited_environment() -> impl Iterator<Item = (&'static str, OsString)> {
    ["PATH", "HOME", "LANG", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR"]
        .into_iter()
        .filter_map(|name| env::var_os(name).map(|value| (name, value)))
}

fn path_with(first: &Path) -> OsString {
    let rest = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(first.to_path_buf()).chain(env::split_paths(&rest));
    // A path that holds the separator cannot be joined; then the tools alone have to do.
    env::join_paths(folders).unwrap_or_else(|_| first.as_os_str().to_owned())
}
