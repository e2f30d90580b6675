//! The plot of memory over time: areas that add up, lanes, gaps, budgets, and what cannot be drawn.

use hydralign_core::Phase;
use hydralign_memory::Category;
use hydralign_runs::{PhaseBytes, plot_memory};
use std::collections::BTreeMap;

const MIB: u64 = 1 << 20;

type Point = (f64, f64);

fn record(phase: Phase, start: f64, end: f64, peak: u64, held: &[(Category, u64)]) -> PhaseBytes {
    let held: BTreeMap<Category, u64> = held.iter().map(|&(c, mib)| (c, mib * MIB)).collect();
    let peak = peak * MIB;
    PhaseBytes { phase, start, end, live_before: 0, live_after: 0, peak, held }
}

/// Two iterations; the optimizer is there after the first.
fn run() -> Vec<PhaseBytes> {
    let before = [(Category::Weights, 40), (Category::Adapters, 10)];
    let after = [before[0], before[1], (Category::Optimizer, 20)];
    vec![
        record(Phase::Generate, 0.0, 4.0, 70, &before),
        record(Phase::Score, 4.0, 5.0, 60, &before),
        record(Phase::Update, 5.0, 10.0, 160, &before),
        record(Phase::Generate, 10.0, 14.0, 90, &after),
        record(Phase::Score, 14.0, 15.0, 80, &after),
        record(Phase::Update, 15.0, 20.0, 160, &after),
    ]
}

/// Elements with their attributes and text, checked for balance: enough of XML for these files.
fn elements(svg: &str) -> Vec<(String, BTreeMap<String, String>, String)> {
    let (mut open, mut found): (Vec<String>, Vec<_>) = (Vec::new(), Vec::new());
    for part in svg.split('<').skip(1) {
        let (tag, text) = part.split_once('>').expect("every tag is closed");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "{svg}");
            continue;
        }
        let name = tag.split([' ', '/']).next().unwrap().to_owned();
        let mut quoted = tag.split('"');
        let mut attributes = BTreeMap::new();
        while let (Some(key), Some(value)) = (quoted.next(), quoted.next()) {
            let key = key.trim_end_matches('=').rsplit(' ').next().unwrap();
            attributes.insert(key.to_owned(), value.to_owned());
        }
        if !tag.ends_with('/') {
            open.push(name.clone());
        }
        found.push((name, attributes, text.to_owned()));
    }
    assert!(open.is_empty(), "{open:?} stays open");
    found
}

fn points(text: &str) -> Vec<Point> {
    let number = |text: &str| text.parse::<f64>().unwrap();
    let pair = |text: &str| text.split_once(',').map(|(x, y)| (number(x), number(y))).unwrap();
    text.split(' ').map(pair).collect()
}

/// The polygons of each named area, from the bottom of the stack up.
fn areas(svg: &str) -> Vec<(String, Vec<Vec<Point>>)> {
    let mut found: Vec<(String, Vec<Vec<Point>>)> = Vec::new();
    // The first title is that of the whole image.
    for (name, attributes, text) in elements(svg).into_iter().skip(2) {
        match name.as_str() {
            "title" => found.push((text, Vec::new())),
            "polygon" => found.last_mut().unwrap().1.push(points(&attributes["points"])),
            _ => {}
        }
    }
    found
}

/// Where the vertical line at `x` enters and leaves a polygon of horizontal and vertical edges:
/// larger numbers are further down.
fn cut(polygons: &[Vec<Point>], x: f64) -> Option<(f64, f64)> {
    let crossed = polygons.iter().flat_map(|polygon| {
        let next = polygon.iter().cycle().skip(1);
        let edges = polygon.iter().zip(next);
        edges.filter(|(a, b)| a.0.min(b.0) < x && x < a.0.max(b.0)).map(|(a, _)| a.1)
    });
    let ys: Vec<f64> = crossed.collect();
    Some((ys.iter().copied().reduce(f64::max)?, ys.iter().copied().reduce(f64::min)?))
}

/// Pixels of a tick's label on an axis: `x` of those below the plot, `y` of those beside it.
fn tick(svg: &str, label: &str, axis: &str) -> f64 {
    let anchor = if axis == "x" { "middle" } else { "end" };
    let is = |(name, attributes, text): &(String, BTreeMap<String, String>, String)| {
        name == "text" && text == label && attributes["text-anchor"] == anchor
    };
    elements(svg).iter().find(|e| is(e)).expect("the tick is there").1[axis].parse().unwrap()
}

#[test]
fn areas_stack_without_gaps_to_the_peak_of_each_phase() {
    let svg = plot_memory(&run(), None).unwrap();
    // Two ticks of each axis say how pixels and values belong together.
    let x_at = |seconds: f64| {
        let (zero, ten) = (tick(&svg, "0", "x"), tick(&svg, "10", "x"));
        zero + (ten - zero) * seconds / 10.0
    };
    let per_mib = (tick(&svg, "0", "y") - tick(&svg, "100", "y")) / 100.0;
    let areas = areas(&svg);
    let names: Vec<&str> = areas.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["weights", "adapters", "optimizer", "working"]);
    for (seconds, expected) in [
        (2.0, [40.0, 10.0, 0.0, 20.0]),
        (4.5, [40.0, 10.0, 0.0, 10.0]),
        (7.0, [40.0, 10.0, 0.0, 110.0]),
        (12.0, [40.0, 10.0, 20.0, 20.0]),
        (19.0, [40.0, 10.0, 20.0, 90.0]),
    ] {
        let mut below = tick(&svg, "0", "y") - 4.5; // a label's line is below its middle
        for ((name, polygons), expected) in areas.iter().zip(expected) {
            let (bottom, top) = cut(polygons, x_at(seconds)).unwrap_or((below, below));
            assert!((bottom - below).abs() < 0.02, "{name} at {seconds} s begins at {bottom}");
            let height = (bottom - top) / per_mib;
            assert!((height - expected).abs() < 0.05, "{name} at {seconds} s: {height} MiB");
            below = top;
        }
    }
    assert!(svg.contains(">peak memory (MiB)<"), "{svg}");
}

