use crate::Role;
use thiserror::Error;

/// What can be wrong with a placement.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PlacementError {
    /// An adapter that could learn nothing.
    #[error("`{setting}` of the adapters is zero, empty or not a number")]
    Lora {
        /// Name of the setting.
        setting: &'static str,
    },
    /// The role is not part of this placement.
    #[error("placement `{placement}` has no {role}")]
    RoleAbsent {
        /// Name of the placement.
        placement: String,
        /// The role asked for.
        role: Role,
    },
    /// A view names a trunk that does not exist.
    #[error("placement `{placement}`: the {role} reads trunk {trunk}, but there are only {trunks}")]
    UnknownTrunk {
        /// Name of the placement.
        placement: String,
        /// The role whose view is wrong.
        role: Role,
        /// The index that it names.
        trunk: usize,
        /// How many trunks there are.
        trunks: usize,
    },
    /// A view names an adapter that does not exist.
    #[error("placement `{placement}`: the {role} reads adapter `{adapter}`, which is not declared")]
    UnknownAdapter {
        /// Name of the placement.
        placement: String,
        /// The role whose view is wrong.
        role: Role,
        /// The name that it gives.
        adapter: String,
    },
    /// A view combines a trunk with an adapter of another trunk.
    #[error(
        "placement `{placement}`: the {role} reads trunk {trunk} through adapter `{adapter}`, which belongs to trunk {owner}"
    )]
    AdapterOnOtherTrunk {
        /// Name of the placement.
        placement: String,
        /// The role whose view is wrong.
        role: Role,
        /// The trunk of the view.
        trunk: usize,
        /// The adapter of the view.
        adapter: String,
        /// The trunk that the adapter belongs to.
        owner: usize,
    },
    /// Two adapters have the same name.
    #[error("placement `{placement}`: adapter `{adapter}` is declared twice")]
    DuplicateAdapter {
        /// Name of the placement.
        placement: String,
        /// The repeated name.
        adapter: String,
    },
    /// An adapter name that cannot be a folder name.
    #[error(
        "placement `{placement}`: adapter name `{adapter}` must be letters, digits, `_` or `-` only"
    )]
    BadAdapterName {
        /// Name of the placement.
        placement: String,
        /// The name as given.
        adapter: String,
    },
    /// A trunk or adapter that no role reads: bytes held for nothing.
    #[error("placement `{placement}`: {what} is read by no role")]
    Unused {
        /// Name of the placement.
        placement: String,
        /// The trunk or adapter.
        what: String,
    },
    /// A role that must stay as it was at the start would be trained.
    #[error(
        "placement `{placement}`: the {role} reads weights that are trained, so it would move during the run"
    )]
    FrozenRoleTrained {
        /// Name of the placement.
        placement: String,
        /// The reference or the reward model.
        role: Role,
    },
    /// Nothing of the actor is trained.
    #[error("placement `{placement}`: the {role} has nothing to train")]
    NothingToTrain {
        /// Name of the placement.
        placement: String,
        /// The role that should learn.
        role: Role,
    },
    /// A start adapter cannot sit under a trunk that is trained in full.
    #[error(
        "placement `{placement}`: trunk {trunk} is trained in full, so the start adapter must be merged into it first"
    )]
    StartAdapterOnFullTraining {
        /// Name of the placement.
        placement: String,
        /// The trunk in question.
        trunk: usize,
    },
    /// Passes cannot be carried out in pieces of nothing.
    #[error("`{setting}` is 0, but a piece holds at least one; leave it out for no pieces")]
    EmptyPieces {
        /// Name of the setting.
        setting: &'static str,
    },
}
