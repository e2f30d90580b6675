use std::time::Duration;

/// Four significant digits, in scientific notation where plain digits would be unreadable.
pub fn significant(value: f64) -> String {
    if !value.is_finite() || value == 0.0 {
        return value.to_string();
    }
    let exponent = value.abs().log10().floor() as i32;
    if !(-4..6).contains(&exponent) {
        return format!("{value:.3e}");
    }
    format!("{value:.*}", (3 - exponent).max(0) as usize)
}

/// `4.2s`, `3m 07s` or `2h 05m`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 59.95 {
        return format!("{seconds:.1}s");
    }
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, minutes, seconds) => format!("{minutes}m {seconds:02}s"),
        (hours, minutes, _) => format!("{hours}h {minutes:02}m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_four_digits() {
        let cases = [
            (0.0, "0"),
            (0.51234, "0.5123"),
            (-12.3456, "-12.35"),
            (123_456.7, "123457"),
            (0.000_123_456, "0.0001235"),
            (3e-6, "3.000e-6"),
            (1e9, "1.000e9"),
            (f64::NAN, "NaN"),
        ];
        for (value, text) in cases {
            assert_eq!(significant(value), text);
        }
    }

    #[test]
    fn times_read_as_people_say_them() {
        let cases = [(4.23, "4.2s"), (59.96, "1m 00s"), (187.0, "3m 07s"), (7500.0, "2h 05m")];
        for (seconds, text) in cases {
            assert_eq!(duration(Duration::from_secs_f64(seconds)), text);
        }
    }
}
