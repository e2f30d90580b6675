use crate::AdvantageError;

/// log π ≤ 0 up to the rounding of half-precision logits; the placeholders in use are +1
/// (TRL's `INVALID_LOGPROB`).
const LOGPROB_CEILING: f32 = 0.5;

pub(crate) fn same_length(
    (left, left_len): (&'static str, usize),
    (right, right_len): (&'static str, usize),
) -> Result<(), AdvantageError> {
    if left_len == right_len {
        return Ok(());
    }
    Err(AdvantageError::LengthMismatch { left, left_len, right, right_len })
}

pub(crate) fn at_least(
    needed: usize,
    what: &'static str,
    count: usize,
) -> Result<(), AdvantageError> {
    if count >= needed {
        return Ok(());
    }
    Err(AdvantageError::TooFew { what, count, needed })
}

pub(crate) fn finite(what: &'static str, values: &[f32]) -> Result<(), AdvantageError> {
    match values.iter().position(|v| !v.is_finite()) {
        Some(index) => Err(AdvantageError::NonFinite { what, index, value: values[index] }),
        None => Ok(()),
    }
}

pub(crate) fn logprobs(what: &'static str, values: &[f32]) -> Result<(), AdvantageError> {
    finite(what, values)?;
    match values.iter().position(|&v| v > LOGPROB_CEILING) {
        Some(index) => Err(AdvantageError::NotALogprob { what, index, value: values[index] }),
        None => Ok(()),
    }
}

pub(crate) fn unit_interval(name: &'static str, value: f64) -> Result<(), AdvantageError> {
    require((0.0..=1.0).contains(&value), name, value, "between 0 and 1")
}

pub(crate) fn inside_unit_interval(name: &'static str, value: f64) -> Result<(), AdvantageError> {
    require(value > 0.0 && value < 1.0, name, value, "strictly between 0 and 1")
}

pub(crate) fn positive(name: &'static str, value: f64) -> Result<(), AdvantageError> {
    require(value.is_finite() && value > 0.0, name, value, "finite and positive")
}

pub(crate) fn not_negative(name: &'static str, value: f64) -> Result<(), AdvantageError> {
    require(value.is_finite() && value >= 0.0, name, value, "finite and not negative")
}

fn require(
    holds: bool,
    name: &'static str,
    value: f64,
    expected: &'static str,
) -> Result<(), AdvantageError> {
    if holds { Ok(()) } else { Err(AdvantageError::OutOfRange { name, value, expected }) }
}
