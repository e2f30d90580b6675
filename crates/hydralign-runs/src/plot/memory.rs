use super::axis::Axis;
use super::frame::{
    BOTTOM, FAINT_INK, FILLS, Frame, INK, LEFT, LEGEND_TEXT, RIGHT, below, legend_places, title,
};
use super::stack::{LAYERS, Step, extent, layer_name, spans, stretches};
use super::svg::{self, Anchor};
use crate::{PhaseBytes, RunError};
use hydralign_core::Phase;
use hydralign_memory::format_bytes;

const TITLE: &str = "Memory by phase";
const WIDTH: f64 = 860.0;
/// Height of the data area.
const DATA: f64 = 280.0;
/// Height of a phase's lane above it.
const LANE: f64 = 14.0;
/// A budget that is further above than this would flatten what is drawn.
const VISIBLE_BUDGET: f64 = 3.0;
/// What is narrower than a third of a pixel is not seen.
const PIXEL: f64 = 1.0 / (3.0 * WIDTH);

/// Of what is left over.
const WORKING: &str = "#c8cdd3";
const OUTLINE: &str = "stroke=\"#1f2328\" stroke-width=\"1\" stroke-linejoin=\"round\"";
const BUDGET: &str = "stroke=\"#1f2328\" stroke-width=\"2\" stroke-dasharray=\"7 4\"";

/// The bytes of each phase over time, as an SVG: a stack of areas, one for each category that
/// is held and one for what the phase works with, with a lane for each phase above.
///
/// Bytes stay at the peak of a phase while it lasts, so the upper edge is what a device needs.
/// `budget` is a dashed line; one that is far above the peaks is only named.
///
/// # Errors
/// [`RunError::EmptyPlot`] if there is no record, or none that holds anything.
pub fn plot_memory(records: &[PhaseBytes], budget: Option<u64>) -> Result<String, RunError> {
    let empty = || RunError::EmptyPlot { title: TITLE.to_owned() };
    let (first, last) = extent(records).ok_or_else(empty)?;
    let shortest = (last - first) * PIXEL;
    let steps = stretches(records, shortest);
    let highest = steps.iter().flatten().map(Step::total).max().filter(|&bytes| bytes > 0);
    let highest = highest.ok_or_else(empty)?;
    let plot = MemoryPlot {
        layers: (0..LAYERS).filter(|&layer| has_layer(&steps, layer)).collect(),
        lanes: spans(records, shortest),
        steps,
        unit: unit(highest),
        budget: budget.map(|bytes| (bytes, bytes as f64 <= VISIBLE_BUDGET * highest as f64)),
    };
    plot.draw((first, last), highest).ok_or_else(empty)
}

struct MemoryPlot {
    steps: Vec<Vec<Step>>,
    lanes: Vec<(Phase, Vec<(f64, f64)>)>,
    /// Those that hold anything.
    layers: Vec<usize>,
    unit: (&'static str, f64),
    /// With whether it is near enough to be drawn.
    budget: Option<(u64, bool)>,
}

impl MemoryPlot {
    fn draw(&self, (first, last): (f64, f64), highest: u64) -> Option<String> {
        let names = self.names();
        let legend = legend_places(names.iter().map(String::as_str), WIDTH);
        let lanes = below(&legend);
        let top = lanes + LANE * self.lanes.len() as f64 + 4.0;
        let drawn = self.budget.filter(|(_, near)| *near).map_or(0, |(bytes, _)| bytes);
        // The moments before the first phase are empty: begin at zero if they take little room.
        let begin = if (0.0..last * 0.1).contains(&first) { 0.0 } else { first };
        let frame = Frame {
            x: Axis::of_steps(&[begin, last])?,
            y: Axis::of_values(&[0.0, self.units(highest.max(drawn))])?,
            width: WIDTH,
            height: top + DATA + BOTTOM,
            top,
        };
        let label = format!("peak memory ({})", self.unit.0);
        let body = title(TITLE)
            + &frame.axes("seconds since the run began", &label)
            + &self.layers.iter().map(|&layer| self.area(&frame, layer)).collect::<String>()
            + &self.outline(&frame)
            + &self.phases(&frame, lanes)
            + &self.budget(&frame)
            + &self.legend(&legend, &names);
        Some(svg::document(WIDTH, frame.height, TITLE, &body))
    }

