//! The headers of the contract: their names, and writing their values.

use http::{HeaderMap, HeaderName, HeaderValue};
use keyward_core::time::Moment;
use keyward_core::window::Allowance;

pub const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
pub const X_PROFILE_ID: HeaderName = HeaderName::from_static("x-profile-id");
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub const X_RESPONSE_TIME: HeaderName = HeaderName::from_static("x-response-time");
pub const X_API_VERSION: HeaderName = HeaderName::from_static("x-api-version");
pub const X_RATELIMIT_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
pub const X_RATELIMIT_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
pub const X_RATELIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
pub const X_SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
pub const X_SANDBOX: HeaderName = HeaderName::from_static("x-sandbox");
pub const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
pub const X_ORIGINAL_REQUEST_ID: HeaderName = HeaderName::from_static("x-original-request-id");
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Whole milliseconds with their unit, `12ms`, as the guide writes them.
pub(crate) fn response_time(micros: u64) -> HeaderValue {
    const SHORT: [&str; 10] =
        ["0ms", "1ms", "2ms", "3ms", "4ms", "5ms", "6ms", "7ms", "8ms", "9ms"];
    let millis = micros / 1000;
    match usize::try_from(millis).ok().and_then(|index| SHORT.get(index)) {
        Some(text) => HeaderValue::from_static(text),
        None => HeaderValue::try_from(format!("{millis}ms"))
            .unwrap_or_else(|_| HeaderValue::from_static("0ms")),
    }
}

/// The three rate-limit headers of the guide. Contract 1 and 5.
pub(crate) fn put_allowance(headers: &mut HeaderMap, allowance: &Allowance, now: Moment) {
    headers.insert(X_RATELIMIT_LIMIT, number(allowance.limit));
    headers.insert(X_RATELIMIT_REMAINING, number(allowance.remaining));
    headers.insert(X_RATELIMIT_RESET, number(allowance.reset_at_seconds(now)));
}

/// A number in as much memory as its digits take: the library's own conversion takes two pieces.
pub(crate) fn number(number: impl itoa::Integer) -> HeaderValue {
    HeaderValue::from_str(itoa::Buffer::new().format(number))
        .unwrap_or_else(|_| HeaderValue::from_static("0"))
}

/// Room for the headers of an answer, all at once and not as they come.
#[must_use]
pub fn with_room() -> HeaderMap {
    HeaderMap::with_capacity(12)
}
