//! Contract 1 to 3 on the wire: every answer whatsoever is one of ours.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::TestServer;

#[tokio::test]
async fn an_unknown_path_and_a_wrong_method_are_told_to_whoever_has_a_key() {
    let server = TestServer::start().await;
    let key = server.key().await;
    for path in ["/v3", "/v3/", "/v3/contact", "/v3/contacts/", "/v3//me", "/v3/me/x"] {
        assert_eq!(server.get(path).key(&key).send().await.verdict(), "404 REQUEST_001", "{path}");
        assert_eq!(server.get(path).send().await.verdict(), "401 AUTH_001", "{path}");
    }
    let check = async |method: &str, path: &str, allow: &str| {
        let reply = server.call(method, path).key(&key).send().await;
        assert_eq!((reply.status, reply.header("allow")), (405, Some(allow)), "{method} {path}");
    };
    check("PUT", "/v3/contacts", "GET, HEAD, POST").await;
    check("OPTIONS", "/v3/contacts", "GET, HEAD, POST").await;
    check("POST", "/v3/me", "GET, HEAD").await;
    check("BREW", "/v3/me", "GET, HEAD").await;
    assert_eq!(server.get("/nothing").send().await.verdict(), "404 REQUEST_001");
    assert_eq!(server.call("DELETE", "/healthcheck").send().await.verdict(), "405 REQUEST_002");
}

#[tokio::test]
async fn head_is_answered_like_get_without_the_body() {
    let server = TestServer::start().await;
    let key = server.key().await;
    let get = server.get("/v3/me").key(&key).send().await;
    let head = server.call("HEAD", "/v3/me").key(&key).send().await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(head.header("content-length"), get.header("content-length"));
    let head = server.call("HEAD", "/v3/me").send().await;
    assert_eq!((head.status, head.body.as_str()), (401, ""));
}

#[tokio::test]
async fn http_1_0_is_answered() {
    let server = TestServer::start().await;
    let key = server.key().await;
    let request = format!("GET /v3/me HTTP/1.0\r\nx-api-key: {}\r\n\r\n", key.clear);
    assert_eq!(server.raw(request.as_bytes()).await.status, 200);
    assert_eq!(server.raw(b"GET /v3/me HTTP/1.0\r\n\r\n").await.verdict(), "401 AUTH_001");
}

/// As `printf … | nc` does: all is sent, then the end is told, and the answers are still to come.
#[tokio::test]
async fn who_has_asked_everything_and_says_so_still_hears_all_answers() {
    let server = TestServer::start().await;
    let key = server.key().await;
    let create = |number: usize| {
        let body = format!("{{\"phone_number\":\"+1415555{number:04}\"}}");
        format!(
            "POST /v3/contacts HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            key.clear,
            body.len()
        )
    };
    let get =
        |path: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\n\r\n", key.clear);
    let check = async |requests: &str, n: usize, status: &str| {
        let mut stream = TcpStream::connect(server.address()).await.expect("it listens");
        stream.write_all(requests.as_bytes()).await.expect("it reads");
        stream.shutdown().await.expect("it is open");
        let mut answers = String::new();
        stream.read_to_string(&mut answers).await.expect("it answers and closes");
        let first = format!("HTTP/1.1 {status}");
        assert_eq!(answers.matches(&first).count(), n, "{answers}");
    };
    for n in [1, 2, 40] {
        check(&get("/v3/me").repeat(n), n, "200 OK").await;
        check(&get("/v3/contacts").repeat(n), n, "200 OK").await;
    }
    // What waits for the store to write is answered as well.
    let requests: String = (0..20).map(create).collect();
    check(&requests, 20, "201 Created").await;
    // Half a request is none, and nobody waits for the rest.
    let requests = get("/v3/me") + "GET /v3/me HTTP/1.1\r\nhost:";
    check(&requests, 1, "200 OK").await;
}

