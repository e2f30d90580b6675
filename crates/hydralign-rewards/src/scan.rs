//! Numbers in plain text, from left to right.

use crate::Number;

/// What has digits: a number, or a date, a power, a division by zero.
pub(crate) struct Found {
    /// Where it begins, sign and currency included.
    pub(crate) start: usize,
    /// None for what is no number that can be compared.
    pub(crate) number: Option<Number>,
}

/// All numbers of a text. Exponents and indices are parts of others and no numbers.
pub(crate) fn numbers(text: &str) -> impl Iterator<Item = Found> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let first = first_digit(text, at)?;
            let quantity = quantity(text, first);
            at = quantity.end;
            if !is_script(&text[..first]) {
                return Some(quantity.found(text, first));
            }
        }
    })
}

/// The next digit, or the point before it: `.5` is a number, the `.15` of 3.14.15 is not.
fn first_digit(text: &str, at: usize) -> Option<usize> {
    let digit = at + text[at..].find(|c: char| c.is_ascii_digit())?;
    let before = &text[..digit];
    let whole = before.strip_suffix('.').filter(|whole| !whole.ends_with(is_digit_or_point));
    Some(whole.map_or(digit, str::len))
}

fn is_digit_or_point(c: char) -> bool {
    c.is_ascii_digit() || c == '.'
}

/// Whether what follows is raised or lowered, as in cm^2, x_1, 10^{-5} and 10**5.
fn is_script(before: &str) -> bool {
    let before = before.strip_suffix('-').unwrap_or(before);
    let before = before.strip_suffix('{').unwrap_or(before);
    // Markdown writes _42_ and **42**: a script has something to stand at.
    let stands = |c: char| c.is_alphanumeric() || c == '}' || c == ')';
    let script = before.strip_suffix(['^', '_']).is_some_and(|base| base.ends_with(stands));
    script || before.strip_suffix("**").is_some_and(|base| base.ends_with(is_digit_or_point))
}

/// Digits with what belongs to them on the right: a decimal, a fraction or a mixed number.
struct Quantity {
    end: usize,
    value: Option<f64>,
}

impl Quantity {
    fn found(&self, text: &str, first: usize) -> Found {
        let (start, negative) = sign(&text[..first]);
        let (before, after) = (&text[..start], &text[self.end..]);
        let percent = after.strip_prefix(' ').unwrap_or(after).starts_with('%');
        let comparable = !is_power(after) && !is_factor(before, after);
        let value = self.value.filter(|_| comparable);
        let signed = value.map(|value| if negative { -value } else { value });
        Found { start, number: signed.map(|value| Number::new(value, percent)) }
    }
}

/// Where sign and currency begin, and whether the sign is a minus: `-$5`, `$-5`, but not the
/// hyphen of `10-5` and `GPT-4`.
fn sign(before: &str) -> (usize, bool) {
    let currency = ['$', '€', '£'];
    let bare = before.strip_suffix(currency).unwrap_or(before);
    let Some(left) = bare.strip_suffix(['-', '+']) else {
        return (bare.len(), false);
    };
    let operator = |c: char| c.is_alphanumeric() || ")]}%_.-+/".contains(c);
    if left.ends_with(operator) {
        return (bare.len(), false);
    }
    (left.strip_suffix(currency).unwrap_or(left).len(), bare.ends_with('-'))
}

fn is_power(after: &str) -> bool {
    after.starts_with('^') || after.starts_with("**") && after[2..].starts_with(is_digit_or_point)
}

/// Whether a root or π makes another number of it.
fn is_factor(before: &str, after: &str) -> bool {
    let rooted = [r"\sqrt{", r"\sqrt", "√", "√("].iter().any(|root| before.ends_with(root));
    let after = after.trim_start_matches([' ', '*', '·']);
    rooted || [r"\sqrt", r"\pi", "√", "π"].iter().any(|factor| after.starts_with(factor))
}

fn quantity(text: &str, first: usize) -> Quantity {
    let decimal = decimal(text, first);
    if let Some((part, end)) = mixed_part(text, &decimal) {
        return Quantity { end, value: Some(decimal.value + part) };
    }
    let (mut end, mut value) = (decimal.end, Some(decimal.value));
    // Two slashes are a date.
    for divisions in 1.. {
        let Some(divisor) = divisor(text, end) else { break };
        end = divisor.end;
        value = value.filter(|_| divisions == 1).map(|value| value / divisor.value);
    }
    Quantity { end, value: value.filter(|value| value.is_finite()) }
}

/// The 3/4 of `1 3/4`.
fn mixed_part(text: &str, whole: &Decimal) -> Option<(f64, usize)> {
    let start = whole.end + 1;
    if !whole.integer || !text[whole.end..].starts_with(' ') || !digit_at(text, start) {
        return None;
    }
    let numerator = decimal(text, start);
    let denominator = divisor(text, numerator.end)?;
    let proper = numerator.integer && denominator.integer && numerator.value < denominator.value;
    let ends = divisor(text, denominator.end).is_none();
    (proper && ends).then(|| (numerator.value / denominator.value, denominator.end))
}

/// The decimal after a slash.
fn divisor(text: &str, slash: usize) -> Option<Decimal> {
    let divides = text[slash..].starts_with('/') && digit_at(text, slash + 1);
    divides.then(|| decimal(text, slash + 1))
}

struct Decimal {
    value: f64,
    end: usize,
    /// Digits only, without separators.
    integer: bool,
}

/// The decimal whose digits, or whose point, begin there.
fn decimal(text: &str, first: usize) -> Decimal {
    let digits = digits_end(text, first);
    let grouped = groups_end(text, first, digits);
    let point = text[grouped..].starts_with('.') && digit_at(text, grouped + 1);
    let fraction = if point { digits_end(text, grouped + 1) } else { grouped };
    let end = exponent_end(text, fraction).unwrap_or(fraction);
    let plain = text[first..end].replace(',', "");
    // Digits always parse; what is beyond `f64` becomes infinite, which is no number here.
    Decimal { value: plain.parse().unwrap_or(f64::NAN), end, integer: end == digits }
}

fn digit_at(text: &str, at: usize) -> bool {
    text.as_bytes().get(at).is_some_and(u8::is_ascii_digit)
}

fn digits_end(text: &str, from: usize) -> usize {
    text[from..].find(|c: char| !c.is_ascii_digit()).map_or(text.len(), |length| from + length)
}

/// Where groups of exactly three digits after commas end: all of `1,234,567`, but only the first
/// digit of `1,2` and `1,2345`.
fn groups_end(text: &str, first: usize, digits: usize) -> usize {
    let may_lead = (1..=3).contains(&(digits - first)) && !text[first..].starts_with('0');
    let mut end = digits;
    while may_lead && text[end..].starts_with(',') && digits_end(text, end + 1) == end + 4 {
        end += 4;
    }
    end
}

fn exponent_end(text: &str, from: usize) -> Option<usize> {
    let after = text[from..].strip_prefix(['e', 'E'])?;
    let unsigned = after.strip_prefix(['+', '-']).unwrap_or(after);
    let digits = text.len() - unsigned.len();
    let end = digits_end(text, digits);
    let alone = !text[end..].starts_with(char::is_alphanumeric);
    (end > digits && alone).then_some(end)
}
