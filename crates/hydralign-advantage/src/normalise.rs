use crate::whiten::EPSILON;
use crate::{AdvantageError, Moments, Variance, check};
use serde::{Deserialize, Serialize};

/// Whether scores are normalised before they become rewards, and by which statistics.
///
/// r̃ = clip((r − μ)/√(σ² + 10⁻⁸), ±clip), with the biased variance
///
/// Source: Zheng et al. 2023, "Secrets of RLHF, Part I", score normalisation and clipping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ScoreNormalisation {
    /// Scores stay as they are.
    #[default]
    None,
    /// μ and σ² of the batch at hand.
    Batch {
        /// Bound on the normalised score, in standard deviations.
        #[serde(default)]
        clip: Option<f32>,
    },
    /// μ and σ² of every score of the run so far, the batch at hand included.
    Running {
        /// Bound on the normalised score, in standard deviations.
        #[serde(default)]
        clip: Option<f32>,
    },
}

impl ScoreNormalisation {
    fn clip(self) -> Option<f32> {
        match self {
            ScoreNormalisation::None => None,
            ScoreNormalisation::Batch { clip } | ScoreNormalisation::Running { clip } => clip,
        }
    }
}

/// Normalises the scores of one batch after the other.
///
/// It is serialisable with its statistics, so that a resumed run normalises as the unbroken
/// one would have.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoreNormaliser {
    normalisation: ScoreNormalisation,
    seen: Moments,
}

impl ScoreNormaliser {
    /// A normaliser that has seen nothing.
    ///
    /// # Errors
    /// [`AdvantageError::OutOfRange`] unless the clip is finite and positive.
    pub fn new(normalisation: ScoreNormalisation) -> Result<Self, AdvantageError> {
        if let Some(clip) = normalisation.clip() {
            check::positive("clip", clip.into())?;
        }
        Ok(Self { normalisation, seen: Moments::default() })
    }

    /// Normalises the scores of a batch in place, one score per episode.
    ///
    /// # Errors
    /// [`AdvantageError::NonFinite`]; neither scores nor statistics are changed then.
    pub fn apply(&mut self, scores: &mut [f32]) -> Result<(), AdvantageError> {
        check::finite("scores", scores)?;
        let batch = Moments::of(&[&*scores]);
        self.seen.merge(&batch);
        let moments = match self.normalisation {
            ScoreNormalisation::None => return Ok(()),
            ScoreNormalisation::Batch { .. } => batch,
            ScoreNormalisation::Running { .. } => self.seen,
        };
        let (Some(mean), Some(variance)) = (moments.mean(), moments.variance(Variance::Biased))
        else {
            return Ok(()); // an empty batch
        };
        let scale = (variance + EPSILON).sqrt().recip();
        let bound = self.normalisation.clip().unwrap_or(f32::INFINITY);
        for score in scores {
            let normal = (f64::from(*score) - mean) * scale;
            *score = (normal as f32).clamp(-bound, bound);
        }
        Ok(())
    }

    /// Goes on from the moments of the scores that an earlier part of the run has seen.
    pub fn resume(&mut self, seen: Moments) {
        self.seen = seen;
    }

    /// Moments of every raw score seen so far.
    pub fn seen(&self) -> &Moments {
        &self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCHES: [&[f32]; 3] = [&[1.0, 2.0, 6.0], &[-4.0, 0.0], &[30.0]];

    fn run(normaliser: &mut ScoreNormaliser, batches: &[&[f32]]) -> Vec<Vec<f32>> {
        let apply = |batch: &&[f32]| {
            let mut scores = batch.to_vec();
            normaliser.apply(&mut scores).unwrap();
            scores
        };
        batches.iter().map(apply).collect()
    }

    fn normalised(normalisation: ScoreNormalisation) -> Vec<Vec<f32>> {
        run(&mut ScoreNormaliser::new(normalisation).unwrap(), &BATCHES)
    }

    #[test]
    fn none_changes_nothing_but_still_counts() {
        assert_eq!(normalised(ScoreNormalisation::None).concat(), BATCHES.concat());
        let mut none = ScoreNormaliser::new(ScoreNormalisation::None).unwrap();
        run(&mut none, &BATCHES);
        assert_eq!(none.seen().count(), 6);
    }

    #[test]
    fn a_batch_is_centred_and_scaled_by_itself() {
        for scores in normalised(ScoreNormalisation::Batch { clip: None }) {
            let moments = Moments::of(&[&scores]);
            assert!(moments.mean().unwrap().abs() < 1e-6);
            let variance = moments.variance(Variance::Biased).unwrap();
            assert!((variance - 1.0).abs() < 1e-5 || scores == [0.0]);
        }
    }

    #[test]
    fn running_statistics_see_the_past_and_the_present() {
        let running = normalised(ScoreNormalisation::Running { clip: None });
        let batch = normalised(ScoreNormalisation::Batch { clip: None });
        assert_eq!(running[0], batch[0]);
        assert_ne!(running[1], batch[1]);
        // One score alone is not flattened to zero: 30 is far above what was seen before.
        assert!(running[2][0] > 2.0);
    }

    #[test]
    fn the_clip_is_in_standard_deviations() {
        let clipped = normalised(ScoreNormalisation::Running { clip: Some(0.5) });
        assert!(clipped.concat().iter().all(|s| s.abs() <= 0.5));
        assert_eq!(clipped[2], [0.5]);
    }

    #[test]
    fn a_resumed_normaliser_gives_the_same_scores() {
        let start = ScoreNormaliser::new(ScoreNormalisation::Running { clip: Some(3.0) }).unwrap();
        let (mut whole, mut first) = (start, start);
        let want = run(&mut whole, &BATCHES);
        run(&mut first, &BATCHES[..2]);
        let saved = serde_json::to_string(&first).unwrap();
        let mut resumed: ScoreNormaliser = serde_json::from_str(&saved).unwrap();
        assert_eq!(run(&mut resumed, &BATCHES[2..]), &want[2..]);
        assert_eq!(resumed, whole);
    }

    #[test]
    fn a_bad_score_leaves_the_statistics_alone() {
        let mut normaliser =
            ScoreNormaliser::new(ScoreNormalisation::Running { clip: None }).unwrap();
        let before = normaliser;
        let mut scores = [1.0, f32::NAN];
        let error = normaliser.apply(&mut scores).unwrap_err();
        assert!(matches!(error, AdvantageError::NonFinite { what: "scores", index: 1, .. }));
        assert_eq!((normaliser, scores[0]), (before, 1.0));
    }

    #[test]
    fn configuration_is_checked() {
        assert!(ScoreNormaliser::new(ScoreNormalisation::Batch { clip: Some(-1.0) }).is_err());
        let read = serde_json::from_str::<ScoreNormalisation>;
        let running = ScoreNormalisation::Running { clip: Some(5.0) };
        assert_eq!(read(r#"{"kind": "running", "clip": 5}"#).unwrap(), running);
        assert_eq!(read(r#"{"kind": "none"}"#).unwrap(), ScoreNormalisation::None);
        assert!(read(r#"{"kind": "running", "clips": 5}"#).is_err());
    }
}