    fn units(&self, bytes: u64) -> f64 {
        bytes as f64 / self.unit.1
    }

    /// One polygon a stretch: along the upper edge, and back along the lower.
    fn area(&self, frame: &Frame, layer: usize) -> String {
        let style = fill(layer);
        let mut polygons = String::new();
        for steps in &self.steps {
            let upper = self.edge(frame, steps, |step| step.edges(layer).1);
            let lower = self.edge(frame, steps, |step| step.edges(layer).0);
            if upper != lower {
                let outline: Vec<_> = upper.into_iter().chain(lower.into_iter().rev()).collect();
                polygons += &svg::polygon(&outline, &style);
            }
        }
        svg::named(layer_name(layer), &polygons)
    }

    fn edge(&self, frame: &Frame, steps: &[Step], of: impl Fn(&Step) -> u64) -> Vec<(f64, f64)> {
        let ends = |step: &Step| {
            let y = frame.py(self.units(of(step)));
            [(frame.px(step.start), y), (frame.px(step.end), y)]
        };
        steps.iter().flat_map(ends).collect()
    }

    /// The upper edge of all, which also separates light areas from the page.
    fn outline(&self, frame: &Frame) -> String {
        let line =
            |steps: &Vec<Step>| svg::polyline(&self.edge(frame, steps, Step::total), OUTLINE);
        self.steps.iter().map(line).collect()
    }

    fn phases(&self, frame: &Frame, top: f64) -> String {
        let mut out = String::new();
        for (index, (phase, spans)) in self.lanes.iter().enumerate() {
            let y = top + LANE * index as f64;
            let style = format!("{FAINT_INK} font-size=\"11\"");
            out += &svg::text(LEFT - 8.0, y + 9.0, Anchor::End, &style, phase.name());
            for &(start, end) in spans {
                let (from, to) = (frame.px(start), frame.px(end));
                // A phase that took no time is still seen.
                let size = ((to - from).max(0.7), LANE - 5.0);
                out += &svg::rect((from, y + 0.5), size, FAINT_INK);
            }
        }
        out
    }

    fn budget(&self, frame: &Frame) -> String {
        let Some((bytes, true)) = self.budget else { return String::new() };
        let y = frame.py(self.units(bytes));
        svg::line((LEFT, y), (WIDTH - RIGHT, y), BUDGET)
    }

    /// Entries of the legend: the layers from the bottom up, then the budget.
    fn names(&self) -> Vec<String> {
        let layers = self.layers.iter().map(|&layer| layer_name(layer).to_owned());
        let budget = self.budget.map(|(bytes, near)| {
            let where_ = if near { "" } else { " (above)" };
            format!("budget {}{where_}", format_bytes(bytes))
        });
        layers.chain(budget).collect()
    }

    fn legend(&self, places: &[(f64, f64)], names: &[String]) -> String {
        let mut out = String::new();
        for (index, (&(x, y), name)) in places.iter().zip(names).enumerate() {
            out += &match self.layers.get(index) {
                Some(layer) => svg::rect((x, y - 10.0), (22.0, 11.0), &fill(*layer)),
                None => svg::line((x, y - 4.5), (x + 22.0, y - 4.5), BUDGET),
            };
            out += &svg::text(x + LEGEND_TEXT, y, Anchor::Start, INK, name);
        }
        out
    }
}

fn fill(layer: usize) -> String {
    let color = if layer + 1 == LAYERS { WORKING } else { FILLS[layer % FILLS.len()] };
    format!("fill=\"{color}\"")
}

fn has_layer(steps: &[Vec<Step>], layer: usize) -> bool {
    steps.iter().flatten().map(|step| step.edges(layer)).any(|(low, high)| low < high)
}

/// The largest binary unit that a size fills, with its bytes.
fn unit(bytes: u64) -> (&'static str, f64) {
    let units = [("TiB", 1_u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let found = units.into_iter().find(|&(_, size)| bytes >= size).unwrap_or(("bytes", 1));
    (found.0, found.1 as f64)
}
