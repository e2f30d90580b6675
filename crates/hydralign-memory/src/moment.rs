use crate::PhaseName;

/// When, within a phase, most may be alive. Tensors of a block, of the LM head and of the step
/// follow one another, so that a phase needs the largest of its moments and not their sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// Inside a block; in the update, in the backward pass of the last one.
    Block,
    /// At the LM head; in the update, where the backward pass begins.
    Head,
    /// After the backward pass, before the optimizer's step.
    Step,
}

impl Moment {
    /// The moments of a phase.
    pub fn of(phase: PhaseName) -> &'static [Moment] {
        match phase {
            PhaseName::Generate | PhaseName::Score => &[Moment::Block, Moment::Head],
            PhaseName::Update => &[Moment::Block, Moment::Head, Moment::Step],
        }
    }
}
