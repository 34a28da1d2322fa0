//! Error bodies, which have no schema: what is kept of them is for people, and clean.

use amigo_operator::amigo::{Error, Operation};

use crate::clean::{KEY, TOKEN, assert_clean, assert_no_secret};

const SEEDS: &[&[u8]] = &[
    b"",
    br#"{"detail": "no such tool"}"#,
    br#"{"detail": "bad key canary-key\"\\<1> and token canary-token.1.2"}"#,
    br#"{"detail": {"seen": "canary-key\"\\<1>", "n": [1, 2.5, null]}}"#,
    br#"{"message": "too long", "error": 1}"#,
    br#"{"detail": [{"loc": ["body", "tags", 3], "msg": "bad", "input": "canary-token.1.2"}, {"msg": 1}]}"#,
    br#"{"detail": [{"loc": ["canary-key\"\\<1>"], "msg": "canary-token.1.2", "type": "x"}]}"#,
    br#"["canary-key\"\\<1>"]"#,
    b"<html>\x1b[31m canary-key\"\\<1> \xe2\x80\xae gateway\0</html>",
    b"canary-key\\\"\\\\<1> unfinished {\"detail\": \"",
    b"\xff\xfe\x00",
];

fn property(body: &[u8]) {
    for operation in Operation::ALL {
        for status in [400, 403, 404, 422, 500] {
            let error = Error::from_status(operation, status, None, body, &[KEY, TOKEN]);
            assert_clean(&error.to_string(), 800);
            assert_no_secret(&format!("{error:?}"));
            if matches!(operation, Operation::ModifyVariables | Operation::SignIn) {
                assert_eq!(error, Error::from_status(operation, status, None, b"", &[]), "something is kept");
            }
        }
    }
    let words = |body: &[u8]| match Error::from_status(Operation::CreateTool, 400, None, body, &[KEY, TOKEN]) {
        Error::Status { text, .. } => text,
        other => panic!("{other:?}"),
    };
    // What was cleaned once stays as it is.
    if let Some(text) = words(body) {
        let again = serde_json::to_vec(&serde_json::json!({"detail": text})).unwrap();
        assert_eq!(words(&again), Some(text));
    }
}

target!(
    /// Clean, short, without secrets; nothing of the calls that carry secrets; cleaning twice changes nothing.
    any_error_body, 3_000, SEEDS, property
);
