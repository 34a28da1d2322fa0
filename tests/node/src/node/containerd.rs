//! containerd, and the images that Pods are made of. Nothing is pulled: what is not imported is not there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use controlplane::Supervised;

use crate::Result;
use crate::machine::{BRIDGE, run};

/// Below a folder that only the node sees.
pub(super) const SOCKET: &str = "/run/containerd/containerd.sock";

/// Holds the namespaces of each Pod.
const PAUSE: &str = "localhost/amigo-pause:1";

const START_LIMIT: Duration = Duration::from_secs(60);

/// Starts it, with the image that every Pod needs.
pub(super) fn start(directory: &Path, plugins: &Path) -> Result<Supervised> {
    let networks = directory.join("networks");
    fs::create_dir_all(&networks)?;
    fs::write(networks.join("10-amigo.conflist"), network())?;
    let settings = directory.join("containerd.toml");
    fs::write(&settings, configuration(&directory.join("containerd"), plugins, &networks))?;
    let flags = [format!("--config={}", settings.display())];
    let log = directory.join("containerd.log");
    let mut server = Supervised::start("containerd", Path::new("containerd"), &flags, &[], log)?;
    server
        .wait_until("an answer", START_LIMIT, || ctr().arg("version").output().is_ok_and(|it| it.status.success()))?;
    import(&pause_image(&directory.join("pause"))?)?;
    Ok(server)
}

/// Takes the image of an archive.
pub(super) fn import(archive: &Path) -> Result<()> {
    let output = ctr().args(["images", "import", "--snapshotter=native"]).arg(archive).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{}: {said}", archive.display()).into()) }
}

/// The first process of a container, which a Pod's status names as `containerd://ID`.
pub(crate) fn process_of(container: &str) -> Result<u32> {
    let id = container.trim_start_matches("containerd://");
    let output = ctr().args(["tasks", "list"]).output()?;
    let text = String::from_utf8(output.stdout)?;
    let mut tasks = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let task = tasks.find(|task| task.first() == Some(&id)).ok_or_else(|| format!("{id} does not run"))?;
    Ok(task.get(1).ok_or("a task without a process")?.parse()?)
}

fn ctr() -> Command {
    let mut ctr = Command::new("ctr");
    ctr.args(["--address", SOCKET, "--namespace", "k8s.io"]);
    ctr
}

/// No file system that the kernel must have (`native` copies), no AppArmor, and nobody's priority is raised: that takes a
/// permission which root need not have.
fn configuration(root: &Path, plugins: &Path, networks: &Path) -> String {
    // Rust's quotes and escapes are TOML's too.
    let [root, plugins, networks] = [root, plugins, networks].map(|path| format!("{:?}", path.to_string_lossy()));
    format!(
        r#"version = 2
root = {root}
state = "/run/containerd"
[grpc]
  address = "{SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = {plugins}
    conf_dir = {networks}
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"#
    )
}

/// Each Pod has an address of its own, and reaches the others and the node.
fn network() -> String {
    serde_json::json!({
        "cniVersion": "0.4.0",
        "name": "amigo",
        "plugins": [{
            "type": "bridge",
            "bridge": BRIDGE,
            "isGateway": true,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": "10.85.0.0/24"}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    })
    .to_string()
}

/// Builds the image of a program that does nothing.
fn pause_image(folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    fs::write(folder.join("pause.c"), include_str!("pause.c"))?;
    fs::write(folder.join("Containerfile"), "FROM scratch\nCOPY pause /pause\nENTRYPOINT [\"/pause\"]\n")?;
    run("cc", &["-static", "-Os", "-o", &path("pause"), &path("pause.c")])?;
    // A store of its own: the user's is none of the node's business.
    let (store, state) = (path("store"), "/run/amigo-buildah");
    let buildah = ["--root", &store, "--runroot", state, "--storage-driver", "vfs"];
    let file = path("Containerfile");
    let build = ["bud", "--isolation", "chroot", "--tag", PAUSE, "--file", &file, &path("")];
    run("buildah", &[&buildah[..], &build].concat())?;
    let archive = folder.join("pause.tar");
    let target = format!("docker-archive:{}:{PAUSE}", archive.display());
    run("buildah", &[&buildah[..], &["push", PAUSE, &target]].concat())?;
    Ok(archive)
}
