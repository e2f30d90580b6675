//! What the configurations of several families have in common.

use super::Fields;
use crate::FamilyError;
use crate::architecture::{
    Activation, Architecture, NormKind, Positions, Residual, Rope, RopeScaling, Sliding, Window,
};
use hydralign_placement::{ModelShape, Parts, WeightDims};

/// What a family's configuration class assumes where a file says nothing.
#[derive(Clone, Copy, Default)]
pub(super) struct Absent {
    /// Heads of keys and values; as many as query heads if none.
    pub(super) kv_heads: Option<usize>,
    /// The size of a head; the hidden size through the heads if none.
    pub(super) head_dim: Option<usize>,
}

/// The fields that Llama and its relatives share, read as Llama's: root-mean-square norms before
/// each half, a gated feed-forward block, rotary positions, no biases, no window.
pub(super) fn llama_like(
    fields: &Fields<'_>,
    absent: Absent,
    rope: Rope,
) -> Result<Architecture, FamilyError> {
    let (hidden, heads) = (fields.size("hidden_size")?, fields.size("num_attention_heads")?);
    let shape = ModelShape {
        vocab: fields.size("vocab_size")?,
        hidden,
        intermediate: fields.size("intermediate_size")?,
        layers: fields.size("num_hidden_layers")?,
        heads,
        kv_heads: match fields.value.get("num_key_value_heads") {
            None => absent.kv_heads.unwrap_or(heads),
            Some(_) => fields.size_or("num_key_value_heads", heads)?,
        },
        head_dim: fields.size_or("head_dim", absent.head_dim.unwrap_or(hidden / heads))?,
        tied: fields.flag_or("tie_word_embeddings", false)?,
        parts: Parts::default(),
    };
    Ok(Architecture {
        norm: NormKind::Rms,
        norm_eps: fields.number_or("rms_norm_eps", 1e-6)?,
        activation: activation(fields, "hidden_act", "silu")?,
        positions: Positions::Rotary { dims: shape.head_dim, full: rope, sliding: rope },
        ..plain(fields, shape, fields.size("max_position_embeddings")?)
    })
}

/// A decoder with layer norms before each half, learned positions and nothing uncommon.
pub(super) fn plain(fields: &Fields<'_>, shape: ModelShape, context: usize) -> Architecture {
    Architecture {
        norm: NormKind::Layer,
        norm_eps: 1e-5,
        residual: Residual::PreNorm,
        activation: Activation::Gelu,
        positions: Positions::Learned { offset: 0 },
        window: None,
        attention_scale: 1.0 / (shape.head_dim as f64).sqrt(),
        scale_by_layer: false,
        attention_softcap: None,
        logit_softcap: None,
        embedding_scale: None,
        context,
        config: fields.value.clone(),
        own_family: None,
        shape,
    }
}

/// The size of a head where all heads together have the hidden size.
pub(super) fn head_dim(
    fields: &Fields<'_>,
    hidden: usize,
    (field, heads): (&str, usize),
) -> Result<usize, FamilyError> {
    match hidden.is_multiple_of(heads) {
        true => Ok(hidden / heads),
        false => Err(fields.error(field, format!("{heads} does not divide {hidden}"))),
    }
}

/// Biases that a configuration switches on for all of queries, keys, values and output.
pub(super) fn attention_bias(fields: &Fields<'_>, parts: &mut Parts) -> Result<(), FamilyError> {
    let bias = fields.flag_or("attention_bias", false)?;
    (parts.qkv_bias, parts.output_bias) = (bias, bias);
    Ok(())
}

/// A named activation function.
pub(super) fn activation(
    fields: &Fields<'_>,
    field: &str,
    default: &str,
) -> Result<Activation, FamilyError> {
    let name = fields.value.get(field).map_or(Ok(default.to_owned()), |_| fields.text(field))?;
    match name.as_str() {
        "silu" | "swish" => Ok(Activation::Silu),
        "gelu" => Ok(Activation::Gelu),
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Activation::GeluTanh),
        "relu" => Ok(Activation::Relu),
        other => Err(fields.error(field, format!("the activation `{other}` is not supported"))),
    }
}

