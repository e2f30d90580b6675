use crate::{CoreError, Episode};
use std::error::Error;
use std::rc::Rc;
use std::sync::Arc;

/// Scores whole responses: rules, verifiers and learned models alike.
///
/// References, boxes and shared pointers to a reward are rewards; [`episode_fn`] makes one of a closure.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot score episodes",
    note = "`episode_fn(|episodes| …)` makes a `Reward` of a closure over episodes, `reward_fn` of hydralign-rewards of one over texts"
)]
pub trait Reward {
    /// One score per episode, in order.
    ///
    /// # Errors
    /// What kept the scores from being computed.
    fn score(&self, episodes: &[Episode]) -> Result<Vec<f32>, CoreError>;

    /// An episode has ended while others are still sampled: its score will be asked for, and may be begun now.
    fn finished(&self, _episode: &Episode) {}
}

macro_rules! reward_by_pointer {
    ($($pointer:ty),*) => {$(
        impl<T: Reward + ?Sized> Reward for $pointer {
            fn score(&self, episodes: &[Episode]) -> Result<Vec<f32>, CoreError> {
                (**self).score(episodes)
            }

            fn finished(&self, episode: &Episode) {
                (**self).finished(episode);
            }
        }
    )*};
}

reward_by_pointer!(&T, &mut T, Box<T>, Rc<T>, Arc<T>);

/// A closure over episodes as a [`Reward`].
#[derive(Clone, Copy, Debug)]
pub struct EpisodeFn<F>(F);

/// Makes a [`Reward`] of a closure that returns one score per episode, `Vec<f32>` or
/// `Result<Vec<f32>, E>` with any error.
///
/// ```
/// use hydralign_core::{Episode, Reward, episode_fn};
///
/// let short = episode_fn(|episodes| -> Vec<f32> {
///     episodes.iter().map(|e| -(e.response.len() as f32)).collect()
/// });
/// assert!(short.score(&[]).unwrap().is_empty());
/// ```
pub fn episode_fn<F, S>(score: F) -> EpisodeFn<F>
where
    F: Fn(&[Episode]) -> S,
    S: IntoScore<Vec<f32>>,
{
    EpisodeFn(score)
}

impl<F, S> Reward for EpisodeFn<F>
where
    F: Fn(&[Episode]) -> S,
    S: IntoScore<Vec<f32>>,
{
    fn score(&self, episodes: &[Episode]) -> Result<Vec<f32>, CoreError> {
        self.0(episodes).into_score().map_err(CoreError::Other)
    }
}

/// What a scoring closure may return: the score, or a result of it with an error of its own.
pub trait IntoScore<T> {
    /// The score, or why there is none.
    ///
    /// # Errors
    /// The closure's own.
    fn into_score(self) -> Result<T, Box<dyn Error + Send + Sync>>;
}

impl IntoScore<f32> for f32 {
    fn into_score(self) -> Result<f32, Box<dyn Error + Send + Sync>> {
        Ok(self)
    }
}

impl IntoScore<Vec<f32>> for Vec<f32> {
    fn into_score(self) -> Result<Vec<f32>, Box<dyn Error + Send + Sync>> {
        Ok(self)
    }
}

impl<T, E: Into<Box<dyn Error + Send + Sync>>> IntoScore<T> for Result<T, E> {
    fn into_score(self) -> Result<T, Box<dyn Error + Send + Sync>> {
        self.map_err(Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Finish;
    use std::cell::Cell;

    fn episodes(lengths: &[usize]) -> Vec<Episode> {
        let episode = |&n: &usize| Episode {
            prompt: vec![1],
            row: None,
            response: vec![2; n],
            logprobs: vec![0.0; n],
            policy_logprobs: vec![0.0; n],
            finish: Finish::Stop,
        };
        lengths.iter().map(episode).collect()
    }

    /// Counts what it is told of.
    #[derive(Default)]
    struct Told(Cell<usize>);

    impl Reward for Told {
        fn score(&self, episodes: &[Episode]) -> Result<Vec<f32>, CoreError> {
            Ok(vec![self.0.get() as f32; episodes.len()])
        }

        fn finished(&self, _: &Episode) {
            self.0.set(self.0.get() + 1);
        }
    }

    fn told(reward: impl Reward) -> f32 {
        let episodes = episodes(&[1, 2]);
        episodes.iter().for_each(|e| reward.finished(e));
        reward.score(&episodes).unwrap()[1]
    }

    #[test]
    #[allow(clippy::needless_borrows_for_generic_args, reason = "pointers are what is tested")]
    #[allow(clippy::arc_with_non_send_sync, reason = "pointers are what is tested")]
    fn a_pointer_to_a_reward_is_that_reward() {
        assert_eq!(told(&Told::default()), 2.0);
        assert_eq!(told(&mut Told::default()), 2.0);
        assert_eq!(told(Box::new(Told::default()) as Box<dyn Reward>), 2.0);
        assert_eq!(told(&Rc::new(Told::default()) as &dyn Reward), 2.0);
        assert_eq!(told(Arc::new(Box::new(Told::default()))), 2.0);
    }

    #[test]
    fn closures_may_fail_with_an_error_of_their_own() {
        let length = |e: &Episode| e.response.len() as f32;
        let sure = episode_fn(|all| all.iter().map(length).collect::<Vec<f32>>());
        assert_eq!(sure.score(&episodes(&[3, 1])).unwrap(), [3.0, 1.0]);
        let parsed = episode_fn(|all| -> Result<Vec<f32>, std::num::ParseFloatError> {
            all.iter().map(|e| if e.response.len() > 2 { "x".parse() } else { Ok(1.0) }).collect()
        });
        assert_eq!(parsed.score(&episodes(&[1])).unwrap(), [1.0]);
        let error = parsed.score(&episodes(&[1, 3])).unwrap_err();
        let source = error.source().expect("the closure's own error");
        assert!(source.is::<std::num::ParseFloatError>(), "{error}");
    }
}
