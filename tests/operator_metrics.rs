//! What `/metrics` shows of a real operator on a real control plane, and to whom.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "only metrics are checked here")]
#[path = "promtool/mod.rs"]
mod promtool;
mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use support::manifests::{acme, all, env, tool, variables, version};
use support::{Setup, World};

/// The samples of a name, without it.
fn samples<'a>(metrics: &'a str, name: &str) -> Vec<&'a str> {
    let of_name = metrics.lines().filter_map(|line| line.strip_prefix(name));
    of_name.filter(|rest| rest.starts_with('{') || rest.starts_with(' ')).collect()
}

#[test]
fn what_belongs_to_an_object_shows_while_it_is_there_and_goes_with_it() {
    let world = World::new("metrics");
    let objects = [acme(&world), tool("weather", ""), variables("weather", &env(&[("A", "1")])), version("1.0.0", "")];
    world.apply(&all(objects));
    for (kind, name) in [("Tool", "weather"), ("ToolEnvSecret", "weather"), ("ToolVersion", "weather-1.0.0")] {
        world.ready(kind, name);
    }
    let namespace = &world.namespace;
    let condition = |kind: &str, name: &str| {
        format!("{{kind=\"{kind}\",namespace=\"{namespace}\",name=\"{name}\",type=\"Ready\",status=\"True\"}} 1")
    };
    let metrics = world.metrics();
    let conditions = samples(&metrics, "amigo_resource_condition");
    for (kind, name) in
        [("Organization", "acme"), ("Tool", "weather"), ("ToolEnvSecret", "weather"), ("ToolVersion", "weather-1.0.0")]
    {
        assert!(conditions.contains(&condition(kind, name).as_str()), "{kind} {name} in {conditions:?}");
    }
    assert!(samples(&metrics, "amigo_resources").contains(&"{kind=\"Tool\",ready=\"True\",reason=\"Succeeded\"} 1"));
    let create = format!("{{endpoint=\"{}\",organization=\"acme\",operation=\"create_tool\"}}", world.endpoint());
    for (name, value) in [
        ("amigo_api_budget_limit", " 16.0"),
        ("amigo_api_budget_used", " 1.0"),
        ("amigo_api_rate_limit_remaining", " 19.0"),
    ] {
        assert!(samples(&metrics, name).contains(&format!("{create}{value}").as_str()), "{name} in {metrics}");
    }
    assert_eq!(samples(&metrics, "amigo_token_expiry_timestamp_seconds").len(), 1, "{metrics}");
    assert!(samples(&metrics, "amigo_publishes_in_flight").contains(&" 0"), "{metrics}");
    assert_eq!(samples(&metrics, "amigo_resync_period_seconds").len(), 2, "{metrics}");
    promtool::check_metrics(&metrics);
    assert!(!samples(&metrics, "rest_client_requests_total").is_empty() && !metrics.contains("# EOF"), "{metrics}");

    world.delete("ToolVersion", "weather-1.0.0");
    world.gone("ToolVersion", "weather-1.0.0");
    world.until("its series are gone", || {
        let metrics = world.metrics();
        let kinds = samples(&metrics, "amigo_resource_condition");
        !kinds.iter().any(|labels| labels.contains("ToolVersion")) && !kinds.is_empty()
    });
    world.finish();
}

/// Where the metrics are served over TLS, once they are.
fn secure_url(world: &World) -> String {
    const SERVED: &str = "metrics are served over TLS";
    world.until("it serves", || world.log().contains(SERVED));
    let log = world.log();
    let line = log.lines().find(|line| line.contains(SERVED)).unwrap();
    format!("https://{}/metrics", line.split("address=").nth(1).unwrap().split_whitespace().next().unwrap())
}

#[test]
fn over_tls_only_those_may_read_whom_the_api_server_lets() {
    let setup = Setup { flags: vec!["--metrics-listen=127.0.0.1:0".into()], ..Setup::default() };
    let mut world = World::without_operator("metrics-tls", setup);
    world.permit_reviews();
    let (reader, stranger) = (world.token_of("reader", true), world.token_of("stranger", false));
    world.start_operator();
    let url = secure_url(&world);
    let client = reqwest::Client::builder().danger_accept_invalid_certs(true).build().unwrap();
    let ask = |token: Option<&str>| {
        let request = token.into_iter().fold(client.get(&url), reqwest::RequestBuilder::bearer_auth);
        world.block_on(async {
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        })
    };
    for (token, status, shows) in [
        (None, 401, "a bearer token is missing"),
        (Some("nobody's"), 401, "the token is not known"),
        (Some(stranger.as_str()), 403, "may not `get`"),
        (Some(reader.as_str()), 200, "leader_election_master_status"),
        (Some(reader.as_str()), 200, "amigo_build_info"),
    ] {
        let (answered, text) = ask(token);
        assert!(answered == status && text.contains(shows), "{answered} {text}");
    }
    assert_eq!(world.metrics(), "", "nothing in the clear");
    world.finish();
}

