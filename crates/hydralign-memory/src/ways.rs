//! Methods that hold less than another.

use crate::Method;
use hydralign_placement::Placement;

/// What may be tried instead of a method that does not fit, from the nearest on.
pub(crate) fn others(method: &Method) -> Vec<(String, Method)> {
    let trains_trunk =
        |m: &Method| m.activities.iter().any(|a| a.placement.trunks.iter().any(|t| t.trainable));
    let mut others = Vec::new();
    if trains_trunk(method) && !method.name.ends_with("ppo") {
        others.push(("adapters over frozen weights".to_owned(), method.clone().with_adapter()));
    }
    let ppos = Placement::five_ppos();
    if let Some(place) = ppos.iter().position(|p| p.name == method.name) {
        let smaller = ppos[place + 1..].iter().map(Method::ppo);
        others.extend(smaller.map(|m| (format!("the placement {}", m.name), m)));
    }
    match method.name.as_str() {
        "dpo" => others.push((
            "reference log-probabilities computed once before".to_owned(),
            Method::dpo_precomputed(),
        )),
        "grpo" | "rloo" | "remax" => {
            others.push(("re-weighting (spr), one model at a time".to_owned(), Method::spr()));
        }
        _ => {}
    }
    let tail: Vec<_> = others
        .iter()
        .filter(|(_, m)| trains_trunk(m) && !m.name.ends_with("ppo"))
        .map(|(way, m)| (format!("{way}, with adapters"), m.clone().with_adapter()))
        .collect();
    others.extend(tail);
    others
}
