use super::axis::Axis;
use super::svg::{self, Anchor};

pub(super) const INK: &str = "fill=\"#1f2328\"";
pub(super) const FAINT_INK: &str = "fill=\"#59636e\"";
pub(super) const GRID: &str = "stroke=\"#e6e8eb\" stroke-width=\"1\"";
pub(super) const AXIS: &str = "stroke=\"#8c959f\" stroke-width=\"1\"";

/// For areas: Okabe and Ito's colours, a violet, a brown and a teal, in an order in which neighbours also
/// differ in lightness. One for each category of bytes.
pub(super) const FILLS: [&str; 11] = [
    "#0072b2", "#56b4e9", "#000000", "#e69f00", "#d55e00", "#009e73", "#cc79a7", "#f0e442",
    "#8c6bb1", "#7f4f0a", "#8fd3c7",
];

pub(super) const LEFT: f64 = 74.0;
pub(super) const RIGHT: f64 = 22.0;
pub(super) const BOTTOM: f64 = 52.0;
const LEGEND_ROW: f64 = 20.0;
/// Keeps a long number left of the axis.
const SQUEEZED: &str = "textLength=\"64\" lengthAdjust=\"spacingAndGlyphs\"";
/// Between a legend's sample and its text.
pub(super) const LEGEND_TEXT: f64 = 28.0;

/// The data area of a plot: its scales, laid out in a rectangle.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) width: f64,
    pub(super) height: f64,
    /// Upper edge of the data area, below title and legend.
    pub(super) top: f64,
}

impl Frame {
    pub(super) fn px(&self, x: f64) -> f64 {
        LEFT + self.x.share(x) * (self.width - LEFT - RIGHT)
    }

    pub(super) fn py(&self, y: f64) -> f64 {
        self.bottom() - self.y.share(y) * (self.bottom() - self.top)
    }

    fn bottom(&self) -> f64 {
        self.height - BOTTOM
    }

    /// Axes, ticks, grid and labels.
    pub(super) fn axes(&self, x_label: &str, y_label: &str) -> String {
        let (right, bottom) = (self.width - RIGHT, self.bottom());
        let mut out = String::new();
        for (tick, label) in self.y.ticks() {
            let y = self.py(tick);
            out += &svg::line((LEFT, y), (right, y), GRID);
            let style = match svg::text_width(&label) > LEFT - 8.0 {
                true => format!("{FAINT_INK} {SQUEEZED}"),
                false => FAINT_INK.to_owned(),
            };
            out += &svg::text(LEFT - 8.0, y + 4.5, Anchor::End, &style, &label);
        }
        for (tick, label) in self.x.ticks() {
            let x = self.px(tick);
            out += &svg::line((x, bottom), (x, bottom + 5.0), AXIS);
            out += &svg::text(x, bottom + 20.0, Anchor::Middle, FAINT_INK, &label);
        }
        out += &svg::line((LEFT, bottom), (right, bottom), AXIS);
        let middle = f64::midpoint(LEFT, right);
        out += &svg::text(middle, self.height - 12.0, Anchor::Middle, INK, x_label);
        if y_label.is_empty() {
            return out;
        }
        let (x, y) = (18.0, f64::midpoint(self.top, bottom));
        let turned = format!("{INK} transform=\"rotate(-90 {x:.2} {y:.2})\"");
        out + &svg::text(x, y, Anchor::Middle, &turned, y_label)
    }
}

pub(super) fn title(text: &str) -> String {
    let style = format!("{INK} font-size=\"16\" font-weight=\"600\"");
    svg::text(LEFT, 25.0, Anchor::Start, &style, text)
}

/// Where the data area begins below these legend entries.
pub(super) fn below(legend: &[(f64, f64)]) -> f64 {
    legend.last().map_or(42.0, |(_, y)| y + 14.0)
}

/// Where each legend entry begins, row by row below the title.
pub(super) fn legend_places<'a>(
    names: impl Iterator<Item = &'a str>,
    width: f64,
) -> Vec<(f64, f64)> {
    let (mut x, mut y) = (LEFT, 48.0);
    let mut places = Vec::new();
    for name in names {
        let entry = LEGEND_TEXT + svg::text_width(name);
        if x > LEFT && x + entry > width - RIGHT {
            (x, y) = (LEFT, y + LEGEND_ROW);
        }
        places.push((x, y));
        x += entry + 18.0;
    }
    places
}
