//! The catalogue: one row a code. Answers, error pages and documents are all made from it.
//!
//! Codes, statuses and the messages of the guide are exact; contract 3. A row that this server never
//! answers with says so: clients know the whole list, and each code has its page.

use http::StatusCode;
use keyward_core::account::AccountState;
use keyward_core::verdict::Refusal;

/// Everything about one code.
struct Row {
    code: &'static str,
    status: u16,
    message: &'static str,
    meaning: &'static str,
    causes: &'static [&'static str],
    remedy: &'static [&'static str],
    /// A command that shows it; `{base}` stands for the server's address.
    example: Option<&'static str>,
}

macro_rules! catalogue {
    ($($variant:ident { $($field:ident: $value:expr),* $(,)? })*) => {
        /// A code of the contract.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($variant),* }

        impl Code {
            /// All codes, in the order in which they are listed.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            const fn row(self) -> Row {
                match self { $(Self::$variant => Row { $($field: $value),* }),* }
            }
        }
    };
}

catalogue! {
    NotAuthenticated {
        code: "AUTH_001",
        status: 401,
        message: "User is not authenticated",
        meaning: "The request carried no API key, or a blank one.",
        causes: &["The x-api-key header is missing.", "The environment variable that should hold the key is empty, so the header was sent without a value.", "The key was sent in another place: only the x-api-key header is read, never Authorization, the query or the body."],
        remedy: &["Send the header x-api-key with every request.", "Check that the variable is set: echo $SENT_API_KEY"],
        example: Some("curl -i {base}/v3/contacts"),
    }
    KeyInvalid {
        code: "AUTH_002",
        status: 401,
        message: "Invalid or expired API key",
        meaning: "The request carried an API key that is not good. Which of the causes it is, the answer never says; the owner of the server can see it in the log by the request id.",
        causes: &["The key was cut short or has something around it, such as quotes or a space.", "The key expired, was disabled or revoked, or was replaced and its grace period is over.", "The key may be used from certain addresses only, and this is none of them.", "Two x-api-key headers were sent.", "The key belongs to another server."],
        remedy: &["Compare the key with the one that was issued: 36 characters, with four hyphens.", "Ask the owner of the server to run: keyward keys explain --key-stdin", "Generate a new key if this one is no longer good."],
        example: Some("curl -i -H 'x-api-key: 00000000-0000-4000-8000-000000000000' {base}/v3/me"),
    }
    PermissionMissing {
        code: "AUTH_004",
        status: 403,
        message: "Insufficient permissions for this operation",
        meaning: "The key is good, but it was not given the permission that this operation needs.",
        causes: &["A read-only key was used to change something.", "The key was made with a list of permissions that lacks this one.", "x-profile-id was sent with a key that does not belong to an organization."],
        remedy: &["See what the key may do: curl -H \"x-api-key: $SENT_API_KEY\" {base}/v3/me", "Use a key that has the permission, or make one: keyward keys create --permission ..."],
        example: Some("curl -i -X POST -H 'x-api-key: <a read-only key>' -H 'content-type: application/json' -d '{\"phone_number\": \"+14155550123\"}' {base}/v3/contacts"),
    }
    AccountNotActive {
        code: "AUTH_005",
        status: 403,
        message: "Your account is not yet activated. Please wait for account activation before using the API.",
        meaning: "The key is good, but its account may not be used at the moment.",
        causes: &["The account has not been activated yet.", "The account was suspended."],
        remedy: &["GET /v3/me is answered all the same, so the key itself can be checked.", "The owner of the server activates an account with: keyward accounts activate ID"],
        example: Some("curl -i -H \"x-api-key: $SENT_API_KEY\" {base}/v3/contacts"),
    }
    AccountNotVerified {
        code: "AUTH_006",
        status: 403,
        message: "Your KYC verification is not complete. Please submit your KYC documents before using the API.",
        meaning: "The key is good, but the verification of its account is not complete.",
        causes: &["Documents are missing or are being looked at."],
        remedy: &["Complete the verification of the account.", "The owner of the server activates an account with: keyward accounts activate ID"],
        example: Some("curl -i -H \"x-api-key: $SENT_API_KEY\" {base}/v3/contacts"),
    }
    AccountHasNoChannel {
        code: "AUTH_007",
        status: 403,
        message: "Your account has no messaging channel configured. Please set up a channel before using the API.",
        meaning: "The key is good and its account is verified, but no messaging channel is set up.",
        causes: &["The account has no channel yet."],
        remedy: &["Set up a channel for the account.", "The owner of the server activates an account with: keyward accounts activate ID"],
        example: Some("curl -i -H \"x-api-key: $SENT_API_KEY\" {base}/v3/contacts"),
    }
    RequestInvalid {
        code: "VALIDATION_001",
        status: 400,
        message: "Request validation failed",
        meaning: "The request was understood as far as it is HTTP, but its content is not what the operation asks for. The details name each field.",
        causes: &["A required field is missing.", "A field has the wrong type.", "The body is not valid JSON, or is not an object.", "A query value is not a number."],
        remedy: &["Read error.details: it has a sentence for each field.", "Send the body as JSON with content-type: application/json."],
        example: Some("curl -i -X POST -H \"x-api-key: $SENT_API_KEY\" -H 'content-type: application/json' -d '{}' {base}/v3/contacts"),
    }
    PhoneNumberInvalid {
        code: "VALIDATION_002",
        status: 400,
        message: "Invalid phone number format",
        meaning: "The phone number is not in the international form E.164.",
        causes: &["The leading + is missing.", "The number begins with 0, or with a national prefix.", "There are letters in the number, or fewer than 2 or more than 15 digits."],
        remedy: &["Write a plus sign, the country code and the number: +14155550123. Spaces, dashes, dots and brackets may stand between the digits."],
        example: Some("curl -i -X POST -H \"x-api-key: $SENT_API_KEY\" -H 'content-type: application/json' -d '{\"phone_number\": \"4155550123\"}' {base}/v3/contacts"),
    }
    UuidInvalid {
        code: "VALIDATION_003",
        status: 400,
        message: "Invalid GUID format",
        meaning: "An identifier in the path or in x-profile-id is not a UUID.",
        causes: &["The identifier was cut short or mistyped.", "A placeholder was not replaced."],
        remedy: &["Use the id as the API returned it: 36 characters with four hyphens."],
        example: Some("curl -i -H \"x-api-key: $SENT_API_KEY\" {base}/v3/contacts/123"),
    }
    FieldMissing {
        code: "VALIDATION_004",
        status: 400,
        message: "Required field is missing",
        meaning: "A field that the operation needs was not sent. This server reports missing fields of a body with VALIDATION_001 and details.",
        causes: &["A required field is missing."],
        remedy: &["Send the field."],
        example: Some("curl -i -X POST -H \"x-api-key: $SENT_API_KEY\" -H 'content-type: application/json' -d '{}' {base}/v3/contacts"),
    }
    OutOfRange {
        code: "VALIDATION_005",
        status: 400,
        message: "Field value out of valid range",
        meaning: "A number is too small or too large.",
        causes: &["page is below 1.", "page_size is not between 1 and 100."],
        remedy: &["Pages count from 1; a page holds between 1 and 100 items."],
        example: Some("curl -i -H \"x-api-key: $SENT_API_KEY\" '{base}/v3/contacts?page=0'"),
    }
    EnumInvalid {
        code: "VALIDATION_006",
        status: 400,
        message: "Invalid enum value",
        meaning: "A query value is none of the words that are allowed there. Words are compared letter by letter, in lower case.",
        causes: &["The word is misspelt or in capitals."],
        remedy: &["Use one of the words that error.details lists."],
        example: Some("curl -i -H \"x-api-key: $SENT_API_KEY\" '{base}/v3/contacts?channel=SMS'"),
    }
    IdempotencyKeyInvalid {
        code: "VALIDATION_007",
        status: 400,
        message: "Invalid Idempotency-Key format",
        meaning: "The Idempotency-Key header has a form that is not allowed.",
        causes: &["It is empty or longer than 255 characters.", "It has characters other than letters, digits, _ and -."],
        remedy: &["Use a random UUID for each operation."],
        example: Some("curl -i -X POST -H \"x-api-key: $SENT_API_KEY\" -H 'idempotency-key: not allowed!' -d '{}' {base}/v3/contacts"),
    }
    ContactNotFound {
        code: "RESOURCE_001",
        status: 404,
        message: "Contact not found",
        meaning: "There is no such contact among those that the key can see.",
        causes: &["The contact was deleted.", "It belongs to another account.", "It belongs to the other environment: a test key sees test contacts only."],
        remedy: &["List the contacts to find its id.", "Check which environment the key belongs to: GET /v3/me"],
        example: Some("curl -i -H \"x-api-key: $SENT_API_KEY\" {base}/v3/contacts/00000000-0000-4000-8000-000000000000"),
    }
    TemplateNotFound {
        code: "RESOURCE_002",
        status: 404,
        message: "Template not found",
        meaning: "There is no such template. Keyward has no templates; the code is listed because the contract has it.",
        causes: &["The template does not exist."],
        remedy: &["Check the id."],
        example: None,
    }
    MessageNotFound {
        code: "RESOURCE_003",
        status: 404,
        message: "Message not found",
        meaning: "There is no such message. Keyward sends no messages; the code is listed because the contract has it.",
        causes: &["The message does not exist."],
        remedy: &["Check the id."],
        example: None,
    }
    CustomerNotFound {
        code: "RESOURCE_004",
        status: 404,
        message: "Customer not found",
        meaning: "x-profile-id names no profile of this organization.",
        causes: &["The profile belongs to another organization.", "The id is not that of a profile."],
        remedy: &["GET /v3/me lists the profiles of an organization."],
        example: Some("curl -i -H \"x-api-key: $SENT_API_KEY\" -H 'x-profile-id: 00000000-0000-4000-8000-000000000000' {base}/v3/contacts"),
    }
    OrganizationNotFound {
        code: "RESOURCE_005",
        status: 404,
        message: "Organization not found",
        meaning: "The organization does not exist.",
        causes: &["The account was removed."],
        remedy: &["Check the account of the key: GET /v3/me"],
        example: None,
    }
    UserNotFound {
        code: "RESOURCE_006",
        status: 404,
        message: "User not found",
        meaning: "There is no such member of the account.",
        causes: &["The member was removed.", "The member belongs to another account."],
        remedy: &["List the members to find the id."],
        example: None,
    }
    AlreadyExists {
        code: "RESOURCE_007",
        status: 409,
        message: "Resource already exists",
        meaning: "What was to be made is there already. Trying again will not help, so the answer carries x-should-retry: false.",
        causes: &["A contact with this phone number exists in this account and environment.", "An earlier attempt had succeeded although its answer was lost."],
        remedy: &["Look the existing one up: GET /v3/contacts?phone=..."],
        example: Some("curl -i -X POST -H \"x-api-key: $SENT_API_KEY\" -H 'content-type: application/json' -d '{\"phone_number\": \"+14155550123\"}' {base}/v3/contacts   # twice"),
    }
    WebhookNotFound {
        code: "RESOURCE_008",
        status: 404,
        message: "Webhook not found",
        meaning: "There is no such webhook among those that the key can see.",
        causes: &["The webhook was deleted.", "It belongs to another account or environment."],
        remedy: &["List the webhooks to find its id."],
        example: None,
    }
    ContactInherited {
        code: "BUSINESS_001",
        status: 422,
        message: "Cannot modify inherited contact",
        meaning: "The contact belongs to another account. Contacts are no longer inherited; the code is listed because the contract has it.",
        causes: &["The contact is inherited."],
        remedy: &["Change it in the account that it belongs to."],
        example: None,
    }
    RateLimited {
        code: "BUSINESS_002",
        status: 429,
        message: "Rate limit exceeded",
        meaning: "Too many requests within one minute: of the account in this environment, or without a good key from this address.",
        causes: &["The account used up its window: 200 standard or 10 sensitive requests a minute, unless it has its own limits. All keys of an account share one window for each environment.", "Requests without a good key came from this address: 60 a minute are answered."],
        remedy: &["Wait as long as Retry-After says; the official clients do so by themselves.", "X-RateLimit-Reset tells the second from which on requests pass again, X-RateLimit-Remaining how many are left before that.", "The owner of the server can raise an account's limit: keyward accounts set-limit"],
        example: Some("for i in $(seq 201); do curl -s -o /dev/null -w '%{http_code}\\n' -H \"x-api-key: $SENT_API_KEY\" {base}/v3/me; done | tail -n 1"),
    }
    BalanceInsufficient {
        code: "BUSINESS_003",
        status: 422,
        message: "Insufficient account balance",
        meaning: "The account cannot pay for the operation. Keyward charges nothing; the code is listed because the contract has it.",
        causes: &["The balance is too low."],
        remedy: &["Top up the account."],
        example: None,
    }
    ContactOptedOut {
        code: "BUSINESS_004",
        status: 422,
        message: "Contact has opted out of messaging",
        meaning: "No recipient wants messages. Keyward sends none; the code is listed because the contract has it.",
        causes: &["Every recipient opted out."],
        remedy: &["Respect the wish."],
        example: None,
    }
    TemplateNotApproved {
        code: "BUSINESS_005",
        status: 422,
        message: "Template not approved for sending",
        meaning: "Keyward has no templates; the code is listed because the contract has it.",
        causes: &["The template was not approved."],
        remedy: &["Wait for the approval."],
        example: None,
    }
    MessageImmutable {
        code: "BUSINESS_006",
        status: 422,
        message: "Message cannot be modified in current state",
        meaning: "Keyward sends no messages; the code is listed because the contract has it.",
        causes: &["The message was sent already."],
        remedy: &["Send another one."],
        example: None,
    }
    ChannelUnavailable {
        code: "BUSINESS_007",
        status: 422,
        message: "Channel not available for this contact",
        meaning: "The contact cannot be reached over this channel.",
        causes: &["The channel is none of the contact's available_channels."],
        remedy: &["Choose one of its available channels."],
        example: None,
    }
    QuotaExceeded {
        code: "BUSINESS_008",
        status: 422,
        message: "Operation would exceed quota",
        meaning: "The account holds as many of these as it may.",
        causes: &["The account has as many webhooks as the setting webhook_limit allows, or as many members as an account can have.", "More answers are kept for Idempotency-Key than the setting idempotency_limit allows."],
        remedy: &["Remove what is no longer needed.", "Answers are kept for 24 hours: wait, or send without an Idempotency-Key."],
        example: None,
    }
    IdempotencyConflict {
        code: "CONFLICT_001",
        status: 409,
        message: "Concurrent idempotent request in progress",
        meaning: "A request with the same Idempotency-Key is being worked on at this moment.",
        causes: &["A retry was sent before the first attempt was answered."],
        remedy: &["Wait a moment and send it again: the answer of the first attempt is then repeated."],
        example: None,
    }
    CacheUnavailable {
        code: "SERVICE_001",
        status: 503,
        message: "Cache service temporarily unavailable",
        meaning: "A part that the operation needs cannot be reached. Keyward needs no cache service; the code is listed because the contract has it.",
        causes: &["A part of the server is down."],
        remedy: &["Try again a little later; the official clients do so by themselves."],
        example: None,
    }
    InternalUnexpected {
        code: "INTERNAL_001",
        status: 500,
        message: "Unexpected internal server error",
        meaning: "Something went wrong in the server that should not. Nothing of it is told here; the log has it under the request id.",
        causes: &["A fault in the server."],
        remedy: &["Give the X-Request-Id to whoever runs the server.", "Requests that only read can be sent again safely."],
        example: None,
    }
    DatabaseFailed {
        code: "INTERNAL_002",
        status: 500,
        message: "Database operation failed",
        meaning: "The server could not read or write its data. Nothing was changed by this request.",
        causes: &["A fault of the disk or the database file."],
        remedy: &["Give the X-Request-Id to whoever runs the server."],
        example: None,
    }
    ProviderFailed {
        code: "INTERNAL_003",
        status: 502,
        message: "External service error (SMS/WhatsApp provider)",
        meaning: "A provider behind the server failed. Keyward uses none; the code is listed because the contract has it.",
        causes: &["A provider is down."],
        remedy: &["Try again later."],
        example: None,
    }
    TimedOut {
        code: "INTERNAL_004",
        status: 504,
        message: "Timeout waiting for operation",
        meaning: "The operation took too long, or the request's body did not arrive in time.",
        causes: &["The server is overloaded.", "The connection is very slow."],
        remedy: &["Try again a little later; the official clients do so by themselves."],
        example: None,
    }
    InternalUnavailable {
        code: "INTERNAL_005",
        status: 503,
        message: "Service temporarily unavailable",
        meaning: "The server cannot do this at the moment. Nothing was changed by this request; keys are still checked and what is stored can still be read where possible.",
        causes: &["The disk is full or read-only.", "The server is starting, stopping or overloaded."],
        remedy: &["Try again a little later; the official clients do so by themselves.", "Whoever runs the server finds the reason in its log under the request id."],
        example: None,
    }
    EndpointNotFound {
        code: "REQUEST_001",
        status: 404,
        message: "Endpoint not found",
        meaning: "There is nothing at this path.",
        causes: &["The path is misspelt or has a slash too many.", "The operation is not part of this server."],
        remedy: &["Compare the path with the reference. All endpoints of the API begin with /v3/."],
        example: Some("curl -i -H \"x-api-key: $SENT_API_KEY\" {base}/v3/nothing"),
    }
    MethodNotAllowed {
        code: "REQUEST_002",
        status: 405,
        message: "Method not allowed",
        meaning: "The path exists, but not with this method.",
        causes: &["GET was sent where POST is asked, or the other way round."],
        remedy: &["Use one of the methods that the Allow header lists."],
        example: Some("curl -i -X PUT -H \"x-api-key: $SENT_API_KEY\" {base}/v3/me"),
    }
    MediaTypeUnsupported {
        code: "REQUEST_003",
        status: 415,
        message: "Unsupported media type",
        meaning: "The body is not declared as JSON.",
        causes: &["curl -d sends a form unless told otherwise."],
        remedy: &["Send content-type: application/json."],
        example: Some("curl -i -X POST -H \"x-api-key: $SENT_API_KEY\" -d '{}' {base}/v3/contacts"),
    }
    BodyTooLarge {
        code: "REQUEST_004",
        status: 413,
        message: "Request body too large",
        meaning: "The body is larger than the server accepts: 1 MiB unless it is set otherwise.",
        causes: &["Something other than the intended data was sent."],
        remedy: &["Send less at once."],
        example: None,
    }
    HeadTooLarge {
        code: "REQUEST_005",
        status: 431,
        message: "Request header fields too large",
        meaning: "The headers of the request are larger than the server reads: 64 KiB in all, or 256 lines.",
        causes: &["A header holds something it should not, such as a whole file.", "A proxy adds headers again and again."],
        remedy: &["Send fewer and shorter headers. A key is 36 characters long."],
        example: None,
    }
    UrlTooLong {
        code: "REQUEST_006",
        status: 414,
        message: "Request URL too long",
        meaning: "The URL is longer than the server reads.",
        causes: &["Data was put into the query."],
        remedy: &["Send data in the body."],
        example: None,
    }
    RequestMalformed {
        code: "REQUEST_007",
        status: 400,
        message: "Malformed HTTP request",
        meaning: "What arrived is not an HTTP request that can be read.",
        causes: &["HTTPS was spoken to an HTTP port.", "A header has characters that HTTP does not allow.", "A proxy garbled the request."],
        remedy: &["Send the request with an HTTP client, and check the scheme of the URL."],
        example: None,
    }
    KeyNotFound {
        code: "REQUEST_008",
        status: 404,
        message: "API key not found",
        meaning: "There is no such key among those that the key can see. The path asks for a key's id, not for the key itself.",
        causes: &["The key belongs to another account or environment.", "The key itself was sent instead of its id."],
        remedy: &["List the keys to find its id: GET /v3/api-keys."],
        example: None,
    }
}

