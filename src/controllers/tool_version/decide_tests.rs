//! Tables for the decision on a ToolVersion.

use super::*;
use crate::amigo::types::Creator;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

const NOW: i64 = 1_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn number(text: &str) -> VersionNumber {
    text.parse().unwrap()
}

fn exactly(text: &str) -> Wanted {
    Wanted::Version(number(text))
}

fn remote(text: &str) -> RemoteVersion {
    RemoteVersion {
        project_directory: Some("tools/weather".into()),
        creator: Some(Creator { user_id: "me".into(), user_org_id: "acme".into() }),
        created_at: Some(at(NOW - 10)),
        ..RemoteVersion::for_tests(number(text))
    }
}

fn age(seconds: i64, name: &str) -> Age {
    (Some(Time(at(seconds))), "travel".into(), name.into(), name.into())
}

fn sibling(name: &str, wanted: Wanted) -> Sibling {
    Sibling {
        name: name.into(),
        age: age(NOW - 50, name),
        wanted: Some(wanted),
        version_id: None,
        publishing: false,
        active: true,
        created: Some(at(NOW - 50)),
    }
}

fn intent(known: &[&str], expected: &str) -> Intent {
    Intent {
        started: at(NOW - 60),
        known: known.iter().map(|text| number(text)).collect(),
        expected: Some(number(expected)),
        user_id: Some("me".into()),
    }
}

/// A situation to vary: an object of 100 s ago that wants a version of a tool without any.
struct Given {
    wanted: Wanted,
    versions: Vec<RemoteVersion>,
    siblings: Vec<Sibling>,
    intent: Option<Intent>,
    flight: Flight,
    version_id: Option<String>,
    variables: Option<&'static str>,
    refused: bool,
    created: i64,
    now: i64,
}

impl Given {
    fn wants(wanted: Wanted) -> Self {
        Self {
            wanted,
            versions: vec![],
            siblings: vec![],
            intent: None,
            flight: Flight::Unknown,
            version_id: None,
            variables: None,
            refused: false,
            created: NOW - 100,
            now: NOW,
        }
    }

    fn versions(mut self, versions: &[&str]) -> Self {
        self.versions = versions.iter().map(|text| remote(text)).collect();
        self
    }

    fn decide(&self) -> Plan {
        decide(&Situation {
            wanted: self.wanted,
            project_path: "tools/weather",
            age: age(self.created, "self"),
            created: Some(at(self.created)),
            version_id: self.version_id.as_deref(),
            intent: self.intent.as_ref(),
            flight: self.flight,
            publish_timeout: Duration::from_secs(900),
            versions: &self.versions,
            siblings: &self.siblings,
            variables: self.variables,
            refused: self.refused,
            now: at(self.now),
        })
    }
}

fn reason(plan: &Plan) -> Option<Reason> {
    match plan {
        Plan::End(outcome) => outcome.verdict().map(|v| v.reason),
        _ => None,
    }
}

fn publishes(bump: BumpType, expected: &str) -> Plan {
    Plan::Publish { bump, expected: number(expected) }
}

#[test]
fn the_bump_follows_from_the_highest_version() {
    use BumpType::{Major, Minor, Patch};
    let table: &[(&[&str], &str, Option<BumpType>)] = &[
        (&[], "1.0.0", Some(Major)),
        (&[], "0.1.0", None),
        (&[], "2.0.0", None),
        (&["1.0.0"], "1.0.1", Some(Patch)),
        (&["1.0.0"], "1.1.0", Some(Minor)),
        (&["1.0.0"], "2.0.0", Some(Major)),
        (&["1.0.0"], "1.0.2", None),
        (&["1.0.0"], "1.1.1", None),
        (&["2.3.4", "1.0.0"], "1.0.1", None),
        (&["2.3.4", "1.0.0"], "2.4.0", Some(Minor)),
    ];
    for (versions, wanted, bump) in table {
        let plan = Given::wants(exactly(wanted)).versions(versions).decide();
        match bump {
            Some(bump) => assert_eq!(plan, publishes(*bump, wanted), "{versions:?} {wanted}"),
            None => assert_eq!(reason(&plan), Some(Reason::VersionUnreachable), "{versions:?} {wanted}"),
        }
    }
}

