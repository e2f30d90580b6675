#![doc = include_str!("../README.md")]

mod architecture;
mod error;
mod family;
mod order;
mod published;
mod read;

pub use architecture::{
    Activation, Architecture, NormKind, Positions, Residual, Rope, RopeScaling, Sliding, Window,
};
pub use error::FamilyError;
pub use family::{
    Family, Fields, Names, Slot, Storage, architecture, architecture_of, llama_like, of,
};
pub use order::Order;
pub use published::{PUBLISHED, published};
pub use read::{read_architecture, read_config};
