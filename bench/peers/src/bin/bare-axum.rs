//! The yardstick: axum on one thread that answers every request with the same bytes. It knows no
//! keys, counts nothing and writes nothing.

use axum::Router;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::routing::get;
use keyward_bench_peers::Arguments;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const X_API_VERSION: HeaderName = HeaderName::from_static("x-api-version");

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments = Arguments::read();
    let body: &'static str = "x".repeat(arguments.body()).leak();
    let answer =
        move || async move { ([(CONTENT_TYPE, "application/json"), (X_API_VERSION, "v3")], body) };
    let router = Router::new().route("/v3/me", get(answer));
    let listener = tokio::net::TcpListener::bind(arguments.listen()).await.expect("it can listen");
    axum::serve(axum::serve::ListenerExt::tap_io(listener, |stream| {
        let _ = stream.set_nodelay(true);
    }), router)
    .await
    .expect("it serves until it is killed");
}
