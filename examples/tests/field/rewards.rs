//! Reward models with a tokenizer and a template of their own, caches, held-out prompts.

use crate::sandbox::Sandbox;
use crate::table::{close, equal, names};
use clap::Parser;
use hydralign::burn::tensor::Device;
use hydralign::core::Finish;
use hydralign::data::{ChatTemplate, PromptSource, Reader, TextTokenizer};
use hydralign::models::ModelBank;
use hydralign::prelude::*;
use hydralign::rewards::{Ending, ModelText};
use hydralign::runs::StopFlag;
use hydralign_examples::base_model_dir;
use hydralign_examples::data::{RunData, UserFiles, load_tokenizer};
use hydralign_examples::lab::Lab;
use hydralign_examples::recipe::{Recipe, TaskSizes};
use hydralign_examples::reward::OwnReward;
use hydralign_examples::setup::CommonArgs;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

/// A policy's own way to write conversations, of which nothing may reach the reward model.
const POLICY_TEMPLATE: &str = "{% for m in messages %}<|pad|>{{ m.role }} says {{ m.content }}<|end|>\
    {% endfor %}{% if add_generation_prompt %}<|pad|>assistant says {% endif %}";

fn golden() -> Value {
    serde_json::from_str(include_str!("../golden/reward_model/golden.json")).unwrap()
}

/// Changes a JSON file.
fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(path, serde_json::to_vec(&value).unwrap()).unwrap();
}

type Tensors = BTreeMap<String, (Vec<usize>, Vec<u8>)>;

/// Changes the tensors of an f32 file.
fn edit_tensors(path: &Path, change: impl FnOnce(&mut Tensors)) {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: Tensors = file
        .tensors()
        .into_iter()
        .map(|(name, view)| (name, (view.shape().to_vec(), view.data().to_vec())))
        .collect();
    change(&mut tensors);
    let views = tensors.iter().map(|(name, (shape, data))| {
        (name.clone(), TensorView::new(Dtype::F32, shape.clone(), data).unwrap())
    });
    std::fs::write(path, serialize(views, None).unwrap()).unwrap();
}

/// The sequence classifier of `golden/reward_model/generate.py`: the shipped model's words under other
/// ids, a template, a score head.
fn put_reward(folder: &Sandbox, name: &str, pad: u32) {
    folder.put_shipped(name);
    let dir = folder.path().join(name);
    edit_tensors(&dir.join("model.safetensors"), |tensors| {
        let head = (0..128).map(|i| ((37 * i) % 101 - 50) as f32 / 100.0);
        let bytes = head.flat_map(f32::to_le_bytes).collect();
        tensors.insert("score.weight".into(), (vec![1, 128], bytes));
    });
    edit(&dir.join("config.json"), |config| {
        config["architectures"] = json!(["LlamaForSequenceClassification"]);
        config["num_labels"] = 1.into();
        config["pad_token_id"] = pad.into();
    });
    edit(&dir.join("tokenizer.json"), |tokenizer| {
        let vocab = tokenizer["model"]["vocab"].as_object_mut().unwrap();
        let moved = |w: &str| w.starts_with('Ġ') && w.chars().count() > 3;
        let mut words: Vec<(String, Value)> =
            vocab.iter().filter(|(w, _)| moved(w)).map(|(w, id)| (w.clone(), id.clone())).collect();
        words.sort_by_key(|(_, id)| id.as_u64());
        for (i, (word, _)) in words.iter().enumerate() {
            vocab.insert(word.clone(), words[(i + 7) % words.len()].1.clone());
        }
    });
    folder.write(&format!("{name}/chat_template.jinja"), golden()["template"].as_str().unwrap());
}

/// The shipped model as a policy that has a template.
fn policy_text() -> ModelText {
    ModelText {
        tokenizer: load_tokenizer(&base_model_dir()).unwrap(),
        template: Some(ChatTemplate::new(POLICY_TEMPLATE, serde_json::Map::new()).unwrap()),
    }
}

fn prompts(folder: &Sandbox, policy: &ModelText) -> Vec<PromptSource> {
    let golden = golden();
    let line = |name: &str| json!({"prompt": golden[name]}).to_string() + "\n";
    folder.write("prompts.jsonl", &["prompt", "turns", "begun", "split"].map(line).concat());
    let path = folder.path().join("prompts.jsonl").display().to_string();
    let reader =
        Reader { template: policy.template.as_ref(), ..Reader::new(&policy.tokenizer, 64) };
    reader.prompt_sources(&[path]).unwrap().0
}

