//! The five placements against the counts of the Hydra-RLHF paper, and every validation error.

use hydralign_placement::{
    AdapterSpec, AdapterStart, LoraShape, ModelShape, Parts, Placement, PlacementError, Role,
    Source, View,
};

const ALL: [Role; 4] = Role::ALL;

#[test]
fn counts_are_those_of_the_paper() {
    // Hydra-RLHF (arXiv 2309.00754), Table 2: static models 4/4/2/1/1, LoRA sets 0/2/2/1/2.
    let five = Placement::five_ppos();
    assert_eq!(five.each_ref().map(Placement::static_models), [4, 4, 2, 1, 1]);
    assert_eq!(five.each_ref().map(Placement::lora_sets), [0, 2, 2, 1, 2]);
}

#[test]
fn passes_group_the_roles_that_share_weights() {
    // Passes needed to read all four roles once.
    let five = Placement::five_ppos();
    let counts = five.each_ref().map(|p| p.passes(&ALL).unwrap().len());
    assert_eq!(counts, [4, 4, 4, 2, 3]);
    let frozen = [Role::Reference, Role::Reward];
    let frozen_counts = five.each_ref().map(|p| p.passes(&frozen).unwrap().len());
    assert_eq!(frozen_counts, [2, 2, 2, 1, 1]);
}

#[test]
fn presets_are_valid_and_found_by_name() {
    for p in Placement::five_ppos() {
        p.validate().unwrap();
        assert_eq!(Placement::by_name(&p.name), Some(p));
    }
    for p in [Placement::sft(), Placement::hydra_sft(), Placement::reward_model()] {
        p.validate().unwrap();
        p.with_adapter("start").validate().unwrap();
    }
    assert_eq!(Placement::by_name("nope"), None);
}

#[test]
fn a_run_from_a_trained_adapter_keeps_a_frozen_copy_as_reference() {
    for base in [Placement::lora_ppo(), Placement::dynamic_lora_ppo(), Placement::hydra_ppo()] {
        let p = base.starting_from_adapter(true).unwrap();
        p.validate().unwrap();
        let reference = p.view(Role::Reference).unwrap();
        let frozen = p.adapter(reference.adapter.as_deref().expect("not the bare base")).unwrap();
        assert!(!frozen.trainable);
        assert_eq!(frozen.start, AdapterStart::CopyOf(Source::Policy));
        assert_eq!(p.adapter("actor").unwrap().start, AdapterStart::CopyOf(Source::Policy));
    }
    // One trunk and a joint checkpoint: reference and reward still share one pass.
    let joint = Placement::hydra_ppo().starting_from_adapter(true).unwrap();
    assert_eq!(joint.passes(&[Role::Reference, Role::Reward]).unwrap().len(), 1);
    let split = Placement::hydra_ppo().starting_from_adapter(false).unwrap();
    assert_eq!(split.passes(&[Role::Reference, Role::Reward]).unwrap().len(), 2);
}

#[test]
fn a_training_stage_goes_on_from_its_own_adapter() {
    let stages = [
        (Placement::sft(), Source::Policy),
        (Placement::hydra_sft(), Source::Policy),
        (Placement::reward_model(), Source::Reward),
    ];
    for (stage, source) in stages {
        let p = stage.with_adapter("own").starting_from_adapter(true).unwrap();
        p.validate().unwrap();
        let [own] = &p.adapters[..] else { panic!("one adapter: {:?}", p.adapters) };
        assert!(own.trainable);
        assert_eq!(own.start, AdapterStart::CopyOf(source), "{}", p.name);
    }
}

#[test]
fn a_start_adapter_under_full_training_is_refused() {
    let error = Placement::ppo().starting_from_adapter(true).unwrap_err();
    assert!(matches!(error, PlacementError::StartAdapterOnFullTraining { trunk: 0, .. }));
}

