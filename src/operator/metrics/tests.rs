use std::collections::BTreeSet;

use super::*;
use crate::amigo::Observer as _;
use crate::kubernetes::queue::Meter as _;

/// The value of a sample; `None` when it is not there.
fn sample(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned))
}

#[tokio::test(start_paused = true)]
async fn reconciles_are_counted_under_the_names_that_dashboards_know() {
    let metrics = Metrics::default();
    for ended in [Ended::Success, Ended::Again, Ended::Again, Ended::Failed, Ended::Panicked] {
        metrics.reconcile_started("Tool").ended(ended);
    }
    metrics.reconcile_stalled("Tool");
    let under_way = metrics.reconcile_started("ToolVersion");
    tokio::time::advance(Duration::from_secs(7)).await;
    let queue = metrics.queue("Tool");
    queue.added();
    queue.started(Duration::from_secs(2));
    queue.waiting(3);
    let text = metrics.encode();
    for (name, value) in [
        ("controller_runtime_reconcile_total{controller=\"tool\",result=\"success\"}", "1"),
        ("controller_runtime_reconcile_total{controller=\"tool\",result=\"requeue_after\"}", "2"),
        ("controller_runtime_reconcile_total{controller=\"tool\",result=\"error\"}", "2"),
        ("controller_runtime_reconcile_errors_total{controller=\"tool\"}", "2"),
        ("controller_runtime_reconcile_errors_total{controller=\"organization\"}", "0"),
        ("controller_runtime_terminal_reconcile_errors_total{controller=\"tool\"}", "1"),
        ("controller_runtime_reconcile_panics_total{controller=\"tool\"}", "1"),
        ("controller_runtime_reconcile_time_seconds_count{controller=\"tool\"}", "5"),
        ("controller_runtime_active_workers{controller=\"toolversion\"}", "1"),
        ("controller_runtime_max_concurrent_reconciles{controller=\"toolenvsecret\"}", "512"),
        ("workqueue_depth{name=\"tool\",controller=\"tool\"}", "3"),
        ("workqueue_adds_total{name=\"tool\",controller=\"tool\"}", "1"),
        ("workqueue_retries_total{name=\"tool\",controller=\"tool\"}", "2"),
        ("workqueue_queue_duration_seconds_sum{name=\"tool\",controller=\"tool\"}", "2.0"),
        ("workqueue_work_duration_seconds_count{name=\"tool\",controller=\"tool\"}", "5"),
        ("workqueue_unfinished_work_seconds{name=\"toolversion\",controller=\"toolversion\"}", "7.0"),
        ("workqueue_longest_running_processor_seconds{name=\"toolversion\",controller=\"toolversion\"}", "7.0"),
    ] {
        assert_eq!(sample(&text, name).as_deref(), Some(value), "{name} in\n{text}");
    }
    drop(under_way);
    let text = metrics.encode();
    let longest = "workqueue_longest_running_processor_seconds{name=\"toolversion\",controller=\"toolversion\"}";
    assert_eq!(sample(&text, longest).as_deref(), Some("0.0"));
}

#[test]
fn calls_are_counted_by_operation_and_answer_and_by_method_and_code() {
    let metrics = Metrics::default();
    metrics.call("acme", Operation::CreateTool, "unknown", Duration::from_secs(1));
    metrics.rate_limited("acme", Operation::CreateTool);
    measured::Observer::call(&metrics, &Method::PATCH, "cluster", "409", Duration::from_secs(1));
    metrics.set_leader(true);
    let text = metrics.encode();
    for name in [
        "amigo_api_requests_total{operation=\"create_tool\",code=\"unknown\"}",
        "amigo_api_rate_limited_total{operation=\"create_tool\"}",
        "rest_client_requests_total{code=\"409\",method=\"PATCH\",host=\"cluster\"}",
        "rest_client_request_duration_seconds_count{verb=\"PATCH\",host=\"cluster\"}",
        "leader_election_master_status{name=\"amigo-operator\"}",
    ] {
        assert_eq!(sample(&text, name).as_deref(), Some("1"), "{name} in\n{text}");
    }
    assert!(sample(&text, "process_resident_memory_bytes").is_some() && text.ends_with("# EOF\n"));
}

/// Prometheus sees a rise only of what it has seen before.
#[test]
fn what_alerts_wait_for_is_there_from_the_start() {
    let text = Metrics::default().encode();
    for operation in Operation::ALL {
        let name = format!("amigo_api_rate_limited_total{{operation=\"{}\"}}", operation.as_str());
        assert_eq!(sample(&text, &name).as_deref(), Some("0"));
    }
    for name in ["amigo_publish_unknown_total", "controller_runtime_reconcile_panics_total{controller=\"tool\"}"] {
        assert_eq!(sample(&text, name).as_deref(), Some("0"), "{name}");
    }
}

/// Two families of one name are refused by Prometheus.
#[test]
fn every_name_is_announced_once_with_its_help() {
    let text = Metrics::default().encode();
    let mut names = BTreeSet::new();
    for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
        let name = line.split(' ').nth(2).unwrap_or_default();
        assert!(names.insert(name), "{name} twice");
        assert!(text.contains(&format!("# HELP {name} ")), "{name} without help");
    }
    assert!(names.len() > 10, "{names:?}");
}
