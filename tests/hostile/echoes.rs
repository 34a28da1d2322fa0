//! A service whose errors hold what must not be read: the key, values of variables, and characters that change how a page or
//! a terminal shows what is around them. That no secret is anywhere is checked at the end of every world.

use amigo_operator::sandbox::{Effect, Fault};
use serde_json::{Value, json};

use super::support::manifests::{acme, all, env_from, secret, tool, variables, version};
use super::support::{World, message, reason_of};

/// Errors that echo `secrets`, in every form that an error may have.
fn bodies(secrets: &[String]) -> Vec<Value> {
    let all = secrets.join(" ");
    let odd = format!("\u{1b}[31m\u{202e}\u{0}\r\n{all}\u{200b}\n");
    vec![
        json!({"detail": odd}),
        json!({"detail": {"request": {"headers": {"x-api-key": secrets}}, "note": odd}}),
        json!({"detail": [{"loc": ["body", all], "msg": odd, "input": secrets}]}),
        json!({"message": format!("{}{all}", "x".repeat(200_000))}),
        json!([odd, {"a": [[[[odd]]]]}]),
        json!(format!("{}{all}", " ".repeat(65_500))),
    ]
}

fn is_clean(text: &str) -> bool {
    let odd = |c: char| c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}');
    text.chars().count() <= 1024 && !text.contains(odd)
}

/// Waits until the object says that the service refused it, and looks at how.
fn refused(world: &World, kind: &str, name: &str, reasons: &[&str]) {
    let holds = |object: &Value| reason_of(object).is_some_and(|reason| reasons.contains(&reason.as_str()));
    let object = world.wait_for(kind, name, holds, "is refused");
    assert!(is_clean(&message(&object)), "{:?}", message(&object));
}

#[test]
fn what_errors_echo_is_not_shown() {
    let world = World::new("echoes");
    let value = world.canary();
    let echo = |operation: &str, body: &Value, status: u16| {
        let effect = Effect::Status { status, body: Some(body.clone()), after_effect: false, seconds: None };
        world.sandbox.add_fault(Fault::always(operation, effect));
    };
    world.apply(&all([acme(&world), secret("values", &format!("API_KEY: {value}"))]));
    world.ready("Organization", "acme");
    for (number, body) in bodies(&[world.api_key()]).iter().enumerate() {
        let name = format!("tool-{number}");
        echo("create-tool", body, 422);
        world.apply(&tool(&name, ""));
        refused(&world, "Tool", &name, &["InvalidRequest"]);
        world.sandbox.clear_faults();
    }
    world.apply(&tool("weather", ""));
    world.ready("Tool", "weather");
    // The variables call knows the values, too, and nothing of its errors is kept.
    for (number, body) in bodies(&[world.api_key(), value.clone()]).iter().enumerate() {
        echo("modify-variables", body, [422, 500][number % 2]);
        let name = format!("values-{number}");
        let spec = env_from("values").replace("secretRef", &format!("prefix: P{number}_, secretRef"));
        world.apply(&variables(&name, &spec));
        refused(&world, "ToolEnvSecret", &name, &["InvalidRequest", "ProgressingWithRetry"]);
        world.sandbox.clear_faults();
        world.delete("ToolEnvSecret", &name);
        world.gone("ToolEnvSecret", &name);
    }
    for body in &bodies(&[world.api_key()]) {
        echo("publish-version", body, 400);
        world.apply(&version("1.0.0", ""));
        refused(
            &world,
            "ToolVersion",
            "weather-1.0.0",
            &["PublishRefused", "VariablesMissing", "BuildFailed", "ProjectNotFound"],
        );
        world.sandbox.clear_faults();
        world.delete("ToolVersion", "weather-1.0.0");
        world.gone("ToolVersion", "weather-1.0.0");
    }
    for (_, note) in world.events("weather") {
        assert!(is_clean(&note), "{note:?}");
    }
    world.finish();
}