#[test]
fn a_reward_model_reads_its_own_tokens_and_template() {
    let (folder, golden, policy) = (Sandbox::new(), golden(), policy_text());
    let prompts = prompts(&folder, &policy);
    let said = golden["response"].as_str().unwrap();
    let cases = [
        ("plain", said),
        ("turns", said.trim()),
        ("begun turn", " your tea, take care!"),
        ("split word", golden["rest"].as_str().unwrap()),
    ];
    let endings = [Ending::AsSampled, Ending::Always, Ending::Never];
    for (padding, pad) in [("padding is another token", 0), ("padding is the end", 1)] {
        let name = format!("reward-{pad}");
        put_reward(&folder, &name, pad);
        for (ending, stopped) in endings.iter().flat_map(|&e| [(e, false), (e, true)]) {
            let given = (policy.clone(), 478);
            let (dir, device) = (folder.path().join(&name), Device::flex());
            let reward = OwnReward::open(&dir, &device, given, prompts.clone(), ending).unwrap();
            let rows: Vec<Sequence> = cases
                .iter()
                .zip(&prompts)
                .map(|((_, said), prompt)| {
                    let mut response = policy.tokenizer.encode(said, false).unwrap();
                    response.extend(stopped.then_some(1));
                    Sequence::new(prompt.tokens.clone(), response)
                })
                .collect();
            let scores = reward.scores(&reward.bank(), &rows, 2).unwrap();
            let ends = ending == Ending::Always || ending == Ending::AsSampled && stopped;
            for ((case, _), score) in cases.iter().zip(scores) {
                let case = if ends { format!("{case}, ended") } else { (*case).to_owned() };
                let expected = golden["scores"][padding][&case]["score"].as_f64().unwrap();
                let what = format!("another tokenizer, {padding}: {ending:?}, {case}");
                close("own: reward model", &what, expected, score.into(), 2e-5);
            }
        }
    }
}

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    common: CommonArgs,
}

fn open(folder: &Sandbox, flags: &str) -> anyhow::Result<hydralign_examples::setup::Setup> {
    let absolute = |word: &str| match word.starts_with('@') {
        true => folder.path().join(&word[1..]).display().to_string(),
        false => word.to_owned(),
    };
    let words = ["test"].into_iter().chain(flags.split_whitespace()).map(absolute);
    Flags::parse_from(words).common.open("test", &StopFlag::new())
}

/// Twelve different prompts.
fn requests(names: &[&str]) -> String {
    let moods = ["sad", "happy", "angry"];
    let line = |(name, mood): (&&str, &str)| {
        let prompt = format!("Guest {name} is {mood} and asks for tea.\nReply:");
        json!({"prompt": prompt}).to_string() + "\n"
    };
    moods.iter().flat_map(|mood| names.iter().map(move |n| line((n, mood)))).collect()
}

const NAMES: [&str; 4] = ["Mira", "Tom", "Leo", "Ana"];

/// What `score` says of text is what a recipe scores, whatever the policy's tokens are.
#[test]
fn recipes_score_what_score_scores() {
    let folder = Sandbox::new();
    folder.put_shipped("base").write("prompts.jsonl", &requests(&NAMES));
    for pad in [0, 1] {
        let name = format!("reward-{pad}");
        put_reward(&folder, &name, pad);
        let flags = format!(
            "--model @base --reward @{name} --prompts @prompts.jsonl --out @out-{pad} --max-new-tokens 16"
        );
        let setup = open(&folder, &flags).unwrap();
        let policy = ModelBank::frozen(setup.policy.clone());
        let episodes = setup.sample(&policy, &setup.data.prompts, 2, 0).unwrap();
        let rows: Vec<Sequence> = episodes.iter().map(Sequence::from).collect();
        let scores = setup.scores(&rows).unwrap();
        for finish in [Finish::Stop, Finish::Length] {
            let of_kind: Vec<usize> =
                (0..rows.len()).filter(|&i| episodes[i].finish == finish).collect();
            assert!(!of_kind.is_empty(), "{finish:?}");
            let lines = of_kind.iter().map(|&i| {
                let prompt = setup.tokenizer.decode(&rows[i].prompt, true).unwrap();
                let said = setup.tokenizer.decode(&rows[i].response, true).unwrap();
                let end = if finish == Finish::Stop { "<|end|>" } else { "" };
                json!({"text": prompt + &said + end}).to_string() + "\n"
            });
            folder.write("texts.jsonl", &lines.collect::<String>());
            folder.good(
                "score",
                &format!("--model {name} --input texts.jsonl --out scored --overwrite"),
            );
            let scored = folder.read("scored");
            assert_eq!(scored.lines().count(), of_kind.len());
            for (line, &i) in scored.lines().zip(&of_kind) {
                let line: Value = serde_json::from_str(line).unwrap();
                let expected = line["score"].as_f64().unwrap();
                let what = format!("padding {pad}, {finish:?}: the score of row {i}");
                close("own: reward model", &what, expected, scores[i].into(), 2e-5);
            }
        }
    }
    let flags = "--model base --reward reward-0 --prompts prompts.jsonl --max-new-tokens 4";
    let said = folder.good("best_of_n", &format!("{flags} --n 2"));
    names("own: reward model", "best_of_n scores with it", &["best of 2", "reward"], &said);
    let short = "--iterations 2 --prompts-per-iteration 2 --samples 2";
    for recipe in ["grpo", "spr"] {
        let said = folder.good(recipe, &format!("{flags} {short} --out {recipe}"));
        let last = format!("{recipe} 2/2");
        names("own: reward model", recipe, &[&last, "score", "saved in"], &said);
    }
}

