//! The shape of the workspace: which crate may depend on which, and what none may do.

use cargo_metadata::{Dependency, DependencyKind, Metadata, MetadataCommand, Package, PackageId};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every crate and the crates that it may use, from the bottom up: a crate may use only
/// crates above its own line.
const LAYERS: [(&str, &[&str]); 18] = [
    ("hydralign-json", &[]),
    ("hydralign-placement", &[]),
    ("hydralign-advantage", &[]),
    ("hydralign-families", &["json", "placement"]),
    ("hydralign-memory", &["placement", "families"]),
    ("hydralign-core", &["placement"]),
    ("hydralign-kernels", &["core"]),
    ("hydralign-models", &["json", "placement", "families", "core", "kernels"]),
    ("hydralign-data", &["json", "core"]),
    ("hydralign-rewards", &["core", "data"]),
    ("hydralign-rollout", &["core", "kernels"]),
    ("hydralign-algorithms", &["placement", "advantage", "core", "rollout", "kernels"]),
    ("hydralign-runs", &["placement", "memory", "advantage", "core", "rollout", "algorithms"]),
    ("hydralign-report", &["memory", "runs"]),
    (
        "hydralign-train",
        &[
            "placement",
            "advantage",
            "memory",
            "core",
            "models",
            "data",
            "rollout",
            "algorithms",
            "runs",
        ],
    ),
    ("hydralign", EVERY_LIBRARY.split_at(1).1),
    ("hydralign-examples", EVERY_LIBRARY),
    ("hydralign-benches", EVERY_LIBRARY),
];

/// What a program may use.
const EVERY_LIBRARY: &[&str] = &[
    "hydralign",
    "json",
    "placement",
    "advantage",
    "families",
    "memory",
    "core",
    "kernels",
    "models",
    "data",
    "rewards",
    "rollout",
    "algorithms",
    "runs",
    "report",
    "train",
];

/// Crates that build without a tensor library.
const WITHOUT_BURN: [&str; 5] = [
    "hydralign-json",
    "hydralign-placement",
    "hydralign-families",
    "hydralign-memory",
    "hydralign-advantage",
];

/// Features of burn that enable a device.
const BACKENDS: [&str; 13] = [
    "flex", "ndarray", "tch", "cpu", "cuda", "rocm", "wgpu", "vulkan", "metal", "webgpu", "remote",
    "router", "server",
];

/// The one crate that may say `unsafe`.
const UNSAFE_CRATE: &str = "hydralign-kernels";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The dependency graph for this machine, from what is already downloaded.
fn metadata() -> Metadata {
    let version = Command::new(env!("CARGO")).arg("-vV").output().expect("cargo runs");
    let version = String::from_utf8(version.stdout).expect("cargo prints text");
    let host =
        version.lines().find_map(|l| l.strip_prefix("host: ")).expect("cargo names its host");
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(["--frozen", "--filter-platform", host].map(String::from))
        .exec()
        .expect("the workspace has metadata")
}

fn short(name: &str) -> &str {
    name.strip_prefix("hydralign-").unwrap_or(name)
}

/// Examples and benches are binaries: they choose a backend.
fn is_library(name: &str) -> bool {
    !matches!(short(name), "examples" | "benches")
}

/// Dependencies on crates of this workspace.
fn own(package: &Package) -> impl Iterator<Item = &Dependency> {
    package.dependencies.iter().filter(|d| d.path.is_some())
}

#[test]
fn layers_only_point_down() {
    let mut below = BTreeSet::new();
    for (name, allowed) in LAYERS {
        for used in allowed {
            assert!(below.contains(used), "{name} may use {used}, which is not below it");
        }
        below.insert(short(name));
    }
}

#[test]
fn crates_use_only_what_their_layer_allows() {
    let metadata = metadata();
    let layers: BTreeMap<&str, &[&str]> = LAYERS.into();
    let members = metadata.workspace_packages();
    let names: BTreeSet<&str> = members.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, layers.keys().copied().collect(), "every crate has a layer");
    for package in members {
        let allowed = layers[package.name.as_str()];
        for dependency in own(package).filter(|d| d.kind != DependencyKind::Development) {
            let used = short(&dependency.name);
            assert!(allowed.contains(&used), "{} must not depend on {used}", package.name);
        }
    }
}

