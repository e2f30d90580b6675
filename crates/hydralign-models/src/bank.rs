use crate::block::Lens;
use crate::{ActionHeads, Adapter, Checkpoint, ModelError, ScalarHead, Start, Trunk, ValueHead};
use burn::module::Module;
use burn::tensor::Device;
use hydralign_core::random::sub_seed;
use hydralign_core::{CoreError, Gradient, Role};
use hydralign_placement::{
    AdapterSpec, AdapterStart, Execution, LoraShape, Placement, Source, TrunkSpec, View,
};

/// Owner of every trunk, adapter and head of a run.
///
/// Roles are views, chosen by an argument of each pass; nothing is switched on or off.
/// Trunks that the placement counts separately are held separately, even if they start equal.
///
/// `V` is the critic's head: linear, or one of your own ([`ModelBank::with_critic_head`]).
#[derive(Module, Debug)]
pub struct ModelBank<V: ValueHead = ScalarHead> {
    pub(crate) trunks: Vec<Trunk>,
    /// In the order of the placement's adapters.
    pub(crate) adapters: Vec<Adapter>,
    pub(crate) critic_head: Option<V>,
    pub(crate) reward_head: Option<ScalarHead>,
    pub(crate) action_heads: Option<ActionHeads>,
    #[module(skip)]
    pub(crate) placement: Placement,
    #[module(skip)]
    pub(crate) execution: Execution,
}

impl ModelBank {
    /// Builds what a placement describes from the checkpoints that the run starts from.
    ///
    /// Fresh adapters and heads are drawn from `seed`. The critic's head starts as a copy of the
    /// reward head; a fresh one is made where the placement has no reward model. A reward head is
    /// made only where it is about to be trained.
    ///
    /// # Errors
    /// An invalid placement; a checkpoint without the adapter or head that the placement needs;
    /// a checkpoint with an adapter that the placement would ignore.
    pub fn new(
        placement: &Placement,
        start: &Start<'_>,
        lora: &LoraShape,
        seed: u64,
    ) -> Result<Self, ModelError> {
        placement.validate()?;
        check_start_adapters(placement, start)?;
        let trunks = placement.trunks.iter().enumerate();
        let trunks = trunks.map(|(i, spec)| build_trunk(placement, i, spec, start)).collect();
        let adapters = placement.adapters.iter();
        let adapters = adapters
            .map(|spec| build_adapter(placement, spec, start, lora, seed))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            trunks,
            adapters,
            critic_head: build_head(placement, Role::Critic, start, seed)?,
            reward_head: build_head(placement, Role::Reward, start, seed)?,
            action_heads: None,
            placement: placement.clone(),
            execution: Execution::default(),
        })
    }

    /// A bank that only reads one checkpoint: actor and, if there is a reward head, reward model,
    /// both through the checkpoint's adapter if it has one. Nothing is copied.
    pub fn frozen(checkpoint: Checkpoint) -> Self {
        let Checkpoint { trunk, adapter, reward_head } = checkpoint;
        let roles: &[Role] = match reward_head {
            Some(_) => &[Role::Actor, Role::Reward],
            None => &[Role::Actor],
        };
        Self {
            trunks: vec![trunk],
            placement: Placement::frozen(roles, adapter.as_ref().map(|_| "adapter")),
            adapters: adapter.into_iter().collect(),
            critic_head: None,
            reward_head,
            action_heads: None,
            execution: Execution::default(),
        }
    }

    /// The scalar head of a role.
    pub fn head(&self, role: Role) -> Option<&ScalarHead> {
        match role {
            Role::Critic => self.critic_head.as_ref(),
            Role::Reward => self.reward_head.as_ref(),
            Role::Actor | Role::Reference => None,
        }
    }
}

impl<V: ValueHead> ModelBank<V> {
    /// The same bank with another head for the critic, which starts as it is given: an own architecture, or own
    /// weights. The placement's counts and predicted bytes are those of a linear head.
    ///
    /// # Errors
    /// A placement without a critic; [`ModelError::HeadWidth`].
    pub fn with_critic_head<W: ValueHead>(self, head: W) -> Result<ModelBank<W>, ModelError> {
        let trunk = self.placement.view(Role::Critic)?.trunk;
        check_width(Role::Critic, &head, &self.trunks[trunk])?;
        let Self { trunks, adapters, reward_head, action_heads, placement, execution, .. } = self;
        let critic_head = Some(head);
        Ok(ModelBank {
            trunks,
            adapters,
            critic_head,
            reward_head,
            action_heads,
            placement,
            execution,
        })
    }

    /// The critic's head.
    pub fn critic_head(&self) -> Option<&V> {
        self.critic_head.as_ref()
    }

    /// The same bank with its passes carried out otherwise: equal numbers up to rounding, in other
    /// bytes and seconds.
    ///
    /// # Errors
    /// [`ModelError::Placement`] for pieces of nothing.
    pub fn with_execution(mut self, execution: Execution) -> Result<Self, ModelError> {
        execution.validate()?;
        self.execution = execution;
        Ok(self)
    }

    /// The same bank with a fresh action-value head on its critic, or two if `twin`, trained and
    /// followed by copies. The placement's counts do not include them.
    ///
    /// # Errors
    /// A placement without a critic.
    pub fn with_action_heads(mut self, twin: bool, seed: u64) -> Result<Self, ModelError> {
        let trunk = self.placement.view(Role::Critic)?.trunk;
        let shape = &self.trunks[trunk].architecture.shape;
        let heads = ActionHeads::fresh((shape.width(), shape.vocab), twin, seed, &self.device());
        self.action_heads = Some(heads);
        Ok(self)
    }

