//! The placements that have names: the five PPOs of Hydra-RLHF and the training stages before them.

use crate::{AdapterSpec, AdapterStart, Placement, Role, Source, TrunkSpec, View};

fn trunk(source: Source, trainable: bool) -> TrunkSpec {
    TrunkSpec { source, trainable }
}

fn adapter(name: &str, trunk: usize) -> AdapterSpec {
    AdapterSpec { name: name.to_owned(), trunk, trainable: true, start: AdapterStart::Fresh }
}

fn placement(
    name: &str,
    trunks: Vec<TrunkSpec>,
    adapters: Vec<AdapterSpec>,
    views: [(Role, View); 4],
) -> Placement {
    Placement { name: name.to_owned(), trunks, adapters, views: views.into() }
}

impl Placement {
    /// PPO with four full models, actor and critic trained in full (Ouyang et al. 2022).
    pub fn ppo() -> Self {
        placement(
            "ppo",
            vec![
                trunk(Source::Policy, true),
                trunk(Source::Reward, true),
                trunk(Source::Policy, false),
                trunk(Source::Reward, false),
            ],
            vec![],
            [
                (Role::Actor, View::trunk(0)),
                (Role::Critic, View::trunk(1)),
                (Role::Reference, View::trunk(2)),
                (Role::Reward, View::trunk(3)),
            ],
        )
    }

    /// LoRA-PPO: four frozen models, adapters on actor and critic.
    pub fn lora_ppo() -> Self {
        placement(
            "lora_ppo",
            vec![
                trunk(Source::Policy, false),
                trunk(Source::Reward, false),
                trunk(Source::Policy, false),
                trunk(Source::Reward, false),
            ],
            vec![adapter("actor", 0), adapter("critic", 1)],
            [
                (Role::Actor, View::adapter(0, "actor")),
                (Role::Critic, View::adapter(1, "critic")),
                (Role::Reference, View::trunk(2)),
                (Role::Reward, View::trunk(3)),
            ],
        )
    }

    /// Dynamic-LoRA-PPO: the adapter off *is* the frozen parent, so two models suffice
    /// (Hydra-RLHF, "Dynamic LoRA").
    pub fn dynamic_lora_ppo() -> Self {
        placement(
            "dynamic_lora_ppo",
            vec![trunk(Source::Policy, false), trunk(Source::Reward, false)],
            vec![adapter("actor", 0), adapter("critic", 1)],
            [
                (Role::Actor, View::adapter(0, "actor")),
                (Role::Critic, View::adapter(1, "critic")),
                (Role::Reference, View::trunk(0)),
                (Role::Reward, View::trunk(1)),
            ],
        )
    }

    /// J-Hydra-PPO: one trunk, one adapter that actor and critic share.
    pub fn j_hydra_ppo() -> Self {
        placement(
            "j_hydra_ppo",
            vec![trunk(Source::Policy, false)],
            vec![adapter("joint", 0)],
            [
                (Role::Actor, View::adapter(0, "joint")),
                (Role::Critic, View::adapter(0, "joint")),
                (Role::Reference, View::trunk(0)),
                (Role::Reward, View::trunk(0)),
            ],
        )
    }

    /// Hydra-PPO: one trunk, one adapter for the actor and one for the critic.
    pub fn hydra_ppo() -> Self {
        placement(
            "hydra_ppo",
            vec![trunk(Source::Policy, false)],
            vec![adapter("actor", 0), adapter("critic", 0)],
            [
                (Role::Actor, View::adapter(0, "actor")),
                (Role::Critic, View::adapter(0, "critic")),
                (Role::Reference, View::trunk(0)),
                (Role::Reward, View::trunk(0)),
            ],
        )
    }

    /// The five PPOs in the order of the Hydra-RLHF paper's Table 2.
    pub fn five_ppos() -> [Self; 5] {
        [
            Self::ppo(),
            Self::lora_ppo(),
            Self::dynamic_lora_ppo(),
            Self::j_hydra_ppo(),
            Self::hydra_ppo(),
        ]
    }

