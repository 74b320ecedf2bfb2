//! The table of keys.

use askama::Template;
use http::StatusCode;
use keyward_core::account::Environment;
use keyward_core::id::KeyId;
use keyward_core::role::Role;
use keyward_core::time::UnixMillis;
use keyward_store::key_list::{self, KeyQuery, ListStatus, Listed, SortBy};
use keyward_store::{usage, users};

use super::Names;
use crate::app::AppError;
use crate::dashboard::layout::Shell;
use crate::dashboard::{Page, Request, chart, html, show};

const ROWS: u32 = 25;

struct Row {
    id: KeyId,
    name: String,
    hint: String,
    environment: Environment,
    status: ListStatus,
    until: String,
    is_shared: bool,
    permissions: String,
    made_at: String,
    made_by: String,
    is_orphan: bool,
    used_at: String,
    used_by: String,
    spark: String,
}

struct Column {
    name: &'static str,
    href: Option<String>,
    order: Option<&'static str>,
}

#[derive(Template)]
#[template(path = "dashboard/keys/list.html")]
struct ListPage {
    shell: Shell,
    may_make: bool,
    /// There is no key at all that this member could see.
    is_empty: bool,
    is_filtered: bool,
    q: String,
    environment: String,
    statuses: &'static [ListStatus],
    chosen_status: String,
    sort: String,
    columns: Vec<Column>,
    rows: Vec<Row>,
    shown: String,
    previous: Option<String>,
    next: Option<String>,
}

/// What the address asks for.
struct Wanted {
    q: Option<String>,
    environment: Option<Environment>,
    status: Option<ListStatus>,
    sort: SortBy,
    is_reversed: bool,
    page: u32,
}

impl Wanted {
    fn of(request: &Request) -> Self {
        let sort = request.query("sort").unwrap_or_default();
        let word = |name: &str| request.query(name).unwrap_or_default();
        Self {
            q: request.query("q"),
            environment: Environment::from_text(&word("environment")),
            status: ListStatus::from_text(&word("status")),
            is_reversed: sort.starts_with('-'),
            sort: SortBy::from_text(sort.trim_start_matches('-')).unwrap_or(SortBy::Created),
            page: word("page").parse().unwrap_or(1).clamp(1, 1_000_000),
        }
    }

    fn sort_text(&self) -> String {
        format!("{}{}", if self.is_reversed { "-" } else { "" }, self.sort)
    }

    /// The address of the same list on another page, or in another order.
    fn address(&self, sort: &str, page: u32) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if let Some(q) = &self.q {
            query.append_pair("q", &show::typed(q));
        }
        if let Some(environment) = self.environment {
            query.append_pair("environment", environment.as_str());
        }
        if let Some(status) = self.status {
            query.append_pair("status", status.as_str());
        }
        query.append_pair("sort", sort);
        if page > 1 {
            query.append_pair("page", &page.to_string());
        }
        format!("/keys?{}", query.finish())
    }

    fn columns(&self) -> Vec<Column> {
        let column = |(name, sort): (&'static str, Option<SortBy>)| {
            let Some(sort) = sort else { return Column { name, href: None, order: None } };
            let is_here = sort == self.sort;
            // What is newest or greatest stands first, but names begin with A.
            let is_up = (sort == SortBy::Name || sort == SortBy::Expires) != self.is_reversed;
            let order = is_here.then_some(if is_up { "ascending" } else { "descending" });
            let turned = if is_here && !self.is_reversed { "-" } else { "" };
            Column { name, href: Some(self.address(&format!("{turned}{sort}"), 1)), order }
        };
        [
            ("Name", Some(SortBy::Name)),
            ("Environment", None),
            ("Status", Some(SortBy::Expires)),
            ("Permissions", None),
            ("Made", Some(SortBy::Created)),
            ("Last used", Some(SortBy::LastUsed)),
            ("24 hours", None),
        ]
        .map(column)
        .into()
    }
}

