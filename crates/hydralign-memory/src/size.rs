use crate::MemoryError;

/// Units with their bytes: binary ones first, the largest first, as [`format_bytes`] picks them.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// A size for people, in binary units: `12.55 GiB`, `512 B`.
pub fn format_bytes(bytes: u64) -> String {
    match UNITS[..4].iter().find(|(_, size)| bytes >= *size) {
        Some((unit, size)) => format!("{:.2} {unit}", bytes as f64 / *size as f64),
        None => format!("{bytes} B"),
    }
}

/// Reads a size such as `16GiB`, `800 MB`, `1.5 GiB` or `4096` (bytes).
///
/// Units are matched without regard to case: `GB` is 10⁹ bytes, `GiB` is 2³⁰. A fraction of a
/// byte is dropped.
///
/// # Errors
/// [`MemoryError::BadSize`], [`MemoryError::UnknownUnit`], [`MemoryError::Overflow`].
pub fn parse_bytes(text: &str) -> Result<u64, MemoryError> {
    let bad = || MemoryError::BadSize { text: text.to_owned() };
    let trimmed = text.trim();
    let end = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, unit) = (&trimmed[..end], trimmed[end..].trim());
    let size = match unit {
        "" => 1,
        _ => UNITS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit))
            .map(|(_, size)| *size)
            .ok_or_else(|| match number {
                "" => bad(),
                _ => MemoryError::UnknownUnit { text: text.to_owned(), unit: unit.to_owned() },
            })?,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.contains('.') {
        return Err(bad());
    }
    let overflow = MemoryError::Overflow { what: "a size" };
    let whole: u64 = whole.parse().map_err(|_| overflow.clone())?;
    let fraction: f64 = format!("0.{fraction}").parse().map_err(|_| bad())?;
    let whole = whole.checked_mul(size).ok_or_else(|| overflow.clone())?;
    whole.checked_add((fraction * size as f64) as u64).ok_or(overflow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_both_kinds_of_unit() {
        let cases = [
            ("4096", 4096),
            ("16GiB", 17_179_869_184),
            ("800MB", 800_000_000),
            ("800 mb", 800_000_000),
            (" 1.5 GiB ", 1_610_612_736),
            ("0.5KiB", 512),
            ("3.9B", 3),
            ("2TB", 2_000_000_000_000),
            ("1KB", 1000),
            ("0", 0),
            ("18446744073709551615", u64::MAX),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn faults_are_told_apart() {
        for text in ["", "GiB", ".5GB", "1.GB", "1.2.3", "-1", "much", "NaN", "."] {
            let error = parse_bytes(text).unwrap_err();
            assert!(matches!(error, MemoryError::BadSize { .. }), "{text}: {error}");
        }
        for text in ["16G", "1 GiBs", "5e9", "1,5GB", "7 мегабайт", "1\u{a0}x"] {
            let error = parse_bytes(text).unwrap_err();
            assert!(matches!(error, MemoryError::UnknownUnit { .. }), "{text}: {error}");
        }
        for text in ["18446744073709551616", "17000000000000000000 TiB", "99999999999999999999999"]
        {
            let error = parse_bytes(text).unwrap_err();
            assert!(matches!(error, MemoryError::Overflow { .. }), "{text}: {error}");
        }
    }

    #[test]
    fn sizes_are_written_in_the_largest_binary_unit_that_fits() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1_610_612_736, "1.50 GiB"),
            (1 << 45, "32.00 TiB"),
            (u64::MAX, "16777216.00 TiB"),
            // Llama-7B in 16 bits, as in the memory table of LOMO (arXiv 2306.09782).
            (2 * 6_738_415_616, "12.55 GiB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(format_bytes(bytes), text);
        }
    }
}
