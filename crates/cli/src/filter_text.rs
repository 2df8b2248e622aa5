//! Filters as people type them: `pos = verb and year >= 1990`, or the JSON form.
//!
//! The short form is a conjunction of comparisons `KEY OP VALUE`; anything richer is written in JSON. Sizes are those of
//! numbers or of dates (`when >= 2024-05-01`), and `body ~ some words` asks for all of these words. A value is a JSON scalar where it reads as one, else the bare text up to ` and ` or the end. Bare text that looks like more
//! than text, such as `1 or n = 2`, is refused: a delete must not guess.

use pando_model::{Condition, DatetimeRange, Filter, InvalidInput, Moment, Range, Value};

use crate::exit::BadInput;

/// Longest first, so that `>=` is not taken for `>`.
const OPERATORS: [&str; 7] = ["!=", ">=", "<=", "=", ">", "<", "~"];
const AND: &str = " and ";
/// Parts of an expression, so neither of a key nor of a bare value.
const SIGNS: [char; 10] = ['=', '!', '<', '>', '(', ')', '[', ']', '{', '}'];
/// Words that would combine conditions.
const CONNECTIVES: [&str; 6] = ["and", "or", "xor", "not", "&&", "||"];

/// Reads either form and checks it.
pub(crate) fn parse(text: &str) -> Result<Filter, BadInput> {
    let text = text.trim();
    if text.starts_with('{') {
        return Filter::from_json(text).map_err(|e| BadInput(e.to_string()));
    }
    let filter = short(text)?;
    filter
        .validate()
        .map_err(|e: InvalidInput| BadInput(e.to_string()))?;
    Ok(filter)
}

fn bad(at: &str, reason: &str) -> BadInput {
    BadInput(format!(
        "filter is wrong at {at:?}: {reason}; use `key = value` (also !=, <, <=, >, >=, ~), joined by `and`; only \
         `and` combines; quote text (\"..\"); use the JSON form for anything else"
    ))
}

fn short(text: &str) -> Result<Filter, BadInput> {
    let mut filter = Filter::default();
    let mut rest = text;
    loop {
        let (key, operator, after) = comparison(rest)?;
        let (value, left) = value(after)?;
        add(&mut filter, key, operator, value).map_err(|reason| bad(rest, reason))?;
        match left {
            Some(more) => rest = more,
            None => return Ok(filter),
        }
    }
}

fn comparison(text: &str) -> Result<(&str, &str, &str), BadInput> {
    let at = text
        .find(['!', '>', '<', '=', '~'])
        .ok_or_else(|| bad(text, "there is no comparison"))?;
    let (key, rest) = text.split_at(at);
    let operator = OPERATORS
        .into_iter()
        .find(|o| rest.starts_with(o))
        .ok_or_else(|| bad(rest, "there is no such comparison"))?;
    let key = key.trim();
    if key.is_empty() || key.contains(char::is_whitespace) || key.contains(SIGNS) {
        return Err(bad(text, "a key is one dotted path"));
    }
    if rest.starts_with("==") {
        return Err(bad(rest, "there is no such comparison"));
    }
    Ok((key, operator, rest[operator.len()..].trim_start()))
}

/// The value at the start of `text`, and what comes after the `and` behind it.
fn value(text: &str) -> Result<(Value, Option<&str>), BadInput> {
    if text.starts_with('"') {
        // A quoted value may hold ` and `, so its end is found by reading it as JSON.
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<String>();
        let quoted = values
            .next()
            .and_then(Result::ok)
            .ok_or_else(|| bad(text, "the quoted text does not end"))?;
        let rest = &text[values.byte_offset()..];
        return match (rest.trim().is_empty(), rest.strip_prefix(AND)) {
            (true, _) => Ok((Value::Str(quoted), None)),
            (false, Some(more)) => Ok((Value::Str(quoted), Some(more))),
            (false, None) => Err(bad(rest, "only `and` may follow a value")),
        };
    }
    let (bare, more) = match text.split_once(AND) {
        Some((bare, more)) => (bare.trim(), Some(more)),
        None => (text.trim(), None),
    };
    if bare.is_empty() || bare.ends_with(AND.trim_end()) {
        return Err(bad(text, "a value or a comparison is missing"));
    }
    let scalar = serde_json::from_str(bare)
        .ok()
        .filter(|v: &serde_json::Value| !v.is_array() && !v.is_object());
    let value = match scalar {
        Some(json) => Value::from_json(json).map_err(|e| BadInput(e.to_string()))?,
        None if is_plain(bare) => Value::Str(bare.to_owned()),
        None => return Err(bad(bare, "this is neither one value nor plain text")),
    };
    Ok((value, more))
}

fn is_plain(bare: &str) -> bool {
    let connects = |word: &str| CONNECTIVES.contains(&word.to_ascii_lowercase().as_str());
    !bare.contains(SIGNS) && !bare.contains('"') && !bare.split_whitespace().any(connects)
}

fn add(filter: &mut Filter, key: &str, operator: &str, value: Value) -> Result<(), &'static str> {
    let key = key.to_owned();
    if matches!(operator, "=" | "!=") {
        let condition = match value {
            Value::Null => Condition::IsNull { key },
            value => Condition::Match { key, value },
        };
        let to = if operator == "=" {
            &mut filter.must
        } else {
            &mut filter.must_not
        };
        to.push(condition);
        return Ok(());
    }
    let condition = match (operator, value) {
        ("~", Value::Str(text)) => Condition::Text { key, text },
        ("~", _) => return Err("words are asked for as text; quote it"),
        (_, Value::Str(text)) => {
            let bound =
                Moment::parse(&text).ok_or("only numbers and dates can be compared by size")?;
            let range = datetimes(operator, bound);
            Condition::DatetimeRange { key, range }
        }
        (_, value) => {
            let bound = value.as_f64();
            let bound = bound.ok_or("only numbers and dates can be compared by size")?;
            let range = numbers(operator, bound);
            Condition::Range { key, range }
        }
    };
    filter.must.push(condition);
    Ok(())
}