#[test]
fn each_fault_has_its_own_error() {
    let check = |edit: &dyn Fn(&mut Placement)| {
        let mut p = Placement::hydra_ppo();
        edit(&mut p);
        p.validate().unwrap_err()
    };
    let set = |role: Role, view: View| {
        move |p: &mut Placement| {
            p.views.insert(role, view.clone());
        }
    };
    assert!(matches!(
        check(&set(Role::Critic, View::trunk(3))),
        PlacementError::UnknownTrunk { role: Role::Critic, trunk: 3, trunks: 1, .. }
    ));
    assert!(matches!(
        check(&set(Role::Actor, View::adapter(0, "x"))),
        PlacementError::UnknownAdapter { role: Role::Actor, .. }
    ));
    assert!(matches!(
        check(&set(Role::Reference, View::adapter(0, "actor"))),
        PlacementError::FrozenRoleTrained { role: Role::Reference, .. }
    ));
    assert!(matches!(check(&set(Role::Actor, View::trunk(0))), PlacementError::Unused { .. }));
    assert!(matches!(
        check(&|p| p.adapters.push(p.adapters[0].clone())),
        PlacementError::DuplicateAdapter { .. }
    ));
    assert!(matches!(
        check(&|p| p.adapters[0].name = "../up".into()),
        PlacementError::BadAdapterName { .. }
    ));
    assert!(matches!(
        check(&|p| {
            p.trunks.push(p.trunks[0].clone());
            p.adapters[0].trunk = 1;
        }),
        PlacementError::AdapterOnOtherTrunk { owner: 1, .. }
    ));
    assert!(matches!(
        check(&|p| p.adapters.iter_mut().for_each(|a| a.trainable = false)),
        PlacementError::NothingToTrain { role: Role::Actor, .. }
    ));
    assert!(matches!(
        Placement::sft().passes(&[Role::Critic]).unwrap_err(),
        PlacementError::RoleAbsent { role: Role::Critic, .. }
    ));
    let _: AdapterSpec = Placement::hydra_ppo().adapters[0].clone();
}

#[test]
fn parameter_counts_follow_the_placement() {
    let shape = ModelShape {
        vocab: 100,
        hidden: 16,
        intermediate: 32,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 4,
        tied: false,
        parts: Parts::default(),
    };
    let lora = LoraShape { rank: 2, ..LoraShape::default() };
    let (n, l, h) = (shape.parameters(), lora.parameters(&shape), 16);
    // Critic and reward trunks of their own are held without their LM head.
    let lm_head = 100 * 16;
    let trained = Placement::five_ppos().each_ref().map(|p| p.trained_parameters(&shape, &lora));
    assert_eq!(trained, [2 * n - lm_head + h, 2 * l + h, 2 * l + h, l + h, 2 * l + h]);
    let held = Placement::five_ppos().each_ref().map(|p| p.held_parameters(&shape, &lora));
    assert_eq!(
        held,
        [
            4 * n - 2 * lm_head,
            4 * n - 2 * lm_head + 2 * l,
            2 * n - lm_head + 2 * l,
            n + l,
            n + 2 * l
        ]
        .map(|x| x + 2 * h)
    );
}

/// What served the reward alone goes, and everything else keeps its trunk and its adapter.
#[test]
fn a_reward_that_is_no_model_takes_no_trunk() {
    for placement in Placement::five_ppos() {
        let without = placement.clone().without_reward();
        without.validate().unwrap();
        assert!(!without.views.contains_key(&Role::Reward), "{}", placement.name);
        let alone = matches!(placement.name.as_str(), "ppo" | "lora_ppo");
        let expected = placement.static_models() - usize::from(alone);
        assert_eq!(without.static_models(), expected, "{}", placement.name);
        for role in [Role::Actor, Role::Critic, Role::Reference] {
            let (before, after) = (placement.view(role).unwrap(), without.view(role).unwrap());
            assert_eq!(before.adapter, after.adapter, "{}", placement.name);
            let (before, after) = (&placement.trunks[before.trunk], &without.trunks[after.trunk]);
            assert_eq!(before, after, "{}", placement.name);
        }
        let again = without.clone().without_reward();
        assert_eq!(again, without);
    }
}
