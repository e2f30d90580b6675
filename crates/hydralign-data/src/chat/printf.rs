//! Python's `%` formatting, for the filter `format`.

use super::python::{failed, repr, string};
use minijinja::{Error, Value};

/// A conversion: `%`, flags, width, precision and a letter.
#[derive(Default)]
struct Spec {
    flags: String,
    width: usize,
    precision: Option<usize>,
    letter: char,
}

impl Spec {
    fn has(&self, flag: char) -> bool {
        self.flags.contains(flag)
    }
}

/// `format % args`.
pub(super) fn printf(format: &str, args: &[Value]) -> Result<String, Error> {
    let (mut out, mut chars) = (String::new(), format.chars().peekable());
    let mut args = args.iter();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut spec = Spec::default();
        while let Some(flag) = chars.next_if(|c| "-+ 0#".contains(*c)) {
            spec.flags.push(flag);
        }
        spec.width = number(&mut chars)?.unwrap_or(0);
        if chars.next_if_eq(&'.').is_some() {
            spec.precision = Some(number(&mut chars)?.unwrap_or(0));
        }
        spec.letter = chars.next().ok_or_else(|| failed("an incomplete `%`"))?;
        if spec.letter == '%' {
            out.push('%');
            continue;
        }
        let value = args.next().ok_or_else(|| failed("more `%` than values"))?;
        out.push_str(&converted(&spec, value)?);
    }
    match args.next() {
        None => Ok(out),
        Some(_) => Err(failed("more values than `%`")),
    }
}

fn number(chars: &mut std::iter::Peekable<std::str::Chars>) -> Result<Option<usize>, Error> {
    let mut digits = String::new();
    while let Some(digit) = chars.next_if(char::is_ascii_digit) {
        digits.push(digit);
    }
    match digits.len() {
        0 => Ok(None),
        1..=4 => Ok(digits.parse().ok()),
        _ => Err(failed("a width of more than four digits")),
    }
}

fn converted(spec: &Spec, value: &Value) -> Result<String, Error> {
    let (sign, body) = match spec.letter {
        's' | 'r' => (String::new(), text(spec, value)?),
        'd' | 'i' | 'u' | 'x' | 'X' | 'o' => whole(spec, value)?,
        'f' | 'F' => {
            let x = f64::try_from(value.clone()).map_err(|_| failed("`%f` of no number"))?;
            if !x.is_finite() {
                return Err(failed("`%f` of a number that is not finite"));
            }
            let body = format!("{:.*}", spec.precision.unwrap_or(6), x.abs());
            (sign(spec, x.is_sign_negative()), body)
        }
        _ => {
            return Err(failed(
                "only `%s`, `%r`, `%d`, `%i`, `%u`, `%x`, `%X`, `%o` and `%f` are supported",
            ));
        }
    };
    let length = sign.chars().count() + body.chars().count();
    let missing = spec.width.saturating_sub(length);
    let fills = spec.has('0') && !spec.has('-') && !matches!(spec.letter, 's' | 'r');
    Ok(match (spec.has('-'), fills) {
        (true, _) => format!("{sign}{body}{}", " ".repeat(missing)),
        (false, true) => format!("{sign}{}{body}", "0".repeat(missing)),
        (false, false) => format!("{}{sign}{body}", " ".repeat(missing)),
    })
}

fn text(spec: &Spec, value: &Value) -> Result<String, Error> {
    let mut out = String::new();
    match spec.letter {
        's' => out = string(value)?,
        _ => repr(value, &mut out, 0)?,
    }
    Ok(out.chars().take(spec.precision.unwrap_or(usize::MAX)).collect())
}

fn whole(spec: &Spec, value: &Value) -> Result<(String, String), Error> {
    let decimal = matches!(spec.letter, 'd' | 'i' | 'u');
    let float = || f64::try_from(value.clone()).ok().filter(|_| decimal && value.is_number());
    let truth =
        || (value.kind() == minijinja::value::ValueKind::Bool).then(|| i64::from(value.is_true()));
    let cut = || float().filter(|x| x.abs() < 9e15).map(|x| x.trunc() as i64);
    let n = truth().or_else(|| value.as_i64().filter(|_| value.is_integer())).or_else(cut);
    let n = n.ok_or_else(|| failed("a `%` for whole numbers of something else"))?;
    let size = n.unsigned_abs();
    let (mark, digits) = match spec.letter {
        'x' => ("0x", format!("{size:x}")),
        'X' => ("0X", format!("{size:X}")),
        'o' => ("0o", format!("{size:o}")),
        _ => ("", size.to_string()),
    };
    let mark = if spec.has('#') { mark } else { "" };
    let missing = spec.precision.unwrap_or(0).saturating_sub(digits.len());
    Ok((sign(spec, n < 0) + mark, "0".repeat(missing) + &digits))
}

fn sign(spec: &Spec, negative: bool) -> String {
    match negative {
        true => "-",
        false if spec.has('+') => "+",
        false if spec.has(' ') => " ",
        false => "",
    }
    .into()
}
