//! The crates depend on one another only along the edges written down here (ARCHITECTURE.md, "Map").

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::Value;

/// Each crate with the crates of the workspace it may use. Every edge points down this list, so there is no cycle.
const EDGES: &[(&str, &[&str])] = &[
    (
        "stepwell",
        &[
            "stepwell-server",
            "stepwell-app",
            "stepwell-import",
            "stepwell-query",
            "stepwell-engine",
            "stepwell-manifest",
            "stepwell-segment",
            "stepwell-wal",
            "stepwell-client",
            "stepwell-env",
            "stepwell-types",
        ],
    ),
    ("stepwell-server", &["stepwell-compat", "stepwell-app", "stepwell-query", "stepwell-env", "stepwell-types"]),
    ("stepwell-compat", &["stepwell-app", "stepwell-types"]),
    (
        "stepwell-app",
        &[
            "stepwell-query",
            "stepwell-engine",
            "stepwell-metadata",
            "stepwell-blobs",
            "stepwell-objects",
            "stepwell-kernels",
            "stepwell-env",
            "stepwell-types",
        ],
    ),
    ("stepwell-import", &["stepwell-client", "stepwell-env", "stepwell-types"]),
    (
        "stepwell-query",
        &[
            "stepwell-engine",
            "stepwell-metadata",
            "stepwell-segment",
            "stepwell-kernels",
            "stepwell-env",
            "stepwell-types",
        ],
    ),
    (
        "stepwell-engine",
        &[
            "stepwell-manifest",
            "stepwell-segment",
            "stepwell-memtable",
            "stepwell-wal",
            "stepwell-kernels",
            "stepwell-env",
            "stepwell-types",
        ],
    ),
    ("stepwell-metadata", &["stepwell-env", "stepwell-types"]),
    ("stepwell-blobs", &["stepwell-objects", "stepwell-env", "stepwell-types"]),
    ("stepwell-objects", &["stepwell-env"]),
    ("stepwell-manifest", &["stepwell-env", "stepwell-types"]),
    ("stepwell-segment", &["stepwell-kernels", "stepwell-env", "stepwell-types"]),
    ("stepwell-memtable", &["stepwell-types"]),
    ("stepwell-wal", &["stepwell-env", "stepwell-types"]),
    ("stepwell-kernels", &["stepwell-types"]),
    ("stepwell-client", &["stepwell-env", "stepwell-types"]),
    ("stepwell-env", &[]),
    ("stepwell-types", &[]),
];

/// Packages that are not shipped; they may use any crate.
const TOOLS: [&str; 8] = [
    "stepwell-tests",
    "stepwell-allocation",
    "stepwell-benches",
    "stepwell-fuzz",
    "stepwell-loadgen",
    "stepwell-rot",
    "stepwell-sim",
    "xtask",
];

/// Heavy dependencies, each behind the crates that own it, so that their types stay inside.
const OWNERS: &[(&str, &[&str])] = &[
    ("anyhow", &["stepwell"]),
    ("clap", &["stepwell"]),
    ("comfy-table", &["stepwell"]),
    ("indicatif", &["stepwell"]),
    ("toml", &["stepwell"]),
    ("tracing-subscriber", &["stepwell"]),
    ("axum", &["stepwell-server"]),
    ("tonic", &["stepwell-server"]),
    ("arrow-flight", &["stepwell-server"]),
    ("utoipa", &["stepwell-server"]),
    ("prometheus-client", &["stepwell-server"]),
    ("flate2", &["stepwell-server"]),
    (
        "tokio",
        &[
            "stepwell",
            "stepwell-server",
            "stepwell-app",
            "stepwell-query",
            "stepwell-metadata",
            "stepwell-blobs",
            "stepwell-objects",
        ],
    ),
    ("object_store", &["stepwell-objects"]),
    ("datafusion", &["stepwell-query"]),
    ("sqlx", &["stepwell-metadata"]),
    ("libsqlite3-sys", &["stepwell-metadata"]),
    ("parquet", &["stepwell-segment"]),
    ("crossbeam-channel", &["stepwell-env", "stepwell-client"]),
    ("memmap2", &["stepwell-env"]),
    ("libc", &["stepwell-env"]),
    ("ureq", &["stepwell-client", "stepwell-app"]),
    ("zstd", &["stepwell-segment", "stepwell-wal", "stepwell-server", "stepwell-client"]),
    ("tikv-jemallocator", &["stepwell"]),
];

