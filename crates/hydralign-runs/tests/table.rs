//! Tables, as they are read.

use hydralign_runs::{Cell, RunError, Table};

fn table() -> Table {
    let mut table = Table::new(&["method", "score", "MiB"]);
    table
        .row([Cell::text("PPO"), Cell::mean_std(1.234, Some(0.05), 2), Cell::count(1024)])
        .unwrap();
    table
        .row([Cell::text("a|b"), Cell::mean_std(-10.0, None, 2), Cell::text("9.5").right()])
        .unwrap();
    table.row([Cell::text("none"), Cell::number(f64::NAN, 2), Cell::text("n/a")]).unwrap();
    table
}

#[test]
fn plain_text_is_aligned() {
    let expected = "\
method        score   MiB
------  -----------  ----
PPO     1.23 ± 0.05  1024
a|b          -10.00   9.5
none              –  n/a
";
    assert_eq!(table().to_text(), expected);
}

#[test]
fn markdown_is_aligned_and_escaped() {
    let expected = "\
| method |       score |  MiB |
| ------ | ----------: | ---: |
| PPO    | 1.23 ± 0.05 | 1024 |
| a\\|b   |      -10.00 |  9.5 |
| none   |           – | n/a  |
";
    assert_eq!(table().to_markdown(), expected);
}

#[test]
fn a_table_without_rows_still_has_its_headers() {
    let empty = Table::new(&["a", "longer"]);
    assert_eq!(empty.to_text(), "a    longer\n---  ------\n");
    assert_eq!(empty.to_markdown(), "| a   | longer |\n| --- | ------ |\n");
}

#[test]
fn a_rounded_zero_has_no_sign() {
    let mut table = Table::new(&["x"]);
    table.row([Cell::number(-0.0004, 2)]).unwrap();
    table.row([Cell::number(-0.006, 2)]).unwrap();
    assert_eq!(table.to_text(), "    x\n-----\n 0.00\n-0.01\n");
}

#[test]
fn a_row_of_another_width_is_refused() {
    let mut table = table();
    let error = table.row([Cell::text("x")]).unwrap_err();
    assert!(matches!(error, RunError::RowWidth { row: 3, expected: 3, got: 1 }));
    assert_eq!(error.to_string(), "table row 3 has 1 cells, but there are 3 columns");
}

/// RFC 4180, section 2: fields with commas, quotes or line breaks are quoted, quotes doubled.
#[test]
fn comma_separated_values_are_quoted_where_they_must_be() {
    let mut table = Table::new(&["name", "bytes, in all"]);
    table.row([Cell::text("say \"a\"\nb"), Cell::count(7)]).unwrap();
    table.row([Cell::text("plain|text"), Cell::number(0.5, 1)]).unwrap();
    let expected = "name,\"bytes, in all\"\n\"say \"\"a\"\"\nb\",7\nplain|text,0.5\n";
    assert_eq!(table.to_csv(), expected);
}
