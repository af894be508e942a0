//! The codes of problems with customers.

orderlog_http::problem_codes! {
    /// The e-mail address belongs to another customer. Addresses are compared case-insensitively.
    DUPLICATE_EMAIL "duplicate_email" [409], Declared,
        says "the e-mail address belongs to another customer",
        so "Find the customer who has it, or use another address.";
    /// There is no such customer.
    UNKNOWN_CUSTOMER "unknown_customer" [404], Declared,
        says "there is no customer 019a0000-0000-7000-8000-000000000001",
        so "Check the id. If the customer was just created by another service, send `Orderlog-Min-Position`.";
    /// The request names no field to change.
    NOTHING_TO_CHANGE "nothing_to_change" [400], Declared,
        says "give a name, an e-mail address, or both",
        so "Send at least one field.";
}
