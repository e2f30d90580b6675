use crate::{RunError, write_atomic};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Numbers that are expensive to compute, kept in a folder under the name of what they follow from:
/// the reference's log-probabilities of a data set, for one.
///
/// The key must name everything that the numbers follow from. A file that is cut off, damaged, of another
/// key or of another version of this library is computed again and replaced.
#[derive(Clone, Debug)]
pub struct NumberCache {
    folder: PathBuf,
}

/// Whose numbers are taken. The last part goes up whenever the same key may mean other numbers.
const MADE_BY: &str = concat!("hydralign ", env!("CARGO_PKG_VERSION"), ", numbers 2");

/// Where numbers came from and went to.
#[derive(Debug)]
pub enum Cached {
    /// They were there.
    Found,
    /// They were computed and kept.
    Kept,
    /// They were computed, and could not be kept.
    NotKept(RunError),
}

/// What a file holds.
#[derive(Serialize, Deserialize)]
struct Entry {
    made_by: String,
    key: Vec<String>,
    numbers: Vec<f32>,
}

impl NumberCache {
    /// A cache in a folder, which is made when something is kept.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The numbers of a key, from the folder or computed and kept; and which of them it was. A folder that
    /// cannot be written costs the next run its time, and this one nothing.
    ///
    /// A key is a list of fingerprints, such as those of a model and of a data set, and of how the one
    /// reads the other. `count` is how many numbers there must be.
    ///
    /// # Errors
    /// What computing reports.
    pub fn get<E>(
        &self,
        key: &[&str],
        count: usize,
        compute: impl FnOnce() -> Result<Vec<f32>, E>,
    ) -> Result<(Vec<f32>, Cached), E> {
        let path = self.folder.join(file_name(key));
        if let Some(numbers) = read(&path, key).filter(|n| n.len() == count) {
            return Ok((numbers, Cached::Found));
        }
        let numbers = compute()?;
        let key = key.iter().map(|&part| part.to_owned()).collect();
        let entry = Entry { made_by: MADE_BY.to_owned(), key, numbers };
        let text = serde_json::to_string(&entry).unwrap_or_default();
        let kept = std::fs::create_dir_all(&self.folder)
            .map_err(RunError::io("create", &self.folder))
            .and_then(|()| write_atomic(&path, text.as_bytes()));
        Ok((entry.numbers, kept.map_or_else(Cached::NotKept, |()| Cached::Kept)))
    }
}

/// The first digits of each part: the file itself holds the whole key.
fn file_name(key: &[&str]) -> String {
    let part =
        |p: &&str| -> String { p.chars().filter(char::is_ascii_alphanumeric).take(12).collect() };
    format!("{}.json", key.iter().map(part).collect::<Vec<_>>().join("-"))
}

fn read(path: &Path, key: &[&str]) -> Option<Vec<f32>> {
    let text = std::fs::read_to_string(path).ok()?;
    let entry: Entry = serde_json::from_str(&text).ok()?;
    let finite = entry.numbers.iter().all(|n| n.is_finite());
    let mine = finite && entry.made_by == MADE_BY;
    (mine && entry.key.iter().map(String::as_str).eq(key.iter().copied())).then_some(entry.numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBERS: [f32; 3] = [-0.1, -1.0e-30, -123.456_79];

    fn get(cache: &NumberCache, key: &[&str], count: usize) -> (Vec<f32>, bool) {
        let (numbers, from) =
            cache.get(key, count, || Ok::<_, RunError>(NUMBERS.to_vec())).unwrap();
        assert!(!matches!(from, Cached::NotKept(_)));
        (numbers, matches!(from, Cached::Found))
    }

    /// A file stands where the folder should be.
    #[test]
    fn numbers_that_cannot_be_kept_are_numbers() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let cache = NumberCache::new(file.path().join("cache"));
        let numbers = cache.get(&["k"], 3, || Ok::<_, RunError>(NUMBERS.to_vec())).unwrap();
        let (numbers, Cached::NotKept(error)) = numbers else { panic!("kept in a file") };
        assert_eq!(numbers, NUMBERS);
        assert!(error.to_string().contains("cache"), "{error}");
    }

    #[test]
    fn numbers_come_back_bit_by_bit_and_only_for_their_key() {
        let folder = tempfile::tempdir().unwrap();
        let cache = NumberCache::new(folder.path().join("cache"));
        assert_eq!(get(&cache, &["model", "data"], 3), (NUMBERS.to_vec(), false));
        let (again, found) = get(&cache, &["model", "data"], 3);
        assert!(found);
        assert!(again.iter().zip(NUMBERS).all(|(a, b)| a.to_bits() == b.to_bits()));
        for key in [["model2", "data"], ["model", "data2"]] {
            assert!(!get(&cache, &key, 3).1, "{key:?}");
        }
    }

    /// Two keys whose file names agree are still two keys.
    #[test]
    fn the_whole_key_counts() {
        let folder = tempfile::tempdir().unwrap();
        let cache = NumberCache::new(folder.path());
        get(&cache, &["0123456789abcdef"], 3);
        assert!(!get(&cache, &["0123456789abcdeX"], 3).1);
        assert!(!get(&cache, &["0123456789abcdef"], 3).1, "it was replaced");
    }

    #[test]
    fn damage_is_repaired_and_failures_keep_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let cache = NumberCache::new(folder.path());
        get(&cache, &["k"], 3);
        let path = folder.path().join("k.json");
        let whole = std::fs::read_to_string(&path).unwrap();
        let other = whole.replace("hydralign ", "hydralign 0.0.0, ");
        let unsaid = "{\"key\":[\"k\"],\"numbers\":[1,2,3]}";
        for broken in [&whole[..whole.len() / 2], "", "{}", unsaid, &other] {
            std::fs::write(&path, broken).unwrap();
            assert!(!get(&cache, &["k"], 3).1, "{broken}");
            assert!(get(&cache, &["k"], 3).1);
        }
        let failing = || Err::<Vec<f32>, _>(RunError::EmptyPlot { title: "x".into() });
        assert!(cache.get(&["other"], 3, failing).is_err());
        assert!(!folder.path().join("other.json").exists());
    }
}
