use crate::checkpoint::Checkpoint;
use hydralign_placement::Source;

/// The checkpoints that a run starts from.
///
/// Under Hydra both are the same joint model.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// Where actor and reference come from.
    pub policy: &'a Checkpoint,
    /// Where critic and reward model come from.
    pub reward: &'a Checkpoint,
}

impl<'a> Start<'a> {
    /// One checkpoint for every role.
    pub fn joint(checkpoint: &'a Checkpoint) -> Self {
        Self { policy: checkpoint, reward: checkpoint }
    }

    pub(crate) fn of(&self, source: Source) -> &'a Checkpoint {
        match source {
            Source::Policy => self.policy,
            Source::Reward => self.reward,
        }
    }
}
