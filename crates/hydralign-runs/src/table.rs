use crate::RunError;
use crate::escape::escape;

/// How a cell sits in its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers: digits of the same weight stand below each other.
    Right,
}

/// One cell: its text and how it is aligned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    text: String,
    align: Align,
}

impl Cell {
    /// Words.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), align: Align::Left }
    }

    /// A number with that many decimals; a dash if it is not finite.
    pub fn number(value: f64, decimals: usize) -> Self {
        Self { text: number(value, decimals), align: Align::Right }
    }

    /// A whole number.
    pub fn count(value: u64) -> Self {
        Self { text: value.to_string(), align: Align::Right }
    }

    /// `mean ± std`; the mean alone if there is no standard deviation, as of a single seed.
    pub fn mean_std(mean: f64, std: Option<f64>, decimals: usize) -> Self {
        let mean = number(mean, decimals);
        let text = match std {
            Some(std) => format!("{mean} ± {}", number(std, decimals)),
            None => mean,
        };
        Self { text, align: Align::Right }
    }

    /// Words on the right, such as a number with its unit.
    #[must_use]
    pub fn right(mut self) -> Self {
        self.align = Align::Right;
        self
    }
}

fn number(value: f64, decimals: usize) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let text = format!("{value:.decimals$}");
    // A rounded zero has no sign.
    if text.bytes().any(|b| b.is_ascii_digit() && b != b'0') {
        text
    } else {
        text.trim_start_matches('-').to_owned()
    }
}

/// A small table for terminals and Markdown. A character counts as one column wide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    headers: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without rows.
    pub fn new(headers: &[&str]) -> Self {
        Self { headers: headers.iter().map(|&h| h.to_owned()).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`RunError::RowWidth`] if it has not one cell a column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) -> Result<(), RunError> {
        let cells: Vec<Cell> = cells.into_iter().collect();
        let (expected, got) = (self.headers.len(), cells.len());
        if got != expected {
            return Err(RunError::RowWidth { row: self.rows.len(), expected, got });
        }
        self.rows.push(cells);
        Ok(())
    }

    /// Plain text: two spaces between columns, a rule below the headers.
    pub fn to_text(&self) -> String {
        let columns = self.columns(|text| text.to_owned());
        let rule: Vec<String> = columns.iter().map(|c| "-".repeat(c.width)).collect();
        let mut lines = vec![line(&columns, 0, "  "), rule.join("  ")];
        lines.extend((1..=self.rows.len()).map(|row| line(&columns, row, "  ")));
        lines.iter().map(|line| line.trim_end().to_owned() + "\n").collect()
    }

    /// A Markdown table, aligned in its source too.
    pub fn to_markdown(&self) -> String {
        let columns = self.columns(|text| text.replace('|', "\\|").replace('\n', " "));
        let rule = |c: &Column| match c.align {
            Align::Left => "-".repeat(c.width),
            Align::Right => "-".repeat(c.width - 1) + ":",
        };
        let rules: Vec<String> = columns.iter().map(rule).collect();
        let mut lines = vec![line(&columns, 0, " | "), rules.join(" | ")];
        lines.extend((1..=self.rows.len()).map(|row| line(&columns, row, " | ")));
        lines.iter().map(|line| format!("| {line} |\n")).collect()
    }

    /// The table as comma-separated values (RFC 4180, lines ended by a line feed alone).
    pub fn to_csv(&self) -> String {
        let field = |text: &str| match text.contains(['"', ',', '\n', '\r']) {
            true => format!("\"{}\"", text.replace('"', "\"\"")),
            false => text.to_owned(),
        };
        let line = |fields: Vec<String>| fields.join(",") + "\n";
        let head = line(self.headers.iter().map(|h| field(h)).collect());
        let rows = self.rows.iter().map(|r| line(r.iter().map(|c| field(&c.text)).collect()));
        std::iter::once(head).chain(rows).collect()
    }

    /// The table as HTML: numbers are of class `number`.
    pub fn to_html(&self) -> String {
        let cell = |tag: &str, text: &str, align: Align| {
            let class = if align == Align::Right { " class=\"number\"" } else { "" };
            format!("<{tag}{class}>{}</{tag}>", escape(text))
        };
        let columns = self.columns(|text| text.to_owned());
        let heads = columns.iter().zip(&self.headers).map(|(c, h)| cell("th", h, c.align));
        let mut html = format!("<table>\n<tr>{}</tr>\n", heads.collect::<String>());
        for row in &self.rows {
            let cells = row.iter().map(|c| cell("td", &c.text, c.align));
            html += &format!("<tr>{}</tr>\n", cells.collect::<String>());
        }
        html + "</table>\n"
    }

    fn columns(&self, escape: impl Fn(&str) -> String) -> Vec<Column> {
        let column = |(index, header): (usize, &String)| {
            let cells = || self.rows.iter().map(move |row| &row[index]);
            let texts: Vec<String> = std::iter::once(header.as_str())
                .chain(cells().map(|cell| cell.text.as_str()))
                .map(&escape)
                .collect();
            let numeric = cells().any(|cell| cell.align == Align::Right);
            Column {
                // Markdown wants three characters in a rule.
                width: texts.iter().map(|t| t.chars().count()).fold(3, usize::max),
                align: if numeric { Align::Right } else { Align::Left },
                cell_align: cells().map(|cell| cell.align).collect(),
                texts,
            }
        };
        self.headers.iter().enumerate().map(column).collect()
    }
}

/// A column with its header first.
struct Column {
    width: usize,
    align: Align,
    cell_align: Vec<Align>,
    texts: Vec<String>,
}

/// One line of the table; line 0 is the header.
fn line(columns: &[Column], row: usize, separator: &str) -> String {
    let cell = |column: &Column| {
        let (text, width) = (&column.texts[row], column.width);
        match row.checked_sub(1).map_or(column.align, |row| column.cell_align[row]) {
            Align::Left => format!("{text:<width$}"),
            Align::Right => format!("{text:>width$}"),
        }
    };
    columns.iter().map(cell).collect::<Vec<_>>().join(separator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_is_escaped_and_numbers_are_marked() {
        let mut table = Table::new(&["method", "a < b"]);
        table.row([Cell::text("x & y"), Cell::number(1.5, 1)]).unwrap();
        let html = table.to_html();
        assert!(html.contains("<th class=\"number\">a &lt; b</th>"), "{html}");
        assert!(html.contains("<td>x &amp; y</td><td class=\"number\">1.5</td>"), "{html}");
    }
}
