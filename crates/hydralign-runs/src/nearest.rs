/// The name among `known` that a misspelt one is most likely meant to be; none where all are far from it.
///
/// The distance is the number of letters that are put in, left out or replaced, or of neighbours that are swapped
/// (optimal string alignment); at most a third of the longer name's letters may differ. Hyphen and underscore are
/// one letter.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let letters = |text: &str| -> Vec<char> {
        text.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect()
    };
    let name = letters(name);
    let near = known.into_iter().filter_map(|candidate| {
        let other = letters(candidate);
        let far = distance(&name, &other);
        (3 * far <= name.len().max(other.len())).then_some((far, candidate))
    });
    near.min_by_key(|(far, _)| *far).map(|(_, candidate)| candidate)
}

fn distance(a: &[char], b: &[char]) -> usize {
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            if i == 0 || j == 0 {
                rows[i][j] = i + j;
                continue;
            }
            let other = usize::from(a[i - 1] != b[j - 1]);
            let one = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            let mut least = one.min(rows[i - 1][j - 1] + other);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = least;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_the_papers_example_counts() {
        let of = |a: &str, b: &str| {
            distance(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>())
        };
        assert_eq!(of("kitten", "sitting"), 3);
        assert_eq!(of("ca", "abc"), 3); // 2 where a swapped pair may be changed again
        assert_eq!(of("betta", "beta"), 1);
        assert_eq!(of("baet", "beat"), 1);
        assert_eq!(of("", "abc"), 3);
    }

    #[test]
    fn names_what_is_near_and_nothing_else() {
        let known = ["beta", "lr", "epochs", "max_new_tokens"];
        assert_eq!(nearest("betta", known), Some("beta"));
        assert_eq!(nearest("max-new-token", known), Some("max_new_tokens"));
        assert_eq!(nearest("epcohs", known), Some("epochs"));
        assert_eq!(nearest("placement", known), None);
        assert_eq!(nearest("xy", known), None);
    }
}
