//! What a leader refuses, and what it finds out about its own store.

use pando_merkle::{Digest, Key, Prefix};
use pando_model::TreeId;
use pando_sync::{
    AnswerError, Compression, Have, LISTED_PER_REQUEST_MAX, Leader, LeaderOptions,
    PREFIXES_PER_REQUEST_MAX, Request, RequestError, Response, Tag, Want, encode,
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
    Request::Rows {
        id: 1,
        tree: TREE,
        wants,
    }
}

#[test]
fn requests_that_break_a_rule_are_refused() {
    let (root, empty) = (Prefix::ROOT, || Have::Tags(Vec::new()));
    let hello = Request::Hello {
        protocol: 1,
        root: Digest([0; 32]),
        index: 0,
    };
    assert_eq!(
        refusal(hello),
        RequestError::Protocol { ours: 2, theirs: 1 }
    );

    let tree = TreeId(9);
    let nodes = |tree, prefixes| Request::Nodes {
        id: 1,
        tree,
        full: false,
        prefixes,
    };
    assert_eq!(
        refusal(nodes(tree, vec![root])),
        RequestError::UnknownTree { tree }
    );
    let since = Request::Since {
        id: 1,
        tree,
        prefix: root,
        index: 0,
    };
    assert_eq!(refusal(since), RequestError::UnknownTree { tree });
    let unknown = Request::Rows {
        id: 1,
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
    let (found, max) = (LISTED_PER_REQUEST_MAX + 1, LISTED_PER_REQUEST_MAX);
    let tag = |n: usize| {
        let [.., a, b, c] = n.to_be_bytes();
        Tag([a, b, c])
    };
    let long = rows(vec![want(root, Have::Tags((0..found).map(tag).collect()))]);
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
    let twice = Have::Tags(vec![Tag([1; 3]), Tag([2; 3]), Tag([1; 3])]);
    let repeated = RequestError::TagRepeated {
        tree: TREE,
        prefix: root,
    };
    assert_eq!(refusal(rows(vec![want(root, twice)])), repeated);
    for have in [
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
    let outside = RequestError::HaveOutside { tree: TREE, prefix };
    let have = Have::Full(vec![(key(0x30), digest)]);
    assert_eq!(refusal(rows(vec![want(prefix, have)])), outside);
    let inside = want(prefix, Have::Full(vec![(key(0x31), digest)]));
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
    let everything = rows(vec![want(Prefix::ROOT, Have::Tags(Vec::new()))]);
    let mut answer = leader.answer(everything).unwrap();
    let sent = answer.by_ref().take_while(Result::is_ok).count();
    assert_eq!(sent, 5);
    assert!(answer.next().is_none(), "there is nothing after an error");
    let again = leader.answer(rows(vec![want(Prefix::ROOT, Have::Tags(Vec::new()))]));
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
    let everything = rows(vec![want(Prefix::ROOT, Have::Tags(Vec::new()))]);
    let mut count = 0;
    let mut last = false;
    for response in leader.answer(everything).unwrap() {
        let response = response.unwrap();
        assert!(encode(&response, Compression::None).unwrap().len() < 21_000);
        let Response::Rows {
            parts, more, puts, ..
        } = response
        else {
            panic!("rows were asked for")
        };
        assert!(!last, "a part follows the last part");
        assert_eq!(parts.len(), 1);
        assert_eq!(parts[0].puts as usize, puts.rows.len());
        (count, last) = (count + puts.rows.len(), !more);
    }
    assert_eq!((count, last), (2_000, true));

    let prefixes: Vec<Prefix> = Prefix::ROOT.children().flat_map(|p| p.children()).collect();
    let nodes = Request::Nodes {
        id: 1,
        tree: TREE,
        full: true,
        prefixes: prefixes.clone(),
    };
    let mut answered = 0;
    for response in leader.answer(nodes).unwrap() {
        let response = response.unwrap();
        assert!(encode(&response, Compression::None).unwrap().len() < 21_000);
        let Response::Nodes { nodes, .. } = response else {
            panic!("nodes were asked for")
        };
        answered += nodes.len();
    }
    assert_eq!(answered, prefixes.len());
}

#[test]
fn one_frame_answers_many_wants() {
    let old = state((0..2_000).map(|id| row(id, "old")));
    let view = View::of(
        &state((0..2_000).map(|id| row(id, if id % 9 == 0 { "new" } else { "old" }))),
        1,
    );
    let leader = Leader::new(view, LeaderOptions::default());
    let trees = crate::world::trees(&old);
    let level: Vec<Prefix> = Prefix::ROOT.children().flat_map(|p| p.children()).collect();
    let list = |prefix: &Prefix| {
        let tags = trees[&TREE]
            .leaves(prefix)
            .map(|(_, leaf)| Tag::of(&leaf.digest));
        want(*prefix, Have::Tags(tags.collect()))
    };
    let answers: Vec<_> = leader
        .answer(rows(level.iter().map(list).collect()))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let [
        Response::Rows {
            id: 1,
            parts,
            more: false,
            puts,
        },
    ] = &answers[..]
    else {
        panic!("{} answers", answers.len())
    };
    assert_eq!(parts.len(), 256);
    assert_eq!(puts.rows.len(), 2_000_usize.div_ceil(9));
    let gone: usize = parts.iter().map(|part| part.gone.len()).sum();
    assert_eq!(gone, puts.rows.len());
}
