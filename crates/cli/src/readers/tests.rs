use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;
use half::f16;
use pando_model::{Stamp, StoredPoint, Value};
use tempfile::TempDir;

use super::*;
use crate::point_json::PointJson;

fn npy(descr: &str, shape: &str, order: &str, data: &[u8]) -> Vec<u8> {
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}");
    while !(10 + header.len() + 1).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    let length = u16::try_from(header.len()).expect("short");
    [
        b"\x93NUMPY\x01\x00",
        &length.to_le_bytes()[..],
        header.as_bytes(),
        data,
    ]
    .concat()
}

fn halves(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|v| f16::from_f32(*v).to_le_bytes())
        .collect()
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("in memory");
    encoder.finish().expect("in memory")
}

struct Dir(TempDir);

impl Dir {
    fn new() -> Self {
        Self(TempDir::new().expect("a directory"))
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).expect("written");
        path
    }
}

fn read(vectors: &Path, payloads: Option<&Path>) -> Result<Vec<Point>> {
    points(
        vectors,
        payloads,
        Defaults {
            first_id: 10,
            ..Defaults::default()
        },
    )?
    .collect()
}

fn refused(vectors: &Path, payloads: Option<&Path>) -> String {
    read(vectors, payloads).expect_err("bad").to_string()
}

#[test]
fn half_and_single_floats_are_read_with_their_payloads() {
    let dir = Dir::new();
    let values = [1.0, -0.5, 0.25, 2.0];
    let payloads = b"{\"n\": 1}\n\n{\"n\": 2.5}\n";
    let files = [
        (
            dir.file("h.npy", npy("<f2", "(2, 2)", "False", &halves(&values))),
            dir.file("a.jsonl", payloads),
        ),
        (
            dir.file("s.npy", npy("<f4", "(2, 2)", "False", &floats(&values))),
            dir.file("a.jsonl.gz", gz(payloads)),
        ),
        (
            dir.file(
                "z.npy.gz",
                gz(&npy("<f4", "(2, 2)", "False", &floats(&values))),
            ),
            dir.file("b.jsonl", payloads),
        ),
    ];
    for (vectors, payloads) in &files {
        let points = read(vectors, Some(payloads)).expect("fine");
        let expected = [
            Point::new(
                10,
                vec![1.0, -0.5],
                Payload([("n".into(), Value::Int(1))].into()),
            ),
            Point::new(
                11,
                vec![0.25, 2.0],
                Payload([("n".into(), Value::Float(2.5))].into()),
            ),
        ];
        assert_eq!(points, expected, "{}", vectors.display());
    }
}

#[test]
fn a_row_can_be_picked() {
    let dir = Dir::new();
    let path = dir.file(
        "a.npy",
        npy("<f4", "(2, 2)", "False", &floats(&[1.0, 2.0, 3.0, 4.0])),
    );
    assert_eq!(vector_at(&path, 1).expect("there"), [3.0, 4.0]);
    assert!(
        vector_at(&path, 2)
            .expect_err("too far")
            .to_string()
            .contains("it has 2")
    );
}

