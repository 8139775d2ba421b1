//! The profile that this very binary was built with, in words.

/// A profile in words. What stands in the environment while cargo builds changes it.
pub fn own_profile() -> String {
    let mut overrides: Vec<String> = std::env::vars()
        .filter(|(name, _)| name.starts_with("CARGO_PROFILE_RELEASE_"))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    overrides.sort();
    match (cfg!(debug_assertions), overrides.as_slice()) {
        (true, _) => "dev profile (not that of the functions: the figures say nothing)".to_owned(),
        (false, []) => "release profile, as Cargo.toml sets it for the functions".to_owned(),
        (false, some) => format!("release profile, changed by {} (not that of the functions)", some.join(", ")),
    }
}
