//! What a run learns from: the shipped task, or the user's own files.

use crate::held_out::HeldOut;
use crate::note;
use crate::recipe::Recipe;
use crate::rows::RowCounts;
use crate::task::{Request, demonstrations, gold_score, preferences, split_requests};
use anyhow::{Context, Result, bail, ensure};
use hydralign::core::random::sub_seed;
use hydralign::data::{
    ChatTemplate, DemonstrationRecord, PreferenceRecord, Reader, TextTokenizer, encode_completion,
    encode_prompt, find_files,
};
use hydralign::prelude::{Episode, Sequence};
use hydralign::runs::{Input, Inputs};
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
    /// What the user should know of the data, a line each.
    pub notes: Vec<String>,
    /// What became of the rows of the user's files.
    pub rows: RowCounts,
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
                encode_completion(tokenizer, &r.prompt, ("completion", &r.completion))?,
            ))
        };
        let preference = |r: PreferenceRecord| -> Result<(Sequence, Sequence)> {
            let prompt = encode_prompt(tokenizer, &r.prompt, context)?;
            let side = |field, text: &str| -> Result<Sequence> {
                let response = encode_completion(tokenizer, &r.prompt, (field, text))?;
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
            notes: Vec::new(),
            rows: RowCounts::default(),
            has_gold: true,
        })
    }

    /// The user's own data. Part of the prompts is held out of everything that is learnt.
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
        note_ending(template, tokenizer);
        let reader =
            |context| recipe.rows.apply(Reader { template, ..Reader::new(tokenizer, context) });
        let mut rows = RowCounts::default();
        let name = |path: &Path| path.display().to_string();
        let (prompts, preferences) = (name(prompts), name(preferences));
        let response = recipe.generation.max_new_tokens;
        let all = reader(longest).prompts(&[&prompts]);
        let all = all.map_err(|e| e.with_response(response, context));
        let all = rows.told("prompts", &prompts, &recipe.rows, all)?;
        let pairs = reader(context).preferences(&[&preferences]);
        let pairs = rows.told("preferences", &preferences, &recipe.rows, pairs)?;
        let demonstrations = match files.demonstrations.as_deref().map(name) {
            Some(path) => {
                let read = reader(context).demonstrations(&[&path]);
                rows.told("demonstrations", &path, &recipe.rows, read)?
            }
            None => Vec::new(),
        };
        let elsewhere = pairs.iter().map(|p| &p.chosen.prompt);
        let elsewhere = elsewhere.chain(demonstrations.iter().map(|s| &s.prompt));
        let (share, seed) = (recipe.evaluation.held_out, sub_seed(recipe.seed, "split"));
        let divided = HeldOut::divide(&all, elsewhere, share, seed);
        let mut divided = divided.context("evaluation.held_out")?;
        let pairs = divided.without("preferences", pairs, |p| &p.chosen.prompt)?;
        let demonstrations = divided.without("demonstrations", demonstrations, |s| &s.prompt)?;
        Ok(Self {
            demonstrations,
            preferences: pairs.into_iter().map(|p| (p.chosen, p.rejected)).collect(),
            prompts: divided.prompts,
            held_out: divided.held_out,
            notes: divided.notes,
            rows,
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

/// A file, a folder or a pattern that the user has named, with its fingerprint.
///
/// # Errors
/// A pattern without files; a file that cannot be read; standard input, which could not be read again.
pub fn input(path: &str) -> Result<Input> {
    ensure!(path != "-", "standard input is no input of a run: write it to a file and name that");
    let files = find_files(&[path])?;
    Ok(Input::of(path, &files)?)
}

/// Those inputs that were given, by the names of their flags.
///
/// # Errors
/// As [`input`].
pub fn inputs(given: &[(&str, Option<&Path>)]) -> Result<Inputs> {
    let there = given.iter().filter_map(|(name, path)| Some((*name, (*path)?)));
    there.map(|(name, path)| Ok((name.to_owned(), input(&path.display().to_string())?))).collect()
}

/// Says that responses to conversations have no end.
pub fn note_ending(template: Option<&ChatTemplate>, tokenizer: &TextTokenizer) {
    if let Some(ending) = template.and_then(|t| t.unstopped_ending(tokenizer)) {
        note(&format!(
            "the chat template ends a turn with `{ending}`, at which generation does not stop: no EOS of the folder is part of it"
        ));
    }
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
