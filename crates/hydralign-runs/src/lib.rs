#![doc = include_str!("../README.md")]

mod cache;
mod config;
mod error;
mod escape;
mod folder;
mod format;
mod look;
mod metrics;
mod phases;
mod plot;
mod progress;
mod schedule;
mod stats;
mod stop;
mod table;

pub use cache::NumberCache;
pub use config::{load_toml, save_toml};
pub use error::RunError;
pub use folder::{Overwrite, RunFolder, write_atomic, write_dir_atomic};
pub use metrics::{MetricsFile, MetricsLine, read_metrics};
pub use phases::{PhaseClock, PhaseTotal};
pub use plot::{LinePlot, PlotSpec, Series, plot_metrics};
pub use progress::Progress;
pub use schedule::{Decay, Schedule};
pub use stats::{WinRate, mean, paired_win_rate, sample_std, win_rate};
pub use stop::{StopFlag, stop_on_ctrl_c};
pub use table::{Align, Cell, Table};