#[tokio::test]
async fn what_is_no_http_gets_an_answer_of_ours() {
    let server = TestServer::start().await;
    let long_url = format!("GET /v3/{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(70_000));
    let long_key = format!("GET /v3/me HTTP/1.1\r\nx-api-key: {}\r\n\r\n", "a".repeat(1 << 20));
    let many = format!("GET /v3/me HTTP/1.1\r\n{}\r\n", "x-a: b\r\n".repeat(300));
    let cases: [(&[u8], &str); 7] = [
        (long_url.as_bytes(), "414 REQUEST_006"),
        (long_key.as_bytes(), "431 REQUEST_005"),
        (many.as_bytes(), "431 REQUEST_005"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello\r\n\r\n", "400 REQUEST_007"),
        (b"GET / HTTP/9.9\r\n\r\n", "400 REQUEST_007"),
        (b"GET /v3/me HTTP/1.1\r\nx api key: 1\r\n\r\n", "400 REQUEST_007"),
        (b"POST /v3/contacts HTTP/1.1\r\ncontent-length: many\r\n\r\n", "400 REQUEST_007"),
    ];
    for (bytes, expected) in cases {
        let reply = server.raw(bytes).await;
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        assert_eq!(reply.verdict(), expected, "{shown}");
        assert_eq!(reply.header("content-type"), Some("application/json"), "{shown}");
    }
}

#[tokio::test]
async fn an_answer_before_one_that_cannot_be_read_is_whole() {
    let server = TestServer::start().await;
    let two = b"GET /healthcheck HTTP/1.1\r\nhost: x\r\n\r\nnonsense\r\n\r\n";
    let reply = server.raw(two).await;
    assert_eq!(reply.status, 200);
    let (first, second) = reply.body.split_at(3);
    assert_eq!(first, "ok\n");
    assert!(second.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{second}");
    assert!(second.contains("x-request-id: req_") && second.contains("REQUEST_007"), "{second}");
}

#[tokio::test]
async fn two_hundred_header_lines_are_read() {
    let server = TestServer::start().await;
    let key = server.key().await;
    let mut call = server.get("/v3/me").key(&key);
    for number in 0..200 {
        call = call.header(&format!("x-line-{number}"), "value");
    }
    assert_eq!(call.send().await.verdict(), "200");
}

#[tokio::test]
async fn a_body_is_bounded_and_must_be_json() {
    let server = TestServer::start().await;
    let key = server.key().await;
    let number = r#"{"phone_number":"+14155550123"}"#;
    let of_type = |content_type: &str| {
        server.call("POST", "/v3/contacts").header("content-type", content_type).key(&key)
    };
    assert_eq!(of_type("text/plain").body(number).send().await.verdict(), "415 REQUEST_003");
    let form = of_type("application/x-www-form-urlencoded").body("phone_number=%2B1415");
    assert_eq!(form.send().await.verdict(), "415 REQUEST_003");
    let large = format!("{{\"phone_number\":\"{}\"}}", "1".repeat(10 << 20));
    let reply = server.post("/v3/contacts", &large).key(&key).send().await;
    assert_eq!(reply.verdict(), "413 REQUEST_004");
    let exact =
        format!("{{\"phone_number\":\"+14155550123\",\"x\":\"{}\"}}", "x".repeat(1_000_000));
    assert_eq!(server.post("/v3/contacts", &exact).key(&key).send().await.verdict(), "201");
    // Sent in chunks, so that nothing announces the size.
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000)).repeat(20);
    let chunked = format!(
        "POST /v3/contacts HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-api-key: {}\r\n\
         content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n{chunk}0\r\n\r\n",
        key.clear
    );
    assert_eq!(server.raw(chunked.as_bytes()).await.verdict(), "413 REQUEST_004");
    // The key comes first: who has none learns nothing about bodies.
    assert_eq!(server.post("/v3/contacts", &large).send().await.verdict(), "401 AUTH_001");
    // As the guide's own curl does.
    let get = server.get("/v3/contacts").header("content-type", "application/json").key(&key);
    assert_eq!(get.send().await.verdict(), "200");
}

#[tokio::test]
async fn a_body_that_ends_early_changes_nothing() {
    let server = TestServer::start().await;
    let key = server.key().await;
    let head = format!(
        "POST /v3/contacts HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\ncontent-type: application/json\r\n\
         content-length: 100\r\n\r\n{{\"phone_number\":\"+14155550123\"",
        key.clear
    );
    let mut stream = TcpStream::connect(server.address()).await.expect("it listens");
    tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.expect("it reads");
    drop(stream);
    let total = server.get("/v3/contacts").key(&key).send().await.json();
    assert_eq!(total["data"]["pagination"]["total_count"], 0);
}

#[tokio::test]
async fn every_code_has_its_page() {
    let server = TestServer::start().await;
    let list = server.get("/errors").send().await;
    assert_eq!(list.status, 200);
    assert_eq!(list.header("content-type"), Some("text/html; charset=utf-8"));
    for code in keyward_tower::Code::ALL {
        let page = server.get(&format!("/errors/{}", code.as_str())).send().await;
        assert_eq!(page.status, 200, "{code:?}");
        assert!(page.body.contains(code.as_str()) && list.body.contains(code.as_str()), "{code:?}");
        let policy = page.header("content-security-policy").unwrap_or_default();
        assert!(policy.contains("default-src 'none'"), "{policy}");
    }
    for unknown in ["AUTH_003", "auth_001", "%3Cscript%3E", "x"] {
        let page = server.get(&format!("/errors/{unknown}")).send().await;
        assert_eq!(page.status, 404, "{unknown}");
        assert!(!page.body.contains("<script"), "{unknown}");
    }
    let style = server.get("/errors/style.css").send().await;
    assert_eq!(style.header("content-type"), Some("text/css; charset=utf-8"));
    assert_eq!(server.get("/").send().await.header("location"), Some("/login"));
}

#[tokio::test]
async fn error_answers_can_point_at_this_servers_own_pages() {
    let server = TestServer::start_with(|settings| {
        settings.docs_url = String::from("http://127.0.0.1:8080/errors");
    })
    .await;
    let reply = server.get("/v3/me").send().await;
    assert_eq!(reply.json()["error"]["doc_url"], "http://127.0.0.1:8080/errors/AUTH_001");
}

#[tokio::test]
async fn health_is_told_without_a_key() {
    let server = TestServer::start().await;
    let check = server.get("/healthcheck").send().await;
    assert_eq!((check.status, check.body.as_str()), (200, "ok\n"));
    for path in ["/health/live", "/health/ready"] {
        let reply = server.get(path).send().await;
        assert_eq!((reply.status, reply.body.as_str()), (204, ""), "{path}");
    }
}
