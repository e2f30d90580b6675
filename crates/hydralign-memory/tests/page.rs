//! The formulas and numbers of `docs/memory.md` are those of the library.

mod common;

use common::{llama_2_7b, small};
use hydralign_families::Architecture;
use hydralign_memory::{
    Bookkeeping, Category, Dtype, Estimate, Kept, Method, Packing, PhaseName, Profile, Terms, Work,
    Workload, kept_by_block, kept_by_head,
};
use hydralign_placement::{LoraShape, Placement};
use std::collections::BTreeMap;

const PAGE: &str = include_str!("../../../docs/memory.md");

/// The cells of the rows of the first table after a heading that starts with that column.
fn table(heading: &str, column: &str) -> Vec<Vec<&'static str>> {
    let (_, section) = PAGE.split_once(heading).unwrap();
    let rows = section.lines().skip_while(|l| !l.starts_with(&format!("| {column} |"))).skip(2);
    let cells = |l: &'static str| -> Vec<&str> {
        l.trim().trim_matches('|').split('|').map(str::trim).collect()
    };
    rows.take_while(|l| l.starts_with('|')).map(cells).collect()
}

/// A sum of products of symbols and numbers.
fn value(formula: &str, symbols: &BTreeMap<&str, u64>) -> u64 {
    let factor = |f: &str| symbols.get(f).copied().or_else(|| f.parse().ok());
    let product = |term: &str| -> u64 {
        term.split('·').map(|f| factor(f).unwrap_or_else(|| panic!("{f} in {formula}"))).product()
    };
    if formula == "–" { 0 } else { formula.split(" + ").map(product).sum() }
}

fn bytes(kept: &[Kept], width: u64) -> u64 {
    width * kept.iter().map(|k| k.elements).sum::<u64>()
}

fn bare() -> Profile {
    Profile { packing: None, bookkeeping: Bookkeeping::default(), ..Profile::flex(1) }
}

/// What the page's symbols stand for, for passes over so many rows.
fn symbols(
    model: &Architecture,
    lora: &LoraShape,
    workload: &Workload,
    rows: u64,
) -> BTreeMap<&'static str, u64> {
    let (shape, c) = (&model.shape, workload.compute_dtype.bytes());
    let [tokens, t] = [workload.tokens().unwrap(), workload.response_tokens as u64];
    let [h, vocabulary] = [shape.hidden, shape.vocab].map(|n| n as u64);
    let m = rows * t;
    let blocks = |full: bool| {
        let lora = (!full).then_some(lora);
        let block = kept_by_block(shape, rows, tokens, full, lora).unwrap();
        shape.layers as u64 * bytes(&block, c) + 4 * tokens * shape.head_dim as u64
    };
    let norm = bytes(&kept_by_head(shape, rows, tokens, t, true, &[]).unwrap(), c);
    let scored = shape.parameters() - shape.lm_head_parameters();
    BTreeMap::from([
        ("N", shape.parameters()),
        ("N₀", scored),
        ("r", lora.parameters(shape)),
        ("h", h),
        ("b", workload.frozen_dtype.bytes()),
        ("b′", workload.trained_dtype.bytes()),
        ("F", blocks(true) + norm),
        ("R", blocks(false)),
        ("S", m * h * c),
        ("Q", m * (vocabulary + 2) * c),
        ("W", m * c),
        ("E", rows * (h + 1) * c),
    ])
}

/// Every phase of every method with the cells of its row.
fn rows() -> Vec<(Method, PhaseName, Vec<&'static str>)> {
    let all = Method::all();
    let adapted: Vec<Method> = all.iter().map(|m| m.clone().with_adapter()).collect();
    let mut found = Vec::new();
    let mut names = "";
    for cells in table("## Every method", "method") {
        names = if cells[0].is_empty() { names } else { cells[0] };
        for name in names.split(", ").map(|name| name.trim_matches('`')) {
            let method = all.iter().chain(&adapted).find(|m| m.name == name).unwrap();
            for phase in cells[1].split(", ") {
                let phase = PhaseName::ALL.into_iter().find(|p| p.name() == phase).unwrap();
                found.push((method.clone(), phase, cells.clone()));
            }
        }
    }
    let has = |method: &Method| found.iter().filter(|(m, ..)| m.name == method.name).count();
    let placed = adapted.iter().filter(|m| !m.name.contains("ppo"));
    for method in all.iter().chain(placed) {
        assert_eq!(has(method), method.activities.len(), "{}", method.name);
    }
    found
}

