//! What a leader refuses, and what it finds out about its own store.

use pando_merkle::{Digest, Key, Prefix};
use pando_model::TreeId;
use pando_sync::{
    AnswerError, Compression, Have, Leader, LeaderOptions, PAIRS_PER_REQUEST_MAX,
    PREFIXES_PER_REQUEST_MAX, Request, RequestError, Response, Want, encode,
};

use crate::world::{View, leader, row, state};

const TREE: TreeId = TreeId(1);

fn refusal(request: Request) -> RequestError {
    let leader = leader(&state((0..100).map(|id| row(id, "row"))), 1);
    match leader.answer(request) {
        Err(error) => error,
        Ok(_) => panic!("the request was not refused"),
    }
}

fn prefix(nibbles: &[u8]) -> Prefix {
    nibbles.iter().fold(Prefix::ROOT, |prefix, nibble| {
        prefix.child(*nibble).unwrap()
    })
}

fn want(prefix: Prefix, have: Have) -> Want {
    Want { prefix, have }
}

fn rows(wants: Vec<Want>) -> Request {
    Request::Rows { tree: TREE, wants }
}

#[test]
fn requests_that_break_a_rule_are_refused() {
    let (root, empty) = (Prefix::ROOT, || Have::Short(Vec::new()));
    let hello = Request::Hello {
        protocol: 2,
        root: Digest([0; 32]),
        index: 0,
    };
    assert_eq!(
        refusal(hello),
        RequestError::Protocol { ours: 1, theirs: 2 }
    );

    let tree = TreeId(9);
    let nodes = |tree, prefixes| Request::Nodes {
        tree,
        full: false,
        prefixes,
    };
    assert_eq!(
        refusal(nodes(tree, vec![root])),
        RequestError::UnknownTree { tree }
    );
    let unknown = Request::Rows {
        tree,
        wants: vec![want(root, empty())],
    };
    assert_eq!(refusal(unknown), RequestError::UnknownTree { tree });
    assert_eq!(refusal(nodes(TREE, Vec::new())), RequestError::Empty);
    assert_eq!(refusal(rows(Vec::new())), RequestError::Empty);
    let (found, max) = (PREFIXES_PER_REQUEST_MAX + 1, PREFIXES_PER_REQUEST_MAX);
    let what = "prefixes";
    let many = nodes(TREE, vec![root; found]);
    assert_eq!(refusal(many), RequestError::TooMany { what, found, max });
    let repeated = RequestError::PrefixOrder {
        tree: TREE,
        prefix: root,
    };
    assert_eq!(refusal(nodes(TREE, vec![root, root])), repeated);
    assert_eq!(refusal(nodes(TREE, vec![prefix(&[1]), root])), repeated);

    // Overlapping wants would be answered twice.
    let under = vec![want(prefix(&[1]), empty()), want(prefix(&[1, 2]), empty())];
    let order = RequestError::PrefixOrder {
        tree: TREE,
        prefix: prefix(&[1, 2]),
    };
    assert_eq!(refusal(rows(under)), order);
    let (found, max) = (PAIRS_PER_REQUEST_MAX + 1, PAIRS_PER_REQUEST_MAX);
    let pairs = (0..found as u64).map(|key| (key, 0)).collect();
    let long = rows(vec![want(root, Have::Short(pairs))]);
    assert_eq!(
        refusal(long),
        RequestError::TooMany {
            what: "leaves",
            found,
            max
        }
    );
}

#[test]
fn lists_that_break_a_rule_are_refused() {
    let key = |byte| Key::from_bytes([byte; 16]);
    let digest = Digest([0; 32]);
    let root = Prefix::ROOT;
    for have in [
        Have::Short(vec![(2, 0), (1, 0)]),
        Have::Short(vec![(1, 0), (1, 1)]),
        Have::Full(vec![(key(2), digest), (key(1), digest)]),
        Have::Full(vec![(key(1), digest), (key(1), digest)]),
    ] {
        let order = RequestError::HaveOrder {
            tree: TREE,
            prefix: root,
        };
        assert_eq!(refusal(rows(vec![want(root, have)])), order);
    }
    let prefix = prefix(&[3, 1]);
    for have in [
        Have::Short(vec![(0x32 << 56, 0)]),
        Have::Full(vec![(key(0x30), digest)]),
    ] {
        let outside = RequestError::HaveOutside { tree: TREE, prefix };
        assert_eq!(refusal(rows(vec![want(prefix, have)])), outside);
    }
    let inside = want(prefix, Have::Short(vec![(0x31 << 56, 0)]));
    let leader = leader(&state((0..100).map(|id| row(id, "row"))), 1);
    assert!(leader.answer(rows(vec![inside])).is_ok());
}

#[test]
fn a_row_that_does_not_match_its_leaf_is_not_sent() {
    let mut view = View::of(&state((0..50).map(|id| row(id, "row"))), 1);
    let key = *view.rows.keys().nth(20).unwrap();
    view.rows.get_mut(&key).unwrap().content[0] ^= 1;
    let leader = Leader::new(
        view,
        LeaderOptions {
            frame_bytes: 1 << 20,
            rows_per_read: 4,
        },
    );
    let everything = rows(vec![want(Prefix::ROOT, Have::Short(Vec::new()))]);
    let mut answer = leader.answer(everything).unwrap();
    let sent = answer.by_ref().take_while(Result::is_ok).count();
    assert_eq!(sent, 5);
    assert!(answer.next().is_none(), "there is nothing after an error");
    let again = leader.answer(rows(vec![want(Prefix::ROOT, Have::Short(Vec::new()))]));
    let error = again.unwrap().find_map(Result::err).unwrap();
    assert!(matches!(error, AnswerError::RowDamaged { tree: TREE, key: k } if k == key.1));
}

#[test]
fn answers_come_in_frames_of_bounded_size() {
    let content = "c".repeat(1_000);
    let view = View::of(&state((0..2_000).map(|id| row(id, &content))), 1);
    let leader = Leader::new(
        view,
        LeaderOptions {
            frame_bytes: 20_000,
            rows_per_read: 64,
        },
    );
    let everything = rows(vec![want(Prefix::ROOT, Have::Short(Vec::new()))]);
    let mut count = 0;
    let mut last = false;
    for response in leader.answer(everything).unwrap() {
        let response = response.unwrap();
        assert!(encode(&response, Compression::None).unwrap().len() < 21_000);
        let Response::Rows { puts, done, .. } = response else {
            panic!("rows were asked for")
        };
        assert!(!last, "a part follows the last part");
        (count, last) = (count + puts.len(), done);
    }
    assert_eq!((count, last), (2_000, true));

    let prefixes: Vec<Prefix> = Prefix::ROOT.children().flat_map(|p| p.children()).collect();
    let nodes = Request::Nodes {
        tree: TREE,
        full: true,
        prefixes: prefixes.clone(),
    };
    let mut answered = Vec::new();
    for response in leader.answer(nodes).unwrap() {
        let response = response.unwrap();
        assert!(encode(&response, Compression::None).unwrap().len() < 21_000);
        let Response::Nodes { nodes, .. } = response else {
            panic!("nodes were asked for")
        };
        answered.extend(nodes.into_iter().map(|(prefix, _)| prefix));
    }
    assert_eq!(answered, prefixes);
}
