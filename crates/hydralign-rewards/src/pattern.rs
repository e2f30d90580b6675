use crate::RewardError;
use regex::{Regex, RegexBuilder};

/// Bytes that a compiled pattern may need, and its cache while it searches.
const SIZE_LIMIT: usize = 1 << 20;

/// How a pattern is compiled.
#[derive(Clone, Copy)]
pub(crate) enum Reading {
    /// As the library reads it by default.
    Search,
    /// `.` matches line breaks too, and the match must be the whole text.
    Whole,
}

/// Compiles a pattern under a limit of memory. Its search takes linear time.
pub(crate) fn compile(pattern: &str, reading: Reading) -> Result<Regex, RewardError> {
    let refused = |e: regex::Error| RewardError::Pattern {
        pattern: pattern.to_owned(),
        message: e.to_string(),
    };
    let whole = matches!(reading, Reading::Whole);
    // Alone first: `a)|(b` would slip out of the group that makes the match a whole one.
    let alone = build(pattern, whole).map_err(refused)?;
    if whole { build(&format!(r"\A(?:{pattern})\z"), whole).map_err(refused) } else { Ok(alone) }
}

fn build(pattern: &str, dot_matches_new_line: bool) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern)
        .dot_matches_new_line(dot_matches_new_line)
        .size_limit(SIZE_LIMIT)
        .dfa_size_limit(SIZE_LIMIT)
        .build()
}
