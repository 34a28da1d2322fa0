//! Writes: sent once, by the leader, with a permit of their own.

use super::*;

#[tokio::test(start_paused = true)]
async fn what_is_no_id_is_not_sent() {
    let world = World::new(|_, _| Some(Reply::Json(204, json!({}))));
    let client = world.client();
    for bad in ["", "..", "weather", "0123456789ABCDEF01234567", "../../../user/signin_with_"] {
        let specifier = Specifier::exact(VersionNumber::new(1, 0, 0));
        let errors = [
            client.tool(bad, Class::Interactive).await.unwrap_err(),
            client.versions(bad, Class::Interactive).await.unwrap_err(),
            client.list_versions(bad, &ListVersions::default(), Class::Interactive).await.unwrap_err(),
            client.modify_tool(permit(&client, Operation::ModifyTool), bad, &ModifyTool::default()).await.unwrap_err(),
            client.deprecate_tool(permit(&client, Operation::DeprecateTool), bad).await.unwrap_err(),
            client.publish(permit(&client, Operation::PublishVersion), bad, &a_publish()).await.unwrap_err(),
            client
                .modify_variables(permit(&client, Operation::ModifyVariables), bad, &VariablesDelta::default())
                .await
                .unwrap_err(),
            client
                .deprecate_versions(permit(&client, Operation::DeprecateVersions), bad, &specifier)
                .await
                .unwrap_err(),
        ];
        assert!(errors.iter().all(|error| matches!(error, Error::NotSent(_))), "{errors:?}");
    }
    assert_eq!(world.sent().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn only_the_leader_writes() {
    let world = World::new(|_, _| None);
    let client = world.client();
    let tool = id(1);
    let write = client.deprecate_tool(permit(&client, Operation::DeprecateTool), &tool);
    let lose = async {
        // While the write waits for its token.
        tokio::time::sleep(Duration::from_millis(50)).await;
        world.leads.store(false, Ordering::SeqCst);
    };
    let (result, ()) = tokio::join!(write, lose);
    assert_eq!(result.unwrap_err(), Error::NotLeader);
    assert_eq!(world.sent().len(), 1, "only the sign-in");
}

#[tokio::test(start_paused = true)]
async fn a_permit_is_good_for_its_call_only() {
    let world = World::new(|_, _| None);
    let client = world.client();
    let wrong = permit(&client, Operation::ModifyTool);
    assert!(matches!(client.deprecate_tool(wrong, &id(1)).await, Err(Error::NotSent(_))));
    let other = world.amigo.account(&Endpoint::parse("https://api-eu-central-1.amigo.ai").unwrap(), "acme");
    let Claim::Granted(wrong) =
        other.claim(Operation::DeprecateTool, Class::Interactive, "party", "k", Arc::new(|| {}))
    else {
        unreachable!()
    };
    assert!(matches!(client.deprecate_tool(wrong, &id(1)).await, Err(Error::NotSent(_))));
    assert_eq!(world.count("DELETE"), 0);
}

/// A service of a revision: which field it requires of a publish.
fn speaks(required: Option<&'static str>) -> impl Fn(&Sent, usize) -> Option<Reply> {
    move |sent, _| {
        let missing = sent.line.contains("/version") && required.is_some_and(|field| sent.body.get(field).is_none());
        let complaint = json!({"detail": [{"loc": ["body", required.unwrap_or("")], "msg": "Field required"}]});
        let created = sent.line.contains("/version").then(|| Reply::Json(201, json!({"new_version": "1.0.0"})));
        if missing { Some(Reply::Json(422, complaint)) } else { created }
    }
}

#[tokio::test(start_paused = true)]
async fn publishing_finds_the_revision_and_remembers_it() {
    for (required, calls, detected) in
        [(Some("branch"), 1, Revision::R202507), (Some("repo"), 2, Revision::R202509), (None, 1, Revision::R202507)]
    {
        let world = World::new(speaks(required));
        let client = world.client();
        for more in [calls, 1] {
            let before = world.count("POST /tool");
            let number =
                client.publish(permit(&client, Operation::PublishVersion), &id(1), &a_publish()).await.unwrap();
            assert_eq!(number, VersionNumber::new(1, 0, 0));
            assert_eq!(world.count("POST /tool") - before, more, "{required:?}");
            assert_eq!(client.account().detected_revision(), Some(detected));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_revision_that_nobody_knows_is_told_from_a_bad_request() {
    let world = World::new(speaks(Some("organization_unit")));
    let client = world.client();
    let error = client.publish(permit(&client, Operation::PublishVersion), &id(1), &a_publish()).await.unwrap_err();
    assert_eq!(error, Error::RevisionMismatch { text: Some("Field required".into()) });
    let fields: Vec<_> = world.sent()[1..].iter().map(|sent| sent.body.as_object().unwrap().len()).collect();
    assert_eq!(fields, [3, 3, 2]);
    let set = world.client_with("key-canary", Revision::R202509);
    set.publish(permit(&client, Operation::PublishVersion), &id(1), &a_publish()).await.unwrap_err();
    assert_eq!(world.sent().last().unwrap().body["repo"], "main");
    assert_eq!(world.count("POST /tool"), 4, "a revision that is set is the only one tried");

    let bad = json!({"detail": [{"loc": ["body", "project_path"], "msg": "String should match pattern"}]});
    let world = World::new(move |sent, _| sent.line.contains("/version").then(|| Reply::Json(422, bad.clone())));
    let client = world.client();
    let error = client.publish(permit(&client, Operation::PublishVersion), &id(1), &a_publish()).await.unwrap_err();
    assert_eq!(error.status(), Some(422));
    assert_eq!(world.count("POST /tool"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_never_sent_again() {
    let body = CreateTool { name: "a".into(), description: "b".into(), tags: Tags::new() };
    let delta = VariablesDelta {
        inserts: vec![InsertVariable { name: "A".into(), value: "value-canary".to_owned().into(), is_secret: true }],
        ..VariablesDelta::default()
    };
    let specifier = Specifier::exact(VersionNumber::new(1, 2, 3));
    for (fault, effect) in [(0, Effect::Unknown), (1, Effect::None), (2, Effect::Unknown), (3, Effect::Unknown)] {
        let world = World::new(move |sent, _| match fault {
            _ if sent.line == SIGN_IN => None,
            0 => Some(Reply::Lost),
            1 => Some(Reply::NotSent),
            2 => Some(Reply::Late(10_000)),
            _ => Some(Reply::Json(503, json!({"detail": "value-canary"}))),
        });
        let client = world.client();
        let permit = |operation| permit(&client, operation);
        let errors = [
            client.create_tool(permit(Operation::CreateTool), &body).await.unwrap_err(),
            client.modify_tool(permit(Operation::ModifyTool), &id(1), &ModifyTool::default()).await.unwrap_err(),
            client.modify_variables(permit(Operation::ModifyVariables), &id(1), &delta).await.unwrap_err(),
            client.publish(permit(Operation::PublishVersion), &id(1), &a_publish()).await.unwrap_err(),
            client.deprecate_versions(permit(Operation::DeprecateVersions), &id(1), &specifier).await.unwrap_err(),
            client.deprecate_tool(permit(Operation::DeprecateTool), &id(1)).await.unwrap_err(),
        ];
        assert!(errors.iter().all(|error| error.effect() == effect), "{fault}: {errors:?}");
        assert!(!format!("{errors:?}").contains("canary"));
        let lines: Vec<_> = world.sent().into_iter().map(|sent| sent.line).filter(|line| line != SIGN_IN).collect();
        let tool = id(1);
        let expected = [
            "POST /tool/".to_owned(),
            format!("POST /tool/{tool}"),
            format!("POST /tool/{tool}/envvar"),
            format!("POST /tool/{tool}/version"),
            format!("DELETE /tool/{tool}/version/%3D%3D1.2.3"),
            format!("DELETE /tool/{tool}"),
        ];
        assert_eq!(lines, expected, "each once, and nothing else");
    }
}

#[tokio::test(start_paused = true)]
async fn a_success_that_cannot_be_read_may_have_had_its_effect() {
    for answer in
        [json!({}), json!({"id": "../x"}), json!({"id": 7}), json!("no object"), json!({"new_version": "1.0"})]
    {
        let world = World::new(move |sent, _| (sent.line != SIGN_IN).then(|| Reply::Json(201, answer.clone())));
        let client = world.client();
        let body = CreateTool { name: "a".into(), description: "b".into(), tags: Tags::new() };
        let created = client.create_tool(permit(&client, Operation::CreateTool), &body).await.unwrap_err();
        let published =
            client.publish(permit(&client, Operation::PublishVersion), &id(1), &a_publish()).await.unwrap_err();
        assert_eq!((created.effect(), published.effect()), (Effect::Unknown, Effect::Unknown));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_given_up_still_counts() {
    let world = World::new(|sent, calls| match sent.line.as_str() {
        SIGN_IN => None,
        _ if calls < 2 => Some(Reply::Json(201, json!({"new_version": "1.0.0"}))),
        _ => Some(Reply::Late(1)),
    });
    let client = world.client();
    let (tool, request) = (id(1), a_publish());
    let first = client.publish(permit(&client, Operation::PublishVersion), &tool, &request).await;
    assert!(first.is_ok(), "{first:?}");
    for _ in 0..9 {
        let publish = client.publish(permit(&client, Operation::PublishVersion), &tool, &request);
        assert!(tokio::time::timeout(Duration::from_millis(50), publish).await.is_err());
    }
    for (key, least) in [("the slot of the one that was answered", 59), ("the slot of one that was given up", 69)] {
        let claim =
            client.account().claim(Operation::PublishVersion, Class::Interactive, "party", key, Arc::new(|| {}));
        let Claim::Queued { estimate } = claim else { panic!("{claim:?}") };
        assert!(estimate > Duration::from_secs(least), "{key}: {estimate:?}");
    }
}
