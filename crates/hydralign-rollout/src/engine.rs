use crate::response::Response;
use crate::{GenerationConfig, Generator, Monitor, Progress, Prompt, RolloutError, Sampler};
use burn::tensor::Tensor;
use hydralign_core::{CoreError, Decoder, Episode, Role};

/// Generates responses in batches with a [`Decoder`].
///
/// - Prompts are decoded longest first, `batch_size` at a time: neighbours differ little in
///   length, so padding is small, and the batch that needs most memory comes first. Episodes
///   return in the caller's order.
/// - The random numbers of a response are those of its prompt's key. What else is in the batch
///   does not matter, up to the rounding of the decoder's logits.
/// - A finished response leaves the batch as soon as a quarter of the rows have finished (in
///   batches of up to four rows: at once). Before, its row is decoded along and ignored, for
///   leaving moves the cache of all others. Where its own context ends before that, it leaves then.
/// - With [`max_length`](GenerationConfig::max_length) the longest response is each row's own: a long
///   prompt takes nothing from its neighbours.
pub struct Engine<'a, D: ?Sized, S: ?Sized> {
    decoder: &'a D,
    role: Role,
    sampler: &'a S,
    config: &'a GenerationConfig,
}

/// What the batches of one call share.
struct Run<'m> {
    monitor: &'m mut dyn Monitor,
    progress: Progress,
    episodes: Vec<Option<Episode>>,
}

impl Run<'_> {
    /// Counts a step and tells the monitor of it.
    fn step(&mut self, drawn: usize, finished: usize) -> Result<(), RolloutError> {
        self.progress.tokens += drawn;
        self.progress.finished += finished;
        let Progress { finished, prompts, .. } = self.progress;
        match self.monitor.step(&self.progress) {
            std::ops::ControlFlow::Continue(()) => Ok(()),
            std::ops::ControlFlow::Break(()) => Err(RolloutError::Cancelled { finished, prompts }),
        }
    }

    /// Takes note of a drawn token, and puts a response that ended with it in its place.
    fn drawn(&mut self, row: &Response<'_>, token: u32) {
        self.monitor.token(row.index, token);
        if let Some(episode) = row.episode() {
            self.monitor.finished(row.index, &episode);
            self.episodes[row.index] = Some(episode);
        }
    }
}

impl<'a, D: Decoder + ?Sized, S: Sampler + ?Sized> Engine<'a, D, S> {
    /// An engine that decodes with one role's view.
    ///
    /// # Errors
    /// As [`GenerationConfig::validate`].
    pub fn new(
        decoder: &'a D,
        role: Role,
        sampler: &'a S,
        config: &'a GenerationConfig,
    ) -> Result<Self, RolloutError> {
        config.validate()?;
        Ok(Self { decoder, role, sampler, config })
    }

    /// Decodes one batch until every response has ended.
    fn batch(&self, mut rows: Vec<Response<'_>>, run: &mut Run<'_>) -> Result<(), RolloutError> {
        let prompts: Vec<&[u32]> = rows.iter().map(|r| r.prompt.tokens.as_slice()).collect();
        // The last token is never fed, but it gets its place: what was generated can be read back
        // by the same model.
        let room: Vec<usize> = rows.iter().map(Response::room).collect();
        let (mut cache, mut logits) = self.decoder.prefill(self.role, &prompts, &room)?;
        for step in 1.. {
            let (drawn, finished) = self.draw(&mut rows, logits, run)?;
            run.step(drawn, finished)?;
            let waiting = rows.iter().filter(|r| r.is_finished()).count();
            if waiting == rows.len() {
                return Ok(());
            }
            // A row at the end of its room cannot be decoded along: the context ends there.
            let full = rows.iter().any(|r| r.is_finished() && step >= r.room());
            if waiting > 0 && (full || waiting * 4 >= rows.len()) {
                let live: Vec<usize> =
                    (0..rows.len()).filter(|&i| !rows[i].is_finished()).collect();
                self.decoder.retain(&mut cache, &live);
                rows.retain(|r| !r.is_finished());
            }
            let tokens: Vec<u32> = rows.iter().map(Response::last_token).collect();
            logits = self.decoder.decode(self.role, &mut cache, &tokens)?;
        }
        Ok(())
    }

    /// Draws a token for each running row; returns how many were drawn and how many ended.
    fn draw(
        &self,
        rows: &mut [Response<'_>],
        logits: Tensor<2>,
        run: &mut Run<'_>,
    ) -> Result<(usize, usize), RolloutError> {
        let [got, vocab] = logits.dims();
        if got != rows.len() {
            return Err(RolloutError::LogitRows { expected: rows.len(), got });
        }
        self.config.validate_stop_tokens(vocab)?;
        let logits = logits.into_data().try_into_vec_as::<f32>();
        let logits = logits.map_err(|e| CoreError::Other(Box::new(e)))?;
        let (mut drawn, mut ended) = (0, 0);
        for (i, row) in rows.iter_mut().enumerate().filter(|(_, r)| !r.is_finished()) {
            let position = row.position();
            let uniform = row.prompt.key.uniform(position);
            let logits = &logits[i * vocab..(i + 1) * vocab];
            let draw = self.sampler.sample(logits, self.config.suppressed(position), uniform);
            let prompt = row.index;
            let draw = draw.map_err(|source| RolloutError::Sample { prompt, position, source })?;
            let token = draw.token;
            row.push(draw, self.config);
            run.drawn(row, token);
            drawn += 1;
            ended += usize::from(row.is_finished());
        }
        Ok((drawn, ended))
    }
}

impl<D: Decoder + ?Sized, S: Sampler + ?Sized> Generator for Engine<'_, D, S> {
    /// # Errors
    /// [`RolloutError::NoPrompts`], [`RolloutError::EmptyPrompt`], [`RolloutError::NoRoom`], [`RolloutError::StopToken`],
    /// [`RolloutError::Sample`], [`RolloutError::Cancelled`], and what the decoder reports.
    fn generate(
        &self,
        prompts: &[Prompt],
        monitor: &mut dyn Monitor,
    ) -> Result<Vec<Episode>, RolloutError> {
        if prompts.is_empty() {
            return Err(RolloutError::NoPrompts);
        }
        if let Some(prompt) = prompts.iter().position(|p| p.tokens.is_empty()) {
            return Err(RolloutError::EmptyPrompt { prompt });
        }
        let longest = self.config.max_length.unwrap_or(usize::MAX);
        if let Some(prompt) = prompts.iter().position(|p| p.tokens.len() >= longest) {
            let tokens = prompts[prompt].tokens.len();
            return Err(RolloutError::NoRoom { prompt, tokens, max_length: longest });
        }
        let mut order: Vec<usize> = (0..prompts.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(prompts[i].tokens.len()));
        let progress = Progress { prompts: prompts.len(), finished: 0, tokens: 0 };
        let mut run = Run { monitor, progress, episodes: vec![None; prompts.len()] };
        for batch in order.chunks(self.config.batch_size) {
            let rows = batch.iter().map(|&i| Response::new(i, &prompts[i], self.config)).collect();
            self.batch(rows, &mut run)?;
        }
        // Every batch ends with all of its rows finished, so that none is missing.
        Ok(run.episodes.into_iter().flatten().collect())
    }
}
