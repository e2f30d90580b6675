#![doc = include_str!("../README.md")]

mod adapter;
mod architecture;
mod attention;
mod bank;
mod block;
mod cache;
mod checkpoint;
mod decode;
mod error;
mod family;
mod init;
mod low_rank;
mod norm;
mod peft;
mod read;
mod rope;
mod scalar_head;
mod start;
mod tensor_file;
mod trunk;

pub use adapter::Adapter;
pub use architecture::{Architecture, Rope};
pub use bank::ModelBank;
pub use cache::Cache;
pub use checkpoint::{Checkpoint, load_checkpoint, save_checkpoint};
pub use error::ModelError;
pub use init::random_trunk;
pub use peft::{load_adapter, save_adapter};
pub use scalar_head::ScalarHead;
pub use start::Start;
pub use trunk::Trunk;
