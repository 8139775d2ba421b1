//! The invariants of ARCHITECTURE.md as tests: which way dependencies point, and what the core must not know.

use serde_json::Value;
use shared::domain::never_log::NeverLog;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

/// The names of the packages that a package links, without those of its tests and build scripts.
fn linked_by(package: &str, arguments: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["tree", "--offline", "--locked", "--package", package, "--edges", "normal", "--prefix", "none"])
        .args(["--format", "{p}"])
        .args(arguments)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn shared_without_features_knows_no_aws_no_http_and_no_async_runtime() {
    let linked = linked_by("crm-autopilot-shared", &["--no-default-features"]);
    for package in &linked {
        let foreign = ["aws", "lambda", "hyper", "http", "reqwest", "tokio", "rustls", "governor"]
            .iter()
            .any(|prefix| package.starts_with(prefix));
        assert!(!foreign, "the pure core links {package}");
    }
    assert!(linked.contains("serde_json"), "the listing is not empty");
}

#[test]
fn domain_performs_no_input_or_output_and_reads_no_clock() {
    let forbidden = [
        "std::env",
        "std::fs",
        "std::net",
        "std::time::SystemTime",
        "std::time::Instant",
        "Timestamp::now",
        "tokio",
        "reqwest",
        "aws_",
        "crate::aws",
        "crate::engine",
        "crate::http",
        "async fn",
    ];
    for path in sources(&root().join("shared/src/domain")) {
        let text = fs::read_to_string(&path).expect("a source");
        for word in forbidden {
            assert!(!text.contains(word), "{} mentions {word}", path.display());
        }
    }
}

#[test]
fn engine_names_no_adapter() {
    for path in sources(&root().join("shared/src/engine")) {
        let text = fs::read_to_string(&path).expect("a source");
        for word in ["crate::aws", "aws_sdk_", "reqwest", "crate::crm", "crate::nylas"] {
            assert!(!text.contains(word), "{} mentions {word}", path.display());
        }
    }
}

#[test]
fn ingress_links_no_database_and_no_http_client() {
    let linked = linked_by("webhook-ingress", &[]);
    assert!(linked.contains("aws-sdk-sqs"));
    for package in ["reqwest", "aws-sdk-dynamodb", "governor"] {
        assert!(!linked.contains(package), "webhook-ingress links {package}");
    }
}

#[test]
fn functions_depend_on_shared_and_never_on_one_another() {
    let functions: Vec<String> = fs::read_dir(root().join("functions"))
        .expect("functions")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    for function in &functions {
        let linked = linked_by(function, &[]);
        assert!(linked.contains("crm-autopilot-shared"), "{function}");
        for other in functions.iter().filter(|other| *other != function) {
            assert!(!linked.contains(other), "{function} links {other}");
        }
    }
}

#[test]
fn one_tls_stack_and_one_http_stack_are_linked() {
    for function in ["webhook-ingress", "email-activity", "calendar-sync", "notetaker-media", "operator"] {
        let output = Command::new(env!("CARGO"))
            .current_dir(root())
            .args(["tree", "--offline", "--locked", "--package", function, "--edges", "normal", "--prefix", "none"])
            .output()
            .expect("cargo runs");
        let text = String::from_utf8_lossy(&output.stdout);
        for package in ["rustls", "hyper", "h2", "aws-lc-rs", "tokio-rustls"] {
            let versions: BTreeSet<&str> = text
                .lines()
                .filter_map(|line| line.strip_prefix(&format!("{package} v")))
                .filter_map(|rest| rest.split_whitespace().next())
                .collect();
            assert!(versions.len() <= 1, "{function} links {package} in the versions {versions:?}");
        }
        for package in ["ring ", "openssl-sys ", "native-tls "] {
            assert!(!text.lines().any(|line| line.starts_with(package)), "{function} links {package}");
        }
    }
}

