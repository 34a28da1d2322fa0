//! The sandbox as a process: the API on one address, its control on another. Wiring only.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use amigo_operator::clock::Clock;
use amigo_operator::sandbox::serve::{Server, tls_from_files};
use amigo_operator::sandbox::{Account, RateLimits, Revision, Sandbox, Settings};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

/// The Amigo tool API in memory, for trying things out. Nothing is kept when it ends.
#[derive(Parser)]
#[command(name = "amigo-sandbox", version)]
struct Arguments {
    /// Where the API listens; port 0 lets the system pick
    #[arg(long, env = "AMIGO_SANDBOX_LISTEN", default_value = "127.0.0.1:8081")]
    listen: SocketAddr,
    /// Where the control listens; port 0 lets the system pick. It shows values of variables: keep it local
    #[arg(long, env = "AMIGO_SANDBOX_CONTROL_LISTEN", default_value = "127.0.0.1:8082")]
    control_listen: SocketAddr,
    /// The organization
    #[arg(long, env = "AMIGO_SANDBOX_ORGANIZATION", default_value = "acme")]
    organization: String,
    /// The key with which one signs in
    #[arg(long, env = "AMIGO_SANDBOX_API_KEY", default_value = "demo-key", hide_env_values = true)]
    api_key: String,
    /// The id of the key
    #[arg(long, env = "AMIGO_SANDBOX_API_KEY_ID", default_value = "demo-key-id")]
    api_key_id: String,
    /// The user as whom one signs in
    #[arg(long, env = "AMIGO_SANDBOX_USER_ID", default_value = "demo-user")]
    user_id: String,
    /// How long a publish takes; the service takes 60 to 300
    #[arg(long, env = "AMIGO_SANDBOX_PUBLISH_SECONDS", default_value_t = 2.0)]
    publish_seconds: f64,
    /// The revision of the API: 2025-07, 2025-09 or 2026
    #[arg(long, env = "AMIGO_SANDBOX_REVISION", default_value_t = Revision::July2025)]
    revision: Revision,
    /// Rate limits: real, off, or a factor
    #[arg(long, env = "AMIGO_SANDBOX_RATE_LIMITS", default_value_t = RateLimits::Real)]
    rate_limits: RateLimits,
    /// How long a token lives
    #[arg(long, env = "AMIGO_SANDBOX_TOKEN_SECONDS", default_value_t = 3600.0)]
    token_seconds: f64,
    /// Certificate chain (PEM) of the API; without it, plain HTTP
    #[arg(long, env = "AMIGO_SANDBOX_TLS_CERT", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key (PEM) of the certificate
    #[arg(long, env = "AMIGO_SANDBOX_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Ids and the dice of faults follow from it
    #[arg(long, env = "AMIGO_SANDBOX_SEED", default_value_t = 1)]
    seed: u64,
}

impl Arguments {
    fn sandbox(&self) -> Sandbox {
        let settings = Settings {
            seed: self.seed,
            revision: self.revision,
            rate_limits: self.rate_limits,
            token_seconds: self.token_seconds,
            publish_seconds: self.publish_seconds,
            ..Settings::default()
        };
        let account = Account {
            organization: self.organization.clone(),
            api_key_id: self.api_key_id.clone(),
            api_key: self.api_key.clone(),
            user_id: self.user_id.clone(),
        };
        Sandbox::with_account(settings, Clock::System, &account)
    }
}

fn main() -> io::Result<()> {
    // An error means that a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments = Arguments::parse();
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(run(arguments))
}

async fn run(arguments: Arguments) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let sandbox = arguments.sandbox();
    let tls = match (&arguments.tls_cert, &arguments.tls_key) {
        (Some(cert), Some(key)) => Some(tls_from_files(cert, key).await?),
        _ => None,
    };
    let api = Server::start(sandbox.router(), arguments.listen, tls)?;
    let control = Server::start(sandbox.control_router(), arguments.control_listen, None)?;
    println!("api {}", api.url());
    println!("control {}", control.url());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    let (api, control) = tokio::join!(api.stop(), control.stop());
    api.and(control)
}
