use crate::curves::seconds;
use crate::page::{scroll, section, text};
use crate::run::Run;
use chrono::{DateTime, SecondsFormat};
use hydralign_runs::{Cell, RunError, RunState, Table, escape};

/// How the run ended, and how far it came.
pub(crate) fn status(run: &Run) -> String {
    let mut facts = String::new();
    let mut fact = |name: &str, value: &str| {
        facts += &format!("<div><dt>{name}</dt><dd>{}</dd></div>\n", escape(value));
    };
    fact("State", state(run));
    if let Some(stage) = run.status.as_ref().and_then(|status| status.stage.as_deref()) {
        fact("Stage", stage);
    }
    if let Some(progress) = run.status.as_ref().and_then(|status| status.progress) {
        fact("Came to", &progress.to_string());
    }
    for stage in run.stages() {
        if let Some(last) = run.of_stage(stage).last() {
            fact(&escape(stage), &format!("{} of {} steps", last.step, last.steps));
        }
    }
    if let Some(last) = run.metrics.last() {
        fact("Time", &seconds(last.seconds));
    }
    let reason = run.status.as_ref().and_then(|status| status.reason.as_deref());
    let reason = reason.map_or_else(String::new, |reason| text("reason", reason));
    format!("<dl class=\"facts\">\n{facts}</dl>\n{reason}")
}

/// What became of a run, in a word.
pub(crate) fn state(run: &Run) -> &'static str {
    match run.status.as_ref().map(|status| status.state) {
        None => "unknown",
        Some(RunState::Running) => "under way, or ended from outside",
        Some(RunState::Finished) => "finished",
        Some(RunState::Stopped) => "stopped",
        Some(RunState::Failed) => "failed",
    }
}

/// `config.toml` as it stands.
pub(crate) fn settings(run: &Run) -> String {
    let Some(config) = &run.config else { return String::new() };
    let lines: Vec<String> = config.lines().map(escape).collect();
    section("Settings", &format!("<pre>{}</pre>\n", lines.join("\n")))
}

/// How each part of the run was started, and what ran.
pub(crate) fn commands(run: &Run) -> Result<String, RunError> {
    if run.commands.is_empty() {
        return Ok(String::new());
    }
    let mut table = Table::new(&["started (UTC)", "hydralign", "system", "device"]);
    for line in &run.commands {
        let started = i64::try_from(line.started).ok().and_then(|s| DateTime::from_timestamp(s, 0));
        let started =
            started.map_or("–".into(), |t| t.to_rfc3339_opts(SecondsFormat::Secs, true));
        table.row([
            Cell::text(started.replace(['T', 'Z'], " ").trim()),
            Cell::text(&line.hydralign),
            Cell::text(&line.system),
            Cell::text(&line.device),
        ])?;
    }
    let commands: Vec<String> =
        run.commands.iter().map(|line| escape(&shell(&line.command))).collect();
    let body = scroll("parts of the run", &table.to_html());
    Ok(section("Commands and versions", &format!("{body}<pre>{}</pre>\n", commands.join("\n"))))
}

/// A command as a shell takes it.
fn shell(command: &[String]) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=:,+@%".contains(c);
    let word = |text: &String| match !text.is_empty() && text.chars().all(plain) {
        true => text.clone(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    };
    command.iter().map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_can_be_typed_again() {
        let command = ["dpo", "--out", "my runs/it's", "--lr=1e-4", ""].map(str::to_owned);
        assert_eq!(shell(&command), r"dpo --out 'my runs/it'\''s' --lr=1e-4 ''");
    }
}
