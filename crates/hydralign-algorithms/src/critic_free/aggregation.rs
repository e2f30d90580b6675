use serde::{Deserialize, Serialize};

/// How the losses of tokens become the loss of a minibatch: the weight of each token.
///
/// With n responses of |y_i| tokens each:
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Aggregation {
    /// 1/Σ_j |y_j|: every token counts the same (DAPO).
    TokenMean,
    /// 1/(n·|y_i|): every response counts the same, the tokens of a long one less (GRPO).
    SequenceMean,
    /// 1/(n·length): every token counts the same, by a constant that no response changes (Dr.
    /// GRPO).
    Constant {
        /// The longest possible response, in tokens.
        length: usize,
    },
    /// 1/n: the sum over a response (RLOO, REINFORCE).
    SequenceSum,
}

impl Aggregation {
    /// The weight of each token of responses of these lengths: one number per response.
    pub fn weights(self, lengths: &[usize]) -> Vec<f64> {
        let n = lengths.len() as f64;
        let tokens: usize = lengths.iter().sum();
        let weight = |&length: &usize| match self {
            Aggregation::TokenMean => 1.0 / tokens as f64,
            Aggregation::SequenceMean => 1.0 / (n * length as f64),
            Aggregation::Constant { length } => 1.0 / (n * length as f64),
            Aggregation::SequenceSum => 1.0 / n,
        };
        lengths.iter().map(weight).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_by_hand() {
        let lengths = [1, 3];
        let table = [
            (Aggregation::TokenMean, [0.25, 0.25]),
            (Aggregation::SequenceMean, [0.5, 1.0 / 6.0]),
            (Aggregation::Constant { length: 10 }, [0.05, 0.05]),
            (Aggregation::SequenceSum, [0.5, 0.5]),
        ];
        for (aggregation, want) in table {
            assert_eq!(aggregation.weights(&lengths), want, "{aggregation:?}");
        }
    }
}
