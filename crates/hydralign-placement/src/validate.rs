use crate::{Placement, PlacementError, Role, View};
use std::collections::BTreeSet;

impl Placement {
    /// Checks that every view exists, that nothing is held for nothing, and that what must
    /// not move does not.
    ///
    /// A reference never moves. A reward model moves only where it is the thing being trained,
    /// that is, in placements without a reference.
    ///
    /// # Errors
    /// The first fault found, named precisely.
    pub fn validate(&self) -> Result<(), PlacementError> {
        self.check()?;
        self.check_trained()
    }

    /// What [`Placement::validate`] checks, but that something may be trained: what must hold for
    /// placements that only read, too.
    ///
    /// # Errors
    /// The first fault found, named precisely.
    pub fn check(&self) -> Result<(), PlacementError> {
        self.check_adapters()?;
        for (&role, view) in &self.views {
            self.check_view(role, view)?;
        }
        self.check_unused()?;
        self.check_frozen()
    }

    fn check_adapters(&self) -> Result<(), PlacementError> {
        let mut seen = BTreeSet::new();
        for adapter in &self.adapters {
            let name = adapter.name.as_str();
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if name.is_empty() || !name.chars().all(plain) {
                return Err(PlacementError::BadAdapterName {
                    placement: self.name.clone(),
                    adapter: name.to_owned(),
                });
            }
            if !seen.insert(name) {
                return Err(PlacementError::DuplicateAdapter {
                    placement: self.name.clone(),
                    adapter: name.to_owned(),
                });
            }
        }
        Ok(())
    }

    fn check_view(&self, role: Role, view: &View) -> Result<(), PlacementError> {
        let placement = self.name.clone();
        if view.trunk >= self.trunks.len() {
            let (trunk, trunks) = (view.trunk, self.trunks.len());
            return Err(PlacementError::UnknownTrunk { placement, role, trunk, trunks });
        }
        let Some(name) = &view.adapter else { return Ok(()) };
        let Some(adapter) = self.adapter(name) else {
            return Err(PlacementError::UnknownAdapter { placement, role, adapter: name.clone() });
        };
        if adapter.trunk != view.trunk {
            return Err(PlacementError::AdapterOnOtherTrunk {
                placement,
                role,
                trunk: view.trunk,
                adapter: name.clone(),
                owner: adapter.trunk,
            });
        }
        Ok(())
    }

    fn check_unused(&self) -> Result<(), PlacementError> {
        let unused_trunk = (0..self.trunks.len())
            .find(|&i| !self.views.values().any(|v| v.trunk == i))
            .map(|i| format!("trunk {i}"));
        let unused_adapter = self
            .adapters
            .iter()
            .find(|a| !self.views.values().any(|v| v.adapter.as_ref() == Some(&a.name)))
            .map(|a| format!("adapter `{}`", a.name));
        match unused_trunk.or(unused_adapter) {
            Some(what) => Err(PlacementError::Unused { placement: self.name.clone(), what }),
            None => Ok(()),
        }
    }

    fn check_frozen(&self) -> Result<(), PlacementError> {
        if !self.views.contains_key(&Role::Reference) {
            return Ok(());
        }
        for role in [Role::Reference, Role::Reward] {
            if self.views.get(&role).is_some_and(|v| self.is_trainable(v)) {
                let placement = self.name.clone();
                return Err(PlacementError::FrozenRoleTrained { placement, role });
            }
        }
        Ok(())
    }

    fn check_trained(&self) -> Result<(), PlacementError> {
        let served = |role: &Role| self.views.contains_key(role);
        let role = [Role::Actor, Role::Critic].into_iter().find(served).unwrap_or(Role::Reward);
        if self.is_trainable(self.view(role)?) {
            return Ok(());
        }
        Err(PlacementError::NothingToTrain { placement: self.name.clone(), role })
    }
}
