use crate::block::Block;
use crate::files::{StoredDtype, TensorFiles};
use crate::linear::Linear;
use crate::norm::Norm;
use crate::weights::parameter;
use crate::{Architecture, ModelError, ScalarHead, Trunk};
use burn::module::Param;
use burn::tensor::{Device, Tensor};
use hydralign_families::{Family, Order, Slot, Storage};
use hydralign_placement::Target;

/// Buffers that older versions of transformers stored and that follow from the configuration:
/// causal masks and rotary frequencies.
const BUFFERS: [&str; 5] = [
    "rotary_emb.inv_freq",
    ".attn.bias",
    ".attn.masked_bias",
    ".attention.bias",
    ".attention.masked_bias",
];

/// Value and class heads of other trainers and tasks, where a language model has its head.
const OTHER_HEADS: [(&str, &str); 6] = [
    ("value_head", "a value head (OpenRLHF)"),
    ("v_head.summary", "a value head (TRL)"),
    ("v_head", "a value head"),
    ("regression_head", "a regression head"),
    ("classifier", "the head of a token classifier"),
    ("qa_outputs", "the head of a question answerer"),
];

/// Unties an architecture whose file holds a head that is not the embedding.
pub(crate) fn untie(
    architecture: &mut Architecture,
    family: &dyn Family,
    files: &TensorFiles,
) -> Result<(), ModelError> {
    let names = family.names();
    let embedding = names.module(Slot::Embedding) + ".weight";
    let bare = embedding.strip_prefix(names.prefix).unwrap_or(&embedding);
    let embedding = if files.contains(&embedding) { &embedding } else { bare };
    let head = names.module(Slot::LmHead) + ".weight";
    let both = files.contains(embedding) && files.contains(&head);
    if architecture.shape.tied && both && !files.same(embedding, &head)? {
        architecture.shape.tied = false;
        if let Some(config) = architecture.config.as_object_mut() {
            config.insert("tie_word_embeddings".into(), false.into());
        }
    }
    Ok(())
}

/// Builds the parts of a decoder from the tensors of a family. All frozen.
pub(crate) struct Loader<'a> {
    files: TensorFiles,
    family: &'static dyn Family,
    architecture: &'a Architecture,
    device: &'a Device,
    /// What the family's names lose: files of a base model have no prefix.
    stripped: &'static str,
}

impl<'a> Loader<'a> {
    pub(crate) fn new(
        files: TensorFiles,
        family: &'static dyn Family,
        architecture: &'a Architecture,
        device: &'a Device,
    ) -> Self {
        let names = family.names();
        let embedding = names.module(Slot::Embedding) + ".weight";
        let bare = embedding.strip_prefix(names.prefix).is_some_and(|n| files.contains(n));
        let stripped = if bare && !files.contains(&embedding) { names.prefix } else { "" };
        Self { files, family, architecture, device, stripped }
    }

    fn name(&self, slot: Slot, part: &str) -> String {
        let name = format!("{}.{part}", self.family.names().module(slot));
        name.strip_prefix(self.stripped).unwrap_or(&name).to_owned()
    }

    fn vector(
        &mut self,
        slot: Slot,
        part: &str,
        size: usize,
        order: Order,
    ) -> Result<Param<Tensor<1>>, ModelError> {
        let name = self.name(slot, part);
        Ok(parameter(self.files.vector(&name, size, order, self.device)?, false))
    }

    fn plain(&mut self, slot: Slot, dims: [usize; 2]) -> Result<Param<Tensor<2>>, ModelError> {
        let name = self.name(slot, "weight");
        Ok(parameter(self.files.plain(&name, dims, self.device)?, false))
    }

    /// A map that is stored `[out, in]`.
    fn transposed(
        &mut self,
        slot: Slot,
        dims: [usize; 2],
        order: Order,
    ) -> Result<Param<Tensor<2>>, ModelError> {
        let name = self.name(slot, "weight");
        Ok(parameter(self.files.transposed(&name, dims, order, self.device)?, false))
    }

    fn norm(&mut self, slot: Slot, size: usize) -> Result<Norm, ModelError> {
        let weight = self.vector(slot, "weight", size, Order::Same)?;
        let bias = match self.architecture.shape.parts.norm_bias {
            true => Some(self.vector(slot, "bias", size, Order::Same)?),
            false => None,
        };
        Ok(Norm { weight, bias })
    }

    fn norm_if(
        &mut self,
        there: bool,
        slot: Slot,
        size: usize,
    ) -> Result<Option<Norm>, ModelError> {
        if there { self.norm(slot, size).map(Some) } else { Ok(None) }
    }

    fn linear(&mut self, block: usize, target: Target) -> Result<Linear, ModelError> {
        let shape = &self.architecture.shape;
        let (dims, order) = (shape.projection(target), self.family.order(shape, target));
        let has_bias = shape.parts.has_bias(target);
        let slot = Slot::Projection(block, target);
        let weight = match self.family.storage() {
            Storage::OutIn => self.transposed(slot, dims, order)?,
            Storage::InOut => self.plain(slot, dims)?,
        };
        let bias = match has_bias {
            true => Some(self.vector(slot, "bias", dims[1], order)?),
            false => None,
        };
        Ok(Linear { weight, bias })
    }

