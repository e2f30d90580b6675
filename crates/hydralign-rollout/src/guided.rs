use burn::tensor::Tensor;
use burn::tensor::activation::log_softmax;
use hydralign_core::{CoreError, Decoder, Role};

/// A policy whose next-token distribution is tilted by the values of another decoder.
///
/// log p(a|s) = log π(a|s) + λ·Q(s, a) − log Z(s)
///
/// The scorer's answers are values of tokens: of a prefix scorer it is controlled decoding (Mudgal et
/// al. 2023, eq. 2), of offline Q-learning it is ILQL's decoding (Snell et al. 2022, §4.3), whose λ·(Q − V)
/// is the same distribution, for V does not depend on the token.
///
/// The two keep a cache each, also where they share a trunk.
pub struct Guided<'a, P: ?Sized, S: ?Sized> {
    policy: &'a P,
    scorer: &'a S,
    scorer_role: Role,
    weight: f64,
}

impl<'a, P: Decoder + ?Sized, S: Decoder + ?Sized> Guided<'a, P, S> {
    /// A policy tilted by `weight` times what the scorer answers for that role.
    pub fn new(policy: &'a P, scorer: &'a S, scorer_role: Role, weight: f64) -> Self {
        Self { policy, scorer, scorer_role, weight }
    }

    fn tilt(&self, logits: Tensor<2>, values: Tensor<2>) -> Tensor<2> {
        log_softmax(logits, 1).add(values.mul_scalar(self.weight))
    }
}

impl<P: Decoder + ?Sized, S: Decoder + ?Sized> Decoder for Guided<'_, P, S> {
    type Cache = (P::Cache, S::Cache);

    fn prefill(
        &self,
        role: Role,
        prompts: &[&[u32]],
        room: &[usize],
    ) -> Result<(Self::Cache, Tensor<2>), CoreError> {
        let (own, logits) = self.policy.prefill(role, prompts, room)?;
        let (other, values) = self.scorer.prefill(self.scorer_role, prompts, room)?;
        Ok(((own, other), self.tilt(logits, values)))
    }

    fn decode(
        &self,
        role: Role,
        (own, other): &mut Self::Cache,
        tokens: &[u32],
    ) -> Result<Tensor<2>, CoreError> {
        let logits = self.policy.decode(role, own, tokens)?;
        let values = self.scorer.decode(self.scorer_role, other, tokens)?;
        Ok(self.tilt(logits, values))
    }

    fn retain(&self, (own, other): &mut Self::Cache, rows: &[usize]) {
        self.policy.retain(own, rows);
        self.scorer.retain(other, rows);
    }
}
