use serde::{Deserialize, Serialize};
use std::fmt;

/// What a set of weights is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The policy being trained, π_θ.
    Actor,
    /// The value function of the policy, V.
    Critic,
    /// The policy at the start of the run, π_ref; never trained.
    Reference,
    /// The reward model, r; never trained during reinforcement learning.
    Reward,
}

impl Role {
    /// Every role, in the order in which tables list them.
    pub const ALL: [Role; 4] = [Role::Actor, Role::Critic, Role::Reference, Role::Reward];

    /// The lower-case name that files and tables use.
    pub fn name(self) -> &'static str {
        match self {
            Role::Actor => "actor",
            Role::Critic => "critic",
            Role::Reference => "reference",
            Role::Reward => "reward",
        }
    }

    /// True for the roles that read a scalar head (critic and reward).
    pub fn is_scalar(self) -> bool {
        matches!(self, Role::Critic | Role::Reward)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