#[test]
fn an_unreachable_version_is_told_what_is_legal() {
    let Plan::End(Outcome::Stalled { message, .. }) = Given::wants(exactly("3.0.0")).versions(&["1.2.3"]).decide()
    else {
        panic!("must be stalled")
    };
    assert!(message.contains("1.2.4, 1.3.0, 2.0.0"), "{message}");
}

#[test]
fn deprecated_versions_count_for_the_number() {
    let mut given = Given::wants(exactly("1.2.0")).versions(&["1.0.0", "1.1.0"]);
    given.versions[1].deprecated = true;
    assert_eq!(given.decide(), publishes(BumpType::Minor, "1.2.0"));
}

#[test]
fn an_existing_version_of_the_same_path_is_claimed_whoever_made_it() {
    let mut given = Given::wants(exactly("1.0.0")).versions(&["1.0.0"]);
    given.versions[0].creator = Some(Creator { user_id: "somebody".into(), user_org_id: String::new() });
    assert_eq!(given.decide(), Plan::Claim(given.versions[0].clone()));
    given.versions[0].project_directory = Some("tools/other".into());
    assert_eq!(reason(&given.decide()), Some(Reason::VersionTaken));
    given.versions[0].project_directory = None;
    assert!(matches!(given.decide(), Plan::Claim(_)));
}

#[test]
fn of_two_objects_for_one_version_the_younger_says_so() {
    for versions in [&[][..], &["1.0.0"][..]] {
        let mut given = Given::wants(exactly("1.0.0")).versions(versions);
        given.siblings = vec![Sibling { age: age(NOW - 500, "old"), ..sibling("old", exactly("1.0.0")) }];
        assert_eq!(reason(&given.decide()), Some(Reason::VersionTaken));
        given.siblings[0].age = age(NOW - 1, "young");
        let expected = match versions {
            [] => publishes(BumpType::Major, "1.0.0"),
            _ => Plan::Claim(remote("1.0.0")),
        };
        assert_eq!(given.decide(), expected, "the older waits for nobody");
    }
}

#[test]
fn unpublished_versions_go_in_ascending_order() {
    let order = |wanted: Wanted, other: Sibling| {
        let mut given = Given::wants(wanted).versions(&["1.0.0"]);
        given.siblings = vec![other];
        reason(&given.decide()) == Some(Reason::VersionPending)
    };
    let patch = Wanted::Bump(BumpType::Patch);
    assert!(order(exactly("2.0.0"), sibling("o", exactly("1.0.1"))));
    assert!(order(exactly("3.0.0"), sibling("o", exactly("2.0.0"))), "reachable once the other is there");
    assert!(!order(exactly("1.0.1"), sibling("o", exactly("2.0.0"))));
    assert!(!order(exactly("2.0.0"), Sibling { active: false, ..sibling("o", exactly("1.0.1")) }));
    assert!(!order(
        exactly("2.0.0"),
        Sibling { version_id: Some("id-1.0.0".into()), ..sibling("o", exactly("1.0.1")) }
    ));
    assert!(order(patch, sibling("o", exactly("1.0.1"))));
    assert!(!order(exactly("1.0.1"), sibling("o", patch)));
    assert!(order(patch, Sibling { age: age(NOW - 500, "o"), ..sibling("o", patch) }));
    assert!(!order(patch, Sibling { age: age(NOW - 50, "o"), ..sibling("o", patch) }));
    assert!(order(exactly("1.0.1"), Sibling { publishing: true, active: false, ..sibling("o", exactly("2.0.0")) }));
}

