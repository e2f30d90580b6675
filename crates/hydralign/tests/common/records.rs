//! What learners write down, compared; and what a run says until it is stopped.

use burn_pack::Reader;
use hydralign::algorithms::LearnerRecord;
use hydralign::burn::tensor::Bytes;
use hydralign::prelude::*;

/// Names, shapes and bytes of what burn has written, in an order of their own.
pub(crate) fn tensors(bytes: &Bytes) -> Vec<(String, String, Vec<u8>)> {
    if bytes.is_empty() {
        return Vec::new();
    }
    let reader = Reader::from_bytes(bytes.clone()).unwrap();
    let scalars = format!("{:?}", reader.scalars());
    let mut all: Vec<_> = (reader.into_tensors().unwrap().into_iter())
        .map(|tensor| {
            let (name, _, shape, _, bytes) = tensor.into_parts().unwrap();
            (name, format!("{shape:?}"), bytes.to_vec())
        })
        .collect();
    all.push(("scalars".into(), scalars, Vec::new()));
    all.sort();
    all
}

pub(crate) fn assert_same(got: &LearnerRecord, expected: &LearnerRecord, what: &str) {
    assert_eq!(got.steps, expected.steps, "{what}: optimizer steps");
    assert!(tensors(&got.weights) == tensors(&expected.weights), "{what}: weights");
    assert!(tensors(&got.optimizer) == tensors(&expected.optimizer), "{what}: optimizer");
}

/// Keeps the statistics, and stops the run after a step.
pub(crate) struct Watch<'a> {
    pub(crate) stop: &'a StopFlag,
    pub(crate) at: usize,
    pub(crate) seen: Vec<Stats>,
}

impl Observer for Watch<'_> {
    fn stats(&mut self, stats: &Stats) {
        self.seen.push(stats.clone());
        if stats.step == self.at {
            self.stop.stop();
        }
    }
}