#[test]
fn phases_have_lanes_and_gaps_stay_empty() {
    let mut records = run();
    records.drain(2..4); // 5 s to 14 s
    let svg = plot_memory(&records, None).unwrap();
    for (name, polygons) in areas(&svg) {
        let expected = if name == "optimizer" { 1 } else { 2 };
        assert_eq!(polygons.len(), expected, "{name}");
    }
    let all = elements(&svg);
    let lane = |name: &str| {
        let is = |e: &&(String, BTreeMap<String, String>, String)| e.0 == "text" && e.2 == name;
        all.iter().find(is).map(|(_, attributes, _)| attributes["y"].parse::<f64>().unwrap())
    };
    let (generate, score, update) = (lane("generate"), lane("score"), lane("update"));
    assert!(generate < score && score < update && generate.is_some(), "in the phases' order");
    assert_eq!(lane("evaluate"), None);
    // Below the legend and above the data.
    let top = areas(&svg).iter().flat_map(|(_, p)| p.concat()).map(|p| p.1).reduce(f64::min);
    assert!(update < top && lane("weights") < generate);
}

#[test]
fn a_budget_is_a_line_where_it_can_be_seen() {
    let dashes = |svg: &str| svg.matches("stroke-dasharray").count();
    let near = plot_memory(&run(), Some(200 * MIB)).unwrap();
    assert_eq!(dashes(&near), 2, "the line and its legend");
    assert!(near.contains(">budget 200.00 MiB<"), "{near}");
    let y = |svg: &str| -> f64 {
        let all = elements(svg);
        let long = all.iter().find(|(name, a, _)| {
            name == "line" && a.contains_key("stroke-dasharray") && a["x1"] == "74.00"
        });
        long.expect("the line is there").1["y1"].parse().unwrap()
    };
    assert!((y(&near) - (tick(&near, "200", "y") - 4.5)).abs() < 0.02);
    let far = plot_memory(&run(), Some(16 << 30)).unwrap();
    assert_eq!(dashes(&far), 1, "only the legend");
    assert!(far.contains(">budget 16.00 GiB (above)<"), "{far}");
    let heights =
        |svg: &str| areas(svg).into_iter().map(|(_, polygons)| polygons).collect::<Vec<_>>();
    let none = plot_memory(&run(), None).unwrap();
    let span = |svg: &str| tick(svg, "0", "y") - tick(svg, "100", "y");
    assert_eq!(span(&far), span(&none), "the areas keep their height");
    assert_eq!(heights(&far).len(), heights(&none).len());
    assert!(span(&near) < span(&none));
}

#[test]
fn long_runs_stay_small_and_keep_their_peaks() {
    let iteration = |i: u32| {
        let start = f64::from(i) * 0.3;
        let peak = if i == 7_000 { 5000 } else { 100 + u64::from(i % 3) };
        [
            record(Phase::Generate, start, start + 0.1, 60, &[(Category::Weights, 50)]),
            record(Phase::Update, start + 0.1, start + 0.3, peak, &[(Category::Weights, 50)]),
        ]
    };
    let records: Vec<PhaseBytes> = (0..20_000).flat_map(iteration).collect();
    let svg = plot_memory(&records, None).unwrap();
    assert!(svg.len() < 400_000, "{} bytes", svg.len());
    let working = &areas(&svg)[1].1;
    let top = working.concat().into_iter().map(|p| p.1).reduce(f64::min).unwrap();
    let per_gib = tick(&svg, "0", "y") - tick(&svg, "1", "y");
    let height = (tick(&svg, "0", "y") - 4.5 - top) / per_gib;
    assert!((height - 5000.0 / 1024.0).abs() < 0.01, "{height} GiB");
}

#[test]
fn strange_records_are_drawn_inside_and_nothing_is_an_error() {
    let error = |records: &[PhaseBytes]| plot_memory(records, None).unwrap_err().to_string();
    let expected = "plot `Memory by phase` has no finite point to draw";
    assert_eq!(error(&[]), expected);
    assert_eq!(error(&[record(Phase::Score, 0.0, 1.0, 0, &[])]), expected);
    assert_eq!(error(&[record(Phase::Score, f64::NAN, 1.0, 5, &[])]), expected);
    let mut huge = record(Phase::Update, 1.0, 2.0, 1, &[(Category::Weights, 3)]);
    huge.held.insert(Category::Optimizer, u64::MAX);
    let cases = [
        vec![record(Phase::Update, 3.0, 3.0, 1, &[])],
        vec![huge.clone(), huge],
        vec![record(Phase::Score, -1e300, 1e300, 1, &[]), record(Phase::Score, 0.0, 1.0, 2, &[])],
        vec![record(Phase::Score, 5.0, 9.0, 1, &[]), record(Phase::Update, 0.0, 7.0, 2, &[])],
    ];
    for records in cases {
        let svg = plot_memory(&records, Some(u64::MAX)).unwrap();
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{records:?}: {svg}");
        let all = areas(&svg).into_iter().flat_map(|(_, polygons)| polygons.concat());
        for (x, y) in all {
            assert!(
                (74.0..=838.0).contains(&x) && (0.0..=500.0).contains(&y),
                "{records:?} {x} {y}"
            );
        }
    }
}
