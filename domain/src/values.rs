//! Types whose values are always valid: money, currencies, SKUs, quantities, ids, texts.
//!
//! Each has a private field and a checked constructor, which deserialization also uses. Texts that callers write have two
//! rules: `new` is for requests, while deserialization also accepts what earlier versions did, since stored events must
//! stay readable.

mod email;
mod unicode;

use std::fmt;

use orderlog_core::{
    path::IDENTIFIER,
    schemas,
    text::{TextError, line, paragraphs, visible_line},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a value was rejected. The message is for the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    #[error("an amount must be from {min} to {max} minor units")]
    Amount {
        /// 0 or 1, depending on the operation.
        min: i64,
        max: i64,
    },
    #[error("`{given}` is not an ISO 4217 currency code such as EUR")]
    Currency {
        /// The rejected text, shortened.
        given: String,
    },
    /// Not a SKU, a reservation id, a recipient or a channel.
    #[error("{what} must be {rule}")]
    Token {
        /// The kind of value, such as "a SKU".
        what: &'static str,
        /// The characters and length it may have.
        rule: &'static str,
    },
    #[error("a quantity must be from 1 to {max}")]
    Quantity { max: u32 },
    #[error("a time to live must be from 1 to {max} seconds")]
    Ttl { max: u32 },
    /// A text that is empty, too long or not entirely visible.
    #[error(transparent)]
    Text(#[from] TextError),
    /// Not an e-mail address. The message does not repeat the address, since it may end up in a log.
    #[error("an e-mail address must look like name@example.com and have at most 254 characters: {why}")]
    Email {
        /// What is wrong with the address.
        why: &'static str,
    },
}

/// An amount of money in minor units (cents), from 0 to [`Money::MAX`]. The currency is stored separately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "i64", try_from = "i64")]
pub struct Money(i64);

impl Money {
    /// The largest amount. A JSON number holds it exactly.
    pub const MAX: i64 = 1_000_000_000_000;
    pub const ZERO: Self = Self(0);

    /// An amount in minor units.
    ///
    /// # Errors
    /// [`ValueError::Amount`] below 0 or above [`Money::MAX`].
    pub fn new(minor_units: i64) -> Result<Self, ValueError> {
        if (0..=Self::MAX).contains(&minor_units) {
            Ok(Self(minor_units))
        } else {
            Err(ValueError::Amount { min: 0, max: Self::MAX })
        }
    }

    /// An amount of at least 1 minor unit.
    ///
    /// # Errors
    /// [`ValueError::Amount`] below 1 or above [`Money::MAX`].
    pub fn positive(minor_units: i64) -> Result<Self, ValueError> {
        match Self::new(minor_units) {
            Ok(money) if money.0 > 0 => Ok(money),
            Ok(_) | Err(_) => Err(ValueError::Amount { min: 1, max: Self::MAX }),
        }
    }

    pub const fn minor_units(self) -> i64 {
        self.0
    }

    /// The sum, unless it is above [`Money::MAX`].
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).and_then(|sum| Self::new(sum).ok())
    }

    /// The difference, unless it is below zero.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        Self::new(self.0 - other.0).ok()
    }

    /// `quantity` times this, unless that is above [`Money::MAX`].
    pub fn checked_mul(self, quantity: Quantity) -> Option<Self> {
        self.0.checked_mul(i64::from(quantity.get())).and_then(|product| Self::new(product).ok())
    }
}

impl From<Money> for i64 {
    fn from(money: Money) -> Self {
        money.0
    }
}

impl TryFrom<i64> for Money {
    type Error = ValueError;

    fn try_from(minor_units: i64) -> Result<Self, ValueError> {
        Self::new(minor_units)
    }
}

/// The active ISO 4217 codes, without funds, metals and test codes.
const CURRENCIES: &str = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD \
    CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG \
    HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK \
    MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD \
    SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VED VES VND \
    VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG";

/// The currencies without minor units, and those with three decimals. All others have two.
const WITHOUT_DECIMALS: &str = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF";
const WITH_THREE_DECIMALS: &str = "BHD IQD JOD KWD LYD OMR TND";

/// An ISO 4217 currency code, such as `EUR`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Currency([u8; 3]);

