//! Stacked bars: what is drawn where, and what cannot be drawn.

use hydralign_runs::{Bar, BarGroup, RunError, StackedBars};

fn bar(name: &str, values: &[f64]) -> Bar {
    Bar { name: name.into(), values: values.to_vec() }
}

fn plot(groups: &[&[Bar]]) -> StackedBars {
    let group =
        |(i, bars): (usize, &&[Bar])| BarGroup { name: format!("g{i}"), bars: bars.to_vec() };
    StackedBars {
        title: "Bytes & more".into(),
        x_label: "GB".into(),
        parts: ["weights", "nothing", "logits"].map(Into::into).to_vec(),
        groups: groups.iter().enumerate().map(group).collect(),
    }
}

/// Left and right edge and colour of every rectangle but the background, the legend's first.
fn rectangles(svg: &str) -> Vec<(f64, f64, &str)> {
    let value = |rest: &'_ str, name: &str| -> f64 {
        let start = rest.find(&format!("{name}=\"")).unwrap() + name.len() + 2;
        rest[start..].split('"').next().unwrap().parse().unwrap()
    };
    svg.split("<rect x=\"")
        .skip(1)
        .map(|rest| {
            let from: f64 = rest.split('"').next().unwrap().parse().unwrap();
            let color = rest.split("fill=\"").nth(1).unwrap().split('"').next().unwrap();
            (from, from + value(rest, "width"), color)
        })
        .collect()
}

#[test]
fn parts_lie_end_to_end_in_proportion_to_their_values() {
    let svg = plot(&[&[bar("a", &[3.0, 1e-4, 1.0]), bar("b", &[0.5, 0.0, 0.0])]]).to_svg().unwrap();
    let [legend @ .., a0, a1, b0] = &rectangles(&svg)[..] else { panic!("{svg}") };
    assert_eq!(legend.len(), 2, "a part that cannot be seen has no entry");
    assert_eq!((legend[0].2, legend[1].2), (a0.2, a1.2));
    assert!(a0.2 == b0.2 && a0.2 != a1.2, "a part has one colour");
    assert!((a0.1 - a1.0).abs() < 0.02 && (a0.0 - b0.0).abs() < 0.02);
    let unit = (a0.1 - a0.0) / 3.0;
    assert!((a1.1 - a1.0 - unit).abs() < 0.05 && (b0.1 - b0.0 - 0.5 * unit).abs() < 0.05);
    for text in [">a</text>", ">4.00</text>", ">0.50</text>", ">g0</text>", ">GB</text>"] {
        assert!(svg.contains(text), "{text}: {svg}");
    }
    assert!(svg.contains(">Bytes &amp; more</text>") && svg.contains("fill=\"#ffffff\""));
}

#[test]
fn groups_have_scales_of_their_own_and_stay_inside() {
    let large = [bar("large", &[2000.0, 0.0, 500.0])];
    let small = [bar("small", &[2.0, 0.0, 0.5])];
    let svg = plot(&[&large, &small, &large, &small]).to_svg().unwrap();
    let found = rectangles(&svg);
    let length = |i: usize| found[i].1 - found[i].0;
    assert!((length(2) - length(4)).abs() < 0.02 && (length(3) - length(5)).abs() < 0.02);
    assert!(svg.contains("width=\"1440\"") && svg.contains(">2500</text>"));
    assert!(found.iter().all(|&(from, to, _)| from >= 0.0 && to <= 480.0), "{found:?}");
    let places: Vec<&str> =
        svg.split("translate(").skip(1).map(|r| r.split_once(')').unwrap().0).collect();
    let [first, .., second_row] = places[..] else { panic!("{places:?}") };
    let (x, y) = second_row.split_once(',').unwrap();
    assert_eq!(x, "0");
    assert!(y.parse::<f64>().unwrap() > first.split_once(',').unwrap().1.parse::<f64>().unwrap());
}

#[test]
fn what_has_no_length_is_not_drawn() {
    let odd = [bar("odd", &[f64::NAN, f64::INFINITY, -1.0]), bar("even", &[1.0, 1e-9, f64::MAX])];
    let svg = plot(&[&odd]).to_svg().unwrap();
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    let empty = plot(&[&[bar("none", &[0.0, -1.0, f64::NAN])]]).to_svg();
    assert!(matches!(empty, Err(RunError::EmptyPlot { .. })));
    assert!(matches!(plot(&[]).to_svg(), Err(RunError::EmptyPlot { .. })));
    let error = plot(&[&[bar("short", &[1.0])]]).to_svg().unwrap_err();
    assert_eq!(error.to_string(), "bar `short` has 1 lengths, but there are 3 parts");
}
