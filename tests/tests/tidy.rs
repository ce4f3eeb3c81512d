//! The habits of this code base, as far as a machine can see them.

use cotter_types::mutation::Mutation;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Crates that decide and do nothing: what they may depend on outside the project.
const PURE: [(&str, &[&str]); 4] = [
    ("proto/types", &["serde", "thiserror"]),
    (
        "server/cell",
        &["imbl", "postcard", "serde", "thiserror", "xxhash-rust"],
    ),
    (
        "server/replica",
        &["omnipaxos", "postcard", "serde", "thiserror", "xxhash-rust"],
    ),
    ("client/session", &["thiserror"]),
];

/// Longest source file without its tests, in lines. The style asks for 500; a few stand above it.
const LINES_MAX: usize = 560;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
        .to_owned()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).expect("a folder of the workspace");
    for entry in entries {
        let path = entry.expect("a readable entry").path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            sources(&path, found);
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

fn all_sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for part in ["proto", "server", "client", "manual", "tests", "examples"] {
        sources(&root().join(part), &mut found);
    }
    assert!(found.len() > 50, "the walk has lost its way");
    found
}

fn is_test(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests")
        || path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .is_some_and(|s| s.ends_with("tests"))
}

fn dependencies(manifest: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(manifest).expect("a manifest");
    let manifest: toml::Table = text.parse().expect("valid TOML");
    manifest
        .get("dependencies")
        .and_then(|dependencies| dependencies.as_table())
        .map(|dependencies| dependencies.keys().cloned().collect())
        .unwrap_or_default()
}

#[test]
fn pure_crates_can_name_nothing_that_acts() {
    for (folder, allowed) in PURE {
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        for dependency in dependencies(&root().join(folder).join("Cargo.toml")) {
            let known = dependency.starts_with("cotter-") || allowed.contains(dependency.as_str());
            assert!(known, "{folder} depends on {dependency}; is that pure?");
        }
        let clippy = root().join(folder).join("clippy.toml");
        let rules = fs::read_to_string(&clippy).expect("each pure crate has its own clippy.toml");
        for banned in ["HashMap", "HashSet", "std::time::Instant", "SystemTime"] {
            assert!(
                rules.contains(banned),
                "{} allows {banned}",
                clippy.display()
            );
        }
    }
}

#[test]
fn dependencies_point_one_way() {
    let forbidden = [
        ("server", "cotter-client"),
        ("server", "cotter-session"),
        ("client", "cotter-server"),
        ("client", "cotter-replica"),
        ("client", "cotter-cell"),
        ("client/session", "cotter-proto"),
        ("server/cell", "cotter-replica"),
        ("server/cell", "cotter-proto"),
        ("server/replica", "cotter-proto"),
        ("client/cli", "cotter-server"),
        ("proto/types", "cotter-cell"),
    ];
    for (folder, never) in forbidden {
        let names = dependencies(&root().join(folder).join("Cargo.toml"));
        assert!(
            !names.contains(never),
            "{folder} must not depend on {never}"
        );
        assert!(
            !names.contains("cotter-tests"),
            "nothing depends on the tests"
        );
    }
}

#[test]
fn every_source_file_says_what_it_is_and_stays_short() {
    for path in all_sources() {
        let text = fs::read_to_string(&path).expect("a source file");
        let head = text
            .lines()
            .find(|line| !line.starts_with("#!"))
            .unwrap_or_default();
        let lines = text.lines().count();
        if !is_test(&path) {
            assert!(
                head.starts_with("//!"),
                "{} does not begin with //!",
                path.display()
            );
            assert!(lines <= LINES_MAX, "{} has {lines} lines", path.display());
        }
    }
}

#[test]
fn nothing_is_left_for_later() {
    let marks = [
        ["to", "do!("].concat(),
        ["unimple", "mented!("].concat(),
        ["FIX", "ME"].concat(),
    ];
    for path in all_sources() {
        let text = fs::read_to_string(&path).expect("a source file");
        for mark in &marks {
            assert!(
                !text.contains(mark.as_str()),
                "{} has {mark}",
                path.display()
            );
        }
    }
}

