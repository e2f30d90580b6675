use crate::attention::visibility_bias;
use crate::rope::Rotation;
use burn::tensor::{Device, Tensor};
use hydralign_families::{Architecture, Positions, Rope};

/// Where the queries of a pass stand.
pub(crate) struct Stand<'a> {
    /// Left padding of each row; one row where all are alike.
    pub(crate) starts: &'a [usize],
    /// Newest positions, the ones that ask.
    pub(crate) queries: usize,
    /// Positions in all, the queries included.
    pub(crate) filled: usize,
}

impl Stand<'_> {
    /// A whole pass over rows that are padded on the right.
    pub(crate) fn padded_right(width: usize) -> Self {
        Self { starts: &[0], queries: width, filled: width }
    }

    /// The position of every query, row by row, counted from each row's first real token.
    pub(crate) fn positions(&self) -> Vec<usize> {
        let range = self.filled - self.queries..self.filled;
        let row = |&start: &usize| range.clone().map(move |p| p.saturating_sub(start));
        self.starts.iter().flat_map(row).collect()
    }

    /// What the queries may not see; none if that is nothing.
    fn bias(&self, window: Option<usize>, device: &Device) -> Option<Tensor<5>> {
        let padded = self.starts.iter().any(|&s| s > 0);
        let slides = window.is_some_and(|size| size < self.filled);
        let hides = padded || slides || self.queries > 1;
        hides.then(|| visibility_bias(self.starts, self.queries, self.filled, window, device))
    }
}

/// What a kind of layer sees and how it rotates.
#[derive(Clone)]
pub(crate) struct Sight {
    pub(crate) rotation: Option<Rotation>,
    pub(crate) bias: Option<Tensor<5>>,
}

/// The sights of a pass: of layers that see everything, and of those with a window.
pub(crate) struct Sights {
    full: Sight,
    sliding: Option<Sight>,
}

impl Sights {
    pub(crate) fn new(architecture: &Architecture, stand: &Stand<'_>, device: &Device) -> Self {
        let rotation = |pick: fn(&Positions) -> Option<(usize, Rope)>| {
            let (dims, rope) = pick(&architecture.positions)?;
            Some(Rotation::new(&rope, dims, &stand.positions(), stand.starts.len(), device))
        };
        let full = Sight { rotation: rotation(full_rope), bias: stand.bias(None, device) };
        let sliding = architecture.window.as_ref().map(|window| Sight {
            rotation: match full_rope(&architecture.positions)
                == sliding_rope(&architecture.positions)
            {
                true => full.rotation.clone(),
                false => rotation(sliding_rope),
            },
            bias: match window.size < stand.filled {
                true => stand.bias(Some(window.size), device),
                false => full.bias.clone(),
            },
        });
        Self { full, sliding }
    }

    /// The sight of one layer.
    pub(crate) fn of(&self, architecture: &Architecture, layer: usize) -> &Sight {
        let slides = architecture.window.as_ref().is_some_and(|w| w.covers(layer));
        self.sliding.as_ref().filter(|_| slides).unwrap_or(&self.full)
    }
}

fn full_rope(positions: &Positions) -> Option<(usize, Rope)> {
    match *positions {
        Positions::Rotary { dims, full, .. } => Some((dims, full)),
        Positions::Learned { .. } => None,
    }
}

fn sliding_rope(positions: &Positions) -> Option<(usize, Rope)> {
    match *positions {
        Positions::Rotary { dims, sliding, .. } => Some((dims, sliding)),
        Positions::Learned { .. } => None,
    }
}
