//! `pando cluster verify`: the proof that all members hold the same data.

use std::collections::{BTreeMap, BTreeSet};

use pando_client::{ReplicaRoot, Verdict, VerifyReport};
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
    let mut text = format!("{table}\n");
    if let Some(collections) = collections(verified) {
        text.push_str(&format!("{collections}\n"));
    }
    text.push_str(&verdict(verified));
    for line in next(verified) {
        text.push_str(&format!("\n{line}"));
    }
    text
}

/// The collections' roots, a column per node; none if there are none.
fn collections(verified: &VerifyReport) -> Option<comfy_table::Table> {
    let roots = |found: &Result<ReplicaRoot, String>| -> BTreeMap<String, [u8; 32]> {
        let found = found.iter().flat_map(|found| &found.collections);
        found.map(|c| (c.name.clone(), c.root)).collect()
    };
    let nodes: Vec<_> = verified
        .nodes
        .iter()
        .map(|(id, f)| (id, roots(f)))
        .collect();
    let names: BTreeSet<&String> = nodes.iter().flat_map(|(_, roots)| roots.keys()).collect();
    if names.is_empty() {
        return None;
    }
    let mut table = output::table(["collection"]);
    let header = nodes.iter().map(|(id, _)| format!("node {id}"));
    table.set_header(["collection".to_owned()].into_iter().chain(header));
    for name in names {
        let root = |roots: &BTreeMap<String, [u8; 32]>| roots.get(name).map_or("-".into(), short);
        let cells = nodes.iter().map(|(_, roots)| root(roots));
        table.add_row([name.clone()].into_iter().chain(cells));
    }
    Some(table)
}

/// What is done about it.
fn next(verified: &VerifyReport) -> Vec<String> {
    let mut lines = Vec::new();
    for found in &verified.minority {
        let node = found.node;
        lines.push(match (&found.error, found.resigning) {
            (_, true) => format!(
                "node {node} leads and differs from the majority: it hands over the lead, then it is quarantined and repaired"
            ),
            (None, false) => format!(
                "node {node} differs from the majority: it is quarantined, writes down what differs under evidence/ in its \
                 data directory, and is repaired from the leader; see `cluster status`"
            ),
            (Some(error), false) => format!(
                "node {node} differs from the majority, but was not told ({error}): the next check tries again"
            ),
        });
    }
    match verified.verdict {
        Verdict::NoMajority => lines.push(
            "no root has a majority, so nobody knows which is right and nothing is repaired: compare the nodes with \
             `pando diff`, and remove those that are wrong"
                .to_owned(),
        ),
        Verdict::Unknown => lines.push(
            "too few voters answered to say which root is right: bring the others up and verify again".to_owned(),
        ),
        Verdict::Equal { .. } | Verdict::Minority { .. } => {}
    }
    lines
}

fn verdict(verified: &VerifyReport) -> String {
    let index = verified.index;
    let roots = verified.nodes.values().filter_map(|r| r.as_ref().ok());
    let distinct: BTreeSet<[u8; 32]> = roots.map(|r| r.root).collect();
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

fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Equal { .. } => "equal",
        Verdict::Minority { .. } => "minority",
        Verdict::NoMajority => "no_majority",
        Verdict::Unknown => "unknown",
    }
}

/// For scripts.
pub(crate) fn to_json(verified: &VerifyReport) -> Value {
    let node = |(id, found): (&u64, &Result<ReplicaRoot, String>)| match found {
        Ok(r) => json!({
            "id": id,
            "root": hex(&r.root),
            "points": r.points,
            "bytes": r.bytes,
            "collections": r.collections,
        }),
        Err(reason) => json!({ "id": id, "root": null, "reason": reason }),
    };
    json!({
        "log_index": verified.index,
        "equal": is_equal(verified),
        "nodes": verified.nodes.iter().map(node).collect::<Vec<_>>(),
        "verdict": verdict_name(verified.verdict),
        "minority": verified.minority,
    })
}

#[cfg(test)]
mod tests {
    use pando_client::{CollectionRoot, Quarantined};

    use super::*;
    use crate::exit::Exit;

    fn sample(equal: bool, roots: &[Option<u8>]) -> VerifyReport {
        let found = |root: &Option<u8>| match root {
            Some(byte) => Ok(ReplicaRoot {
                root: [*byte; 32],
                points: 5,
                bytes: 10,
                collections: vec![CollectionRoot {
                    name: "words".into(),
                    root: [*byte ^ 1; 32],
                    points: 5,
                }],
            }),
            None => Err("no connection".to_owned()),
        };
        let nodes = roots.iter().map(found);
        VerifyReport {
            index: 17,
            equal,
            nodes: (1..).zip(nodes).collect(),
            verdict: Verdict::Unknown,
            minority: Vec::new(),
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

    #[test]
    fn what_is_wrong_and_what_becomes_of_it_is_said() {
        let mut verified = sample(false, &[Some(7), Some(7), Some(8)]);
        verified.verdict = Verdict::Minority { root: [7; 32] };
        let wrong = |error: Option<&str>, resigning| Quarantined {
            node: 3,
            error: error.map(str::to_owned),
            resigning,
        };
        for (found, says) in [
            (wrong(None, false), "quarantined, writes down"),
            (wrong(Some("no route"), false), "not told (no route)"),
            (wrong(None, true), "hands over the lead"),
        ] {
            verified.minority = vec![found];
            let text = text(&verified);
            assert!(text.contains("node 3") && text.contains(says), "{text}");
            assert!(
                text.contains("words") && text.contains("06060606"),
                "{text}"
            );
            assert_eq!(to_json(&verified)["minority"][0]["node"], 3);
            assert_eq!(to_json(&verified)["verdict"], "minority");
        }
        verified.minority.clear();
        verified.verdict = Verdict::NoMajority;
        assert!(text(&verified).contains("nothing is repaired"));
    }
}
