//! Team: members, roles, invitations.

use askama::Template;
use http::StatusCode;
use keyward_core::id::UserId;
use keyward_core::role::{Role, UserStatus};
use keyward_core::time::UnixMillis;

use super::layout::Shell;
use super::login::first;
use super::{Page, Request, Stop, html, show};
use crate::app::people::{self, Linked, Member};
use crate::app::{AppError, Resource};
use crate::mail::{self, Link};

struct Row {
    id: UserId,
    name: String,
    email: String,
    role: Role,
    status: UserStatus,
    /// When the invitation ends, or when somebody was last here.
    seen: String,
    keys: String,
    has_factor: bool,
    is_self: bool,
    is_changeable: bool,
}

#[derive(Default)]
struct Filled {
    name: String,
    email: String,
    role: String,
}

#[derive(Template)]
#[template(path = "dashboard/team/list.html")]
struct ListPage {
    shell: Shell,
    rows: Vec<Row>,
    may_change: bool,
    roles: Vec<Role>,
    sends_mail: bool,
    filled: Filled,
    wrong_name: Option<String>,
    wrong_email: Option<String>,
    wrong_role: Option<String>,
    fault: Option<String>,
}

/// The roles that can be given.
const GIVEN: [Role; 3] = [Role::Admin, Role::Developer, Role::Billing];

fn row(member: Member, request: &Request, now: UnixMillis) -> Result<Row, Stop> {
    let person = request.person()?;
    let Member { user, invitation_ends, seen_at, n_keys } = member;
    let seen = match (user.status, invitation_ends, seen_at) {
        (UserStatus::Invited, Some(at), _) if at > now => {
            format!("invitation ends {}", show::ago(at, now))
        }
        (UserStatus::Invited, _, _) => String::from("invitation has ended"),
        (_, _, Some(at)) => show::ago(at, now),
        _ => String::from("not signed in"),
    };
    let is_self = user.id == person.user;
    Ok(Row {
        id: user.id,
        seen,
        keys: if n_keys == 0 { String::new() } else { show::count(n_keys, "key", "keys") },
        has_factor: user.totp.is_some(),
        is_self,
        is_changeable: person.role.is_in_charge() && user.role != Role::Owner && !is_self,
        role: user.role,
        status: user.status,
        email: user.email,
        name: user.name,
    })
}

async fn list_page(
    request: &Request,
    filled: Filled,
    error: Option<AppError>,
    status: StatusCode,
) -> Page {
    let person = request.person()?;
    let members = people::list(&request.app, person.account).await?;
    let rows = members.into_iter().map(|member| row(member, request, request.at));
    let (mut wrong_name, mut wrong_email, mut wrong_role, mut fault) = (None, None, None, None);
    match error {
        Some(AppError::Invalid(faults)) => {
            wrong_name = first(&faults, "name");
            wrong_email = first(&faults, "email");
            wrong_role = first(&faults, "role");
        }
        Some(AppError::Taken(text) | AppError::Forbidden(text)) => {
            fault = Some(super::error::sentence(&text));
        }
        Some(other) => return Err(other.into()),
        None => {}
    }
    let page = ListPage {
        shell: Shell::new(request, "Team", "/team"),
        rows: rows.collect::<Result<_, _>>()?,
        may_change: person.role.is_in_charge(),
        roles: GIVEN.into(),
        sends_mail: request.app.mailer.is_some(),
        filled: Filled {
            name: show::typed(&filled.name),
            email: show::typed(&filled.email),
            role: filled.role,
        },
        wrong_name,
        wrong_email,
        wrong_role,
        fault,
    };
    Ok(html(status, page.render()?))
}

/// `GET /team`
///
/// # Errors
/// If the store does not answer.
pub async fn list(request: Request) -> Page {
    let filled = Filled { role: String::from("developer"), ..Filled::default() };
    list_page(&request, filled, None, StatusCode::OK).await
}

#[derive(Template)]
#[template(path = "dashboard/team/link.html")]
struct LinkPage {
    shell: Shell,
    is_invitation: bool,
    name: String,
    email: String,
    link: String,
    ends: String,
    /// `None`: no mail is sent here. Otherwise what became of it.
    mail: Option<Result<(), String>>,
}

/// The page that shows a link to hand over, once; a mail goes out as well when that is set up.
async fn link_page(request: &Request, linked: Linked, is_invitation: bool) -> Page {
    let entered = request.entered()?;
    let kind = if is_invitation { "invitations" } else { "reset" };
    let link = format!("{}/{kind}/{}", request.site.base, linked.token.reveal());
    let mail = match &request.app.mailer {
        None => None,
        Some(mailer) => {
            let url = Link { url: &link, ends_at: linked.ends_at };
            let letter = if is_invitation {
                mail::invitation(&entered.account.name, &entered.user.name, url)
            } else {
                mail::password_reset(&entered.account.name, url)
            };
            let sent = mailer.send(letter.to(&linked.user.email)).await;
            Some(sent.map_err(|error| error.to_string()))
        }
    };
    let title = if is_invitation { "Invited" } else { "Link to set a password" };
    let page = LinkPage {
        shell: Shell::new(request, title, "/team"),
        is_invitation,
        name: linked.user.name,
        email: linked.user.email,
        link,
        ends: show::time(linked.ends_at),
        mail,
    };
    Ok(html(StatusCode::CREATED, page.render()?))
}

