//! Plots: what is drawn, what interrupts a line, and what cannot be drawn.

use hydralign_core::{Observer, Stats};
use hydralign_runs::{
    LinePlot, MetricsFile, PlotSpec, RunError, Series, plot_metrics, read_metrics,
};

fn plot(series: Vec<Series>) -> LinePlot {
    LinePlot { title: "T".into(), x_label: "step".into(), y_label: "score".into(), series }
}

fn steps(n: usize) -> Vec<f64> {
    (1..=n).map(|i| i as f64).collect()
}

/// Points of each element of that name, in pixels.
fn points(svg: &str, element: &str) -> Vec<Vec<(f64, f64)>> {
    let start = format!("<{element} points=\"");
    let number = |text: &str| text.parse::<f64>().unwrap();
    let pair = |text: &str| text.split_once(',').map(|(x, y)| (number(x), number(y))).unwrap();
    svg.split(&start)
        .skip(1)
        .map(|rest| rest[..rest.find('"').unwrap()].split(' ').map(pair).collect())
        .collect()
}

fn count(svg: &str, text: &str) -> usize {
    svg.matches(text).count()
}

#[test]
fn a_line_runs_left_to_right_and_up_for_larger_values() {
    let svg = plot(vec![Series::new("a", steps(3), vec![1.0, 3.0, 2.0])]).to_svg().unwrap();
    let lines = points(&svg, "polyline");
    let [(x1, y1), (x2, y2), (x3, y3)] = lines[0][..] else { panic!("{lines:?}") };
    assert!(x1 < x2 && x2 < x3 && (x2 - x1 - (x3 - x2)).abs() < 0.02);
    assert!(y2 < y3 && y3 < y1, "pixels count downwards");
    assert!((y3 - f64::midpoint(y1, y2)).abs() < 0.02);
    assert_eq!(count(&svg, "<polygon"), 0);
    assert!(svg.contains("fill=\"#ffffff\"") && svg.contains(">step</text>"));
}

#[test]
fn a_value_that_is_not_finite_interrupts_the_line() {
    let y = vec![1.0, 2.0, f64::NAN, 3.0, f64::INFINITY, 1.0, 2.0, 3.0];
    let svg = plot(vec![Series::new("a", steps(8), y)]).to_svg().unwrap();
    let lengths: Vec<usize> = points(&svg, "polyline").iter().map(Vec::len).collect();
    assert_eq!(lengths, [2, 3]);
    assert_eq!(count(&svg, "<circle"), 1, "a lone point is a dot");
    assert!(!svg.contains("NaN") && !svg.contains("inf"));
}

#[test]
fn a_band_surrounds_its_line_and_widens_the_axis() {
    let mut series = Series::new("a", steps(3), vec![1.0, 1.0, 1.0]);
    series.band = Some(vec![0.5, f64::NAN, 10.0]);
    let svg = plot(vec![series.clone()]).to_svg().unwrap();
    let bands = points(&svg, "polygon");
    assert_eq!(bands.len(), 2, "no band where it is not finite");
    let line = points(&svg, "polyline")[0][0];
    let narrow: Vec<f64> = bands[0].iter().map(|p| p.1).collect();
    assert!(narrow[0] > line.1 && narrow[1] < line.1);
    assert!(bands.iter().flatten().all(|p| (0.0..420.0).contains(&p.1)));
    series.band = Some(vec![0.5; 3]);
    let svg = plot(vec![series]).to_svg().unwrap();
    assert_eq!(points(&svg, "polygon")[0].len(), 6);
}

#[test]
fn single_points_constants_and_extremes_are_drawn_inside() {
    let cases = [
        (vec![5.0], vec![0.3]),
        (steps(4), vec![0.0; 4]),
        (steps(4), vec![1e-300; 4]),
        (steps(2), vec![-f64::MAX, f64::MAX]),
        (steps(2), vec![1.0, 1.0 + f64::EPSILON]),
        (vec![-f64::MAX, f64::MAX], vec![0.0, 5e-324]),
    ];
    for (x, y) in cases {
        let place = format!("{x:?} {y:?}");
        let svg = plot(vec![Series::new("a", x, y)]).to_svg().unwrap();
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{place}: {svg}");
        let inside =
            |&(x, y): &(f64, f64)| (74.0..=698.0).contains(&x) && (0.0..=368.0).contains(&y);
        assert!(points(&svg, "polyline").iter().flatten().all(inside), "{place}: {svg}");
    }
}

