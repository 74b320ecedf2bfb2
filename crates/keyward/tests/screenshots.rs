//! Pictures of the pages, for people to look at: `make screenshots`.
//!
//! Its own target with a feature of its own, for `make test` needs no pictures. The list of pages is
//! in `e2e/browser/screenshots.mjs`.

#[path = "support/script.rs"]
mod script;
#[path = "support/mod.rs"]
mod support;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_of_the_list_has_its_pictures() {
    script::run("screenshots.mjs").await;
}
