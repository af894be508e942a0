//! What Unicode says of texts: which characters nobody sees, and which texts are the same but for their spelling.

use icu_casemap::CaseMapper;
use icu_normalizer::{ComposingNormalizer, DecomposingNormalizer};
use icu_properties::{
    CodePointMapData, CodePointSetData,
    props::{
        CanonicalCombiningClass, DefaultIgnorableCodePoint, EmojiModifier, ExtendedPictographic, Ideographic,
        JoiningType, VariationSelector,
    },
};

/// Whether programs show nothing for it, by itself: bidirectional controls, joiners, zero-width spaces, fillers, tags. The
/// anchors of annotations are no ignorable code points, yet just as invisible.
fn is_ignorable(c: char) -> bool {
    CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c) || matches!(c, '\u{fff9}'..='\u{fffb}')
}

fn is_virama(c: char) -> bool {
    CodePointMapData::<CanonicalCombiningClass>::new().get(c) == CanonicalCombiningClass::Virama
}

fn is_emoji(c: char) -> bool {
    CodePointSetData::new::<ExtendedPictographic>().contains(c) || CodePointSetData::new::<EmojiModifier>().contains(c)
}

/// Whether it is a letter of a script whose letters are joined, such as Arabic or Mongolian.
fn is_joined(c: char) -> bool {
    matches!(
        CodePointMapData::<JoiningType>::new().get(c),
        JoiningType::DualJoining | JoiningType::LeftJoining | JoiningType::RightJoining | JoiningType::JoinCausing
    )
}

/// Whether `c`, which is ignorable, changes how text is written behind `base` and before `next`: joiners in scripts that join
/// letters or stack consonants, joiners of emoji, and variation selectors where there are variants.
fn is_written(c: char, base: char, next: Option<char>) -> bool {
    match c {
        '\u{200c}' => is_joined(base) || is_virama(base) || next.is_some_and(is_virama),
        '\u{200d}' => is_joined(base) || is_virama(base) || next.is_some_and(is_virama) || is_emoji(base),
        '\u{180e}' => is_joined(base),
        c if CodePointSetData::new::<VariationSelector>().contains(c) => {
            is_joined(base) || is_emoji(base) || CodePointSetData::new::<Ideographic>().contains(base)
        }
        _ => false,
    }
}

/// The characters of `text` that nobody sees and no writing system needs where they are, each with its place.
pub(super) fn hidden(text: &str) -> impl Iterator<Item = (usize, char)> {
    let mut chars = text.char_indices().peekable();
    // The visible character that an ignorable one may belong to; none behind a joiner, of which one is enough.
    let mut base = None;
    std::iter::from_fn(move || {
        while let Some((at, c)) = chars.next() {
            if !is_ignorable(c) {
                // A vowel sign or an accent belongs to the letter before it.
                let is_mark = CodePointMapData::<JoiningType>::new().get(c) == JoiningType::Transparent;
                base = base.filter(|_| is_mark && !is_virama(c)).or(Some(c));
                continue;
            }
            let next = chars.peek().map(|(_, next)| *next);
            if !base.is_some_and(|base| is_written(c, base, next)) {
                return Some((at, c));
            }
            if matches!(c, '\u{200c}' | '\u{200d}' | '\u{180e}') {
                base = None;
            }
        }
        None
    })
}

/// `NFKC_Casefold`, by which Unicode compares identifiers: without case, compatibility forms (full-width letters, ligatures) and
/// ignorable characters, composed.
pub(super) fn nfkc_casefold(text: &str) -> String {
    let visible: String =
        text.chars().filter(|c| !CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(*c)).collect();
    // Folding may bring what is to be decomposed, and decomposing what is to be folded: twice is enough.
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

    fn is_clean(text: &str) -> bool {
        hidden(text).next().is_none()
    }

    #[test]
    fn invisible_characters_are_found_with_their_place() {
        assert_eq!(hidden("a\u{200b}b\u{202e}").collect::<Vec<_>>(), [(1, '\u{200b}'), (5, '\u{202e}')]);
        for hidden in [
            "\u{200d}a",
            "Ad\u{200d}a",
            "Ad\u{200c}a",
            "e\u{301}\u{200d}a",
            "A\u{fe0f}",
            "1\u{fe0f}",
            "a \u{200d}b",
            "\u{645}\u{200c}\u{200c}\u{627}",
            "\u{fff9}a\u{fffb}",
            "\u{115f}\u{1160}",
            "a\u{34f}b",
            "a\u{180e}b",
        ] {
            assert!(!is_clean(hidden), "{hidden:?}");
        }
    }

    #[test]
    fn joiners_and_selectors_that_change_the_writing_are_visible() {
        for written in [
            // Persian: "house of" with a non-joiner; Arabic with vowel signs.
            "\u{62e}\u{627}\u{646}\u{647}\u{200c}\u{6cc}",
            "\u{645}\u{64e}\u{200d}\u{627}",
            // Devanagari and Sinhala conjuncts, Bengali ya-phalaa.
            "\u{915}\u{94d}\u{200d}\u{937}",
            "\u{dc1}\u{dca}\u{200d}\u{dbb}\u{dd3}",
            "\u{9b0}\u{200d}\u{9cd}\u{9af}",
            // Mongolian, an ideographic variant, emoji.
            "\u{182d}\u{180b}\u{180e}\u{1820}",
            "\u{845b}\u{e0100}\u{57ce}",
            "\u{1f469}\u{1f3fd}\u{200d}\u{1f680}",
            "\u{2764}\u{fe0f}\u{200d}\u{1f525}",
            "Ada\u{a0}Lovelace",
            "\u{5e9}\u{5c1}\u{5b8}",
        ] {
            assert!(is_clean(written), "{written:?}");
        }
    }

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
