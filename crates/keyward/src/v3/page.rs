//! Query strings and pages. Contract 7.

use std::borrow::Cow;

use keyward_tower::{ApiError, Code};
use serde::Serialize;
use utoipa::ToSchema;

pub(super) const DEFAULT_PAGE_SIZE: u32 = 20;
pub(super) const LARGEST_PAGE: u32 = 100;
pub(super) const LONGEST_SEARCH: usize = 100;

/// The values of a query string. Of a name that stands twice, the last counts.
pub struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    #[must_use]
    pub fn of(uri: &'a http::Uri) -> Self {
        let query = uri.query().unwrap_or_default();
        Self(form_urlencoded::parse(query.as_bytes()).collect())
    }

    /// The value of a name; an empty one counts as absent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().rev().find(|(found, _)| found == name)?;
        Some(found.1.as_ref()).filter(|value| !value.is_empty())
    }

    /// `search`: some text to look for.
    ///
    /// # Errors
    /// VALIDATION_001 if it is too long.
    pub fn search(&self) -> Result<Option<String>, ApiError> {
        let search = self.get("search").map(ToOwned::to_owned);
        if search.as_ref().is_some_and(|text| text.chars().count() > LONGEST_SEARCH) {
            let sentence = format!("search must not be longer than {LONGEST_SEARCH} characters");
            return Err(ApiError::new(Code::RequestInvalid).about("search", sentence));
        }
        Ok(search)
    }

    fn number(&self, name: &str) -> Result<Option<i128>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            let sentence = format!("{name} must be a whole number");
            return Err(ApiError::new(Code::RequestInvalid).about(name, sentence));
        }
        // Beyond what an i128 holds it makes no difference how far.
        let far = if text.starts_with('-') { i128::MIN } else { i128::MAX };
        Ok(Some(text.parse().unwrap_or(far)))
    }
}

/// Which page of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    number: u64,
    size: u32,
}

impl Page {
    /// Reads `page` from 1 and `page_size` from 1 to 100.
    ///
    /// # Errors
    /// VALIDATION_001 for what is no number, VALIDATION_005 for what is out of range.
    pub fn of(query: &Query<'_>) -> Result<Self, ApiError> {
        let number = query.number("page")?.unwrap_or(1);
        let size = query.number("page_size")?.unwrap_or(i128::from(DEFAULT_PAGE_SIZE));
        let mut error = ApiError::new(Code::OutOfRange);
        if number < 1 {
            error = error.about("page", "Page must be greater than 0");
        }
        let size = u32::try_from(size).ok().filter(|size| (1..=LARGEST_PAGE).contains(size));
        let Some(size) = size else {
            return Err(error.about("page_size", "Page size must be between 1 and 100"));
        };
        if !error.details().is_empty() {
            return Err(error);
        }
        Ok(Self { number: u64::try_from(number).unwrap_or(u64::MAX), size })
    }

    /// For a list that has one page.
    #[must_use]
    pub const fn whole() -> Self {
        Self { number: 1, size: LARGEST_PAGE }
    }

    #[must_use]
    pub const fn offset(self) -> u64 {
        (self.number - 1).saturating_mul(self.size as u64)
    }

    #[must_use]
    pub const fn size(self) -> u32 {
        self.size
    }

    /// What is told about the page, for a list of this length.
    #[must_use]
    pub const fn of_total(self, total_count: u64) -> Pagination {
        let total_pages = total_count.div_ceil(self.size as u64);
        Pagination {
            page: self.number,
            page_size: self.size,
            total_count,
            total_pages,
            has_more: self.number < total_pages,
            cursors: None,
        }
    }
}

/// Which part of a list this is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Pagination {
    /// Counted from 1.
    page: u64,
    page_size: u32,
    /// How many there are on all pages.
    total_count: u64,
    total_pages: u64,
    /// Whether a page follows.
    has_more: bool,
    /// Never filled; the clients know the field.
    #[schema(value_type = Option<Object>)]
    cursors: Option<()>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn page(query: &str) -> Result<Page, Code> {
        let uri: http::Uri = format!("/v3/contacts?{query}").parse().expect(query);
        Page::of(&Query::of(&uri)).map_err(|error| error.code())
    }

    #[test]
    fn pages_count_from_one_and_hold_up_to_a_hundred() {
        let page_of = |number, size| Ok(Page { number, size });
        assert_eq!(page(""), page_of(1, 20));
        assert_eq!(page("page=&page_size="), page_of(1, 20));
        assert_eq!(page("page=3&page_size=100"), page_of(3, 100));
        assert_eq!(page("page=1&page=2"), page_of(2, 20));
        assert_eq!(page("page=1000000000000"), page_of(1_000_000_000_000, 20));
        assert_eq!(page("page=99999999999999999999999999999999999999999"), page_of(u64::MAX, 20));
        for query in ["page=0", "page=-1", "page_size=0", "page_size=101", "page_size=-5"] {
            assert_eq!(page(query), Err(Code::OutOfRange), "{query}");
        }
        for query in ["page=x", "page=1.5", "page=%201", "page_size=1e3", "page=-", "page=0x1"] {
            assert_eq!(page(query), Err(Code::RequestInvalid), "{query}");
        }
    }

    proptest! {
        #[test]
        fn pages_cover_a_list_exactly_once(total in 0u64..5000, size in 1u32..=100) {
            let mut covered = 0;
            let mut number = 1;
            loop {
                let page = Page { number, size };
                prop_assert_eq!(page.offset(), covered);
                let told = page.of_total(total);
                covered += u64::from(size).min(total - covered.min(total));
                prop_assert_eq!(told.has_more, covered < total);
                if !told.has_more { break }
                number += 1;
            }
            prop_assert_eq!(covered, total);
        }
    }
}