/// What a description of rotary positions may hold: keys that a kind does not use are passed over,
/// as transformers does.
const ROPE_KEYS: [&str; 16] = [
    "rope_type",
    "type",
    "rope_theta",
    "partial_rotary_factor",
    "factor",
    "original_max_position_embeddings",
    "low_freq_factor",
    "high_freq_factor",
    "attention_factor",
    "beta_fast",
    "beta_slow",
    "mscale",
    "mscale_all_dim",
    "truncate",
    "long_factor",
    "short_factor",
];

/// The object that describes rotary positions: `rope_scaling` (transformers 4) if it says anything,
/// else `rope_parameters` (transformers 5), as transformers 5 chooses where both are there.
pub(super) fn rope_object<'a>(fields: &Fields<'a>) -> Result<Option<Fields<'a>>, FamilyError> {
    let scaling = fields.object("rope_scaling")?;
    match scaling.filter(|f| f.value.as_object().is_some_and(|map| !map.is_empty())) {
        Some(scaling) => Ok(Some(scaling)),
        None => fields.object("rope_parameters"),
    }
}

/// Rotary positions; the base may stand in the object or beside it under the name `base`.
pub(super) fn rope(fields: &Fields<'_>, base: &str) -> Result<Rope, FamilyError> {
    let outer = fields.number_or(base, 10_000.0)?;
    match rope_object(fields)? {
        Some(nested) => Ok(Rope {
            base: nested.number_or("rope_theta", outer)?,
            scaling: scaling(&nested, fields)?,
        }),
        None => Ok(Rope { base: outer, scaling: RopeScaling::None }),
    }
}

/// Rotary positions of a family that rotates whole heads.
pub(super) fn whole_rope(fields: &Fields<'_>) -> Result<Rope, FamilyError> {
    let rope = rope(fields, "rope_theta")?;
    // Without a scaling transformers passes over the share, with one the shapes do not fit.
    if rope.scaling != RopeScaling::None && partly_rotary(fields)? {
        let reason = "is not supported in this family together with a rope scaling";
        return Err(fields.error("partial_rotary_factor", reason));
    }
    Ok(rope)
}

/// Whether a configuration asks for heads that are rotated in part.
fn partly_rotary(fields: &Fields<'_>) -> Result<bool, FamilyError> {
    let nested =
        rope_object(fields)?.map_or(Ok(1.0), |f| f.number_or("partial_rotary_factor", 1.0))?;
    Ok(nested != 1.0 || fields.number_or("partial_rotary_factor", 1.0)? != 1.0)
}

/// The scaling that an object with `rope_type` (or, before, `type`) describes, in a configuration.
pub(super) fn scaling(
    fields: &Fields<'_>,
    config: &Fields<'_>,
) -> Result<RopeScaling, FamilyError> {
    if let Some(key) = fields.names().find(|key| !ROPE_KEYS.contains(key)) {
        return Err(fields.error(key, "is not known in a description of rotary positions"));
    }
    let kind = if fields.value.get("rope_type").is_some() { "rope_type" } else { "type" };
    if fields.value.get(kind).is_none() {
        return Ok(RopeScaling::None);
    }
    match fields.text(kind)?.as_str() {
        "default" => Ok(RopeScaling::None),
        "linear" => Ok(RopeScaling::Linear { factor: fields.positive("factor")? }),
        "llama3" => llama3(fields, config),
        other => {
            let reason = format!("`{other}` is not supported (known: default, linear, llama3)");
            Err(fields.error(kind, reason))
        }
    }
}

