#![doc = include_str!("../README.md")]

mod cache;
mod config;
mod disk;
mod error;
mod escape;
mod folder;
mod format;
mod inputs;
mod keep;
mod ledger;
mod look;
mod meter;
mod metrics;
mod ordered;
mod output;
mod phase_bytes;
mod phases;
mod place;
mod plot;
mod pool_cleaner;
mod progress;
mod schedule;
mod stats;
mod status;
mod stop;
mod table;
#[cfg(test)]
mod testing;
mod timeline;

pub use cache::{Cached, NumberCache};
pub use config::RunConfig;
pub use disk::{free_space, require_space};
pub use error::RunError;
pub use folder::{CHECKPOINTS, Overwrite, RunFolder, write_atomic, write_dir_atomic};
pub use inputs::{Input, Inputs};
pub use keep::{Kept, Steps, keep, keep_in};
pub use ledger::Ledger;
#[cfg(feature = "nvml")]
pub use meter::NvmlMeter;
pub use meter::{Above, PoolMeter, SharedMeter};
pub use metrics::{MetricsFile, MetricsLine, read_metrics};
pub use output::OutputFile;
pub use phase_bytes::PhaseBytes;
pub use phases::{PhaseClock, PhaseTotal};
pub use place::Place;
pub use plot::{Bar, BarGroup, LinePlot, PlotSpec, Series, StackedBars, plot_memory, plot_metrics};
pub use pool_cleaner::PoolCleaner;
pub use progress::Progress;
pub use schedule::{Decay, Schedule};
pub use stats::{WinRate, mean, paired_win_rate, sample_std, win_rate};
pub use status::{RunState, RunStatus};
pub use stop::{StopFlag, stop_on_ctrl_c};
pub use table::{Align, Cell, Table};
pub use timeline::MemoryTimeline;
