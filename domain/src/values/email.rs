//! E-mail addresses: which are accepted, and which spellings denote the same address.
//!
//! Domains follow UTS 46 (non-transitional), local parts `NFKC_Casefold`. Not checked: whether the address receives mail,
//! and letters of different scripts that look alike.

use icu_properties::{
    CodePointMapData, CodePointSetData,
    props::{BidiControl, GeneralCategory},
};
use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use orderlog_core::text::{self, TextError};

use super::{ValueError, unicode};

/// The longest address, in bytes of UTF-8.
const LENGTH_MAX: usize = 254;
/// The ASCII characters allowed in a local part besides letters and digits. Quoted local parts are rejected: they would be
/// a second spelling.
const IN_LOCAL_PARTS: &str = ".!#$%&'*+-/=?^_`{|}~";

const fn wrong(why: &'static str) -> ValueError {
    ValueError::Email { why }
}

/// Validates a stored address: any that requests may contain, or that earlier versions accepted as `name@example.com`.
pub(super) fn stored(text: String) -> Result<String, ValueError> {
    let looks_like_one = text.rsplit_once('@').is_some_and(|(name, host)| {
        text.len() <= LENGTH_MAX
            && !name.is_empty()
            && host.contains('.')
            && !host.starts_with('.')
            && !host.ends_with('.')
            && !text.chars().any(|c| c.is_whitespace() || c.is_control())
            && !name.contains('@')
    });
    if looks_like_one { Ok(text) } else { given(text) }
}

/// Validates an address in a request: alone, without `mailto:` or angle brackets, and with a valid domain.
pub(super) fn given(text: String) -> Result<String, ValueError> {
    let controls = CodePointSetData::new::<BidiControl>();
    if let Some(character) = text.chars().find(|c| controls.contains(*c)) {
        return Err(TextError::Invisible { what: "an e-mail address", character }.into());
    }
    if text.len() > LENGTH_MAX {
        return Err(wrong("it is too long"));
    }
    let (local, domain) = text.rsplit_once('@').ok_or(wrong("it has no @"))?;
    let folded = unicode::nfkc_casefold(local);
    if folded.is_empty() || !folded.chars().all(is_in_local_part) {
        return Err(wrong("give the address alone, without `mailto:`, angle brackets, quotes or spaces"));
    }
    let domain = ascii(domain).filter(|domain| domain.contains('.')).ok_or(wrong("what follows the @ is no domain"))?;
    if domain.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err(wrong("what follows the @ is an IP address, not a domain"));
    }
    Ok(text)
}

fn is_in_local_part(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric() || IN_LOCAL_PARTS.contains(c);
    }
    // Unicode guarantees stable case folding only for assigned characters.
    !matches!(
        CodePointMapData::<GeneralCategory>::new().get(c),
        GeneralCategory::Unassigned
            | GeneralCategory::PrivateUse
            | GeneralCategory::Surrogate
            | GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::SpaceSeparator
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
    )
}

/// The domain in its DNS form. `None` if it is invalid.
fn ascii(domain: &str) -> Option<String> {
    let domain =
        Uts46::new().to_ascii(domain.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast, DnsLength::Verify);
    domain.ok().map(std::borrow::Cow::into_owned)
}

/// The canonical spelling of any address that was ever accepted.
///
/// ## Storage format: this is compared forever
/// Keys of addresses are derived from it. Golden tests freeze it.
pub(super) fn canonical(text: &str) -> String {
    if text.is_ascii() {
        // Shortcut for nearly all addresses: folding ASCII changes only case.
        return text.to_ascii_lowercase();
    }
    let (local, domain) = text.rsplit_once('@').unwrap_or((text, ""));
    let domain = ascii(domain).unwrap_or_else(|| unicode::nfkc_casefold(domain));
    format!("{}@{domain}", unicode::nfkc_casefold(local))
}