fn llama3(fields: &Fields<'_>, config: &Fields<'_>) -> Result<RopeScaling, FamilyError> {
    let original = "original_max_position_embeddings";
    if config.get(original).is_some() {
        let reason = "beside a rope scaling is not supported; it belongs into `rope_parameters`";
        return Err(config.error(original, reason));
    }
    let original = match fields.value.get(original) {
        Some(_) => fields.positive(original)?,
        None => config.positive("max_position_embeddings")?,
    };
    Ok(RopeScaling::Llama3 {
        factor: fields.positive("factor")?,
        low: fields.positive("low_freq_factor")?,
        high: fields.positive("high_freq_factor")?,
        original,
    })
}

/// The window of `sliding_window` positions, on the layers that `layer_types` lists or, without
/// a list, on those that the family slides by default.
pub(super) fn window(
    fields: &Fields<'_>,
    default_size: Option<usize>,
    layers: usize,
    default_layers: Sliding,
) -> Result<Option<Window>, FamilyError> {
    let size = match fields.value.get("sliding_window") {
        None => default_size,
        Some(serde_json::Value::Null) => None,
        Some(_) => Some(fields.size("sliding_window")?),
    };
    let Some(size) = size else { return Ok(None) };
    let layers = match fields.get("layer_types") {
        None => default_layers,
        Some(list) => Sliding::Listed(layer_types(fields, list, layers)?),
    };
    // A list without a window is none.
    let slides = !matches!(&layers, Sliding::Listed(listed) if !listed.contains(&true));
    Ok(slides.then_some(Window { size, layers }))
}

pub(super) fn layer_types(
    fields: &Fields<'_>,
    list: &serde_json::Value,
    layers: usize,
) -> Result<Vec<bool>, FamilyError> {
    let slides = |value: &serde_json::Value| match value.as_str() {
        Some("sliding_attention") => Ok(true),
        Some("full_attention") => Ok(false),
        _ => Err(fields.error("layer_types", format!("{value} is not a supported kind of layer"))),
    };
    let kinds = list.as_array().ok_or_else(|| fields.error("layer_types", "must be a list"))?;
    if kinds.len() != layers {
        let reason = format!("lists {} layers of {layers}", kinds.len());
        return Err(fields.error("layer_types", reason));
    }
    kinds.iter().map(slides).collect()
}

/// What must hold for every family before a tensor is read.
pub(super) fn check(fields: &Fields<'_>, architecture: &Architecture) -> Result<(), FamilyError> {
    let shape = &architecture.shape;
    if !shape.heads.is_multiple_of(shape.kv_heads) {
        let reason = format!("{} does not divide {} query heads", shape.kv_heads, shape.heads);
        return Err(fields.error("num_key_value_heads", reason));
    }
    if shape.head_dim == 0 {
        let reason = format!("hidden size {} is too small for {} heads", shape.hidden, shape.heads);
        return Err(fields.error("num_attention_heads", reason));
    }
    if let Positions::Rotary { dims, .. } = architecture.positions
        && (!dims.is_multiple_of(2) || dims == 0 || dims > shape.head_dim)
    {
        let most = shape.head_dim;
        let reason = format!("an even number of up to {most} dimensions is rotated, got {dims}");
        return Err(fields.error("head_dim", reason));
    }
    check_sizes(fields, shape)
}

/// Sizes multiply to numbers of elements; beyond this no file could hold the tensor.
fn check_sizes(fields: &Fields<'_>, shape: &ModelShape) -> Result<(), FamilyError> {
    const MOST: u128 = 1 << 48;
    let elements = |[rows, columns]: WeightDims| rows as u128 * columns as u128;
    let heads = shape.heads as u128 * shape.head_dim as u128;
    // The heads first: the widths of projections are products themselves.
    let fits = heads <= MOST
        && shape
            .block_weights()
            .into_iter()
            .chain(shape.outer_weights())
            .all(|w| elements(w) <= MOST);
    match fits {
        true => Ok(()),
        false => Err(fields.error("hidden_size", "the sizes are too large for any tensor")),
    }
}
