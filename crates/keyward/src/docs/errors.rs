//! A page for each error code, from the one catalogue: no code can lack its page.

use askama::Template;
use keyward_tower::Code;

/// The style sheet of the pages, served beside them.
pub const STYLE: &str = include_str!("style.css");

struct Group {
    title: &'static str,
    codes: Vec<Entry>,
}

struct Entry {
    code: &'static str,
    status: u16,
    message: &'static str,
}

#[derive(Template)]
#[template(path = "docs/index.html")]
struct Index<'a> {
    here: &'a str,
    groups: Vec<Group>,
    base: &'a str,
    /// A code that was asked for and does not exist.
    is_unknown: bool,
}

#[derive(Template)]
#[template(path = "docs/page.html")]
struct Page<'a> {
    here: &'a str,
    code: &'a str,
    status: u16,
    reason: &'a str,
    message: &'a str,
    meaning: &'a str,
    causes: &'a [&'a str],
    remedy: Vec<String>,
    example: Option<String>,
    previous: Option<&'a str>,
    next: Option<&'a str>,
    docs_url: &'a str,
}

/// What the prefixes of the codes stand for, in the order of the list.
const GROUPS: [(&str, &str); 9] = [
    ("AUTH_", "Authentication and permissions"),
    ("VALIDATION_", "Validation"),
    ("RESOURCE_", "Resources"),
    ("BUSINESS_", "Limits and rules"),
    ("CONFLICT_", "Conflicts"),
    ("SERVICE_", "Services"),
    ("INTERNAL_", "Server faults"),
    ("REQUEST_", "HTTP requests"),
    ("", "Others"),
];

fn entry(code: &Code) -> Entry {
    Entry { code: code.as_str(), status: code.status().as_u16(), message: code.message() }
}

fn render_index(base: &str, is_unknown: bool) -> Result<String, askama::Error> {
    let mut left: Vec<&Code> = Code::ALL.iter().collect();
    let mut groups = Vec::with_capacity(GROUPS.len());
    for (prefix, title) in GROUPS {
        let (members, others) =
            left.into_iter().partition(|code| code.as_str().starts_with(prefix));
        left = others;
        let members: Vec<&Code> = members;
        if !members.is_empty() {
            groups.push(Group { title, codes: members.into_iter().map(entry).collect() });
        }
    }
    Index { here: "/errors", groups, base, is_unknown }.render()
}

/// The list of all codes.
///
/// # Errors
/// If the page cannot be written.
pub fn index(base: &str) -> Result<String, askama::Error> {
    render_index(base, false)
}

/// The list of all codes for somebody who asked for one that does not exist.
///
/// # Errors
/// If the page cannot be written.
pub fn not_found(base: &str) -> Result<String, askama::Error> {
    render_index(base, true)
}

/// The page of a code. `base` is this server's address, for the example; `docs_url` is what answers
/// point at.
///
/// # Errors
/// If the page cannot be written.
pub fn page(code: Code, base: &str, docs_url: &str) -> Result<String, askama::Error> {
    let at = Code::ALL.iter().position(|other| *other == code).unwrap_or(0);
    let neighbour = |index: usize| Code::ALL.get(index).map(|code| code.as_str());
    let here = |text: &str| text.replace("{base}", base);
    Page {
        here: "/errors",
        code: code.as_str(),
        status: code.status().as_u16(),
        reason: code.status().canonical_reason().unwrap_or_default(),
        message: code.message(),
        meaning: code.meaning(),
        causes: code.causes(),
        remedy: code.remedy().iter().map(|text| here(text)).collect(),
        example: code.example().map(here),
        previous: at.checked_sub(1).and_then(neighbour),
        next: neighbour(at + 1),
        docs_url,
    }
    .render()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text as the template writes it.
    fn escaped(text: &str) -> String {
        text.replace('&', "&#38;")
            .replace('<', "&#60;")
            .replace('>', "&#62;")
            .replace('"', "&#34;")
            .replace('\'', "&#39;")
    }

    #[test]
    fn every_code_has_a_page_with_all_that_the_catalogue_knows() {
        let index = index("http://127.0.0.1:8080").expect("it can be written");
        for code in Code::ALL {
            let page = page(*code, "http://127.0.0.1:8080", "https://docs.example/e")
                .expect("it can be written");
            assert!(page.contains(code.as_str()) && index.contains(code.as_str()), "{code:?}");
            assert!(page.contains(&code.status().as_u16().to_string()), "{code:?}");
            assert!(page.contains(&escaped(code.message())), "{code:?}");
            assert!(page.contains(&escaped(code.meaning())), "{code:?}");
            for cause in code.causes() {
                assert!(page.contains(&escaped(cause)), "{code:?}: {cause}");
            }
            assert!(!page.contains("{base}"), "{code:?}");
            let doc_url = format!("https://docs.example/e/{}", code.as_str());
            assert!(page.contains(&doc_url), "{code:?}");
        }
    }

    #[test]
    fn an_address_with_markup_in_it_stays_text() {
        let page =
            page(Code::KeyInvalid, "http://<script>x</script>", "x").expect("it can be written");
        assert!(!page.contains("<script"));
        assert!(page.contains("&#60;script&#62;"));
    }
}
