mod above;
#[cfg(feature = "nvml")]
mod nvml;
mod pool;
mod sampled;
mod shared;

pub use above::Above;
#[cfg(feature = "nvml")]
pub use nvml::NvmlMeter;
pub use pool::PoolMeter;
pub use shared::SharedMeter;
