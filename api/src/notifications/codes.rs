//! The codes of problems with notifications.

orderlog_http::problem_codes! {
    /// The recipient is not the customer that the caller acts as.
    UNKNOWN_RECIPIENT "unknown_recipient" [404], Declared,
        says "there is no such recipient",
        so "Request the notifications of the customer that you act as.";
    /// There is no such notification.
    UNKNOWN_NOTIFICATION "unknown_notification" [404], Declared,
        says "there is no notification 019a0000-0000-7000-8000-000000000003",
        so "Check the id.";
}
