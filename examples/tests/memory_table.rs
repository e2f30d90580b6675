//! The table of methods and models as its users run it.

use hydralign::families::{Architecture, published, read_architecture};
use hydralign::memory::{Category, Dtype, Estimate, Method, PhaseName, Profile, Workload};
use hydralign::placement::LoraShape;
use hydralign_examples::base_model_dir;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

/// Runs the program, which `cargo test` builds beside its tests, in a folder.
fn run(folder: &Path, args: &[&str]) -> Output {
    let tests = std::env::current_exe().unwrap();
    let path = tests.parent().unwrap().with_file_name("examples").join("memory_table");
    assert!(path.exists(), "{}: run `cargo test --workspace`", path.display());
    let mut command = Command::new(path);
    command.args(args).current_dir(folder).env("RUST_BACKTRACE", "0").output().unwrap()
}

fn good(folder: &Path, args: &[&str]) -> String {
    let output = run(folder, args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Lines of comma-separated values without quotes, by column.
fn parse(csv: &str) -> Vec<BTreeMap<&str, &str>> {
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let head = lines.next().unwrap();
    lines
        .map(|fields| {
            assert_eq!(fields.len(), head.len());
            head.iter().copied().zip(fields).collect()
        })
        .collect()
}

fn workload() -> Workload {
    let whole = Workload::uniform(6, 40, 20).in_dtype(Dtype::F16);
    Workload {
        trained_dtype: Dtype::F32,
        generate_batch: 2,
        score_batch: 2,
        micro_batch: 2,
        ..whole
    }
}

/// The numbers of all rows of a method on a model are those of the library.
fn check(rows: &[BTreeMap<&str, &str>], model: &str, architecture: &Architecture, method: &str) {
    let (method, workload) = (Method::by_name(method).unwrap(), workload());
    let lora = LoraShape { rank: 4, ..LoraShape::default() };
    let profile = Profile::flex(8);
    let estimate = Estimate::new(&method, architecture, &lora, &workload, &profile).unwrap();
    let (prediction, cost) = (estimate.predict().unwrap(), estimate.cost().unwrap());
    let ours = || rows.iter().filter(|r| r["model"] == model && r["method"] == method.name);
    assert_eq!(ours().count(), prediction.iter().count(), "{model} {}", method.name);
    for row in ours() {
        let number = |column: &str| row[column].parse::<u64>().unwrap();
        let phase = PhaseName::ALL.into_iter().find(|p| p.name() == row["phase"]).unwrap();
        let footprint = prediction.get(phase).unwrap();
        for category in Category::ALL {
            assert_eq!(number(category.name()), footprint.get(category), "{row:?}");
        }
        assert_eq!(number("total"), footprint.total());
        assert_eq!(row["is_peak"] == "true", prediction.peak().unwrap().0 == phase);
        for (column, bytes) in [("fits_16_gb", 16_000_000_000), ("fits_80_gb", 80_000_000_000)] {
            let fits = estimate.largest_micro_batch(bytes).unwrap().unwrap_or(0);
            assert_eq!(number(column), fits as u64);
        }
        let flops = number("generate_flops") + number("read_flops") + number("learn_flops");
        assert_eq!((flops, number("passes")), (cost.flops(), cost.passes));
    }
}

#[test]
fn the_table_in_every_format_has_the_numbers_of_the_library() {
    let folder = tempfile::tempdir().unwrap();
    let base = base_model_dir();
    let args = [
        "--models=pythia-1b",
        "--config",
        base.to_str().unwrap(),
        "--methods=hydra_ppo,dpo_lora,sft",
        "--prompt=40",
        "--response=20",
        "--batch=6",
        "--micro-batch=2",
        "--dtype=float16",
        "--rank=4",
        "--phase",
        "--csv=table.csv",
        "--svg=table.svg",
    ];
    let text = good(folder.path(), &args);
    let csv = std::fs::read_to_string(folder.path().join("table.csv")).unwrap();
    let rows = parse(&csv);
    assert_eq!(rows.len(), 2 * (3 + 1 + 1));
    let models = [
        ("Pythia-1B", published("Pythia-1B").unwrap()),
        ("base", read_architecture(&base).unwrap()),
    ];
    for (model, architecture) in &models {
        assert!(text.contains(&format!("\n## {model}, ")), "{text}");
        for method in ["hydra_ppo", "dpo_lora", "sft"] {
            check(&rows, model, architecture, method);
        }
    }
    let total: f64 = rows[0]["total"].parse().unwrap();
    assert!(text.contains(&format!(" {:.2} |", total / 1e9)), "{text}");
    let svg = std::fs::read_to_string(folder.path().join("table.svg")).unwrap();
    for name in ["Pythia-1B", "base", "hydra_ppo, generate", "dpo_lora, update"] {
        assert!(svg.contains(&format!(">{name}</text>")), "{name}");
    }
}

#[test]
fn without_the_option_only_the_largest_phase_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["--models", "opt-1.3b", "--methods", "ppo,spr", "--csv", "t.csv"];
    good(folder.path(), &args);
    let csv = std::fs::read_to_string(folder.path().join("t.csv")).unwrap();
    let rows = parse(&csv);
    let peaks: Vec<_> = rows.iter().map(|r| (r["method"], r["phase"], r["is_peak"])).collect();
    assert_eq!(peaks, [("ppo", "update", "true"), ("spr", "update", "true")]);
}

#[test]
fn wrong_input_gets_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [(&[&str], &str); 11] = [
        (&["--models", "llama-9"], "no published model `llama-9` is known (known: Qwen2.5-0.5B, "),
        (&["--methods", "sprr"], "unknown method `sprr`; known are sft, "),
        (&["--methods", "ppo_lora"], "unknown method `ppo_lora`; known are sft, "),
        (&["--micro-batch", "0"], "--micro-batch must be at least 1"),
        (
            &["--batch", "4", "--micro-batch", "5"],
            "--micro-batch is 5, more than --batch, which is 4",
        ),
        (&["--rank", "0"], "--rank must be at least 1"),
        (
            &["--models", "opt-1.3b", "--prompt", "2000"],
            "OPT-1.3B: 2512 tokens a sequence, but the model's context holds 2048",
        ),
        (&["--dtype", "int8"], "--dtype: unknown number format `int8`"),
        (&["--trained-dtype", "fp8"], "--trained-dtype: unknown number format `fp8`"),
        (&["--config", "nowhere"], "nowhere: "),
        (&["--models", "opt-1.3b", "--methods", "sft", "--csv", "no/t.csv"], "`no/t.csv`"),
    ];
    for (args, wanted) in cases {
        let output = run(folder.path(), args);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {text}");
        assert!(text.starts_with("Error: ") && text.lines().count() == 1, "{args:?}: {text}");
        assert!(text.contains(wanted), "{args:?}: {text}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

/// The documents hold what the program prints.
#[test]
fn the_documents_are_of_today() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let (table, readme) = (read("docs/memory_table.md"), read("README.md"));
    assert!(
        table.ends_with(&good(&root, &[])),
        "docs/memory_table.md: put the output of `cargo run --release --example memory_table` there"
    );
    let excerpt: Vec<&str> = readme.lines().filter(|line| line.contains("| update |")).collect();
    assert!(excerpt.len() > 5, "README.md shows rows of the table");
    for line in excerpt {
        assert!(table.contains(line), "README.md is not of today: {line}");
    }
}
