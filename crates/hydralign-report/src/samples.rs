use crate::page::{note, scroll, section as part, text};
use crate::run::Run;
use hydralign_runs::{Cell, RunError, Sample, Table, escape, mean, significant};

/// Prompts that are shown.
const SHOWN: usize = 12;

/// Responses of one model.
struct Set<'a> {
    stage: &'a str,
    step: usize,
    samples: Vec<&'a Sample>,
}

/// The responses of the first model and of the last to the same prompts, and how good all sets are.
pub(crate) fn section(run: &Run) -> Result<String, RunError> {
    let sets = sets(&run.samples);
    let (Some(first), Some(last)) = (sets.first(), sets.last()) else { return Ok(String::new()) };
    let mut body = scroll("mean scores", &means(&sets)?.to_html());
    let shown: Vec<&Set> = if sets.len() > 1 { vec![first, last] } else { vec![last] };
    let pairs = pairs(&shown);
    let count = pairs.len().min(SHOWN);
    if count < pairs.len() {
        body += &note(&format!(
            "{count} of {} prompts, from the first to the last; samples.jsonl has all.",
            pairs.len()
        ));
    }
    for at in 0..count {
        let index = if count > 1 { at * (pairs.len() - 1) / (count - 1) } else { 0 };
        body += &card(&shown, &pairs[index]);
    }
    Ok(part("Samples", &body))
}

fn sets(samples: &[Sample]) -> Vec<Set<'_>> {
    let mut sets: Vec<Set> = Vec::new();
    for sample in samples {
        let same = |set: &&mut Set| set.stage == sample.stage && set.step == sample.step;
        match sets.iter_mut().find(same) {
            Some(set) => set.samples.push(sample),
            None => {
                sets.push(Set { stage: &sample.stage, step: sample.step, samples: vec![sample] })
            }
        }
    }
    sets
}

/// What each of the sets says to a prompt: the n-th response to it in each, for all prompts that all have.
fn pairs<'a>(sets: &[&Set<'a>]) -> Vec<Vec<&'a Sample>> {
    let mut left: Vec<Vec<&Sample>> = sets.iter().map(|set| set.samples.clone()).collect();
    let mut pairs = Vec::new();
    let Some((first, others)) = left.split_first_mut() else { return pairs };
    for sample in first.iter() {
        let place = |set: &Vec<&Sample>| set.iter().position(|s| s.prompt == sample.prompt);
        let places: Option<Vec<usize>> = others.iter().map(place).collect();
        let Some(places) = places else { continue };
        let answers = others.iter_mut().zip(places).map(|(set, at)| set.remove(at));
        pairs.push(std::iter::once(*sample).chain(answers).collect());
    }
    pairs
}

fn named(set: &Set) -> String {
    match set.step {
        0 => format!("before {}", set.stage),
        1 => format!("after 1 step of {}", set.stage),
        step => format!("after {step} steps of {}", set.stage),
    }
}

/// The mean of each score over the responses of each set that have it.
fn means(sets: &[Set]) -> Result<Table, RunError> {
    let all = sets.iter().flat_map(|set| &set.samples).flat_map(|sample| &sample.scores);
    let names = crate::run::distinct(all.map(|(name, _)| name.as_str()));
    let heads: Vec<String> = names.iter().map(|name| format!("mean {name}")).collect();
    let heads: Vec<&str> =
        ["model", "responses"].into_iter().chain(heads.iter().map(String::as_str)).collect();
    let mut table = Table::new(&heads);
    for set in sets {
        let cell = |name: &&str| {
            let scores = set.samples.iter().flat_map(|sample| &sample.scores);
            let scores: Vec<f64> =
                scores.filter(|(n, _)| n == name).filter_map(|(_, score)| *score).collect();
            Cell::text(mean(&scores).map_or_else(|| "–".into(), significant)).right()
        };
        let head = [Cell::text(named(set)), Cell::count(set.samples.len() as u64)];
        table.row(head.into_iter().chain(names.iter().map(cell)))?;
    }
    Ok(table)
}

fn card(sets: &[&Set], samples: &[&Sample]) -> String {
    let prompt = samples.first().map_or("", |sample| sample.prompt.as_str());
    let mut html = format!("<article>\n{}<div class=\"answers\">\n", text("prompt", prompt));
    for (set, sample) in sets.iter().zip(samples) {
        let scores: Vec<String> = (sample.scores.iter())
            .map(|(name, score)| {
                let score = score.map_or_else(|| "not finite".to_owned(), significant);
                format!("<span>{} <b>{score}</b></span>", escape(name))
            })
            .collect();
        let response = match sample.response.trim() {
            "" => "<p class=\"note\">(empty)</p>\n".to_owned(),
            said => text("response", said),
        };
        html += &format!(
            "<div><h4>{}</h4>\n{response}<p class=\"scores\">{}</p>\n</div>\n",
            escape(&named(set)),
            scores.join(" ")
        );
    }
    html + "</div>\n</article>\n"
}
