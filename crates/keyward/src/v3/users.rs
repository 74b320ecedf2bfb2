//! `/v3/users`: the members of an account, but for its owner. Contract 8 and 10; sources 8.3.

use http::StatusCode;
use keyward_core::account::Environment;
use keyward_core::id::{AccountId, UserId};
use keyward_core::role::{Role, UserStatus};
use keyward_core::time::UnixMillis;
use keyward_store::Tx;
use keyward_store::users::User;
use keyward_tower::ApiError;
use serde::Serialize;
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use super::change::Change;
use super::extract::{Object, check, fault};
use super::page::{Page, Pagination, Query};
use super::{Answer, Request};
use crate::app::people::{self, LONGEST_NAME, Linked};
use crate::app::{Faults, accounts};
use crate::{mail, when};

/// The roles that can be given, in the order in which they are told.
pub(super) const GIVEN: [Role; 3] = [Role::Admin, Role::Billing, Role::Developer];
const ROLES: &str = "Role must be one of: admin, billing, developer";

/// Somebody who may use the dashboard.
#[derive(Serialize, ToSchema)]
#[schema(as = User)]
pub(super) struct UserView<'a> {
    #[schema(format = Uuid)]
    id: String,
    /// The account that the member belongs to.
    #[schema(format = Uuid)]
    customer_id: String,
    email: &'a str,
    name: &'a str,
    /// `admin`, `billing` or `developer`.
    role: &'static str,
    /// `active`, `invited`, `suspended` or `rejected`.
    status: &'static str,
    #[schema(format = DateTime)]
    invited_at: Option<String>,
    /// `null` until the first sign-in.
    #[schema(format = DateTime)]
    last_login_at: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: Option<String>,
}

impl<'a> From<&'a User> for UserView<'a> {
    fn from(user: &'a User) -> Self {
        Self {
            id: user.id.to_string(),
            customer_id: user.account.to_string(),
            email: &user.email,
            name: &user.name,
            role: user.role.as_str(),
            status: user.status.as_str(),
            invited_at: user.invited_at.map(when),
            last_login_at: user.last_login_at.map(when),
            created_at: when(user.created_at),
            updated_at: user.updated_at.map(when),
        }
    }
}

/// One page of members, the newest first.
#[derive(Serialize, ToSchema)]
pub(super) struct UserList<'a> {
    users: Vec<UserView<'a>>,
    pagination: Pagination,
}

/// `GET /v3/users`
///
/// # Errors
/// VALIDATION_001, VALIDATION_005.
pub async fn list(request: Request) -> Answer {
    let page = Page::of(&Query::of(&request.parts.uri))?;
    let members = people::seen_by_key(&request.app, &request.caller).await?;
    let total = u64::try_from(members.len()).unwrap_or(u64::MAX);
    let offset = usize::try_from(page.offset()).unwrap_or(usize::MAX);
    let size = usize::try_from(page.size()).unwrap_or(usize::MAX);
    let users = members.iter().skip(offset).take(size).map(UserView::from).collect();
    request.answer(&UserList { users, pagination: page.of_total(total) })
}

/// `GET /v3/users/{id}`
///
/// # Errors
/// VALIDATION_003, RESOURCE_006.
pub async fn show(request: Request) -> Answer {
    let user = people::find_for_key(&request.app, &request.caller, request.id()?).await?;
    request.answer(&UserView::from(&user))
}

/// What an invitation says.
pub(super) struct Invitation {
    pub(super) name: String,
    pub(super) email: String,
    pub(super) role: Role,
}

pub(super) fn read_invitation(body: &Object) -> Result<Invitation, ApiError> {
    let mut faults = body.faults();
    let email = body.text("email", &mut faults).map(str::trim);
    let name = body.text("name", &mut faults).map(str::trim);
    if !faults.contains_key("email") {
        match email {
            None | Some("") => fault(&mut faults, "email", "Email is required"),
            Some(email) if accounts::check_email("email", email).is_err() => {
                fault(&mut faults, "email", "Email must be a valid email address");
            }
            _ => {}
        }
    }
    if !faults.contains_key("name") {
        match name {
            None | Some("") => fault(&mut faults, "name", "Name is required"),
            Some(name) if name.chars().count() > LONGEST_NAME => {
                let sentence = format!("Name must not be longer than {LONGEST_NAME} characters");
                fault(&mut faults, "name", sentence);
            }
            Some(name) if name.chars().any(char::is_control) => {
                fault(&mut faults, "name", "Name must not contain control characters");
            }
            _ => {}
        }
    }
    let role = read_role(body, &mut faults);
    check(faults)?;
    Ok(Invitation {
        name: name.unwrap_or_default().to_owned(),
        email: email.unwrap_or_default().to_owned(),
        role: role.unwrap_or(Role::Developer),
    })
}

/// The owner's place is not given: asked for, it is as unknown as any other word.
pub(super) fn read_role(body: &Object, faults: &mut Faults) -> Option<Role> {
    let text = body.text("role", faults);
    let role = text.and_then(Role::from_text).filter(|role| GIVEN.contains(role));
    if role.is_none() && !faults.contains_key("role") {
        fault(faults, "role", if text.is_none() { "Role is required" } else { ROLES });
    }
    role
}

