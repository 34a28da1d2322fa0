//! Reads: gathered, shared, whole, and in their turn.

use futures::future::join_all;

use super::*;

#[tokio::test(start_paused = true)]
async fn fifty_tools_are_read_with_three_calls() {
    let world = World::new(|sent, _| by_ids(&sent.line, 45));
    let client = world.client();
    let ids: Vec<String> = (0..50).chain(0..50).map(id).collect();
    let found = join_all(ids.iter().map(|id| client.tool(id, Class::Interactive))).await;
    for (n, tool) in found.into_iter().enumerate() {
        let name = tool.unwrap().map(|tool| tool.name);
        assert_eq!(name, (n % 50 < 45).then(|| format!("tool_{}", n % 50)));
    }
    let lists: Vec<_> = world.sent().into_iter().filter(|sent| sent.line.starts_with("GET")).collect();
    // What the first reads do not find is looked for among the deprecated ones.
    assert_eq!(lists.iter().filter(|sent| sent.line.contains("deprecated=true")).count(), 1);
    assert_eq!(lists.len(), 4);
    assert!(lists.iter().all(|sent| sent.line.matches("id=").count() <= 20 && sent.line.contains("limit=20")));
}

#[tokio::test(start_paused = true)]
async fn a_read_serves_only_those_who_asked_before_it_began() {
    let world = World::new(|sent, _| by_ids(&sent.line, 9));
    let client = world.client();
    client.sign_in().await.unwrap();
    let late = async |wait| {
        tokio::time::sleep(Duration::from_millis(wait)).await;
        client.tool(&id(1), Class::Interactive).await.unwrap();
    };
    tokio::join!(late(0), late(10), late(60));
    assert_eq!(world.count("GET"), 2);
}

#[tokio::test(start_paused = true)]
async fn versions_are_read_whole_or_not_at_all() {
    for (shifts, calls) in [(0, 3), (1, 5), (9, 6)] {
        let world = World::new(move |sent, before| {
            let (_, query) = sent.line.split_once("/version")?;
            let offset = number_of(query, "continuation_token");
            // A version that comes in between moves the last of the first page to the second.
            let shifted = usize::from(offset == 50 && before < shifts);
            let entries: Vec<_> = (offset - shifted..(offset + 50).min(120)).map(version).collect();
            Some(page("tool_versions", &entries, (offset < 100).then_some(offset + 50)))
        });
        let client = world.client();
        let tool = id(1);
        let (versions, same) =
            tokio::join!(client.versions(&tool, Class::Interactive), client.versions(&tool, Class::Resync));
        assert_eq!(versions, same);
        assert_eq!(world.count("GET"), calls, "{shifts}");
        if shifts < 9 {
            assert_eq!(versions.unwrap().len(), 120);
        } else {
            assert!(matches!(versions, Err(Error::Unreadable { .. })), "a list that never holds still is no answer");
        }
        assert!(world.sent()[1].line.contains("sort_by=%2Bversion.major&sort_by=%2Bversion.minor"));
    }
}

/// A service with so many tools.
fn many_tools(count: usize) -> impl Fn(&Sent, usize) -> Option<Reply> {
    move |sent, _| {
        let query = sent.line.strip_prefix("GET /tool/")?;
        let offset = number_of(query, "continuation_token");
        let entries: Vec<_> = (offset..(offset + 20).min(count)).map(tool).collect();
        Some(page("tools", &entries, (offset + 20 < count).then_some(offset + 20)))
    }
}

#[tokio::test(start_paused = true)]
async fn many_names_are_found_by_one_sweep_that_began_after_they_were_asked_for() {
    let world = World::new(many_tools(45));
    let client = world.client();
    client.sign_in().await.unwrap();
    let names = ["tool_0", "tool_44", "tool_45"];
    let found = join_all(names.map(|name| client.tool_by_name(name, Class::Interactive))).await;
    assert_eq!(found.into_iter().map(|tool| tool.unwrap().is_some()).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(world.count("GET"), 3);
    let late = async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        client.tool_by_name("tool_1", Class::Interactive).await.unwrap()
    };
    let (early, late) = tokio::join!(client.tool_by_name("tool_1", Class::Interactive), late);
    assert_eq!(early.unwrap(), late);
    assert_eq!(world.count("GET"), 9);
}

#[tokio::test(start_paused = true)]
async fn a_sweep_of_more_pages_than_calls_a_minute_ends() {
    let world = World::new(many_tools(3000));
    let client = world.client();
    let ids: Vec<_> = (0..80).map(id).collect();
    let readers = join_all(ids.iter().map(|id| client.tool(id, Class::Interactive)));
    let (found, _) = tokio::join!(client.tool_by_name("tool_2999", Class::Resync), readers);
    assert!(found.unwrap().is_some());
    let times: Vec<_> = world.sent().into_iter().filter(|s| s.line.starts_with("GET")).map(|s| s.at).collect();
    for (n, first) in times.iter().enumerate() {
        assert!(times[n..].iter().filter(|at| **at < *first + Duration::from_secs(60)).count() <= 50);
    }
    assert!(times.last().unwrap() < &Duration::from_secs(260), "{:?}", times.last());
}

#[tokio::test(start_paused = true)]
async fn a_read_behind_a_long_queue_says_so() {
    let world = World::new(|sent, _| sent.line.contains("/version").then(|| page("tool_versions", &[], None)));
    let client = world.client();
    client.versions(&id(999), Class::Resync).await.unwrap();
    let reads = (0..200).map(id).map(|id| {
        let client = client.clone();
        async move { client.versions(&id, Class::Resync).await }
    });
    let results = join_all(reads).await;
    let (served, told): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!(served.len(), 50, "fifty in a minute, and the first of those who wait");
    assert!(told.iter().all(|result| matches!(result, Err(Error::Queued { .. }))));
    assert_eq!(world.count("GET"), 51);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_pages_for_ever_is_not_followed() {
    let world = World::new(|sent, _| {
        let tools = sent.line.starts_with("GET").then(|| page("tools", &[tool(1)], Some(0)));
        if sent.line.contains("/version") { Some(page("tool_versions", &[], Some(0))) } else { tools }
    });
    let client = world.client();
    assert!(matches!(client.tool_by_name("x", Class::Interactive).await, Err(Error::Unreadable { .. })));
    assert!(matches!(client.versions(&id(1), Class::Interactive).await, Err(Error::Unreadable { .. })));
}

#[tokio::test(start_paused = true)]
async fn the_tag_filter_is_not_trusted() {
    let world = World::new(|sent, _| {
        let tagged = |n: usize, value: Value| {
            let mut tool = tool(n);
            tool["tags"] = json!([{"key": "kubernetes_owner", "value": value}]);
            tool
        };
        let mut deprecated = tagged(4, json!("me"));
        deprecated["deprecated"] = json!(true);
        let tools = [tagged(1, json!(" me ")), tagged(2, json!("you")), tagged(3, json!(null)), deprecated, tool(5)];
        sent.line.starts_with("GET").then(|| page("tools", &tools, None))
    });
    let client = world.client();
    let found = client.tools_with_tag("kubernetes_owner", "me", Class::Recovery).await.unwrap();
    assert_eq!(found.into_iter().map(|tool| tool.id).collect::<Vec<_>>(), [id(1)]);
    assert!(world.sent()[1].line.contains("tag=kubernetes_owner%3Ame"));
}
