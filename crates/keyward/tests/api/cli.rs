//! The command line as people use it: the real program, alone and beside a real server.

use serde_json::{Value, json};

use crate::program::{SETUP, Shell};
use crate::support::{TestKey, TestServer};

#[test]
fn setup_makes_the_first_account_and_no_second_one() {
    let shell = Shell::new();
    let short = shell.run_with(&SETUP, b"short\n");
    assert_eq!(short.code, 2, "{short:?}");
    assert!(short.err.contains("password: must have at least 12 characters"), "{short:?}");
    let made = shell.run_with(&SETUP, b"correct horse battery staple\n");
    assert_eq!(made.code, 0, "{made:?}");
    assert!(made.err.contains("keyward keys create"), "it says what comes next: {made:?}");
    let again = shell.run_with(&SETUP, b"correct horse battery staple\n");
    assert_eq!(again.code, 1);
    assert!(again.err.contains("keyward accounts create"), "{again:?}");
    let accounts = shell.json(&["accounts", "list"]);
    assert_eq!(accounts.as_array().map(Vec::len), Some(1));
    assert_eq!(accounts[0]["type"], "organization");
    let id = made.out.trim();
    assert_eq!(shell.json(&["accounts", "show", id])["name"], "Acme");
    assert_eq!(shell.json(&["accounts", "show", "acme"])["id"], id);
}

