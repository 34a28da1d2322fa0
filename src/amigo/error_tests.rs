//! Tables for the classification and the cleaning of errors.

use super::*;

const REFUSED: Effect = Effect::None;

fn of_status(operation: Operation, status: u16, body: &str) -> Error {
    Error::from_status(operation, status, None, body.as_bytes(), &[])
}

#[test]
fn every_status_is_classified() {
    for operation in Operation::ALL {
        for status in 300..600u16 {
            let error = of_status(operation, status, "");
            let certain = (400..500).contains(&status) && status != 408;
            let effect = if certain || !operation.writes() { Effect::None } else { Effect::Unknown };
            assert_eq!(error.effect(), effect, "{operation:?} {status}");
            let own = (operation != Operation::SignIn).then_some(status);
            assert_eq!(error.status(), own, "{operation:?} {status}");
            assert_eq!(error.operation(), Some(operation), "{operation:?} {status}");
            assert!(error.label().len() <= 3, "{operation:?} {status}");
        }
    }
}

#[test]
fn only_what_never_left_or_cannot_write_is_certain_to_have_had_no_effect() {
    for operation in Operation::ALL {
        let expected = if operation.writes() { Effect::Unknown } else { Effect::None };
        let lost = Error::from_transport(operation, TransportError::Unknown("reset".into()));
        let unreadable = Error::Unreadable { operation, text: String::new() };
        let not_sent = Error::from_transport(operation, TransportError::NotSent("refused".into()));
        assert_eq!((lost.effect(), unreadable.effect(), not_sent.effect()), (expected, expected, REFUSED));
        assert_eq!((lost.status(), unreadable.status(), not_sent.status()), (None, None, None));
    }
    for error in [
        Error::NotLeader,
        Error::CredentialsRefused {},
        Error::RevisionMismatch { text: None },
        Error::Queued { operation: Operation::ListTools, estimate: Duration::ZERO },
    ] {
        assert_eq!(error.effect(), REFUSED, "{error}");
    }
}

