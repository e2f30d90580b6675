//! One row a situation: `| input | situation | expected | got |`.

/// Prints a row and fails where the two differ.
pub(crate) fn equal<T: PartialEq + std::fmt::Debug>(
    input: &str,
    situation: &str,
    expected: T,
    got: T,
) {
    let verdict = if expected == got { "right" } else { "WRONG" };
    println!("| {input} | {situation} | {expected:?} | {got:?} | {verdict} |");
    assert_eq!(expected, got, "{input}: {situation}");
}

/// Prints a row and fails where two numbers are further apart than `within`.
pub(crate) fn close(input: &str, situation: &str, expected: f64, got: f64, within: f64) {
    let right = (expected - got).abs() <= within;
    let verdict = if right { "right" } else { "WRONG" };
    println!("| {input} | {situation} | {expected} | {got} | {verdict} |");
    assert!(right, "{input}: {situation}: expected {expected} ± {within}, got {got}");
}

/// Prints a row and fails where a text lacks one of the words that it must name.
pub(crate) fn names(input: &str, situation: &str, words: &[&str], text: &str) {
    let missing: Vec<&&str> = words.iter().filter(|w| !text.contains(**w)).collect();
    let verdict = if missing.is_empty() { "right" } else { "WRONG" };
    let first = text.lines().next().unwrap_or_default();
    println!("| {input} | {situation} | names {words:?} | {first} | {verdict} |");
    assert!(missing.is_empty(), "{input}: {situation}: {missing:?} missing in {text}");
}
