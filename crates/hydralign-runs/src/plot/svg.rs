use crate::escape::escape;

/// Where a text hangs on its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// Text size in pixels.
pub(super) const FONT: f64 = 13.0;

/// A whole image: white background, because a page behind it may be dark.
pub(super) fn document(width: f64, height: f64, title: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" font-size=\"{FONT}\" \
         font-family=\"system-ui, 'Segoe UI', 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif\">\n\
         <title>{title}</title>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n{body}</svg>\n"
    )
}

pub(super) fn text(x: f64, y: f64, anchor: Anchor, style: &str, text: &str) -> String {
    let anchor = match anchor {
        Anchor::Start => "start",
        Anchor::Middle => "middle",
        Anchor::End => "end",
    };
    let text = escape(text);
    format!("<text x=\"{x:.2}\" y=\"{y:.2}\" text-anchor=\"{anchor}\" {style}>{text}</text>\n")
}

pub(super) fn line(from: (f64, f64), to: (f64, f64), style: &str) -> String {
    let ((x1, y1), (x2, y2)) = (from, to);
    format!("<line x1=\"{x1:.2}\" y1=\"{y1:.2}\" x2=\"{x2:.2}\" y2=\"{y2:.2}\" {style}/>\n")
}

pub(super) fn polyline(points: &[(f64, f64)], style: &str) -> String {
    format!("<polyline points=\"{}\" fill=\"none\" {style}/>\n", coordinates(points))
}

pub(super) fn polygon(points: &[(f64, f64)], style: &str) -> String {
    format!("<polygon points=\"{}\" {style}/>\n", coordinates(points))
}

pub(super) fn rect((x, y): (f64, f64), (width, height): (f64, f64), style: &str) -> String {
    format!(
        "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" height=\"{height:.2}\" {style}/>\n"
    )
}

/// A group with a name, which browsers show under the pointer.
pub(super) fn named(name: &str, body: &str) -> String {
    format!("<g><title>{}</title>\n{body}</g>\n", escape(name))
}

pub(super) fn dot((x, y): (f64, f64), style: &str) -> String {
    format!("<circle cx=\"{x:.2}\" cy=\"{y:.2}\" r=\"3\" {style}/>\n")
}

fn coordinates(points: &[(f64, f64)]) -> String {
    let pairs: Vec<String> = points.iter().map(|(x, y)| format!("{x:.2},{y:.2}")).collect();
    pairs.join(" ")
}

/// Width of a text in pixels, roughly: the exact one depends on the viewer's fonts.
pub(super) fn text_width(text: &str) -> f64 {
    text.chars().count() as f64 * FONT * 0.58
}
