//! The rules of the house that no compiler checks: arrows between crates, who may name what, sizes, plain sources.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// What each crate may use of ours. ARCHITECTURE.md draws the same picture.
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("merkle", &[]),
    ("sync", &["model", "merkle"]),
    ("storage", &["model", "merkle"]),
    ("index", &["model"]),
    ("replica", &["model", "merkle", "sync", "storage", "index"]),
    (
        "consensus",
        &["model", "merkle", "sync", "replica", "storage"],
    ),
    ("proto", &["model"]),
    (
        "server",
        &[
            "model",
            "merkle",
            "sync",
            "storage",
            "index",
            "replica",
            "consensus",
            "proto",
        ],
    ),
    ("client", &["model", "proto"]),
    ("cli", &["client", "server", "model", "merkle"]),
];

/// Dependencies that only some crates may name, so that they can be replaced there.
const CONFINED: &[(&str, &[&str])] = &[
    ("sled", &["storage"]),
    ("openraft", &["consensus"]),
    ("diskann", &["index"]),
    ("diskann-inmem", &["index"]),
    ("diskann-utils", &["index"]),
    ("diskann-vector", &["index"]),
    ("tonic", &["proto", "server", "client"]),
    ("prost", &["proto", "server", "client"]),
    ("tokio", &["consensus", "server", "client", "cli"]),
    ("clap", &["cli", "server"]),
    ("anyhow", &["server", "cli"]),
];

const PRODUCTION_LINES_MAX: usize = 600;
const BLOB_BYTES_MAX: u64 = 256 << 10;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("a workspace")
        .to_owned()
}

/// Normal dependencies by crate, `pando-` taken off both sides.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata");
    let short = |name: &str| name.trim_start_matches("pando-").to_owned();
    let normal = |p: &cargo_metadata::Package| {
        let normal = p
            .dependencies
            .iter()
            .filter(|d| d.kind == DependencyKind::Normal);
        normal.map(|d| short(&d.name)).collect()
    };
    metadata
        .packages
        .iter()
        .map(|p| (short(&p.name), normal(p)))
        .collect()
}

#[test]
fn crates_use_only_what_the_arrows_allow() {
    let dependencies = dependencies();
    let ours: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    for (name, allowed) in ARROWS {
        let used = dependencies
            .get(*name)
            .unwrap_or_else(|| panic!("no crate {name}"));
        for other in used
            .iter()
            .filter(|d| ours.contains(d.as_str()) || *d == "testkit")
        {
            assert!(
                allowed.contains(&other.as_str()),
                "{name} must not use {other}"
            );
        }
    }
}

#[test]
fn replaceable_dependencies_are_confined() {
    let dependencies = dependencies();
    for (dependency, users) in CONFINED {
        for (name, used) in &dependencies {
            let ours = ARROWS.iter().any(|(ours, _)| ours == name);
            let allowed = !ours || users.contains(&name.as_str());
            assert!(
                allowed || !used.contains(*dependency),
                "{name} must not use {dependency}"
            );
        }
    }
}

fn walk(dir: &Path, visit: &mut dyn FnMut(&Path)) {
    let skip = ["target", ".git", ".demo"];
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .and_then(|n| n.to_str())
            .unwrap_or_default();
        if path.is_dir() {
            if !skip.contains(&name) {
                walk(&path, visit);
            }
        } else {
            visit(&path);
        }
    }
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    walk(&root(), &mut |path| {
        if path.extension().is_some_and(|e| e == "rs") {
            found.push((
                path.to_owned(),
                std::fs::read_to_string(path).expect("UTF-8"),
            ));
        }
    });
    assert!(
        found.len() > 50,
        "the walk must find the sources, not {} files",
        found.len()
    );
    found
}

#[test]
fn sources_are_plain_and_small() {
    for (path, text) in sources() {
        let file = path.display();
        assert!(text.is_ascii(), "{file}: sources are ASCII");
        let production = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        let lines = production.lines().count();
        assert!(
            lines <= PRODUCTION_LINES_MAX,
            "{file}: {lines} lines, split it by idea"
        );
        for (n, line) in text.lines().enumerate() {
            let statement = line.trim_start();
            let toothless = statement.starts_with("matches!(") && statement.ends_with(");");
            assert!(
                !toothless,
                "{file}:{}: a matches! that decides nothing",
                n + 1
            );
            let open = ["TODO", "FIXME", "XXX"].map(|word| format!("// {word}"));
            let open = open.iter().any(|word| statement.starts_with(word));
            assert!(!open, "{file}:{}: work left open", n + 1);
        }
    }
}

#[test]
fn the_tree_holds_sources_only() {
    walk(&root(), &mut |path| {
        let file = path.display();
        let extension = path
            .extension()
            .and_then(|e| e.to_str())
            .unwrap_or_default();
        assert!(
            !["o", "a", "so", "env", "orig", "rej"].contains(&extension),
            "{file}"
        );
        let data = path.starts_with(root().join("data"));
        let size = path.metadata().map_or(0, |m| m.len());
        assert!(
            data || size <= BLOB_BYTES_MAX,
            "{file}: {size} bytes; only data/ holds large files"
        );
    });
}

#[test]
fn pages_have_one_title() {
    walk(&root(), &mut |path| {
        if path.extension().is_none_or(|e| e != "md") {
            return;
        }
        let text = std::fs::read_to_string(path).expect("UTF-8");
        let mut fenced = false;
        let titles = text.lines().filter(|line| {
            fenced ^= line.starts_with("```");
            !fenced && line.starts_with("# ")
        });
        assert_eq!(titles.count(), 1, "{}: one title", path.display());
    });
}

/// A target whose name is that of a directory does nothing, unless make is told that it makes no file.
#[test]
fn make_runs_every_target() {
    let makefile = std::fs::read_to_string(root().join("Makefile")).expect("UTF-8");
    let phony: BTreeSet<&str> = makefile
        .lines()
        .filter_map(|line| line.strip_prefix(".PHONY:"))
        .flat_map(str::split_whitespace)
        .collect();
    let targets: BTreeSet<&str> = makefile
        .lines()
        .filter(|line| line.contains("## "))
        .filter_map(|line| Some(line.split_once(':')?.0))
        .filter(|name| !name.contains(|c: char| c.is_whitespace() || c == '.'))
        .collect();
    assert!(targets.contains("fuzz"), "{targets:?}");
    assert_eq!(phony, targets);
}
