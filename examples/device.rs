//! Devices by name.

use anyhow::{Result, bail};
use hydralign::prelude::Device;

/// Opens a device that this binary was built for.
///
/// # Errors
/// An unknown name, or a backend that was not compiled in.
pub fn open(name: &str) -> Result<Device> {
    match name {
        #[cfg(feature = "flex")]
        "flex" => Ok(Device::flex()),
        #[cfg(feature = "wgpu")]
        "wgpu" => Ok(Device::wgpu(Default::default())),
        #[cfg(feature = "cuda")]
        "cuda" => Ok(Device::cuda(0)),
        #[cfg(not(feature = "flex"))]
        "flex" => not_built(name),
        #[cfg(not(feature = "wgpu"))]
        "wgpu" => not_built(name),
        #[cfg(not(feature = "cuda"))]
        "cuda" => not_built(name),
        other => bail!("unknown device `{other}` (known: flex, wgpu, cuda)"),
    }
}

#[cfg(not(all(feature = "flex", feature = "wgpu", feature = "cuda")))]
fn not_built(name: &str) -> Result<Device> {
    bail!("this binary was built without `{name}`: build with --features {name}")
}