#[test]
fn arrays_that_are_not_rows_of_floats_are_refused() {
    let dir = Dir::new();
    let data = floats(&[1.0, 2.0]);
    for (bytes, reason) in [
        (
            npy("<f8", "(1, 2)", "False", &[0; 16]),
            "float16 or float32",
        ),
        (npy("<i4", "(1, 2)", "False", &data), "float16 or float32"),
        (npy("<f4", "(2,)", "False", &data), "2, one row per vector"),
        (npy("<f4", "(1, 2)", "True", &data), "Fortran"),
        (npy("<f4", "(1, 0)", "False", &[]), "1 to 16384"),
        (npy("<f4", "(1, 99999999)", "False", &data), "1 to 16384"),
        (npy("<f4", "(2, 2)", "False", &data), "ends within row 1"),
        (b"not an array".to_vec(), "bad.npy"),
    ] {
        let error = refused(&dir.file("bad.npy", bytes), None);
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn integers_are_read_in_rows() {
    let dir = Dir::new();
    let data: Vec<u8> = [1_i32, 2, 3, 4]
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    let path = dir.file("a.npy", npy("<i4", "(2, 2)", "False", &data));
    assert_eq!(integers(&path).expect("fine"), (vec![1, 2, 3, 4], 2));
    let path = dir.file("b.npy", npy("<i4", "(4,)", "False", &data));
    assert_eq!(integers(&path).expect("fine"), (vec![1, 2, 3, 4], 1));
    let path = dir.file("c.npy", npy("<f4", "(4,)", "False", &data));
    assert!(integers(&path).is_err());
}

#[test]
fn payloads_and_rows_must_be_as_many() {
    let dir = Dir::new();
    let vectors = dir.file("a.npy", npy("<f4", "(2, 1)", "False", &floats(&[1.0, 2.0])));
    let few = dir.file("few.jsonl", "{}\n");
    let many = dir.file("many.jsonl", "{}\n{}\n{}\n");
    assert!(refused(&vectors, Some(&few)).contains("more rows than there are payloads (1)"));
    assert!(refused(&vectors, Some(&many)).contains("2 rows, there are more payloads"));
}

#[test]
fn bad_lines_are_named() {
    let dir = Dir::new();
    let vectors = dir.file("a.npy", npy("<f4", "(2, 1)", "False", &floats(&[1.0, 2.0])));
    for (lines, reason) in [("{}\n[1]\n", "JSON object"), ("{}\n{\"a\":\n", "EOF")] {
        let error = refused(&vectors, Some(&dir.file("p.jsonl", lines)));
        assert!(
            error.contains("line 2") && error.contains(reason),
            "{error}"
        );
    }
    let whole = gz(b"{}\n{}\n");
    let cut = dir.file("cut.jsonl.gz", &whole[..whole.len() - 9]);
    assert!(refused(&vectors, Some(&cut)).contains("cut.jsonl.gz"));
}

#[test]
fn fvecs_rows_are_read_and_checked() {
    let dir = Dir::new();
    let row =
        |dimension: i32, values: &[f32]| [&dimension.to_le_bytes()[..], &floats(values)].concat();
    let good = [row(2, &[1.0, 2.0]), row(2, &[3.0, 4.0])].concat();
    let points = read(&dir.file("a.fvecs", &good), None).expect("fine");
    assert_eq!(
        points[1],
        Point::new(11, vec![3.0, 4.0], Payload::default())
    );
    for (bytes, reason) in [
        (good[..good.len() - 1].to_vec(), "row 1: the file ends"),
        (
            [row(2, &[1.0, 2.0]), row(1, &[3.0])].concat(),
            "first row's is 2",
        ),
        (row(0, &[]), "dimension is 0"),
        (row(-5, &[]), "dimension is -5"),
    ] {
        let error = refused(&dir.file("bad.fvecs", bytes), None);
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn whole_points_keep_their_ids_and_come_back_as_written() {
    let dir = Dir::new();
    let uuid = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    let text = format!(
        "{{\"id\": 7, \"vector\": [1.0, 2.0], \"payload\": {{\"a\": \"b\"}}}}\n\
         {{\"id\": \"{uuid}\", \"vectors\": {{\"title\": [0.5], \"body\": [1.5]}}}}\n\
         {{\"vector\": [0.1]}}\n\
         {{\"vectors\": {{\"\": [1.0], \"terms\": {{\"indices\": [2, 70000], \"values\": [0.1, -2]}}}}}}\n\
         {{\"vectors\": {{\"terms\": {{\"indices\": [5], \"values\": [1]}}}}}}\n"
    );
    let points = read(&dir.file("p.jsonl", text), None).expect("fine");
    let ids: Vec<String> = points.iter().map(|p| p.id.to_string()).collect();
    assert_eq!(
        ids,
        ["7", uuid, "12", "13", "14"],
        "lines without an id are numbered by their place"
    );
    let sparse: Vec<_> = points.iter().map(|p| p.sparse_vectors.len()).collect();
    assert_eq!(sparse, [0, 0, 0, 1, 1]);

    let written = points.iter().map(|p| {
        let stored = StoredPoint {
            id: p.id,
            version: Stamp::default(),
            payload: Some(p.payload.clone()),
            vectors: p.vectors.clone(),
            sparse_vectors: p.sparse_vectors.clone(),
        };
        format!("{}\n", PointJson::from(&stored))
    });
    let written = gz(written.collect::<String>().as_bytes());
    assert_eq!(
        read(&dir.file("again.jsonl.gz", written), None).expect("fine"),
        points
    );
}

#[test]
fn points_that_mean_nothing_are_refused() {
    let dir = Dir::new();
    for (line, reason) in [
        (r#"{"id": 1}"#, "no vector"),
        (r#"{"id": -1, "vector": [1]}"#, "line 1"),
        (r#"{"id": "x", "vector": [1]}"#, "bad point id"),
        (
            r#"{"id": 1, "vector": [1], "vectors": {"": [2]}}"#,
            "given twice",
        ),
        (r#"{"id": 1, "vector": [1], "payload": 3}"#, "JSON object"),
        (r#"{"id": 1, "vektor": [1]}"#, "vektor"),
        (
            r#"{"id": 1, "vectors": {"t": {"indices": [2, 2], "values": [1, 1]}}}"#,
            "index 2 is given twice",
        ),
        (r#"{"id": 1, "vector": 3}"#, "a list of numbers, or"),
    ] {
        let error = refused(&dir.file("bad.jsonl", line), None);
        assert!(error.contains(reason), "{line}: {error}");
    }
    let lines = dir.file("p.jsonl", "");
    assert!(refused(&lines, Some(&lines)).contains("leave --payloads out"));
    assert!(refused(&dir.file("a.csv", ""), None).contains(".npy, .fvecs or .jsonl"));
}