fn numbers(operator: &str, bound: f64) -> Range {
    let [gt, gte, lt, lte] = bounds(operator, bound);
    Range { gt, gte, lt, lte }
}

fn datetimes(operator: &str, bound: Moment) -> DatetimeRange {
    let [gt, gte, lt, lte] = bounds(operator, bound);
    DatetimeRange { gt, gte, lt, lte }
}

/// What an operator bounds, in the order `>`, `>=`, `<`, `<=`.
fn bounds<T: Copy>(operator: &str, bound: T) -> [Option<T>; 4] {
    let side = match operator {
        ">" => 0,
        ">=" => 1,
        "<" => 2,
        _ => 3,
    };
    std::array::from_fn(|at| (at == side).then_some(bound))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn equals(key: &str, value: Value) -> Condition {
        Condition::Match {
            key: key.into(),
            value,
        }
    }

    #[test]
    fn short_comparisons_mean_what_they_say() {
        let filter = parse("pos = verb and year>=1990 and lang != \"en and fr\"").expect("fine");
        assert_eq!(
            filter,
            Filter {
                must: vec![
                    equals("pos", Value::Str("verb".into())),
                    Condition::Range {
                        key: "year".into(),
                        range: Range {
                            gte: Some(1990.0),
                            ..Range::default()
                        },
                    },
                ],
                should: vec![],
                must_not: vec![equals("lang", Value::Str("en and fr".into()))],
            }
        );
    }

    #[test]
    fn values_are_typed_as_in_json() {
        let one = |text| parse(text).expect("fine").must.remove(0);
        assert_eq!(one("a.b = 3"), equals("a.b", Value::Int(3)));
        assert_eq!(one("a = true"), equals("a", Value::Bool(true)));
        assert_eq!(one("a = \"3\""), equals("a", Value::Str("3".into())));
        assert_eq!(
            one("a = physical entity"),
            equals("a", Value::Str("physical entity".into()))
        );
        assert_eq!(one("a = null"), Condition::IsNull { key: "a".into() });
        let range = Range {
            lt: Some(0.5),
            ..Range::default()
        };
        assert_eq!(
            one("a < 0.5"),
            Condition::Range {
                key: "a".into(),
                range
            }
        );
    }

    #[test]
    fn dates_are_compared_and_words_are_looked_for() {
        let filter =
            parse("day >= 2024-05-01 and day < 2024-05-01T12:00:00+02:00 and body ~ deep sea")
                .expect("fine");
        let at = |text| Moment::parse(text);
        let day = |range| Condition::DatetimeRange {
            key: "day".into(),
            range,
        };
        assert_eq!(
            filter.must,
            [
                day(DatetimeRange {
                    gte: at("2024-05-01T00:00:00Z"),
                    ..DatetimeRange::default()
                }),
                day(DatetimeRange {
                    lt: at("2024-05-01T10:00:00Z"),
                    ..DatetimeRange::default()
                }),
                Condition::Text {
                    key: "body".into(),
                    text: "deep sea".into()
                },
            ]
        );
        for text in [
            "body ~ 7",
            "body ~ \"...\"",
            "body ~",
            "body ~= sea",
            "day > true",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(
            parse("path = ~/sea").expect("fine").must,
            [equals("path", Value::Str("~/sea".into()))]
        );
    }

    #[test]
    fn json_is_taken_as_it_is() {
        let text = r#"{"must_not": [{"key": "pos", "match": {"any": ["verb", "noun"]}}]}"#;
        assert_eq!(
            parse(text).expect("fine"),
            Filter::from_json(text).expect("fine")
        );
    }

    #[test]
    fn what_looks_like_more_than_a_conjunction_is_refused() {
        for text in [
            "n = 1 or n = 2",
            "n = 1 OR n = 2",
            "n = 1 or 2",
            "n = 1 xor n = 2",
            "n != 1 or n != 2",
            "n = 1 AND m = 2",
            "n = 1  &&  m = 2",
            "n = 1 || m = 2",
            "n == 1",
            "n === 1",
            "n =! 1",
            "n <> 1",
            "n => 1",
            "(n = 1)",
            "(n = 1 and m = 2)",
            "not(n) = 1",
            "n = (1)",
            "n = [1, 2]",
            "n = {}",
            "n = not verb",
            "n = 1 and m = a or b",
            "n = a \"b\"",
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains("only `and` combines"), "{text}: {error}");
        }
        let quoted = parse("n = \"1 or (n = 2)\" and m = orange").expect("fine");
        assert_eq!(
            quoted.must,
            [
                equals("n", Value::Str("1 or (n = 2)".into())),
                equals("m", Value::Str("orange".into())),
            ]
        );
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_its_place() {
        for (text, place) in [
            ("", ""),
            ("verb", "verb"),
            ("= verb", "= verb"),
            ("pos =", ""),
            ("pos ! verb", "! verb"),
            ("pos = \"verb", "verb"),
            ("pos = \"a\" or b = 2", " or b"),
            ("size > large", "large"),
            ("a b = 1", "a b"),
            ("a..b = 1", "a..b"),
            ("pos = verb and ", ""),
            ("{\"muss\": []}", "muss"),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(place), "{text}: {error}");
        }
    }
}
