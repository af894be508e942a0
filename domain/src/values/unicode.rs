//! Comparison of texts regardless of spelling, as Unicode defines it.

use icu_casemap::CaseMapper;
use icu_normalizer::{ComposingNormalizer, DecomposingNormalizer};
use icu_properties::{CodePointSetData, props::DefaultIgnorableCodePoint};

/// `NFKC_Casefold`, by which Unicode compares identifiers: without case, compatibility forms (full-width letters,
/// ligatures) and ignorable characters, composed.
pub(super) fn nfkc_casefold(text: &str) -> String {
    let visible: String =
        text.chars().filter(|c| !CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(*c)).collect();
    // Folding may produce decomposable characters, and decomposing characters that fold. Two rounds are enough.
    let once = fold(&visible);
    fold(&once)
}

fn fold(text: &str) -> String {
    let decomposed = DecomposingNormalizer::new_nfkd().normalize(text);
    let folded = CaseMapper::new().fold_string(&decomposed);
    ComposingNormalizer::new_nfkc().normalize(&folded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_fold_to_one() {
        for (one, other) in [
            ("\u{e9}", "e\u{301}"),
            ("\u{395}\u{39f}\u{3a3}", "\u{3b5}\u{3bf}\u{3c2}"),
            ("\u{ff21}\u{ff42}", "ab"),
            ("a\u{200b}\u{200d}\u{feff}b", "ab"),
            ("stra\u{df}e", "STRASSE"),
            ("\u{212a}", "k"),
            ("\u{fb01}", "fi"),
            ("\u{2121}", "tel"),
            ("\u{1e9e}", "ss"),
        ] {
            assert_eq!(nfkc_casefold(one), nfkc_casefold(other), "{one:?}");
        }
        assert_ne!(nfkc_casefold("\u{131}"), nfkc_casefold("i"), "a dotless i is another letter");
    }

    #[test]
    fn folding_what_is_folded_changes_nothing() {
        for c in '\0'..=char::MAX {
            let folded = nfkc_casefold(c.encode_utf8(&mut [0; 4]));
            assert_eq!(nfkc_casefold(&folded), folded, "{c:?}");
        }
    }
}
