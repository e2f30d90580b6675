use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor, TensorData};

/// Added to scores that must not be seen. Finite, so that a query which sees nothing (a pad)
/// stays finite too; exp of it is exactly 0 next to any real score.
const HIDDEN: f32 = -1e9;

/// Softmax attention with grouped queries: each of `kv` heads serves `g` query heads, which are
/// folded into the query side, so that keys and values are never repeated or copied.
///
/// With a cap c the scores become c·tanh(s/c) before the bias (Gemma 2).
///
/// # Shapes
/// `q`: `[b, tq, kv·g, d]` already scaled; `k`, `v`: `[b, tk, kv, d]` (views are fine);
/// `bias` broadcasts over `[b, kv, g, tq, tk]`. Returns `[b·tq, kv·g·d]`.
pub(crate) fn attend(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    bias: Option<Tensor<5>>,
    cap: Option<f64>,
) -> Tensor<2> {
    let [b, tq, heads, d] = q.dims();
    let kv = k.dims()[2];
    if tq == 1 {
        return attend_one(q, k, v, bias, cap);
    }
    let q = q.reshape([b, tq, kv, heads / kv, d]).permute([0, 2, 3, 1, 4]);
    let k = k.permute([0, 2, 3, 1]).unsqueeze_dim::<5>(2);
    let v = v.permute([0, 2, 1, 3]).unsqueeze_dim::<5>(2);
    let scores = softcap(q.matmul(k), cap);
    let scores = match bias {
        Some(bias) => scores.add(bias),
        None => scores,
    };
    let context = softmax(scores, 4).matmul(v);
    context.permute([0, 3, 1, 2, 4]).reshape([b * tq, heads * d])
}

/// One query position: the group becomes the rows of a single product per key-value head.
fn attend_one(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    bias: Option<Tensor<5>>,
    cap: Option<f64>,
) -> Tensor<2> {
    let [b, _, heads, d] = q.dims();
    let [_, tk, kv, _] = k.dims();
    let q = q.reshape([b, kv, heads / kv, d]);
    let scores = softcap(q.matmul(k.permute([0, 2, 3, 1])), cap);
    let scores = match bias {
        Some(bias) => {
            let rows = bias.dims()[0];
            scores.add(bias.reshape([rows, 1, 1, tk]))
        }
        None => scores,
    };
    softmax(scores, 3).matmul(v.permute([0, 2, 1, 3])).reshape([b, heads * d])
}

/// c·tanh(x/c), or x without a cap.
pub(crate) fn softcap<const D: usize>(x: Tensor<D>, cap: Option<f64>) -> Tensor<D> {
    match cap {
        Some(cap) => x.div_scalar(cap).tanh().mul_scalar(cap),
        None => x,
    }
}

/// What the newest `queries` of `filled` positions may not see: each row's left padding (row i
/// has `starts[i]` pads), the future, and what lies before the window.
///
/// # Shapes
/// `[starts.len(), 1, 1, queries, filled]`; one row serves every row of a batch.
pub(crate) fn visibility_bias(
    starts: &[usize],
    queries: usize,
    filled: usize,
    window: Option<usize>,
    device: &Device,
) -> Tensor<5> {
    let mut bias = vec![0f32; starts.len() * queries * filled];
    for (row, values) in bias.chunks_mut(queries * filled).enumerate() {
        for (query, values) in values.chunks_mut(filled).enumerate() {
            let after = filled - queries + query + 1;
            let before = window.map_or(0, |size| after.saturating_sub(size));
            values[..before.max(starts[row]).min(filled)].fill(HIDDEN);
            values[after..].fill(HIDDEN);
        }
    }
    Tensor::from_data(TensorData::new(bias, [starts.len(), 1, 1, queries, filled]), device)
}
