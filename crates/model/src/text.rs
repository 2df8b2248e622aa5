//! Words of a text, as filters compare them.

use std::collections::BTreeSet;

use unicode_segmentation::UnicodeSegmentation;

/// The different words of a text in lower case, by the rules of Unicode for words and case: without punctuation, and
/// without stemming.
#[must_use]
pub fn words(text: &str) -> BTreeSet<String> {
    let text = text.to_lowercase();
    text.unicode_words().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_by_unicode_and_compared_in_lower_case() {
        let words = |text| words(text).into_iter().collect::<Vec<_>>();
        assert_eq!(words("The quick, QUICK fox!"), ["fox", "quick", "the"]);
        assert_eq!(
            words("can't 3.5 foo_bar a-b"),
            ["3.5", "a", "b", "can't", "foo_bar"]
        );
        assert_eq!(
            words("Stra\u{df}e \u{391}\u{3a3}"),
            ["stra\u{df}e", "\u{3b1}\u{3c2}"]
        );
        assert_eq!(words(" ... "), [""; 0]);
    }
}
