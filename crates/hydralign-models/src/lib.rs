//! Decoder families, LoRA, heads, the model bank, Hugging Face and PEFT files.