#[test]
fn a_score_that_is_no_number_is_refused() {
    let folder = Sandbox::new();
    put_reward(&folder, "reward", 0);
    edit_tensors(&folder.path().join("reward/model.safetensors"), |tensors| {
        let (shape, bytes) = tensors.get_mut("score.weight").unwrap();
        *bytes = f32::MAX.to_le_bytes().repeat(shape[1]);
    });
    folder.write("texts.jsonl", "{\"text\": \"Guest Mira\"}\n");
    let said = folder.refused("score", "--model reward --input texts.jsonl");
    names("own: reward model", "an infinite score", &["line 1", "score is not finite"], &said);
}

#[test]
fn what_a_reward_model_cannot_be_given_is_refused() {
    let folder = Sandbox::new();
    folder.put_shipped("base").write("base/chat_template.jinja", POLICY_TEMPLATE);
    put_reward(&folder, "reward", 0);
    let turns = json!({"prompt": golden()["turns"]}).to_string();
    folder.write("turns.jsonl", &turns).write("plain.jsonl", &requests(&NAMES));
    let flags = |reward: &str, prompts: &str| {
        format!("--model base --reward {reward} --prompts {prompts} --max-new-tokens 4 --n 1")
    };
    folder.good("best_of_n", &flags("reward", "turns.jsonl"));
    std::fs::remove_file(folder.path().join("reward/chat_template.jinja")).unwrap();
    std::fs::rename(folder.path().join("reward"), folder.path().join("bare")).unwrap();
    let text = folder.refused("best_of_n", &flags("bare", "turns.jsonl"));
    names("own: reward model", "no template for turns", &["bare", "chat_template"], &text);

    edit(&folder.path().join("bare/tokenizer.json"), |t| {
        t["added_tokens"][0]["content"] = "<|fill|>".into();
        let vocab = t["model"]["vocab"].as_object_mut().unwrap();
        let id = vocab.remove("<|pad|>").unwrap();
        vocab.insert("<|fill|>".into(), id);
    });
    edit(&folder.path().join("bare/tokenizer_config.json"), |c| c["pad_token"] = "<|fill|>".into());
    folder.write("spelt.jsonl", "{\"prompt\": \"<|pad|>user says tea<|end|>\"}\n");
    let text = folder.refused("best_of_n", &flags("bare", "spelt.jsonl"));
    names(
        "own: reward model",
        "a foreign special token in a text",
        &["<|pad|>", "messages"],
        &text,
    );

    edit(&folder.path().join("bare/config.json"), |c| c["max_position_embeddings"] = 12.into());
    let text = folder.refused("best_of_n", &flags("bare", "plain.jsonl"));
    names("own: reward model", "no room for a prompt", &["bare", "context of 12"], &text);
    edit(&folder.path().join("bare/config.json"), |c| c["max_position_embeddings"] = 64.into());

    std::fs::remove_file(folder.path().join("bare/tokenizer.json")).unwrap();
    let said = folder.good("best_of_n", &flags("bare", "plain.jsonl"));
    names("own: reward model", "no tokenizer", &["bare has no tokenizer.json"], &said);
    edit_tensors(&folder.path().join("bare/model.safetensors"), |tensors| {
        let (shape, bytes) = tensors.get_mut("model.embed_tokens.weight").unwrap();
        shape[0] += 2;
        bytes.extend([0; 2 * 128 * 4]);
    });
    edit(&folder.path().join("bare/config.json"), |c| c["vocab_size"] = 480.into());
    let text = folder.refused("best_of_n", &flags("bare", "plain.jsonl"));
    names(
        "own: reward model",
        "no tokenizer, another size",
        &["tokenizer.json", "480", "478"],
        &text,
    );
}

