//! Query strings: pages, sizes and searches are within their bounds whatever is asked, and what is refused
//! is refused with a sentence.
#![no_main]

use http::Uri;
use keyward::v3::page::{Page, Query};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(uri) = Uri::try_from([b"/v3/contacts?", data].concat()) else { return };
    let query = Query::of(&uri);
    match Page::of(&query) {
        Ok(page) => {
            assert!((1..=100).contains(&page.size()));
            assert!(page.offset() == u64::MAX || page.offset() % u64::from(page.size()) == 0);
            let total = u64::try_from(data.len()).expect("it is short");
            let told = serde_json::to_value(page.of_total(total)).expect("it can be written");
            let number = told["page"].as_u64().expect("a number");
            assert_eq!(told["total_pages"], total.div_ceil(u64::from(page.size())));
            assert_eq!(told["has_more"], number < told["total_pages"].as_u64().expect("a number"));
            assert!(number >= 1);
        }
        Err(error) => {
            assert_eq!(error.code().status().as_u16(), 400);
            assert!(error.details().keys().all(|name| name == "page" || name == "page_size"));
        }
    }
    match query.search() {
        Ok(text) => assert!(text.is_none_or(|text| (1..=100).contains(&text.chars().count()))),
        Err(error) => assert!(error.details().contains_key("search")),
    }
    // Of a name that stands twice the last counts, read here by another library's rules.
    let text = uri.query().unwrap_or_default();
    let pairs: Vec<_> = form_urlencoded::parse(text.as_bytes()).collect();
    for (name, _) in &pairs {
        let last = pairs.iter().rev().find(|(other, _)| other == name).map(|(_, value)| &**value);
        assert_eq!(query.get(name), last.filter(|value| !value.is_empty()));
    }
});
