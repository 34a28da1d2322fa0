//! `cargo xtask demo`: a Kubernetes control plane, the service in memory, the operator and the sample manifests, on this
//! machine. Shows what the operator does; then stays for the user to play.

mod actors;
mod display;
mod service;
mod story;

use std::path::{Path, PathBuf};
use std::time::Duration;

use controlplane::{Cluster, ControlPlane};

use self::actors::Actors;
use self::display::Display;
use self::story::Story;
use crate::{Outcome, cargo, control_plane};

/// Longest time that one scene of the demo may take.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(clap::Args)]
pub(crate) struct Options {
    /// End when everything was shown; exit code 0 only if every object became Ready
    #[arg(long)]
    once: bool,
    /// Use the cluster of this kubeconfig instead of starting one. The CRDs and a namespace `amigo-demo` are put there
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// How long the service takes to publish a version, in seconds
    #[arg(long, default_value_t = 6)]
    publish_seconds: u64,
}

/// Runs the demo.
pub(crate) fn run(options: &Options) -> Outcome {
    let display = Display::new();
    display.title("The Amigo tool operator, on this machine");
    display.step("builds the operator and the sandbox", || {
        cargo::run(&["build", "--quiet", "--package", "amigo-operator", "--bins"], &[])
    })?;
    let own;
    let folder;
    let cluster = if let Some(kubeconfig) = &options.kubeconfig {
        folder = tempfile::tempdir()?;
        existing_cluster(kubeconfig, folder.path())?
    } else {
        own = start_control_plane(&display)?;
        Cluster::at(own.directory().to_owned())
    };
    let actors = Actors::start(&cluster, options.publish_seconds, &display)?;
    Story::new(&cluster, &actors, &display).tell()?;
    display.summary(&cluster);
    if options.once {
        return Ok(());
    }
    display.invitation(&cluster, &actors);
    display.note("Ctrl-C ends everything.");
    control_plane::wait_for_interrupt()
}

/// A cluster that is there already: the folder gets what the demo needs of it, a kubeconfig and the kubectl of the PATH.
fn existing_cluster(kubeconfig: &Path, folder: &Path) -> Result<Cluster, Box<dyn std::error::Error>> {
    let cluster = Cluster::at(folder.to_owned());
    std::fs::copy(kubeconfig, cluster.admin_kubeconfig())
        .map_err(|error| format!("cannot read {}: {error}", kubeconfig.display()))?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let kubectl = std::env::split_paths(&path).map(|directory| directory.join("kubectl")).find(|file| file.is_file());
    let program = cluster.kubectl_program();
    std::fs::create_dir_all(program.parent().unwrap_or(folder))?;
    std::os::unix::fs::symlink(kubectl.ok_or("`--kubeconfig` needs kubectl on the PATH")?, program)?;
    Ok(cluster)
}

fn start_control_plane(display: &Display) -> Result<ControlPlane, Box<dyn std::error::Error>> {
    let assets = display.build_assets()?;
    let mut started = None;
    display.step("starts etcd, kube-apiserver and kube-controller-manager", || {
        let wanted = controlplane::Options::default().assets(assets).crds(controlplane::project_crds());
        started = Some(ControlPlane::start(wanted)?);
        Ok(())
    })?;
    started.ok_or_else(|| "the control plane did not start".into())
}
