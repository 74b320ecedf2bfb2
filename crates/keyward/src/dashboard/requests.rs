//! Requests: "why was I refused?"

use askama::Template;
use http::StatusCode;
use keyward_core::id::KeyId;
use keyward_store::requests::{RequestFilter, Whose};

use super::layout::Shell;
use super::trail::{RequestLine, request_line, tone};
use super::{ApiRoute, Page, Request, Stop, html, show};
use crate::app::AppError;
use crate::app::requests::{self, Story};

const ROWS: u32 = 50;

/// What the status filter offers: a word, its name, from and to.
const STATUSES: [(&str, &str, u16, u16); 9] = [
    ("ok", "2xx answered", 200, 299),
    ("refused", "4xx and 5xx", 400, 599),
    ("400", "400 bad request", 400, 400),
    ("401", "401 key not good", 401, 401),
    ("403", "403 not allowed", 403, 403),
    ("404", "404 not found", 404, 404),
    ("409", "409 conflict", 409, 409),
    ("429", "429 limited", 429, 429),
    ("failed", "5xx failed", 500, 599),
];

/// The patterns of the API, each once.
fn patterns(routes: &[ApiRoute]) -> Vec<&'static str> {
    let mut patterns: Vec<&str> = routes.iter().map(|route| route.pattern).collect();
    patterns.dedup();
    patterns
}

#[derive(Template)]
#[template(path = "dashboard/requests.html")]
struct RequestsPage {
    shell: Shell,
    rows: Vec<RequestLine>,
    id: String,
    is_unknown_id: bool,
    status: String,
    route: String,
    routes: Vec<&'static str>,
    address: String,
    key: Option<KeyId>,
    is_strangers: bool,
    may_strangers: bool,
    next: Option<String>,
    is_filtered: bool,
    n_dropped: u64,
    kept: String,
    is_off: bool,
}

/// `GET /requests`
///
/// # Errors
/// If the store does not answer.
pub async fn list(request: Request) -> Page {
    if let Some(id) = request.query("id") {
        return match requests::find(&request.app, &request.person()?, &id, |_, _| None).await {
            Ok(_) => {
                let id: String = form_urlencoded::byte_serialize(id.as_bytes()).collect();
                Err(Stop::To(format!("/requests/{id}")))
            }
            Err(AppError::NotFound(_)) => list_page(&request, id, true).await,
            Err(error) => Err(error.into()),
        };
    }
    list_page(&request, String::new(), false).await
}

async fn list_page(request: &Request, id: String, is_unknown_id: bool) -> Page {
    let person = request.person()?;
    let key = request.query("key").and_then(|text| text.parse::<KeyId>().ok());
    let word = |name: &str| request.query(name).as_deref().map(show::typed).unwrap_or_default();
    let (status, route, address) = (word("status"), word("route"), word("address"));
    let is_strangers = word("whose") == "strangers";
    let whose = match key {
        Some(key) => Whose::Key(key),
        None if is_strangers => Whose::Strangers,
        None => Whose::Account(person.account),
    };
    let range = STATUSES.iter().find(|(word, ..)| *word == status);
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let filter = RequestFilter {
        status: range.map(|(_, _, from, to)| (*from, *to)),
        route: some(&route),
        address: some(&address),
        before: request.query("before").and_then(|text| text.parse().ok()),
        most: ROWS,
        ..RequestFilter::default()
    };
    let found = requests::list(&request.app, &person, whose, filter).await?;
    let next = found.next.map(|before| {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for name in ["status", "route", "address", "whose"] {
            let value = word(name);
            if !value.is_empty() {
                query.append_pair(name, &value);
            }
        }
        if let Some(key) = key {
            query.append_pair("key", &key.to_string());
        }
        query.append_pair("before", &before.to_string());
        format!("/requests?{}", query.finish())
    });
    let retention = request.app.retention;
    let page = RequestsPage {
        shell: Shell::new(request, "Requests", "/requests"),
        rows: found.rows.iter().map(|row| request_line(row, request.at)).collect(),
        id: show::typed(&id),
        is_unknown_id,
        is_filtered: key.is_some()
            || is_strangers
            || !(status.is_empty() && route.is_empty() && address.is_empty()),
        status,
        route,
        routes: patterns(request.routes),
        address,
        key,
        is_strangers,
        may_strangers: requests::sees_strangers(&request.app, &person).await?,
        next,
        n_dropped: requests::dropped(&request.app).total(),
        kept: format!(
            "{} or {}, whichever is less",
            show::count(retention.days, "day", "days"),
            show::count(retention.records, "request", "requests")
        ),
        is_off: retention.records == 0,
    };
    Ok(html(StatusCode::OK, page.render()?))
}

#[derive(Template)]
#[template(path = "dashboard/request.html")]
struct StoryPage {
    shell: Shell,
    line: RequestLine,
    exact: String,
    code: Option<String>,
    story: Story,
    micros: i64,
    environment: Option<String>,
    tone: &'static str,
}

/// `GET /requests/{id}`: what was decided, at which check, why, and what to do.
///
/// # Errors
/// 404 for a request that is not remembered, or is another account's.
pub async fn show(request: Request) -> Page {
    let id = request.parameter.clone().unwrap_or_default();
    let routes = request.routes;
    let asked_by = |method: &str, pattern: &str| {
        let route = routes.iter().find(|r| r.method == method && r.pattern == pattern);
        route.and_then(|route| route.permission)
    };
    let story = requests::find(&request.app, &request.person()?, &id, asked_by).await?;
    let row = &story.request;
    let page = StoryPage {
        shell: Shell::new(&request, "Request", "/requests"),
        line: request_line(row, request.at),
        exact: show::time(row.at),
        code: row.code.clone(),
        micros: row.micros,
        environment: row.environment.clone(),
        tone: tone(row.status),
        story,
    };
    Ok(html(StatusCode::OK, page.render()?))
}
