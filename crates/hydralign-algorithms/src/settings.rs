use crate::AlgorithmError;

/// Refuses a setting that is out of its range.
pub(crate) fn check(
    ok: bool,
    field: &'static str,
    value: f64,
    expected: &'static str,
) -> Result<(), AlgorithmError> {
    if ok { Ok(()) } else { Err(AlgorithmError::Setting { field, value, expected }) }
}

/// Refuses counts of 0.
pub(crate) fn check_counts(counts: &[(&'static str, usize)]) -> Result<(), AlgorithmError> {
    counts.iter().try_for_each(|&(field, n)| check(n > 0, field, n as f64, "at least 1"))
}

/// Refuses what is not finite and positive.
pub(crate) fn check_positive(field: &'static str, value: f64) -> Result<(), AlgorithmError> {
    check(value.is_finite() && value > 0.0, field, value, "positive")
}

/// Refuses what is not finite and at least 0.
pub(crate) fn check_not_negative(field: &'static str, value: f64) -> Result<(), AlgorithmError> {
    check(value.is_finite() && value >= 0.0, field, value, "not negative")
}
