use super::{Method, Round, Turn};
use crate::lab::Lab;
use anyhow::Result;
use hydralign::algorithms::{Ilql, IlqlRow, ilql_batch};
use hydralign::core::random::permutation;
use hydralign::models::ModelBank;
use hydralign::placement::View;
use hydralign::prelude::*;
use hydralign::rollout::Guided;
use hydralign::runs::Schedule;

/// ILQL on the data set's pairs: +1 at the end of a chosen response, −1 at the end of a rejected one.
/// Policy, value and action heads share one trained trunk; decoding is tilted by the action values.
pub struct IlqlMethod {
    learner: Learner<ModelBank>,
    ilql: Ilql,
    weight: f64,
    rows: Vec<IlqlRow>,
    minibatch: usize,
    steps: usize,
    lr: Schedule,
}

/// How far the target heads follow after each round.
const FOLLOW: f64 = 0.1;

impl IlqlMethod {
    /// A run from the lab's fine-tuned model, `steps` optimizer steps of `minibatch` responses a round,
    /// decoded with λ = `weight`.
    ///
    /// # Errors
    /// Models that cannot be loaded.
    pub fn new(
        lab: &Lab,
        ilql: Ilql,
        weight: f64,
        (minibatch, steps): (usize, usize),
        lr: Schedule,
    ) -> Result<Self> {
        let sft = lab.sft()?;
        let mut placement = Placement::policy("ilql", false, false);
        placement.views.insert(Role::Critic, View::trunk(0));
        let seed = lab.seed("ilql heads");
        let bank = ModelBank::new(&placement, &Start::joint(&sft), &lab.recipe.lora, seed)?;
        let bank = bank.with_action_heads(ilql.two_heads, seed)?;
        let learner = Learner::new(bank, &lab.recipe.optimizer);
        let row = |sequence: &Sequence, last: f32| {
            let mut rewards = vec![0.0; sequence.response_tokens()];
            *rewards.last_mut().expect("a response has a token") = last;
            IlqlRow { sequence: sequence.clone(), rewards }
        };
        let both = |(good, bad): &(Sequence, Sequence)| [row(good, 1.0), row(bad, -1.0)];
        let rows = lab.data.preferences.iter().flat_map(both).collect();
        Ok(Self { learner, ilql, weight, rows, minibatch, steps, lr })
    }
}

impl Method for IlqlMethod {
    fn round(&mut self, lab: &Lab, turn: Turn, observer: &mut dyn Observer) -> Result<Round> {
        observer.phase(Phase::Update);
        let n = self.rows.len();
        let (count, seed) = (self.minibatch * self.steps, lab.seed("ilql rows"));
        let first = turn.round * count;
        let orders = first / n..=(first + count) / n;
        let order = orders.flat_map(|k| permutation(n, seed, k as u64)).skip(first % n).take(count);
        let picked: Vec<IlqlRow> = order.map(|i| self.rows[i].clone()).collect();
        let lr = turn.lr(&self.lr);
        let mut stats = Vec::new();
        for part in picked.chunks(self.minibatch) {
            let batches = ilql_batch(part, lab.recipe.ppo.ppo.micro_batch, &lab.device)?;
            let report = self.learner.step(&self.ilql, &batches, lr)?;
            stats = report.stats.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect();
        }
        self.learner.change_model(|bank| bank.follow_action_heads(FOLLOW));
        let sequences: Vec<Sequence> = picked.iter().map(|row| row.sequence.clone()).collect();
        // The action heads cost about what the LM head does, each, and their copies a third of it.
        let heads =
            lab.learning_flops(&sequences, true)? - lab.learning_flops(&sequences, false)?;
        let flops = lab.learning_flops(&sequences, true)? + heads * 2.0 * (4.0 / 3.0);
        Ok(Round { sampled_tokens: 0, flops, stats })
    }

    fn respond(&self, lab: &Lab, prompts: &[Prompt]) -> Result<Vec<Episode>> {
        let bank = self.learner.model();
        let guided = Guided::new(bank, bank, Role::Critic, self.weight);
        let sampler = SamplerConfig::default().build()?;
        let engine = Engine::new(&guided, Role::Actor, &sampler, &lab.recipe.generation)?;
        Ok(engine.generate(prompts, &mut ())?)
    }
}
