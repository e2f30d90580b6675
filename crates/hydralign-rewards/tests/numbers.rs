//! Numbers as people and models write them.

use hydralign_rewards::Number;
use proptest::prelude::*;

fn read(text: &str) -> Option<f64> {
    Number::of(text).map(|number| number.value())
}

fn check(cases: &[(&str, f64)]) {
    for (text, expected) in cases {
        assert_eq!(read(text), Some(*expected), "{text:?}");
    }
}

#[test]
fn the_last_number_of_a_text_counts() {
    check(&[
        ("42", 42.0),
        ("The answer is 42.", 42.0),
        ("1. First 7\n2. Then 8 apples!", 8.0),
        ("It costs 5kg, or 5 kg", 5.0),
        ("**42**", 42.0),
        ("_42_", 42.0),
        ("(42)", 42.0),
        ("42...", 42.0),
        ("the 3rd of 007", 7.0),
        ("답은 42입니다", 42.0),
    ]);
}

#[test]
fn signs_are_told_from_hyphens_and_operators() {
    check(&[
        ("-5", -5.0),
        ("x = -5", -5.0),
        ("x=-5", -5.0),
        ("+5", 5.0),
        ("(-5)", -5.0),
        ("\u{2212}5", -5.0),
        ("10-5", 5.0),
        ("10 - 5", 5.0),
        ("10\u{2013}15", 15.0),
        ("GPT-4", 4.0),
        ("2024-05-01", 1.0),
        ("(2)-5", 5.0),
        ("-$5", -5.0),
        ("$-5", -5.0),
        ("US-$5", 5.0),
        ("-0", 0.0),
    ]);
}

#[test]
fn decimals_and_exponents() {
    check(&[
        ("3.25", 3.25),
        ("It is 3.25.", 3.25),
        (".5", 0.5),
        ("-.5", -0.5),
        ("5.", 5.0),
        ("version 3.14.15", 15.0),
        ("1e5", 1e5),
        ("1.5e-3", 1.5e-3),
        ("2E+2", 200.0),
        ("2e", 2.0),
        ("2e3x", 3.0),
        ("0.1 m", 0.1),
    ]);
}

#[test]
fn thousands_are_separated_by_groups_of_three() {
    check(&[
        ("1,234", 1234.0),
        ("$1,234,567.89", 1_234_567.89),
        ("-1,234", -1234.0),
        ("1,234, and so on", 1234.0),
        ("1, 2, 3", 3.0),
        ("1,2", 2.0),
        ("1,2345", 2345.0),
        ("1234,567", 567.0),
        ("0,123", 123.0),
        ("1{,}234", 1234.0),
        (r"1\,234", 1234.0),
    ]);
}

#[test]
fn fractions_and_mixed_numbers() {
    check(&[
        ("3/4", 0.75),
        ("-3/4", -0.75),
        ("a 1 3/4 inch", 1.75),
        ("-1 3/4", -1.75),
        ("1 4/3", 4.0 / 3.0),
        ("1,200/4", 300.0),
        (r"\frac{3}{4}", 0.75),
        (r"$-\dfrac{3}{4}$", -0.75),
        (r"1\frac12", 1.5),
        ("60 km/h", 60.0),
        ("6/3/", 2.0),
    ]);
}

#[test]
fn what_only_contains_a_number_is_none() {
    let texts = [
        "",
        "none at all",
        "-",
        "3/0",
        "0/0",
        "on 3/4/2024",
        "1 3/4/2024",
        "10^5",
        "10^{-5}",
        "3 * 10**5",
        r"\sqrt{2}",
        "√2",
        r"2\pi",
        "2 π",
        r"2\sqrt{3}",
        "1e999",
        "٤٢",
    ];
    for text in texts {
        assert_eq!(read(text), None, "{text:?}");
    }
}

#[test]
fn exponents_of_units_and_indices_are_skipped() {
    check(&[("25 cm^2", 25.0), ("25 cm^{-2}", 25.0), ("5 = x_1", 5.0), ("the _5_ x_{12}", 5.0)]);
}

#[test]
fn marked_answers_win_over_the_last_number() {
    check(&[
        ("3 + 4 = 7\n#### 7\nThat took 5 minutes.", 7.0),
        ("#### -1,234.5 dollars for 3", -1234.5),
        ("####42", 42.0),
        ("#### $42", 42.0),
        ("#### 3/4", 0.75),
        ("#### 1\nNo:\n#### 2", 2.0),
        ("#### Step 1\nso 5", 5.0),
        (r"It is \boxed{42}, as 6 * 7.", 42.0),
        (r"\boxed{1} no, \boxed{2} since 9", 2.0),
        (r"\boxed{\frac{3}{4}} of 9", 0.75),
        (r"\boxed{x = 5} of 9", 5.0),
        (r"\boxed{5 \text{ cm}^2} of 9", 5.0),
        (r"\boxed{1,234} of 9", 1234.0),
        ("#### 1 and \\boxed{2}", 2.0),
        ("\\boxed{2}\n#### 1", 1.0),
        (r"#### \boxed{3} of 9", 3.0),
        (r"so 7, \boxed{3", 3.0),
    ]);
}

