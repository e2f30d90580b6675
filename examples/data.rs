//! What a run learns from: the shipped task, or the user's own files.

use crate::recipe::Recipe;
use crate::task::{Request, demonstrations, gold_score, preferences, split_requests};
use anyhow::{Context, Result, bail, ensure};
use hydralign::core::random::sub_seed;
use hydralign::data::{
    ChatTemplate, DemonstrationRecord, PreferenceRecord, Reader, TextTokenizer, encode_completion,
    encode_prompt, split,
};
use hydralign::prelude::{Episode, Sequence};
use std::path::{Path, PathBuf};

/// Tokenised data of a run.
pub struct RunData {
    /// For SFT; empty skips the stage.
    pub demonstrations: Vec<Sequence>,
    /// `(chosen, rejected)` for Hydra-SFT.
    pub preferences: Vec<(Sequence, Sequence)>,
    /// Prompts for PPO.
    pub prompts: Vec<Vec<u32>>,
    /// Prompts that quality is measured on; in none of the above.
    pub held_out: Vec<Vec<u32>>,
    /// True if the program knows how good a response really is.
    pub has_gold: bool,
}

/// The user's own files.
#[derive(Clone, Debug, Default)]
pub struct UserFiles {
    /// `{"prompt": …}` a line.
    pub prompts: Option<PathBuf>,
    /// `{"prompt": …, "chosen": …, "rejected": …}` a line.
    pub preferences: Option<PathBuf>,
    /// `{"prompt": …, "completion": …}` a line.
    pub demonstrations: Option<PathBuf>,
}

impl RunData {
    /// The shipped task's data, drawn from the run's seed.
    pub fn of_task(tokenizer: &TextTokenizer, context: usize, recipe: &Recipe) -> Result<Self> {
        let sizes = recipe.task;
        let requests = split_requests()?;
        let prompts = |requests: &[Request]| -> Result<Vec<Vec<u32>>> {
            let encode = |r: &Request| Ok(encode_prompt(tokenizer, &r.prompt(), context)?);
            requests.iter().map(encode).collect()
        };
        let demonstration = |r: DemonstrationRecord| -> Result<Sequence> {
            Ok(Sequence::new(
                encode_prompt(tokenizer, &r.prompt, context)?,
                encode_completion(tokenizer, "completion", &r.completion)?,
            ))
        };
        let preference = |r: PreferenceRecord| -> Result<(Sequence, Sequence)> {
            let prompt = encode_prompt(tokenizer, &r.prompt, context)?;
            let side = |field, text: &str| -> Result<Sequence> {
                let response = encode_completion(tokenizer, field, text)?;
                Ok(Sequence::new(prompt.clone(), response))
            };
            Ok((side("chosen", &r.chosen)?, side("rejected", &r.rejected)?))
        };
        let demos = demonstrations(sub_seed(recipe.seed, "demonstrations"), sizes.demonstrations)?;
        let pairs = preferences(sub_seed(recipe.seed, "preferences"), sizes.preferences)?;
        Ok(Self {
            demonstrations: demos.into_iter().map(demonstration).collect::<Result<_>>()?,
            preferences: pairs.into_iter().map(preference).collect::<Result<_>>()?,
            prompts: prompts(&requests.train)?,
            held_out: prompts(&requests.held_out)?,
            has_gold: true,
        })
    }

    /// The user's own data. Part of the prompts is held out.
    pub fn of_files(
        files: &UserFiles,
        tokenizer: &TextTokenizer,
        template: Option<&ChatTemplate>,
        context: usize,
        recipe: &Recipe,
    ) -> Result<Self> {
        let (Some(prompts), Some(preferences)) = (&files.prompts, &files.preferences) else {
            bail!("--model needs --prompts FILES and --preferences FILES");
        };
        let longest = context.saturating_sub(recipe.generation.max_new_tokens) + 1;
        ensure!(
            context > recipe.generation.max_new_tokens,
            "a context of {context} leaves no room for responses of {} tokens",
            recipe.generation.max_new_tokens
        );
        let reader = |context| Reader { template, ..Reader::new(tokenizer, context) };
        let name = |path: &Path| [path.display().to_string()];
        let (all, _) = reader(longest).prompts(&name(prompts))?;
        ensure!(all.len() >= 2, "{}: at least two prompts are needed", prompts.display());
        let share = (all.len() as f64 * recipe.evaluation.held_out).round() as usize;
        let parts =
            split(all.len(), share.clamp(1, all.len() - 1), sub_seed(recipe.seed, "split"))?;
        let pick = |indices: &[usize]| indices.iter().map(|&i| all[i].clone()).collect();
        let (pairs, _) = reader(context).preferences(&name(preferences))?;
        let demonstrations = match &files.demonstrations {
            Some(path) => reader(context).demonstrations(&name(path))?.0,
            None => Vec::new(),
        };
        Ok(Self {
            demonstrations,
            preferences: pairs.into_iter().map(|p| (p.chosen, p.rejected)).collect(),
            prompts: pick(&parts.train),
            held_out: pick(&parts.held_out),
            has_gold: false,
        })
    }
}

/// Gold scores of episodes of the shipped task.
///
/// # Errors
/// Tokens that do not decode, or a prompt that is not one of the task's.
pub fn gold_scores(tokenizer: &TextTokenizer, episodes: &[Episode]) -> Result<Vec<f64>> {
    let score = |e: &Episode| -> Result<f64> {
        let prompt = tokenizer.decode(&e.prompt, true)?;
        let request = Request::parse(&prompt).context("not a prompt of the task")?;
        Ok(gold_score(&request, &tokenizer.decode(&e.response, true)?))
    };
    episodes.iter().map(score).collect()
}

/// Loads the tokenizer of a model folder.
///
/// # Errors
/// A missing or malformed file, or a tokenizer without an end-of-text token.
pub fn load_tokenizer(dir: &Path) -> Result<TextTokenizer> {
    let tokenizer = TextTokenizer::from_dir(dir)?;
    ensure!(
        !tokenizer.eos_ids().is_empty(),
        "{}: no end-of-text token is configured, so responses would never end",
        dir.display()
    );
    Ok(tokenizer)
}
