//! What was found to differ, for people and for scripts.

use serde_json::{Value, json};

use super::walk::Differing;
use crate::output::{self, plural};

/// The outcome.
pub(super) struct Report {
    pub(super) index: u64,
    /// What the two sides are.
    pub(super) a: String,
    pub(super) b: String,
    pub(super) collections: Vec<Compared>,
    /// Whether the states as a whole differ; if no collection does, it is the catalogue.
    pub(super) catalogue: bool,
    pub(super) note: Option<String>,
}

/// One collection on both sides.
pub(super) struct Compared {
    name: String,
    points: (Option<u64>, Option<u64>),
    found: Vec<Differing>,
}

impl Compared {
    pub(super) fn new(
        name: &str,
        points: (Option<u64>, Option<u64>),
        found: Vec<Differing>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            points,
            found,
        }
    }

    fn is_equal(&self) -> bool {
        self.found.is_empty() && self.points.0.is_some() == self.points.1.is_some()
    }

    /// Points only the first side has, only the second has, and both have, but not the same.
    fn counts(&self) -> [u64; 3] {
        let mut counts = [0; 3];
        for found in &self.found {
            let [only_a, only_b, changed] = &mut counts;
            match (found.a, found.b) {
                (Some(_), None) => *only_a += 1,
                (None, _) => *only_b += 1,
                (Some(_), Some(_)) => *changed += 1,
            }
        }
        counts
    }
}

fn on(found: &Differing) -> &'static str {
    match (found.a, found.b) {
        (Some(_), None) => "a",
        (None, _) => "b",
        (Some(_), Some(_)) => "both",
    }
}

fn id_of(found: &Differing) -> String {
    let key = || format!("key {}", found.key);
    found.id.map_or_else(key, |id| id.to_string())
}

impl Report {
    /// Whether nothing differs.
    pub(super) fn is_equal(&self) -> bool {
        !self.catalogue && self.collections.iter().all(Compared::is_equal)
    }

    /// In a sentence.
    pub(super) fn verdict(&self) -> String {
        let (a, b, index) = (&self.a, &self.b, self.index);
        if self.is_equal() {
            return format!("EQUAL: {a} and {b} at log index {index}");
        }
        let points: usize = self.collections.iter().map(|c| c.found.len()).sum();
        if self.collections.iter().all(Compared::is_equal) {
            return format!(
                "{a} and {b} hold the same points at log index {index}, but another catalogue (definitions, aliases, \
                 remembered requests)"
            );
        }
        let points = plural(points as u64, "point");
        format!("{a} and {b} are not equal at log index {index}: {points} differ")
    }

    /// For people.
    pub(super) fn text(&self, ids: bool) -> String {
        let mut table = output::table([
            "collection",
            "points a",
            "points b",
            "only a",
            "only b",
            "changed",
        ]);
        for compared in &self.collections {
            let points = |count: Option<u64>| count.map_or("absent".to_owned(), |n| n.to_string());
            let [only_a, only_b, changed] = compared.counts().map(|n| n.to_string());
            let (a, b) = (points(compared.points.0), points(compared.points.1));
            table.add_row([compared.name.clone(), a, b, only_a, only_b, changed]);
        }
        let mut text = format!("a: {}\nb: {}\n{table}\n", self.a, self.b);
        if ids {
            let all = self.collections.iter();
            for (name, found) in all.flat_map(|c| c.found.iter().map(move |f| (&c.name, f))) {
                let what = match on(found) {
                    "a" => "only a",
                    "b" => "only b",
                    _ => "changed",
                };
                text.push_str(&format!("{name}\t{}\t{what}\n", id_of(found)));
            }
        }
        if let Some(note) = &self.note {
            text.push_str(&format!("note: {note}\n"));
        }
        text + &self.verdict()
    }

    /// For scripts.
    pub(super) fn to_json(&self, ids: bool) -> Value {
        let version = |side: Option<(_, Option<pando_model::Stamp>)>| {
            side.and_then(|(_, version)| version).map(|v| v.to_string())
        };
        let differing = |found: &Differing| {
            json!({
                "id": found.id.map(|id| id.to_string()),
                "key": found.key.to_string(),
                "on": on(found),
                "digest_a": found.a.map(|(digest, _)| digest.to_string()),
                "digest_b": found.b.map(|(digest, _)| digest.to_string()),
                "version_a": version(found.a),
                "version_b": version(found.b),
            })
        };
        let collection = |compared: &Compared| {
            let [only_a, only_b, changed] = compared.counts();
            let mut json = json!({
                "name": compared.name,
                "equal": compared.is_equal(),
                "points_a": compared.points.0,
                "points_b": compared.points.1,
                "only_a": only_a,
                "only_b": only_b,
                "changed": changed,
            });
            if ids {
                json["ids"] = compared.found.iter().map(differing).collect();
            }
            json
        };
        json!({
            "log_index": self.index,
            "equal": self.is_equal(),
            "a": self.a,
            "b": self.b,
            "collections": self.collections.iter().map(collection).collect::<Vec<_>>(),
            "catalogue_differs": self.catalogue && self.collections.iter().all(Compared::is_equal),
            "note": self.note,
        })
    }
}

#[cfg(test)]
mod tests {
    use pando_merkle::{Digest, Key};
    use pando_model::PointId;

    use super::*;

    fn report(found: Vec<Differing>, points: (Option<u64>, Option<u64>)) -> Report {
        Report {
            index: 17,
            a: "node 1".into(),
            b: "node 2".into(),
            collections: vec![Compared::new("words", points, found)],
            catalogue: false,
            note: None,
        }
    }

    #[test]
    fn differences_are_counted_and_named() {
        let side = Some((Digest([1; 32]), None));
        let differing = |id: u64, a, b| Differing {
            key: Key::from_bytes([0; 16]),
            id: Some(PointId::Num(id)),
            a,
            b,
        };
        let found = vec![
            differing(1, side, None),
            differing(2, None, side),
            differing(3, side, side),
        ];
        let report = report(found, (Some(5), Some(5)));
        assert!(!report.is_equal());
        let json = report.to_json(true);
        let words = &json["collections"][0];
        for count in ["only_a", "only_b", "changed"] {
            assert_eq!(words[count], 1, "{json}");
        }
        assert_eq!(words["ids"][1]["on"], "b");
        assert!(report.to_json(false)["collections"][0]["ids"].is_null());
        let text = report.text(true);
        assert!(
            text.contains("words\t3\tchanged") && text.contains("3 points differ"),
            "{text}"
        );
    }

    #[test]
    fn equal_means_nothing_differs_at_all() {
        assert!(report(Vec::new(), (Some(5), Some(5))).is_equal());
        let one_sided = report(Vec::new(), (Some(0), None));
        assert!(!one_sided.is_equal(), "a collection is missing");
        let mut catalogue = report(Vec::new(), (Some(5), Some(5)));
        catalogue.catalogue = true;
        assert!(!catalogue.is_equal());
        assert!(catalogue.verdict().contains("catalogue"));
    }
}
