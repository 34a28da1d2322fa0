//! The node for a person: it stays, and a script in its folder leads into it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use controlplane::{Program, print_progress};

use crate::Result;
use crate::machine::{PID_FILE, Part};
use crate::node::Node;
use crate::service::{self, Service};

/// Starts the node and the service, says how to get in, and stays until this process is ended.
pub(crate) fn stay(part: &Part, images: &[PathBuf]) -> Result<()> {
    let node = Node::start(part, images)?;
    Service::start(&node).inspect_err(|_| node.tell())?;
    let script = part.directory.join("shell");
    write_script(&script, &node)?;
    let (script, version) = (script.display(), env!("CARGO_PKG_VERSION"));
    println!(
        "a node runs Pods. It has the image localhost/amigo-operator:{version} (pullPolicy: Never); the service of its"
    );
    println!("organization `acme` is at {}, with api-key demo-key, api-key-id demo-key-id", service::endpoint());
    println!("and user-id demo-user.\nEnter it from another terminal, Ctrl-C here ends it:\n\n  {script}");
    println!("  {script} kubectl get pods --all-namespaces\n");
    loop {
        std::thread::park();
    }
}

/// A script that runs a command, or a shell, where the node's API server is found, with its kubectl and Helm.
fn write_script(script: &Path, node: &Node) -> Result<()> {
    let helm = Program::Helm.provide(&print_progress)?;
    let folders =
        [node.kubectl_program(), helm].map(|program| program.parent().unwrap_or(&program).display().to_string());
    let text = format!(
        "#!/bin/sh\npid=$(cat '{pid}')\nexec nsenter --target \"$pid\" --net --mount \
         --pid=\"/proc/$pid/ns/pid_for_children\" -- \\\n  env --chdir=\"$PWD\" KUBECONFIG='{kubeconfig}' \
         PATH='{path}':\"$PATH\" \"${{@:-bash}}\"\n",
        pid = node.directory().join(PID_FILE).display(),
        kubeconfig = node.admin_kubeconfig().display(),
        path = folders.join(":"),
    );
    fs::write(script, text)?;
    fs::set_permissions(script, fs::Permissions::from_mode(0o755))?;
    Ok(())
}
