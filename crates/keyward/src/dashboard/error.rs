//! What is told on a page when something was not done.

use std::fmt::Write as _;

use askama::Template;
use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{Response, StatusCode};
use http_body_util::Full;
use keyward_store::StoreError;
use keyward_tower::{ApiError, Code};

use super::layout::Shell;
use super::origin::Site;
use super::{Stop, html, show};
use crate::app::sessions::Entered;
use crate::app::{AppError, Faults};

#[derive(Template)]
#[template(path = "dashboard/error.html")]
struct Page<'a> {
    shell: Shell,
    heading: &'a str,
    text: String,
    is_signed_in: bool,
}

/// The page for what stopped a handler.
pub(super) fn page(
    stop: Stop,
    entered: Option<&Entered>,
    _site: &Site,
) -> Result<Response<Full<Bytes>>, ApiError> {
    let mut retry_after = None;
    let (status, heading, text) = match stop {
        Stop::To(place) => (StatusCode::SEE_OTHER, "It goes on elsewhere", place),
        Stop::Bad(status, text) => (status, "This did not work", text.to_owned()),
        Stop::App(error) => match error {
            AppError::NotFound(resource) => {
                let mut text =
                    format!("There is no such {}, or you may not see it.", resource.as_str());
                if resource == crate::app::Resource::Link {
                    text =
                        String::from("This link has ended or was used already. Ask for a new one.");
                }
                (StatusCode::NOT_FOUND, "Not found", text)
            }
            AppError::NotAllowed => {
                let text = "Your role does not allow this. An owner or admin of the account can do \
                            it, or give you another role.";
                (StatusCode::FORBIDDEN, "Not allowed", text.to_owned())
            }
            AppError::NotConfirmed => {
                let text = "Go back and enter your password once more before you do this.";
                (StatusCode::FORBIDDEN, "Confirm first", text.to_owned())
            }
            AppError::WrongCredentials => {
                let text = "The password or code was wrong. Nothing was changed; go back and try \
                            once more.";
                (StatusCode::FORBIDDEN, "Not confirmed", text.to_owned())
            }
            AppError::TooManyAttempts(seconds) => {
                retry_after = Some(seconds);
                let text = format!("Too many wrong attempts. Try again in {}.", wait(seconds));
                (StatusCode::TOO_MANY_REQUESTS, "Wait a little", text)
            }
            AppError::Taken(text) | AppError::PhoneNumber(text) => {
                (StatusCode::CONFLICT, "This did not work", sentence(&text))
            }
            AppError::InProgress => {
                let text = "The same is being done already. Look again in a moment.";
                (StatusCode::CONFLICT, "This did not work", text.to_owned())
            }
            AppError::Forbidden(text) | AppError::Quota(text) => {
                (StatusCode::CONFLICT, "This did not work", sentence(&text))
            }
            AppError::Invalid(faults) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "Something is not right", sentences(&faults))
            }
            AppError::Unavailable(cause) => return Err(unavailable(cause)),
            AppError::Internal(cause) => {
                return Err(ApiError::new(Code::InternalUnexpected).caused_by(cause));
            }
        },
    };
    let shell = Shell::around(entered, heading, "");
    let page = Page { shell, heading, text, is_signed_in: entered.is_some() };
    let text =
        page.render().map_err(|error| ApiError::new(Code::InternalUnexpected).caused_by(error))?;
    let mut response = html(status, text);
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    Ok(response)
}

fn unavailable(cause: StoreError) -> ApiError {
    AppError::Unavailable(cause).into()
}

pub(super) fn wait(seconds: u64) -> String {
    match seconds {
        0..=1 => String::from("a second"),
        2..120 => format!("{seconds} seconds"),
        _ => format!("{} minutes", seconds.div_ceil(60)),
    }
}

/// A capital first, a full stop last.
pub(super) fn sentence(text: &str) -> String {
    let text = show::typed(text);
    let mut characters = text.chars();
    let mut text: String =
        characters.next().into_iter().flat_map(char::to_uppercase).chain(characters).collect();
    if !text.ends_with(['.', '!', '?']) {
        text.push('.');
    }
    text
}

fn sentences(faults: &Faults) -> String {
    let mut text = String::new();
    for (field, sentences) in faults {
        for sentence in sentences {
            let _ = write!(text, "{} {sentence}. ", field.replace('_', " "));
        }
    }
    sentence(text.trim_end())
}

/// A page for an address that is none, for people at a browser.
pub fn no_such_page() -> Result<Response<Full<Bytes>>, ApiError> {
    let shell = Shell::around(None, "Not found", "");
    let text = String::from("There is no page at this address.");
    let page = Page { shell, heading: "Not found", text, is_signed_in: false };
    let text =
        page.render().map_err(|error| ApiError::new(Code::InternalUnexpected).caused_by(error))?;
    Ok(html(StatusCode::NOT_FOUND, text))
}