    /// The same bank after its action heads' copies have followed by α: target ← α·trained +
    /// (1 − α)·target. Without action heads nothing changes.
    #[must_use]
    pub fn follow_action_heads(mut self, alpha: f64) -> Self {
        self.action_heads = self.action_heads.map(|heads| heads.follow(alpha));
        self
    }

    /// How passes are carried out.
    pub fn execution(&self) -> Execution {
        self.execution
    }

    /// What the bank was built from.
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// Positions that every trunk has.
    pub fn context(&self) -> usize {
        self.trunks.iter().map(|trunk| trunk.architecture().context).min().unwrap_or(0)
    }

    /// A trunk by its index in the placement.
    pub fn trunk(&self, index: usize) -> Option<&Trunk> {
        self.trunks.get(index)
    }

    /// An adapter by its name.
    pub fn adapter(&self, name: &str) -> Option<&Adapter> {
        let index = self.placement.adapters.iter().position(|a| a.name == name)?;
        self.adapters.get(index)
    }

    /// The device that the weights live on, without autodiff.
    pub fn device(&self) -> Device {
        self.trunks[0].device()
    }

    /// The weights behind a role as they are now, frozen copies: the trunk, the adapter that the
    /// role looks through, and the reward head. What a later stage starts from.
    ///
    /// # Errors
    /// A role that the placement does not serve.
    pub fn checkpoint(&self, role: Role) -> Result<Checkpoint, ModelError> {
        let (trunk, lens) = self.look(self.placement.view(role)?, Gradient::Off)?;
        Ok(Checkpoint {
            trunk: trunk.duplicate(false),
            adapter: lens.adapter.map(|a| a.duplicate(false)),
            reward_head: self.reward_head.as_ref().map(|h| h.duplicate(false)),
        })
    }

    pub(crate) fn look<'a>(
        &'a self,
        view: &View,
        gradient: Gradient,
    ) -> Result<(&'a Trunk, Lens<'a>), CoreError> {
        let adapter = view.adapter.as_deref().and_then(|name| self.adapter(name));
        let trunk = self.trunks.get(view.trunk);
        let trunk = trunk.ok_or_else(|| CoreError::Other("view of a trunk not built".into()))?;
        Ok((trunk, Lens { adapter, gradient }))
    }
}

/// A copy of the checkpoint's trunk, without the LM head if no role reads it.
fn build_trunk(placement: &Placement, index: usize, spec: &TrunkSpec, start: &Start<'_>) -> Trunk {
    let source = &start.of(spec.source).trunk;
    match placement.predicts(index) {
        true => source.duplicate(spec.trainable),
        false => Trunk { head: None, ..source.clone() }.duplicate(spec.trainable),
    }
}

fn build_adapter(
    placement: &Placement,
    spec: &AdapterSpec,
    start: &Start<'_>,
    lora: &LoraShape,
    seed: u64,
) -> Result<Adapter, ModelError> {
    match spec.start {
        AdapterStart::Fresh => {
            let trunk = &start.of(placement.trunks[spec.trunk].source).trunk;
            let shape = &trunk.architecture.shape;
            let seed = sub_seed(seed, &spec.name);
            Ok(Adapter::fresh(shape, lora, spec.trainable, seed, &trunk.device()))
        }
        AdapterStart::CopyOf(checkpoint) => start
            .of(checkpoint)
            .adapter
            .as_ref()
            .map(|a| a.duplicate(spec.trainable))
            .ok_or(ModelError::NoStartAdapter { checkpoint }),
    }
}

fn build_head(
    placement: &Placement,
    role: Role,
    start: &Start<'_>,
    seed: u64,
) -> Result<Option<ScalarHead>, ModelError> {
    if !placement.views.contains_key(&role) {
        return Ok(None);
    }
    let trainable = placement.head_trainable(role);
    if let Some(head) = &start.reward.reward_head {
        check_width(role, head, &start.reward.trunk)?;
        return Ok(Some(head.duplicate(trainable)));
    }
    // A critic beside a reward model starts from it; alone it has nothing to start from.
    let alone = role == Role::Critic && !placement.views.contains_key(&Role::Reward);
    let fresh_is_fine = trainable && (role == Role::Reward || alone);
    if !fresh_is_fine {
        return Err(ModelError::NoRewardHead { role });
    }
    let trunk = &start.reward.trunk;
    let hidden = trunk.architecture.shape.width();
    let seed = sub_seed(seed, &format!("{role} head"));
    Ok(Some(ScalarHead::fresh(hidden, trainable, seed, &trunk.device())))
}

fn check_width<V: ValueHead>(role: Role, head: &V, trunk: &Trunk) -> Result<(), ModelError> {
    let (head, trunk) = (head.width(), trunk.architecture.shape.width());
    if head == trunk { Ok(()) } else { Err(ModelError::HeadWidth { role, head, trunk }) }
}

/// A checkpoint's own adapter must reach every role that starts from that checkpoint.
fn check_start_adapters(placement: &Placement, start: &Start<'_>) -> Result<(), ModelError> {
    for (&role, view) in &placement.views {
        let source = match role {
            Role::Actor | Role::Reference => Source::Policy,
            Role::Critic | Role::Reward => Source::Reward,
        };
        let starts_from_adapter = view
            .adapter
            .as_deref()
            .and_then(|name| placement.adapter(name))
            .is_some_and(|a| matches!(a.start, AdapterStart::CopyOf(_)));
        if start.of(source).adapter.is_some() && !starts_from_adapter {
            return Err(ModelError::StartAdapterIgnored {
                checkpoint: source,
                placement: placement.name.clone(),
                role,
            });
        }
    }
    Ok(())
}
