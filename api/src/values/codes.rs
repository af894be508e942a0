//! The codes of values that several services take.

orderlog_http::problem_codes! {
    /// An amount must be a whole number of minor units (cents) within bounds.
    INVALID_AMOUNT "invalid_amount" [400], Values,
        says "an amount must be from 1 to 1000000000000 minor units",
        so "Send a whole number of minor units.";
    /// A currency must be an ISO 4217 code: three capital letters.
    INVALID_CURRENCY "invalid_currency" [400], Values,
        says "a currency must be three capital letters",
        so "Send a code such as `EUR`.";
    /// The name of a SKU, reservation or recipient may use only certain characters.
    INVALID_IDENTIFIER "invalid_identifier" [400], Values,
        says "a SKU must have 1 to 64 letters, digits, dots, hyphens and underscores",
        so "Use only what `detail` allows.";
    /// A quantity must be a whole number within bounds.
    INVALID_QUANTITY "invalid_quantity" [400], Values,
        says "a quantity must be from 1 to 1000000",
        so "Send a quantity within the bounds.";
    /// A time to live must be a number of seconds within bounds.
    INVALID_TTL "invalid_ttl" [400], Values,
        says "a time to live must be from 1 to 604800 seconds",
        so "Send a number of seconds within the bounds.";
    /// The value is not a valid e-mail address, or has more than the address: `mailto:`, a name or angle brackets.
    INVALID_EMAIL "invalid_email" [400], Values,
        says "an e-mail address must look like name@example.com and have at most 254 characters: it has no @",
        so "Send an address such as `ada.lovelace@example.com`.";
}