/// `GET /keys`
///
/// # Errors
/// If the store does not answer.
pub async fn list(request: Request) -> Page {
    let wanted = Wanted::of(&request);
    let (person, now) = (request.person()?, request.at);
    let query = KeyQuery {
        account: person.account,
        environment: wanted.environment,
        status: wanted.status,
        search: wanted.q.clone(),
        only_test_or_shared: person.role == Role::Developer,
        sort: wanted.sort,
        is_reversed: wanted.is_reversed,
        offset: (wanted.page - 1) * ROWS,
        most: ROWS,
        now,
    };
    let from_hour = chart::Span::Day.first_hour(now);
    let (page, sums, names) = request
        .app
        .read_for(query.account, move |tx| {
            let page = key_list::page(tx, &query)?;
            let sums =
                page.keys.iter().map(|key| usage::hours_of_key(tx, key.record.id, from_hour));
            let sums = sums.collect::<Result<Vec<_>, _>>()?;
            Ok::<_, AppError>((page, sums, users::names_of(tx, person.account)?))
        })
        .await?;
    let names = Names::new(names);
    let rows = page.keys.into_iter().zip(sums);
    let rows: Vec<Row> =
        rows.map(|(listed, sums)| row(listed, &names, chart::spark(&sums, now), now)).collect();
    let is_filtered = wanted.q.is_some() || wanted.environment.is_some() || wanted.status.is_some();
    let first = u64::from((wanted.page - 1) * ROWS) + 1;
    let last = first + u64::try_from(rows.len()).unwrap_or(0) - 1;
    let sort = wanted.sort_text();
    let page = ListPage {
        shell: Shell::new(&request, "API Keys", "/keys"),
        may_make: person.role.manages_keys_of(Environment::Test),
        is_empty: page.total == 0 && !is_filtered,
        is_filtered,
        columns: wanted.columns(),
        shown: format!("{first}–{last} of {}", show::count(page.total, "key", "keys")),
        previous: (wanted.page > 1).then(|| wanted.address(&sort, wanted.page - 1)),
        next: (last < page.total).then(|| wanted.address(&sort, wanted.page + 1)),
        environment: wanted.environment.map_or("", Environment::as_str).to_owned(),
        statuses: ListStatus::ALL,
        chosen_status: wanted.status.map_or("", ListStatus::as_str).to_owned(),
        q: wanted.q.as_deref().map(show::typed).unwrap_or_default(),
        sort,
        rows,
    };
    Ok(html(StatusCode::OK, page.render()?))
}

fn row(listed: Listed, names: &Names, spark: String, now: UnixMillis) -> Row {
    let Listed { record, status, is_shared } = listed;
    let (made_by, is_orphan) = names.of(&record.created.by);
    let until = match (status, record.rotated.as_ref(), record.expires_at) {
        (ListStatus::Rotating, Some(rotation), _) => {
            format!("until {}", show::time(rotation.until))
        }
        (ListStatus::Expiring | ListStatus::Expired, _, Some(at)) => show::ago(at, now),
        (ListStatus::Active, _, Some(at)) => format!("until {}", show::day(at)),
        (ListStatus::Active, _, None) => String::from("never expires"),
        _ => String::new(),
    };
    let (used_at, used_by) = match &record.last_used {
        Some(used) => (show::ago(used.at, now), format!("{} · {}", used.address, used.client)),
        None => (String::from("never"), String::new()),
    };
    Row {
        id: record.id,
        hint: record.hint.as_str().to_owned(),
        environment: record.environment,
        status,
        until,
        is_shared: is_shared && record.environment == Environment::Production,
        permissions: show::permissions(record.permissions),
        made_at: show::day(record.created.at),
        made_by,
        is_orphan: is_orphan && status != ListStatus::Revoked,
        used_at,
        used_by,
        spark,
        name: record.name,
    }
}