#[test]
fn what_is_applied_together_is_waited_for() {
    let mut given = Given::wants(exactly("2.0.0")).versions(&["1.0.0"]);
    given.created = NOW - 1;
    assert_eq!(reason(&given.decide()), Some(Reason::Progressing));
    given.created = NOW - 5;
    assert_eq!(given.decide(), publishes(BumpType::Major, "2.0.0"));
    given.siblings = vec![Sibling { created: Some(at(NOW - 2)), ..sibling("o", exactly("2.1.0")) }];
    assert_eq!(reason(&given.decide()), Some(Reason::Progressing));
    for (active, version_id) in [(false, None), (true, Some("id-1.0.0")), (false, Some("id-1.0.0"))] {
        given.siblings[0].active = active;
        given.siblings[0].version_id = version_id.map(str::to_owned);
        assert_eq!(given.decide(), publishes(BumpType::Major, "2.0.0"), "nothing comes of {active} {version_id:?}");
    }
    for (wanted, versions, settles) in
        [("1.0.0", &[][..], 2), ("1.0.1", &["1.0.0"], 2), ("1.1.0", &["1.0.0"], 5), ("2.0.0", &["1.0.0"], 5)]
    {
        let mut next = Given::wants(exactly(wanted)).versions(versions);
        for (age, settled) in [(settles - 1, false), (settles, true)] {
            next.created = NOW - age;
            assert_eq!(matches!(next.decide(), Plan::Publish { .. }), settled, "{wanted} after {age} s");
        }
    }
    given.siblings.clear();
    given.created = NOW + 5;
    assert_eq!(reason(&given.decide()), Some(Reason::Progressing));
    for ahead in [6, 3600] {
        given.created = NOW + ahead;
        assert_eq!(given.decide(), publishes(BumpType::Major, "2.0.0"), "a clock that differs stops nothing");
    }
}

#[test]
fn variables_come_before_a_publish() {
    let mut given = Given::wants(exactly("1.0.0"));
    given.variables = Some("waits for ToolEnvSecret travel/weather to be synced");
    assert_eq!(reason(&given.decide()), Some(Reason::VariablesNotSynced));
}

#[test]
fn a_refused_publish_is_not_repeated_by_itself() {
    let mut given = Given::wants(exactly("1.0.0"));
    given.refused = true;
    assert!(matches!(given.decide(), Plan::End(Outcome::Unchanged { .. })));
    given = given.versions(&["1.0.0"]);
    assert!(matches!(given.decide(), Plan::Claim(_)), "somebody else published it meanwhile");
}

#[test]
fn an_open_publish_is_never_sent_again_before_its_time() {
    let mut given = Given::wants(exactly("1.0.1")).versions(&["1.0.0"]);
    given.intent = Some(intent(&["1.0.0"], "1.0.1"));
    for flight in [Flight::Running, Flight::Unknown, Flight::Confirmed(number("1.0.1"))] {
        given.flight = flight;
        assert_eq!(reason(&given.decide()), Some(Reason::Publishing), "{flight:?}");
    }
    given.now = NOW + 840;
    given.flight = Flight::Unknown;
    assert_eq!(given.decide(), publishes(BumpType::Patch, "1.0.1"), "the time has passed and the list shows nothing");
    for flight in [Flight::Running, Flight::Confirmed(number("1.0.1"))] {
        given.flight = flight;
        assert_eq!(reason(&given.decide()), Some(Reason::Publishing), "{flight:?} is no doubt, however long it takes");
    }
}

/// The message must not change while the publish runs: each change would be a write.
#[test]
fn a_running_publish_says_the_same_as_when_it_began() {
    let began = super::publishes(number("1.0.1"));
    assert_eq!(began, "publishes version 1.0.1; this takes minutes");
    let mut given = Given::wants(exactly("1.0.1")).versions(&["1.0.0"]);
    given.flight = Flight::Running;
    for (intent, message) in
        [(Some(intent(&["1.0.0"], "1.0.1")), began.as_str()), (None, "the service builds the version")]
    {
        given.intent = intent;
        assert_eq!(given.decide(), Plan::End(publishing(message)));
    }
}

#[test]
fn the_list_decides_about_a_lost_answer() {
    let mut given = Given::wants(exactly("1.0.1")).versions(&["1.0.0", "1.0.1"]);
    given.intent = Some(intent(&["1.0.0"], "1.0.1"));
    assert_eq!(given.decide(), Plan::Claim(given.versions[1].clone()));
    given.flight = Flight::Confirmed(number("1.0.1"));
    assert_eq!(given.decide(), Plan::Claim(given.versions[1].clone()));
}

#[test]
fn another_number_than_the_one_asked_for_is_not_claimed() {
    let mut given = Given::wants(exactly("1.0.1")).versions(&["1.0.0", "1.0.2"]);
    given.intent = Some(intent(&["1.0.0"], "1.0.1"));
    assert_eq!(reason(&given.decide()), Some(Reason::Publishing));
    given.flight = Flight::Confirmed(number("1.0.2"));
    assert_eq!(reason(&given.decide()), Some(Reason::VersionUnreachable), "somebody else's publish came first");
}