#[test]
fn algorithms_and_models_never_name_each_other() {
    // Not even in tests: they meet at the traits of the core.
    for package in metadata().workspace_packages() {
        let name = short(&package.name);
        let other = match name {
            "algorithms" => "models",
            "models" => "algorithms",
            _ => continue,
        };
        assert!(own(package).all(|d| short(&d.name) != other), "{name} depends on {other}");
    }
}

#[test]
fn planning_crates_build_without_a_tensor_library() {
    let metadata = metadata();
    let resolve = metadata.resolve.as_ref().expect("the graph is resolved");
    let nodes: BTreeMap<&PackageId, _> = resolve.nodes.iter().map(|n| (&n.id, n)).collect();
    for name in WITHOUT_BURN {
        let root = metadata.workspace_packages().into_iter().find(|p| p.name == name);
        let mut waiting = vec![&root.expect("the crate exists").id];
        let mut seen = BTreeSet::new();
        while let Some(id) = waiting.pop() {
            if !seen.insert(id) {
                continue;
            }
            let package = &metadata[id];
            assert!(!package.name.starts_with("burn"), "{name} needs {}", package.name);
            let used = nodes[id]
                .deps
                .iter()
                .filter(|d| d.dep_kinds.iter().any(|k| k.kind != DependencyKind::Development));
            waiting.extend(used.map(|d| &d.pkg));
        }
        assert!(seen.len() > 1, "{name} depends at least on its error macro");
    }
}

#[test]
fn libraries_leave_the_backend_to_the_binary() {
    let metadata = metadata();
    for package in metadata.workspace_packages() {
        if !is_library(&package.name) {
            continue;
        }
        let burn = |d: &&Dependency| d.name == "burn" || d.name.starts_with("burn-");
        let normal = |d: &&Dependency| d.kind != DependencyKind::Development;
        for dependency in package.dependencies.iter().filter(burn).filter(normal) {
            let (name, used) = (&package.name, &dependency.name);
            assert!(!dependency.uses_default_features, "{name}: default features of {used}");
            let backend = BACKENDS.iter().find(|b| {
                dependency.features.iter().any(|f| f == *b) || *used == format!("burn-{b}")
            });
            assert_eq!(backend, None, "{name} chooses a backend in {used}");
        }
        // The facade forwards backends as features of its own: that is where a binary chooses.
        let forwards = package.features.values().flatten().filter(|f| f.starts_with("burn"));
        assert!(package.name == "hydralign" || forwards.count() == 0, "{}", package.name);
    }
}

#[test]
fn the_list_of_backends_knows_those_of_burn() {
    let metadata = metadata();
    let burn = metadata.packages.iter().find(|p| p.name == "burn").expect("burn is used");
    for used in ["flex", "wgpu", "cuda"] {
        assert!(burn.features.contains_key(used) && BACKENDS.contains(&used), "{used}");
    }
    // A feature that switches on a crate of that name is a device, unless it is named here.
    let known = ["autodiff", "collective", "communication", "fusion", "linalg", "nn", "optim"];
    let tools = ["pack", "rl", "signal", "store", "train", "vision", "dataset", "distributed"];
    for (feature, enables) in &burn.features {
        let own_crate = format!("dep:burn-{feature}");
        if enables.contains(&own_crate) && ![&known[..], &tools[..]].concat().contains(&&**feature)
        {
            assert!(BACKENDS.contains(&feature.as_str()), "is `{feature}` of burn a backend?");
        }
    }
}

#[test]
fn every_crate_explains_itself() {
    let mut silent = Vec::new();
    for (name, _) in LAYERS.iter().filter(|(name, _)| is_library(name)) {
        let readme = root().join("crates").join(name).join("README.md");
        let text = std::fs::read_to_string(readme).unwrap_or_default();
        if !text.starts_with(&format!("# {name}\n")) || text.len() < 200 {
            silent.push(name);
        }
    }
    assert!(silent.is_empty(), "a README.md with the crate's name as its title: {silent:?}");
}

