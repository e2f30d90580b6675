//! Methods by name.

use hydralign_memory::Method;

#[test]
fn every_method_has_its_name_and_those_that_train_one_trunk_a_second_one() {
    let mut adapted = Vec::new();
    for method in Method::all() {
        assert_eq!(Method::by_name(&method.name).as_ref(), Some(&method));
        let second = format!("{}_lora", method.name);
        if let Some(found) = Method::by_name(&second) {
            assert_eq!(found, method.clone().with_adapter());
            assert_eq!(found.name, second);
            let activities = found.activities.iter();
            let trunks = activities.flat_map(|a| &a.placement.trunks);
            assert!(trunks.clone().count() > 0 && trunks.clone().all(|t| !t.trainable), "{second}");
            adapted.push(method.name);
        }
    }
    let expected = [
        "sft",
        "reward_model",
        "hydra_sft",
        "dpo",
        "dpo_precomputed",
        "simpo",
        "kto",
        "grpo",
        "rloo",
        "remax",
        "spr",
    ];
    assert_eq!(adapted, expected);
}

#[test]
fn there_are_no_other_names() {
    for name in ["", "_lora", "DPO", "ppo_lora", "hydra_ppo_lora", "dpo_lora_lora", "sprr_lora"] {
        assert_eq!(Method::by_name(name), None, "{name}");
    }
}
