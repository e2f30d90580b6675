use hydralign_core::{Episode, Observer, Reading, Request, Sequence, Work, WorkKind};

/// Tells of sampled responses, and returns them as rows.
pub(crate) fn sampled(episodes: &[Episode], observer: &mut dyn Observer) -> Vec<Sequence> {
    let rows: Vec<Sequence> = episodes.iter().map(Sequence::from).collect();
    observer.work(&Work { kind: WorkKind::Sample, rows: &rows, predicts: true, passes: 1 });
    rows
}

/// Tells of passes that read rows.
pub(crate) fn read(rows: &[Sequence], predicts: bool, passes: usize, observer: &mut dyn Observer) {
    observer.work(&Work { kind: WorkKind::Read, rows, predicts, passes });
}

/// Tells of passes that learn from rows.
pub(crate) fn learnt(
    rows: &[Sequence],
    predicts: bool,
    passes: usize,
    observer: &mut dyn Observer,
) {
    observer.work(&Work { kind: WorkKind::Learn, rows, predicts, passes });
}

/// Whether readings go over the vocabulary.
pub(crate) fn predicts(requests: &[Request]) -> bool {
    let valued = |r: Reading| matches!(r, Reading::ActionValue(_) | Reading::ActionLogSum(_));
    requests.iter().any(|request| request.reading.needs_logits() || valued(request.reading))
}