#[test]
fn the_formulas_of_the_methods_are_what_is_predicted() {
    let uniform = Workload::uniform(4, 5, 7).in_dtype(Dtype::Bf16);
    let mixed = Workload { trained_dtype: Dtype::F32, ..uniform.clone() };
    let (lora, model, profile) = (LoraShape::default(), small(), bare());
    let untied = Architecture {
        shape: hydralign_placement::ModelShape { tied: false, ..model.shape.clone() },
        ..model
    };
    for workload in [uniform, mixed] {
        for (method, phase, cells) in rows() {
            let estimate = Estimate::new(&method, &untied, &lora, &workload, &profile).unwrap();
            let activity = method.activities.iter().find(|a| a.phase == phase).unwrap();
            let symbols = symbols(&untied, &lora, &workload, 4 * activity.sequences);
            let terms = Terms::new(&activity.placement, &untied.shape, &lora, &workload).unwrap();
            let is = |column: usize, found: u64| {
                let name = format!("{} {phase}: {}", method.name, cells[column]);
                assert_eq!(value(cells[column], &symbols), found, "{name}");
            };
            is(2, terms.weights().unwrap());
            is(3, terms.adapters().unwrap());
            is(4, terms.heads().unwrap());
            is(5, if activity.optimizer { terms.trained_parameters().unwrap() } else { 0 });
            is(8, method.experience);
            let footprint = estimate.activity(activity).unwrap();
            let states = 8 * value(cells[5], &symbols);
            assert_eq!(footprint.get(Category::Optimizer), states, "{} {phase}", method.name);
            // In one format: otherwise converted copies are kept as well.
            if matches!(activity.work, Work::Learn(_)) && workload.trained_dtype == Dtype::Bf16 {
                let graphs = estimate.graphs(activity).unwrap().unwrap();
                is(6, graphs.get(Category::Activations));
                is(7, graphs.get(Category::Logits));
            }
        }
    }
}

#[test]
fn the_worked_example_is_what_is_predicted() {
    let (model, method) = (llama_2_7b(), Method::ppo(&Placement::hydra_ppo()));
    let lora = LoraShape { rank: 128, ..LoraShape::default() };
    let uniform = Workload::uniform(32, 256, 256).in_dtype(Dtype::Bf16);
    let workload = Workload { score_batch: 8, micro_batch: 2, ..uniform };
    let profile = bare();
    let estimate = Estimate::new(&method, &model, &lora, &workload, &profile).unwrap();
    let (placement, update) = (Placement::hydra_ppo(), &method.activities[2]);
    let terms = Terms::new(&placement, &model.shape, &lora, &workload).unwrap();
    let graphs = estimate.graphs(update).unwrap().unwrap();
    let block = kept_by_block(&model.shape, 2, 512, false, Some(&lora)).unwrap();
    let prediction = estimate.predict().unwrap();
    let total = |phase| prediction.get(phase).unwrap().total();
    let mut expected = BTreeMap::from([
        ("weights", terms.weights().unwrap()),
        ("adapters", terms.adapters().unwrap()),
        ("scalar heads", terms.heads().unwrap()),
        ("optimizer", terms.optimizer().unwrap()),
        ("cache", terms.kv_cache().unwrap()),
        ("experience", terms.experience(method.experience).unwrap()),
        ("gradients", terms.gradients().unwrap()),
        ("one block's graph", bytes(&block, 2)),
        ("activations of both graphs", graphs.get(Category::Activations)),
        ("logits of the graphs", graphs.get(Category::Logits)),
        ("peak", prediction.peak().unwrap().1.total()),
    ]);
    expected.extend(PhaseName::ALL.map(|phase| (phase.name(), total(phase))));
    let rows = table("## A worked example", "what");
    let written = |cell: &str| cell.replace(',', "").parse().unwrap();
    let written: BTreeMap<&str, u64> = rows.iter().map(|r| (r[0], written(r[2]))).collect();
    assert_eq!(written, expected);
}

#[test]
fn the_constants_are_those_of_the_profile() {
    let rows = table("## The backend's constants", "constant");
    let written: Vec<u64> = rows.iter().map(|r| r[1].replace(',', "").parse().unwrap()).collect();
    let Packing { tile_rows, tile_columns, lanes, .. } = Packing::avx512(1);
    let Bookkeeping { frozen, trained, state, gradient, operation, record } = Bookkeeping::burn();
    let kept = [frozen, trained, state, gradient, operation, record];
    assert_eq!(written, [&[tile_rows, tile_columns, lanes][..], &kept].concat());
}