#[test]
fn of_several_new_versions_a_bump_claims_the_expected_one_or_else_the_lowest() {
    let mut given = Given::wants(Wanted::Bump(BumpType::Minor)).versions(&["1.0.0", "1.1.0", "1.0.2", "1.0.1"]);
    for (expected, claimed) in [("1.1.0", "1.1.0"), ("1.0.2", "1.0.2"), ("9.9.9", "1.0.1")] {
        given.intent = Some(intent(&["1.0.0"], expected));
        assert_eq!(given.decide(), Plan::Claim(remote(claimed)), "{expected}");
    }
}

#[test]
fn a_bump_claims_only_what_our_user_made_since() {
    let bump = |change: &dyn Fn(&mut Given)| {
        let mut given = Given::wants(Wanted::Bump(BumpType::Minor)).versions(&["1.0.0", "1.1.0"]);
        given.intent = Some(intent(&["1.0.0"], "1.1.0"));
        change(&mut given);
        matches!(given.decide(), Plan::Claim(version) if version.version == number("1.1.0"))
    };
    assert!(bump(&|_| ()));
    assert!(bump(&|g| g.intent.as_mut().unwrap().expected = Some(number("9.9.9"))), "another number is evidence too");
    assert!(bump(&|g| g.versions[1].created_at = None));
    assert!(bump(&|g| g.versions[1].creator = None));
    assert!(!bump(&|g| g.versions[1].creator.as_mut().unwrap().user_id = "somebody".into()));
    assert!(!bump(&|g| g.versions[1].project_directory = Some("tools/other".into())));
    assert!(bump(&|g| g.intent.as_mut().unwrap().user_id = None), "who published is not known");
    assert!(bump(&|g| g.versions[1].created_at = Some(at(NOW - 60 - 300))), "clocks may differ by five minutes");
    assert!(!bump(&|g| g.versions[1].created_at = Some(at(NOW - 60 - 301))));
    assert!(!bump(&|g| g.intent.as_mut().unwrap().known.extend([number("1.1.0")])));
    assert!(!bump(&|g| {
        g.siblings =
            vec![Sibling { version_id: Some("id-1.1.0".into()), ..sibling("o", Wanted::Bump(BumpType::Minor)) }];
    }));
}

#[test]
fn a_bump_publishes_once_and_the_first_version_is_a_major_one() {
    let mut given = Given::wants(Wanted::Bump(BumpType::Patch));
    assert_eq!(given.decide(), publishes(BumpType::Major, "1.0.0"));
    given = given.versions(&["1.0.0"]);
    assert_eq!(given.decide(), publishes(BumpType::Patch, "1.0.1"));
    given.version_id = Some("id-1.0.0".into());
    assert_eq!(given.decide(), Plan::Keep(given.versions[0].clone()));
}

#[test]
fn a_recorded_version_that_is_gone_is_not_published_again() {
    let mut given = Given::wants(exactly("1.0.0"));
    given.version_id = Some("id-1.0.0".into());
    assert_eq!(reason(&given.decide()), Some(Reason::RemoteMissing));
}

#[test]
fn a_list_that_lacks_a_version_of_another_object_is_no_ground_for_anything() {
    let has = |id: &str, active| Sibling { version_id: Some(id.into()), active, ..sibling("o", exactly("1.0.0")) };
    for (listed, other, expected) in [
        (&["1.0.0"][..], has("id-1.0.0", true), None),
        (&[], has("id-1.0.0", true), Some(Reason::ProgressingWithRetry)),
        (&["0.9.0"], has("id-1.0.0", true), Some(Reason::ProgressingWithRetry)),
        // One that is stalled for that very reason, or going, is no evidence.
        (&[], has("id-1.0.0", false), Some(Reason::VersionUnreachable)),
    ] {
        let given = Given { siblings: vec![other], ..Given::wants(exactly("1.1.0")).versions(listed) };
        assert_eq!(reason(&given.decide()), expected, "{listed:?}");
    }
}
