//! Rules for text that people write: length, lines, and no invisible characters.

use icu_properties::{
    CodePointMapData, CodePointSetData,
    props::{
        CanonicalCombiningClass, DefaultIgnorableCodePoint, EmojiModifier, ExtendedPictographic, Ideographic,
        JoiningType, VariationSelector,
    },
};

/// Why a text was rejected. The message is for its author.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    #[error("{what} must have 1 to {max} characters and no control characters")]
    Length {
        /// The name of the value, such as "a reason".
        what: &'static str,
        /// The most characters allowed.
        max: usize,
    },
    #[error("{what} must not contain the invisible character U+{:04X}: remove it", u32::from(*.character))]
    Invisible {
        /// The name of the value.
        what: &'static str,
        character: char,
    },
}

/// Accepts a text of 1 to `max` characters, on any number of lines.
///
/// # Errors
/// [`TextError::Length`] if it is blank, too long or contains control characters other than line feeds.
pub fn paragraphs(text: String, what: &'static str, max: usize) -> Result<String, TextError> {
    let is_text =
        !text.trim().is_empty() && text.chars().count() <= max && !text.chars().any(|c| c.is_control() && c != '\n');
    if is_text { Ok(text) } else { Err(TextError::Length { what, max }) }
}

/// Accepts a single line, for lists, subjects and logs. U+2028 and U+2029 also break lines, although they are not control
/// characters.
///
/// # Errors
/// [`TextError::Length`] if it is not a single line of 1 to `max` characters.
pub fn line(text: String, what: &'static str, max: usize) -> Result<String, TextError> {
    let text = paragraphs(text, what, max)?;
    if text.contains(['\n', '\u{2028}', '\u{2029}']) { Err(TextError::Length { what, max }) } else { Ok(text) }
}

/// Accepts a line without invisible characters, so that texts that differ also look different and none changes the
/// direction of the text beside it.
///
/// # Errors
/// [`TextError`] if it is not such a line.
pub fn visible_line(text: String, what: &'static str, max: usize) -> Result<String, TextError> {
    let text = line(text, what, max)?;
    let hidden = hidden(&text).next();
    hidden.map_or(Ok(text), |(_, character)| Err(TextError::Invisible { what, character }))
}

/// Whether the character displays as nothing by itself: bidirectional controls, joiners, zero-width spaces, fillers, tags.
/// Interlinear annotation anchors are not default-ignorable code points, but just as invisible.
fn is_ignorable(c: char) -> bool {
    CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c) || matches!(c, '\u{fff9}'..='\u{fffb}')
}

fn is_virama(c: char) -> bool {
    CodePointMapData::<CanonicalCombiningClass>::new().get(c) == CanonicalCombiningClass::Virama
}

fn is_emoji(c: char) -> bool {
    CodePointSetData::new::<ExtendedPictographic>().contains(c) || CodePointSetData::new::<EmojiModifier>().contains(c)
}

/// Whether it is a letter of a cursive script, such as Arabic or Mongolian.
fn is_joined(c: char) -> bool {
    matches!(
        CodePointMapData::<JoiningType>::new().get(c),
        JoiningType::DualJoining | JoiningType::LeftJoining | JoiningType::RightJoining | JoiningType::JoinCausing
    )
}

/// Whether `c`, which is ignorable, changes how text is written after `base` and before `next`: joiners in scripts that
/// join letters or stack consonants, joiners of emoji, and variation selectors where variants exist.
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

/// The characters of `text` that are invisible and not needed by a writing system at that place, each with its byte offset.
pub fn hidden(text: &str) -> impl Iterator<Item = (usize, char)> {
    let mut chars = text.char_indices().peekable();
    // The visible character that an ignorable one may modify. `None` after a joiner, since one is enough.
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
}
