//! Lines of the log: whatever stands in a field, a line is one line without a character that moves a cursor,
//! and as JSON it is read back as what it says.
#![no_main]

use keyward::observe::log::fuzzing::lines;
use keyward::observe::log::{RequestLine, Whose};
use keyward_core::account::Environment;
use keyward_core::id::{AccountId, KeyId};
use keyward_core::time::UnixMillis;
use keyward_fuzz_door::pieces::Pieces;
use keyward_tower::TraceId;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut pieces = Pieces::of(data);
    let how = pieces.byte();
    let client = pieces.address();
    let micros = pieces.number();
    let cause = String::from_utf8_lossy(pieces.rest()).into_owned();
    let line = RequestLine {
        at: UnixMillis(1_704_067_200_000),
        request_id: "req_00000000000000000000",
        trace: (how & 1 != 0).then_some(TraceId::from_bytes([how; 16])),
        method: "GET",
        route: "/v3/contacts/{id}",
        status: 500,
        reason: (how & 1 != 0).then_some("key_unknown"),
        code: (how & 2 != 0).then_some("INTERNAL_001"),
        whose: (how & 4 != 0).then_some(Whose {
            key: KeyId::from_bytes([how; 16]),
            account: AccountId::from_bytes([how; 16]),
            environment: if how & 8 == 0 { Environment::Production } else { Environment::Test },
        }),
        client: (how & 32 != 0).then_some(client),
        micros,
        is_from_browser: how & 64 != 0,
        cause: (how & 128 == 0).then(|| cause.clone()),
    };
    let (readable, json) = lines(&line);
    for text in [&readable, &json] {
        let line = text.strip_suffix('\n').expect("it ends");
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
    let value: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
    assert_eq!(value["micros"], micros);
    let whose = line.whose.map(|whose| whose.key.to_string());
    assert_eq!(value["key_id"].as_str(), whose.as_deref());
    let whose = line.whose.map(|whose| whose.account.to_string());
    assert_eq!(value["account_id"].as_str(), whose.as_deref());
    assert_eq!(value["environment"].as_str(), line.whose.map(|whose| whose.environment.as_str()));
    assert_eq!(value["cause"].as_str(), line.cause.as_deref());
    assert_eq!(value["client"].as_str(), line.client.map(|c| c.to_string()).as_deref());
});
