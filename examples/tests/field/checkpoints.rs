//! Model folders and adapters.

use crate::sandbox::{Sandbox, perplexity};
use crate::table::close;

#[test]
fn a_plain_adapter_is_applied() {
    let folder = Sandbox::new();
    folder.put("00_base", "base").put("files/02", "02");
    let said = folder.good("score", "--model base --adapter 02/a_plain --input 02/tokens.jsonl");
    close("files/02", "a plain adapter: perplexity", 876.1618, perplexity(&said), 1e-3);
}