/// SAM builds each function alone. Where two of them link a crate with different features, cargo compiles it and all
/// above it twice, the SDK among them: minutes of every first build.
#[test]
fn crate_that_several_functions_link_is_compiled_once_for_all_of_them() {
    // At the top of the tree, where the functions are meant to differ; and below CloudWatch's client, which the operator
    // alone links, with nothing above them that takes long.
    let differing = ["aws_lambda_events", "crm-autopilot-shared", "num-traits", "zerocopy"];
    let mut seen: BTreeMap<String, (&str, String)> = BTreeMap::new();
    for function in ["webhook-ingress", "email-activity", "calendar-sync", "notetaker-media", "operator"] {
        let output = Command::new(env!("CARGO"))
            .current_dir(root())
            .args(["tree", "--offline", "--locked", "--package", function, "--edges", "normal", "--prefix", "none"])
            .args(["--format", "{p}|{f}", "--target", "x86_64-unknown-linux-gnu"])
            .output()
            .expect("cargo runs");
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let Some((package, features)) = line.trim_end_matches(" (*)").split_once('|') else { continue };
            if differing.iter().any(|name| package.starts_with(name)) {
                continue;
            }
            let standing = seen.entry(package.to_owned()).or_insert_with(|| (function, features.to_owned()));
            assert_eq!(features, standing.1, "{package} in {function} and in {}", standing.0);
        }
    }
    assert!(seen.len() > 100, "the listing is not empty");
}

#[test]
fn lambda_runtime_appears_under_functions_only() {
    let linked = linked_by("crm-autopilot-shared", &["--features", "worker"]);
    for package in ["lambda_runtime", "lambda_http"] {
        assert!(!linked.contains(package), "shared links {package}");
    }
}

#[test]
fn every_source_tells_its_job_in_its_first_line() {
    for folder in ["functions", "shared/src", "tests"] {
        for path in sources(&root().join(folder)) {
            let text = fs::read_to_string(&path).expect("a source");
            assert!(text.starts_with("//! "), "{} begins without a word on what it is for", path.display());
        }
    }
}

#[test]
fn release_profile_unwinds_and_is_made_for_size_and_start_up() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the manifest");
    let release =
        manifest.split("[profile.release]").nth(1).and_then(|rest| rest.split("\n[").next()).expect("a profile");
    for line in ["panic = \"unwind\"", "lto = \"thin\"", "codegen-units = 1", "strip = true"] {
        assert!(release.contains(line), "the release profile lacks `{line}`");
    }
}

