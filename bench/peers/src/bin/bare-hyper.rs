//! The floor: hyper alone on one thread, no router, the same bytes for every request.

use std::convert::Infallible;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use keyward_bench_peers::Arguments;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments = Arguments::read();
    let body = Bytes::from("x".repeat(arguments.body()));
    let listener = tokio::net::TcpListener::bind(arguments.listen()).await.expect("it can listen");
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let body = body.clone();
        let answer = move |_: Request<Incoming>| {
            let mut response = Response::new(Full::new(body.clone()));
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert("x-api-version", HeaderValue::from_static("v3"));
            std::future::ready(Ok::<_, Infallible>(response))
        };
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service_fn(answer));
        tokio::task::spawn(async move {
            let _ = connection.await;
        });
    }
}