impl Currency {
    /// The currency with this code, in capitals.
    ///
    /// # Errors
    /// [`ValueError::Currency`] if the code is unknown.
    pub fn new(code: &str) -> Result<Self, ValueError> {
        let unknown = || ValueError::Currency { given: code.chars().take(8).collect() };
        let bytes: [u8; 3] = code.as_bytes().try_into().map_err(|_| unknown())?;
        if Self::codes().any(|known| known == code) { Ok(Self(bytes)) } else { Err(unknown()) }
    }

    /// The codes of all currencies.
    pub fn codes() -> impl Iterator<Item = &'static str> {
        CURRENCIES.split(' ')
    }

    /// The number of decimals of the minor unit: 2 for EUR, 0 for JPY.
    pub fn exponent(self) -> u32 {
        let is_among = |codes: &str| codes.split(' ').any(|code| code == self.as_str());
        if is_among(WITHOUT_DECIMALS) {
            0
        } else if is_among(WITH_THREE_DECIMALS) {
            3
        } else {
            2
        }
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("only ASCII codes are ever made")
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.as_str().to_owned()
    }
}

impl TryFrom<String> for Currency {
    type Error = ValueError;

    fn try_from(code: String) -> Result<Self, ValueError> {
        Self::new(&code)
    }
}

