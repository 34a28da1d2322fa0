//! `cargo xtask controlplane`: a control plane to try things on.

use std::path::PathBuf;

use controlplane::ControlPlane;
use nix::sys::signal::{SigSet, Signal};

use crate::Outcome;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Keep everything (data, logs, kubeconfigs) in this new or empty folder
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Do not install the project's CRDs
    #[arg(long)]
    no_crds: bool,
}

/// Starts the control plane, says how to use it, and ends it at Ctrl-C.
pub(crate) fn run(options: Options) -> Outcome {
    let mut wanted = controlplane::Options::default();
    if let Some(directory) = options.directory {
        wanted = wanted.directory(directory);
    }
    if !options.no_crds {
        wanted = wanted.crds(controlplane::project_crds());
    }
    println!("starting etcd, kube-apiserver and kube-controller-manager");
    let control_plane = ControlPlane::start(wanted)?;
    println!("ready at {}", control_plane.url()?);
    println!("audit log and server logs: {}", control_plane.directory().display());
    println!("use it from another terminal, Ctrl-C here ends it:\n");
    println!("  export KUBECONFIG={}", control_plane.admin_kubeconfig().display());
    println!("  alias kubectl={}", control_plane.kubectl_program().display());
    wait_for_interrupt()?;
    println!("\nstopping");
    Ok(())
}

/// Waits for Ctrl-C or SIGTERM. Called after the servers are started: they would inherit the blocked signals.
pub(crate) fn wait_for_interrupt() -> Outcome {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block()?;
    signals.wait()?;
    Ok(())
}
