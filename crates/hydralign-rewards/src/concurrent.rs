use crate::RewardError;
use hydralign_core::{CoreError, Episode, Reward};
use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;

/// What a thread found: the scores, or what the reward panicked with.
type Found = Result<Result<Vec<f32>, CoreError>, Box<dyn Any + Send>>;

/// An episode to score, and where the score goes.
type Job = (Episode, Sender<Found>);

/// What makes an episode what it is to a reward.
type Name = (Option<usize>, Vec<u32>, Vec<u32>);

/// A reward whose scores are computed by other threads, from the moment at which an episode has ended: the model
/// samples on meanwhile.
///
/// For rewards that take long and see one episode at a time: a judge, a program that runs tests. The scores are
/// those of the reward, and so is the first error; errors come when the scores are asked for. A reward whose score of
/// an episode depends on the others that it is given would see each alone.
pub struct Concurrent {
    jobs: Sender<Job>,
    /// Scores under way, in the order in which equal episodes have ended.
    waiting: Mutex<HashMap<Name, VecDeque<Receiver<Found>>>>,
}

/// Runs `body` with a reward that is scored by `threads` other threads while `body` goes on; 0 threads count as 1.
///
/// ```
/// # use hydralign_core::{Episode, Finish, Reward, episode_fn};
/// # use std::time::Duration;
/// use hydralign_rewards::concurrently;
///
/// let slow = episode_fn(|episodes| {
///     std::thread::sleep(Duration::from_millis(5));
///     vec![1.0; episodes.len()]
/// });
/// # let episode = Episode { prompt: vec![1], row: None, response: vec![2], logprobs: vec![], policy_logprobs: vec![], finish: Finish::Stop };
/// let scores = concurrently(&slow, 4, |reward| {
///     reward.finished(&episode); // a recipe does so while it samples
///     reward.score(&[episode.clone()])
/// })?;
/// assert_eq!(scores, [1.0]);
/// # Ok::<(), hydralign_core::CoreError>(())
/// ```
pub fn concurrently<R: Reward + Sync + ?Sized, T>(
    reward: &R,
    threads: usize,
    body: impl FnOnce(&Concurrent) -> T,
) -> T {
    std::thread::scope(|scope| {
        // Dropped at the end of `body`, also by a panic: then the threads end, and the scope with them.
        let concurrent = Concurrent::new(scope, reward, threads.max(1));
        body(&concurrent)
    })
}

impl Concurrent {
    fn new<'scope, R: Reward + Sync + ?Sized>(
        scope: &'scope Scope<'scope, '_>,
        reward: &'scope R,
        threads: usize,
    ) -> Self {
        let (jobs, queue) = channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads {
            let queue = Arc::clone(&queue);
            scope.spawn(move || work(reward, &queue));
        }
        Self { jobs, waiting: Mutex::default() }
    }

    fn begin(&self, episode: &Episode) -> Receiver<Found> {
        let (sender, receiver) = channel();
        // The threads live as long as this sender does.
        let _ = self.jobs.send((episode.clone(), sender));
        receiver
    }

    /// The score under way of an episode, or one that is begun now.
    fn under_way(&self, episode: &Episode) -> Receiver<Found> {
        let name = name(episode);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(equal) = waiting.get_mut(&name) else { return self.begin(episode) };
        let first = equal.pop_front();
        if equal.is_empty() {
            waiting.remove(&name);
        }
        first.unwrap_or_else(|| self.begin(episode))
    }
}

impl Reward for Concurrent {
    /// # Errors
    /// Those of the reward, with the index of the episode.
    fn score(&self, episodes: &[Episode]) -> Result<Vec<f32>, CoreError> {
        let under_way: Vec<_> = episodes.iter().map(|e| self.under_way(e)).collect();
        let mut scores = Vec::with_capacity(episodes.len());
        for (index, found) in under_way.into_iter().enumerate() {
            let found = match found.recv() {
                Ok(Ok(found)) => found.map_err(|error| of_episode(error, index))?,
                Ok(Err(panic)) => resume_unwind(panic),
                Err(gone) => return Err(CoreError::Other(gone.into())),
            };
            match found[..] {
                [score] => scores.push(score),
                _ => return Err(CoreError::ScoreCount { expected: 1, got: found.len() }),
            }
        }
        Ok(scores)
    }

    fn finished(&self, episode: &Episode) {
        let found = self.begin(episode);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.entry(name(episode)).or_default().push_back(found);
    }
}

fn name(episode: &Episode) -> Name {
    (episode.row, episode.prompt.clone(), episode.response.clone())
}

/// Scores episodes until there will be none.
fn work<R: Reward + ?Sized>(reward: &R, queue: &Mutex<Receiver<Job>>) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((episode, sender)) = job else { return };
        let score = || reward.score(std::slice::from_ref(&episode));
        // Nobody may wait for it any more.
        let _ = sender.send(catch_unwind(AssertUnwindSafe(score)));
    }
}

/// The error of an episode that was scored alone, as that of its place.
fn of_episode(error: CoreError, index: usize) -> CoreError {
    match error {
        CoreError::ScoreNotFinite { score, .. } => {
            CoreError::ScoreNotFinite { episode: index, score }
        }
        CoreError::Other(error) => match error.downcast::<RewardError>() {
            Ok(error) => at(*error, index).into(),
            Err(other) => CoreError::Other(other),
        },
        other => other,
    }
}

fn at(error: RewardError, index: usize) -> RewardError {
    match error {
        RewardError::Episode { error, .. } => RewardError::Episode { episode: index, error },
        RewardError::Part { part, name, error } => {
            RewardError::Part { part, name, error: Box::new(of_episode(*error, index)) }
        }
        other => other,
    }
}