/// Sums of log-probabilities that a run has kept.
fn kept(folder: &Sandbox) -> Vec<Vec<f64>> {
    let files = std::fs::read_dir(folder.path().join("references")).unwrap();
    let numbers = |path: &Path| -> Vec<f64> {
        let file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        serde_json::from_value(file["numbers"].clone()).unwrap()
    };
    files.map(|file| numbers(&file.unwrap().path())).collect()
}

/// The reference is read in the policy's own numbers, whatever the format of other models.
#[test]
fn a_cached_reference_is_of_the_same_number_format() {
    let run = "--model base --preferences pairs3.jsonl";
    let fresh = |flags: &str| {
        let folder = Sandbox::new();
        folder.put_shipped("base").put("runs/pairs3.jsonl", "pairs3.jsonl");
        crate::runs::put_reward(&folder);
        folder.good("dpo", &format!("{run} {flags} --out out"));
        let weights = std::fs::read(folder.path().join("out/model/model.safetensors")).unwrap();
        (kept(&folder), weights)
    };
    let wide = fresh("");
    let narrow = fresh("--reward reward --frozen-dtype bf16");
    equal("runs/05", "bf16: the numbers of the reference", true, wide.0 == narrow.0);
    equal("runs/05", "bf16: the weights", true, wide.1 == narrow.1);
    // How much is read at a time changes no bit.
    let pieces = fresh("--logprob-chunk 3 --score-batch 1");
    equal("runs/05", "bits of a reading in pieces", wide.0, pieces.0);
}

#[test]
fn a_lab_of_another_recipe_is_not_taken_for_this_one() {
    let folder = Sandbox::new();
    let mut recipe = Recipe::default().smoke();
    recipe.task = TaskSizes { demonstrations: 8, preferences: 8 };
    let made = |recipe: &Recipe| {
        let lab = Lab::open(recipe.clone(), folder.path().join("lab"), &StopFlag::new()).unwrap();
        [lab.sft().unwrap().fingerprint(), lab.reward_model().unwrap().fingerprint()]
    };
    let first = made(&recipe);
    let at = || std::fs::metadata(folder.path().join("lab/sft")).unwrap().modified().unwrap();
    let before = at();
    let mut longer = recipe.clone();
    longer.generation.max_new_tokens += 1;
    equal("own: lab", "what models do not follow from changes none", &first, &made(&longer));
    equal("own: lab", "nor is anything made again", before, at());
    let mut other = recipe.clone();
    other.sft.lr.peak *= 2.0;
    let second = made(&other);
    equal("own: lab", "another learning rate makes another model", false, first == second);
    equal("own: lab", "back again", &first, &made(&recipe));
    // Cut off between a model and the note beside it.
    std::fs::remove_file(folder.path().join("lab/reward.made_of")).unwrap();
    edit_tensors(&folder.path().join("lab/reward/model.safetensors"), |tensors| {
        tensors.get_mut("model.norm.weight").unwrap().1.fill(0);
    });
    equal("own: lab", "a model without its note is made again", first, made(&recipe));
}

#[test]
fn a_comparison_does_not_go_on_with_other_settings() {
    let folder = Sandbox::new();
    let flags = "--smoke --seeds 0 --out out --methods best_of_2";
    folder.good("compare", flags);
    folder.good("compare", flags);
    let text = folder.refused("compare", &format!("{flags} --prompts 8"));
    let words = ["best_of_2-0.json", "16 prompts", "8 prompts", "--out"];
    names("own: compare", "other settings", &words, &text);
    edit(&folder.path().join("out/results/best_of_2-0.json"), |outcome| {
        outcome["made_of"] = "another base model".into();
    });
    let text = folder.refused("compare", flags);
    names("own: compare", "another start", &["best_of_2-0.json", "--out"], &text);
}

fn user_files(folder: &Sandbox) -> UserFiles {
    let path = |name: &str| Some(folder.path().join(name));
    UserFiles {
        prompts: path("prompts.jsonl"),
        preferences: path("pairs.jsonl"),
        demonstrations: path("demos.jsonl"),
    }
}

/// The prompts of lines as preferences and as demonstrations.
fn as_data(folder: &Sandbox, prompts: &str) {
    let rows = prompts.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()["prompt"].clone());
    let (mut pairs, mut demos) = (String::new(), String::new());
    for prompt in rows {
        pairs += &json!({"prompt": prompt, "chosen": " Yes.", "rejected": " No."}).to_string();
        demos += &json!({"prompt": prompt, "completion": " Yes."}).to_string();
        pairs.push('\n');
        demos.push('\n');
    }
    folder.write("pairs.jsonl", &pairs).write("demos.jsonl", &demos);
}

