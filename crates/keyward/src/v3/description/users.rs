//! The words for `/v3/users`.

use keyward_tower::Code;
use serde_json::json;
use utoipa::ToSchema;

use super::{Body, Deletion, NO_BODY_LEFT, Operation, Success, no_query, paged, shape};
use crate::v3::users::{UserList, UserView, examples};

/// Somebody to invite.
#[derive(ToSchema)]
#[expect(dead_code, reason = "bodies are read by hand; this only describes one")]
struct Invitation {
    #[schema(max_length = 254, pattern = r"^[^@\s]+@[^@\s.][^@\s]*\.[^@\s]*[^@\s.]$")]
    email: String,
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*\S[^\x00-\x1f\x7f-\x9f]*$"
    )]
    name: String,
    /// `admin`, `billing` or `developer`.
    #[schema(pattern = "^(admin|billing|developer)$")]
    role: String,
    /// Checks everything and answers as usual, but changes nothing.
    #[schema(required = false)]
    sandbox: bool,
}

/// Another role.
#[derive(ToSchema)]
#[expect(dead_code, reason = "bodies are read by hand; this only describes one")]
struct RoleChange {
    /// `admin`, `billing` or `developer`.
    #[schema(pattern = "^(admin|billing|developer)$")]
    role: String,
    /// Checks everything and answers as usual, but changes nothing.
    #[schema(required = false)]
    sandbox: bool,
}

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        method: "GET",
        pattern: "/v3/users",
        id: "users.list",
        group: "Users",
        summary: "List members",
        text: "The newest first, in pages; those who are invited or active. The owner is none of them.",
        query: paged,
        body: None,
        success: Success {
            status: 200,
            text: "A page of members.",
            data: Some((shape::<UserList<'_>>(), examples::list)),
            may_be_sandbox: false,
        },
        codes: &[Code::RequestInvalid, Code::OutOfRange],
        is_deprecated: false,
    },
    Operation {
        method: "POST",
        pattern: "/v3/users",
        id: "users.invite",
        group: "Users",
        summary: "Invite somebody",
        text: "Sends a mail with a link where the server has a mail server and knows its own address; a link to hand over can be made in the dashboard. Inviting an invited address again renews the invitation.",
        query: no_query,
        body: Some(Body {
            shape: shape::<Invitation>(),
            example: || json!({"email": "ada@example.com", "name": "Ada Lovelace", "role": "developer"}),
            is_required: true,
        }),
        success: Success {
            status: 201,
            text: "The invited member.",
            data: Some((shape::<UserView<'_>>(), examples::invited)),
            may_be_sandbox: true,
        },
        codes: &[Code::AlreadyExists, Code::QuotaExceeded],
        is_deprecated: false,
    },
    Operation {
        method: "GET",
        pattern: "/v3/users/{id}",
        id: "users.retrieve",
        group: "Users",
        summary: "Show a member",
        text: "A member of another account, and the owner, are not found.",
        query: no_query,
        body: None,
        success: Success {
            status: 200,
            text: "The member.",
            data: Some((shape::<UserView<'_>>(), examples::one)),
            may_be_sandbox: false,
        },
        codes: &[Code::UserNotFound],
        is_deprecated: false,
    },
    Operation {
        method: "PATCH",
        pattern: "/v3/users/{id}",
        id: "users.update_role",
        group: "Users",
        summary: "Change a role",
        text: "The last admin of an account without an owner stays one.",
        query: no_query,
        body: Some(Body {
            shape: shape::<RoleChange>(),
            example: || json!({"role": "billing"}),
            is_required: true,
        }),
        success: Success {
            status: 200,
            text: "The member as it is now.",
            data: Some((shape::<UserView<'_>>(), examples::one)),
            may_be_sandbox: true,
        },
        codes: &[Code::UserNotFound],
        is_deprecated: false,
    },
    Operation {
        method: "DELETE",
        pattern: "/v3/users/{id}",
        id: "users.remove",
        group: "Users",
        summary: "Remove a member",
        text: "The sessions end at once. Keys that the member made belong to the account and work on; the dashboard shows them as needing a look.",
        query: no_query,
        body: Some(Body { shape: shape::<Deletion>(), example: || json!({}), is_required: false }),
        success: NO_BODY_LEFT,
        codes: &[Code::UserNotFound],
        is_deprecated: false,
    },
];