#[test]
fn a_marked_answer_that_is_no_number_is_not_replaced_by_another_number() {
    for text in [
        r"\boxed{x} = 7",
        r"\boxed{} 7",
        r"\boxed{1, 2, 3} 7",
        r"\boxed{0,123} 7",
        r"7 #### 3/0",
        r"\boxed{\sqrt{2}} 7",
    ] {
        assert_eq!(read(text), None, "{text:?}");
    }
}

#[test]
fn percent_is_a_share_or_a_count() {
    let equal = |a: &str, b: &str| {
        let (a, b) = (Number::of(a).unwrap(), Number::of(b).unwrap());
        assert_eq!(a.equals(&b, 0.0), b.equals(&a, 0.0));
        a.equals(&b, 0.0)
    };
    for (a, b) in [("50%", "50"), ("50 %", "0.5"), (r"\boxed{50\%}", "1/2"), ("50%", "50.0%")] {
        assert!(equal(a, b), "{a} {b}");
    }
    for (a, b) in [("50%", "0.5%"), ("0.5", "50"), ("50%", "5"), ("50%", "-50")] {
        assert!(!equal(a, b), "{a} {b}");
    }
}

#[test]
fn the_tolerance_is_inclusive_and_absolute() {
    let within = |a: &str, b: &str, tolerance| {
        Number::of(a).unwrap().equals(&Number::of(b).unwrap(), tolerance)
    };
    assert!(within("0.76", "0.75", 0.01));
    assert!(!within("0.7601", "0.75", 0.01));
    assert!(within("0.333", "1/3", 1e-3));
    assert!(!within("0.333", "1/3", 1e-6));
    assert!(!within("1000000", "1000001", 0.5));
    assert!(within("50%", "51%", 1.0) && !within("50%", "70%", 1.0));
    assert!(!within("9007199254740991", "9007199254740992", 0.0));
}

/// An integer with commas, written by another way than the reader reads.
fn with_commas(n: i64) -> String {
    let digits: Vec<char> = n.unsigned_abs().to_string().chars().rev().collect();
    let groups: Vec<String> = digits.chunks(3).map(|group| group.iter().collect()).collect();
    let text: String = groups.join(",").chars().rev().collect();
    if n < 0 { format!("-{text}") } else { text }
}

proptest! {
    #[test]
    fn integers_are_read_as_they_are(n in -(1i64 << 53)..=(1i64 << 53)) {
        prop_assert_eq!(read(&n.to_string()), Some(n as f64));
        prop_assert_eq!(read(&with_commas(n)), Some(n as f64));
        prop_assert_eq!(read(&format!("#### {}", with_commas(n))), Some(n as f64));
        prop_assert_eq!(read(&format!("\\boxed{{{n}}} 7")), Some(n as f64));
    }

    #[test]
    fn decimals_are_read_as_rust_prints_them(x in -1e15f64..1e15, small in -1.0f64..1.0) {
        for x in [x, small, small * 1e-30] {
            prop_assert_eq!(read(&format!("{x}")), Some(x));
            prop_assert_eq!(read(&format!("{x:e}")), Some(x));
            prop_assert_eq!(read(&format!("it is {x}, I think")), Some(x));
        }
    }

    #[test]
    fn reduced_and_expanded_fractions_are_equal(a in -999i32..999, b in 1i32..999, k in 1i32..99) {
        let number = |text: String| Number::of(&text).unwrap();
        let reduced = number(format!("{a}/{b}"));
        let expanded = number(format!("{}/{}", a * k, b * k));
        let typeset = number(format!("\\frac{{{a}}}{{{b}}}"));
        let other = number(format!("{}/{b}", a + 1));
        prop_assert!(reduced.equals(&expanded, 1e-12));
        prop_assert!(reduced.equals(&typeset, 0.0));
        prop_assert!(!reduced.equals(&other, 1e-6));
    }

    #[test]
    fn prose_around_a_number_changes_nothing(
        before in "[a-z ,.!äß漢]{0,20}",
        n in 0u32..100_000,
        after in "[ ,.!?)][a-z ,.!äß漢]{0,20}",
    ) {
        prop_assert_eq!(read(&format!("{before} {n}{after}")), Some(f64::from(n)));
    }

    #[test]
    fn no_text_makes_it_panic_or_gives_what_is_not_finite(
        text in r"([0-9.,/+\-%$^{}_\\ #eE*√π–−]|boxed|frac|sqrt|\\boxed\{|\\frac|####|\PC){0,60}",
    ) {
        prop_assert!(read(&text).is_none_or(f64::is_finite));
    }
}
