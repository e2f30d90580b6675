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
pub use family::{Family, Names, Slot, Storage, architecture, of};
pub use order::Order;
pub use published::{PUBLISHED, published};
pub use read::{read_architecture, read_config};
