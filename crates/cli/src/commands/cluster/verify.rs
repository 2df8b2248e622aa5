//! `pando cluster verify`: the proof that all members hold the same data.

use pando_client::{ReplicaRoot, VerifyReport};
use serde_json::{Value, json};

use crate::context::Context;
use crate::exit::No;
use crate::output::{self, hex, plural, short};

pub(super) async fn run(context: &Context) -> anyhow::Result<()> {
    let verified = context.client()?.verify_cluster().await?;
    context
        .format
        .show(|| to_json(&verified), || text(&verified))?;
    check(&verified)
}

/// Fails unless all roots are equal.
pub(crate) fn check(verified: &VerifyReport) -> anyhow::Result<()> {
    if is_equal(verified) {
        return Ok(());
    }
    Err(No(format!(
        "the replicas are not proved equal at log index {}",
        verified.index
    ))
    .into())
}

/// The server's word, checked: every member answered, with one and the same root.
fn is_equal(verified: &VerifyReport) -> bool {
    let mut roots = verified
        .nodes
        .values()
        .map(|r| r.as_ref().ok().map(|r| r.root));
    let first = roots.next().flatten();
    verified.equal && first.is_some() && roots.all(|root| root == first)
}

/// For people: every root, then the verdict.
pub(crate) fn text(verified: &VerifyReport) -> String {
    let mut table = output::table(["node", "root", "points", "size"]);
    for (node, found) in &verified.nodes {
        let [root, points, size] = match found {
            Ok(r) => [short(&r.root), r.points.to_string(), output::bytes(r.bytes)],
            Err(reason) => [format!("no answer: {reason}"), "-".into(), "-".into()],
        };
        table.add_row([node.to_string(), root, points, size]);
    }
    format!("{table}\n{}", verdict(verified))
}

fn verdict(verified: &VerifyReport) -> String {
    let index = verified.index;
    let roots = verified.nodes.values().filter_map(|r| r.as_ref().ok());
    let distinct: std::collections::BTreeSet<[u8; 32]> = roots.map(|r| r.root).collect();
    let silent = verified.nodes.values().filter(|r| r.is_err()).count() as u64;
    match distinct.first() {
        Some(root) if is_equal(verified) => {
            let nodes = plural(verified.nodes.len() as u64, "node");
            format!(
                "EQUAL: {nodes}, one root at log index {index}: {}",
                hex(root)
            )
        }
        _ if distinct.len() > 1 => {
            format!(
                "!!! NOT EQUAL: {} different roots at log index {index} !!!",
                distinct.len()
            )
        }
        _ if silent > 0 => {
            format!(
                "!!! NOT VERIFIED: {} did not answer at log index {index} !!!",
                plural(silent, "node")
            )
        }
        _ => format!(
            "!!! NOT VERIFIED: the cluster says the roots are not equal at log index {index} !!!"
        ),
    }
}

/// For scripts.
pub(crate) fn to_json(verified: &VerifyReport) -> Value {
    let node = |(id, found): (&u64, &Result<ReplicaRoot, String>)| match found {
        Ok(r) => json!({ "id": id, "root": hex(&r.root), "points": r.points, "bytes": r.bytes }),
        Err(reason) => json!({ "id": id, "root": null, "reason": reason }),
    };
    json!({
        "log_index": verified.index,
        "equal": is_equal(verified),
        "nodes": verified.nodes.iter().map(node).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    fn sample(equal: bool, roots: &[Option<u8>]) -> VerifyReport {
        let found = |root: &Option<u8>| match root {
            Some(byte) => Ok(ReplicaRoot {
                root: [*byte; 32],
                points: 5,
                bytes: 10,
            }),
            None => Err("no connection".to_owned()),
        };
        let nodes = roots.iter().map(found);
        VerifyReport {
            index: 17,
            equal,
            nodes: (1..).zip(nodes).collect(),
        }
    }

    #[test]
    fn equal_roots_are_a_success() {
        let verified = sample(true, &[Some(7), Some(7), Some(7)]);
        assert!(check(&verified).is_ok());
        let text = text(&verified);
        assert!(
            text.contains("EQUAL: 3 nodes") && text.contains("log index 17"),
            "{text}"
        );
        assert!(text.contains(&"07".repeat(32)), "{text}");
    }

    #[test]
    fn anything_else_fails_loudly_even_if_the_server_says_equal() {
        for (said, roots, word) in [
            (true, &[Some(7), Some(8), Some(7)][..], "2 different roots"),
            (true, &[Some(7), None, Some(7)], "1 node did not answer"),
            (false, &[Some(7), Some(7)], "NOT VERIFIED"),
            (true, &[], "NOT VERIFIED"),
            (true, &[None], "NOT VERIFIED"),
        ] {
            let verified = sample(said, roots);
            let error = check(&verified).expect_err("not equal");
            assert_eq!(Exit::of(&error), Exit::No);
            let text = text(&verified);
            assert!(text.contains(word) && text.contains("!!!"), "{text}");
            assert_eq!(to_json(&verified)["equal"], false);
        }
    }
}