/// `POST /team`: invites somebody.
///
/// # Errors
/// 403 for those who do not run the account.
pub async fn invite(mut request: Request) -> Page {
    let form = request.form().await?;
    let filled = Filled {
        name: form.text("name").to_owned(),
        email: form.text("email").to_owned(),
        role: form.text("role").to_owned(),
    };
    let Some(role) = Role::from_text(&filled.role) else {
        let error = AppError::invalid("role", "must be chosen");
        return list_page(&request, filled, Some(error), StatusCode::UNPROCESSABLE_ENTITY).await;
    };
    let (actor, account) = (request.actor()?, request.person()?.account);
    let invited =
        people::invite(&request.app, &actor, account, &filled.name, &filled.email, role).await;
    match invited {
        Ok(linked) => link_page(&request, linked, true).await,
        Err(error @ (AppError::Invalid(_) | AppError::Taken(_) | AppError::Forbidden(_))) => {
            list_page(&request, filled, Some(error), StatusCode::UNPROCESSABLE_ENTITY).await
        }
        Err(error) => Err(error.into()),
    }
}

#[derive(Template)]
#[template(path = "dashboard/team/member.html")]
struct MemberPage {
    shell: Shell,
    row: Row,
    roles: Vec<Role>,
}

async fn find(request: &Request) -> Result<Member, Stop> {
    let id = request.id::<UserId>()?;
    let members = people::list(&request.app, request.person()?.account).await?;
    let found = members.into_iter().find(|member| member.user.id == id);
    Ok(found.ok_or(AppError::NotFound(Resource::User))?)
}

/// `GET /team/{id}`
///
/// # Errors
/// 404 for nobody of this account.
pub async fn member(request: Request) -> Page {
    let found = find(&request).await?;
    let row = row(found, &request, request.at)?;
    let shell = Shell::new(&request, &row.name, "/team");
    let page = MemberPage { shell, row, roles: GIVEN.into() };
    Ok(html(StatusCode::OK, page.render()?))
}

/// `POST /team/{id}/role`
///
/// # Errors
/// 404, 403, 409 if a rule forbids it.
pub async fn change_role(mut request: Request) -> Page {
    let form = request.form().await?;
    let role = Role::from_text(form.text("role"));
    let role = role.ok_or_else(|| AppError::invalid("role", "must be chosen"))?;
    let (actor, account, id) = (request.actor()?, request.person()?.account, request.id()?);
    people::change_role(&request.app, &actor, account, id, role).await?;
    Err(Stop::To(format!("/team/{id}?done=role")))
}

macro_rules! changes {
    ($($(#[$doc:meta])* $name:ident => $change:expr, $place:expr;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// 404, 403, 409 if a rule forbids it.
        pub async fn $name(request: Request) -> Page {
            let (actor, account) = (request.actor()?, request.person()?.account);
            let id = request.id::<UserId>()?;
            let user = $change(&request.app, &actor, account, id).await?;
            let place: fn(UserId) -> String = $place;
            Err(Stop::To(place(user.id)))
        }
    )*};
}

changes! {
    /// `POST /team/{id}/suspend`
    suspend => people::suspend, |id| format!("/team/{id}?done=suspended");
    /// `POST /team/{id}/resume`
    resume => people::resume, |id| format!("/team/{id}?done=resumed");
}

/// `POST /team/{id}/remove`: asks for the address to be typed.
///
/// # Errors
/// 404, 403, 409 if a rule forbids it.
pub async fn remove(mut request: Request) -> Page {
    let form = request.form().await?;
    let found = find(&request).await?;
    if !form.text("email").eq_ignore_ascii_case(&found.user.email) {
        let sentence = "is not the one of this member. Nothing was changed";
        return Err(AppError::invalid("email", sentence).into());
    }
    let (actor, account) = (request.actor()?, request.person()?.account);
    people::remove(&request.app, &actor, account, found.user.id).await?;
    Err(Stop::To(String::from("/team?done=removed")))
}

/// `POST /team/{id}/invite`: a new link for somebody who was invited; the old one ends.
///
/// # Errors
/// 404, 403, 409 if a rule forbids it.
pub async fn invite_again(request: Request) -> Page {
    let user = find(&request).await?.user;
    let (actor, account) = (request.actor()?, request.person()?.account);
    let linked =
        people::invite(&request.app, &actor, account, &user.name, &user.email, user.role).await?;
    link_page(&request, linked, true).await
}

/// `POST /team/{id}/reset`: a link with which a member sets a new password.
///
/// # Errors
/// 404, 403, 409 if a rule forbids it.
pub async fn reset_link(mut request: Request) -> Page {
    let form = request.form().await?;
    let user = find(&request).await?.user;
    // Whoever has the link becomes that member: nobody gets one for somebody above.
    if user.role == Role::Owner {
        return Err(AppError::NotAllowed.into());
    }
    request.confirm(&form).await?;
    let linked = people::reset_link(&request.app, &request.actor()?, user.id).await?;
    link_page(&request, linked, false).await
}