#[test]
fn every_sample_is_json_and_belongs_to_a_function_or_the_demo() {
    for entry in fs::read_dir(root().join("events")).expect("events") {
        let path = entry.expect("an entry").path();
        if !path.is_dir() {
            continue;
        }
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(name == "demo" || root().join("functions").join(&name).is_dir(), "events/{name} has no function");
        for file in fs::read_dir(&path).expect("samples") {
            let file = file.expect("an entry").path();
            let text = fs::read_to_string(&file).expect("a sample");
            if name == "demo" && file.extension().is_some_and(|extension| extension == "txt") {
                assert_eq!(NeverLog::parse(&text).1, [], "{}", file.display());
                continue;
            }
            serde_json::from_str::<Value>(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        }
    }
}

/// One table of the docs: a row for each of our fields, a column for each system.
fn table_of_fields(systems: &[(&str, &str, &str)]) -> String {
    let files: Vec<toml::Table> = systems.iter().map(|(_, _, file)| file.parse().expect("TOML")).collect();
    let names: Vec<&str> = systems.iter().map(|(name, ..)| *name).collect();
    let mut lines = vec![
        format!("| thing | our field | {} |", names.join(" | ")),
        format!("|---|---|{}", "---|".repeat(names.len())),
    ];
    let of = |place: usize, thing: &str| {
        let sections = files[place].get(systems[place].1).and_then(toml::Value::as_table);
        sections.and_then(|sections| sections.get(thing)?.get("fields")?.as_table())
    };
    for thing in ["contact", "lead", "mail", "meeting", "notes", "task", "ticket", "comment"] {
        let ours: BTreeSet<&String> =
            (0..files.len()).filter_map(|place| of(place, thing)).flat_map(toml::Table::keys).collect();
        for field in ours {
            let cells =
                (0..files.len()).map(|place| match of(place, thing).and_then(|fields| fields.get(field)?.as_str()) {
                    Some("") => "off".to_owned(),
                    Some(theirs) => format!("`{theirs}`"),
                    None => "–".to_owned(),
                });
            lines.push(format!("| {thing} | `{field}` | {} |", cells.collect::<Vec<_>>().join(" | ")));
        }
    }
    lines.join("\n")
}

#[test]
fn tables_of_fields_in_the_docs_are_those_of_the_built_in_files() {
    use shared::crm::{hubspot, pipedrive, salesforce};
    use shared::tickets::{jira, zendesk};
    let docs = fs::read_to_string(root().join("docs/systems.md")).expect("the docs");
    let of_crms = table_of_fields(&[
        ("HubSpot", hubspot::SYSTEM, hubspot::FIELDS),
        ("Salesforce", salesforce::SYSTEM, salesforce::FIELDS),
        ("Pipedrive", pipedrive::SYSTEM, pipedrive::FIELDS),
    ]);
    let of_tickets =
        table_of_fields(&[("Zendesk", zendesk::SYSTEM, zendesk::FIELDS), ("Jira", jira::SYSTEM, jira::FIELDS)]);
    for (what, table) in [("CRMs", of_crms), ("ticket systems", of_tickets)] {
        let (_, rest) = docs.split_once(&format!("<!-- fields of {what} -->\n")).expect("the marker");
        let (shown, _) = rest.split_once("<!-- end -->").expect("the marker");
        assert!(shown.trim() == table.trim(), "docs/systems.md shows other fields of {what} than there are:\n{table}");
    }
}

/// What stands in a page of the docs between two markers.
fn marked<'a>(page: &'a str, marker: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!("<!-- {marker} -->\n")).expect("the marker");
    rest.split_once("<!-- end -->").expect("the marker").0.trim()
}

#[test]
fn metrics_in_the_docs_are_those_of_the_code() {
    use shared::calls::ErrorKind;
    use shared::telemetry::Metric;
    let page = fs::read_to_string(root().join("docs/metrics.md")).expect("the docs");
    let mut lines =
        vec!["| metric | unit | written by | what it counts or measures |".to_owned(), "|---|---|---|---|".to_owned()];
    lines.extend(Metric::ALL.iter().map(|metric| {
        format!("| `{}` | {} | {} | {} |", metric.name(), metric.unit().name(), metric.written_by(), metric.means())
    }));
    let table = lines.join("\n");
    assert!(marked(&page, "metrics") == table, "docs/metrics.md shows other metrics than there are:\n{table}");
    let kinds: Vec<&str> = marked(&page, "kinds").lines().skip(2).filter_map(|row| row.split('`').nth(1)).collect();
    assert_eq!(kinds, ErrorKind::ALL.map(ErrorKind::name));
}

/// The sources of what runs, without their tests, that hold a word.
fn sources_that_hold(folders: &[&str], word: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = folders.iter().flat_map(|folder| sources(&root().join(folder))).collect();
    found.retain(|path| {
        let text = fs::read_to_string(path).expect("a source");
        text.split("#[cfg(test)]").next().is_some_and(|text| text.contains(word))
    });
    found
}

#[test]
fn every_metric_is_written_somewhere() {
    use shared::telemetry::Metric;
    for metric in Metric::ALL {
        let written = sources_that_hold(&["functions", "shared/src"], &format!("Metric::{}", metric.name()));
        assert!(!written.is_empty(), "nothing writes {}", metric.name());
    }
}