/// Whether Rust source says `unsafe` outside comments and strings.
fn says_unsafe(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == "unsafe",
        TokenTree::Group(group) => says_unsafe(group.stream()),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of the workspace is readable") {
        let path = entry.expect("an entry is readable").path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if path.is_dir() && !name.starts_with('.') && !name.starts_with("target") {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn only_one_crate_says_unsafe() {
    let mut files = Vec::new();
    ["crates", "examples", "benches"].iter().for_each(|f| rust_files(&root().join(f), &mut files));
    let (allowed, others): (Vec<_>, Vec<_>) =
        files.iter().partition(|f| f.components().any(|c| c.as_os_str() == UNSAFE_CRATE));
    let says = |path: &Path| {
        let source = std::fs::read_to_string(path).expect("source is text");
        let tokens: TokenStream =
            source.parse().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        says_unsafe(tokens)
    };
    assert!(allowed.iter().any(|f| says(f)), "the search finds what is there");
    let guilty: Vec<_> = others.into_iter().filter(|f| says(f)).collect();
    assert!(guilty.is_empty(), "`unsafe` belongs in {UNSAFE_CRATE}: {guilty:?}");
}

#[test]
fn the_search_for_unsafe_reads_code_and_not_prose() {
    let says = |source: &str| says_unsafe(source.parse().expect("valid tokens"));
    assert!(says("fn f() { if true { unsafe { g() } } }"));
    assert!(says("macro_rules! m { () => { unsafe {} } }"));
    let prose = r##"
        //! unsafe
        #![deny(unsafe_code)]
        /* unsafe /* unsafe */ */
        /// `unsafe { }`
        fn f<'unsafe_>() -> &'static str { "unsafe \" unsafe"; r#"unsafe " unsafe"#; '"'; "" }
    "##;
    assert!(!says(prose));
}

/// What takes a step of learning, as one calls it.
const STEPS: [&str; 3] = ["step", "gradients", "update"];

/// Whether Rust source calls a method or function that takes a step of learning: as `.step(`, or by its path.
fn takes_steps(tokens: TokenStream) -> bool {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let inside = |token: &TokenTree| match token {
        TokenTree::Group(group) => takes_steps(group.stream()),
        _ => false,
    };
    let called = |window: &[TokenTree]| {
        let [TokenTree::Punct(before), TokenTree::Ident(name)] = window else { return false };
        matches!(before.as_char(), '.' | ':') && STEPS.iter().any(|step| name == step)
    };
    // A field of that name is no call: what follows a method's name are its arguments.
    let calls = tokens.windows(3).any(|w| {
        let arguments =
            matches!(&w[2], TokenTree::Group(g) if g.delimiter() == Delimiter::Parenthesis);
        called(&w[..2]) && arguments
    });
    calls || tokens.iter().any(inside)
}

#[test]
fn programs_train_by_recipes() {
    let mut files = Vec::new();
    rust_files(&root().join("examples"), &mut files);
    let name = |file: &Path| file.strip_prefix(root()).expect("it is below").display().to_string();
    let holds = |path: &Path| {
        let source = std::fs::read_to_string(path).expect("source is text");
        takes_steps(source.parse().unwrap_or_else(|e| panic!("{}: {e}", path.display())))
    };
    let mut guilty: Vec<String> = files.iter().filter(|f| holds(f)).map(|f| name(f)).collect();
    guilty.sort();
    assert!(
        guilty.is_empty(),
        "{guilty:?}: steps of learning belong into recipes of hydralign-train"
    );
}

#[test]
fn the_search_for_steps_finds_calls() {
    let takes = |source: &str| takes_steps(source.parse().expect("valid tokens"));
    assert!(takes("fn f() { for b in all { learner.step(&Nll, &b, lr)?; } }"));
    assert!(takes("fn f() { while more { let g = l.gradients(o, b)?; } }"));
    assert!(takes("fn f() { Learner::step(&mut learner, &Nll, &b, lr) }"));
    assert!(takes("fn f() { all.iter().try_for_each(|b| ppo.update(l, b)) }"));
    assert!(!takes("fn f() { let at = stats.step; run.advance(&recipe, 1, c)?; }"));
}