    fn block(&mut self, i: usize) -> Result<Block, ModelError> {
        let shape = &self.architecture.shape;
        let (hidden, head, parts) = (shape.hidden, shape.head_dim, &shape.parts);
        let targets = shape.targets().iter();
        Ok(Block {
            attention_norm: self.norm(Slot::AttentionNorm(i), hidden)?,
            mlp_norm: self.norm(Slot::MlpNorm(i), hidden)?,
            attention_out_norm: self.norm_if(parts.sandwich, Slot::AttentionOutNorm(i), hidden)?,
            mlp_out_norm: self.norm_if(parts.sandwich, Slot::MlpOutNorm(i), hidden)?,
            query_norm: self.norm_if(parts.qk_norm, Slot::QueryNorm(i), head)?,
            key_norm: self.norm_if(parts.qk_norm, Slot::KeyNorm(i), head)?,
            projections: targets.map(|&t| self.linear(i, t)).collect::<Result<_, _>>()?,
        })
    }

    /// Every weight of the trunk.
    pub(crate) fn trunk(&mut self, head_may_be_absent: bool) -> Result<Trunk, ModelError> {
        let shape = &self.architecture.shape;
        let (hidden, width, parts) = (shape.hidden, shape.width(), &shape.parts);
        // A tied matrix may be stored once under the name of the head.
        let alone = shape.tied && !self.files.contains(&self.name(Slot::Embedding, "weight"));
        let stored = alone && self.files.contains(&self.name(Slot::LmHead, "weight"));
        let slot = if stored { Slot::LmHead } else { Slot::Embedding };
        let embedding = self.plain(slot, [shape.vocab, width])?;
        let dtype = self.dtype(slot)?;
        let positions = match parts.positions {
            Some(rows) => Some(self.plain(Slot::Positions, [rows, hidden])?),
            None => None,
        };
        let (project_in, project_out) = match parts.embedding {
            Some(_) => (
                Some(self.transposed(Slot::ProjectIn, [width, hidden], Order::Same)?),
                Some(self.transposed(Slot::ProjectOut, [hidden, width], Order::Same)?),
            ),
            None => (None, None),
        };
        // A configuration may promise any number of blocks: stop at the first that is not there.
        let blocks = (0..shape.layers).map(|i| self.block(i)).collect::<Result<_, _>>()?;
        Ok(Trunk {
            embedding,
            positions,
            project_in,
            project_out,
            blocks,
            norm: self.norm_if(parts.final_norm, Slot::FinalNorm, hidden)?,
            head: self.lm_head(head_may_be_absent)?,
            architecture: self.architecture.clone(),
            dtype,
        })
    }

    fn dtype(&mut self, slot: Slot) -> Result<StoredDtype, ModelError> {
        let name = self.name(slot, "weight");
        self.files.dtype(&name)
    }

    fn lm_head(&mut self, may_be_absent: bool) -> Result<Option<Param<Tensor<2>>>, ModelError> {
        let shape = &self.architecture.shape;
        let name = self.name(Slot::LmHead, "weight");
        if shape.tied {
            self.files.ignore(&name);
            return Ok(None);
        }
        if !self.files.contains(&name) {
            if may_be_absent {
                return Ok(None);
            }
            self.check_other_heads(&name)?;
        }
        self.transposed(Slot::LmHead, [shape.width(), shape.vocab], Order::Same).map(Some)
    }

    /// Names the head of another kind of model that the file has in place of that of a language model.
    fn check_other_heads(&self, head: &str) -> Result<(), ModelError> {
        let found = |name: &str, part: &str| {
            let stem = name.strip_suffix(".weight").unwrap_or_default();
            stem == part || stem.ends_with(&format!(".{part}"))
        };
        let kinds = OTHER_HEADS.iter().find_map(|&(part, kind)| {
            self.files.names().find(|name| found(name, part)).map(|name| (name.to_owned(), kind))
        });
        match kinds {
            Some((tensor, kind)) => Err(ModelError::OtherHead {
                path: self.files.path().to_owned(),
                tensor,
                kind: kind.into(),
                head: head.to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// The scalar head, if the file has one.
    pub(crate) fn scalar_head(&mut self) -> Result<Option<ScalarHead>, ModelError> {
        let name = self.name(Slot::ScalarHead, "weight");
        if !self.files.contains(&name) {
            return Ok(None);
        }
        let dims = [self.architecture.shape.width(), 1];
        let weight = self.files.transposed(&name, dims, Order::Same, self.device)?;
        Ok(Some(ScalarHead::new(weight, false)))
    }

    /// Fails on a tensor that has no place in the model.
    pub(crate) fn finish(mut self) -> Result<(), ModelError> {
        let is_buffer = |name: &&str| BUFFERS.iter().any(|end| name.ends_with(end));
        let buffers: Vec<String> =
            self.files.names().filter(is_buffer).map(str::to_owned).collect();
        buffers.iter().for_each(|name| self.files.ignore(name));
        self.files.finish()
    }
}
