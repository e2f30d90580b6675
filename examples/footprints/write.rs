//! The rows as Markdown for people, as comma-separated values for programs and as a picture.

use super::{CARDS, ModelRows, Question, Row};
use anyhow::Result;
use hydralign::memory::Category;
use hydralign::runs::{Bar, BarGroup, Cell, StackedBars, Table};

/// Columns of the Markdown table, with the categories that they count.
const COLUMNS: [(&str, &[Category]); 9] = [
    ("weights", &[Category::Weights]),
    ("adapters", &[Category::Adapters]),
    ("gradients", &[Category::Gradients]),
    ("optimizer", &[Category::Optimizer]),
    ("activations", &[Category::Activations]),
    ("workspace", &[Category::Workspace]),
    ("logits", &[Category::Logits]),
    ("cache", &[Category::KvCache]),
    ("other", &[Category::Heads, Category::Experience, Category::Bookkeeping]),
];

fn gigabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

/// One table a model, below a line on what was asked.
///
/// # Errors
/// Never in practice: rows have as many cells as there are headers.
pub fn markdown(question: &Question, models: &[ModelRows]) -> Result<String> {
    let mut text = legend(question);
    for model in models {
        let millions = (model.parameters as f64 / 1e6).round();
        text += &format!("\n## {}, {millions} million parameters\n\n", model.model);
        text += &table(model)?.to_markdown();
    }
    Ok(text)
}

fn legend(question: &Question) -> String {
    let w = &question.workload;
    let rows = if question.every_phase { "Every phase" } else { "The largest phase" };
    format!(
        "{rows} of each method, in GB (10⁹ bytes, as cards are sold): {} + {} tokens, batches of {}, \
         micro-batches of {}.\nFrozen weights, activations and cache are in {}, trained weights and \
         their gradients in {}; adapters have rank {}.\nWhat is counted are items (episodes, rows or pairs), \
         as many in a pass that samples or reads as in one that learns.\n\"In 16 GB\" is the largest \
         micro-batch that fits, up to the batch; – where not one item does. TFLOP (10¹² operations)\nand \
         trunk passes are those of one item, with one epoch of learning.\n",
        w.prompt_tokens,
        w.response_tokens,
        w.batch,
        w.micro_batch,
        w.frozen_dtype.name(),
        w.trained_dtype.name(),
        question.lora.rank,
    )
}

fn table(model: &ModelRows) -> Result<Table> {
    let cards = CARDS.map(|card| format!("in {card} GB"));
    let mut headers = vec!["method", "phase"];
    headers.extend(COLUMNS.map(|(name, _)| name));
    headers.push("total");
    headers.extend(cards.iter().map(String::as_str));
    headers.extend(["TFLOP", "passes"]);
    let mut table = Table::new(&headers);
    for row in &model.rows {
        let mut cells = vec![Cell::text(&row.method), Cell::text(row.phase.name())];
        cells.extend(COLUMNS.map(|(_, categories)| {
            let bytes = categories.iter().map(|&c| row.footprint.get(c)).sum();
            Cell::number(gigabytes(bytes), 2)
        }));
        cells.push(Cell::number(gigabytes(row.footprint.total()), 2));
        cells.extend(row.fits.map(|fits| match fits {
            Some(items) => Cell::count(items as u64),
            None => Cell::text("–").right(),
        }));
        cells.push(Cell::number(row.cost.flops() as f64 / 1e12, 1));
        cells.push(Cell::count(row.cost.passes));
        table.row(cells)?;
    }
    Ok(table)
}

/// One line a row: bytes by category, whether the phase is the largest, the largest micro-batches (0 where
/// nothing fits), operations and passes.
///
/// # Errors
/// As [`markdown`].
pub fn csv(models: &[ModelRows]) -> Result<String> {
    let cards = CARDS.map(|card| format!("fits_{card}_gb"));
    let mut headers = vec!["model", "method", "phase", "is_peak"];
    headers.extend(Category::ALL.map(Category::name));
    headers.push("total");
    headers.extend(cards.iter().map(String::as_str));
    headers.extend(["generate_flops", "read_flops", "learn_flops", "passes"]);
    let mut table = Table::new(&headers);
    for (model, row) in models.iter().flat_map(|m| m.rows.iter().map(move |row| (m, row))) {
        let mut cells = vec![Cell::text(&model.model), Cell::text(&row.method)];
        cells.extend([Cell::text(row.phase.name()), Cell::text(row.is_peak.to_string())]);
        cells.extend(Category::ALL.map(|category| Cell::count(row.footprint.get(category))));
        cells.push(Cell::count(row.footprint.total()));
        cells.extend(row.fits.map(|fits| Cell::count(fits.unwrap_or(0) as u64)));
        let cost = row.cost;
        cells.extend([cost.generate, cost.read, cost.learn, cost.passes].map(Cell::count));
        table.row(cells)?;
    }
    Ok(table.to_csv())
}

/// A bar a row, in a group for each model.
///
/// # Errors
/// A plot without bars.
pub fn svg(question: &Question, models: &[ModelRows]) -> Result<String> {
    let bar = |row: &Row| {
        let phase = format!("{}, {}", row.method, row.phase);
        let name = if question.every_phase { phase } else { row.method.clone() };
        let values = Category::ALL.map(|category| gigabytes(row.footprint.get(category)));
        Bar { name, values: values.to_vec() }
    };
    let group = |model: &ModelRows| BarGroup {
        name: model.model.clone(),
        bars: model.rows.iter().map(bar).collect(),
    };
    let bars = StackedBars {
        title: "Predicted memory by method".to_owned(),
        x_label: "GB".to_owned(),
        parts: Category::ALL.map(|category| category.name().to_owned()).to_vec(),
        groups: models.iter().map(group).collect(),
    };
    Ok(bars.to_svg()?)
}