/// `POST /v3/users`: invites somebody.
///
/// # Errors
/// VALIDATION_001, RESOURCE_007 for a member who is there already, BUSINESS_008.
pub async fn invite(change: Change) -> Answer {
    let Change { request, body, is_sandbox, writer } = change;
    let Invitation { name, email, role } = read_invitation(&body)?;
    let Request { app, caller, at, .. } = &request;
    if is_sandbox {
        app.check_no_key("name", &name)?;
        app.check_no_key("email", &email)?;
        let user = example_of(&request, app.new_user_id(*at), role);
        let user = User { name, email, status: UserStatus::Invited, last_login_at: None, ..user };
        return writer.pretend(StatusCode::CREATED, &UserView::from(&user)).await;
    }
    let (actor, account) = (request.actor(), caller.account());
    let finish = |tx: &mut Tx<'_>, linked: Linked| {
        let written = writer.write(tx, StatusCode::CREATED, &UserView::from(&linked.user))?;
        Ok((written, linked))
    };
    let invited = people::invite_and(app, &actor, account, &name, &email, role, finish).await;
    let (written, linked) = invited?;
    send_invitation(&request, &linked).await?;
    written.answer()
}

/// Mails the link, where there is a mail server and an address to point at. Whoever has neither finds a
/// link to hand over in the dashboard.
async fn send_invitation(request: &Request, linked: &Linked) -> Result<(), ApiError> {
    let app = &request.app;
    // Not the address that the caller used: a header of a request must not end up in a mail.
    let (Some(mailer), Some(base)) = (&app.mailer, &app.public_url) else { return Ok(()) };
    if request.actor().environment() == Environment::Test {
        return Ok(());
    }
    let account = accounts::find(app, &linked.user.account.to_string()).await?;
    let url = format!("{base}/invitations/{}", linked.token.reveal());
    let link = mail::Link { url: &url, ends_at: linked.ends_at };
    let letter = mail::invitation(&account.name, &account.name, link);
    let (mailer, message) = (mailer.clone(), letter.to(&linked.user.email));
    // Nobody waits for a mail server: that it went wrong shows in the dashboard as an open invitation, as
    // does one whose mail had no place.
    if let Ok(place) = INVITING.try_acquire() {
        tokio::spawn(async move {
            let _place = place;
            mailer.send(message).await
        });
    }
    Ok(())
}

/// Bound: so many mails for invitations are on their way at once.
static INVITING: Semaphore = Semaphore::const_new(64);

/// `PATCH /v3/users/{id}`: gives a member another role.
///
/// # Errors
/// VALIDATION_001, VALIDATION_003, RESOURCE_006.
pub async fn update(change: Change) -> Answer {
    let Change { request, body, is_sandbox, writer } = change;
    let id: UserId = request.id()?;
    let mut faults = body.faults();
    let role = read_role(&body, &mut faults);
    check(faults)?;
    let role = role.unwrap_or(Role::Developer);
    if is_sandbox {
        let user = example_of(&request, id, role);
        return writer.pretend(StatusCode::OK, &UserView::from(&user)).await;
    }
    let (app, account) = (&request.app, request.caller.account());
    let finish =
        |tx: &mut Tx<'_>, user: User| writer.write(tx, StatusCode::OK, &UserView::from(&user));
    people::change_role_and(app, &request.actor(), account, id, role, finish).await?.answer()
}

/// `DELETE /v3/users/{id}`
///
/// # Errors
/// VALIDATION_001, VALIDATION_003, RESOURCE_006.
pub async fn remove(change: Change) -> Answer {
    let Change { request, body, is_sandbox, writer } = change;
    let id: UserId = request.id()?;
    check(body.faults())?;
    if is_sandbox {
        return writer.pretend_no_content().await;
    }
    let (app, account) = (&request.app, request.caller.account());
    let finish = |tx: &mut Tx<'_>, _| writer.no_content(tx);
    people::remove_and(app, &request.actor(), account, id, finish).await?.answer()
}

/// Somebody to answer a sandbox with.
fn example_of(request: &Request, id: UserId, role: Role) -> User {
    let user = example(request.at, id);
    let account = request.caller.account();
    User { account, role, environment: request.caller.environment(), ..user }
}

fn example(at: UnixMillis, id: UserId) -> User {
    User {
        id,
        account: AccountId::new(at, [2; 10]),
        environment: Environment::Production,
        name: String::from("Ada Lovelace"),
        email: String::from("ada@example.com"),
        role: Role::Developer,
        status: UserStatus::Active,
        password_hash: None,
        created_at: at,
        invited_at: Some(at),
        last_login_at: Some(at),
        updated_at: Some(at),
        totp: None,
        totp_step: 0,
    }
}

/// Answers for the reference, made as the handlers make theirs.
pub(super) mod examples {
    use serde_json::{Value, json};

    use super::{Page, Query, UnixMillis, User, UserId, UserList, UserStatus, UserView};

    const AT: UnixMillis = UnixMillis(1_704_067_200_000);

    fn user() -> User {
        super::example(AT, UserId::new(AT, [1; 10]))
    }

    pub(in crate::v3) fn one() -> Value {
        json!(UserView::from(&user()))
    }

    pub(in crate::v3) fn invited() -> Value {
        let user = User { status: UserStatus::Invited, last_login_at: None, ..user() };
        json!(UserView::from(&user))
    }

    pub(in crate::v3) fn list() -> Value {
        let user = user();
        let users = vec![UserView::from(&user)];
        let first = Page::of(&Query::of(&http::Uri::from_static("/")));
        first.map_or(Value::Null, |page| json!(UserList { users, pagination: page.of_total(1) }))
    }
}
