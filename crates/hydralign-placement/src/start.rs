//! Runs that start from a trained adapter: where "adapter off" is *not* the start of the run.

use crate::{AdapterSpec, AdapterStart, Placement, PlacementError, Role, Source, View};

impl Placement {
    /// The same placement for a run whose checkpoint is a base plus a trained adapter.
    ///
    /// The trained roles start from copies of that adapter. The frozen roles would see the
    /// bare base if they kept reading "adapter off", which is not where the run starts, so
    /// each gets a frozen copy: `"reference_start"` and `"reward_start"`. Where both lie on
    /// one trunk and the checkpoint is the joint one (`joint`), they share `"start"`.
    ///
    /// # Errors
    /// [`PlacementError::StartAdapterOnFullTraining`] if a trunk is trained in full: merge the
    /// adapter into it first.
    pub fn starting_from_adapter(mut self, joint: bool) -> Result<Self, PlacementError> {
        if let Some(trunk) = self.trunks.iter().position(|t| t.trainable) {
            return Err(PlacementError::StartAdapterOnFullTraining { placement: self.name, trunk });
        }
        for (role, source) in [
            (Role::Actor, Source::Policy),
            (Role::Critic, Source::Reward),
            (Role::Reward, Source::Reward),
        ] {
            self.start_trained_role(role, source);
        }
        for (role, source) in [(Role::Reference, Source::Policy), (Role::Reward, Source::Reward)] {
            self.start_frozen_role(role, source, joint);
        }
        Ok(self)
    }

    fn start_trained_role(&mut self, role: Role, source: Source) {
        let Some(name) = self.views.get(&role).and_then(|v| v.adapter.clone()) else { return };
        let adapter = self.adapters.iter_mut().find(|a| a.name == name);
        // A joined adapter serves the actor first; the others must not overwrite its start.
        if let Some(adapter) = adapter.filter(|a| a.start == AdapterStart::Fresh) {
            adapter.start = AdapterStart::CopyOf(source);
        }
    }

    fn start_frozen_role(&mut self, role: Role, source: Source, joint: bool) {
        let Some(view) = self.views.get(&role).filter(|v| v.adapter.is_none()).cloned() else {
            return;
        };
        let shares_trunk = self.views.iter().any(|(&other, v)| {
            other != role
                && matches!(other, Role::Reference | Role::Reward)
                && v.trunk == view.trunk
        });
        let name = if joint && shares_trunk { "start".to_owned() } else { format!("{role}_start") };
        if self.adapter(&name).is_none() {
            self.adapters.push(AdapterSpec {
                name: name.clone(),
                trunk: view.trunk,
                trainable: false,
                start: AdapterStart::CopyOf(source),
            });
        }
        self.views.insert(role, View::adapter(view.trunk, &name));
    }
}