#[test]
fn a_key_stands_alone_on_stdout_and_is_good_for_ninety_days() {
    let shell = Shell::new();
    shell.set_up();
    let ended = shell.run(&["keys", "create", "--name", "x", "--environment", "test"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let key = ended.out.strip_suffix('\n').expect("one line");
    assert!(keyward_core::key::ApiKey::parse(key.as_bytes()).is_ok(), "{key}");
    assert_eq!(&key[14..15], "4", "a UUID of version 4");
    assert!(!ended.err.contains(key), "it is shown once");
    let (_, issued) = shell.issue(&[]);
    let names: Vec<_> = issued.as_object().expect("an object").keys().cloned().collect();
    let mut expected =
        ["id", "key", "name", "environment", "permissions", "expires_at", "created_at"];
    expected.sort_unstable();
    assert_eq!(names, expected);
    let time = |name: &str| {
        let text = issued[name].as_str().expect("a text");
        text.parse::<jiff::Timestamp>().expect("a time").as_second()
    };
    assert_eq!(time("expires_at") - time("created_at"), 90 * 86_400);
    let list = shell.run(&["keys", "list"]);
    assert!(list.out.contains("production") && list.out.contains("test"), "{list:?}");
    assert!(!list.out.contains(key), "{list:?}");
}

#[test]
fn what_a_key_is_issued_with_is_what_was_asked_for() {
    let shell = Shell::new();
    shell.set_up();
    let (key, issued) = shell.issue(&[
        "--permission",
        "contacts:read",
        "--permission",
        "webhooks:write",
        "--allow-ip",
        "203.0.113.0/24",
        "--allow-ip",
        "2001:db8::1",
        "--expires-in",
        "24h",
    ]);
    assert_eq!(issued["permissions"], json!(["contacts:read", "webhooks:write"]));
    let shown = shell.json(&["keys", "show", &key.id.to_string()]);
    assert_eq!(shown["allowed_networks"], json!(["203.0.113.0/24", "2001:db8::1/128"]));
    assert_eq!(shown["status"], "active");
    let (_, issued) = shell.issue(&["--preset", "read-only", "--never-expires"]);
    assert_eq!(issued["permissions"], json!(["contacts:read", "users:read", "webhooks:read"]));
    assert_eq!(issued["expires_at"], Value::Null);
}

#[test]
fn a_folder_that_was_mistyped_is_not_made() {
    let shell = Shell::new();
    for command in [&["keys", "list"][..], &["accounts", "list"], &["keys", "import", "x.csv"]] {
        let ended = shell.run(command);
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.err.contains("--data-dir") && ended.err.contains("setup"), "{ended:?}");
    }
    assert!(!shell.data_dir.exists());
}

#[test]
fn wrong_usage_ends_with_two_and_says_what_is_expected() {
    let shell = Shell::new();
    shell.set_up();
    let create = ["keys", "create", "--name", "x", "--environment", "production"];
    let with = |more: &[&'static str]| [&create[..], more].concat();
    let cases = [
        (vec!["keys", "create"], "--name"),
        (vec!["keys", "create", "--name", "x", "--environment", "staging"], "production, test"),
        (with(&["--permission", "contacts:*"]), "contacts:read"),
        (with(&["--expires-in", "soon"]), "90d"),
        (with(&["--allow-ip", "everywhere"]), "203.0.113.0/24"),
        (with(&["--expires-in", "1d", "--never-expires"]), "cannot be used with"),
        (with(&["--expires-in", "0s"]), "must be in the future"),
        (vec!["keys", "create", "--name", " ", "--environment", "test"], "name: must not be empty"),
        (vec!["keys", "revoke", "billing"], "keyward keys list"),
        (vec!["accounts", "set-limit", "Acme", "--class", "standard"], "--per-minute"),
        (vec!["fly"], "unrecognized subcommand"),
        (vec!["serve", "--listen", "nowhere"], "127.0.0.1:8080"),
    ];
    for (arguments, expected) in cases {
        let ended = shell.run(&arguments);
        assert_eq!(ended.code, 2, "{arguments:?}: {ended:?}");
        assert!(ended.err.contains(expected), "{arguments:?}: {ended:?}");
        assert_eq!(ended.out, "", "{arguments:?}");
    }
    let unknown = "00000000-0000-4000-8000-000000000000";
    let ended = shell.run(&["keys", "revoke", unknown]);
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("keyward keys list"), "{ended:?}");
}

#[test]
fn every_command_has_help_with_an_example() {
    let shell = Shell::new();
    for command in [
        "",
        "serve",
        "setup",
        "config",
        "accounts",
        "accounts list",
        "accounts show",
        "accounts create",
        "accounts suspend",
        "accounts activate",
        "accounts set-limit",
        "keys",
        "keys create",
        "keys list",
        "keys show",
        "keys disable",
        "keys enable",
        "keys revoke",
        "keys rotate",
        "keys explain",
        "keys import",
        "backup",
        "restore",
        "doctor",
    ] {
        let words: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let ended = shell.run(&words);
        assert_eq!(ended.code, 0, "{command}: {ended:?}");
        let is_group = matches!(command, "accounts" | "keys");
        assert!(is_group || ended.out.contains("keyward "), "{command} has no example");
        assert!(is_group || ended.out.contains("Example") || ended.out.contains("First steps"));
    }
}

#[test]
fn config_tells_what_is_in_force_and_who_said_so() {
    let shell = Shell::new();
    let file = shell.folder.path().join("keyward.toml");
    std::fs::write(&file, "threads = 3\nlog_format = \"json\"\n").expect("the folder is ours");
    let mut command = shell.command(&["config", "--json", "--listen", "127.0.0.1:9"]);
    let ended = command.env("KEYWARD_THREADS", "2").output().expect("the program is built");
    let told: Value = serde_json::from_slice(&ended.stdout).expect("it is JSON");
    let told = |name: &str| {
        let setting = &told[name];
        (setting["value"].as_str().expect("a text"), setting["source"].as_str().expect("a text"))
    };
    assert_eq!(told("listen"), ("127.0.0.1:9", "flag --listen"));
    assert_eq!(told("threads"), ("2", "variable KEYWARD_THREADS"));
    assert_eq!(told("log_format"), ("json", "keyward.toml, line 2"));
    assert_eq!(told("docs_url"), ("https://docs.sent.dm/errors", "default"));
    std::fs::write(&file, "\nthreds = 3\n").expect("the folder is ours");
    let ended = shell.run(&["config"]);
    assert_eq!(ended.code, 2);
    assert!(ended.err.contains("keyward.toml, line 2: unknown setting 'threds'"), "{ended:?}");
    assert!(ended.err.contains("did you mean 'threads'?"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_server_honours_a_command_when_the_command_returns() {
    let server = TestServer::start().await;
    let shell = Shell::on(server.data_dir());
    let verdict = async |key: &TestKey| server.get("/v3/me").key(key).send().await.verdict();
    // The server's clock stands in 2024: a key that never expires is good by both clocks.
    let (key, _) = shell.issue(&["--never-expires"]);
    assert_eq!(verdict(&key).await, "200");
    let id = key.id.to_string();
    let told = shell.json(&["keys", "disable", &id]);
    assert_eq!((&told["status"], &told["disabled_by"]), (&json!("disabled"), &json!("operator")));
    assert_eq!(verdict(&key).await, "401 AUTH_002");
    shell.json(&["keys", "enable", &id]);
    assert_eq!(verdict(&key).await, "200");
    shell.json(&["accounts", "suspend", "Acme"]);
    let reply = server.get("/v3/contacts").key(&key).send().await;
    assert_eq!(reply.verdict(), "403 AUTH_005");
    shell.json(&["accounts", "activate", "Acme"]);
    shell.json(&["accounts", "set-limit", "Acme", "--class", "standard", "--per-minute", "7"]);
    let reply = server.get("/v3/me").key(&key).send().await;
    assert_eq!(reply.header("x-ratelimit-limit"), Some("7"));
    shell.json(&["accounts", "set-limit", "Acme", "--class", "standard", "--default"]);
    let rotated = shell.run(&["keys", "rotate", &id, "--grace", "0s"]);
    assert_eq!(rotated.code, 0, "{rotated:?}");
    let successor = TestKey { id: key.id, clear: rotated.out.trim().to_owned() };
    assert_eq!(verdict(&successor).await, "200");
    let again = shell.run(&["keys", "rotate", &id]);
    assert_eq!(again.code, 1);
    assert!(again.err.contains("was replaced by"), "{again:?}");
    let list = shell.json(&["keys", "list"]);
    let successor_id = list[0]["id"].as_str().expect("the newest comes first").to_owned();
    shell.json(&["keys", "revoke", &successor_id]);
    assert_eq!(verdict(&successor).await, "401 AUTH_002");
    let again = shell.run(&["keys", "revoke", &successor_id]);
    assert_eq!(again.code, 1);
    assert!(again.err.contains("cannot be undone"), "{again:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_answers_the_guides_debugging_steps() {
    let server = TestServer::start().await;
    let shell = Shell::on(server.data_dir());
    let (key, _) = shell.issue(&["--never-expires", "--permission", "contacts:read"]);
    let call = server.get("/v3/me").key(&key).header("user-agent", "Sent/Python 0.46.0");
    assert_eq!(call.send().await.status, 200);
    let (code, told) = shell.explain(&format!("{}\n", key.clear));
    assert_eq!(code, 0, "{told}");
    assert_eq!((&told["format"], &told["known"]), (&json!("right"), &json!(true)));
    assert_eq!((&told["environment"], &told["status"]), (&json!("production"), &json!("active")));
    assert_eq!(told["account"]["name"], "Acme");
    assert_eq!(told["permissions"], json!(["contacts:read"]));
    assert_eq!(told["last_used_by"], "Sent/Python 0.46.0");
    assert_eq!(told["last_used_from"], "127.0.0.1");
    let standard = &told["limits"][0];
    assert_eq!((&standard["limit"], &standard["remaining"]), (&json!(200), &json!(199)));
    shell.json(&["keys", "disable", &key.id.to_string()]);
    let (code, told) = shell.explain(&key.clear);
    assert_eq!((code, &told["status"]), (1, &json!("disabled")));
    assert!(told["what_to_do"].as_str().expect("a text").contains("keyward keys enable"));
    let (code, told) = shell.explain(&key.clear[..20]);
    assert_eq!(code, 1);
    assert_eq!(told["fault"], "20 bytes instead of 36: the key is cut short");
    let (code, told) = shell.explain("0f8fad5b-d9cb-469f-a165-70867728950e");
    assert_eq!((code, &told["known"]), (1, &json!(false)));
    let readable = shell.run_with(&["keys", "explain", "--key-stdin"], key.clear.as_bytes());
    assert!(readable.out.contains("answer        401 AUTH_002"), "{readable:?}");
    assert!(!format!("{readable:?}").contains(&key.clear), "it repeats no key");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_from_elsewhere_are_imported_all_or_none() {
    let server = TestServer::start().await;
    let shell = Shell::on(server.data_dir());
    let file = shell.folder.path().join("keys.csv");
    let import = |text: &str| {
        std::fs::write(&file, text).expect("the folder is ours");
        shell.run(&["keys", "import", "keys.csv"])
    };
    let clear = "0f8fad5b-d9cb-469f-a165-70867728950e";
    let hashed = "7c9e6679-7425-40de-944b-e07fc1f90ae7";
    let digest = keyward_core::key::ApiKey::parse(hashed.as_bytes()).expect("a UUID").digest();
    let hex: String = digest.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let bad = format!(
        "key,sha256,name,environment,account,permissions,expires_at\n\
         {clear},,one,production,,,\n\
         {clear},,again,production,,,\n\
         nonsense,,two,production,,,\n\
         ,abc,three,production,,,\n\
         ,,four,production,,,\n\
         {hashed},,five,staging,,,\n\
         {hashed},,six,test,,contacts:all,\n\
         {hashed},,seven,test,,,2001-01-01T00:00:00Z\n\
         00000000-0000-0000-0000-000000000000,,eight,test,,,\n\
         {hashed},,nine\n"
    );
    let ended = import(&bad);
    assert_eq!(ended.code, 1, "{ended:?}");
    let lines: Vec<&str> = ended.err.lines().collect();
    assert_eq!(
        lines[..9],
        [
            "line 3: repeats the key of line 2",
            "line 4: key: 8 bytes instead of 36: the key is cut short",
            "line 5: sha256: must be 64 hexadecimal characters",
            "line 6: has neither a key nor a sha256",
            "line 7: environment: must be production or test",
            "line 8: permissions: unknown permission 'contacts:all': expected one of contacts:read \
             contacts:write users:read users:write webhooks:read webhooks:write \
             webhooks:rotate_secret api_keys:read api_keys:write",
            "line 9: expires_at: is in the past",
            "line 10: key: is a placeholder and no secret",
            "line 11: has 3 columns instead of 7",
        ]
    );
    assert_eq!(shell.json(&["keys", "list"]), json!([]), "nothing was half done");

    let good = format!(
        "name,environment,key,sha256,account,permissions,expires_at\n\
         one,production,{},,,,\n\
         \"two, quoted\",test,,{hex},New account,contacts:read contacts:write,2999-01-01T00:00:00Z\n",
        clear.to_uppercase()
    );
    let ended = import(&good);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.err.contains("Account 'New account' is made."), "{ended:?}");
    let key = |clear: &str| TestKey {
        id: server.account.id.to_string().parse().expect("a UUID"),
        clear: clear.to_owned(),
    };
    let me = server.get("/v3/me").key(&key(clear)).send().await.json();
    assert_eq!(me["data"]["id"], server.account.id.to_string());
    let me = server.get("/v3/me").key(&key(hashed)).send().await.json();
    assert_eq!(
        (&me["data"]["name"], &me["data"]["api_key"]["environment"]),
        (&json!("New account"), &json!("test"))
    );
    assert_eq!(me["data"]["api_key"]["permissions"], json!(["contacts:read", "contacts:write"]));
    assert_eq!(me["data"]["api_key"]["expires_at"], "2999-01-01T00:00:00Z");

    let again = import(&good);
    assert_eq!(again.code, 1);
    assert!(again.err.contains("line 2: the key named 'one' is already there"), "{again:?}");
    assert!(
        again.err.contains("line 3: the key named 'two, quoted' is already there"),
        "{again:?}"
    );
    let other = "2f1a3c4d-5e6f-4a0b-8c1d-2e3f4a5b6c7d";
    let columns = "key,name,environment,account";
    let named = format!(
        "{columns}\n{other},for {other},test,\n00112233-4455-4677-8899-aabbccddeeff,{clear},test,\n\
         01112233-4455-4677-8899-aabbccddeeff,two,test,{other}\n"
    );
    let ended = import(&named);
    assert_eq!(ended.code, 1, "{ended:?}");
    for (line, column) in [(2, "name"), (3, "name"), (4, "account")] {
        let told = format!("line {line}: {column}: must not hold an API key");
        assert!(ended.err.contains(&told), "{told} {ended:?}");
    }
    assert!(!ended.err.contains(other) && !ended.err.contains(clear), "{ended:?}");
    let created = shell.run(&[
        "keys",
        "create",
        "--account",
        "Acme",
        "--environment",
        "test",
        "--name",
        clear,
    ]);
    assert!(created.code != 0 && created.err.contains("must not hold an API key"), "{created:?}");
    for (text, reason) in [
        ("", "lacks the column 'name'"),
        ("key,name\n", "lacks the column 'environment'"),
        ("name,environment\n", "lacks a column 'key' or 'sha256'"),
        ("key,name,environment,colour\n", "unknown column 'colour'"),
        ("key,name,environment\n", "has no rows"),
        (&format!("{clear},x,test\n"), "must begin with a line of column names"),
    ] {
        let ended = import(text);
        assert_eq!(ended.code, 2, "{text}: {ended:?}");
        assert!(ended.err.contains(reason), "{text}: {ended:?}");
        assert!(!ended.err.contains(clear), "{ended:?}");
    }
}

#[test]
fn a_database_of_a_newer_version_and_what_is_no_database_are_refused() {
    let shell = Shell::new();
    shell.set_up();
    let database = shell.data_dir.join("keyward.db");
    let mut bytes = std::fs::read(&database).expect("it is there");
    // The version stands in the header of the file, at byte 60.
    bytes[60..64].copy_from_slice(&99u32.to_be_bytes());
    std::fs::write(&database, &bytes).expect("the folder is ours");
    let ended = shell.run(&["accounts", "list"]);
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("has version 99, this program knows up to 5"), "{ended:?}");
    let ended = shell.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("has version 99"), "{ended:?}");
    std::fs::write(&database, b"this is no database, whatever its name says").expect("ours");
    let ended = shell.run(&["accounts", "list"]);
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("damaged or no database"), "{ended:?}");
}