impl Code {
    /// `AUTH_001`
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.row().code
    }

    #[must_use]
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.row().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    #[must_use]
    pub const fn message(self) -> &'static str {
        self.row().message
    }

    #[must_use]
    pub const fn meaning(self) -> &'static str {
        self.row().meaning
    }

    #[must_use]
    pub const fn causes(self) -> &'static [&'static str] {
        self.row().causes
    }

    #[must_use]
    pub const fn remedy(self) -> &'static [&'static str] {
        self.row().remedy
    }

    /// A command that shows it, where there is one; `{base}` stands for the server's address.
    #[must_use]
    pub const fn example(self) -> Option<&'static str> {
        self.row().example
    }

    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == text)
    }

    /// A conflict that trying again does not solve. The clients retry a 409 unless told so.
    #[must_use]
    pub const fn is_permanent_conflict(self) -> bool {
        matches!(self, Self::AlreadyExists)
    }

    /// The code of a refusal. It forgets the reason: malformed, unknown, expired, disabled, revoked
    /// and rotated away look alike. Contract 2.
    #[must_use]
    pub const fn of(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Missing => Self::NotAuthenticated,
            Refusal::Several
            | Refusal::Malformed(_)
            | Refusal::Unknown
            | Refusal::Expired { .. }
            | Refusal::Rotated { .. }
            | Refusal::Disabled
            | Refusal::Revoked
            | Refusal::Address => Self::KeyInvalid,
            Refusal::Account(AccountState::VerificationPending) => Self::AccountNotVerified,
            Refusal::Account(AccountState::ChannelPending) => Self::AccountHasNoChannel,
            Refusal::Account(AccountState::Suspended | AccountState::Active) => {
                Self::AccountNotActive
            }
            Refusal::Limited | Refusal::Guessing => Self::RateLimited,
            Refusal::ProfileMalformed => Self::UuidInvalid,
            Refusal::ProfileForbidden => Self::PermissionMissing,
            Refusal::ProfileUnknown => Self::CustomerNotFound,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_messages_of_the_guide_are_verbatim() {
        let check = |code: Code, text: &str, status: u16, message: &str| {
            let found = (code.as_str(), code.status().as_u16(), code.message());
            assert_eq!(found, (text, status, message));
        };
        check(Code::NotAuthenticated, "AUTH_001", 401, "User is not authenticated");
        check(Code::KeyInvalid, "AUTH_002", 401, "Invalid or expired API key");
        let message = "Insufficient permissions for this operation";
        check(Code::PermissionMissing, "AUTH_004", 403, message);
    }

    #[test]
    fn each_row_is_whole_and_none_stands_twice() {
        let mut seen = BTreeSet::new();
        for code in Code::ALL {
            assert!(seen.insert(code.as_str()), "{code:?} stands twice");
            assert_eq!(Code::from_text(code.as_str()), Some(*code));
            assert!(!code.message().is_empty() && !code.meaning().is_empty(), "{code:?}");
            assert!(!code.causes().is_empty() && !code.remedy().is_empty(), "{code:?}");
            assert!((400..600).contains(&code.row().status), "{code:?}");
        }
        assert!(!seen.contains("AUTH_003"), "the contract has no AUTH_003");
    }
}