fn run_data(folder: &Sandbox, share: f64, seed: u64) -> RunData {
    let mut recipe = Recipe { seed, ..Recipe::default() };
    recipe.evaluation.held_out = share;
    recipe.generation.max_new_tokens = 4;
    let tokenizer: TextTokenizer = load_tokenizer(&base_model_dir()).unwrap();
    RunData::of_files(&user_files(folder), &tokenizer, None, 64, &recipe).unwrap()
}

#[test]
fn held_out_prompts_are_in_nothing_that_is_learnt() {
    let folder = Sandbox::new();
    let all = requests(&NAMES);
    // Every prompt twice, and all of them in the other files.
    folder.write("prompts.jsonl", &(all.clone() + &all));
    as_data(&folder, &all);
    let mut chosen = HashSet::new();
    for seed in 0..4 {
        let data = run_data(&folder, 0.25, seed);
        let held_out: HashSet<&Vec<u32>> = data.held_out.iter().collect();
        equal("own: held out", "a quarter of twelve", 3, held_out.len());
        let pairs = data.preferences.iter().map(|(chosen, _)| &chosen.prompt);
        let demos = data.demonstrations.iter().map(|s| &s.prompt);
        let learnt: HashSet<&Vec<u32>> = data.prompts.iter().chain(pairs).chain(demos).collect();
        equal("own: held out", "prompts in both", 0, learnt.intersection(&held_out).count());
        equal("own: held out", "pairs that are left", 9, data.preferences.len());
        names("own: held out", "it is said", &["3 of 12 preferences"], &data.notes.join("\n"));
        let mut held_out = data.held_out.clone();
        held_out.sort();
        chosen.insert(held_out);
    }
    equal("own: held out", "another seed holds others out", true, chosen.len() > 1);
    equal("own: held out", "a share of 0", 0, run_data(&folder, 0.0, 0).held_out.len());
    // Data on other prompts lose nothing, for those are held out first.
    as_data(&folder, &all.lines().take(8).map(|l| format!("{l}\n")).collect::<String>());
    let data = run_data(&folder, 0.25, 0);
    equal("own: held out", "others are held out first", (8, 8), {
        (data.preferences.len(), data.demonstrations.len())
    });
}

#[test]
fn recipes_hold_out_what_they_show_and_say_so() {
    let folder = Sandbox::new();
    folder.put_shipped("base").write("prompts.jsonl", &requests(&NAMES));
    as_data(&folder, &folder.read("prompts.jsonl"));
    let model = "--model base --prompts prompts.jsonl --max-new-tokens 4";
    let said = folder.good("dpo", &format!("{model} --preferences pairs.jsonl --out dpo"));
    names("own: held out", "dpo", &["1 of 12 preferences", "before: 1 responses"], &said);
    let labels: String = folder
        .read("demos.jsonl")
        .lines()
        .map(|line| line.replace('}', ", \"label\": true}\n"))
        .collect();
    folder.write("labels.jsonl", &(labels.clone() + &labels.replace("true", "false")));
    let said = folder.good("kto", &format!("{model} --labels labels.jsonl --out kto"));
    names("own: held out", "kto", &["2 of 24 labelled responses"], &said);

    put_reward(&folder, "reward", 0);
    let line = folder.read("prompts.jsonl").lines().next().unwrap().to_owned() + "\n";
    let two = folder.read("prompts.jsonl").lines().take(2).collect::<Vec<_>>().join("\n");
    for (what, prompts) in [("one prompt", line.clone()), ("two", two), ("equal", line.repeat(5))] {
        folder.write("few.jsonl", &prompts);
        let flags = "--model base --reward reward --prompts few.jsonl --max-new-tokens 4 --n 2";
        let out = what.replace(' ', "-");
        let said = folder.good("best_of_n", &format!("{flags} --train --out {out}"));
        names("own: held out", what, &["no prompts are held out", "saved in"], &said);
    }
    let files = "--model base --prompts few.jsonl --preferences pairs.jsonl";
    let flags = format!("{files} --smoke --max-new-tokens 4 --steps 1 --out rlhf");
    let said = folder.good("hydra_rlhf", &flags);
    names("own: held out", "three stages on equal prompts", &["no prompts are held out"], &said);
    assert!(!said.contains("NaN"), "{said}");
}