#[test]
fn the_service_s_words_are_kept_clean_and_short() {
    for (body, words) in [
        (r#"{"detail": "no such\n\ttool \u0000\u001b[31m"}"#, "no such tool [31m"),
        (r#"{"detail": {"reason": "x"}}"#, r#"{"reason":"x"}"#),
        (r#"{"message": "too long"}"#, "too long"),
        (r#"{"error": "bad"}"#, "bad"),
        ("<html>\u{202e}gateway</html>", "<html> gateway</html>"),
        (r#"{"detail": [{"loc": ["body", "tags", 3], "msg": "bad", "input": "canary"}]}"#, "bad"),
    ] {
        let error = of_status(Operation::CreateTool, 400, body);
        assert!(error.to_string().ends_with(&format!(": {words}")), "{error}");
        assert!(!format!("{error:?}").contains("canary"));
    }
    for body in ["", "\u{200b}", r#"{"detail": ""}"#, r#"{"detail": []}"#] {
        let Error::Status { text, field, .. } = of_status(Operation::CreateTool, 400, body) else { unreachable!() };
        assert_eq!((text, field), (None, None), "{body:?}");
    }
}

#[test]
fn a_long_answer_is_cut_between_characters() {
    for body in ["x".repeat(1_000_000), "ü€🦀".repeat(100_000), format!(r#"{{"detail": "{}"}}"#, "é".repeat(5_000))]
    {
        let Error::Status { text: Some(text), .. } = of_status(Operation::CreateTool, 400, &body) else {
            unreachable!()
        };
        assert_eq!(text.chars().count(), TEXT_LIMIT);
    }
    assert!(Error::from_status(Operation::CreateTool, 400, None, &[0xff; 100], &[]).status().is_some());
}

#[test]
fn the_field_that_is_complained_about_is_named() {
    let body = r#"{"detail": [{"loc": ["body", "description"], "msg": "too\nshort", "input": "canary"}]}"#;
    let text = of_status(Operation::CreateTool, 422, body).to_string();
    assert!(text.ends_with("with 422 for field description: too short"), "{text}");
}

#[test]
fn known_secrets_are_masked() {
    let body = br#"{"detail": "bad key sk-12345 and token eyJ.x.y", "loc": 1}"#;
    let error = Error::from_status(Operation::CreateTool, 400, None, body, &["sk-12345", "eyJ.x.y"]);
    assert!(error.to_string().ends_with("bad key *** and token ***"), "{error}");
    let error = Error::from_status(Operation::CreateTool, 400, None, b"an abc in abcd", &["abc", "abcd"]);
    assert!(error.to_string().ends_with("an abc in ***"), "what is as short as that occurs in any text: {error}");
}

#[test]
fn a_secret_that_is_cut_short_is_masked_too() {
    for (shown, told) in [(8, "bad key ***"), (7, "bad key"), (4, "bad key"), (3, "bad key sk-"), (0, "bad key")] {
        let blank = " ".repeat(BODY_LIMIT - "bad key".len() - shown);
        let body = format!("bad key{blank}sk-12345 and more");
        let error = Error::from_status(Operation::CreateTool, 400, None, body.as_bytes(), &["sk-12345", "other"]);
        assert!(error.to_string().ends_with(&format!(": {told}")), "{shown}: {error}");
    }
}

#[test]
fn a_complaint_is_read_behind_a_long_echo() {
    let body =
        format!(r#"{{"detail": [{{"input": "{}", "loc": ["body", "tags"], "msg": "bad"}}]}}"#, "x".repeat(60_000));
    let text = of_status(Operation::CreateTool, 400, &body).to_string();
    assert!(text.ends_with("for field tags: bad"), "{text}");
}

#[test]
fn every_error_has_its_label_in_the_metrics() {
    let operation = Operation::PublishVersion;
    let table = [
        (Error::NotLeader, "not_leader"),
        (Error::Queued { operation, estimate: Duration::ZERO }, "queued"),
        (Error::CredentialsRefused {}, "401"),
        (Error::NotSent("refused".into()), "not_sent"),
        (Error::Unknown { operation, text: "reset".into() }, "no_answer"),
        (Error::Unreadable { operation, text: "line 1".into() }, "unreadable"),
        (Error::RevisionMismatch { text: None }, "revision_mismatch"),
    ];
    for (error, label) in table {
        assert_eq!(error.label(), label);
    }
    let own = [400, 403, 404, 409, 422, 429, 503].map(|status: u16| (status, status.to_string()));
    let others = [(302, "3xx"), (401, "4xx"), (408, "4xx"), (418, "4xx"), (500, "5xx"), (502, "5xx"), (599, "5xx")];
    for (status, label) in own.into_iter().chain(others.map(|(status, label)| (status, label.to_owned()))) {
        assert_eq!(of_status(operation, status, "").label(), label, "{status}");
    }
}

#[test]
fn nothing_of_the_variables_call_is_kept() {
    for operation in [Operation::ModifyVariables, Operation::SignIn] {
        for status in 300..600 {
            let error = of_status(operation, status, r#"{"detail": [{"loc": ["canary"], "msg": "canary"}]}"#);
            assert!(!format!("{error} {error:?}").contains("canary"), "{status}");
        }
    }
}

#[test]
fn only_a_service_that_is_away_or_does_not_work_is_at_fault_itself() {
    let operation = Operation::ListTools;
    let table = [
        (Error::NotSent("refused".into()), true),
        (Error::Unknown { operation, text: "reset".into() }, true),
        (Error::Maintenance { operation }, true),
        (Error::NotLeader, false),
        (Error::Queued { operation, estimate: Duration::ZERO }, false),
        (Error::CredentialsRefused {}, false),
        (Error::Unreadable { operation, text: "line 1".into() }, false),
        (Error::RevisionMismatch { text: None }, false),
    ];
    for (error, expected) in table {
        assert_eq!(error.is_of_the_service(), expected, "{error:?}");
    }
    for (status, expected) in [(302, false), (404, false), (429, false), (500, true), (503, true), (599, true)] {
        assert_eq!(of_status(operation, status, "").is_of_the_service(), expected, "{status}");
    }
}
