//! JSON numbers, interpreted from their text without going through a float.

/// The maximum number of digits of an integer: `u64::MAX` has 20.
const N_DIGITS_MAX: i64 = 20;

/// A number, as seen by an integer field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// An integer, in any notation: `2`, `2.0`, `20e-1`.
    Whole(i128),
    /// Not an integer.
    Fraction,
    /// An integer with more than 20 digits.
    OutOfRange,
}

/// Interprets `text`, which must be a JSON number. Time and memory depend on the length of the text, not on its exponent.
pub fn number(text: &str) -> Number {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent =
        exponent.parse::<i64>().unwrap_or(if exponent.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 });
    let (is_negative, mantissa) = mantissa.strip_prefix('-').map_or((false, mantissa), |rest| (true, rest));
    let (before, behind) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{before}{behind}");
    let significant = digits.trim_end_matches('0');
    // The value is `significant * 10^scale`.
    let n_zeros = digits.len() - significant.len();
    let scale = exponent.saturating_add(as_i64(n_zeros)).saturating_sub(as_i64(behind.len()));
    let significant = significant.trim_start_matches('0');
    if significant.is_empty() {
        return Number::Whole(0);
    }
    if scale < 0 {
        return Number::Fraction;
    }
    if scale.saturating_add(as_i64(significant.len())) > N_DIGITS_MAX {
        return Number::OutOfRange;
    }
    let power = u32::try_from(scale).map_or(0, |scale| 10_i128.pow(scale));
    let magnitude = significant.parse::<i128>().map_or(0, |digits| digits * power);
    Number::Whole(if is_negative { -magnitude } else { magnitude })
}

fn as_i64(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_is_one_however_it_is_written() {
        for (text, whole) in [
            ("0", 0),
            ("-0", 0),
            ("-0.0", 0),
            ("0e400", 0),
            ("2", 2),
            ("2.0", 2),
            ("2e0", 2),
            ("2E+0", 2),
            ("20e-1", 2),
            ("0.2e1", 2),
            ("-12.500e2", -1250),
            ("9007199254740993.0", 9_007_199_254_740_993),
            ("9223372036854775808", 9_223_372_036_854_775_808),
            ("1e19", 10_000_000_000_000_000_000),
        ] {
            assert_eq!(number(text), Number::Whole(whole), "{text}");
        }
    }

    #[test]
    fn what_is_between_two_integers_is_none() {
        for text in [
            "1.5",
            "1e-1",
            "-0.1",
            "2.0000000000000000000000001",
            "1e-99999999999999999999",
            "0.1e-9223372036854775808",
        ] {
            assert_eq!(number(text), Number::Fraction, "{text}");
        }
    }

    #[test]
    fn an_exponent_costs_nothing() {
        for text in ["1e400", "-1e400", "10000000000000000000000.0", "1e99999999999999999999", "123456789012345678901"]
        {
            assert_eq!(number(text), Number::OutOfRange, "{text}");
        }
    }
}