#[test]
fn a_legend_names_the_series_when_there_are_several() {
    let series = |name: &str| Series::new(name, steps(2), vec![0.0, 1.0]);
    let one = plot(vec![series("only")]).to_svg().unwrap();
    assert!(!one.contains("only"));
    let two = plot(vec![series("a < b & \"c\""), series("J-Hydra-PPO")]).to_svg().unwrap();
    assert!(two.contains(">a &lt; b &amp; &quot;c&quot;</text>") && two.contains(">J-Hydra-PPO<"));
    // Eight lines: the colours repeat, the dashes do not.
    let many: Vec<Series> = (0..8).map(|i| series(&format!("run {i}"))).collect();
    let svg = plot(many).to_svg().unwrap();
    assert_eq!(count(&svg, "stroke-dasharray"), 2, "the line and its legend");
}

#[test]
fn nothing_to_draw_is_an_error_that_names_the_plot() {
    let empty = [vec![], vec![Series::default()], vec![Series::new("a", steps(1), vec![f64::NAN])]];
    for series in empty {
        let error = plot(series).to_svg().unwrap_err();
        assert_eq!(error.to_string(), "plot `T` has no finite point to draw");
    }
    let error = plot(vec![Series::new("a", steps(3), vec![1.0])]).to_svg().unwrap_err();
    assert_eq!(error.to_string(), "series `a`: 3 x values, but 1 y values");
}

#[test]
fn seeds_become_a_mean_and_a_band() {
    let runs = [
        Series::new("0", steps(3), vec![1.0, 5.0, f64::NAN]),
        Series::new("1", steps(2), vec![3.0, 5.0]),
        Series::new("2", steps(3), vec![2.0, 5.0, 7.0]),
    ];
    let series = Series::over_seeds("PPO", &runs).unwrap();
    assert_eq!(series.x, [1.0, 2.0, 3.0]);
    assert_eq!(series.y, [2.0, 5.0, 7.0]);
    let band = series.band.as_ref().unwrap();
    assert_eq!(band[..2], [1.0, 0.0]);
    assert!(band[2].is_nan(), "one seed has no deviation");
    plot(vec![series]).to_svg().unwrap();
    let uneven = [Series::new("0", steps(3), vec![1.0])];
    assert!(matches!(Series::over_seeds("a", &uneven), Err(RunError::SeriesLength { .. })));
}

#[test]
fn metrics_are_drawn_by_stage_and_step() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.jsonl");
    let mut file = MetricsFile::create(&path).unwrap();
    let mut report = |stage: &str, step: usize, values: &[(&str, f64)]| {
        let values = values.iter().map(|&(name, value)| (name.to_owned(), value)).collect();
        file.stats(&Stats { stage: stage.to_owned(), step, steps: 4, values });
    };
    report("sft", 1, &[("score", 100.0)]);
    // The gold score is measured every second step only.
    report("ppo", 1, &[("score", 0.1), ("kl", 0.0)]);
    report("ppo", 2, &[("score", 0.2), ("kl", f64::NAN), ("gold", 1.0)]);
    report("ppo", 3, &[("score", 0.3), ("kl", 0.2)]);
    report("ppo", 4, &[("score", 0.4), ("kl", 0.3), ("gold", 2.0)]);
    file.finish().unwrap();
    let metrics = read_metrics(&path).unwrap();

    let scores = PlotSpec::new("Score", "score", "ppo", &["score", "gold"]);
    let plot = scores.of(&metrics).unwrap();
    assert_eq!(plot.series[0].x, [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(plot.series[0].y, [0.1, 0.2, 0.3, 0.4]);
    assert_eq!((&plot.series[1].x[..], &plot.series[1].y[..]), (&[2.0, 4.0][..], &[1.0, 2.0][..]));

    let kl = PlotSpec::new("KL", "nats", "ppo", &["kl"]);
    let svg = plot_metrics(&metrics, &[scores, kl]).unwrap();
    // Two whole lines, and the KL broken into a dot and a line.
    let lengths: Vec<usize> = points(&svg, "polyline").iter().map(Vec::len).collect();
    assert_eq!(lengths, [4, 2, 2]);
    assert_eq!(count(&svg, "<circle"), 1);
    assert_eq!(count(&svg, "<g transform"), 2);

    let error = plot_metrics(&metrics, &[PlotSpec::new("x", "y", "ppo", &["scor"])]).unwrap_err();
    assert_eq!(error.to_string(), "no step of stage `ppo` reports `scor`");
}
