use crate::RunError;
use crate::json_lines::{read_json_lines, write_json_lines};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Name of the file of a run's commands in its folder.
const COMMANDS: &str = "commands.jsonl";

/// One line of `commands.jsonl`: how a part of a run was started, and what ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandLine {
    /// When it was started, in seconds of Unix time.
    pub started: u64,
    /// The program's file name and its arguments.
    pub command: Vec<String>,
    /// Version of these crates.
    pub hydralign: String,
    /// Operating system and processor, such as `linux x86_64`.
    pub system: String,
    /// Where tensors lived.
    pub device: String,
}

impl CommandLine {
    /// That of this process, whose tensors live on that device.
    pub fn of_process(device: &str) -> Self {
        let mut command: Vec<String> =
            std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect();
        if let Some(program) = command.first_mut() {
            let name = Path::new(program.as_str()).file_stem();
            *program = name.map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        }
        Self {
            started: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs()),
            command,
            hydralign: env!("CARGO_PKG_VERSION").to_owned(),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            device: device.to_owned(),
        }
    }
}

/// Writes how a run was started into its folder: after the commands that are there if it goes on, else in
/// their place.
///
/// # Errors
/// [`RunError::Io`], and [`RunError::JsonLine`] as for [`read_commands`].
pub fn record_command(folder: &Path, goes_on: bool, command: CommandLine) -> Result<(), RunError> {
    let path = folder.join(COMMANDS);
    let mut all = if goes_on { read_commands(folder)? } else { Vec::new() };
    all.push(command);
    write_json_lines(&path, &all)
}

/// The commands of the run in a folder, in their order; none if it has not left any.
///
/// # Errors
/// [`RunError::Io`], or [`RunError::JsonLine`] with the number of a line that is whole and still no command.
pub fn read_commands(folder: &Path) -> Result<Vec<CommandLine>, RunError> {
    read_json_lines(&folder.join(COMMANDS), "commands")
}
