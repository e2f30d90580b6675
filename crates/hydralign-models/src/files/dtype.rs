use safetensors::Dtype;

/// The number type of weights in a file, or of frozen matrices in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoredDtype {
    /// 32-bit floats.
    #[default]
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an f32.
    Bf16,
}

impl StoredDtype {
    pub(crate) fn of(dtype: Dtype) -> Option<Self> {
        match dtype {
            Dtype::F32 => Some(Self::F32),
            Dtype::F16 => Some(Self::F16),
            Dtype::BF16 => Some(Self::Bf16),
            _ => None,
        }
    }

    pub(crate) fn safetensors(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::Bf16 => Dtype::BF16,
        }
    }

    /// The name in a `config.json`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
        }
    }

    /// Bytes of one number.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// Appends the numbers that little-endian bytes hold.
    pub(crate) fn decode(self, bytes: &[u8], out: &mut Vec<f32>) {
        let halves = |b: &[u8]| [b[0], b[1]];
        match self {
            Self::F32 => out.extend(
                bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
            ),
            Self::F16 => out.extend(
                bytes.chunks_exact(2).map(|b| half::f16::from_le_bytes(halves(b)).to_f32()),
            ),
            Self::Bf16 => out.extend(
                bytes.chunks_exact(2).map(|b| half::bf16::from_le_bytes(halves(b)).to_f32()),
            ),
        }
    }

    /// Little-endian bytes of numbers, rounded to nearest even.
    pub(crate) fn encode(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Self::F16 => {
                values.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect()
            }
            Self::Bf16 => {
                values.iter().flat_map(|&v| half::bf16::from_f32(v).to_le_bytes()).collect()
            }
        }
    }

    /// Whether a finite number stays finite.
    pub(crate) fn holds(self, value: f32) -> bool {
        match self {
            Self::F32 => true,
            Self::F16 => !value.is_finite() || half::f16::from_f32(value).is_finite(),
            Self::Bf16 => !value.is_finite() || half::bf16::from_f32(value).is_finite(),
        }
    }
}
