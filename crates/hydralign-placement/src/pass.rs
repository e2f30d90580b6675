use crate::{Placement, PlacementError, Role, View};

/// One run through a trunk that serves several roles at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    /// What the pass reads through.
    pub view: View,
    /// The roles that it serves, in the order asked for.
    pub roles: Vec<Role>,
}

impl Placement {
    /// Groups roles that share a trunk and an adapter, so that each group costs one trunk pass.
    ///
    /// # Errors
    /// [`PlacementError::RoleAbsent`] for a role that the placement does not serve.
    pub fn passes(&self, roles: &[Role]) -> Result<Vec<Pass>, PlacementError> {
        let mut passes: Vec<Pass> = Vec::new();
        for &role in roles {
            let view = self.view(role)?;
            let pass = match passes.iter_mut().find(|p| p.view == *view) {
                Some(pass) => pass,
                None => {
                    passes.push(Pass { view: view.clone(), roles: Vec::new() });
                    passes.last_mut().expect("just pushed")
                }
            };
            if !pass.roles.contains(&role) {
                pass.roles.push(role);
            }
        }
        Ok(passes)
    }
}