    /// One of the five PPOs by its name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::five_ppos().into_iter().find(|p| p.name == name)
    }

    /// Supervised fine-tuning: one model, trained in full.
    pub fn sft() -> Self {
        Self {
            name: "sft".into(),
            trunks: vec![trunk(Source::Policy, true)],
            adapters: vec![],
            views: [(Role::Actor, View::trunk(0))].into(),
        }
    }

    /// Hydra-SFT: one model with an LM head and a reward head, trained in full.
    pub fn hydra_sft() -> Self {
        Self {
            name: "hydra_sft".into(),
            trunks: vec![trunk(Source::Policy, true)],
            adapters: vec![],
            views: [(Role::Actor, View::trunk(0)), (Role::Reward, View::trunk(0))].into(),
        }
    }

    /// Reward modelling: one model with a reward head, trained in full.
    pub fn reward_model() -> Self {
        Self {
            name: "reward_model".into(),
            trunks: vec![trunk(Source::Reward, true)],
            adapters: vec![],
            views: [(Role::Reward, View::trunk(0))].into(),
        }
    }

    /// A policy trained in full beside what it is compared with: a frozen reference, a frozen
    /// reward model, both or neither. Critic-free policy gradients and live preference learning.
    pub fn policy(name: &str, reference: bool, reward: bool) -> Self {
        let mut trunks = vec![trunk(Source::Policy, true)];
        let mut views = vec![(Role::Actor, View::trunk(0))];
        for (held, role, source) in
            [(reference, Role::Reference, Source::Policy), (reward, Role::Reward, Source::Reward)]
        {
            if held {
                views.push((role, View::trunk(trunks.len())));
                trunks.push(trunk(source, false));
            }
        }
        let views = views.into_iter().collect();
        Self { name: name.into(), trunks, adapters: vec![], views }
    }

    /// A value model trained in full: prefix values, or W of SPR.
    pub fn value_model() -> Self {
        Self {
            name: "value_model".into(),
            trunks: vec![trunk(Source::Reward, true)],
            adapters: vec![],
            views: [(Role::Critic, View::trunk(0))].into(),
        }
    }

    /// One frozen model that answers these roles, through a trained adapter of that name if one
    /// is given: for reading and generating. [`Placement::validate`] refuses it, for there is
    /// nothing to train.
    pub fn frozen(roles: &[Role], adapter: Option<&str>) -> Self {
        let spec = |name: &str| AdapterSpec {
            name: name.to_owned(),
            trunk: 0,
            trainable: false,
            start: AdapterStart::CopyOf(Source::Policy),
        };
        let view = adapter.map_or(View::trunk(0), |name| View::adapter(0, name));
        Self {
            name: "frozen".into(),
            trunks: vec![trunk(Source::Policy, false)],
            adapters: adapter.map(spec).into_iter().collect(),
            views: roles.iter().map(|&role| (role, view.clone())).collect(),
        }
    }

    /// The same stage with a frozen trunk and one trained adapter: every trainable trunk
    /// becomes frozen and gets an adapter of that name, which all views on it read through.
    pub fn with_adapter(mut self, name: &str) -> Self {
        for index in 0..self.trunks.len() {
            if !std::mem::take(&mut self.trunks[index].trainable) {
                continue;
            }
            self.adapters.push(adapter(name, index));
            for view in self.views.values_mut().filter(|v| v.trunk == index) {
                view.adapter = Some(name.to_owned());
            }
        }
        self.name.push_str("_lora");
        self
    }

    /// The same placement without a trunk of its own for the reference, where the actor's trunk is
    /// frozen and starts from the same checkpoint: the adapter off is the reference (Dynamic LoRA of
    /// Hydra-RLHF, for methods other than PPO).
    pub fn sharing_reference(mut self) -> Self {
        let views = (self.views.get(&Role::Actor), self.views.get(&Role::Reference));
        let (Some(actor), Some(reference)) = views else { return self };
        let (kept, gone) = (actor.trunk, reference.trunk);
        let alone = self.views.values().filter(|v| v.trunk == gone).count() == 1;
        let same = self.trunks.get(kept).zip(self.trunks.get(gone)).is_some_and(|(a, r)| a == r);
        if !(alone && same && kept != gone && reference.adapter.is_none()) {
            return self;
        }
        self.views.insert(Role::Reference, View::trunk(kept));
        self.remove_trunk(gone);
        self
    }

    /// The same placement for rewards that are no model of it: rules, closures, judges, a model that is held
    /// elsewhere. A critic's head then starts fresh, and a trunk that served the reward alone is not held.
    pub fn without_reward(mut self) -> Self {
        if let Some(view) = self.views.remove(&Role::Reward)
            && !self.views.values().any(|other| other.trunk == view.trunk)
        {
            self.remove_trunk(view.trunk);
        }
        self
    }

    /// Takes out a trunk that no view looks at.
    fn remove_trunk(&mut self, gone: usize) {
        self.trunks.remove(gone);
        self.adapters.retain(|adapter| adapter.trunk != gone);
        let adapters = self.adapters.iter_mut().map(|a| &mut a.trunk);
        for index in self.views.values_mut().map(|v| &mut v.trunk).chain(adapters) {
            *index -= usize::from(*index > gone);
        }
    }
}
