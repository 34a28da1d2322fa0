//! Tokens: shared, renewed, refused, and never shown.

use futures::future::join_all;

use super::*;

#[tokio::test(start_paused = true)]
async fn many_share_one_sign_in_and_it_is_renewed_in_time() {
    let world = World::new(|sent, _| by_ids(&sent.line, 100));
    let (one, two) = (world.client(), world.client());
    join_all((0..40).map(|n| if n % 2 == 0 { one.clone() } else { two.clone() }).map(async |client: Client| {
        client.sign_in().await.unwrap();
    }))
    .await;
    assert_eq!(world.count(SIGN_IN), 1);
    let user = one.sign_in().await.unwrap();
    assert_eq!((user.user_id.as_str(), user.expires_at), ("user", at_minute(60)));
    for (minutes, sign_ins) in [(54, 1), (2, 2), (53, 2), (2, 3)] {
        tokio::time::advance(Duration::from_secs(minutes * 60)).await;
        one.tool(&id(1), Class::Resync).await.unwrap();
        assert_eq!(world.count(SIGN_IN), sign_ins);
    }
    world.client_with("other", Revision::Auto).sign_in().await.unwrap();
    assert_eq!(world.count(SIGN_IN), 4, "other credentials have a token of their own");
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_renewed_once() {
    let world = World::new(|sent, _| {
        let refuses = sent.line.starts_with("DELETE") && sent.token.contains("token0");
        refuses.then(|| Reply::Json(401, json!({}))).or(Some(Reply::Late(0)).filter(|_| sent.line != SIGN_IN))
    });
    let client = world.client();
    client.deprecate_tool(permit(&client, Operation::DeprecateTool), &id(1)).await.unwrap();
    let tokens: Vec<_> = world.sent().into_iter().map(|sent| sent.token).collect();
    assert_eq!(tokens, ["", "Bearer token0-canary", "", "Bearer token1-canary"]);
}

#[tokio::test(start_paused = true)]
async fn refused_credentials_are_left_alone_for_a_while() {
    let world = World::new(|sent, _| {
        let status = if sent.line == SIGN_IN { return None } else { 401 };
        Some(Reply::Json(status, json!({})))
    });
    let client = world.client();
    let refused = client.tool(&id(1), Class::Interactive).await.unwrap_err();
    assert_eq!(refused, Error::CredentialsRefused {});
    let sent = world.sent().len();
    assert_eq!((sent, world.count(SIGN_IN)), (4, 2));
    assert_eq!(client.sign_in().await.unwrap_err(), Error::CredentialsRefused {});
    assert_eq!(world.sent().len(), sent, "nothing is sent");
    client.forget_token();
    client.sign_in().await.unwrap();
    assert_eq!(world.count(SIGN_IN), 3);
    client.tool(&id(1), Class::Interactive).await.unwrap_err();
    tokio::time::advance(Duration::from_secs(301)).await;
    client.sign_in().await.unwrap();
}

/// A list of one key.
fn keys(key_id: &str, ends_at_minute: i64) -> Reply {
    let (created, expires) = (at_minute(0).to_string(), at_minute(ends_at_minute).to_string());
    Reply::Json(200, json!({"api_keys": [{"key_id": key_id, "created_at": created, "expires_at": expires}]}))
}

const KEYS: &str = "GET /organization/api_key/";

#[tokio::test(start_paused = true)]
async fn the_end_of_the_key_is_asked_for_once_a_day_and_a_failure_takes_nothing_back() {
    let world = World::new(|sent, before| {
        let answers = sent.line == KEYS;
        answers
            .then(|| if before == 1 { Reply::Lost } else { keys("key-id", if before == 0 { 30_000 } else { 60_000 }) })
    });
    let client = world.client();
    let hours = |hours| tokio::time::advance(Duration::from_hours(hours));
    for (passes, anew, ends, asked) in [
        (0, false, 30_000, 1),
        (23, false, 30_000, 1),
        (1, false, 30_000, 2),
        (0, false, 30_000, 2),
        (1, false, 60_000, 3),
        (1, false, 60_000, 3),
        (1, true, 60_000, 4),
    ] {
        hours(passes).await;
        let life = client.key(anew).await.life().unwrap();
        assert_eq!((life.ends_at, world.count(KEYS)), (at_minute(ends), asked), "{passes} {anew}");
    }
    assert_eq!(world.amigo.keys().into_values().collect::<Vec<_>>(), [at_minute(60_000)]);
    drop(client);
    assert!(world.amigo.keys().is_empty(), "nobody uses it any more");
}

#[tokio::test(start_paused = true)]
async fn who_may_not_see_keys_is_not_told_and_not_refused() {
    for (reply, key) in
        [(403, Key::Untold), (401, Key::Unknown), (404, Key::Unknown), (500, Key::Unknown), (200, Key::Untold)]
    {
        let world = World::new(move |sent, _| {
            (sent.line == KEYS).then(|| if reply == 200 { keys("other", 9) } else { Reply::Json(reply, json!({})) })
        });
        let client = world.client();
        assert_eq!(client.key(false).await, key, "{reply}");
        client.sign_in().await.unwrap();
        assert_eq!(world.count(KEYS), if reply == 401 { 2 } else { 1 }, "{reply}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_at_the_key_that_hangs_holds_nothing_up() {
    let world = World::new(|sent, _| (sent.line == KEYS).then_some(Reply::Late(60)));
    let client = world.client();
    for asked in [1, 1] {
        let started = tokio::time::Instant::now();
        assert_eq!(client.key(false).await, Key::Unknown);
        assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
        assert_eq!(world.count(KEYS), asked);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_key_is_tried_once_however_many_wait() {
    let world = World::new(|_, _| Some(Reply::Json(401, json!({}))));
    let client = world.client();
    let results = join_all((0..30).map(|_| client.sign_in())).await;
    assert!(results.iter().all(|result| *result == Err(Error::CredentialsRefused {})));
    assert_eq!(world.count(SIGN_IN), 1);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_sign_in_shares_its_failure_and_a_write_was_not_made() {
    for (status, effect) in [(503, Effect::None), (500, Effect::None), (404, Effect::None)] {
        let world = World::new(move |_, _| Some(Reply::Json(status, json!({}))));
        let client = world.client();
        let results = join_all((0..30).map(|_| client.sign_in())).await;
        assert!(results.iter().all(Result::is_err));
        assert_eq!(world.count(SIGN_IN), 1, "{status}");
        let permit = permit(&client, Operation::PublishVersion);
        let error = client.publish(permit, &id(1), &a_publish()).await.unwrap_err();
        assert_eq!((error.effect(), error.status()), (effect, None), "{status}");
        assert_eq!((world.count(SIGN_IN), world.sent().len()), (2, 2), "who asks later tries again");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_cannot_be_renewed_serves_until_it_ends() {
    let world = World::new(
        |sent, before| if sent.line == SIGN_IN && before > 0 { Some(Reply::Lost) } else { by_ids(&sent.line, 9) },
    );
    let client = world.client();
    client.sign_in().await.unwrap();
    tokio::time::advance(Duration::from_secs(56 * 60)).await;
    for _ in 0..5 {
        client.tool(&id(1), Class::Interactive).await.unwrap();
    }
    assert_eq!(world.count(SIGN_IN), 2, "and the sign-in is not tried with every call");
    tokio::time::advance(Duration::from_secs(5 * 60)).await;
    client.tool(&id(1), Class::Interactive).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn nothing_shows_a_secret() {
    let world = World::new(|_, _| None);
    let client = world.client();
    client.sign_in().await.unwrap();
    let permit = permit(&client, Operation::ModifyTool);
    let shown = format!(
        "{:?} {:?} {:?} {permit:?} {:?} {:?}",
        client.session,
        client.session.credentials,
        client.account,
        client.options,
        client.sign_in().await,
    );
    assert!(!shown.contains("canary"), "{shown}");
    assert!(shown.contains("user") && shown.contains("acme"));
}

#[tokio::test(start_paused = true)]
async fn sessions_that_nobody_uses_go_from_memory() {
    let world = World::new(|sent, _| by_ids(&sent.line, 9));
    let sessions = |world: &World| world.amigo.sessions.lock().unwrap().len();
    let first = world.client_with("first", Revision::Auto);
    first.sign_in().await.unwrap();
    drop(first);
    let second = world.client_with("second", Revision::Auto);
    assert_eq!(sessions(&world), 2, "a token that lives is kept");
    tokio::time::advance(Duration::from_secs(3700)).await;
    let _third = world.client_with("third", Revision::Auto);
    assert_eq!(sessions(&world), 2);
    drop(second);
}

#[tokio::test(start_paused = true)]
async fn an_organization_is_one_segment_of_the_path() {
    let world = World::new(|_, _| None);
    let endpoint = Endpoint::parse("https://api.amigo.ai").unwrap();
    for name in ["..", ".", ""] {
        let account = world.amigo.account(&endpoint, name);
        let client = world.client();
        let client = Client { account, ..client };
        assert!(matches!(client.sign_in().await, Err(Error::NotSent(_))), "{name:?}");
    }
    assert_eq!(world.sent().len(), 0);
}