#[test]
fn planted_bugs_can_only_be_planted_by_the_tests() {
    for (manifest, text, parsed) in manifests_that_ship() {
        let default = parsed
            .get("features")
            .and_then(|features| features.get("default"))
            .and_then(|default| default.as_array());
        let plants = default.is_some_and(|names| {
            names
                .iter()
                .any(|name| name.as_str().is_some_and(|name| name.contains("mutations")))
        });
        assert!(!plants, "{} plants bugs", manifest.display());
        let asks = text.contains("features = [\"mutations\"]");
        assert!(!asks, "{} asks for planted bugs", manifest.display());
    }
}

#[test]
fn only_the_tests_can_simulate_the_network_of_server_and_client() {
    for (manifest, text, parsed) in manifests_that_ship() {
        let features = parsed.get("features").and_then(|all| all.as_table());
        for (name, enabled) in features.into_iter().flatten() {
            let names = enabled.as_array().into_iter().flatten();
            let asked = names.filter_map(toml::Value::as_str);
            let turns_on =
                name != "simulated" && asked.into_iter().any(|one| one.contains("simulated"));
            assert!(!turns_on, "{}: {name} simulates", manifest.display());
        }
        let asks = text.contains("features = [\"simulated\"]");
        assert!(!asks, "{} asks for a simulated network", manifest.display());
    }
}

/// Reads the manifests of everything but the tests: where, as text, and taken apart.
fn manifests_that_ship() -> Vec<(PathBuf, String, toml::Table)> {
    let mut manifests = Vec::new();
    for part in ["proto", "server", "client", "manual", "examples"] {
        collect_manifests(&root().join(part), &mut manifests);
    }
    assert!(manifests.len() >= 10, "the walk has lost its way");
    let read = |manifest: PathBuf| {
        let text = fs::read_to_string(&manifest).expect("a manifest");
        let parsed = text.parse().expect("valid TOML");
        (manifest, text, parsed)
    };
    manifests.into_iter().map(read).collect()
}

fn collect_manifests(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the workspace") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
            collect_manifests(&path, found);
        } else if path.file_name().is_some_and(|name| name == "Cargo.toml") {
            found.push(path);
        }
    }
}

#[test]
fn each_test_named_for_a_class_of_bugs_exists() {
    let read = |path: &PathBuf| fs::read_to_string(path).expect("a source file");
    let texts: Vec<String> = all_sources().iter().map(read).collect();
    let scripts = root().join("server/cell/tests/scripts");
    let planted: Vec<String> = Mutation::ALL.iter().map(|bug| format!("{bug:?}")).collect();
    let exists = |name: &str| {
        let function = format!("fn {name}(");
        planted.iter().any(|bug| bug == name)
            || scripts.join(format!("{name}.txt")).exists()
            || texts.iter().any(|text| text.contains(&function))
    };
    let page = fs::read_to_string(root().join("docs/TESTING.md")).expect("the page on tests");
    let rows: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("| B"))
        .collect();
    assert_eq!(rows.len(), 22, "a row for each class");
    for row in rows {
        for name in row.split('`').skip(1).step_by(2) {
            assert!(exists(name), "docs/TESTING.md names {name}: {row}");
        }
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut documents = vec![root().join("README.md"), root().join("CONTRIBUTING.md")];
    for entry in fs::read_dir(root().join("docs")).expect("docs") {
        let path = entry.expect("a readable entry").path();
        if path.extension().is_some_and(|extension| extension == "md") {
            documents.push(path);
        }
    }
    for document in documents {
        let text = fs::read_to_string(&document).expect("a document");
        for target in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            if target.starts_with("http") || target.starts_with('#') {
                continue;
            }
            let target = target.split('#').next().unwrap_or_default();
            let path = document.parent().expect("a folder").join(target);
            assert!(
                path.exists(),
                "{} links to {target}, which is missing",
                document.display()
            );
        }
    }
}