struct Package {
    description: String,
    manifest_path: String,
    /// Names of normal and build dependencies; those of tests are free.
    dependencies: BTreeSet<String>,
}

fn packages() -> BTreeMap<String, Package> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(stepwell_tests::repository())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().iter().map(package).collect()
}

fn package(value: &Value) -> (String, Package) {
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let shipped = |dependency: &&Value| dependency["kind"] != "dev";
    let dependencies = value["dependencies"].as_array().unwrap().iter().filter(shipped);
    let dependencies = dependencies.map(|dependency| dependency["name"].as_str().unwrap().to_owned()).collect();
    (text("name"), Package { description: text("description"), manifest_path: text("manifest_path"), dependencies })
}

fn shipped() -> BTreeMap<String, Package> {
    packages().into_iter().filter(|(name, _)| !TOOLS.contains(&name.as_str())).collect()
}

#[test]
fn crates_use_one_another_only_along_the_allowed_edges() {
    let allowed: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
    let packages = packages();
    for (name, package) in shipped() {
        let Some(allowed) = allowed.get(name.as_str()) else { panic!("{name} has no row in the table of edges") };
        for used in package.dependencies.iter().filter(|used| packages.contains_key(*used)) {
            assert!(allowed.contains(&used.as_str()), "{name} may not use {used}");
        }
    }
}

#[test]
fn the_table_of_edges_points_down() {
    let position = |name: &str| EDGES.iter().position(|(known, _)| *known == name).unwrap();
    for (name, allowed) in EDGES {
        for used in *allowed {
            assert!(position(name) < position(used), "{name} → {used} points up");
        }
    }
}

#[test]
fn heavy_dependencies_stay_with_their_owners() {
    for (name, package) in shipped() {
        for (heavy, owners) in OWNERS {
            let used = package.dependencies.contains(*heavy);
            assert!(!used || owners.contains(&name.as_str()), "{name} uses {heavy}, which belongs to {owners:?}");
        }
    }
}

#[test]
fn a_crate_says_what_it_is_for_once() {
    for (name, package) in shipped() {
        let folder = std::path::Path::new(&package.manifest_path).parent().unwrap();
        assert!(folder.ends_with(format!("crates/{name}")), "{name} lies in {}", folder.display());
        let source =
            ["src/lib.rs", "src/main.rs"].iter().find_map(|file| std::fs::read_to_string(folder.join(file)).ok());
        let source = source.unwrap();
        let first = source.lines().next().unwrap_or_default().strip_prefix("//! ").unwrap_or_default();
        assert_eq!(first, package.description, "{name}: first line of the crate and `description`");
    }
}

/// The map in ARCHITECTURE.md, from the crates' own sentences.
fn map() -> String {
    let packages = shipped();
    let rows =
        EDGES.iter().filter_map(|(name, _)| Some(format!("| `{name}` | {} |\n", packages.get(*name)?.description)));
    format!("| crate | what it is for |\n| --- | --- |\n{}", rows.collect::<String>())
}

#[test]
fn the_map_in_architecture_md_is_current() {
    const BEGIN: &str = "<!-- map:begin -->\n";
    let path = stepwell_tests::repository().join("ARCHITECTURE.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (written, after) = rest.split_once("<!-- map:end -->").unwrap();
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{}<!-- map:end -->{after}", map())).unwrap();
    } else {
        assert!(written == map(), "ARCHITECTURE.md's map is out of date: run `cargo xtask schemas`");
    }
}

/// Rust files below the folders of the workspace's packages.
fn sources(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() && !entry.ends_with("target") {
            sources(&entry, found);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            found.push(entry);
        }
    }
}

/// Few blocks are unsafe, and each says right above it why it is sound (RELIABILITY.md, "Concurrency", says what checks them).
#[test]
fn every_unsafe_block_has_its_argument() {
    let mut files = Vec::new();
    for folder in ["crates", "tests", "tools", "benches"] {
        sources(&stepwell_tests::repository().join(folder), &mut files);
    }
    let mut blocks = 0;
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if code.contains(concat!("unsafe", " {")) || code.contains(concat!("unsafe", " impl")) {
                blocks += 1;
                let above = &lines[number.saturating_sub(8)..number];
                let is_argued = above.iter().any(|line| line.contains("SAFETY:"));
                assert!(is_argued, "{}:{} is unsafe and does not say why it is sound", file.display(), number + 1);
            }
        }
    }
    assert!(blocks > 3, "{blocks} blocks found");
}
