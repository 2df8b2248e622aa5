//! What the flags' values mean: node addresses, consistency, vectors, vector definitions.

use std::str::FromStr;

use pando_model::{Consistency, Example, InvalidInput, Metric, PointId, VectorName, VectorParams};

/// The URL of a node's public API; `host:port` alone is enough.
pub(crate) fn node_url(text: &str) -> Result<String, String> {
    let (scheme, authority) = text.split_once("://").unwrap_or(("http", text));
    let authority = authority.trim_end_matches('/');
    if scheme != "http" {
        return Err(format!(
            "scheme {scheme:?} is not supported; use http, or none"
        ));
    }
    host_port(authority).map(|address| format!("http://{address}"))
}

/// Checks `host:port`.
pub(crate) fn host_port(text: &str) -> Result<String, String> {
    let expected = || format!("{text:?} is not host:port, e.g. 127.0.0.1:7700");
    let (host, port) = text.rsplit_once(':').ok_or_else(expected)?;
    let bare_ip = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
    if host.is_empty() || bare_ip || host.contains(['/', ' ', '@', '?', '#']) {
        return Err(expected());
    }
    match port.parse::<u16>() {
        Ok(port) if port != 0 => Ok(text.to_owned()),
        _ => Err(expected()),
    }
}

/// `local`, `linearizable`, or a log index the answer must have seen.
pub(crate) fn consistency(text: &str) -> Result<Consistency, String> {
    match (text, text.parse()) {
        ("local", _) => Ok(Consistency::Local),
        ("linearizable", _) => Ok(Consistency::Linearizable),
        (_, Ok(index)) => Ok(Consistency::AtLeast(index)),
        (_, Err(_)) => Err("use local, linearizable, or a log index".to_owned()),
    }
}

/// A vector as a JSON list of numbers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct VectorText(pub(crate) Vec<f32>);

impl FromStr for VectorText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(text)
            .map(Self)
            .map_err(|e| format!("not a JSON list of numbers such as [0.1, 0.2]: {e}"))
    }
}

/// A point id, or a vector as a JSON list of numbers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ExampleText(pub(crate) Example);

impl FromStr for ExampleText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim_start().starts_with('[') {
            let VectorText(vector) = text.parse()?;
            return Ok(Self(vector.into()));
        }
        let id: PointId = text.parse().map_err(|e: InvalidInput| e.to_string())?;
        Ok(Self(id.into()))
    }
}

/// A named vector of a new collection, `name:dimension:metric`, and how it is quantized if that is not the default.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NamedVector {
    pub(crate) name: VectorName,
    pub(crate) params: VectorParams,
}

impl FromStr for NamedVector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split(':').collect();
        let (name, dimension, metric, quantization) = match parts[..] {
            [name, dimension, metric] => (name, dimension, metric, None),
            [name, dimension, metric, form] => (name, dimension, metric, Some(form)),
            _ => {
                let text =
                    "use name:dimension:metric, e.g. title:384:cosine, or title:384:cosine:int8";
                return Err(text.to_owned());
            }
        };
        let dimension = dimension
            .parse()
            .map_err(|e| format!("dimension {dimension:?} is not a number: {e}"))?;
        let says = |e: InvalidInput| e.to_string();
        Ok(Self {
            name: VectorName::parse(name).map_err(says)?,
            params: VectorParams {
                dimension,
                metric: metric.parse::<Metric>().map_err(says)?,
                quantization: (quantization.map(str::parse).transpose())
                    .map_err(says)?
                    .unwrap_or_default(),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use pando_model::Quantization;

    use super::*;

    #[test]
    fn an_example_is_an_id_or_a_vector() {
        let example = |text: &str| text.parse::<ExampleText>().map(|ExampleText(e)| e);
        assert_eq!(example("7"), Ok(Example::Id(PointId::Num(7))));
        assert_eq!(example("[0.5, -1]"), Ok(Example::Vector(vec![0.5, -1.0])));
        assert!(example("seven").is_err_and(|e| e.contains("bad point id")));
        assert!(example("[0.5").is_err_and(|e| e.contains("JSON list")));
    }

    #[test]
    fn nodes_need_no_scheme() {
        for (text, url) in [
            ("127.0.0.1:7700", "http://127.0.0.1:7700"),
            ("node1:7700", "http://node1:7700"),
            ("http://node1:7700/", "http://node1:7700"),
            ("[::1]:7700", "http://[::1]:7700"),
        ] {
            assert_eq!(node_url(text).as_deref(), Ok(url));
        }
        for bad in [
            "node1",
            "node1:",
            "node1:0",
            ":7700",
            "ftp://a:1",
            "::1:7700",
            "a/b:7700",
            "a:70000",
        ] {
            assert!(node_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_consistency_is_a_word_or_an_index() {
        assert_eq!(consistency("local"), Ok(Consistency::Local));
        assert_eq!(consistency("linearizable"), Ok(Consistency::Linearizable));
        assert_eq!(consistency("17"), Ok(Consistency::AtLeast(17)));
        assert!(consistency("strong").is_err());
    }

    #[test]
    fn vectors_are_json_lists() {
        assert_eq!("[1, 0.5]".parse(), Ok(VectorText(vec![1.0, 0.5])));
        for bad in ["", "1", "[1, null]", "[1"] {
            assert!(bad.parse::<VectorText>().is_err(), "{bad}");
        }
    }

    #[test]
    fn named_vectors_have_three_parts_or_four() {
        let title: NamedVector = "title:8:dot".parse().expect("fine");
        assert_eq!(title.name.as_str(), "title");
        assert_eq!(title.params, VectorParams::new(8, Metric::Dot));
        let title: NamedVector = "title:8:dot:int8".parse().expect("fine");
        assert_eq!(title.params.quantization, Quantization::Int8);
        for bad in [
            "title",
            "title:8",
            "title:x:dot",
            "title:8:angular",
            "title:8:dot:int4",
            "title:8:dot:int8:",
            "a b:8:dot",
        ] {
            assert!(bad.parse::<NamedVector>().is_err(), "{bad}");
        }
    }
}
