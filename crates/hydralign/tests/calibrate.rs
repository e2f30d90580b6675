//! A device is timed: its rates order work as it really goes.

use hydralign::calibrate;
use hydralign::families::Architecture;
use hydralign::memory::{Estimate, Method, Profile, Rate, Workload};
use hydralign::prelude::*;

fn architecture() -> Architecture {
    let shape = ModelShape {
        vocab: 512,
        hidden: 64,
        intermediate: 176,
        layers: 6,
        heads: 4,
        kv_heads: 2,
        head_dim: 16,
        tied: false,
        parts: Parts::default(),
    };
    Architecture::llama(&shape, 128, 0).unwrap()
}

#[test]
fn rates_are_plausible_and_order_workloads() {
    let architecture = architecture();
    let rates = calibrate(&architecture, &Device::flex()).unwrap();
    for Rate { flops, block_seconds } in [rates.generate, rates.read, rates.learn] {
        // From a slow emulator to a large accelerator, and less than a second a block.
        assert!((1e6..1e17).contains(&flops), "{rates:?}");
        assert!((0.0..1.0).contains(&block_seconds), "{rates:?}");
    }
    let (method, lora, profile) = (Method::grpo(), LoraShape::default(), Profile::flex(1));
    let seconds = |workload: &Workload| {
        let estimate = Estimate::new(&method, &architecture, &lora, workload, &profile).unwrap();
        rates.seconds(&estimate).unwrap()
    };
    let whole = Workload::uniform(16, 24, 24);
    let longer = Workload::uniform(16, 24, 72);
    assert!(seconds(&longer) > seconds(&whole));
    let one_by_one =
        Workload { generate_batch: 1, score_batch: 1, micro_batch: 1, ..whole.clone() };
    assert!(seconds(&one_by_one) >= seconds(&whole));
}