/// The address without invisible characters, such as those picked up by copying.
pub(super) fn visible(text: &str) -> String {
    let hidden: Vec<usize> = text::hidden(text).map(|(at, _)| at).collect();
    text.char_indices().filter(|(at, _)| !hidden.contains(at)).map(|(_, c)| c).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::Email, *};

    fn canonical_of(text: &str) -> String {
        Email::new(text).unwrap_or_else(|error| panic!("{text:?}: {error}")).canonical()
    }

    #[test]
    fn spellings_of_one_address_have_one_canonical_form() {
        for (canonical, spellings) in [
            (
                "ren\u{e9}e@example.com",
                &["ren\u{e9}e@example.com", "rene\u{301}e@example.com", "REN\u{c9}E@Example.COM"][..],
            ),
            (
                "a@xn--bcher-kva.example",
                &[
                    "a@b\u{fc}cher.example",
                    "a@bu\u{308}cher.example",
                    "A@XN--BCHER-KVA.example",
                    "a@B\u{dc}CHER\u{3002}example",
                ],
            ),
            (
                "ada@example.com",
                &[
                    "ada@example.com",
                    "a\u{200b}da@example.com",
                    "ada@exam\u{200b}ple.com",
                    "\u{ff21}\u{ff44}\u{ff41}@\u{ff45}xample.com",
                    "ada\u{feff}@example.com",
                    "ada@example\u{ff0e}com",
                ],
            ),
            (
                "\u{3bf}\u{3b4}\u{3bf}\u{3c3}@example.com",
                &[
                    "\u{39f}\u{394}\u{39f}\u{3a3}@example.com",
                    "\u{3bf}\u{3b4}\u{3bf}\u{3c3}@example.com",
                    "\u{3bf}\u{3b4}\u{3bf}\u{3c2}@example.com",
                ],
            ),
            ("strasse@example.com", &["stra\u{df}e@example.com", "STRASSE@example.com"]),
            ("k@example.com", &["\u{212a}@example.com"]),
            ("ada@xn--i-7iq.ws", &["ada@i\u{2764}.ws", "ada@i\u{2764}\u{fe0f}.ws"]),
        ] {
            for spelling in spellings {
                assert_eq!(canonical_of(spelling), canonical, "{spelling:?}");
                assert_eq!(canonical_of(&visible(spelling)), canonical, "{spelling:?}, without what is invisible");
            }
        }
    }

    #[test]
    fn addresses_that_differ_stay_different() {
        for (one, other) in [
            ("a@fa\u{df}.example", "a@fass.example"),
            ("\u{131}@example.com", "i@example.com"),
            ("\u{430}da@example.com", "ada@example.com"),
            ("a.b@example.com", "ab@example.com"),
            ("a+b@example.com", "a@example.com"),
            ("a%40b@example.com", "a@example.com"),
        ] {
            assert_ne!(canonical_of(one), canonical_of(other));
        }
    }

    #[test]
    fn requests_give_an_address_alone() {
        for wrong in [
            "mailto:a@example.com",
            "MAILTO:a@example.com",
            "\u{ff4d}ailto\u{ff1a}a@example.com",
            "<a@example.com>",
            "<a@example.com",
            "a@example.com>",
            "\u{ff1c}a@example.com",
            "Ada<a@example.com>",
            "\"a\"@example.com",
            "\"a b\"@example.com",
            "a(comment)@example.com",
            "a,b@example.com",
            "a\\b@example.com",
            "a@b@example.com",
            "a\u{ff20}b@example.com",
            " a@example.com",
            "a@example.com ",
            "a\u{a0}b@example.com",
            "a\u{3000}b@example.com",
            "\u{200b}@example.com",
            "@example.com",
            "a@",
            "a",
            "a@example",
            "a@example.com.",
            "a@.example.com",
            "a@example..com",
            "a@-example.com",
            "a@exa_mple.com",
            "a@example.com:25",
            "a@[127.0.0.1]",
            "a@127.0.0.1",
            "a@\u{ff11}27.0.0.1",
            "a@xn--a.example",
            "a@xn--\u{fc}.example",
            "a@exam\u{200d}ple.com",
            "a\u{e000}@example.com",
            "a\u{378}@example.com",
            "a%40example.com",
        ] {
            assert!(matches!(Email::new(wrong), Err(ValueError::Email { .. })), "{wrong:?}");
        }
        for hidden in ['\u{202e}', '\u{202a}', '\u{2066}', '\u{2069}', '\u{200e}', '\u{61c}'] {
            for text in
                [format!("a{hidden}@example.com"), format!("a@exa{hidden}mple.com"), format!("{hidden}a@example.com")]
            {
                let invisible = ValueError::from(TextError::Invisible { what: "an e-mail address", character: hidden });
                assert_eq!(Email::new(text), Err(invisible));
            }
        }
        let label = "a".repeat(63);
        assert!(Email::new(format!("a@{label}.example")).is_ok() && Email::new(format!("a@{label}a.example")).is_err());
        assert!(Email::new(format!("{}@example.com", "a".repeat(242))).is_ok());
        assert!(Email::new(format!("{}@example.com", "a".repeat(243))).is_err());
        let told = Email::new("mailto:a@example.com").unwrap_err().to_string();
        assert!(told.contains("without `mailto:`") && !told.contains("a@"), "{told}");
    }

    #[test]
    fn stored_addresses_stay_readable_and_have_a_canonical_form() {
        for (stored, canonical) in [
            ("mailto:A@example.com", "mailto:a@example.com"),
            ("<a@Example.com>", "<a@example.com>"),
            ("\u{202e}\u{c4}@example.com", "\u{e4}@example.com"),
            ("a@[127.0.0.1]", "a@[127.0.0.1]"),
            ("a@exa_mple.com", "a@exa_mple.com"),
            ("\u{c4}@EXA_mple.com", "\u{e4}@exa_mple.com"),
            ("a@xn--a.example", "a@xn--a.example"),
        ] {
            let email: Email = serde_json::from_value(stored.into()).unwrap();
            assert_eq!((email.as_str(), &*email.canonical()), (stored, canonical));
        }
        for wrong in ["", "a", "a@b", "@b.c", "a b@c.d", "a@b@c.d", "a@.c", "a@c."] {
            assert!(serde_json::from_value::<Email>(wrong.into()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_ascii_is_canonical_in_lower_case() {
        for text in ["Ada@Example.com", "A.B+c@XN--BCHER-KVA.example", "o'Neil_%/=@a-b.example"] {
            let (local, domain) = text.rsplit_once('@').unwrap();
            let full = format!("{}@{}", unicode::nfkc_casefold(local), ascii(domain).unwrap());
            assert_eq!((canonical(text), canonical(text)), (full, text.to_lowercase()));
        }
    }
}