/// Signs certificates for servers on loopback.
struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    fn issue(&self) -> Issued {
        let key = KeyPair::generate().unwrap();
        let signed = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        Issued { der: signed.der().to_vec(), chain: signed.pem(), key: key.serialize_pem() }
    }

    /// The certificate that a server shows to who trusts this authority only, or `None` if it is not trusted.
    async fn shown_by(&self, url: &str) -> Option<Vec<u8>> {
        let trusted = reqwest::Certificate::from_pem(self.certificate.as_bytes()).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([trusted]).tls_info(true).build().unwrap();
        let answer = client.get(url).send().await.ok()?;
        assert_eq!(answer.status(), 401, "nobody has said who asks");
        let shown = answer.extensions().get::<reqwest::tls::TlsInfo>().unwrap();
        Some(shown.peer_certificate().unwrap().to_vec())
    }
}

struct Issued {
    der: Vec<u8>,
    chain: String,
    key: String,
}

/// Puts a certificate into a folder as the kubelet puts a Secret there: in a folder of its own, to which a link is then changed
/// at once.
fn mount(folder: &Path, chain: &str, key: &str) {
    let content = tempfile::Builder::new().prefix("..content-").tempdir_in(folder).unwrap().keep();
    fs::write(content.join("tls.crt"), chain).unwrap();
    fs::write(content.join("tls.key"), key).unwrap();
    let (data, next) = (folder.join("..data"), folder.join("..data_tmp"));
    let before = fs::read_link(&data).ok();
    symlink(content.file_name().unwrap(), &next).unwrap();
    fs::rename(&next, &data).unwrap();
    match before {
        Some(before) => fs::remove_dir_all(folder.join(before)).unwrap(),
        None => ["tls.crt", "tls.key"].iter().for_each(|file| {
            symlink(Path::new("..data").join(file), folder.join(file)).unwrap();
        }),
    }
}

#[test]
fn the_certificate_comes_from_files_and_is_renewed_without_a_restart_unless_they_are_broken() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let flags = vec![
        "--metrics-listen=127.0.0.1:0".to_owned(),
        format!("--metrics-cert-file={}", file("tls.crt")),
        format!("--metrics-key-file={}", file("tls.key")),
    ];
    let mut world = World::without_operator("metrics-files", Setup { flags, ..Setup::default() });
    let (authority, stranger) = (Authority::new(), Authority::new());

    world.start_operator();
    let missing = format!("amigo-operator: --metrics-cert-file {} cannot be read", file("tls.crt"));
    world.until("the missing file is named", || world.log().contains(&missing));
    world.kill_operator();

    let (first, second, third) = (authority.issue(), authority.issue(), authority.issue());
    mount(folder.path(), &first.chain, &first.key);
    world.start_operator();
    let url = secure_url(&world);
    let shown = |by: &Authority| world.block_on(by.shown_by(&url));
    let said = |what: &str| world.until(what, || world.log().contains(what));
    assert_eq!(shown(&authority), Some(first.der));
    assert_eq!(shown(&stranger), None, "another authority proves nothing");

    mount(folder.path(), &second.chain, &second.key);
    world.until("the second is served", || shown(&authority).as_ref() == Some(&second.der));

    mount(folder.path(), &third.chain, &second.key);
    said(&format!("--metrics-key-file {} does not belong to the certificate in {}", file("tls.key"), file("tls.crt")));
    mount(folder.path(), "no certificate", &third.key);
    said(&format!("--metrics-cert-file {} holds no certificate; put there", file("tls.crt")));
    assert_eq!(shown(&authority), Some(second.der), "the one before serves on");

    mount(folder.path(), &third.chain, &third.key);
    world.until("the third is served", || shown(&authority).as_ref() == Some(&third.der));
    assert_eq!(world.log().matches("amigo-operator starts").count(), 1, "without a restart");
    world.finish();
}
