use super::{Method, Round, Turn, grouped, sequences};
use crate::lab::Lab;
use anyhow::Result;
use hydralign::advantage::best_of_n_kl;
use hydralign::algorithms::best_of;
use hydralign::models::ModelBank;
use hydralign::prelude::*;
use hydralign::rollout::Key;

/// Best-of-N as sampling: nothing is learnt, every answer costs N samples and N scores.
pub struct BestOfN {
    /// N.
    pub n: usize,
}

impl Method for BestOfN {
    fn round(&mut self, _: &Lab, _: Turn, _: &mut dyn Observer) -> Result<Round> {
        Ok(Round::default())
    }

    fn respond(&self, lab: &Lab, prompts: &[Prompt]) -> Result<Vec<Episode>> {
        // Each of the N samples has random numbers of its own.
        let again = |prompt: &Prompt, k: usize| {
            let Key { seed, episode } = prompt.key;
            let seed = hydralign::core::random::sub_seed(seed, &format!("sample {k}"));
            Prompt { key: Key { seed, episode }, ..prompt.clone() }
        };
        let all: Vec<Prompt> =
            prompts.iter().flat_map(|p| (0..self.n).map(move |k| again(p, k))).collect();
        let sft = ModelBank::frozen(lab.sft()?);
        let episodes = lab.respond(&sft, &all, &SamplerConfig::default())?;
        drop(sft);
        let scores = lab.scores(&sequences(&episodes))?;
        Ok(best_of(&grouped(&episodes, self.n), &grouped(&scores, self.n)))
    }

    fn known_kl(&self, _: &[Episode]) -> Option<f64> {
        Some(best_of_n_kl(self.n))
    }
}
