//! The pages in a real browser, against the real server.
//!
//! Its own target, for it needs Chromium and a driver: `make test` installs them. The tests are in
//! `e2e/browser/tests`; `KEYWARD_ONLY=words` runs those that have the words in their name.

#[path = "support/script.rs"]
mod script;
#[path = "support/mod.rs"]
mod support;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pages_do_what_they_promise_in_a_real_browser() {
    script::run("run.mjs").await;
}
