use super::axis::Axis;
use super::frame::{AXIS, FAINT_INK, FILLS, GRID, INK, LEGEND_TEXT, below, legend_places, title};
use super::svg::{self, Anchor};
use crate::RunError;

/// One bar: a length for each part of its plot, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bar {
    /// Name on its left.
    pub name: String,
    /// Lengths of the parts; what is not above zero is not drawn.
    pub values: Vec<f64>,
}

/// Bars that are compared with each other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BarGroup {
    /// Title of the group.
    pub name: String,
    /// Its bars, from the top down.
    pub bars: Vec<Bar>,
}

/// Stacked horizontal bars in groups, each group on a scale of its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StackedBars {
    /// Title above the plot.
    pub title: String,
    /// What the bars measure, with the unit.
    pub x_label: String,
    /// What the parts of every bar are, in the order of the legend.
    pub parts: Vec<String>,
    /// The groups, up to three in a row.
    pub groups: Vec<BarGroup>,
}

const WIDTH: f64 = 480.0;
/// Room for the sums at the ends of the bars.
const RIGHT: f64 = 62.0;
/// Above a group's first bar.
const HEAD: f64 = 34.0;
/// Below its last bar.
const FOOT: f64 = 62.0;
/// From bar to bar.
const PITCH: f64 = 19.0;
const THICKNESS: f64 = 13.0;
/// Parts below this share of their group's longest bar cannot be seen: they are neither drawn nor listed.
const THINNEST: f64 = 1e-3;

impl StackedBars {
    /// The plot as a self-contained SVG on white. The sum of each bar is written at its end.
    ///
    /// # Errors
    /// [`RunError::EmptyPlot`] if no bar has a length, [`RunError::BarParts`].
    pub fn to_svg(&self) -> Result<String, RunError> {
        self.check()?;
        let columns = self.groups.len().clamp(1, 3);
        let width = columns as f64 * WIDTH;
        let mut body = title(&self.title);
        let (legend, mut top) = self.legend(width);
        body += &legend;
        for row in self.groups.chunks(columns) {
            for (column, group) in row.iter().enumerate() {
                let drawn = self.group(group);
                let x = column as f64 * WIDTH;
                body += &format!("<g transform=\"translate({x},{top})\">\n{drawn}</g>\n");
            }
            let longest = row.iter().map(|g| g.bars.len()).max().unwrap_or(0);
            top += HEAD + longest as f64 * PITCH + FOOT;
        }
        Ok(svg::document(width, top, &self.title, &body))
    }

    fn check(&self) -> Result<(), RunError> {
        let mut bars = self.groups.iter().flat_map(|g| &g.bars);
        let expected = self.parts.len();
        if let Some(bar) = bars.clone().find(|b| b.values.len() != expected) {
            let (bar, got) = (bar.name.clone(), bar.values.len());
            return Err(RunError::BarParts { bar, expected, got });
        }
        match bars.any(|b| sum(b) > 0.0) {
            true => Ok(()),
            false => Err(RunError::EmptyPlot { title: self.title.clone() }),
        }
    }

    /// Entries for the parts that occur, and where the groups begin below them.
    fn legend(&self, width: f64) -> (String, f64) {
        let occurs = |part: &usize| {
            self.groups.iter().any(|g| g.bars.iter().any(|b| is_seen(b.values[*part], longest(g))))
        };
        let parts: Vec<usize> = (0..self.parts.len()).filter(occurs).collect();
        let places = legend_places(parts.iter().map(|&part| self.parts[part].as_str()), width);
        let mut out = String::new();
        for (part, &(x, y)) in parts.into_iter().zip(&places) {
            out += &svg::rect((x, y - 10.0), (22.0, 11.0), &fill(part));
            out += &svg::text(x + LEGEND_TEXT, y, Anchor::Start, INK, &self.parts[part]);
        }
        (out, below(&places))
    }

    fn group(&self, group: &BarGroup) -> String {
        let names = group.bars.iter().map(|b| svg::text_width(&b.name));
        let left = 20.0 + names.fold(60.0, f64::max).min(WIDTH / 2.0);
        let room = WIDTH - left - RIGHT;
        let longest = longest(group);
        let style = format!("{INK} font-weight=\"600\"");
        let mut out = svg::text(left, 22.0, Anchor::Start, &style, &group.name);
        // There is always an axis: the values are finite.
        let Some(axis) = Axis::of_values(&[0.0, longest]) else { return out };
        let at = |value: f64| left + axis.share(value) * room;
        let bottom = HEAD + group.bars.len() as f64 * PITCH;
        for (tick, label) in axis.ticks() {
            let x = at(tick);
            out += &svg::line((x, HEAD - 4.0), (x, bottom), GRID);
            out += &svg::text(x, bottom + 17.0, Anchor::Middle, FAINT_INK, &label);
        }
        for (index, bar) in group.bars.iter().enumerate() {
            let y = HEAD + index as f64 * PITCH;
            out += &svg::text(left - 8.0, y + 11.0, Anchor::End, INK, &bar.name);
            out += &stack(bar, y, longest, &at);
            let end = at(sum(bar)) + 5.0;
            out += &svg::text(end, y + 11.0, Anchor::Start, FAINT_INK, &short(sum(bar)));
        }
        out += &svg::line((left, HEAD - 4.0), (left, bottom), AXIS);
        let middle = left + room / 2.0;
        out + &svg::text(middle, bottom + 36.0, Anchor::Middle, FAINT_INK, &self.x_label)
    }
}

/// The parts of a bar, end to end.
fn stack(bar: &Bar, y: f64, longest: f64, at: &dyn Fn(f64) -> f64) -> String {
    let (mut from, mut out) = (0.0, String::new());
    for (part, &value) in bar.values.iter().enumerate() {
        let to = from + drawn(value);
        if is_seen(value, longest) {
            out += &svg::rect((at(from), y), (at(to) - at(from), THICKNESS), &fill(part));
        }
        from = to;
    }
    out
}

/// The colour of a part; paler in a second round through the colours.
fn fill(part: usize) -> String {
    let opacity = if part < FILLS.len() { "1" } else { "0.4" };
    format!("fill=\"{}\" fill-opacity=\"{opacity}\"", FILLS[part % FILLS.len()])
}

/// What of a value can be drawn; sums of larger ones would overflow.
fn drawn(value: f64) -> f64 {
    if value.is_finite() { value.clamp(0.0, 1e300) } else { 0.0 }
}

fn is_seen(value: f64, longest: f64) -> bool {
    drawn(value) > longest * THINNEST
}

fn longest(group: &BarGroup) -> f64 {
    group.bars.iter().map(sum).fold(0.0, f64::max)
}

fn sum(bar: &Bar) -> f64 {
    bar.values.iter().copied().map(drawn).sum()
}

/// Three digits that count.
fn short(value: f64) -> String {
    let decimals = match value {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}
