//! Prompts that quality is measured on, and what is learnt without them.

use crate::note;
use anyhow::{Result, ensure};
use hydralign::data::hold_out;
use std::collections::HashSet;

/// Prompts, divided.
#[derive(Clone, Debug, Default)]
pub struct HeldOut {
    /// Prompts to learn from.
    pub prompts: Vec<Vec<u32>>,
    /// Prompts that quality is measured on.
    pub held_out: Vec<Vec<u32>>,
    /// What the user should know of the division, a line each.
    pub notes: Vec<String>,
}

impl HeldOut {
    /// Holds a share of some prompts out, first of all such as are not `elsewhere` in what is learnt
    /// from ([`hold_out`]).
    ///
    /// # Errors
    /// A share that is not in [0, 1), or leaves nothing to learn from.
    pub fn divide<'a>(
        all: &[Vec<u32>],
        elsewhere: impl IntoIterator<Item = &'a Vec<u32>>,
        share: f64,
        seed: u64,
    ) -> Result<Self> {
        let elsewhere: HashSet<&Vec<u32>> = elsewhere.into_iter().collect();
        let parts = hold_out(all, &elsewhere, share, seed)?;
        let pick = |indices: &[usize]| indices.iter().map(|&i| all[i].clone()).collect();
        let mut divided = Self {
            prompts: pick(&parts.train),
            held_out: pick(&parts.held_out),
            notes: Vec::new(),
        };
        if divided.held_out.is_empty() && !all.is_empty() && share > 0.0 {
            let distinct = all.iter().collect::<HashSet<_>>().len();
            let note = format!(
                "no prompts are held out: {distinct} different ones are too few to do without some"
            );
            divided.notes.push(note);
        }
        Ok(divided)
    }

    /// Items to learn from, without those on prompts that are held out.
    ///
    /// # Errors
    /// Nothing is left.
    pub fn without<T>(
        &mut self,
        what: &str,
        items: Vec<T>,
        prompt: impl Fn(&T) -> &Vec<u32>,
    ) -> Result<Vec<T>> {
        let held_out: HashSet<&Vec<u32>> = self.held_out.iter().collect();
        let all = items.len();
        let kept: Vec<T> = items.into_iter().filter(|i| !held_out.contains(prompt(i))).collect();
        ensure!(
            all == 0 || !kept.is_empty(),
            "all {all} {what} are on prompts that are held out: nothing is left to learn from"
        );
        if kept.len() < all {
            let left_out = all - kept.len();
            let note =
                format!("{left_out} of {all} {what} are on held-out prompts and are left out");
            self.notes.push(note);
        }
        Ok(kept)
    }

    /// Tells the user what there is to know, once.
    pub fn say(&mut self) {
        self.notes.drain(..).for_each(|text| note(&text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompts(ids: impl IntoIterator<Item = u32>) -> Vec<Vec<u32>> {
        ids.into_iter().map(|i| vec![i]).collect()
    }

    #[test]
    fn what_is_learnt_elsewhere_loses_what_is_held_out_and_says_so() {
        let (all, pairs) = (prompts(0..10), prompts(0..10));
        let mut divided = HeldOut::divide(&all, &pairs, 0.2, 3).unwrap();
        assert!(divided.notes.is_empty());
        let kept = divided.without("pairs", pairs, |p| p).unwrap();
        assert_eq!(kept.len(), 8);
        assert!(kept.iter().all(|p| !divided.held_out.contains(p)));
        assert!(divided.notes[0].contains("2 of 10 pairs"), "{:?}", divided.notes);
        let only = vec![divided.held_out[0].clone()];
        let error = divided.without("labels", only, |p| p).unwrap_err().to_string();
        assert!(error.contains("all 1 labels"), "{error}");
        assert_eq!(divided.without("nothing", Vec::new(), |p| p).unwrap(), prompts([]));
    }

    #[test]
    fn too_few_prompts_are_all_learnt_from_and_that_is_said() {
        for (all, said) in [(prompts([1, 1, 1]), true), (prompts([1, 2]), true), (vec![], false)] {
            let divided = HeldOut::divide(&all, &[], 0.1, 0).unwrap();
            assert_eq!((divided.prompts.len(), divided.held_out.len()), (all.len(), 0));
            assert_eq!(!divided.notes.is_empty(), said);
        }
        assert!(HeldOut::divide(&prompts(0..9), &[], 0.0, 0).unwrap().notes.is_empty());
    }
}