/// Defines a number from 1 to a maximum.
macro_rules! bounded {
    ($(#[$doc:meta])* $name:ident, $(#[$max_doc:meta])* max $max:literal, else $error:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(into = "u32", try_from = "u32")]
        pub struct $name(u32);

        impl $name {
            $(#[$max_doc])*
            pub const MAX: u32 = $max;

            pub fn new(number: u32) -> Result<Self, ValueError> {
                let is_within = (1..=Self::MAX).contains(&number);
                is_within.then_some(Self(number)).ok_or(ValueError::$error { max: Self::MAX })
            }

            pub const fn get(self) -> u32 {
                self.0
            }
        }

        impl From<$name> for u32 {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl TryFrom<u32> for $name {
            type Error = ValueError;

            fn try_from(number: u32) -> Result<Self, ValueError> {
                Self::new(number)
            }
        }
    };
}

bounded!(
    /// A number of units, from 1 to [`Quantity::MAX`].
    Quantity,
    /// The most units in one movement or line.
    max 1_000_000, else Quantity
);
bounded!(
    /// The time to live of a reservation, from 1 second to [`TtlSeconds::MAX`].
    TtlSeconds,
    /// One week.
    max 604_800, else Ttl
);

impl Quantity {
    /// The sum, unless it is above [`Quantity::MAX`].
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).and_then(|sum| Self::new(sum).ok())
    }
}

/// Accepts a token for URL paths. Without a letter or digit it could be `.` or `..`, which clients resolve before sending.
fn token(text: String, what: &'static str) -> Result<String, ValueError> {
    let is_token = text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        && text.bytes().any(|b| b.is_ascii_alphanumeric());
    let rule = "1 to 64 letters, digits, dots, dashes or underscores, at least one a letter or digit";
    if is_token { Ok(text) } else { Err(ValueError::Token { what, rule }) }
}

fn channel(text: String) -> Result<String, ValueError> {
    let is_channel =
        (1..=40).contains(&text.len()) && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    let rule = "1 to 40 of the letters a to z, digits and dashes";
    if is_channel { Ok(text) } else { Err(ValueError::Token { what: "a channel", rule }) }
}

/// Accepts a token. UUIDs are normalized to lower case with hyphens, so that each has one spelling.
fn token_or_id(text: String, what: &'static str) -> Result<String, ValueError> {
    let text = token(text, what)?;
    Ok(Uuid::try_parse(&text).map_or(text, |id| id.to_string()))
}

/// Defines a text type by its rule: a function that returns the text or an error. `stored` is the rule for deserialization,
/// where earlier versions accepted more.
macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $rule:expr) => {
        checked_text!($(#[$doc])* $name, $rule, stored $rule);
    };
    ($(#[$doc:meta])* $name:ident, $rule:expr, stored $stored:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub struct $name(String);

        impl $name {
            /// Validates a value from a request.
            pub fn new(text: impl Into<String>) -> Result<Self, ValueError> {
                Ok(Self(($rule)(text.into())?))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = ValueError;

            fn try_from(text: String) -> Result<Self, ValueError> {
                Ok(Self(($stored)(text)?))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

checked_text!(
    /// A stock keeping unit: 1 to 64 letters, digits, dots, dashes or underscores, at least one a letter or digit.
    Sku, |text| token(text, "a SKU")
);
checked_text!(
    /// The name that a caller gives a reservation: 1 to 64 letters, digits, dots, dashes or underscores, at least one a
    /// letter or digit. A UUID is valid.
    ReservationName, |text| token(text, "a reservation id")
);
checked_text!(
    /// Where an order came from, such as `web` or `store-7`: 1 to 40 of the letters a to z, digits and dashes.
    Channel, channel
);
checked_text!(
    /// A person's or company's name, 1 to 200 characters on one line, none of them invisible.
    Name, |text| visible_line(text, "a name", 200), stored |text| line(text, "a name", 200)
);
checked_text!(
    /// The payer's or bank's reference of a payment, 1 to 100 characters on one line, none of them invisible.
    PaymentReference, |text| visible_line(text, "a reference", 100), stored |text| line(text, "a reference", 100)
);
checked_text!(
    /// The recipient of a notification: a customer's id or a role such as `operations`, 1 to 64 letters, digits, dots,
    /// dashes or underscores, at least one a letter or digit. UUIDs are normalized to lower case with hyphens, so that one
    /// customer has one inbox.
    Recipient, |text| token_or_id(text, "a recipient")
);
checked_text!(
    /// A notification's subject, 1 to 200 characters on one line, none of them invisible.
    Subject, |text| visible_line(text, "a subject", 200), stored |text| line(text, "a subject", 200)
);
checked_text!(
    /// A notification's text, 1 to 10,000 characters on any number of lines. Invisible characters such as directional
    /// isolates are allowed, since prose needs them.
    Body, |text| paragraphs(text, "a body", 10_000)
);
checked_text!(
    /// An e-mail address, as its owner wrote it. Two are the same if their [`Email::canonical`] is equal.
    Email, email::given, stored email::stored
);

schemas! {
    Money: { "type": "integer", "format": "int64", "minimum": 0, "maximum": Money::MAX, "description": "In minor units." },
    Currency: { "type": "string", "pattern": "^[A-Z]{3}$", "description": "The ISO 4217 currency code." },
    Quantity: { "type": "integer", "minimum": 1, "maximum": Quantity::MAX },
    Sku: { "type": "string", "pattern": IDENTIFIER },
}

impl Email {
    /// The address in lower case. Earlier versions compared addresses by it.
    pub fn folded(&self) -> String {
        self.0.to_lowercase()
    }

    /// The common form of all spellings of the address: the domain in its DNS form, the local part without case,
    /// compatibility forms and ignorable characters.
    pub fn canonical(&self) -> String {
        email::canonical(&self.0)
    }

    /// The same address without invisible characters.
    #[must_use]
    pub fn visible(&self) -> Self {
        Self(email::visible(&self.0))
    }
}

/// Defines an id: a UUID with a type of its own, so that ids of different kinds can't be confused.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        schemas!($name: { "type": "string", "format": "uuid" });

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// A customer's id, a UUIDv7.
    CustomerId
);
id!(
    /// An order's id, a UUIDv7.
    OrderId
);
id!(
    /// A notification's id: a UUIDv7, or derived from the public event that caused it.
    NotificationId
);
id!(
    /// A payment's id, a UUIDv7.
    PaymentId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_stay_within_their_bounds() {
        assert!(Money::new(-1).is_err());
        assert!(Money::positive(0).is_err());
        assert!(Money::new(Money::MAX).is_ok_and(|max| max.checked_add(Money(1)).is_none()));
        assert_eq!(Money(3).checked_sub(Money(4)), None);
        assert!(serde_json::from_str::<Money>("-1").is_err(), "deserialisation has the same check");
    }

    #[test]
    fn only_iso_4217_codes_are_currencies() {
        assert!(Currency::new("EUR").is_ok());
        for wrong in ["eur", "EU", "XXX", "", "E R", "EURO"] {
            assert!(Currency::new(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_currency_knows_its_decimals() {
        let exponent = |code| Currency::new(code).map(Currency::exponent);
        assert_eq!([exponent("EUR"), exponent("JPY"), exponent("KWD")], [Ok(2), Ok(0), Ok(3)]);
        for code in [WITHOUT_DECIMALS, WITH_THREE_DECIMALS].iter().flat_map(|codes| codes.split(' ')) {
            assert!(Currency::new(code).is_ok(), "{code}");
        }
    }

    #[test]
    fn texts_refuse_emptiness_length_and_control_characters() {
        assert!(Name::new(" ").is_err());
        assert!(Name::new("a\u{0}").is_err());
        assert!(Name::new("a".repeat(201)).is_err());
        assert!(Sku::new("a b").is_err());
        assert!(Sku::new("A-1_b.2").is_ok());
    }

    #[test]
    fn a_uuid_has_one_spelling_as_a_recipient() {
        let id = "018f4e9c-7d1a-7abc-8def-0123456789ab";
        for spelling in [id, "018F4E9C-7D1A-7ABC-8DEF-0123456789AB", "018f4e9c7d1a7abc8def0123456789ab"] {
            assert_eq!(Recipient::new(spelling).map(String::from).as_deref(), Ok(id), "{spelling}");
            let stored: Recipient = serde_json::from_value(spelling.into()).unwrap();
            assert_eq!(stored.as_str(), id, "{spelling}, read from a stored event");
        }
        for role in ["operations", "Operations", "018f4e9c-7d1a", "018F4E9C-7D1A-7ABC-8DEF-0123456789AG"] {
            assert_eq!(Recipient::new(role).map(String::from).as_deref(), Ok(role));
        }
        assert_eq!(
            Sku::new("018F4E9C-7D1A-7ABC-8DEF-0123456789AB").map(String::from).as_deref(),
            Ok("018F4E9C-7D1A-7ABC-8DEF-0123456789AB")
        );
    }

    #[test]
    fn a_line_has_no_invisible_characters_but_stored_ones_stay_readable() {
        for hidden in
            ['\u{202e}', '\u{2066}', '\u{200b}', '\u{feff}', '\u{ad}', '\u{2060}', '\u{200e}', '\u{e0041}', '\u{3164}']
        {
            let text = format!("Ada{hidden}Lovelace");
            let invisible = |what| ValueError::Text(TextError::Invisible { what, character: hidden });
            assert_eq!(Name::new(&text), Err(invisible("a name")));
            assert_eq!(PaymentReference::new(&text), Err(invisible("a reference")));
            assert_eq!(Subject::new(&text), Err(invisible("a subject")));
            assert!(Body::new(&text).is_ok(), "prose may have isolates");
            let stored: Name = serde_json::from_value(text.clone().into()).unwrap();
            assert_eq!(stored.as_str(), text);
        }
        let told = Name::new("Ada\u{202e}").unwrap_err().to_string();
        assert_eq!(told, "a name must not contain the invisible character U+202E: remove it");
    }

    #[test]
    fn a_name_in_a_path_has_a_letter_or_digit() {
        for wrong in [".", "..", "...", "-", "_", "._-"] {
            assert!(Sku::new(wrong).is_err(), "{wrong}");
            assert!(ReservationName::new(wrong).is_err(), "{wrong}");
            assert!(Recipient::new(wrong).is_err(), "{wrong}");
        }
        for right in [".a", "a..", "-1", "_x_"] {
            assert!(Sku::new(right).is_ok(), "{right}");
        }
    }

    #[test]
    fn only_a_body_may_have_several_lines() {
        for text in ["a\nb", "\na", "a\n", "a\u{2028}b", "a\u{2029}b", "a\u{85}b", "a\rb"] {
            assert!(Name::new(text).is_err(), "{text:?}");
            assert!(PaymentReference::new(text).is_err(), "{text:?}");
            assert!(Subject::new(text).is_err(), "{text:?}");
        }
        assert!(Body::new("two\nlines").is_ok());
        assert!(Body::new("\n").is_err(), "nothing is no body");
        assert!(Body::new("a\u{0}").is_err());
        assert!(Name::new("Ada\u{a0}Lovelace").is_ok());
    }
}
