use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor, TensorData};

/// Added to scores that must not be seen. Finite, so that a query which sees nothing (a pad)
/// stays finite too; exp of it is exactly 0 next to any real score.
const HIDDEN: f32 = -1e9;

/// Softmax attention with grouped queries: each of `kv` heads serves `g` query heads, which are
/// folded into the query side, so that keys and values are never repeated or copied.
///
/// # Shapes
/// `q`: `[b, tq, kv·g, d]` already scaled by 1/√d; `k`, `v`: `[b, tk, kv, d]` (views are fine);
/// `bias` broadcasts over `[b, kv, g, tq, tk]`. Returns `[b·tq, kv·g·d]`.
pub(crate) fn attend(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    bias: Option<Tensor<5>>,
) -> Tensor<2> {
    let [b, tq, heads, d] = q.dims();
    let kv = k.dims()[2];
    if tq == 1 {
        return attend_one(q, k, v, bias);
    }
    let q = q.reshape([b, tq, kv, heads / kv, d]).permute([0, 2, 3, 1, 4]);
    let k = k.permute([0, 2, 3, 1]).unsqueeze_dim::<5>(2);
    let v = v.permute([0, 2, 1, 3]).unsqueeze_dim::<5>(2);
    let scores = q.matmul(k);
    let scores = match bias {
        Some(bias) => scores.add(bias),
        None => scores,
    };
    let context = softmax(scores, 4).matmul(v);
    context.permute([0, 3, 1, 2, 4]).reshape([b * tq, heads * d])
}

/// One query position: the group becomes the rows of a single product per key-value head.
fn attend_one(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, bias: Option<Tensor<5>>) -> Tensor<2> {
    let [b, _, heads, d] = q.dims();
    let [_, tk, kv, _] = k.dims();
    let q = q.reshape([b, kv, heads / kv, d]);
    let scores = q.matmul(k.permute([0, 2, 3, 1]));
    let scores = match bias {
        Some(bias) => scores.add(bias.reshape([b, 1, 1, tk])),
        None => scores,
    };
    softmax(scores, 3).matmul(v.permute([0, 2, 1, 3])).reshape([b, heads * d])
}

/// Bias that hides the future: `[1, 1, 1, t, t]`.
pub(crate) fn causal_bias(t: usize, device: &Device) -> Tensor<5> {
    let mut bias = vec![0f32; t * t];
    for (row, values) in bias.chunks_mut(t).enumerate() {
        values[row + 1..].fill(HIDDEN);
    }
    Tensor::from_data(TensorData::new(bias, [1, 1, 1, t, t]), device)
}

/// Bias that hides each row's left padding and, for `queries` > 1, the future.
/// `[rows, 1, 1, queries, filled]`; row i has `starts[i]` pads.
pub(crate) fn left_padding_bias(
    starts: &[usize],
    queries: usize,
    filled: usize,
    device: &Device,
) -> Tensor<5> {
    let mut bias = vec![0f32; starts.len() * queries * filled];
    for (row, values) in bias.chunks_mut(queries * filled).enumerate() {
        for (query, values) in values.chunks_mut(filled).enumerate() {
            values[..starts[row]].fill(HIDDEN);
            values[filled - queries + query + 1..].fill(HIDDEN);
        }
    }
    Tensor::from_data(TensorData::new(bias, [starts.len(), 1, 1, queries, filled]), device)
}
